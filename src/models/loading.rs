//! What the loaders of several networks have in common.

use crate::error::Result;
use crate::layers::{Activation, Conv2d, LayerNorm, Linear, Parameter};
use crate::weights::{Config, Precision, Weights};

/// The activation that transformers' configuration has at `path`.
///
/// # Errors
/// [`ErrorKind::Config`](crate::ErrorKind::Config) if it is one that isn't supported.
pub(super) fn activation(config: &Config, path: &str, default: Activation) -> Result<Activation> {
    match config.text(path)? {
        None => Ok(default),
        Some("relu") => Ok(Activation::Relu),
        Some("quick_gelu") => Ok(Activation::QuickGelu),
        Some("gelu") => Ok(Activation::Gelu),
        Some(other) => Err(config.error(path, format!("is {other}; relu, quick_gelu and gelu are supported"))),
    }
}

/// Arguments of timm's models that weights and configuration show anyway, and those that only training heeds.
const TIMM_SHOWN: [&str; 6] = ["num_classes", "in_chans", "global_pool", "drop_rate", "drop_path_rate", "pretrained"];

/// Refuses what timm's `config.json` asks for and isn't supported: another pooling than `pooling`, and any of `model_args` that
/// is neither among `shown`, whose values don't matter, nor has one of the values (as JSON) in `plain`.
///
/// # Errors
/// [`ErrorKind::Config`](crate::ErrorKind::Config) naming the key.
pub(super) fn check_timm(config: &Config, pooling: &str, shown: &[&str], plain: &[(&str, &str)]) -> Result<()> {
    for path in ["global_pool", "model_args.global_pool"] {
        if let Some(other) = config.text(path)?.filter(|&found| found != pooling) {
            return Err(config.error(path, format!("is {other}; only {pooling} is supported")));
        }
    }
    let given = config.get("model_args").and_then(|given| given.as_object()).into_iter().flatten();
    for (argument, value) in given.filter(|(_, value)| !value.is_null()) {
        let is_shown = shown.iter().chain(&TIMM_SHOWN).any(|shown| shown == argument);
        let is_plain = plain.contains(&(argument.as_str(), value.to_string().as_str()));
        if !is_shown && !is_plain {
            return Err(config.error(&format!("model_args.{argument}"), format!("is {value}, which isn't supported")));
        }
    }
    Ok(())
}

/// A matrix as the precision of its weights says.
pub(super) fn held_linear(weights: &Weights, layer: Linear) -> Result<Linear> {
    Ok(Linear { weight: held(weights, &layer.weight)?, ..layer })
}

/// A convolution as the precision of its weights says. Grouped ones stay f32: their weights are few.
pub(super) fn held_conv(weights: &Weights, layer: Conv2d) -> Result<Conv2d> {
    if layer.groups > 1 {
        return Ok(layer);
    }
    Ok(Conv2d { weight: held(weights, &layer.weight)?, ..layer })
}

fn held(weights: &Weights, parameter: &Parameter) -> Result<Parameter> {
    let held = match weights.precision() {
        Precision::F32 => Ok(parameter.clone()),
        Precision::F16 => parameter.in_f16(),
        Precision::F16Matrices => parameter.for_matrices(),
    };
    held.map_err(|error| error.at(weights.name()))
}

/// The linear layer `name`, `[outputs, inputs]` with a bias.
pub(super) fn linear(weights: &Weights, name: &str, outputs: usize, inputs: usize) -> Result<Linear> {
    let weight = weights.tensor_shaped(&format!("{name}.weight"), &[outputs, inputs])?;
    let bias = weights.vector(&format!("{name}.bias"), outputs)?;
    held_linear(weights, Linear::new(name, &weight, Some(&bias)))
}

/// The layer norm `name` over `width` channels.
pub(super) fn layer_norm(weights: &Weights, name: &str, width: usize, epsilon: f32) -> Result<LayerNorm> {
    let weight = weights.vector(&format!("{name}.weight"), width)?;
    let bias = weights.vector(&format!("{name}.bias"), width)?;
    Ok(LayerNorm::new(name, &weight, &bias, epsilon))
}
