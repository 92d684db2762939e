//! ViT: Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale" (2020), with the
//! class token behind the final norm as its feature. DeiT without distillation is the same network.

mod load;
mod settings;

use crate::layers::Activation::{self, Identity};
use crate::layers::{LayerNorm, Linear};
use crate::models::patches::Patches;
use crate::models::transformer::Transformer;
use crate::models::{ClassifierOutput, InputSize, Network, Tap};
use crate::plan::{Plan, Var};

pub(super) use load::Dialect;

/// A vision transformer of any depth and width.
#[derive(Debug, Clone)]
pub(super) struct Vit {
    patches: Patches,
    transformer: Transformer,
    norm: LayerNorm,
    head: Linear,
    parameters: usize,
}

impl Network for Vit {
    /// Hands on `embeddings` (what the first block takes), `block.{i}`, `features` and `logits`.
    fn record_with(&self, plan: &mut Plan, pixels: Var, tap: &mut Tap<'_>) -> ClassifierOutput {
        let x = self.patches.record(plan, pixels);
        tap(plan, "embeddings", x);
        let x = self.transformer.record(plan, x, tap);
        // The norm works row by row, so that only the class token's is needed.
        let x = plan.first_token(x);
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
        self.transformer.activation()
    }

    fn input_size(&self) -> InputSize {
        InputSize::Exactly(self.patches.image_size())
    }

    fn parameters(&self) -> usize {
        self.parameters
    }

    fn describe(&self) -> String {
        format!("ViT ({}, {})", self.patches.describe(), self.transformer.describe())
    }
}

#[cfg(test)]
mod tests;
