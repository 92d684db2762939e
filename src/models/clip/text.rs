//! The text tower: a causal transformer whose end token holds the prompt's embedding.

use super::names::Names;
use super::projection;
use super::settings::OPENAI;
use crate::error::Result;
use crate::layers::Activation::{self, Identity};
use crate::layers::{EndToken, LayerNorm, Linear, TokenEmbedding};
use crate::models::Tap;
use crate::models::layout::ClipLayout;
use crate::models::loading::layer_norm;
use crate::models::transformer::{Transformer, TransformerSettings};
use crate::plan::{Plan, Var};
use crate::weights::Weights;

/// CLIP's text tower.
#[derive(Debug, Clone)]
pub struct ClipText {
    embedding: TokenEmbedding,
    transformer: Transformer,
    final_norm: LayerNorm,
    projection: Linear,
    end: EndToken,
}

impl ClipText {
    /// Records the forward pass on token `ids`, `[n, tokens]` with at most [`context`](Self::context) tokens: embeddings
    /// `[n, E]` behind the projection, not normalised.
    pub fn record(&self, plan: &mut Plan, ids: Var) -> Var {
        self.record_with(plan, ids, &mut |_, _, _| {})
    }

    /// [`record`](Self::record), handing on `embeddings` (what the first block takes), `block.{i}` and `embedding`.
    pub fn record_with(&self, plan: &mut Plan, ids: Var, tap: &mut Tap<'_>) -> Var {
        let x = plan.embed_tokens(ids, &self.embedding);
        tap(plan, "embeddings", x);
        let x = self.transformer.record(plan, x, tap);
        // The norm works row by row, so it can wait until only one row a prompt is left.
        let x = plan.pool_end_token(x, ids, self.end);
        let x = plan.layer_norm(x, &self.final_norm);
        let embedding = plan.linear(x, &self.projection, Identity);
        tap(plan, "embedding", embedding);
        embedding
    }

    /// Loads a text tower alone, under the names and with the settings of OpenAI's release.
    pub(in crate::models) fn openai(weights: &Weights) -> Result<Self> {
        Self::load(weights, &Names::of(ClipLayout::OpenClip { text: "" }), OPENAI, EndToken::LargestId)
    }

    pub(super) fn load(weights: &Weights, names: &Names, settings: TransformerSettings, end: EndToken) -> Result<Self> {
        let text = &names.text;
        let [vocabulary, width] = weights.extents(&text.token)?;
        let [context, _] = weights.extents(&text.position)?;
        if let EndToken::First(id) = end
            && id as usize >= vocabulary
        {
            let message = format!("`{}` has {vocabulary} tokens, but the configured end token is {id}", text.token);
            return Err(weights.error(message));
        }
        let table = weights.tensor(&text.token)?;
        let position = weights.tensor_shaped(&text.position, &[context, width])?;
        Ok(Self {
            embedding: TokenEmbedding::new("token embedding", &table, &position),
            transformer: Transformer::load(weights, &text.blocks, &names.block, width, settings, true)?,
            final_norm: layer_norm(weights, &text.final_norm, width, settings.epsilon)?,
            projection: projection(weights, &text.projection, width, names.transposed_projections)?,
            end,
        })
    }

    /// The largest number of tokens of a prompt, start and end included.
    pub fn context(&self) -> usize {
        self.embedding.context
    }

    /// The number of tokens in its vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.embedding.vocabulary
    }

    /// The number E of values of an embedding.
    pub fn embedding_dim(&self) -> usize {
        self.projection.outputs
    }

    /// The activation of its MLPs.
    pub fn activation(&self) -> Activation {
        self.transformer.activation()
    }

    /// Its architecture in a few words, such as `text transformer (width 512, 12 blocks of 8 heads, QuickGELU)`.
    pub fn describe(&self) -> String {
        format!("text transformer (width {}, {})", self.embedding.channels, self.transformer.describe())
    }
}
