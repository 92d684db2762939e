//! What a ConvNeXt's configuration says and its weights don't: activation and epsilons; and what isn't supported.

use crate::error::Result;
use crate::layers::Activation;
use crate::models::loading::{activation, check_timm};
use crate::weights::Config;

/// timm's default, and that of all norms but the final one in transformers.
const EPSILON: f64 = 1e-6;
/// timm's architectures with another epsilon.
const TIMM_EPSILONS: [(&str, f64); 1] = [("convnext_xxlarge", 1e-5)];
/// Arguments of timm's `ConvNeXt` that its weights show or that are followed.
const TIMM_SHOWN: [&str; 8] =
    ["depths", "dims", "kernel_sizes", "patch_size", "conv_mlp", "ls_init_value", "head_init_scale", "norm_eps"];
/// Its other arguments, with the values (as JSON) of a plain ConvNeXt.
const TIMM_PLAIN: [(&str, &str); 7] = [
    ("act_layer", "\"gelu\""),
    ("conv_bias", "true"),
    ("head_norm_first", "false"),
    ("norm_layer", "\"layernorm\""),
    ("output_stride", "32"),
    ("stem_type", "\"patch\""),
    ("use_grn", "false"),
];
/// transformers' default of the final norm's epsilon.
const DEFAULT_FINAL_EPSILON: f64 = 1e-12;

/// What a ConvNeXt's weights don't say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Settings {
    /// The activation between the two layers of a block's MLP.
    pub(super) activation: Activation,
    /// Added to the variance by all norms but the final one.
    pub(super) epsilon: f32,
    /// Added to the variance by the norm behind the pooling.
    pub(super) final_epsilon: f32,
}

/// From timm's `config.json`.
pub(super) fn from_timm(config: &Config) -> Result<Settings> {
    check_timm(config, "avg", &TIMM_SHOWN, &TIMM_PLAIN)?;
    let architecture = config.text("architecture")?.unwrap_or_default();
    if architecture.starts_with("test_convnext") {
        return Err(config.error("architecture", format!("is {architecture}; its activation isn't supported")));
    }
    let known =
        TIMM_EPSILONS.iter().find(|(name, _)| architecture.starts_with(name)).map_or(EPSILON, |&(_, known)| known);
    let epsilon = config.number("model_args.norm_eps")?.unwrap_or(known) as f32;
    Ok(Settings { activation: Activation::Gelu, epsilon, final_epsilon: epsilon })
}

/// From transformers' `config.json`. What it leaves out has transformers' defaults.
pub(super) fn from_hugging_face(config: &Config) -> Result<Settings> {
    if let Some(kind) = config.text("model_type")?.filter(|&kind| kind != "convnext") {
        return Err(config.error("model_type", format!("is {kind}; convnext was expected")));
    }
    Ok(Settings {
        activation: activation(config, "hidden_act", Activation::Gelu)?,
        epsilon: EPSILON as f32,
        final_epsilon: config.number("layer_norm_eps")?.unwrap_or(DEFAULT_FINAL_EPSILON) as f32,
    })
}
