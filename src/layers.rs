//! Layers: parameters folded and packed for the kernels, ready to be uploaded once.
//!
//! A layer holds no buffers and runs nothing. [`Parameter`]s are shared by reference, so that a device uploads each one
//! once however many plans use it.

use std::sync::Arc;

use half::f16;
use rayon::prelude::*;

use crate::error::{Error, ErrorKind, Result};
pub use crate::kernels::{Activation, EndToken, Normalization};
use crate::kernels::{Data, Window, packed_groups, pad4};
use crate::tensor::Tensor;

/// Packed values that a device keeps for as long as any layer holds them.
#[derive(Debug, Clone)]
pub struct Parameter(Arc<ParameterData>);

#[derive(Debug)]
struct ParameterData {
    name: String,
    values: Values,
    /// Whether they are multiplied on cooperative matrices.
    for_matrices: bool,
}

#[derive(Debug)]
enum Values {
    F32(Vec<f32>),
    F16(Vec<f16>),
}

impl Parameter {
    /// A parameter under the name of the tensor it comes from.
    pub fn new(name: impl Into<String>, values: Vec<f32>) -> Self {
        Self(Arc::new(ParameterData { name: name.into(), values: Values::F32(values), for_matrices: false }))
    }

    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The same values, each rounded to the nearest of 16 bits. They must be f32.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] naming the tensor and a value that is too large.
    pub fn in_f16(&self) -> Result<Self> {
        self.rounded(false)
    }

    /// As [`in_f16`](Self::in_f16), to be multiplied on cooperative matrices.
    ///
    /// # Errors
    /// Those of [`in_f16`](Self::in_f16).
    pub fn for_matrices(&self) -> Result<Self> {
        self.rounded(true)
    }

    /// Whether it is multiplied on cooperative matrices.
    pub fn is_for_matrices(&self) -> bool {
        self.0.for_matrices
    }

    fn rounded(&self, for_matrices: bool) -> Result<Self> {
        let values = self.data().f32();
        let rounded: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
        match rounded.iter().zip(values).find(|(rounded, value)| rounded.is_infinite() && value.is_finite()) {
            Some((_, value)) => {
                let message = format!("tensor `{}` holds {value}, and f16 ends at {}", self.name(), f16::MAX);
                Err(Error::new(ErrorKind::Weights, message).hint("use --precision f32"))
            }
            None => {
                let (name, values) = (self.name().to_owned(), Values::F16(rounded));
                Ok(Self(Arc::new(ParameterData { name, values, for_matrices })))
            }
        }
    }

    /// The packed values.
    pub fn data(&self) -> Data<'_> {
        match &self.0.values {
            Values::F32(values) => Data::F32(values),
            Values::F16(values) => Data::F16(values),
        }
    }

    /// The packed values' size.
    pub fn bytes(&self) -> u64 {
        self.data().bytes().len() as u64
    }

    /// A number that no other living parameter has.
    pub fn key(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// A handle that tells whether any layer still holds the parameter.
    pub fn liveness(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let weak = Arc::downgrade(&self.0);
        move || weak.strong_count() > 0
    }
}

/// Running statistics and affine parameters of a batch normalisation, each of `channels` values.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Scale γ.
    pub weight: Vec<f32>,
    /// Shift β.
    pub bias: Vec<f32>,
    /// Running mean.
    pub mean: Vec<f32>,
    /// Running variance.
    pub variance: Vec<f32>,
    /// Added to the variance under the root.
    pub epsilon: f64,
}

/// How a convolution's window moves, and which channels it sees: PyTorch's arguments of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvOptions {
    /// Distance between positions, in both directions.
    pub stride: usize,
    /// Zeros added on every side.
    pub padding: usize,
    /// Groups of channels that don't see one another.
    pub groups: usize,
}

impl Default for ConvOptions {
    fn default() -> Self {
        Self { stride: 1, padding: 0, groups: 1 }
    }
}

/// A 2-D convolution with its bias.
///
/// The weights are packed as a matrix `[kh·kw·in, out]`, both channel counts padded to 4; depthwise ones as
/// `[kh·kw, channels]`, and grouped ones as `[kh·kw·block, out]`, where a block is the least number of neighbouring groups
/// whose channels are multiples of 4, with zeros where a group doesn't see another.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// The packed weights.
    pub weight: Parameter,
    /// The bias, padded.
    pub bias: Parameter,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Groups of channels that don't see one another.
    pub groups: usize,
    /// The sliding window.
    pub window: Window,
}

impl Conv2d {
    /// A convolution from `weight [out, in / groups, kh, kw]` and `bias [out]` (none = zeros).
    ///
    /// # Panics
    /// If the shapes don't fit, or the groups don't divide the outputs; loaders check both first.
    pub fn new(name: &str, weight: &Tensor, bias: Option<&[f32]>, options: ConvOptions) -> Self {
        let ConvOptions { stride, padding, groups } = options;
        let [outputs, seen, height, width] = weight.shape()[..] else { panic!("{name}: a convolution has 4 axes") };
        assert!(outputs.is_multiple_of(groups), "{name}: {groups} groups of {outputs} output channels");
        let share = outputs / groups;
        // A packed row is what an output channel has of one input channel of its block.
        let (rows, packed_groups) = match (groups, seen, share) {
            (1, ..) => (pad4(seen), 1),
            (_, 1, 1) => (1, 1),
            _ => {
                let packed = packed_groups(seen, share);
                (packed * seen, packed)
            }
        };
        let filter = Filter { outputs, seen, taps: height * width };
        let packed = packed(weight.data(), filter, rows, |o| o / share % packed_groups * seen);
        Self {
            weight: Parameter::new(name, packed),
            bias: padded_bias(name, bias, outputs),
            inputs: seen * groups,
            outputs,
            groups,
            window: Window { height, width, stride, padding },
        }
    }

    /// Whether each channel is convolved by itself.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.inputs && self.groups == self.outputs
    }

    /// A convolution without bias with the batch normalisation behind it folded in (in f64):
    /// `w·γ/√(σ²+ε)` and `β − μ·γ/√(σ²+ε)`.
    ///
    /// # Panics
    /// If the shapes don't fit; loaders check them first.
    pub fn folded(name: &str, weight: &Tensor, norm: &BatchNorm, options: ConvOptions) -> Self {
        let filter = weight.columns();
        let mut folded = weight.clone();
        let mut bias = Vec::with_capacity(weight.rows());
        for (o, values) in folded.data_mut().chunks_exact_mut(filter).enumerate() {
            let scale = f64::from(norm.weight[o]) / (f64::from(norm.variance[o]) + norm.epsilon).sqrt();
            for value in values {
                *value = (f64::from(*value) * scale) as f32;
            }
            bias.push((f64::from(norm.bias[o]) - f64::from(norm.mean[o]) * scale) as f32);
        }
        Self::new(name, &folded, Some(&bias), options)
    }
}

/// A matrix product with its bias, packed as `[in, out]`, both padded to 4.
#[derive(Debug, Clone)]
pub struct Linear {
    /// The packed weights.
    pub weight: Parameter,
    /// The bias, padded.
    pub bias: Parameter,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
}

impl Linear {
    /// A linear layer from `weight [out, in]` (torch.nn.Linear's convention) and `bias [out]` (none = zeros).
    ///
    /// # Panics
    /// If the shapes don't fit; loaders check them first.
    pub fn new(name: &str, weight: &Tensor, bias: Option<&[f32]>) -> Self {
        let [outputs, inputs] = weight.shape()[..] else { panic!("{name}: a linear layer has 2 axes") };
        let packed = packed(weight.data(), Filter { outputs, seen: inputs, taps: 1 }, pad4(inputs), |_| 0);
        Self { weight: Parameter::new(name, packed), bias: padded_bias(name, bias, outputs), inputs, outputs }
    }
}

/// Layer normalisation over the channels.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// Scale γ, padded.
    pub weight: Parameter,
    /// Shift β, padded.
    pub bias: Parameter,
    /// Channels.
    pub channels: usize,
    /// Added to the variance under the root.
    pub epsilon: f32,
}

impl LayerNorm {
    /// A layer norm from `weight [channels]` and `bias [channels]`.
    pub fn new(name: &str, weight: &[f32], bias: &[f32], epsilon: f32) -> Self {
        Self {
            weight: Parameter::new(format!("{name}.weight"), padded_rows(weight, weight.len())),
            bias: Parameter::new(format!("{name}.bias"), padded_rows(bias, bias.len())),
            channels: weight.len(),
            epsilon,
        }
    }
}

/// What a vision transformer adds to its patches: the class token before them and a position for each.
#[derive(Debug, Clone)]
pub struct PatchEmbedding {
    /// The class token, padded.
    pub class: Parameter,
    /// Positions `[patches + 1, channels]`, padded.
    pub position: Parameter,
    /// Tokens: patches + 1.
    pub tokens: usize,
    /// Channels.
    pub channels: usize,
}

impl PatchEmbedding {
    /// From `class [channels]` and `position [tokens, channels]`.
    pub fn new(name: &str, class: &[f32], position: &Tensor) -> Self {
        Self {
            class: Parameter::new(format!("{name}.class"), padded_rows(class, class.len())),
            position: Parameter::new(format!("{name}.position"), padded_rows(position.data(), position.columns())),
            tokens: position.rows(),
            channels: class.len(),
        }
    }
}

/// What attention pooling adds to an image's rows: a position for their mean, which it puts before them, and for each.
#[derive(Debug, Clone)]
pub struct PositionEmbedding {
    /// Positions `[rows + 1, channels]`, padded.
    pub position: Parameter,
    /// Tokens: rows + 1.
    pub tokens: usize,
    /// Channels.
    pub channels: usize,
}

impl PositionEmbedding {
    /// From `position [tokens, channels]`.
    pub fn new(name: &str, position: &Tensor) -> Self {
        let values = padded_rows(position.data(), position.columns());
        Self { position: Parameter::new(name, values), tokens: position.rows(), channels: position.columns() }
    }
}

/// A table of token vectors and their positions.
#[derive(Debug, Clone)]
pub struct TokenEmbedding {
    /// Token vectors `[vocabulary, channels]`, padded.
    pub table: Parameter,
    /// Positions `[context, channels]`, padded.
    pub position: Parameter,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Positions.
    pub context: usize,
    /// Channels.
    pub channels: usize,
}

impl TokenEmbedding {
    /// From `table [vocabulary, channels]` and `position [context, channels]`.
    pub fn new(name: &str, table: &Tensor, position: &Tensor) -> Self {
        Self {
            table: Parameter::new(name, padded_rows(table.data(), table.columns())),
            position: Parameter::new(format!("{name}.position"), padded_rows(position.data(), position.columns())),
            vocabulary: table.rows(),
            context: position.rows(),
            channels: table.columns(),
        }
    }
}

/// The extents of weights `[outputs, seen, taps]`, as frameworks store them.
#[derive(Clone, Copy)]
struct Filter {
    outputs: usize,
    seen: usize,
    taps: usize,
}

/// Weights as a matrix `[taps · rows, outputs]`, its columns padded with zeros to a multiple of 4: what an output sees lies at
/// the rows from `first(output)` on of every tap.
fn packed(weight: &[f32], filter: Filter, rows: usize, first: impl Fn(usize) -> usize + Sync) -> Vec<f32> {
    /// Rows and columns that are written together: the cache lines they are read from stay at hand.
    const TILE: usize = 16;
    let Filter { outputs, seen, taps } = filter;
    let columns = pad4(outputs);
    let mut packed = vec![0.0; taps * rows * columns];
    packed.par_chunks_mut(TILE * columns).enumerate().for_each(|(band, values)| {
        for start in (0..outputs).step_by(TILE) {
            let tile = start..outputs.min(start + TILE);
            for (row, values) in (band * TILE..).zip(values.chunks_exact_mut(columns)) {
                let (tap, place) = (row / rows, row % rows);
                for (o, value) in tile.clone().zip(&mut values[tile.clone()]) {
                    let input = place.wrapping_sub(first(o));
                    if input < seen {
                        *value = weight[(o * seen + input) * taps + tap];
                    }
                }
            }
        }
    });
    packed
}

fn padded_bias(name: &str, bias: Option<&[f32]>, outputs: usize) -> Parameter {
    let values = bias.map_or_else(|| vec![0.0; pad4(outputs)], |bias| padded_rows(bias, outputs));
    Parameter::new(format!("{name}.bias"), values)
}

/// Rows of `columns` values, each padded with zeros to a multiple of 4.
pub(crate) fn padded_rows(values: &[f32], columns: usize) -> Vec<f32> {
    let padded = pad4(columns);
    let mut rows = vec![0.0; values.len() / columns * padded];
    for (row, values) in rows.chunks_exact_mut(padded).zip(values.chunks_exact(columns)) {
        row[..columns].copy_from_slice(values);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cases::noise;
    use crate::kernels::{Data, DepthwiseConv, GroupedConv, Kernel};

    /// Packed groups give what each group's own convolution gives.
    #[test]
    fn groups_are_packed_apart() {
        for (groups, seen, share) in [(2, 4, 4), (3, 6, 6), (5, 1, 3), (3, 12, 2), (2, 5, 4), (7, 1, 1), (5, 2, 1)] {
            let (inputs, outputs) = (groups * seen, groups * share);
            let weight = Tensor::new([outputs, seen, 1, 2], noise(1, outputs * seen * 2));
            let bias = noise(2, outputs);
            let layer = Conv2d::new("c", &weight, Some(&bias), ConvOptions { groups, ..ConvOptions::default() });
            assert_eq!((layer.inputs, layer.outputs), (inputs, outputs));
            let pixels = noise(3, 2 * inputs);
            let padded = padded_rows(&pixels, inputs);
            let reads = [Data::F32(&padded), layer.weight.data(), layer.bias.data(), layer.bias.data()];
            let (window, activation, residual) = (layer.window, Activation::Identity, false);
            let (images, height, width) = (1, 1, 2);
            let found = if layer.is_depthwise() {
                let channels = inputs;
                DepthwiseConv { images, height, width, channels, window, activation, residual }.reference(&reads)
            } else {
                let kernel =
                    GroupedConv { images, height, width, inputs, outputs, groups, window, activation, residual };
                kernel.reference(&reads)
            };
            for o in 0..outputs {
                let first = o / share * seen;
                let products = (0..seen).flat_map(|i| [(i, 0), (i, 1)]).map(|(i, tap)| {
                    f64::from(weight.data()[(o * seen + i) * 2 + tap]) * f64::from(pixels[tap * inputs + first + i])
                });
                let expected = f64::from(bias[o]) + products.sum::<f64>();
                assert!((found[o] - expected).abs() < 1e-12, "{groups} groups of {seen} to {share}: {o}");
            }
            assert_eq!(found[outputs..], vec![0.0; pad4(outputs) - outputs]);
        }
    }
}
