//! Layers: parameters folded and packed for the kernels, ready to be uploaded once.
//!
//! A layer holds no buffers and runs nothing. [`Parameter`]s are shared by reference, so that a device uploads each one
//! once however many plans use it.

use std::sync::Arc;

pub use crate::kernels::{Activation, EndToken, Normalization};
use crate::kernels::{Window, pad4};
use crate::tensor::Tensor;

/// Packed values that a device keeps for as long as any layer holds them.
#[derive(Debug, Clone)]
pub struct Parameter(Arc<ParameterData>);

#[derive(Debug)]
struct ParameterData {
    name: String,
    values: Vec<f32>,
}

impl Parameter {
    /// A parameter under the name of the tensor it comes from.
    pub fn new(name: impl Into<String>, values: Vec<f32>) -> Self {
        Self(Arc::new(ParameterData { name: name.into(), values }))
    }

    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The packed values.
    pub fn values(&self) -> &[f32] {
        &self.0.values
    }

    /// The packed values' size.
    pub fn bytes(&self) -> u64 {
        4 * self.values().len() as u64
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

/// A 2-D convolution with its bias, packed as a matrix `[kh·kw·in, out]`, both channel counts padded to 4.
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
    /// The sliding window.
    pub window: Window,
}

impl Conv2d {
    /// A convolution from `weight [out, in, kh, kw]` and `bias [out]` (none = zeros).
    ///
    /// # Panics
    /// If the shapes don't fit; loaders check them first.
    pub fn new(name: &str, weight: &Tensor, bias: Option<&[f32]>, stride: usize, padding: usize) -> Self {
        let [outputs, inputs, height, width] = weight.shape()[..] else { panic!("{name}: a convolution has 4 axes") };
        let (rows, columns) = (pad4(inputs), pad4(outputs));
        let mut packed = vec![0.0; height * width * rows * columns];
        for (o, filter) in weight.data().chunks_exact(inputs * height * width).enumerate() {
            for (i, taps) in filter.chunks_exact(height * width).enumerate() {
                for (tap, &value) in taps.iter().enumerate() {
                    packed[(tap * rows + i) * columns + o] = value;
                }
            }
        }
        Self {
            weight: Parameter::new(name, packed),
            bias: padded_bias(name, bias, outputs),
            inputs,
            outputs,
            window: Window { height, width, stride, padding },
        }
    }

    /// A convolution without bias with the batch normalisation behind it folded in (in f64):
    /// `w·γ/√(σ²+ε)` and `β − μ·γ/√(σ²+ε)`.
    ///
    /// # Panics
    /// If the shapes don't fit; loaders check them first.
    pub fn folded(name: &str, weight: &Tensor, norm: &BatchNorm, stride: usize, padding: usize) -> Self {
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
        Self::new(name, &folded, Some(&bias), stride, padding)
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
        let columns = pad4(outputs);
        let mut packed = vec![0.0; pad4(inputs) * columns];
        for (o, row) in weight.data().chunks_exact(inputs).enumerate() {
            for (i, &value) in row.iter().enumerate() {
                packed[i * columns + o] = value;
            }
        }
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
