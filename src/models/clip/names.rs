//! The two sets of names that CLIP's tensors go by.

use crate::models::layout::ClipLayout;
use crate::models::patches::PatchNames;
use crate::models::transformer::{AttentionNames, BlockNames};

/// The names of a CLIP's tensors; those of layers without their `.weight` and `.bias`.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) vision: VisionNames,
    pub(super) text: TextNames,
    pub(super) block: BlockNames,
    /// Whether projections are stored `[inputs, outputs]`, the transpose of a linear layer's weight.
    pub(super) transposed_projections: bool,
}

#[derive(Debug)]
pub(super) struct VisionNames {
    pub(super) patches: PatchNames,
    pub(super) pre_norm: &'static str,
    pub(super) blocks: &'static str,
    pub(super) post_norm: &'static str,
    pub(super) projection: &'static str,
}

#[derive(Debug)]
pub(super) struct TextNames {
    pub(super) token: String,
    pub(super) position: String,
    pub(super) blocks: String,
    pub(super) final_norm: String,
    pub(super) projection: String,
}

impl Names {
    /// The names of a CLIP's layout.
    pub(super) fn of(layout: ClipLayout) -> Self {
        match layout {
            ClipLayout::OpenClip { text } => Self::open_clip(text),
            ClipLayout::HuggingFace => Self::hugging_face(),
        }
    }

    /// transformers' `CLIPModel`.
    fn hugging_face() -> Self {
        Self {
            vision: VisionNames {
                patches: PatchNames {
                    weight: "vision_model.embeddings.patch_embedding.weight",
                    bias: None,
                    class: "vision_model.embeddings.class_embedding",
                    position: "vision_model.embeddings.position_embedding.weight",
                    batched: false,
                },
                pre_norm: "vision_model.pre_layrnorm", // transformers' own spelling
                blocks: "vision_model.encoder.layers",
                post_norm: "vision_model.post_layernorm",
                projection: "visual_projection.weight",
            },
            text: TextNames {
                token: "text_model.embeddings.token_embedding.weight".to_owned(),
                position: "text_model.embeddings.position_embedding.weight".to_owned(),
                blocks: "text_model.encoder.layers".to_owned(),
                final_norm: "text_model.final_layer_norm".to_owned(),
                projection: "text_projection.weight".to_owned(),
            },
            block: BlockNames {
                norm1: "layer_norm1",
                attention: AttentionNames::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
                attention_out: "self_attn.out_proj",
                norm2: "layer_norm2",
                fc1: "mlp.fc1",
                fc2: "mlp.fc2",
            },
            transposed_projections: false,
        }
    }

    /// OpenAI's release and open_clip; `prefix` stands before the names of the text tower.
    fn open_clip(prefix: &str) -> Self {
        let text = |name: &str| format!("{prefix}{name}");
        Self {
            vision: VisionNames {
                patches: PatchNames {
                    weight: "visual.conv1.weight",
                    bias: None,
                    class: "visual.class_embedding",
                    position: "visual.positional_embedding",
                    batched: false,
                },
                pre_norm: "visual.ln_pre",
                blocks: "visual.transformer.resblocks",
                post_norm: "visual.ln_post",
                projection: "visual.proj",
            },
            text: TextNames {
                token: text("token_embedding.weight"),
                position: text("positional_embedding"),
                blocks: text("transformer.resblocks"),
                final_norm: text("ln_final"),
                projection: text("text_projection"),
            },
            block: BlockNames {
                norm1: "ln_1",
                attention: AttentionNames::Packed(["attn.in_proj_weight", "attn.in_proj_bias"]),
                attention_out: "attn.out_proj",
                norm2: "ln_2",
                fc1: "mlp.c_fc",
                fc2: "mlp.c_proj",
            },
            transposed_projections: true,
        }
    }
}
