//! ConvNeXt: Liu et al., "A ConvNet for the 2020s" (2022). Its feature is normalised behind the pooling. Layer scale is folded
//! into the last layer of a block at load.

mod load;
mod settings;

use crate::layers::Activation::{self, Identity};
use crate::layers::{Conv2d, LayerNorm, Linear};
use crate::models::{ClassifierOutput, InputSize, Network, Tap};
use crate::plan::{Plan, Var};

pub(super) use load::Dialect;

/// A ConvNeXt of any depth and width.
#[derive(Debug, Clone)]
pub(super) struct ConvNext {
    stem: Conv2d,
    stem_norm: LayerNorm,
    stages: Vec<Stage>,
    norm: LayerNorm,
    head: Linear,
    activation: Activation,
    parameters: usize,
}

#[derive(Debug, Clone)]
struct Stage {
    downsample: Option<(LayerNorm, Conv2d)>,
    blocks: Vec<Block>,
}

/// A depthwise convolution and an MLP, with one shortcut past both.
#[derive(Debug, Clone)]
struct Block {
    depthwise: Conv2d,
    norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    fn record(&self, p: &mut Plan, x: Var, activation: Activation) -> Var {
        let y = p.conv2d(x, &self.depthwise, Identity);
        let y = p.layer_norm(y, &self.norm);
        let y = p.linear(y, &self.fc1, activation);
        p.linear_add(y, &self.fc2, x, Identity)
    }
}

impl Network for ConvNext {
    /// Hands on `stem` (behind its norm), `stage{S}.{i}`, `features` and `logits`.
    fn record_with(&self, plan: &mut Plan, pixels: Var, tap: &mut Tap<'_>) -> ClassifierOutput {
        let x = plan.conv2d(pixels, &self.stem, Identity);
        let mut x = plan.layer_norm(x, &self.stem_norm);
        tap(plan, "stem", x);
        for (number, stage) in self.stages.iter().enumerate() {
            if let Some((norm, conv)) = &stage.downsample {
                x = plan.layer_norm(x, norm);
                x = plan.conv2d(x, conv, Identity);
            }
            for (index, block) in stage.blocks.iter().enumerate() {
                x = block.record(plan, x, self.activation);
                tap(plan, &format!("stage{number}.{index}"), x);
            }
        }
        let x = plan.mean_pool(x);
        let features = plan.layer_norm(x, &self.norm);
        tap(plan, "features", features);
        let logits = plan.linear(features, &self.head, Identity);
        tap(plan, "logits", logits);
        ClassifierOutput { features, logits }
    }

    fn head(&self) -> &Linear {
        &self.head
    }

    fn activation(&self) -> Activation {
        self.activation
    }

    /// Stem and downsampling have no padding.
    fn input_size(&self) -> InputSize {
        let strides =
            self.stages.iter().filter_map(|stage| stage.downsample.as_ref()).map(|(_, conv)| conv.window.stride);
        InputSize::AtLeast(self.stem.window.stride * strides.product::<usize>())
    }

    fn parameters(&self) -> usize {
        self.parameters
    }

    fn describe(&self) -> String {
        let join = |numbers: Vec<String>| numbers.join("-");
        let depths = join(self.stages.iter().map(|stage| stage.blocks.len().to_string()).collect());
        let widths = join(self.stages.iter().map(|stage| stage.blocks[0].fc2.outputs.to_string()).collect());
        format!("ConvNeXt (stages {depths}, widths {widths}, {})", self.activation.name())
    }
}

#[cfg(test)]
mod tests;
