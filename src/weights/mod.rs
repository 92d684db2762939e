//! Weight files: safetensors to host tensors, and the folder of files that makes a model.
//!
//! [`Weights`] reads one safetensors file (or a list of shards) whose values are f32, f16 or bf16. Every failure names
//! the file and the tensor, what was expected and what was found. Files are read whole rather than mapped: a mapped file
//! that another program truncates kills the process, and hashing touches every byte anyway.
//!
//! ```
//! use heatlens::{Tensor, Weights};
//!
//! let weights = Weights::from_tensors("memory", &[("fc.bias".to_owned(), Tensor::zeros([10]))]);
//! assert_eq!(weights.shape("fc.bias"), Some(&[10][..]));
//! let error = weights.tensor_shaped("fc.bias", &[12]).unwrap_err();
//! assert_eq!(error.to_string(), "memory: tensor `fc.bias` has shape [10], not [12]");
//! ```

mod config;
mod files;
pub mod formula;
mod hub;
mod names;
mod precision;
mod survey;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use safetensors::{Dtype, SafeTensors, View};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;

pub use config::Config;
pub use files::ModelFiles;
pub use hub::{is_model_name, locate};
pub use precision::Precision;
pub(crate) use survey::Missing;

/// The tensors of one safetensors file, or of the shards of one model.
#[derive(Debug)]
pub struct Weights {
    name: String,
    shards: Vec<Vec<u8>>,
    tensors: BTreeMap<String, Entry>,
    metadata: HashMap<String, String>,
    sha256: OnceLock<String>,
    survey: Option<survey::Survey>,
    precision: Precision,
}

/// Where a tensor lies, and whether anybody has read it.
#[derive(Debug)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    shard: usize,
    bytes: Range<usize>,
    used: AtomicBool,
}

impl Weights {
    /// Reads a `.safetensors` file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it can't be read, [`ErrorKind::Format`] if it isn't a whole safetensors file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        Self::from_bytes(path.display().to_string(), bytes)
    }

    /// Reads a safetensors file that is in memory already; `name` stands for it in errors.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] if it isn't a whole safetensors file.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self> {
        Self::from_shards(name, vec![bytes])
    }

    /// Reads a model that is split over several safetensors files.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] if one isn't a whole safetensors file, or if two hold a tensor of the same name.
    pub fn from_shards(name: impl Into<String>, shards: Vec<Vec<u8>>) -> Result<Self> {
        let name = name.into();
        let mut tensors = BTreeMap::new();
        let mut metadata = HashMap::new();
        for (shard, bytes) in shards.iter().enumerate() {
            let (header, parsed) = SafeTensors::read_metadata(bytes).map_err(|e| malformed(&name, bytes, e))?;
            let start = size_of::<u64>() + header;
            metadata.extend(parsed.metadata().clone().unwrap_or_default());
            for (tensor, info) in parsed.tensors() {
                let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
                let used = AtomicBool::new(false);
                let entry = Entry { dtype: info.dtype, shape: info.shape.clone(), shard, bytes, used };
                if tensors.insert(tensor.clone(), entry).is_some() {
                    return Err(Error::new(ErrorKind::Format, format!("{name}: two shards hold tensor `{tensor}`")));
                }
            }
        }
        Ok(Self { name, shards, tensors, metadata, sha256: OnceLock::new(), survey: None, precision: Precision::F32 })
    }

    /// Tensors from memory, as if a file held them; of equal names the last counts.
    pub fn from_tensors(name: impl Into<String>, tensors: &[(String, Tensor)]) -> Self {
        let views = tensors.iter().map(|(name, tensor)| (name.as_str(), F32View(tensor)));
        let unique: BTreeMap<_, _> = views.collect();
        let bytes = safetensors::serialize(unique, None).expect("f32 tensors always make a valid file");
        Self::from_bytes(name, bytes).expect("a file that was just made is whole")
    }

    /// The same tensors with those of `others` in the place of the ones they are named like.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] naming `others` and its tensor if there is none of its name here, or one of another shape, or if it
    /// holds no tensor.
    pub fn replaced(&self, others: &Self) -> Result<Self> {
        if others.is_empty() {
            return Err(others.error("holds no tensor").hint("a file of replacements holds at least one"));
        }
        for (name, entry) in &others.tensors {
            let replaced = self.entry(name).map_err(|e| {
                let message = format!("tensor `{name}` replaces nothing");
                others
                    .error(message)
                    .caused_by(e)
                    .hint("a file of replacements uses the names of the weights it is for")
            })?;
            if replaced.shape != entry.shape {
                let message = format!(
                    "tensor `{name}` has shape {:?}, expected {:?}, which it has in {}",
                    entry.shape, replaced.shape, self.name
                );
                return Err(others.error(message).hint("make the file for these weights"));
            }
        }
        let copied = |entry: &Entry, shards: usize| Entry {
            dtype: entry.dtype,
            shape: entry.shape.clone(),
            shard: shards + entry.shard,
            bytes: entry.bytes.clone(),
            used: AtomicBool::new(false),
        };
        let mut tensors: BTreeMap<String, Entry> =
            self.tensors.iter().map(|(name, entry)| (name.clone(), copied(entry, 0))).collect();
        let own = self.shards.len();
        tensors.extend(others.tensors.iter().map(|(name, entry)| (name.clone(), copied(entry, own))));
        Ok(Self {
            name: format!("{} with {}", self.name, others.name),
            shards: self.shards.iter().chain(&others.shards).cloned().collect(),
            tensors,
            metadata: self.metadata.clone(),
            sha256: OnceLock::new(),
            survey: None,
            precision: self.precision,
        })
    }

    /// The same for models that hold its matrices and convolutions in this precision on the GPU.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// How models are to hold its matrices and convolutions.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What stands for the file in errors: its path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file's bytes, one slice a shard, as [`from_shards`](Self::from_shards) takes them.
    pub fn shards(&self) -> &[Vec<u8>] {
        &self.shards
    }

    /// The SHA-256 of the file (of all shards, one after another) in hexadecimal: what a model is known by.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| {
            let mut hasher = Sha256::new();
            for shard in &self.shards {
                hasher.update(shard);
            }
            hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
        })
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether the file holds no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor, if there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| &entry.shape[..])
    }

    /// The type of a tensor's values as the file calls it (`F16`, say), if there is one of this name.
    pub fn dtype(&self, name: &str) -> Option<String> {
        self.tensors.get(name).map(|entry| entry.dtype.to_string())
    }

    /// The text that the file's `__metadata__` holds under `key`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// A tensor as f32.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] if there is none of this name, if it isn't f32, f16 or bf16, or if it holds NaN or
    /// infinite values.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        if let Some(zeros) = self.stand_in_of_any_shape(name) {
            return Ok(zeros);
        }
        let entry = self.entry(name)?;
        entry.used.store(true, Ordering::Relaxed);
        let bytes = &self.shards[entry.shard][entry.bytes.clone()];
        let values: Vec<f32> = match entry.dtype {
            Dtype::F32 => decode(bytes, f32::from_le_bytes),
            Dtype::F16 => decode(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => decode(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
            other => return Err(self.error(format!("tensor `{name}` is of type {other}, not F32, F16 or BF16"))),
        };
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(self.error(format!("tensor `{name}` holds {} at index {at}", values[at])));
        }
        Ok(Tensor::new(entry.shape.clone(), values))
    }

    /// A tensor as f32, which must have this shape.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor), and [`ErrorKind::Weights`] if the shape is another.
    pub fn tensor_shaped(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if let Some(zeros) = self.stand_in(name, shape) {
            return Ok(zeros);
        }
        let found = &self.entry(name)?.shape;
        if found != shape {
            return Err(self.error(format!("tensor `{name}` has shape {found:?}, not {shape:?}")));
        }
        self.tensor(name)
    }

    /// The values of a vector, which must have this length.
    ///
    /// # Errors
    /// As [`tensor_shaped`](Self::tensor_shaped).
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        self.tensor_shaped(name, &[len]).map(Tensor::into_data)
    }

    /// The extents of a tensor that must have `N` axes.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] if there is no such tensor or if it has another number of axes.
    pub fn extents<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        if let Some(likely) = self.likely_shape(name).and_then(|shape| shape.try_into().ok()) {
            return Ok(likely);
        }
        let found = &self.entry(name)?.shape;
        found[..].try_into().map_err(|_| {
            let axes = if N == 1 { "axis was" } else { "axes were" };
            self.error(format!("tensor `{name}` has shape {found:?}; {N} {axes} expected"))
        })
    }

    /// The names of the tensors that nobody has read yet, sorted.
    pub fn unused(&self) -> Vec<&str> {
        if self.survey.is_some() { Vec::new() } else { self.unread() }
    }

    /// An [`ErrorKind::Weights`] error about this file.
    pub(crate) fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Weights, format!("{}: {message}", self.name))
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.tensors.get(name).ok_or_else(|| {
            let nearest = names::nearest(name, self.names());
            let instead = match &nearest[..] {
                [] => "it holds none at all".to_owned(),
                names => format!("nearest: {}", names::quoted(names)),
            };
            self.error(format!("no tensor `{name}` ({instead})"))
        })
    }
}

/// The values of a little-endian buffer, whose length the header's check has proved.
fn decode<const SIZE: usize>(bytes: &[u8], value: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<SIZE>().0.iter().map(|&chunk| value(chunk)).collect()
}

/// The error for bytes that aren't a safetensors file, with a guess at what they are instead.
fn malformed(name: &str, bytes: &[u8], cause: safetensors::SafeTensorError) -> Error {
    let error = Error::new(ErrorKind::Format, format!("{name}: not a whole safetensors file")).caused_by(cause);
    match bytes {
        [b'P', b'K', ..] | [0x80, _, ..] => error.hint(files::CONVERT),
        _ if bytes.starts_with(b"version https://git-lfs") => {
            error.hint("the file is only a Git LFS pointer: run `git lfs pull` in its repository")
        }
        _ => error.hint("the file may be truncated: fetch or copy it again"),
    }
}

/// How a host tensor is written to a safetensors file.
struct F32View<'a>(&'a Tensor);

impl View for F32View<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0.data().iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.0.data())
    }
}

#[cfg(test)]
mod tests;
