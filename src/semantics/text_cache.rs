//! Embeddings of prompts, kept between runs by what they are made of.
//!
//! A text tower gives the same prompt the same bits on one adapter whatever else is in its batch, so that an embedding may stand
//! for running the tower. A file holds those of one tower on one adapter: its name is the hash of the weights, of
//! the shaders that run and their constants, of the adapter with its driver, and of this program's version. A row in it is found by the hash of its token ids.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::container::Container;
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::models::Clip;
use crate::plan::Plan;
use crate::progress::Observer;

/// Rows a file holds at most, 136 MB at 512 values: those of the last run, then of earlier ones.
const MOST: usize = 1 << 16;

/// A prompt's place in the cache.
pub(super) type Key = [u32; 8];

/// The embeddings of one text tower on one adapter.
pub(super) struct TextCache {
    file: PathBuf,
    rows: HashMap<Key, Vec<f32>>,
    is_stale: bool,
}

impl TextCache {
    /// What earlier runs kept for the tower of `clip`; none if the device has no cache. A file that isn't usable is told to the
    /// observer and made anew.
    pub(super) fn open(device: &Device, clip: &Clip, observer: &dyn Observer) -> Option<Self> {
        let file = device.cache()?.join(format!("text-{}.safetensors", tower(device, clip)));
        let rows = if file.exists() { Self::read(&file, clip.text().embedding_dim()) } else { Ok(HashMap::new()) };
        let is_stale = rows.is_err();
        let rows = rows.unwrap_or_else(|error| {
            observer.notice(&format!("kept text embeddings aren't usable, they are computed again: {error}"));
            HashMap::new()
        });
        Some(Self { file, rows, is_stale })
    }

    fn read(file: &Path, columns: usize) -> Result<HashMap<Key, Vec<f32>>> {
        let container = Container::open(file)?;
        let (shape, keys) = container.array::<u32>("keys")?;
        let count = shape.first().copied().unwrap_or(0);
        let embeddings = container.finite("embeddings", &[count, columns])?;
        let keys = keys.as_chunks::<8>().0.iter().copied();
        Ok(keys.zip(embeddings.chunks_exact(columns)).map(|(key, row)| (key, row.to_vec())).collect())
    }

    /// Where the embedding of these token ids is kept.
    pub(super) fn key(ids: &[u32]) -> Key {
        let digest = Sha256::digest(bytemuck::cast_slice::<u32, u8>(ids));
        let mut key = [0; 8];
        for (word, bytes) in key.iter_mut().zip(digest.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        key
    }

    /// A row, if it is there.
    pub(super) fn row(&self, key: &Key) -> Option<&[f32]> {
        self.rows.get(key).map(Vec::as_slice)
    }

    /// Keeps a row.
    pub(super) fn insert(&mut self, key: Key, row: &[f32]) {
        self.rows.insert(key, row.to_vec());
        self.is_stale = true;
    }

    /// Writes the file if there is something new, the rows of `used` first where they are too many.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) naming what can't be written.
    pub(super) fn save(self, used: &[Key]) -> Result<()> {
        if !self.is_stale {
            return Ok(());
        }
        let mut keys: Vec<Key> = self.rows.keys().copied().collect();
        let used: HashSet<&Key> = used.iter().collect();
        keys.sort_unstable_by_key(|key| (!used.contains(key), *key));
        keys.truncate(MOST);
        let columns = keys.first().map_or(0, |key| self.rows[key].len());
        let embeddings: Vec<f32> = keys.iter().flat_map(|key| &self.rows[key]).copied().collect();
        let mut container = Container::default();
        container.insert("keys", &[keys.len(), 8], keys.as_flattened());
        container.insert("embeddings", &[keys.len(), columns], &embeddings);
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        container.save(&self.file)
    }
}

/// A name for all that an embedding follows from beside its token ids.
fn tower(device: &Device, clip: &Clip) -> String {
    let mut plan = Plan::new(1);
    let ids = plan.input_indices("ids", clip.text().context());
    clip.text().record(&mut plan, ids);
    let mut hash = Sha256::new();
    let (adapter, compiler) = (device.summary(), &device.summary().shader_compiler);
    let version = env!("CARGO_PKG_VERSION");
    hash.update(format!("{version} {adapter} {compiler} {} {}", clip.sha256(), clip.precision()));
    for dispatch in plan.dispatches() {
        let launch = dispatch.kernel.launch(device.profile());
        hash.update(launch.shader.source);
        hash.update(format!("{:?}", launch.constants));
        hash.update(&launch.params);
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
