//! What a ResNet's configuration says and its weights don't.

use super::load_trunk::Settings;
use crate::error::Result;
use crate::layers::Activation;
use crate::models::loading::{activation, check_timm};
use crate::weights::{Config, Weights};

/// Variants of timm's whose weights look like a plain ResNet's: the difference has no parameters.
const REFUSED_ARCHITECTURES: [(&str, &str); 3] =
    [("resnetblur", "blurred pooling"), ("resnetaa", "anti-aliased pooling"), ("resnetv2", "pre-activation blocks")];

/// Arguments of timm's `ResNet` that the weights show, or that only training heeds.
const TIMM_SHOWN: [&str; 12] = [
    "avg_down",
    "base_width",
    "block",
    "block_reduce_first",
    "cardinality",
    "channels",
    "down_kernel_size",
    "drop_block_rate",
    "layers",
    "stem_type",
    "stem_width",
    "zero_init_last",
];
/// Those that the weights don't show, with the values that are supported.
const TIMM_PLAIN: [(&str, &str); 3] =
    [("act_layer", "\"relu\""), ("output_stride", "32"), ("replace_stem_pool", "false")];

/// Refuses what timm's configuration says and isn't supported.
pub(super) fn check(config: &Config) -> Result<()> {
    if let Some(architecture) = config.text("architecture")? {
        for (prefix, variant) in REFUSED_ARCHITECTURES {
            if architecture.starts_with(prefix) {
                return Err(config.error("architecture", format!("is {architecture}; {variant} isn't supported")));
            }
        }
    }
    check_timm(config, "avg", &TIMM_SHOWN, &TIMM_PLAIN)
}

/// From transformers' `config.json`, with transformers' defaults.
pub(super) fn from_hugging_face(config: &Config, weights: &Weights) -> Result<Settings> {
    if let Some(kind) = config.text("model_type")?.filter(|&kind| kind != "resnet") {
        return Err(config.error("model_type", format!("is {kind}; resnet was expected")));
    }
    let found = match weights.contains("resnet.encoder.stages.0.layers.0.layer.2.convolution.weight") {
        true => "bottleneck",
        false => "basic",
    };
    match config.text("layer_type")?.unwrap_or("bottleneck") {
        layer_type if layer_type == found => {}
        layer_type => {
            return Err(config.error("layer_type", format!("is {layer_type}, but the weights are of {found} blocks")));
        }
    }
    Ok(Settings {
        activation: activation(config, "hidden_act", Activation::Relu)?,
        stride_in_first: config.flag("downsample_in_bottleneck")?.unwrap_or(false),
        first_layer_stride: if config.flag("downsample_in_first_stage")?.unwrap_or(false) { 2 } else { 1 },
    })
}
