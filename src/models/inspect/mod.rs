//! What a model's files hold, whether or not they load.
//!
//! ```no_run
//! use heatlens::models::Inspection;
//! use heatlens::weights::Precision;
//!
//! let inspection = Inspection::of("openai/clip-vit-base-patch32", 32, Precision::F32)?;
//! for plan in inspection.model.iter().flat_map(|model| &model.plans) {
//!     println!("{}: {:.1} GFLOP, {} bytes of GPU memory", plan.input, plan.flops as f64 / 1e9, plan.gpu_bytes);
//! }
//! # Ok::<(), heatlens::Error>(())
//! ```

mod facts;
mod tensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Serialize;

pub use facts::{ClassFacts, Largest, ModelFacts, PlanFacts, TextFacts};
pub use tensors::{Nearest, TensorFindings, Unmatched};

use super::layout::Layout;
use super::{Model, parameter_count};
use crate::error::{Error, Result};
use crate::image::Preprocess;
use crate::progress::Observer;
use crate::weights::{ModelFiles, Precision, Weights, locate};

/// What there is to say about a model's files.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Where they lie.
    pub path: PathBuf,
    /// Whose names the tensors have, if they are known.
    pub dialect: Option<&'static str>,
    /// The weight file.
    pub file: FileFacts,
    /// The network; of a file that doesn't load, as far as it can be told.
    pub model: Option<ModelFacts>,
    /// Tensors that the network lacks or doesn't use.
    pub tensors: TensorFindings,
    /// What loading had to say.
    pub notices: Vec<String>,
    /// How pictures are prepared, if that is known.
    #[serde(skip)]
    pub preprocess: Option<Preprocess>,
    /// Why it doesn't load, if it doesn't.
    #[serde(skip)]
    pub error: Option<Error>,
}

/// What a weight file holds, whatever network it belongs to.
#[derive(Debug, Serialize)]
pub struct FileFacts {
    /// Its path, or that of the shards' index.
    pub name: String,
    /// How many files the weights are in.
    pub shards: usize,
    /// The size of all of them.
    pub bytes: u64,
    /// The SHA-256 of all of them, one after another.
    pub sha256: String,
    /// The configuration files beside it.
    pub configs: Vec<String>,
    /// The number of tensors.
    pub tensors: usize,
    /// The number of trained values.
    pub parameters: usize,
    /// How many tensors there are of each type.
    pub dtypes: BTreeMap<String, usize>,
    /// How many tensors there are under each first part of a name.
    pub groups: BTreeMap<String, usize>,
}

impl Inspection {
    /// Inspects the model at `path`, a folder, a `.safetensors` file or a name in the Hugging Face cache; memory is planned for
    /// `batch` inputs at a time and weights of `precision`.
    ///
    /// # Errors
    /// Those of [`ModelFiles::open`]; a model that doesn't load is described as far as possible, and its error is in
    /// [`error`](Self::error).
    pub fn of(path: impl AsRef<Path>, batch: usize, precision: Precision) -> Result<Self> {
        let path = locate(path)?;
        let files = ModelFiles::open(&path)?.with_precision(precision);
        let file = FileFacts::of(&files);
        let dialect = Layout::of(files.weights()).ok().map(Layout::describe);
        let notes = Notes::default();
        let loaded = Model::load(&files, &notes);
        let (model, error, files) = match loaded {
            Ok(model) => (Some(model), None, files),
            Err(error) => {
                let surveyed = files.map_weights(Weights::surveyed);
                (Model::load(&surveyed, &Notes::default()).ok(), Some(error), surveyed)
            }
        };
        let weights = files.weights();
        let tensors = match (&model, &error) {
            // Loading gave up early: what wasn't read by then says nothing.
            (None, _) => TensorFindings::of_missing(weights),
            (Some(_), _) => TensorFindings::of(weights),
        };
        Ok(Self {
            path,
            dialect,
            file,
            preprocess: model.as_ref().map(|model| model.preprocess().clone()),
            model: model.map(|model| ModelFacts::of(&model, &files, batch)),
            tensors,
            notices: notes.into_inner(),
            error,
        })
    }
}

impl FileFacts {
    fn of(files: &ModelFiles) -> Self {
        let weights = files.weights();
        let mut dtypes = BTreeMap::new();
        let mut groups = BTreeMap::new();
        for name in weights.names() {
            *dtypes.entry(weights.dtype(name).unwrap_or_default()).or_default() += 1;
            *groups.entry(name.split('.').next().unwrap_or(name).to_owned()).or_default() += 1;
        }
        Self {
            name: weights.name().to_owned(),
            shards: weights.shards().len(),
            bytes: weights.shards().iter().map(|shard| shard.len() as u64).sum(),
            sha256: weights.sha256().to_owned(),
            configs: files.configs().iter().map(|(name, _)| name.clone()).collect(),
            tensors: weights.len(),
            parameters: parameter_count(weights),
            dtypes,
            groups,
        }
    }
}

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn into_inner(self) -> Vec<String> {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Observer for Notes {
    fn notice(&self, message: &str) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(message.to_owned());
    }
}

#[cfg(test)]
mod tests;
