//! What a bundle says of itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::align::AlignerFigures;
use super::statistics::Estimate;
use crate::dataset::ContentHash;
use crate::error::{Error, ErrorKind, Result};
use crate::image::Preprocess;
use crate::weights::{Precision, locate};

/// The version of the bundles that this program writes and reads. Version 1 didn't know its attacked images by their content, and gave
/// figures without intervals.
pub const SCHEMA: u32 = 2;

/// Two scores nearer than this may come out in the other order on another adapter.
pub const TIE_TOLERANCE: f32 = 1e-5;

/// Which model it was, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// The path it was read from.
    pub path: PathBuf,
    /// The SHA-256 of its weights.
    pub sha256: String,
    /// The SHA-256 of its preprocessing.
    pub preprocess: String,
    /// How its weights were held on the GPU.
    #[serde(default)]
    pub precision: Precision,
}

impl ModelIdentity {
    pub(crate) fn new(path: &Path, sha256: &str, preprocess: &Preprocess, precision: Precision) -> Result<Self> {
        // A name in the Hugging Face cache is only good in one environment; the snapshot's path is good everywhere on this
        // machine. A model from memory has a path that leads nowhere.
        let path = locate(path).unwrap_or_else(|_| path.to_owned());
        let path = std::path::absolute(&path).map_err(|e| Error::io(path, e))?;
        Ok(Self { path, sha256: sha256.to_owned(), preprocess: preprocess_hash(preprocess)?, precision })
    }
}

/// The SHA-256 of a preprocessing, in hexadecimal.
pub(crate) fn preprocess_hash(preprocess: &Preprocess) -> Result<String> {
    Ok(hash(json(preprocess)?.as_bytes()))
}

/// SHA-256 in hexadecimal.
pub(crate) fn hash(bytes: &[u8]) -> String {
    ContentHash::of(bytes).to_string()
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::new(ErrorKind::Format, "a value can't be written as JSON").caused_by(e))
}

/// What became of one set of attacked images.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AttackSummary {
    /// The name it was given.
    pub name: String,
    /// Attacks on correctly classified images that changed the prediction.
    pub succeeded: usize,
    /// Attacks on correctly classified images that didn't.
    pub failed: usize,
    /// Attacks on images that were misclassified before.
    pub misclassified_before: usize,
    /// Attacked images without an original of the same class and name; they are taken as correctly classified before.
    pub unmatched: usize,
}

/// The manifest of a bundle: `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the files, [`SCHEMA`].
    pub schema: u32,
    /// The version of heatlens that wrote them.
    pub version: String,
    /// The classes, in logit order.
    pub classes: Vec<String>,
    /// The concepts.
    pub concepts: Vec<String>,
    /// The prompt templates.
    pub templates: Vec<String>,
    /// The classifier.
    pub classifier: ModelIdentity,
    /// CLIP.
    pub clip: ModelIdentity,
    /// The aligner's quality, if it is known.
    pub aligner: Option<AlignerFigures>,
    /// The adapter that made the scores.
    pub adapter: String,
    /// Where the images were.
    pub images: PathBuf,
    /// The number of images.
    pub n: usize,
    /// The share of them that the classifier gets right, with Wilson's interval.
    pub accuracy: Estimate,
    /// Images in a map's set under which it is unsupported.
    pub minimum_support: u64,
    /// Cells of single-input maps whose two scores lie within [`TIE_TOLERANCE`] of each other.
    pub near_ties: u64,
    /// Cells of single-input maps in all, each pair counted once.
    pub cells: u64,
    /// Whether the maps' counts are stored; otherwise they are counted from the scores when they are asked for.
    pub stores_counts: bool,
    /// Dispatches of each kernel.
    pub dispatches: BTreeMap<String, u64>,
    /// What became of the attacks.
    pub attacks: Vec<AttackSummary>,
    /// Images left out, and why.
    pub skipped: Vec<(String, String)>,
    /// What the user should know.
    pub notices: Vec<String>,
    /// Whether images that the aligner was fitted on were let in.
    pub overlap_allowed: bool,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] or [`ErrorKind::Format`] naming the file, also for another schema version.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::io(path, e).hint("a bundle is the folder that `heatlens build` writes, with a manifest.json in it")
        })?;
        let malformed = |e| Error::new(ErrorKind::Format, path.display().to_string()).caused_by(e);
        let value: serde_json::Value = serde_json::from_str(&text).map_err(malformed)?;
        check_schema(&path.display().to_string(), &value, SCHEMA, "build")?;
        serde_json::from_value(value).map_err(malformed)
    }
}

/// What two bundles were made with, as far as it differs: what it is, and what it is in either.
pub(crate) fn differing_makers<'a>(
    a: &'a Manifest,
    b: &'a Manifest,
) -> impl Iterator<Item = (&'static str, [String; 2])> + use<'a> {
    let of = |manifest: &'a Manifest| {
        let Manifest { classifier, clip, adapter, .. } = manifest;
        [
            ("classifiers", classifier.sha256.clone()),
            ("preprocessing for the classifier", classifier.preprocess.clone()),
            ("CLIPs", clip.sha256.clone()),
            ("preprocessing for CLIP", clip.preprocess.clone()),
            ("precisions of the classifier", classifier.precision.to_string()),
            ("precisions of CLIP", clip.precision.to_string()),
            ("adapters", adapter.clone()),
        ]
    };
    let pairs = of(a).into_iter().zip(of(b)).map(|((what, a), (_, b))| (what, [a, b]));
    pairs.filter(|(_, [a, b])| a != b)
}

/// Refuses a file whose `header` is of another version than `expected`; `command` makes a new one.
pub(crate) fn check_schema(name: &str, header: &serde_json::Value, expected: u32, command: &str) -> Result<()> {
    let found = header.get("schema").and_then(serde_json::Value::as_u64);
    if found == Some(u64::from(expected)) {
        return Ok(());
    }
    let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
    Err(Error::new(ErrorKind::Format, format!("{name}: schema version {found}, expected {expected}"))
        .hint(format!("make it anew with `heatlens {command}` of this version")))
}

/// Where two lists first differ.
pub(crate) fn first_difference(a: &[String], b: &[String]) -> Option<String> {
    let at = (0..a.len().max(b.len())).find(|&at| a.get(at) != b.get(at))?;
    let [a, b] = [a.get(at), b.get(at)].map(|name| name.map_or("none".to_owned(), |name| format!("'{name}'")));
    Some(format!("number {} is {a} and {b}", at + 1))
}
