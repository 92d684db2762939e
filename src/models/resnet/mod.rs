//! ResNet: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2015), as torchvision has it: stride in
//! the 3×3 convolution of a bottleneck ("v1.5"). Batch normalisation is folded into the convolutions at load.
//!
//! Its relatives are ResNeXt, whose 3×3 convolutions have groups (Xie et al. 2017), the wide ResNets, and the variants of
//! timm with a deep stem and average-pooled shortcuts ("ResNet-D", He et al., "Bag of Tricks", 2019).

mod load;
mod load_trunk;
mod settings;
mod trunk;

use crate::layers::Activation::{self, Identity};
use crate::layers::Linear;
use crate::models::{ClassifierOutput, InputSize, Network, Tap};
use crate::plan::{Plan, Var};
pub(super) use load_trunk::Family;
pub(super) use trunk::Trunk;

/// Whose names a ResNet's tensors have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// torchvision's and timm's.
    Torchvision,
    /// transformers' `ResNetForImageClassification`.
    HuggingFace,
}

/// A ResNet of any depth and width, with basic or bottleneck blocks.
#[derive(Debug, Clone)]
pub(super) struct Resnet {
    trunk: Trunk,
    head: Linear,
    parameters: usize,
}

impl Network for Resnet {
    /// Hands on `stem` (behind its pooling), `layer{L}.{i}`, `features` and `logits`.
    fn record_with(&self, plan: &mut Plan, pixels: Var, tap: &mut Tap<'_>) -> ClassifierOutput {
        let x = self.trunk.record(plan, pixels, tap);
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
        self.trunk.activation
    }

    /// All windows are padded, or cover what there is.
    fn input_size(&self) -> InputSize {
        InputSize::AtLeast(1)
    }

    /// Batch normalisations included.
    fn parameters(&self) -> usize {
        self.parameters
    }

    fn describe(&self) -> String {
        self.trunk.describe()
    }
}

#[cfg(test)]
mod tests;
