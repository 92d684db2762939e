//! Pictures to the tokens of a vision transformer.

use super::loading::held_conv;
use crate::error::Result;
use crate::layers::Activation::Identity;
use crate::layers::{Conv2d, ConvOptions, PatchEmbedding};
use crate::plan::{Plan, Var};
use crate::tensor::Tensor;
use crate::weights::Weights;

/// A square of patches behind the class token, all with their positions.
#[derive(Debug, Clone)]
pub(super) struct Patches {
    patch: Conv2d,
    embedding: PatchEmbedding,
    image_size: usize,
}

/// The names of its tensors.
#[derive(Debug)]
pub(super) struct PatchNames {
    pub(super) weight: &'static str,
    pub(super) bias: Option<&'static str>,
    pub(super) class: &'static str,
    pub(super) position: &'static str,
    /// Whether class token and positions are stored as a batch of one: `[1, 1, channels]` and `[1, tokens, channels]`.
    pub(super) batched: bool,
}

impl Patches {
    /// Records the tokens of normalised `pixels`, `[n, tokens, channels]`.
    pub(super) fn record(&self, plan: &mut Plan, pixels: Var) -> Var {
        let x = plan.conv2d(pixels, &self.patch, Identity);
        plan.embed_patches(x, &self.embedding)
    }

    /// Loads them from what `names` says.
    pub(super) fn load(weights: &Weights, names: &PatchNames) -> Result<Self> {
        let [width, _, patch, _] = weights.extents(names.weight)?;
        let filter = weights.tensor_shaped(names.weight, &[width, 3, patch, patch])?;
        let bias = names.bias.map(|bias| weights.vector(bias, width)).transpose()?;
        let (class, position) = if names.batched {
            let [_, tokens, _] = weights.extents(names.position)?;
            let position = weights.tensor_shaped(names.position, &[1, tokens, width])?;
            let class = weights.tensor_shaped(names.class, &[1, 1, width])?;
            (class.into_data(), Tensor::new([tokens, width], position.into_data()))
        } else {
            let [tokens, _] = weights.extents(names.position)?;
            (weights.vector(names.class, width)?, weights.tensor_shaped(names.position, &[tokens, width])?)
        };
        let tokens = position.rows();
        let grid = tokens.saturating_sub(1).isqrt();
        if grid == 0 || grid * grid + 1 != tokens {
            let message =
                format!("`{}` has {tokens} positions, not a class token's and a square of patches", names.position);
            return Err(weights.error(message));
        }
        let options = ConvOptions { stride: patch, ..ConvOptions::default() };
        Ok(Self {
            patch: held_conv(weights, Conv2d::new(names.weight, &filter, bias.as_deref(), options))?,
            embedding: PatchEmbedding::new("vision embedding", &class, &position),
            image_size: grid * patch,
        })
    }

    /// The height and width of its input in pixels.
    pub(super) fn image_size(&self) -> [usize; 2] {
        [self.image_size; 2]
    }

    /// The number of channels of a token.
    pub(super) fn width(&self) -> usize {
        self.embedding.channels
    }

    /// Its sizes in words, such as `patch 32, width 768`.
    pub(super) fn describe(&self) -> String {
        format!("patch {}, width {}", self.patch.window.height, self.width())
    }
}
