//! The image tower that is a vision transformer.

use super::names::Names;
use super::projection;
use crate::error::Result;
use crate::layers::Activation::{self, Identity};
use crate::layers::{LayerNorm, Linear};
use crate::models::Tap;
use crate::models::loading::layer_norm;
use crate::models::patches::Patches;
use crate::models::transformer::{Transformer, TransformerSettings};
use crate::plan::{Plan, Var};
use crate::weights::Weights;

/// A vision transformer with its projection.
#[derive(Debug, Clone)]
pub(super) struct VisionTransformer {
    patches: Patches,
    pre_norm: LayerNorm,
    transformer: Transformer,
    post_norm: LayerNorm,
    projection: Linear,
}

impl VisionTransformer {
    /// Records the forward pass, handing on `embeddings` (what the first block takes, behind the first norm), `block.{i}` and
    /// `embedding`.
    pub(super) fn record_with(&self, plan: &mut Plan, pixels: Var, tap: &mut Tap<'_>) -> Var {
        let x = self.patches.record(plan, pixels);
        let x = plan.layer_norm(x, &self.pre_norm);
        tap(plan, "embeddings", x);
        let x = self.transformer.record(plan, x, tap);
        let x = plan.first_token(x);
        let x = plan.layer_norm(x, &self.post_norm);
        let embedding = plan.linear(x, &self.projection, Identity);
        tap(plan, "embedding", embedding);
        embedding
    }

    pub(super) fn load(weights: &Weights, names: &Names, settings: TransformerSettings) -> Result<Self> {
        let vision = &names.vision;
        let patches = Patches::load(weights, &vision.patches)?;
        let width = patches.width();
        Ok(Self {
            patches,
            pre_norm: layer_norm(weights, vision.pre_norm, width, settings.epsilon)?,
            transformer: Transformer::load(weights, vision.blocks, &names.block, width, settings, false)?,
            post_norm: layer_norm(weights, vision.post_norm, width, settings.epsilon)?,
            projection: projection(weights, vision.projection, width, names.transposed_projections)?,
        })
    }

    pub(super) fn image_size(&self) -> [usize; 2] {
        self.patches.image_size()
    }

    pub(super) fn embedding_dim(&self) -> usize {
        self.projection.outputs
    }

    pub(super) fn activation(&self) -> Activation {
        self.transformer.activation()
    }

    pub(super) fn describe(&self) -> String {
        format!("ViT ({}, {})", self.patches.describe(), self.transformer.describe())
    }
}
