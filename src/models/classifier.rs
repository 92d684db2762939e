//! An image classifier: the network, its preprocessing and the names of its classes.

use std::path::Path;

use serde_json::Value;

use super::{Resnet, ResnetOutput, normalize, pixel_input};
use crate::error::Result;
use crate::image::{Preprocess, Torchvision};
use crate::plan::{Plan, Var};
use crate::progress::Observer;
use crate::weights::{Config, ModelFiles};

/// Variants of timm's whose weights look like a plain ResNet's: the difference has no parameters.
const REFUSED_ARCHITECTURES: [(&str, &str); 3] =
    [("resnetblur", "blurred pooling"), ("resnetaa", "anti-aliased pooling"), ("resnetv2", "pre-activation blocks")];

/// Where `config.json` may name the classes: timm's keys, at the top or in `pretrained_cfg`, then transformers'.
pub(super) const NAME_KEYS: [&str; 3] = ["label_names", "pretrained_cfg.label_names", "id2label"];

/// A classifier with all that belongs to it.
#[derive(Debug, Clone)]
pub struct Classifier {
    resnet: Resnet,
    preprocess: Preprocess,
    class_names: Option<Vec<String>>,
    sha256: String,
}

impl Classifier {
    /// Loads the classifier at `path`, a folder or a `.safetensors` file; see [`load`](Self::load).
    ///
    /// # Errors
    /// Those of [`ModelFiles::open`] and [`load`](Self::load).
    pub fn open(path: impl AsRef<Path>, observer: &dyn Observer) -> Result<Self> {
        Self::load(&ModelFiles::open(path)?, observer)
    }

    /// Loads a classifier from its files.
    ///
    /// Preprocessing is that of timm's `config.json`, or of transformers' `preprocessor_config.json`, or else torchvision's
    /// first ImageNet preset, with a notice. Class names are `label_names` or `id2label` of `config.json`.
    ///
    /// # Errors
    /// Those of [`Resnet::load`]; [`ErrorKind::Config`](crate::ErrorKind::Config) if a configuration file can't be followed or
    /// doesn't fit the weights.
    pub fn load(files: &ModelFiles, observer: &dyn Observer) -> Result<Self> {
        let resnet = Resnet::load(files.weights())?;
        let name = files.weights().name();
        if resnet.stem_size() != 7 {
            let size = resnet.stem_size();
            observer.notice(&format!(
                "{name}: the stem is a {size}×{size} convolution; it is taken to have stride 2 and a max pool behind it, as \
                 torchvision's 7×7 one"
            ));
        }
        let config = files.config("config.json");
        if let Some(config) = config {
            check(config, resnet.num_classes())?;
        }
        let class_names = config.map(|config| class_names(config, resnet.num_classes())).transpose()?.flatten();
        let preprocess = match preprocess(files)? {
            Some(preprocess) => preprocess,
            None => {
                observer.notice(&format!(
                    "{name}: no configuration beside it says how pictures are prepared; torchvision's IMAGENET1K_V1 preset is \
                     used"
                ));
                Preprocess::torchvision(Torchvision::V1)
            }
        };
        Ok(Self { resnet, preprocess, class_names, sha256: files.weights().sha256().to_owned() })
    }

    /// The network.
    pub fn resnet(&self) -> &Resnet {
        &self.resnet
    }

    /// How pictures are made into its input.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The names of its classes in the order of the logits, if its configuration has them.
    pub fn class_names(&self) -> Option<&[String]> {
        self.class_names.as_deref()
    }

    /// The SHA-256 of its weights, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// An input of 8-bit pixels as [`preprocess`](Self::preprocess) makes them.
    pub fn input(&self, plan: &mut Plan) -> Var {
        pixel_input(plan, &self.preprocess)
    }

    /// Records the forward pass on such an input.
    pub fn record(&self, plan: &mut Plan, pixels: Var) -> ResnetOutput {
        let pixels = normalize(plan, pixels, &self.preprocess);
        self.resnet.record(plan, pixels)
    }
}

/// Refuses what the configuration says and the weights can't.
fn check(config: &Config, classes: usize) -> Result<()> {
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
    match config.integer("num_classes")?.filter(|&configured| configured != classes) {
        Some(configured) => Err(config.error("num_classes", format!("is {configured}, but the head has {classes}"))),
        None => Ok(()),
    }
}

fn preprocess(files: &ModelFiles) -> Result<Option<Preprocess>> {
    let timm =
        |config: &&Config| ["architecture", "pretrained_cfg", "input_size"].iter().any(|key| config.get(key).is_some());
    if let Some(config) = files.config("config.json").filter(timm) {
        return Preprocess::from_timm(config.value(), Path::new(config.name())).map(Some);
    }
    let config = files.config("preprocessor_config.json");
    config.map(|config| Preprocess::from_hf(config.value(), Path::new(config.name()))).transpose()
}

/// The names under the first of [`NAME_KEYS`] that is there.
fn class_names(config: &Config, classes: usize) -> Result<Option<Vec<String>>> {
    for path in NAME_KEYS {
        let names = match config.get(path) {
            None => continue,
            Some(Value::Array(names)) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
            Some(Value::Object(names)) => {
                let name = |index: usize| names.get(&index.to_string())?.as_str().map(str::to_owned);
                (0..names.len()).map(name).collect()
            }
            Some(_) => None,
        };
        let Some(names): Option<Vec<String>> = names else {
            return Err(config.error(path, "isn't a list of names, or an object of names by index from 0"));
        };
        if names.len() != classes {
            return Err(config.error(path, format!("has {} names, but the head has {classes} classes", names.len())));
        }
        return Ok(Some(names));
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
