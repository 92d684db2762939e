//! Embeddings of prompts, kept between runs by what they are made of.
//!
//! A text tower gives the same prompt the same bits on one adapter whatever else is in its batch, so that an embedding may stand
//! for running the tower. A file holds those of one tower on one adapter: its name is the hash of the weights, of
//! the shaders that run and their constants, of the adapter with its driver, and of this program's version.
//! A row in it is found by the hash of its token ids.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::container::Container;
use super::manifest::hash;
use crate::dataset::ContentHash;
use crate::error::Result;
use crate::files::create_parent;
use crate::gpu::Device;
use crate::models::Clip;
use crate::plan::Plan;
use crate::progress::Observer;

/// Rows a file holds at most, 136 MB at 512 values: those of the last run, then of earlier ones.
const MOST: usize = 1 << 16;

/// The embeddings of one text tower on one adapter.
pub(super) struct TextCache {
    file: PathBuf,
    rows: HashMap<ContentHash, Vec<f32>>,
    is_stale: bool,
}

impl TextCache {
    /// What earlier runs kept for the tower of `clip`, of which `record` makes a plan; none if the device has no cache. A file that isn't usable is told to the
    /// observer and made anew.
    pub(super) fn open(
        device: &Device,
        clip: &Clip,
        record: impl FnOnce() -> Plan,
        observer: &dyn Observer,
    ) -> Option<Self> {
        let file = device.cache()?.join(format!("text-{}.safetensors", tower(device, clip, &record())));
        let rows = if file.exists() { Self::read(&file, clip.text().embedding_dim()) } else { Ok(HashMap::new()) };
        let is_stale = rows.is_err();
        let rows = rows.unwrap_or_else(|error| {
            observer.notice(&format!("kept text embeddings aren't usable, they are computed again: {error}"));
            HashMap::new()
        });
        Some(Self { file, rows, is_stale })
    }

    fn read(file: &Path, columns: usize) -> Result<HashMap<ContentHash, Vec<f32>>> {
        let container = Container::open(file)?;
        let (shape, keys) = container.array::<u8>("keys")?;
        let count = shape.first().copied().unwrap_or(0);
        let embeddings = container.finite("embeddings", &[count, columns])?;
        let keys = keys.as_chunks().0.iter().map(|&bytes| ContentHash(bytes));
        Ok(keys.zip(embeddings.chunks_exact(columns)).map(|(key, row)| (key, row.to_vec())).collect())
    }

    /// Where the embedding of these token ids is kept.
    pub(super) fn key(ids: &[u32]) -> ContentHash {
        ContentHash::of(bytemuck::cast_slice(ids))
    }

    /// A row, if it is there.
    pub(super) fn row(&self, key: &ContentHash) -> Option<&[f32]> {
        self.rows.get(key).map(Vec::as_slice)
    }

    /// Keeps a row.
    pub(super) fn insert(&mut self, key: ContentHash, row: &[f32]) {
        self.rows.insert(key, row.to_vec());
        self.is_stale = true;
    }

    /// Writes the file if there is something new, the rows of `used` first where they are too many.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) naming what can't be written.
    pub(super) fn save(self, used: &[ContentHash]) -> Result<()> {
        if !self.is_stale {
            return Ok(());
        }
        let mut keys: Vec<ContentHash> = self.rows.keys().copied().collect();
        let used: HashSet<&ContentHash> = used.iter().collect();
        keys.sort_unstable_by_key(|key| (!used.contains(key), *key));
        keys.truncate(MOST);
        let columns = keys.first().map_or(0, |key| self.rows[key].len());
        let embeddings: Vec<f32> = keys.iter().flat_map(|key| &self.rows[key]).copied().collect();
        let mut container = Container::default();
        let bytes: Vec<u8> = keys.iter().flat_map(|key| key.0).collect();
        container.insert("keys", &[keys.len(), 32], &bytes);
        container.insert("embeddings", &[keys.len(), columns], &embeddings);
        create_parent(&self.file)?;
        container.save(&self.file)
    }
}

/// A name for all that an embedding follows from beside its token ids; `plan` is the tower's.
fn tower(device: &Device, clip: &Clip, plan: &Plan) -> String {
    let (adapter, compiler) = (device.summary(), &device.summary().shader_compiler);
    let version = env!("CARGO_PKG_VERSION");
    let mut made_of = format!("{version} {adapter} {compiler} {} {}", clip.sha256(), clip.precision()).into_bytes();
    for dispatch in plan.lowered(device.target()).dispatches() {
        let launch = dispatch.kernel.launch(device.profile());
        made_of.extend(launch.shader.source.bytes());
        made_of.extend(format!("{:?}", launch.constants).bytes());
        made_of.extend(&launch.params);
    }
    hash(&made_of)[..16].to_owned()
}
