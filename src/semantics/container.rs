//! Arrays of several types under names, with a few lines of text: the safetensors files that heatlens writes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::{Dtype, SafeTensors, View};

use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;
use crate::tensor::Tensor;

/// One array, little-endian.
#[derive(Debug, Clone, PartialEq)]
struct Array {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for &Array {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The content of a safetensors file, and where it comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Container {
    name: String,
    arrays: BTreeMap<String, Array>,
    metadata: HashMap<String, String>,
}

/// An element type that containers hold.
pub(crate) trait Element: bytemuck::Pod {
    const DTYPE: Dtype;
}

impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;
}

impl Element for u32 {
    const DTYPE: Dtype = Dtype::U32;
}

impl Element for i64 {
    const DTYPE: Dtype = Dtype::I64;
}

impl Element for u64 {
    const DTYPE: Dtype = Dtype::U64;
}

impl Element for u8 {
    const DTYPE: Dtype = Dtype::U8;
}

impl Container {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] or [`ErrorKind::Format`] naming it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        Self::parse(&path.display().to_string(), &bytes)
    }

    /// Reads the bytes of a file called `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] naming it.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self> {
        let malformed = |e: safetensors::SafeTensorError| {
            Error::new(ErrorKind::Format, format!("{name}: not a whole safetensors file")).caused_by(e)
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(malformed)?;
        let array = |view: &safetensors::tensor::TensorView<'_>| Array {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        Ok(Self {
            name: name.to_owned(),
            arrays: tensors.iter().map(|(name, view)| (name.to_owned(), array(&view))).collect(),
            metadata: header.metadata().clone().unwrap_or_default(),
        })
    }

    /// The file's bytes, the same ones each time.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let metadata = (!self.metadata.is_empty()).then(|| self.metadata.clone());
        let mut bytes = safetensors::serialize(&self.arrays, metadata)
            .map_err(|e| Error::new(ErrorKind::Format, "a safetensors file can't be made").caused_by(e))?;
        sort_metadata(&mut bytes)
            .map_err(|e| Error::new(ErrorKind::Format, "a safetensors header can't be sorted").caused_by(e))?;
        Ok(bytes)
    }

    /// Writes the file, atomically.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let bytes = self.to_bytes()?;
        write_atomic(path, |file| file.write_all(&bytes).map_err(|e| Error::io(path, e)))
    }

    /// Adds an array.
    pub(crate) fn insert<T: Element>(&mut self, name: &str, shape: &[usize], values: &[T]) {
        let bytes = bytemuck::cast_slice(values).to_vec();
        self.arrays.insert(name.to_owned(), Array { dtype: T::DTYPE, shape: shape.to_vec(), bytes });
    }

    /// Adds a tensor.
    pub(crate) fn insert_tensor(&mut self, name: &str, tensor: &Tensor) {
        self.insert(name, tensor.shape(), tensor.data());
    }

    /// Adds a line of text.
    pub(crate) fn describe(&mut self, key: &str, text: String) {
        self.metadata.insert(key.to_owned(), text);
    }

    /// A line of text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Whether there is such an array.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    /// Names of the arrays that begin with `prefix`, without it.
    pub(crate) fn names_under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.arrays.keys().filter_map(move |name| name.strip_prefix(prefix))
    }

    /// The shape and values of an array.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] naming the file and the array if it is missing or of another type.
    pub(crate) fn array<T: Element>(&self, name: &str) -> Result<(&[usize], Vec<T>)> {
        let failed = |what: String| Error::new(ErrorKind::Format, format!("{}: tensor `{name}` {what}", self.name));
        let array = self.arrays.get(name).ok_or_else(|| failed("is missing".to_owned()))?;
        if array.dtype != T::DTYPE {
            return Err(failed(format!("is {:?}, expected {:?}", array.dtype, T::DTYPE)));
        }
        Ok((&array.shape, bytemuck::pod_collect_to_vec(&array.bytes)))
    }

    /// The values of an array whose shape is known, `usize::MAX` standing for any extent.
    ///
    /// # Errors
    /// As [`array`](Self::array), and if the shape is another.
    pub(crate) fn values<T: Element>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>> {
        let (found, values) = self.array(name)?;
        let fits = found.len() == shape.len() && found.iter().zip(shape).all(|(f, e)| *e == usize::MAX || f == e);
        if fits {
            return Ok(values);
        }
        let expected: Vec<String> =
            shape.iter().map(|e| if *e == usize::MAX { "?".to_owned() } else { e.to_string() }).collect();
        let message = format!("{}: tensor `{name}` is {found:?}, expected [{}]", self.name, expected.join(", "));
        Err(Error::new(ErrorKind::Format, message))
    }

    /// As [`values`](Self::values) gives them, and none of them NaN or infinite.
    pub(crate) fn finite(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let values: Vec<f32> = self.values(name, shape)?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(at) => {
                let message = format!("{}: tensor `{name}` holds {} at index {at}", self.name, values[at]);
                Err(Error::new(ErrorKind::Format, message))
            }
        }
    }

    /// An f32 matrix of finite values whose shape is known, `usize::MAX` standing for any extent.
    pub(crate) fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<Tensor> {
        let values = self.finite(name, &shape)?;
        let (found, _) = self.array::<f32>(name)?;
        Ok(Tensor::new(found, values))
    }
}

/// Sorts the metadata in a file's header, which safetensors takes and writes as a hash map, in no order.
fn sort_metadata(file: &mut [u8]) -> serde_json::Result<()> {
    let Some((length, rest)) = file.split_first_chunk_mut() else { return Ok(()) };
    let header = &mut rest[..u64::from_le_bytes(*length) as usize];
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header)?;
    if let Some(metadata) = fields.get_mut("__metadata__").and_then(serde_json::Value::as_object_mut) {
        metadata.sort_keys();
        let sorted = serde_json::to_vec(&fields)?;
        header.fill(b' ');
        header[..sorted.len()].copy_from_slice(&sorted);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let make = || {
            let mut container = Container::default();
            container.insert("values", &[3], &[1.5_f32, -0.0, 2.0]);
            for key in 0..20 {
                container.describe(&format!("key {key}"), format!("\"quoted\" é {key}"));
            }
            container
        };
        let bytes = make().to_bytes().unwrap();
        assert!((0..10).all(|_| make().to_bytes().unwrap() == bytes));
        let read = Container::parse("file", &bytes).unwrap();
        assert_eq!(read.metadata, make().metadata);
        assert_eq!(read.arrays, make().arrays);
    }
}
