//! Grouped convolution with a fused epilogue (`shaders/grouped_conv.wgsl`).
//!
//! Each group of output channels sees its own group of input channels (Xie et al., "Aggregated Residual Transformations
//! for Deep Neural Networks", 2017).

use super::gemm::positions;
use super::{
    Activation, Data, Kernel, Launch, Operand, Profile, Shader, Window, fold, pad4, params, shader, size, tile,
};

static SHADER: Shader = shader!("grouped_conv", reads: 4);

/// Positions that a lane computes.
const POSITIONS: usize = 4;

/// `activation(window(x) · W + bias [+ residual])` within each group of channels.
///
/// Neighbouring groups are packed into blocks whose widths are multiples of 4, zeros off their diagonal; weights are
/// `[taps, block's inputs, outputs]`.
#[derive(Debug, Clone)]
pub struct GroupedConv {
    /// Images.
    pub images: usize,
    /// Input height.
    pub height: usize,
    /// Input width.
    pub width: usize,
    /// Input channels of all groups.
    pub inputs: usize,
    /// Output channels of all groups.
    pub outputs: usize,
    /// Groups; they divide the channels of both sides.
    pub groups: usize,
    /// The sliding window.
    pub window: Window,
    /// What is applied at the end.
    pub activation: Activation,
    /// Whether the fourth operand is added before the activation. Without it that operand is the bias once more.
    pub residual: bool,
}

impl GroupedConv {
    /// Output height and width.
    pub fn output_size(&self) -> (usize, usize) {
        self.window.output_size(self.height, self.width)
    }

    fn rows(&self) -> usize {
        let (height, width) = self.output_size();
        self.images * height * width
    }

    /// Input and output channels of a block.
    fn block(&self) -> [usize; 2] {
        let packed = packed_groups(self.inputs / self.groups, self.outputs / self.groups);
        [self.inputs, self.outputs].map(|channels| packed * channels / self.groups)
    }
}

/// The least number of groups, of so many input and output channels each, that make multiples of 4 on both sides.
pub(crate) fn packed_groups(inputs: usize, outputs: usize) -> usize {
    [1, 2].into_iter().find(|n| (n * inputs).is_multiple_of(4) && (n * outputs).is_multiple_of(4)).unwrap_or(4)
}

impl Kernel for GroupedConv {
    fn name(&self) -> &'static str {
        "grouped_conv"
    }

    fn shape(&self) -> Vec<usize> {
        let Window { height: window, stride, padding, .. } = self.window;
        vec![self.images, self.height, self.width, self.inputs, self.outputs, self.groups, window, stride, padding]
    }

    fn reads(&self) -> Vec<Operand> {
        let outputs = pad4(self.outputs);
        let [block, _] = self.block();
        vec![
            Operand::f32(self.images * self.height * self.width * pad4(self.inputs)),
            Operand::f32(self.window.height * self.window.width * block * outputs),
            Operand::f32(outputs),
            Operand::f32(if self.residual { self.rows() * outputs } else { outputs }),
        ]
    }

    fn output(&self) -> Operand {
        Operand::f32(self.rows() * pad4(self.outputs))
    }

    fn flops(&self) -> u64 {
        let [block, _] = self.block();
        2 * (self.output().len * self.window.height * self.window.width * block) as u64
    }

    fn launch(&self, profile: Profile) -> Launch {
        let (height, width) = self.output_size();
        let outputs4 = pad4(self.outputs) / 4;
        let [block_inputs, block_outputs] = self.block();
        let params = params(&[
            size(self.rows()),
            size(pad4(self.inputs) / 4),
            size(outputs4),
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
            size(block_inputs / 4),
            size(block_outputs / 4),
        ]);
        let (constants, [down, across]) = tile(profile);
        let grid = fold(self.rows().div_ceil(POSITIONS * down) * outputs4.div_ceil(across));
        Launch { shader: &SHADER, constants, params, grid }
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let [input, weight, bias, residual] = [reads[0].f32(), reads[1].f32(), reads[2].f32(), reads[3].f32()];
        let [inputs, outputs] = [pad4(self.inputs), pad4(self.outputs)];
        let [block_inputs, block_outputs] = self.block();
        let (height, width) = self.output_size();
        let mut output = Vec::with_capacity(self.output().len);
        for (image, y, x) in positions(self.images, height, width) {
            for o in 0..outputs {
                let first = o / block_outputs * block_inputs;
                let mut sum = f64::from(bias[o]);
                for (tap, iy, ix) in self.window.taps(y, x, self.height, self.width) {
                    let pixel = &input[((image * self.height + iy) * self.width + ix) * inputs..][..inputs];
                    for (i, &value) in pixel[first..].iter().take(block_inputs).enumerate() {
                        sum += f64::from(value) * f64::from(weight[(tap * block_inputs + i) * outputs + o]);
                    }
                }
                let add = if self.residual { f64::from(residual[output.len()]) } else { 0.0 };
                output.push(self.activation.apply(sum + add));
            }
        }
        output
    }
}
