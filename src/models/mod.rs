//! The networks, as readable lists of layers, and how they are found in weight files.
//!
//! A model is loaded from a folder in its ecosystem's layout or from a `.safetensors` file. All shapes are checked then,
//! so that recording a forward pass can't fail:
//!
//! ```no_run
//! use heatlens::models::Classifier;
//! use heatlens::{Plan, Silent};
//!
//! let classifier = Classifier::open("resnet50", &Silent)?;
//! let mut plan = Plan::new(8);
//! let pixels = classifier.input(&mut plan);
//! let output = classifier.record(&mut plan, pixels);
//! plan.output("logits", output.logits);
//! println!("{plan}");
//! # Ok::<(), heatlens::Error>(())
//! ```
//!
//! A layout that isn't known is refused by its name. Tensors that a known layout doesn't have are refused as well: they
//! belong to a variant that would load but compute something else.

mod architecture;
mod classifier;
mod clip;
mod convnext;
mod inspect;
mod layout;
mod loading;
mod network;
mod patches;
mod resnet;
mod specs;
#[cfg(test)]
mod testing;
mod transformer;
mod vit;

use std::path::Path;
use std::sync::Arc;

pub use architecture::{Architecture, FormulaNetwork, SampleSize, Samples};
pub use classifier::Classifier;
pub use clip::{Clip, ClipText, ClipVision};
pub use inspect::{
    ClassFacts, FileFacts, Inspection, Largest, ModelFacts, Nearest, PlanFacts, TensorFindings, TextFacts, Unmatched,
};
pub use network::{ClassifierOutput, InputSize, Network};

use crate::error::Result;
use crate::image::Preprocess;
use crate::kernels::{Element, Gemm};
use crate::layers::Normalization;
use crate::plan::{Plan, Var};
use crate::progress::Observer;
use crate::weights::{ModelFiles, Precision, Weights};
use layout::Layout;

/// What is handed each intermediate result of a forward pass, with its name, as it is recorded.
///
/// To make all of them outputs of the plan, so that a wrong model can be bisected:
///
/// ```
/// # use heatlens::models::Tap;
/// let tap: &mut Tap<'_> = &mut |plan, name, var| plan.output(name, var);
/// ```
pub type Tap<'a> = dyn FnMut(&mut Plan, &str, Var) + 'a;

/// A model of whichever kind a path holds.
#[derive(Debug)]
pub enum Model {
    /// An image classifier.
    Classifier(Box<Classifier>),
    /// An image tower and a text tower.
    Clip(Box<Clip>),
}

impl Model {
    /// Loads the model at `path`, a folder or a `.safetensors` file, as what its tensors' names say it is.
    ///
    /// # Errors
    /// Those of [`Classifier::open`] and [`Clip::open`].
    pub fn open(path: impl AsRef<Path>, observer: &dyn Observer) -> Result<Self> {
        Self::load(&ModelFiles::open(path)?, observer)
    }

    /// Loads a model from its files, as what its tensors' names say it is.
    ///
    /// # Errors
    /// Those of [`Classifier::load`] and [`Clip::load`].
    pub fn load(files: &ModelFiles, observer: &dyn Observer) -> Result<Self> {
        Ok(match Layout::of(files.weights())? {
            Layout::Classifier(_) => Self::Classifier(Box::new(Classifier::load(files, observer)?)),
            Layout::Clip(_) => Self::Clip(Box::new(Clip::load(files)?)),
        })
    }

    /// How pictures are made into its input.
    pub fn preprocess(&self) -> &Preprocess {
        match self {
            Self::Classifier(classifier) => classifier.preprocess(),
            Self::Clip(clip) => clip.preprocess(),
        }
    }

    /// The SHA-256 of its weights, in hexadecimal.
    pub fn sha256(&self) -> &str {
        match self {
            Self::Classifier(classifier) => classifier.sha256(),
            Self::Clip(clip) => clip.sha256(),
        }
    }
}

/// A plan of what all networks have most of, a product of weights in `precision`: with it a device can be
/// [prepared](crate::gpu::Device::prepare) before a model is read.
pub fn common_plan(precision: Precision) -> Plan {
    let (weights, on_matrices) = match precision {
        Precision::F32 => (Element::F32, false),
        Precision::F16 => (Element::F16, false),
        Precision::F16Matrices => (Element::F16, true),
    };
    Plan::of_kernel(Arc::new(Gemm { weights, on_matrices, ..Gemm::product(1, 4, 4) }))
}

/// An input of the pixels that `preprocess` makes.
fn pixel_input(plan: &mut Plan, preprocess: &Preprocess) -> Var {
    plan.input_pixels("pixels", preprocess.height, preprocess.width)
}

/// The step of `preprocess` that is left to the GPU: `(value · scale − mean) / std`.
fn normalize(plan: &mut Plan, pixels: Var, preprocess: &Preprocess) -> Var {
    let &Preprocess { height, width, scale, mean, std, .. } = preprocess;
    plan.normalize_image(pixels, [height, width], Normalization { scale, mean, std })
}

/// The number of trained values: all but running statistics, counters and position indices.
fn parameter_count(weights: &Weights) -> usize {
    let trained = |name: &&str| {
        let buffers = ["running_mean", "running_var", "num_batches_tracked", "position_ids"];
        !buffers.iter().any(|buffer| name.ends_with(buffer))
    };
    weights
        .names()
        .filter(trained)
        .filter_map(|name| weights.shape(name))
        .map(|shape| shape.iter().product::<usize>())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use testing::ClipSizes;

    fn open(specs: &testing::Specs) -> Result<Model> {
        let folder = tempfile::tempdir().unwrap();
        let weights = Weights::from_tensors("", &testing::tensors(specs));
        std::fs::write(folder.path().join("any-name.safetensors"), &weights.shards()[0]).unwrap();
        Model::open(folder.path(), &Silent)
    }

    #[test]
    fn the_kind_of_a_model_follows_from_its_tensors() {
        let model = open(&testing::resnet(&[8], &[1], false, 3)).unwrap();
        assert!(matches!(model, Model::Classifier(_)));
        assert_eq!(model.preprocess().height, 224);
        assert_eq!(model.sha256().len(), 64);
        // Taken for a CLIP, whose configuration is then missed.
        let error = open(&ClipSizes::small().open_clip()).unwrap_err();
        assert!(error.to_string().contains("no open_clip_config.json beside it"), "{error}");
    }

    #[test]
    fn parameters_are_counted_without_buffers() {
        let tensors = ["a.weight", "bn.running_mean", "bn.num_batches_tracked", "e.position_ids"];
        let tensors = tensors.map(|name| (name.to_owned(), crate::Tensor::zeros([3, 2])));
        assert_eq!(parameter_count(&Weights::from_tensors("x", &tensors)), 6);
    }
}
