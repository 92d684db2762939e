//! Pixels to normalised activations (`shaders/normalize_image.wgsl`).

use super::{Data, Kernel, Launch, Operand, Profile, Shader, fold, params, shader, size};

static SHADER: Shader = shader!("normalize_image", reads: 1);

/// How bytes become activations: `(byte · scale − mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// What a byte is multiplied by, nearly always 1/255.
    pub scale: f32,
    /// Mean of each colour, after the scale.
    pub mean: [f32; 3],
    /// Standard deviation of each colour, after the scale.
    pub std: [f32; 3],
}

/// `(byte · scale − mean) / std`: packed 8-bit RGB to rows of 3 channels.
#[derive(Debug, Clone)]
pub struct NormalizeImage {
    /// Pixels of all images together.
    pub pixels: usize,
    /// How a byte becomes an activation.
    pub colors: Normalization,
}

impl Kernel for NormalizeImage {
    fn name(&self) -> &'static str {
        "normalize_image"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.pixels]
    }

    fn reads(&self) -> Vec<Operand> {
        vec![Operand::u32((3 * self.pixels).div_ceil(4))]
    }

    fn output(&self) -> Operand {
        Operand::f32(4 * self.pixels)
    }

    fn flops(&self) -> u64 {
        9 * self.pixels as u64
    }

    fn launch(&self, _: Profile) -> Launch {
        let Normalization { scale, mean, std } = self.colors;
        let [r, g, b] = mean.map(f32::to_bits);
        let [x, y, z] = std.map(f32::to_bits);
        let params = params(&[r, g, b, 0, x, y, z, 1.0_f32.to_bits(), size(self.pixels), scale.to_bits()]);
        Launch { shader: &SHADER, constants: Vec::new(), params, grid: fold(self.pixels.div_ceil(64)) }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let bytes: &[u8] = bytemuck::cast_slice(reads[0].u32());
        let Normalization { scale, mean, std } = self.colors;
        let mut output = Vec::with_capacity(4 * self.pixels);
        for pixel in bytes.chunks_exact(3).take(self.pixels) {
            for (channel, &byte) in pixel.iter().enumerate() {
                let value = f64::from(byte) * f64::from(scale) - f64::from(mean[channel]);
                output.push(value / f64::from(std[channel]));
            }
            output.push(0.0);
        }
        output
    }
}
