//! The image tower that OpenAI calls `ModifiedResNet`: a stem of three convolutions, average pooling in place of strides, and
//! attention in place of the last pooling.

use crate::error::Result;
use crate::layers::Activation::Identity;
use crate::layers::{Linear, PositionEmbedding};
use crate::models::Tap;
use crate::models::loading::{held_linear, linear};
use crate::models::resnet::{Family, Trunk};
use crate::models::transformer::{TransformerSettings, scaled_qkv};
use crate::plan::{Plan, Var};
use crate::weights::Weights;

const POSITION: &str = "visual.attnpool.positional_embedding";

/// A ResNet with attention pooling.
#[derive(Debug, Clone)]
pub(super) struct VisionResnet {
    trunk: Trunk,
    position: PositionEmbedding,
    qkv: Linear,
    heads: usize,
    projection: Linear,
    image_size: usize,
}

impl VisionResnet {
    /// Whether the image tower in `weights` is a ResNet.
    pub(super) fn is_in(weights: &Weights) -> bool {
        weights.names().any(|name| name.starts_with("visual.attnpool.") || name.starts_with("visual.layer1."))
    }

    /// Records the forward pass, handing on `stem` (behind its pooling), `layer{L}.{i}` and `embedding`.
    pub(super) fn record_with(&self, plan: &mut Plan, pixels: Var, tap: &mut Tap<'_>) -> Var {
        let x = self.trunk.record(plan, pixels, tap);
        // Only the mean asks, but its row is one of many: all rows' keys and values are needed anyway.
        let x = plan.embed_mean(x, &self.position);
        let x = plan.linear(x, &self.qkv, Identity);
        let x = plan.attention(x, self.heads, false);
        let x = plan.first_token(x);
        let embedding = plan.linear(x, &self.projection, Identity);
        tap(plan, "embedding", embedding);
        embedding
    }

    pub(super) fn load(weights: &Weights, settings: TransformerSettings) -> Result<Self> {
        let trunk = Trunk::load(weights, Family::Clip)?;
        let width = trunk.outputs();
        let [tokens, _] = weights.extents(POSITION)?;
        let grid = tokens.saturating_sub(1).isqrt();
        if grid == 0 || grid * grid + 1 != tokens {
            let message = format!("`{POSITION}` has {tokens} positions, not the mean's and a square of pixels");
            return Err(weights.error(message));
        }
        let heads = settings.heads.of(weights, "visual.attnpool", width)?;
        let (mut weight, mut bias) = (Vec::with_capacity(3 * width * width), Vec::with_capacity(3 * width));
        for part in ["q_proj", "k_proj", "v_proj"] {
            let name = format!("visual.attnpool.{part}");
            weight.extend(weights.tensor_shaped(&format!("{name}.weight"), &[width, width])?.into_data());
            bias.extend(weights.vector(&format!("{name}.bias"), width)?);
        }
        let [outputs, _] = weights.extents("visual.attnpool.c_proj.weight")?;
        Ok(Self {
            position: PositionEmbedding::new(POSITION, &weights.tensor_shaped(POSITION, &[tokens, width])?),
            qkv: held_linear(weights, scaled_qkv("visual.attnpool.qkv", weight, bias, heads))?,
            heads,
            projection: linear(weights, "visual.attnpool.c_proj", outputs, width)?,
            image_size: grid * trunk.reduction(),
            trunk,
        })
    }

    pub(super) fn image_size(&self) -> [usize; 2] {
        [self.image_size; 2]
    }

    pub(super) fn embedding_dim(&self) -> usize {
        self.projection.outputs
    }

    pub(super) fn describe(&self) -> String {
        let (width, depths, heads) = (self.trunk.width(), self.trunk.depths(), self.heads);
        format!("ResNet (width {width}, layers {depths}, attention pooling of {heads} heads)")
    }
}

#[cfg(test)]
mod tests;
