//! Depthwise convolution with a fused epilogue (`shaders/depthwise_conv.wgsl`).

use super::gemm::positions;
use super::{
    Activation, Data, Kernel, Launch, Operand, Profile, Shader, Window, fold, pad4, params, shader, size, tile,
};

static SHADER: Shader = shader!("depthwise_conv", reads: 4);

/// Neighbouring positions that a lane computes.
const POSITIONS: usize = 4;

/// `activation(window(x) ∘ W + bias [+ residual])`, each channel by itself; weights are `[taps, channels]`.
#[derive(Debug, Clone)]
pub struct DepthwiseConv {
    /// Images.
    pub images: usize,
    /// Input height.
    pub height: usize,
    /// Input width.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// The sliding window.
    pub window: Window,
    /// What is applied at the end.
    pub activation: Activation,
    /// Whether the fourth operand is added before the activation. Without it that operand is the bias once more.
    pub residual: bool,
}

impl DepthwiseConv {
    /// Output height and width.
    pub fn output_size(&self) -> (usize, usize) {
        self.window.output_size(self.height, self.width)
    }

    fn rows(&self) -> usize {
        let (height, width) = self.output_size();
        self.images * height * width
    }

    fn taps(&self) -> usize {
        self.window.height * self.window.width
    }
}

impl Kernel for DepthwiseConv {
    fn name(&self) -> &'static str {
        "depthwise_conv"
    }

    fn shape(&self) -> Vec<usize> {
        let Window { height: window, stride, padding, .. } = self.window;
        vec![self.images, self.height, self.width, self.channels, window, stride, padding]
    }

    fn reads(&self) -> Vec<Operand> {
        let channels = pad4(self.channels);
        vec![
            Operand::f32(self.images * self.height * self.width * channels),
            Operand::f32(self.taps() * channels),
            Operand::f32(channels),
            Operand::f32(if self.residual { self.rows() * channels } else { channels }),
        ]
    }

    fn output(&self) -> Operand {
        Operand::f32(self.rows() * pad4(self.channels))
    }

    fn flops(&self) -> u64 {
        2 * (self.output().len * self.taps()) as u64
    }

    fn launch(&self, profile: Profile) -> Launch {
        let (height, width) = self.output_size();
        let channels4 = pad4(self.channels) / 4;
        let params = params(&[
            size(self.rows()),
            size(channels4),
            self.activation.code(),
            size(self.height),
            size(self.width),
            size(height),
            size(width),
            size(self.window.height),
            size(self.window.width),
            size(self.window.stride),
            size(self.window.padding),
            u32::from(self.residual),
        ]);
        let (constants, [down, across]) = tile(profile);
        let tiles = self.images * height * width.div_ceil(POSITIONS);
        let grid = fold(tiles.div_ceil(down) * channels4.div_ceil(across));
        Launch { shader: &SHADER, constants, params, grid }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let [input, weight, bias, residual] = [reads[0].f32(), reads[1].f32(), reads[2].f32(), reads[3].f32()];
        let channels = pad4(self.channels);
        let (height, width) = self.output_size();
        let mut output = Vec::with_capacity(self.output().len);
        for (image, y, x) in positions(self.images, height, width) {
            for c in 0..channels {
                let taps = self.window.taps(y, x, self.height, self.width);
                let products = taps.map(|(tap, iy, ix)| {
                    let row = (image * self.height + iy) * self.width + ix;
                    f64::from(input[row * channels + c]) * f64::from(weight[tap * channels + c])
                });
                let sum = products.sum::<f64>() + f64::from(bias[c]);
                let add = if self.residual { f64::from(residual[output.len()]) } else { 0.0 };
                output.push(self.activation.apply(sum + add));
            }
        }
        output
    }
}
