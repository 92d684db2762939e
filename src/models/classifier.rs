//! An image classifier: the network, its preprocessing and the names of its classes.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::convnext::ConvNext;
use super::layout::{ClassifierLayout, Layout};
use super::resnet::{self, Resnet};
use super::vit::Vit;
use super::{ClassifierOutput, InputSize, Network, normalize, pixel_input};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Preprocess, Torchvision};
use crate::plan::{Plan, Var};
use crate::progress::Observer;
use crate::weights::{Config, ModelFiles, Precision};

/// Where `config.json` may name the classes: timm's keys, at the top or in `pretrained_cfg`, then transformers'.
pub(super) const NAME_KEYS: [&str; 3] = ["label_names", "pretrained_cfg.label_names", "id2label"];

/// The layout that has a preprocessing of its own: torchvision writes no configuration.
const TORCHVISION: ClassifierLayout = ClassifierLayout::Resnet(resnet::Dialect::Torchvision);

/// timm's words for torchvision's second preset: bilinear, 224 pixels out of 232.
const TORCHVISION_V2: &str = r#"{"input_size": [3, 224, 224], "crop_pct": 0.9655, "interpolation": "bilinear"}"#;

/// A classifier with all that belongs to it.
#[derive(Debug, Clone)]
pub struct Classifier {
    network: Arc<dyn Network>,
    preprocess: Preprocess,
    class_names: Option<Vec<String>>,
    sha256: String,
    precision: Precision,
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
    /// Preprocessing is that of timm's `config.json`, or of transformers' `preprocessor_config.json`, or else, for a ResNet
    /// under torchvision's names, torchvision's first ImageNet preset, with a notice. Class names are `label_names` or `id2label` of `config.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`](crate::ErrorKind::Weights) if it is another network or a variant that isn't supported, or if a
    /// tensor is missing or of another shape; [`ErrorKind::Config`](crate::ErrorKind::Config) if a configuration file can't be
    /// followed or doesn't fit the weights; or a tensor's own error.
    pub fn load(files: &ModelFiles, observer: &dyn Observer) -> Result<Self> {
        let layout = match Layout::of(files.weights())? {
            Layout::Classifier(layout) => layout,
            Layout::Clip(_) => return Err(files.weights().error("a CLIP; an image classifier was expected")),
        };
        let network: Arc<dyn Network> = match layout {
            ClassifierLayout::Resnet(dialect) => Arc::new(Resnet::load(files, dialect, observer)?),
            ClassifierLayout::ConvNext(dialect) => Arc::new(ConvNext::load(files, dialect)?),
            ClassifierLayout::Vit(dialect) => Arc::new(Vit::load(files, dialect)?),
        };
        let class_names = match files.config("config.json") {
            Some(config) => {
                check_classes(config, network.num_classes())?;
                class_names(config, network.num_classes())?
            }
            None => None,
        };
        let preprocess = preprocess(files, layout, network.input_size(), observer)?;
        let (sha256, precision) = (files.weights().sha256().to_owned(), files.weights().precision());
        Ok(Self { network, preprocess, class_names, sha256, precision })
    }

    /// The network.
    pub fn network(&self) -> &dyn Network {
        &*self.network
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

    /// How its weights are held on the GPU.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// An input of 8-bit pixels as [`preprocess`](Self::preprocess) makes them.
    pub fn input(&self, plan: &mut Plan) -> Var {
        pixel_input(plan, &self.preprocess)
    }

    /// Records the forward pass on such an input.
    pub fn record(&self, plan: &mut Plan, pixels: Var) -> ClassifierOutput {
        let pixels = normalize(plan, pixels, &self.preprocess);
        self.network.record(plan, pixels)
    }
}

/// Refuses another number of classes than the weights have.
fn check_classes(config: &Config, classes: usize) -> Result<()> {
    match config.integer("num_classes")?.filter(|&configured| configured != classes) {
        Some(configured) => Err(config.error("num_classes", format!("is {configured}, but the head has {classes}"))),
        None => Ok(()),
    }
}

/// Whether a `config.json` is timm's, which says how pictures are prepared; that of transformers doesn't.
pub(super) fn is_timm(config: &Config) -> bool {
    ["architecture", "pretrained_cfg", "input_size"].iter().any(|key| config.get(key).is_some())
}

/// The preprocessing that the configuration asks for, which must make what the network takes.
fn preprocess(
    files: &ModelFiles,
    layout: ClassifierLayout,
    size: InputSize,
    observer: &dyn Observer,
) -> Result<Preprocess> {
    let config = files.config("config.json");
    let (preprocess, config) = match config.filter(|config| is_timm(config)) {
        Some(config) => (Preprocess::from_timm(config.value(), Path::new(config.name()))?, config),
        None if layout == TORCHVISION && files.image_processor().is_err() => {
            let name = files.weights().name();
            observer.notice(&format!(
                "{name}: no configuration beside it says how pictures are prepared; torchvision's IMAGENET1K_V1 preset is used \
                 (for IMAGENET1K_V2, put a config.json beside it with {TORCHVISION_V2})"
            ));
            return Ok(Preprocess::torchvision(Torchvision::V1));
        }
        None => {
            let model_type = config.map(|config| config.text("model_type")).transpose()?.flatten();
            let (settings, config) = files.image_processor()?;
            (Preprocess::from_hf(settings, model_type, Path::new(config.name()))?, config)
        }
    };
    let &Preprocess { height, width, .. } = &preprocess;
    if size.takes([height, width]) {
        return Ok(preprocess);
    }
    let message = format!("{}: makes {width}×{height} pixels, but the network takes {size}", config.name());
    Err(Error::new(ErrorKind::Config, message))
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
