//! Loading a [`Resnet`] from its files.

use super::load_trunk::Family;
use super::trunk::Trunk;
use super::{Dialect, Resnet, settings};
use crate::error::Result;
use crate::layers::Linear;
use crate::models::layout::refuse_unread;
use crate::models::loading::held_linear;
use crate::models::parameter_count;
use crate::progress::Observer;
use crate::weights::{ModelFiles, Weights};

impl Resnet {
    /// Loads a ResNet from its files.
    ///
    /// # Errors
    /// Those of [`from_weights`](Self::from_weights), and [`ErrorKind::Config`](crate::ErrorKind::Config) if its
    /// configuration is missing where it is needed, or asks for what isn't supported.
    pub(in crate::models) fn load(files: &ModelFiles, dialect: Dialect, observer: &dyn Observer) -> Result<Self> {
        let family = match dialect {
            Dialect::Torchvision => Family::Torchvision,
            Dialect::HuggingFace => {
                let config = files.require_config("config.json", "where its blocks have their stride")?;
                Family::HuggingFace(settings::from_hugging_face(config, files.weights())?)
            }
        };
        let resnet = Self::from_weights(files.weights(), family)?;
        if let Some(size) = resnet.trunk.stem_size().filter(|&size| size != 7) {
            observer.notice(&format!(
                "{}: the stem is a {size}×{size} convolution; it is taken to have stride 2 and a max pool behind it, as \
                 torchvision's 7×7 one",
                files.weights().name()
            ));
        }
        if dialect == Dialect::Torchvision {
            files.config("config.json").map_or(Ok(()), settings::check)?;
        }
        Ok(resnet)
    }

    /// Loads a ResNet under a family's names.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`](crate::ErrorKind::Weights) if it is a variant that isn't supported, or if a tensor is missing
    /// or of another shape; or a tensor's own error.
    pub(in crate::models) fn from_weights(weights: &Weights, family: Family) -> Result<Self> {
        let trunk = Trunk::load(weights, family)?;
        let head = if let Family::HuggingFace(_) = family { "classifier.1" } else { "fc" };
        let (weight, bias) = (format!("{head}.weight"), format!("{head}.bias"));
        let [classes, _] = weights.extents(&weight)?;
        let matrix = weights.tensor_shaped(&weight, &[classes, trunk.outputs()])?;
        let head = held_linear(weights, Linear::new(&weight, &matrix, Some(&weights.vector(&bias, classes)?)))?;
        refuse_unread(weights, "ResNet", |name| name.ends_with("num_batches_tracked"))?;
        Ok(Self { trunk, head, parameters: parameter_count(weights) })
    }
}
