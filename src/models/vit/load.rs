//! Loading a [`Vit`] under timm's and transformers' names.

use super::{Vit, settings};
use crate::error::Result;
use crate::models::layout::refuse_unread;
use crate::models::loading::{layer_norm, linear};
use crate::models::parameter_count;
use crate::models::patches::{PatchNames, Patches};
use crate::models::transformer::{AttentionNames, BlockNames, Transformer, TransformerSettings};
use crate::weights::{ModelFiles, Weights};

/// Whose names and configuration a ViT's files have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::models) enum Dialect {
    /// timm's `VisionTransformer`.
    Timm,
    /// transformers' `ViTForImageClassification`.
    HuggingFace,
}

/// The names of a ViT's tensors; those of layers without their `.weight` and `.bias`.
struct Names {
    patches: PatchNames,
    blocks: &'static str,
    block: BlockNames,
    norm: &'static str,
    head: &'static str,
    /// Starts of the names of tensors that no classification reads.
    ignored: &'static [&'static str],
}

static TIMM: Names = Names {
    patches: PatchNames {
        weight: "patch_embed.proj.weight",
        bias: Some("patch_embed.proj.bias"),
        class: "cls_token",
        position: "pos_embed",
        batched: true,
    },
    blocks: "blocks",
    block: BlockNames {
        norm1: "norm1",
        attention: AttentionNames::Packed(["attn.qkv.weight", "attn.qkv.bias"]),
        attention_out: "attn.proj",
        norm2: "norm2",
        fc1: "mlp.fc1",
        fc2: "mlp.fc2",
    },
    norm: "norm",
    head: "head",
    ignored: &[],
};

static HUGGING_FACE: Names = Names {
    patches: PatchNames {
        weight: "vit.embeddings.patch_embeddings.projection.weight",
        bias: Some("vit.embeddings.patch_embeddings.projection.bias"),
        class: "vit.embeddings.cls_token",
        position: "vit.embeddings.position_embeddings",
        batched: true,
    },
    blocks: "vit.encoder.layer",
    block: BlockNames {
        norm1: "layernorm_before",
        attention: AttentionNames::Separate([
            "attention.attention.query",
            "attention.attention.key",
            "attention.attention.value",
        ]),
        attention_out: "attention.output.dense",
        norm2: "layernorm_after",
        fc1: "intermediate.dense",
        fc2: "output.dense",
    },
    norm: "vit.layernorm",
    head: "classifier",
    ignored: &["vit.pooler.", "vit.embeddings.mask_token"],
};

impl Dialect {
    fn names(self) -> &'static Names {
        match self {
            Self::Timm => &TIMM,
            Self::HuggingFace => &HUGGING_FACE,
        }
    }
}

impl Vit {
    /// Loads a ViT from its files.
    ///
    /// # Errors
    /// Those of [`from_weights`](Self::from_weights), and [`ErrorKind::Config`](crate::ErrorKind::Config) if `config.json` is
    /// missing, asks for what isn't supported or doesn't fit the weights.
    pub(in crate::models) fn load(files: &ModelFiles, dialect: Dialect) -> Result<Self> {
        let config = files.require_config("config.json", "how its attention is split")?;
        let settings = match dialect {
            Dialect::Timm => settings::from_timm(config)?,
            Dialect::HuggingFace => settings::from_hugging_face(config)?,
        };
        let vit = Self::from_weights(files.weights(), dialect, settings)?;
        settings::check_size(config, vit.patches.image_size())?;
        Ok(vit)
    }

    /// Loads a ViT's tensors.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`](crate::ErrorKind::Weights) if it is a variant that isn't supported, or if a tensor is missing
    /// or of another shape; or a tensor's own error.
    pub(super) fn from_weights(weights: &Weights, dialect: Dialect, settings: TransformerSettings) -> Result<Self> {
        let names = dialect.names();
        let patches = Patches::load(weights, &names.patches)?;
        let width = patches.width();
        let transformer = Transformer::load(weights, names.blocks, &names.block, width, settings, false)?;
        let norm = layer_norm(weights, names.norm, width, settings.epsilon)?;
        let [classes, _] = weights.extents(&format!("{}.weight", names.head))?;
        let head = linear(weights, names.head, classes, width)?;
        refuse_unread(weights, "ViT", |name| names.ignored.iter().any(|start| name.starts_with(start)))?;
        Ok(Self { patches, transformer, norm, head, parameters: parameter_count(weights) })
    }
}
