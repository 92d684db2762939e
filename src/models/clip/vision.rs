//! The image tower: a vision transformer.

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

/// CLIP's image tower.
#[derive(Debug, Clone)]
pub struct ClipVision {
    patches: Patches,
    pre_norm: LayerNorm,
    transformer: Transformer,
    post_norm: LayerNorm,
    projection: Linear,
}

impl ClipVision {
    /// Records the forward pass on normalised `pixels`, `[n, height, width, 3]`: embeddings `[n, E]` behind the projection,
    /// not normalised.
    pub fn record(&self, plan: &mut Plan, pixels: Var) -> Var {
        self.record_with(plan, pixels, &mut |_, _, _| {})
    }

    /// [`record`](Self::record), handing on `embeddings` (what the first block takes, behind the first norm), `block.{i}`
    /// and `embedding`.
    pub fn record_with(&self, plan: &mut Plan, pixels: Var, tap: &mut Tap<'_>) -> Var {
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

    /// The height and width of its input in pixels.
    pub fn image_size(&self) -> [usize; 2] {
        self.patches.image_size()
    }

    /// The number E of values of an embedding.
    pub fn embedding_dim(&self) -> usize {
        self.projection.outputs
    }

    /// The activation of its MLPs.
    pub fn activation(&self) -> Activation {
        self.transformer.activation()
    }

    /// Its architecture in a few words, such as `ViT (patch 32, width 768, 12 blocks of 12 heads, QuickGELU)`.
    pub fn describe(&self) -> String {
        format!("ViT ({}, {})", self.patches.describe(), self.transformer.describe())
    }
}
