//! Planted faults: variants of a classifier of which it is known what is wrong, to see whether localisation says so.
//!
//! A plant is a safetensors file that holds the tensors in which the variant differs, under the classifier's own names, and says in
//! its metadata what was done: `kind` (any word; figures are given kind by kind), `cause` (`head`, `encoder` or `mixed`), `seed`,
//! `description`, and where the encoder was made to lose a concept, `class` and `concept`.
//!
//! The errors of a plant are the images that the intact classifier gets right and the variant doesn't. Where each comes from is
//! measured: the variant's head is run on the intact encoder's features and the intact head on the variant's. A plant that says `head` or
//! `encoder` is pure, and its errors must bear it out; those of a mixed one come from either part or from both.

mod evaluate;
mod figures;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::weights::Weights;

pub use evaluate::{LocalizationInputs, evaluate_localization};
pub use figures::{
    BestShortfall, KindLocalization, LocalizationEvaluation, LostConcept, OracleRow, Origin, PlantResult,
};

/// The part that a plant damages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlantedCause {
    /// The head alone.
    Head,
    /// The encoder alone.
    Encoder,
    /// Both.
    Mixed,
}

impl fmt::Display for PlantedCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Head => "head",
            Self::Encoder => "encoder",
            Self::Mixed => "mixed",
        })
    }
}

/// One planted fault.
#[derive(Debug)]
pub struct Plant {
    /// Its file.
    pub path: PathBuf,
    /// What sort of fault it is.
    pub kind: String,
    /// The part that it damages.
    pub cause: PlantedCause,
    /// The number it was made with.
    pub seed: u64,
    /// What was done, in a sentence.
    pub description: String,
    /// The class and the concept of it that the encoder lost.
    pub lost: Option<(String, String)>,
    weights: Weights,
}

impl Plant {
    /// Reads a plant.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] or [`ErrorKind::Format`] naming the file, the latter also if its metadata doesn't say what it is.
    pub fn open(path: &Path) -> Result<Self> {
        let weights = Weights::open(path)?;
        let fails = |message: String| {
            Error::new(ErrorKind::Format, format!("{}: {message}", path.display()))
                .hint("a plant says in its metadata `kind`, `cause`, `seed` and `description`")
        };
        let text = |key: &str| weights.metadata(key).map(str::to_owned);
        let required = |key: &str| text(key).ok_or_else(|| fails(format!("its metadata has no `{key}`")));
        let cause = match required("cause")?.as_str() {
            "head" => PlantedCause::Head,
            "encoder" => PlantedCause::Encoder,
            "mixed" => PlantedCause::Mixed,
            other => return Err(fails(format!("`cause` is '{other}', expected head, encoder or mixed"))),
        };
        let seed = required("seed")?;
        let seed = seed.parse().map_err(|_| fails(format!("`seed` is '{seed}', expected a number from 0 on")))?;
        let lost = match (text("class"), text("concept")) {
            (Some(class), Some(concept)) => Some((class, concept)),
            (None, None) => None,
            _ => return Err(fails("of `class` and `concept` it has one without the other".to_owned())),
        };
        let [kind, description] = [required("kind")?, required("description")?];
        Ok(Self { path: path.to_owned(), kind, cause, seed, description, lost, weights })
    }

    /// Reads all plants in a folder and the folders in it, by kind and seed.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] naming a folder that can't be read; [`ErrorKind::Data`] if there is no `.safetensors` file; those of
    /// [`open`](Self::open).
    pub fn open_all(folder: &Path) -> Result<Vec<Self>> {
        let mut plants = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))? {
                let path = entry.map_err(|e| Error::io(&folder, e))?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "safetensors") {
                    plants.push(Self::open(&path)?);
                }
            }
        }
        if plants.is_empty() {
            let message = format!("{}: no plants: no .safetensors file in it", folder.display());
            return Err(Error::new(ErrorKind::Data, message).hint("weights/demo/recipes/plant.py makes the demo's"));
        }
        plants.sort_by(|a, b| (&a.kind, a.seed, &a.path).cmp(&(&b.kind, b.seed, &b.path)));
        Ok(plants)
    }
}

#[cfg(test)]
mod tests;
