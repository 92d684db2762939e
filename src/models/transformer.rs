//! The pre-norm transformer that ViTs and both towers of a CLIP are made of.

use super::loading::{held_linear, layer_norm, linear};
use crate::error::Result;
use crate::layers::Activation::{self, Identity};
use crate::layers::{LayerNorm, Linear};
use crate::models::Tap;
use crate::plan::{Plan, Var};
use crate::tensor::Tensor;
use crate::weights::Weights;

/// A stack of residual attention blocks.
#[derive(Debug, Clone)]
pub(super) struct Transformer {
    blocks: Vec<Block>,
    heads: usize,
    activation: Activation,
    causal: bool,
}

#[derive(Debug, Clone)]
struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    attention_out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Transformer {
    /// Records all blocks on `x`, `[n, tokens, channels]`, handing on `block.{i}`.
    pub(super) fn record(&self, plan: &mut Plan, mut x: Var, tap: &mut Tap<'_>) -> Var {
        for (index, block) in self.blocks.iter().enumerate() {
            x = self.record_block(plan, x, block);
            tap(plan, &format!("block.{index}"), x);
        }
        x
    }

    fn record_block(&self, p: &mut Plan, x: Var, block: &Block) -> Var {
        let y = p.layer_norm(x, &block.norm1);
        let y = p.linear(y, &block.qkv, Identity);
        let y = p.attention(y, self.heads, self.causal);
        let x = p.linear_add(y, &block.attention_out, x, Identity);
        let y = p.layer_norm(x, &block.norm2);
        let y = p.linear(y, &block.fc1, self.activation);
        p.linear_add(y, &block.fc2, x, Identity)
    }

    /// Loads the blocks at `prefix`, as many as there are, of `width` channels.
    pub(super) fn load(
        weights: &Weights,
        prefix: &str,
        names: &BlockNames,
        width: usize,
        settings: TransformerSettings,
        causal: bool,
    ) -> Result<Self> {
        let heads = settings.heads.of(weights, prefix, width)?;
        let loader = Loader { weights, names, width, heads, epsilon: settings.epsilon };
        let mut blocks = Vec::new();
        while weights.contains(&format!("{prefix}.{}.{}.weight", blocks.len(), names.norm1)) || blocks.is_empty() {
            blocks.push(loader.block(&format!("{prefix}.{}", blocks.len()))?);
        }
        Ok(Self { blocks, heads, activation: settings.activation, causal })
    }

    /// The activation of its MLPs.
    pub(super) fn activation(&self) -> Activation {
        self.activation
    }

    /// Depth, heads and activation in words.
    pub(super) fn describe(&self) -> String {
        format!("{} blocks of {} heads, {}", self.blocks.len(), self.heads, self.activation.name())
    }
}

/// What a transformer's weights don't say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TransformerSettings {
    /// How its attention is split.
    pub(super) heads: Heads,
    /// The activation between the two layers of a block's MLP.
    pub(super) activation: Activation,
    /// Added to the variance by its layer norms.
    pub(super) epsilon: f32,
}

/// How the channels of a transformer are split into attention heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heads {
    /// So many heads.
    Count(usize),
    /// Heads of so many channels.
    Width(usize),
}

impl Heads {
    /// Their number for `width` channels.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`](crate::ErrorKind::Weights), naming the layer `name`, if each wouldn't have the same multiple of 4
    /// channels.
    pub(super) fn of(self, weights: &Weights, name: &str, width: usize) -> Result<usize> {
        let heads = match self {
            Self::Count(heads) => heads,
            Self::Width(head) => width.checked_div(head).unwrap_or(0),
        };
        if heads == 0 || !width.is_multiple_of(4 * heads) {
            let message = format!("{width} channels (`{name}`) don't make {heads} heads, each of a multiple of 4");
            return Err(weights.error(message));
        }
        Ok(heads)
    }
}

/// Names within a block, behind `{blocks}.{i}.`; those of layers without their `.weight` and `.bias`.
#[derive(Debug)]
pub(super) struct BlockNames {
    pub(super) norm1: &'static str,
    pub(super) attention: AttentionNames,
    pub(super) attention_out: &'static str,
    pub(super) norm2: &'static str,
    pub(super) fc1: &'static str,
    pub(super) fc2: &'static str,
}

/// How queries, keys and values are stored.
#[derive(Debug)]
pub(super) enum AttentionNames {
    /// Weight and bias with all three below one another.
    Packed([&'static str; 2]),
    /// A linear layer each.
    Separate([&'static str; 3]),
}

struct Loader<'a> {
    weights: &'a Weights,
    names: &'a BlockNames,
    width: usize,
    heads: usize,
    epsilon: f32,
}

impl Loader<'_> {
    fn block(&self, prefix: &str) -> Result<Block> {
        let Self { weights, names, width, epsilon, .. } = *self;
        let fc1 = format!("{prefix}.{}", names.fc1);
        let [hidden, _] = weights.extents(&format!("{fc1}.weight"))?;
        Ok(Block {
            norm1: layer_norm(weights, &format!("{prefix}.{}", names.norm1), width, epsilon)?,
            qkv: self.qkv(prefix)?,
            attention_out: linear(weights, &format!("{prefix}.{}", names.attention_out), width, width)?,
            norm2: layer_norm(weights, &format!("{prefix}.{}", names.norm2), width, epsilon)?,
            fc1: linear(weights, &fc1, hidden, width)?,
            fc2: linear(weights, &format!("{prefix}.{}", names.fc2), width, hidden)?,
        })
    }

    fn qkv(&self, prefix: &str) -> Result<Linear> {
        let Self { weights, width, .. } = *self;
        let (weight, bias) = match &self.names.attention {
            AttentionNames::Packed([weight, bias]) => (
                weights.tensor_shaped(&format!("{prefix}.{weight}"), &[3 * width, width])?.into_data(),
                weights.vector(&format!("{prefix}.{bias}"), 3 * width)?,
            ),
            AttentionNames::Separate(parts) => {
                let (mut weight, mut bias) = (Vec::with_capacity(3 * width * width), Vec::with_capacity(3 * width));
                for part in parts {
                    let square = weights.tensor_shaped(&format!("{prefix}.{part}.weight"), &[width, width])?;
                    weight.extend_from_slice(square.data());
                    bias.extend(weights.vector(&format!("{prefix}.{part}.bias"), width)?);
                }
                (weight, bias)
            }
        };
        held_linear(weights, scaled_qkv(&format!("{prefix}.qkv"), weight, bias, self.heads))
    }
}

/// Queries, keys and values as one layer, from a `weight` `[3D, D]` and a `bias` `[3D]` with the three below one another;
/// attention's `1/√d` is folded into the queries.
pub(super) fn scaled_qkv(name: &str, weight: Vec<f32>, bias: Vec<f32>, heads: usize) -> Linear {
    let width = bias.len() / 3;
    let scale = 1.0 / ((width / heads) as f64).sqrt();
    let fold = |mut values: Vec<f32>, queries: usize| {
        for value in &mut values[..queries] {
            *value = (f64::from(*value) * scale) as f32;
        }
        values
    };
    let weight = Tensor::new([3 * width, width], fold(weight, width * width));
    Linear::new(name, &weight, Some(&fold(bias, width)))
}
