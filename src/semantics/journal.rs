//! Finished batches of a long pass on disk, so that an interrupted one goes on where it was.

use std::path::{Path, PathBuf};

use super::container::Container;
use super::forward::Collected;
use crate::dataset::ContentHash;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;

/// A folder of finished batches, all of one computation.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    key: String,
}

impl Journal {
    /// The journal in `folder` of the computation that `key` identifies. What is there of another one is removed.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the folder can't be made.
    pub(crate) fn open(folder: &Path, key: &str) -> Result<Self> {
        let failed = |e| Error::io(folder, e);
        let stamp = folder.join("key");
        if folder.exists() && std::fs::read_to_string(&stamp).ok().as_deref() != Some(key) {
            std::fs::remove_dir_all(folder).map_err(failed)?;
        }
        if !folder.exists() {
            std::fs::create_dir_all(folder).map_err(failed)?;
            std::fs::write(&stamp, key).map_err(failed)?;
        }
        Ok(Self { folder: folder.to_owned(), key: key.to_owned() })
    }

    /// Removes the journal.
    pub(crate) fn remove(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.folder).map_err(|e| Error::io(&self.folder, e))
    }

    /// Everything kept so far. A batch that wasn't written whole doesn't count.
    pub(crate) fn resume(&self) -> Result<Collected> {
        let failed = |e| Error::io(&self.folder, e);
        let mut names: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                names.push(path);
            }
        }
        names.sort();
        let mut all = Collected::default();
        for name in names {
            let kept = Container::open(&name).and_then(|container| self.read(&container));
            match kept {
                Ok(rows) => all.append(rows),
                Err(error) if error.kind() == ErrorKind::Format => {
                    std::fs::remove_file(&name).map_err(|e| Error::io(&name, e))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Keeps a batch.
    pub(crate) fn keep(&self, rows: &Collected) -> Result<()> {
        let mut container = Container::default();
        let count = rows.indices.len();
        let indices: Vec<u64> = rows.indices.iter().map(|&index| index as u64).collect();
        container.insert("indices", &[count], &indices);
        container.insert("hashes", &[count, 32], &rows.hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>());
        let lengths: Vec<u64> = rows.thumbnails.iter().map(|thumbnail| thumbnail.len() as u64).collect();
        container.insert("thumbnails.length", &[lengths.len()], &lengths);
        let bytes = rows.thumbnails.concat();
        container.insert("thumbnails", &[bytes.len()], &bytes);
        for (name, tensor) in &rows.tensors {
            container.insert_tensor(&format!("f32.{name}"), tensor);
        }
        for (name, values) in &rows.integers {
            container.insert(&format!("u32.{name}"), &[values.len()], values);
        }
        let dispatches = serde_json::to_string(&rows.dispatches)
            .map_err(|e| Error::new(ErrorKind::Format, "dispatch counts can't be written").caused_by(e))?;
        container.describe("dispatches", dispatches);
        container.describe("key", self.key.clone());
        let first = rows.indices.first().copied().unwrap_or_default();
        container.save(&self.folder.join(format!("{first:09}.safetensors")))
    }

    fn read(&self, container: &Container) -> Result<Collected> {
        if container.text("key") != Some(&self.key) {
            return Err(Error::new(ErrorKind::Format, "a batch of another computation"));
        }
        let indices = container.array::<u64>("indices")?.1.into_iter().map(|index| index as usize).collect();
        let hashes: Vec<u8> = container.array("hashes")?.1;
        let hashes = hashes.as_chunks().0.iter().map(|&hash| ContentHash(hash)).collect();
        let bytes: Vec<u8> = container.array("thumbnails")?.1;
        let mut rest = bytes.as_slice();
        let mut thumbnails = Vec::new();
        for length in container.array::<u64>("thumbnails.length")?.1 {
            let cut = rest.split_at_checked(length as usize);
            let (thumbnail, after) = cut.ok_or_else(|| Error::new(ErrorKind::Format, "thumbnails are cut short"))?;
            thumbnails.push(thumbnail.to_vec());
            rest = after;
        }
        let mut rows = Collected { indices, hashes, thumbnails, ..Collected::default() };
        for name in container.names_under("f32.") {
            let (shape, values) = container.array::<f32>(&format!("f32.{name}"))?;
            rows.tensors.insert(name.to_owned(), Tensor::new(shape, values));
        }
        for name in container.names_under("u32.") {
            rows.integers.insert(name.to_owned(), container.array(&format!("u32.{name}"))?.1);
        }
        rows.dispatches = serde_json::from_str(container.text("dispatches").unwrap_or("{}"))
            .map_err(|e| Error::new(ErrorKind::Format, "dispatch counts can't be read").caused_by(e))?;
        Ok(rows)
    }
}
