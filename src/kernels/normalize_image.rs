//! Pixels to normalised activations (`shaders/normalize_image.wgsl`).

use super::{Data, Kernel, Launch, Operand, Profile, Shader, fold, params, shader, size};

static SHADER: Shader = shader!("normalize_image", reads: 1);

/// `(byte/255 − mean) / std`: packed 8-bit RGB to rows of 3 channels.
#[derive(Debug, Clone)]
pub struct NormalizeImage {
    /// Pixels of all images together.
    pub pixels: usize,
    /// Mean of each colour, on [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation of each colour.
    pub std: [f32; 3],
}

impl Kernel for NormalizeImage {
    fn name(&self) -> &'static str {
        "normalize_image"
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
        let [r, g, b] = self.mean.map(f32::to_bits);
        let [x, y, z] = self.std.map(|std| (1.0 / std).to_bits());
        let params = params(&[r, g, b, 0, x, y, z, 0, size(self.pixels)]);
        Launch { shader: &SHADER, constants: Vec::new(), params, grid: fold(self.pixels.div_ceil(64)) }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let bytes: &[u8] = bytemuck::cast_slice(reads[0].u32());
        let mut output = Vec::with_capacity(4 * self.pixels);
        for pixel in bytes.chunks_exact(3).take(self.pixels) {
            for (channel, &byte) in pixel.iter().enumerate() {
                let (mean, std) = (f64::from(self.mean[channel]), f64::from(self.std[channel]));
                output.push((f64::from(byte) / 255.0 - mean) / std);
            }
            output.push(0.0);
        }
        output
    }
}
