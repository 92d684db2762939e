//! Loading a [`Trunk`]: everything that names and shapes can say is read from the weights.

use super::trunk::{AvgPool, Block, Shortcut, StemPool, Trunk};
use crate::error::Result;
use crate::layers::{Activation, BatchNorm, Conv2d, ConvOptions};
use crate::models::layout::SUPPORTED;
use crate::models::loading::held_conv;
use crate::weights::Weights;

/// torch.nn.BatchNorm2d's default, which all of them keep.
const EPSILON: f64 = 1e-5;

/// Whose trunk it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::models) enum Family {
    /// torchvision's and timm's.
    Torchvision,
    /// transformers' `ResNetModel`.
    HuggingFace(Settings),
    /// The image tower of OpenAI's and open_clip's CLIPs, `ModifiedResNet`.
    Clip,
}

/// What transformers' configuration says and the weights don't.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::models) struct Settings {
    /// `hidden_act`.
    pub(super) activation: Activation,
    /// `downsample_in_bottleneck`: the stride is in the first convolution of a bottleneck, not in the 3×3 one.
    pub(super) stride_in_first: bool,
    /// `downsample_in_first_stage`.
    pub(super) first_layer_stride: usize,
}

/// The names of a convolution, without `.weight`, and of the batch normalisation behind it.
struct ConvNames {
    conv: String,
    norm: String,
}

impl ConvNames {
    fn new(conv: String, norm: String) -> Self {
        Self { conv, norm }
    }
}

impl Family {
    fn stem(self, weights: &Weights) -> Vec<ConvNames> {
        let names = |pairs: &[[&str; 2]]| {
            pairs.iter().map(|[conv, norm]| ConvNames::new((*conv).to_owned(), (*norm).to_owned())).collect()
        };
        match self {
            // timm's variants `c`, `d`, `s` and `t` have a stem of three 3×3 convolutions.
            Self::Torchvision if weights.names().any(|name| name.starts_with("conv1.0.")) => {
                names(&[["conv1.0", "conv1.1"], ["conv1.3", "conv1.4"], ["conv1.6", "bn1"]])
            }
            Self::Torchvision => names(&[["conv1", "bn1"]]),
            Self::HuggingFace(_) => {
                names(&[["resnet.embedder.embedder.convolution", "resnet.embedder.embedder.normalization"]])
            }
            Self::Clip => {
                names(&[["visual.conv1", "visual.bn1"], ["visual.conv2", "visual.bn2"], ["visual.conv3", "visual.bn3"]])
            }
        }
    }

    /// The block number `index` of layer `layer`, which counts from 1.
    fn block(self, layer: usize, index: usize) -> String {
        match self {
            Self::Torchvision => format!("layer{layer}.{index}"),
            Self::HuggingFace(_) => format!("resnet.encoder.stages.{}.layers.{index}", layer - 1),
            Self::Clip => format!("visual.layer{layer}.{index}"),
        }
    }

    /// The convolution number `number` of a block, which counts from 1.
    fn conv(self, block: &str, number: usize) -> ConvNames {
        match self {
            Self::Torchvision | Self::Clip => {
                ConvNames::new(format!("{block}.conv{number}"), format!("{block}.bn{number}"))
            }
            Self::HuggingFace(_) => {
                let layer = format!("{block}.layer.{}", number - 1);
                ConvNames::new(format!("{layer}.convolution"), format!("{layer}.normalization"))
            }
        }
    }
}

impl Trunk {
    /// Loads the trunk of a family.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`](crate::ErrorKind::Weights) if it is a variant that isn't supported, or if a tensor is missing
    /// or of another shape; or a tensor's own error.
    pub(in crate::models) fn load(weights: &Weights, family: Family) -> Result<Self> {
        let loader = Loader { weights, family };
        let mut channels = 3;
        let mut stem = Vec::new();
        let names = family.stem(weights);
        for (index, part) in names.iter().enumerate() {
            let conv = loader.conv(part, channels, if index == 0 { 2 } else { 1 }, false)?;
            if names.len() > 1 && conv.window.height != 3 {
                let (name, size) = (&part.conv, conv.window.height);
                let message = format!("not supported: a deep stem with a {size}×{size} window, `{name}.weight`");
                return Err(weights.error(message).hint(SUPPORTED));
            }
            channels = conv.outputs;
            stem.push(conv);
        }
        let mut layers: Vec<Vec<Block>> = Vec::new();
        loop {
            let mut blocks: Vec<Block> = Vec::new();
            while weights.contains(&format!("{}.weight", loader.first_conv(layers.len() + 1, blocks.len()))) {
                let stride = match (layers.len(), blocks.len(), family) {
                    (0, 0, Family::HuggingFace(settings)) => settings.first_layer_stride,
                    (1.., 0, _) => 2,
                    _ => 1,
                };
                let prefix = family.block(layers.len() + 1, blocks.len());
                let block = loader.block(&prefix, channels, stride)?;
                channels = block.outputs();
                blocks.push(block);
            }
            if blocks.is_empty() {
                break;
            }
            layers.push(blocks);
        }
        if layers.is_empty() {
            return Err(
                weights.error(format!("no tensor `{}.weight`, a ResNet's first block", loader.first_conv(1, 0)))
            );
        }
        let (stem_pool, activation) = match family {
            Family::Torchvision => (StemPool::Max, Activation::Relu),
            Family::HuggingFace(settings) => (StemPool::Max, settings.activation),
            Family::Clip => (StemPool::Avg, Activation::Relu),
        };
        Ok(Self { stem, stem_pool, layers, activation })
    }
}

struct Loader<'a> {
    weights: &'a Weights,
    family: Family,
}

impl Loader<'_> {
    fn first_conv(&self, layer: usize, index: usize) -> String {
        self.family.conv(&self.family.block(layer, index), 1).conv
    }

    fn block(&self, prefix: &str, channels: usize, stride: usize) -> Result<Block> {
        let third = self.family.conv(prefix, 3).conv;
        let bottleneck = self.family == Family::Clip || self.weights.contains(&format!("{third}.weight"));
        let strides: &[usize] = match self.family {
            Family::Clip => &[1, 1, 1],
            Family::HuggingFace(Settings { stride_in_first: true, .. }) if bottleneck => &[stride, 1, 1],
            _ if bottleneck => &[1, stride, 1],
            _ => &[stride, 1],
        };
        let mut convs = Vec::new();
        let mut inputs = channels;
        for (number, &stride) in (1..).zip(strides) {
            // ResNeXt's groups are those of the 3×3 convolution.
            let grouped = self.family == Family::Torchvision && bottleneck && number == 2;
            let conv = self.conv(&self.family.conv(prefix, number), inputs, stride, grouped)?;
            inputs = conv.outputs;
            convs.push(conv);
        }
        let pool = (self.family == Family::Clip && stride > 1).then_some(AvgPool { stride, ceil: false });
        Ok(Block { convs, pool, shortcut: self.shortcut(prefix, channels, inputs, stride)? })
    }

    /// A block's shortcut: there if the file has one, and needed if the block changes the shape.
    fn shortcut(&self, prefix: &str, inputs: usize, outputs: usize, stride: usize) -> Result<Option<Shortcut>> {
        let sequence = |conv: usize| {
            let part = |number: usize| format!("{prefix}.downsample.{number}");
            ConvNames::new(part(conv), part(conv + 1))
        };
        let (names, pool) = match self.family {
            Family::HuggingFace(_) => {
                let part = |name: &str| format!("{prefix}.shortcut.{name}");
                (ConvNames::new(part("convolution"), part("normalization")), None)
            }
            Family::Torchvision if self.has_pooled_shortcut(prefix) => {
                (sequence(1), Some(AvgPool { stride, ceil: true }))
            }
            Family::Torchvision => (sequence(0), None),
            Family::Clip => (sequence(0), Some(AvgPool { stride, ceil: false })),
        };
        if inputs == outputs && stride == 1 && !self.weights.contains(&format!("{}.weight", names.conv)) {
            return Ok(None);
        }
        let conv = self.conv(&names, inputs, if pool.is_some() { 1 } else { stride }, false)?;
        if conv.outputs != outputs {
            let (name, found) = (names.conv, conv.outputs);
            let message = format!("tensor `{name}.weight` has {found} output channels, not {outputs} as its block");
            return Err(self.weights.error(message));
        }
        Ok(Some(Shortcut { pool: pool.filter(|pool| pool.stride > 1), conv }))
    }

    /// Whether a shortcut is pooling, convolution and norm, as in timm's variant `d`, and not convolution and norm alone.
    fn has_pooled_shortcut(&self, prefix: &str) -> bool {
        let shape = |number: usize| self.weights.shape(&format!("{prefix}.downsample.{number}.weight"));
        shape(0).is_none() && (shape(2).is_some() || shape(1).is_some_and(|shape| shape.len() == 4))
    }

    /// A square convolution of odd size, padded so that stride 1 would keep the size, with the batch normalisation behind it;
    /// only a `grouped` one may have groups.
    fn conv(&self, names: &ConvNames, inputs: usize, stride: usize, grouped: bool) -> Result<Conv2d> {
        let weights = self.weights;
        let name = format!("{}.weight", names.conv);
        let [outputs, found, height, width] = weights.extents(&name)?;
        let groups = if found > 0 && inputs.is_multiple_of(found) { inputs / found } else { 1 };
        if groups > 1 && !(grouped && outputs.is_multiple_of(groups)) {
            let message = format!("not supported: {groups} groups of channels in `{name}`");
            return Err(weights.error(message).hint(SUPPORTED));
        }
        if height != width || height % 2 == 0 || outputs == 0 {
            let shape = [outputs, found, height, width];
            return Err(
                weights.error(format!("tensor `{name}` has shape {shape:?}; a square window of odd size was expected"))
            );
        }
        let weight = weights.tensor_shaped(&name, &[outputs, inputs / groups, height, width])?;
        let vector = |part: &str| weights.vector(&format!("{}.{part}", names.norm), outputs);
        let norm = BatchNorm {
            weight: vector("weight")?,
            bias: vector("bias")?,
            mean: vector("running_mean")?,
            variance: vector("running_var")?,
            epsilon: EPSILON,
        };
        if let Some(at) = norm.variance.iter().position(|&variance| variance < 0.0) {
            return Err(weights.error(format!("the running variance behind `{name}` is {} at {at}", norm.variance[at])));
        }
        let options = ConvOptions { stride, padding: height / 2, groups };
        held_conv(weights, Conv2d::folded(&name, &weight, &norm, options))
    }
}
