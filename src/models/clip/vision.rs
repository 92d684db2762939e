//! The image tower: a vision transformer or a ResNet.

use super::names::Names;
use super::settings::OPENAI;
use super::vision_resnet::VisionResnet;
use super::vision_transformer::VisionTransformer;
use crate::error::Result;
use crate::layers::Activation;
use crate::models::Tap;
use crate::models::layout::ClipLayout;
use crate::models::transformer::TransformerSettings;
use crate::plan::{Plan, Var};
use crate::weights::Weights;

/// CLIP's image tower.
#[derive(Debug, Clone)]
pub struct ClipVision(Tower);

#[derive(Debug, Clone)]
enum Tower {
    Transformer(VisionTransformer),
    Resnet(VisionResnet),
}

impl ClipVision {
    /// Records the forward pass on normalised `pixels`, `[n, height, width, 3]`: embeddings `[n, E]` behind the projection,
    /// not normalised.
    pub fn record(&self, plan: &mut Plan, pixels: Var) -> Var {
        self.record_with(plan, pixels, &mut |_, _, _| {})
    }

    /// [`record`](Self::record), handing on what lies between: of a transformer `embeddings` (what the first block takes,
    /// behind the first norm) and `block.{i}`, of a ResNet `stem` (behind its pooling) and `layer{L}.{i}`, of both
    /// `embedding`.
    pub fn record_with(&self, plan: &mut Plan, pixels: Var, tap: &mut Tap<'_>) -> Var {
        match &self.0 {
            Tower::Transformer(tower) => tower.record_with(plan, pixels, tap),
            Tower::Resnet(tower) => tower.record_with(plan, pixels, tap),
        }
    }

    /// Loads an image tower alone, under the names and with the settings of OpenAI's release.
    pub(in crate::models) fn openai(weights: &Weights) -> Result<Self> {
        Self::load(weights, &Names::of(ClipLayout::OpenClip { text: "" }), OPENAI)
    }

    pub(super) fn load(weights: &Weights, names: &Names, settings: TransformerSettings) -> Result<Self> {
        Ok(Self(if VisionResnet::is_in(weights) {
            Tower::Resnet(VisionResnet::load(weights, settings)?)
        } else {
            Tower::Transformer(VisionTransformer::load(weights, names, settings)?)
        }))
    }

    /// The height and width of its input in pixels.
    pub fn image_size(&self) -> [usize; 2] {
        match &self.0 {
            Tower::Transformer(tower) => tower.image_size(),
            Tower::Resnet(tower) => tower.image_size(),
        }
    }

    /// The number E of values of an embedding.
    pub fn embedding_dim(&self) -> usize {
        match &self.0 {
            Tower::Transformer(tower) => tower.embedding_dim(),
            Tower::Resnet(tower) => tower.embedding_dim(),
        }
    }

    /// The activation of a transformer's MLPs, or behind a ResNet's convolutions.
    pub fn activation(&self) -> Activation {
        match &self.0 {
            Tower::Transformer(tower) => tower.activation(),
            Tower::Resnet(_) => Activation::Relu,
        }
    }

    /// Its architecture in a few words, such as `ViT (patch 32, width 768, 12 blocks of 12 heads, QuickGELU)` or `ResNet
    /// (width 64, layers 3-4-6-3, attention pooling of 32 heads)`.
    pub fn describe(&self) -> String {
        match &self.0 {
            Tower::Transformer(tower) => tower.describe(),
            Tower::Resnet(tower) => tower.describe(),
        }
    }
}
