//! Loading a [`Resnet`]: everything that names and shapes can say is read from the weights.

use super::{Block, Resnet, settings};
use crate::error::Result;
use crate::layers::{BatchNorm, Conv2d, ConvOptions, Linear};
use crate::models::layout::{SUPPORTED, refuse_unread};
use crate::models::loading::{held_conv, held_linear};
use crate::models::parameter_count;
use crate::progress::Observer;
use crate::weights::{ModelFiles, Weights};

/// torch.nn.BatchNorm2d's default, which torchvision and timm keep.
const EPSILON: f64 = 1e-5;

impl Resnet {
    /// Loads a ResNet from its files.
    ///
    /// # Errors
    /// Those of [`from_weights`](Self::from_weights), and [`ErrorKind::Config`](crate::ErrorKind::Config) if its
    /// configuration asks for what isn't supported.
    pub(in crate::models) fn load(files: &ModelFiles, observer: &dyn Observer) -> Result<Self> {
        let resnet = Self::from_weights(files.weights())?;
        let stem = resnet.stem.window.height;
        if stem != 7 {
            let name = files.weights().name();
            observer.notice(&format!(
                "{name}: the stem is a {stem}×{stem} convolution; it is taken to have stride 2 and a max pool behind it, as \
                 torchvision's 7×7 one"
            ));
        }
        files.config("config.json").map_or(Ok(()), settings::check)?;
        Ok(resnet)
    }

    /// Loads a ResNet under torchvision's (and timm's) names.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`](crate::ErrorKind::Weights) if it is a variant that isn't supported, or if a tensor is missing
    /// or of another shape; or a tensor's own error.
    pub(super) fn from_weights(weights: &Weights) -> Result<Self> {
        let stem = conv(weights, "conv1", "bn1", 3, 2)?;
        let mut channels = stem.outputs;
        let mut layers = Vec::new();
        for layer in 1.. {
            if !weights.contains(&format!("layer{layer}.0.conv1.weight")) {
                break;
            }
            let mut blocks = Vec::new();
            for index in 0.. {
                let prefix = format!("layer{layer}.{index}");
                if !weights.contains(&format!("{prefix}.conv1.weight")) {
                    break;
                }
                let stride = if layer > 1 && index == 0 { 2 } else { 1 };
                let block = block(weights, &prefix, channels, stride)?;
                channels = block.outputs();
                blocks.push(block);
            }
            layers.push(blocks);
        }
        let [classes, _] = weights.extents("fc.weight")?;
        let head = weights.tensor_shaped("fc.weight", &[classes, channels])?;
        let head = Linear::new("fc.weight", &head, Some(&weights.vector("fc.bias", classes)?));
        let head = held_linear(weights, head)?;
        refuse_unread(weights, "ResNet", |name| name.ends_with("num_batches_tracked"))?;
        Ok(Self { stem, layers, head, parameters: parameter_count(weights) })
    }
}

impl Block {
    fn outputs(&self) -> usize {
        match self {
            Self::Basic { conv2: last, .. } | Self::Bottleneck { conv3: last, .. } => last.outputs,
        }
    }
}

fn block(weights: &Weights, prefix: &str, channels: usize, stride: usize) -> Result<Block> {
    let conv = |index: usize, inputs: usize, stride: usize| {
        conv(weights, &format!("{prefix}.conv{index}"), &format!("{prefix}.bn{index}"), inputs, stride)
    };
    let block = if weights.contains(&format!("{prefix}.conv3.weight")) {
        let conv1 = conv(1, channels, 1)?;
        let conv2 = conv(2, conv1.outputs, stride)?;
        let conv3 = conv(3, conv2.outputs, 1)?;
        let downsample = downsample(weights, prefix, channels, conv3.outputs, stride)?;
        Block::Bottleneck { conv1, conv2, conv3, downsample }
    } else {
        let conv1 = conv(1, channels, stride)?;
        let conv2 = conv(2, conv1.outputs, 1)?;
        let downsample = downsample(weights, prefix, channels, conv2.outputs, stride)?;
        Block::Basic { conv1, conv2, downsample }
    };
    Ok(block)
}

/// The convolution in a block's shortcut: there if the file has one, and needed if the block changes the shape.
fn downsample(weights: &Weights, prefix: &str, inputs: usize, outputs: usize, stride: usize) -> Result<Option<Conv2d>> {
    let name = format!("{prefix}.downsample.0");
    if inputs == outputs && stride == 1 && !weights.contains(&format!("{name}.weight")) {
        return Ok(None);
    }
    let conv = conv(weights, &name, &format!("{prefix}.downsample.1"), inputs, stride)?;
    if conv.outputs != outputs {
        let message =
            format!("tensor `{name}.weight` has {} output channels, not {outputs} as its block", conv.outputs);
        return Err(weights.error(message));
    }
    Ok(Some(conv))
}

/// A square convolution of odd size, padded so that stride 1 would keep the size, with the batch normalisation behind it.
fn conv(weights: &Weights, name: &str, norm: &str, inputs: usize, stride: usize) -> Result<Conv2d> {
    let name = format!("{name}.weight");
    let [outputs, found, height, width] = weights.extents(&name)?;
    if found < inputs && found > 0 && inputs.is_multiple_of(found) {
        let message = format!("not supported: grouped convolutions ({} groups in `{name}`)", inputs / found);
        return Err(weights.error(message).hint(SUPPORTED));
    }
    if height != width || height % 2 == 0 || outputs == 0 {
        let shape = [outputs, found, height, width];
        return Err(
            weights.error(format!("tensor `{name}` has shape {shape:?}; a square window of odd size was expected"))
        );
    }
    let weight = weights.tensor_shaped(&name, &[outputs, inputs, height, width])?;
    let vector = |part: &str| weights.vector(&format!("{norm}.{part}"), outputs);
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
    let options = ConvOptions { stride, padding: height / 2, groups: 1 };
    held_conv(weights, Conv2d::folded(&name, &weight, &norm, options))
}
