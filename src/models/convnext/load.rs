//! Loading a [`ConvNext`] under timm's and transformers' names.

use super::settings::{self, Settings};
use super::{Block, ConvNext, Stage};
use crate::error::Result;
use crate::layers::{Conv2d, ConvOptions, Linear};
use crate::models::layout::refuse_unread;
use crate::models::loading::{held_conv, held_linear, layer_norm, linear};
use crate::models::parameter_count;
use crate::tensor::Tensor;
use crate::weights::{ModelFiles, Weights};

/// Whose names and configuration a ConvNeXt's files have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::models) enum Dialect {
    /// timm's `ConvNeXt`.
    Timm,
    /// transformers' `ConvNextForImageClassification`.
    HuggingFace,
}

/// The names of a ConvNeXt's tensors; those of layers without their `.weight` and `.bias`.
struct Names {
    stem: &'static str,
    stem_norm: &'static str,
    stages: &'static str,
    /// Norm and convolution within a stage.
    downsample: [&'static str; 2],
    /// The list of blocks within a stage.
    blocks: &'static str,
    depthwise: &'static str,
    block_norm: &'static str,
    fc1: &'static str,
    fc2: &'static str,
    /// The whole name of layer scale within a block.
    scale: &'static str,
    norm: &'static str,
    head: &'static str,
}

static TIMM: Names = Names {
    stem: "stem.0",
    stem_norm: "stem.1",
    stages: "stages",
    downsample: ["downsample.0", "downsample.1"],
    blocks: "blocks",
    depthwise: "conv_dw",
    block_norm: "norm",
    fc1: "mlp.fc1",
    fc2: "mlp.fc2",
    scale: "gamma",
    norm: "head.norm",
    head: "head.fc",
};

static HUGGING_FACE: Names = Names {
    stem: "convnext.embeddings.patch_embeddings",
    stem_norm: "convnext.embeddings.layernorm",
    stages: "convnext.encoder.stages",
    downsample: ["downsampling_layer.0", "downsampling_layer.1"],
    blocks: "layers",
    depthwise: "dwconv",
    block_norm: "layernorm",
    fc1: "pwconv1",
    fc2: "pwconv2",
    scale: "layer_scale_parameter",
    norm: "convnext.layernorm",
    head: "classifier",
};

impl ConvNext {
    /// Loads a ConvNeXt from its files.
    ///
    /// # Errors
    /// Those of [`from_weights`](Self::from_weights), and [`ErrorKind::Config`](crate::ErrorKind::Config) if `config.json` is
    /// missing or asks for what isn't supported.
    pub(in crate::models) fn load(files: &ModelFiles, dialect: Dialect) -> Result<Self> {
        let config = files.require_config("config.json", "which activation it uses")?;
        let settings = match dialect {
            Dialect::Timm => settings::from_timm(config)?,
            Dialect::HuggingFace => settings::from_hugging_face(config)?,
        };
        Self::from_weights(files.weights(), dialect, settings)
    }

    /// Loads a ConvNeXt's tensors.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`](crate::ErrorKind::Weights) if it is a variant that isn't supported, or if a tensor is missing
    /// or of another shape; or a tensor's own error.
    pub(super) fn from_weights(weights: &Weights, dialect: Dialect, settings: Settings) -> Result<Self> {
        let names = match dialect {
            Dialect::Timm => &TIMM,
            Dialect::HuggingFace => &HUGGING_FACE,
        };
        let Settings { activation, epsilon, final_epsilon } = settings;
        let loader = Loader {
            weights,
            names,
            epsilon,
            has_scale: weights.names().any(|name| name.ends_with(&format!(".{}", names.scale))),
        };
        let stem = loader.strided(names.stem, 3)?;
        let stem_norm = layer_norm(weights, names.stem_norm, stem.outputs, epsilon)?;
        let mut width = stem.outputs;
        let mut stages: Vec<Stage> = Vec::new();
        while loader.has_block(stages.len(), 0) || stages.is_empty() {
            let stage = loader.stage(stages.len(), width)?;
            width = stage.blocks[0].fc2.outputs;
            stages.push(stage);
        }
        let norm = layer_norm(weights, names.norm, width, final_epsilon)?;
        let [classes, _] = weights.extents(&format!("{}.weight", names.head))?;
        let head = linear(weights, names.head, classes, width)?;
        refuse_unread(weights, "ConvNeXt", |_| false)?;
        Ok(Self { stem, stem_norm, stages, norm, head, activation, parameters: parameter_count(weights) })
    }
}

struct Loader<'a> {
    weights: &'a Weights,
    names: &'static Names,
    epsilon: f32,
    has_scale: bool,
}

impl Loader<'_> {
    fn block_prefix(&self, stage: usize, index: usize) -> String {
        format!("{}.{stage}.{}.{index}", self.names.stages, self.names.blocks)
    }

    fn has_block(&self, stage: usize, index: usize) -> bool {
        self.weights.contains(&format!("{}.{}.weight", self.block_prefix(stage, index), self.names.depthwise))
    }

    /// A stage that takes `width` channels.
    fn stage(&self, number: usize, mut width: usize) -> Result<Stage> {
        let [norm, conv] = self.names.downsample.map(|part| format!("{}.{number}.{part}", self.names.stages));
        let downsample = if number > 0 || self.weights.contains(&format!("{conv}.weight")) {
            let norm = layer_norm(self.weights, &norm, width, self.epsilon)?;
            let conv = self.strided(&conv, width)?;
            width = conv.outputs;
            Some((norm, conv))
        } else {
            None
        };
        let mut blocks = Vec::new();
        while self.has_block(number, blocks.len()) || blocks.is_empty() {
            blocks.push(self.block(&self.block_prefix(number, blocks.len()), width)?);
        }
        Ok(Stage { downsample, blocks })
    }

    fn block(&self, prefix: &str, width: usize) -> Result<Block> {
        let Self { weights, names, epsilon, .. } = *self;
        let name = |part: &str| format!("{prefix}.{part}");
        let [hidden] = weights.extents(&name(&format!("{}.bias", names.fc1)))?;
        let scale = if self.has_scale { Some(weights.vector(&name(names.scale), width)?) } else { None };
        Ok(Block {
            depthwise: self.depthwise(&name(names.depthwise), width)?,
            norm: layer_norm(weights, &name(names.block_norm), width, epsilon)?,
            fc1: self.pointwise(&name(names.fc1), hidden, width, None)?,
            fc2: self.pointwise(&name(names.fc2), width, hidden, scale.as_deref())?,
        })
    }

    /// A convolution whose windows lie side by side.
    fn strided(&self, name: &str, inputs: usize) -> Result<Conv2d> {
        let weight = format!("{name}.weight");
        let [outputs, _, edge, _] = self.weights.extents(&weight)?;
        let filter = self.weights.tensor_shaped(&weight, &[outputs, inputs, edge, edge])?;
        let bias = self.weights.vector(&format!("{name}.bias"), outputs)?;
        let options = ConvOptions { stride: edge, ..ConvOptions::default() };
        held_conv(self.weights, Conv2d::new(&weight, &filter, Some(&bias), options))
    }

    /// A convolution of each channel by itself, padded so that it keeps the size.
    fn depthwise(&self, name: &str, width: usize) -> Result<Conv2d> {
        let weight = format!("{name}.weight");
        let [_, _, edge, _] = self.weights.extents(&weight)?;
        let filter = self.weights.tensor_shaped(&weight, &[width, 1, edge, edge])?;
        if edge % 2 == 0 {
            let shape = filter.shape();
            let message = format!("tensor `{weight}` has shape {shape:?}; a square window of odd size was expected");
            return Err(self.weights.error(message));
        }
        let bias = self.weights.vector(&format!("{name}.bias"), width)?;
        let options = ConvOptions { padding: edge / 2, groups: width, ..ConvOptions::default() };
        held_conv(self.weights, Conv2d::new(&weight, &filter, Some(&bias), options))
    }

    /// A linear layer, which timm's smaller models store as a 1×1 convolution, with each output multiplied by its `scale`.
    fn pointwise(&self, name: &str, outputs: usize, inputs: usize, scale: Option<&[f32]>) -> Result<Linear> {
        let weight = format!("{name}.weight");
        let is_conv = self.weights.shape(&weight).is_some_and(|shape| shape.len() == 4);
        let shape = [outputs, inputs, 1, 1];
        let matrix = self.weights.tensor_shaped(&weight, if is_conv { &shape } else { &shape[..2] })?;
        let mut matrix = Tensor::new([outputs, inputs], matrix.into_data());
        let mut bias = self.weights.vector(&format!("{name}.bias"), outputs)?;
        if let Some(scale) = scale {
            let rows = matrix.data_mut().chunks_exact_mut(inputs);
            for ((row, bias), &scale) in rows.zip(&mut bias).zip(scale) {
                for value in row.iter_mut().chain([bias]) {
                    *value = (f64::from(*value) * f64::from(scale)) as f32;
                }
            }
        }
        held_linear(self.weights, Linear::new(name, &matrix, Some(&bias)))
    }
}
