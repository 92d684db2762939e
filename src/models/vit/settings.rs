//! What a ViT's configuration says and its weights don't: heads, activation, epsilon; and what isn't supported.

use crate::error::Result;
use crate::layers::Activation;
use crate::models::loading::{activation, check_timm};
use crate::models::transformer::{Heads, TransformerSettings};
use crate::weights::Config;

/// timm's `LayerNorm`.
const TIMM_EPSILON: f32 = 1e-6;
/// Channels of a head in all of timm's plain ViTs but those of [`TIMM_HEADS`].
const TIMM_HEAD_WIDTH: usize = 64;
/// Heads of the architectures whose heads have other widths.
const TIMM_HEADS: [(&str, usize); 4] = [("vit_huge", 16), ("vit_giant", 16), ("vit_gigantic", 16), ("test_vit", 2)];
/// Beginnings of the names of the architectures whose heads are known.
const TIMM_KNOWN: [&str; 2] = ["vit_", "deit_"];
/// Arguments of timm's `VisionTransformer` that its weights show, and those that change nothing at the size of its positions.
const TIMM_SHOWN: [&str; 12] = [
    "img_size",
    "patch_size",
    "embed_dim",
    "depth",
    "num_heads",
    "mlp_ratio",
    "dynamic_img_size",
    "dynamic_img_pad",
    "pos_drop_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "weight_init",
];
/// Its other arguments, with the values (as JSON) of a plain ViT.
const TIMM_PLAIN: [(&str, &str); 11] = [
    ("act_layer", "\"gelu\""),
    ("class_token", "true"),
    ("fc_norm", "false"),
    ("final_norm", "true"),
    ("no_embed_class", "false"),
    ("pos_embed", "\"learn\""),
    ("pre_norm", "false"),
    ("proj_bias", "true"),
    ("qk_norm", "false"),
    ("qkv_bias", "true"),
    ("reg_tokens", "0"),
];

/// Defaults of transformers' `ViTConfig`.
const DEFAULT_HEADS: usize = 12;
const DEFAULT_EPSILON: f64 = 1e-12;

/// From timm's `config.json`.
pub(super) fn from_timm(config: &Config) -> Result<TransformerSettings> {
    check_timm(config, "token", &TIMM_SHOWN, &TIMM_PLAIN)?;
    let architecture = config.text("architecture")?.unwrap_or_default();
    let known = TIMM_HEADS.iter().find(|(prefix, _)| architecture.starts_with(prefix));
    let heads = match (config.integer("model_args.num_heads")?, known) {
        (Some(heads), _) | (None, Some(&(_, heads))) => Heads::Count(heads),
        (None, None) if TIMM_KNOWN.iter().any(|start| architecture.starts_with(start)) => Heads::Width(TIMM_HEAD_WIDTH),
        (None, None) => {
            let message = format!("is missing, and the number of heads of `{architecture}` isn't known");
            return Err(config.error("model_args.num_heads", message));
        }
    };
    Ok(TransformerSettings { heads, activation: Activation::Gelu, epsilon: TIMM_EPSILON })
}

/// From transformers' `config.json`. What it leaves out has transformers' defaults.
pub(super) fn from_hugging_face(config: &Config) -> Result<TransformerSettings> {
    if let Some(kind) = config.text("model_type")?.filter(|&kind| kind != "vit") {
        return Err(config.error("model_type", format!("is {kind}; vit was expected")));
    }
    if config.flag("qkv_bias")? == Some(false) {
        return Err(config.error("qkv_bias", "is false; only queries, keys and values with a bias are supported"));
    }
    Ok(TransformerSettings {
        heads: Heads::Count(config.integer("num_attention_heads")?.unwrap_or(DEFAULT_HEADS)),
        activation: activation(config, "hidden_act", Activation::Gelu)?,
        epsilon: config.number("layer_norm_eps")?.unwrap_or(DEFAULT_EPSILON) as f32,
    })
}

/// Refuses pictures of another size than the positions are for (transformers' `image_size`, timm's `img_size`).
pub(super) fn check_size(config: &Config, [height, width]: [usize; 2]) -> Result<()> {
    for path in ["image_size", "model_args.img_size"] {
        let Some(found) = config.get(path) else { continue };
        let fits = *found == serde_json::json!(height) || *found == serde_json::json!([height, width]);
        if !fits {
            let message = format!("is {found}, but the positions are those of {width}×{height} pixels");
            return Err(config.error(path, message));
        }
    }
    Ok(())
}
