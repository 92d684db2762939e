//! The image tower: a vision transformer.

use super::names::Names;
use super::settings::TowerSettings;
use super::transformer::{Transformer, layer_norm, projection};
use crate::error::Result;
use crate::layers::Activation::{self, Identity};
use crate::layers::{Conv2d, ConvOptions, LayerNorm, Linear, PatchEmbedding};
use crate::models::Tap;
use crate::plan::{Plan, Var};
use crate::weights::Weights;

/// CLIP's image tower.
#[derive(Debug, Clone)]
pub struct ClipVision {
    patch: Conv2d,
    embedding: PatchEmbedding,
    pre_norm: LayerNorm,
    transformer: Transformer,
    post_norm: LayerNorm,
    projection: Linear,
    image_size: usize,
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
        let x = plan.conv2d(pixels, &self.patch, Identity);
        let x = plan.embed_patches(x, &self.embedding);
        let x = plan.layer_norm(x, &self.pre_norm);
        tap(plan, "embeddings", x);
        let x = self.transformer.record(plan, x, tap);
        let x = plan.first_token(x);
        let x = plan.layer_norm(x, &self.post_norm);
        let embedding = plan.linear(x, &self.projection, Identity);
        tap(plan, "embedding", embedding);
        embedding
    }

    pub(super) fn load(weights: &Weights, names: &Names, settings: TowerSettings) -> Result<Self> {
        let vision = &names.vision;
        let [width, _, patch, _] = weights.extents(vision.patch)?;
        let filter = weights.tensor_shaped(vision.patch, &[width, 3, patch, patch])?;
        let [tokens, _] = weights.extents(vision.position)?;
        let grid = tokens.saturating_sub(1).isqrt();
        if grid == 0 || grid * grid + 1 != tokens {
            let message =
                format!("`{}` has {tokens} positions, not a class token's and a square of patches", vision.position);
            return Err(weights.error(message));
        }
        let class = weights.vector(vision.class, width)?;
        let position = weights.tensor_shaped(vision.position, &[tokens, width])?;
        Ok(Self {
            patch: Conv2d::new(vision.patch, &filter, None, ConvOptions { stride: patch, ..ConvOptions::default() }),
            embedding: PatchEmbedding::new("vision embedding", &class, &position),
            pre_norm: layer_norm(weights, vision.pre_norm, width, settings.epsilon)?,
            transformer: Transformer::load(weights, vision.blocks, &names.block, width, settings, false)?,
            post_norm: layer_norm(weights, vision.post_norm, width, settings.epsilon)?,
            projection: projection(weights, vision.projection, width, names.transposed_projections)?,
            image_size: grid * patch,
        })
    }

    /// The height and width of its input in pixels.
    pub fn image_size(&self) -> [usize; 2] {
        [self.image_size; 2]
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
        let (patch, width) = (self.patch.window.height, self.embedding.channels);
        format!("ViT (patch {patch}, width {width}, {})", self.transformer.describe())
    }
}
