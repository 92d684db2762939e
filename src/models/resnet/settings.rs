//! What a ResNet's configuration says and its weights don't.

use crate::error::Result;
use crate::weights::Config;

/// Variants of timm's whose weights look like a plain ResNet's: the difference has no parameters.
const REFUSED_ARCHITECTURES: [(&str, &str); 3] =
    [("resnetblur", "blurred pooling"), ("resnetaa", "anti-aliased pooling"), ("resnetv2", "pre-activation blocks")];

/// Refuses what the configuration says and isn't supported.
pub(super) fn check(config: &Config) -> Result<()> {
    if let Some(architecture) = config.text("architecture")? {
        for (prefix, variant) in REFUSED_ARCHITECTURES {
            if architecture.starts_with(prefix) {
                return Err(config.error("architecture", format!("is {architecture}; {variant} isn't supported")));
            }
        }
    }
    if let Some(pooling) = config.text("global_pool")?.filter(|&pooling| pooling != "avg") {
        return Err(config.error("global_pool", format!("is {pooling}; only avg is supported")));
    }
    for argument in ["act_layer", "aa_layer", "output_stride", "replace_stem_pool"] {
        let path = format!("model_args.{argument}");
        if let Some(value) = config.get(&path) {
            return Err(config.error(&path, format!("is {value}; only its default is supported")));
        }
    }
    Ok(())
}
