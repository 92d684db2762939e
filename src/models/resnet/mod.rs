//! ResNet: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2015), as torchvision has it: stride in
//! the 3×3 convolution of a bottleneck ("v1.5"). Batch normalisation is folded into the convolutions at load.

mod load;
mod settings;

use crate::layers::Activation::{self, Identity, Relu};
use crate::layers::{Conv2d, Linear};
use crate::models::{ClassifierOutput, InputSize, Network, Tap};
use crate::plan::{Plan, Var};

/// A ResNet of any depth and width, with basic or bottleneck blocks.
#[derive(Debug, Clone)]
pub(super) struct Resnet {
    stem: Conv2d,
    layers: Vec<Vec<Block>>,
    head: Linear,
    parameters: usize,
}

/// A residual block: two 3×3 convolutions (basic), or 1×1, 3×3 and 1×1 (bottleneck).
#[derive(Debug, Clone)]
enum Block {
    Basic { conv1: Conv2d, conv2: Conv2d, downsample: Option<Conv2d> },
    Bottleneck { conv1: Conv2d, conv2: Conv2d, conv3: Conv2d, downsample: Option<Conv2d> },
}

impl Block {
    fn record(&self, p: &mut Plan, x: Var) -> Var {
        match self {
            Self::Basic { conv1, conv2, downsample } => {
                let skip = downsample.as_ref().map_or(x, |conv| p.conv2d(x, conv, Identity));
                let y = p.conv2d(x, conv1, Relu);
                p.conv2d_add(y, conv2, skip, Relu)
            }
            Self::Bottleneck { conv1, conv2, conv3, downsample } => {
                let skip = downsample.as_ref().map_or(x, |conv| p.conv2d(x, conv, Identity));
                let y = p.conv2d(x, conv1, Relu);
                let y = p.conv2d(y, conv2, Relu);
                p.conv2d_add(y, conv3, skip, Relu)
            }
        }
    }
}

impl Network for Resnet {
    /// Hands on `stem` (behind its pooling), `layer{L}.{i}`, `features` and `logits`.
    fn record_with(&self, plan: &mut Plan, pixels: Var, tap: &mut Tap<'_>) -> ClassifierOutput {
        let x = plan.conv2d(pixels, &self.stem, Relu);
        let mut x = plan.max_pool(x, 3, 2, 1);
        tap(plan, "stem", x);
        for (layer, blocks) in (1..).zip(&self.layers) {
            for (index, block) in blocks.iter().enumerate() {
                x = block.record(plan, x);
                tap(plan, &format!("layer{layer}.{index}"), x);
            }
        }
        let features = plan.mean_pool(x);
        tap(plan, "features", features);
        let logits = plan.linear(features, &self.head, Identity);
        tap(plan, "logits", logits);
        ClassifierOutput { features, logits }
    }

    fn head(&self) -> &Linear {
        &self.head
    }

    fn activation(&self) -> Activation {
        Relu
    }

    /// All windows are padded.
    fn input_size(&self) -> InputSize {
        InputSize::AtLeast(1)
    }

    /// Batch normalisations included.
    fn parameters(&self) -> usize {
        self.parameters
    }

    fn describe(&self) -> String {
        let bottleneck = matches!(self.layers[0][0], Block::Bottleneck { .. });
        let blocks: usize = self.layers.iter().map(Vec::len).sum();
        let depth = 2 + blocks * if bottleneck { 3 } else { 2 };
        let kind = if bottleneck { "bottleneck" } else { "basic" };
        let layers = self.layers.iter().map(|blocks| blocks.len().to_string()).collect::<Vec<_>>().join("-");
        format!("ResNet-{depth} ({kind}, layers {layers}, {} features)", self.feature_dim())
    }
}

#[cfg(test)]
mod tests;
