//! Labelled pictures on disk, and the pool that decodes them ahead of the GPU.
//!
//! ```no_run
//! use heatlens::dataset::{Dataset, DatasetOptions, Loader, LoaderOptions};
//! use heatlens::image::{Preprocess, Torchvision};
//!
//! let dataset = Dataset::open("photos".as_ref(), None, &DatasetOptions::default())?;
//! let loader = Loader::new(&dataset.samples, &[Preprocess::torchvision(Torchvision::V1)], LoaderOptions::default());
//! for batch in loader {
//!     let batch = batch?;
//!     assert_eq!(batch.pixels[0].len(), batch.len() * 224 * 224 * 3);
//! }
//! # Ok::<(), heatlens::Error>(())
//! ```

mod classes;
mod folder;
mod hash;
mod loader;
mod manifest;
mod shards;
mod split;

use std::fs::File;
use std::io::{BufRead, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use hash::{ContentHash, content_hashes};
pub use loader::{BadImages, Batch, Loader, LoaderOptions, Skipped, THUMBNAIL_EDGE};
pub use split::Shard;

use crate::error::{Error, ErrorKind, Result};

/// One picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The path as the user typed its beginning, for printing; inside a shard, `SHARD/NAME`.
    pub path: String,
    /// Where the bytes are.
    pub source: Source,
    /// An index into the classes; none where labels weren't asked for.
    pub label: Option<usize>,
}

/// Where a picture's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file of its own.
    File(PathBuf),
    /// A part of a tar shard.
    Shard {
        /// The tar file.
        shard: Arc<Path>,
        /// The first byte.
        offset: u64,
        /// The number of bytes.
        length: u64,
    },
}

impl Sample {
    /// A picture in a file of its own.
    pub fn file(path: &Path, label: Option<usize>) -> Self {
        Self { path: path.display().to_string(), source: Source::File(path.to_owned()), label }
    }

    /// The bytes of the picture's file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it can't be read.
    pub fn read(&self) -> Result<Vec<u8>> {
        let read = || match &self.source {
            Source::File(path) => std::fs::read(path),
            Source::Shard { shard, offset, length } => {
                let mut file = File::open(shard)?;
                file.seek(SeekFrom::Start(*offset))?;
                let mut bytes = Vec::new();
                let read = file.take(*length).read_to_end(&mut bytes)?;
                if read as u64 == *length { Ok(bytes) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
            }
        };
        read().map_err(|e| Error::io(&self.path, e))
    }
}

/// How a data set is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DatasetOptions {
    /// Number the classes, where no list of them is given, in natural order (`class2` before `class10`), as timm does.
    /// Otherwise they are numbered in the order of their bytes, as torchvision does.
    pub natural_order: bool,
}

/// Pictures and the classes they belong to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dataset {
    /// The pictures, in an order that depends on their names alone: folder by folder, both folders and the files in
    /// them in the order of their bytes; manifests and shards line by line and entry by entry.
    pub samples: Vec<Sample>,
    /// The classes' names; a label is an index into them.
    pub classes: Vec<String>,
    /// What was found beside the pictures and not used, and why.
    pub ignored: Vec<(PathBuf, String)>,
    /// What the user should know that stops nothing.
    pub notices: Vec<String>,
}

impl Dataset {
    /// The labelled pictures at `path`:
    ///
    /// - a folder of class folders (each searched to any depth);
    /// - a manifest, `metadata.csv` or `metadata.jsonl` in the folder or a given `.csv` or `.jsonl` file, with a column
    ///   `file_name` (or `path`), relative to the manifest, and a column `label`;
    /// - WebDataset shards, a `.tar` file or a folder of them: files that share their name up to the first dot are one
    ///   sample, and its `.cls` or its `.json` with a `label` is its class.
    ///
    /// `classes` are the model's, in the order of its logits: labels are matched to them by name, and in manifests and
    /// shards a number is an index into them. Without them, the names found are the classes.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] naming the class, folder or line that doesn't fit (a class without any picture folder is only a
    /// notice), or a data set without pictures; [`ErrorKind::Io`] for what can't be read.
    pub fn open(path: &Path, classes: Option<&[String]>, options: &DatasetOptions) -> Result<Self> {
        if let Some(classes) = classes {
            classes::check(classes)?;
        }
        let found = match Layout::of(path)? {
            Layout::Folder => folder::labelled(path)?,
            Layout::Manifest(manifest) => manifest::read(&manifest)?,
            Layout::Shards(shards) => shards::read(&shards)?,
        };
        found.label(path, classes, options)
    }

    /// The pictures at `path`, whatever their labels: like [`open`](Self::open), but any folder, searched to any depth, will
    /// do.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] if there are no pictures, [`ErrorKind::Io`] for what can't be read.
    pub fn unlabelled(path: &Path) -> Result<Self> {
        let found = match Layout::of(path)? {
            Layout::Folder => folder::all(path)?,
            Layout::Manifest(manifest) => manifest::read(&manifest)?,
            Layout::Shards(shards) => shards::read(&shards)?,
        };
        found.unlabelled(path)
    }

    /// The pictures that `paths` name: files, folders (searched to any depth), shards, and for `-` the paths in the lines of
    /// `stdin`. A file needn't exist or be a picture: whether it does is found out when it's decoded.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for a folder without pictures, [`ErrorKind::Io`] for a folder or `stdin` that can't be read.
    pub fn from_paths(paths: &[PathBuf], stdin: &mut dyn BufRead) -> Result<Self> {
        let mut all = Self::default();
        for path in paths {
            if path.as_os_str() != "-" {
                all.add(path)?;
                continue;
            }
            for line in stdin.lines() {
                let line = line.map_err(|e| Error::io("standard input", e))?;
                if !line.is_empty() {
                    all.add(Path::new(&line))?;
                }
            }
        }
        Ok(all)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        if !path.is_dir() && !has_extension(path, &["tar", "csv", "jsonl"]) {
            self.samples.push(Sample::file(path, None));
            return Ok(());
        }
        let found = Self::unlabelled(path)?;
        self.samples.extend(found.samples);
        self.ignored.extend(found.ignored);
        Ok(())
    }

    /// How many pictures each class has.
    pub fn support(&self) -> Vec<usize> {
        let mut support = vec![0; self.classes.len()];
        for label in self.samples.iter().filter_map(|sample| sample.label) {
            support[label] += 1;
        }
        support
    }
}

/// In which form a data set comes.
enum Layout {
    Folder,
    Manifest(PathBuf),
    Shards(Vec<PathBuf>),
}

impl Layout {
    fn of(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
        if !metadata.is_dir() {
            return match path {
                _ if has_extension(path, &["tar"]) => Ok(Self::Shards(vec![path.to_owned()])),
                _ if has_extension(path, &["csv", "jsonl"]) => Ok(Self::Manifest(path.to_owned())),
                _ => Err(data(path, "is a file, expected a folder, a .csv or .jsonl manifest or a .tar shard")),
            };
        }
        let manifests: Vec<PathBuf> = ["metadata.csv", "metadata.jsonl"]
            .map(|name| path.join(name))
            .into_iter()
            .filter(|p| p.is_file())
            .collect();
        match &manifests[..] {
            [] => {}
            [manifest] => return Ok(Self::Manifest(manifest.clone())),
            _ => return Err(data(path, "has both metadata.csv and metadata.jsonl").hint("name the one that counts")),
        }
        let (folders, files) = folder::list(path)?;
        let shards: Vec<PathBuf> = files.into_iter().filter(|file| has_extension(file, &["tar"])).collect();
        Ok(if folders.is_empty() && !shards.is_empty() { Self::Shards(shards) } else { Self::Folder })
    }
}

/// What a layout holds before names of classes have become indices.
#[derive(Debug, Default)]
struct Found {
    samples: Vec<(Sample, Label)>,
    /// Names of classes that exist even if no sample bears them: the class folders.
    folders: Vec<String>,
    ignored: Vec<(PathBuf, String)>,
}

/// A label as the data set writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Label {
    /// The name of a class; in manifests and shards a number may stand for it.
    Name {
        text: String,
        /// Where it's written, for errors.
        place: String,
        may_be_index: bool,
    },
    /// No label; the place where one would be.
    Missing(String),
}

impl Found {
    fn unlabelled(self, path: &Path) -> Result<Dataset> {
        let samples: Vec<Sample> = self.samples.into_iter().map(|(sample, _)| sample).collect();
        if samples.is_empty() {
            return Err(no_pictures(path));
        }
        Ok(Dataset { samples, ignored: self.ignored, ..Dataset::default() })
    }

    fn label(self, path: &Path, classes: Option<&[String]>, options: &DatasetOptions) -> Result<Dataset> {
        if self.samples.is_empty() {
            return Err(no_pictures(path));
        }
        let classes = match classes {
            Some(classes) => classes.to_vec(),
            None => classes::collect(&self, options)?,
        };
        let matcher = classes::Matcher::new(&classes);
        for folder in &self.folders {
            matcher.folder(path, folder)?;
        }
        let samples = self.samples.into_iter().map(|(sample, label)| {
            let label = Some(matcher.index(&label)?);
            Ok(Sample { label, ..sample })
        });
        let samples = samples.collect::<Result<Vec<_>>>()?;
        let mut dataset = Dataset { samples, ignored: self.ignored, ..Dataset::default() };
        dataset.classes = classes;
        let support = dataset.support();
        let without = dataset.classes.iter().zip(support).filter(|(_, n)| *n == 0).map(|(class, _)| class.as_str());
        let without: Vec<&str> = without.collect();
        if !without.is_empty() {
            dataset.notices.push(format!("{}: no pictures of {}", path.display(), without.join(", ")));
        }
        Ok(dataset)
    }
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| extensions.iter().any(|known| known.eq_ignore_ascii_case(extension)))
}

/// Extensions of files that are taken for pictures.
const PICTURES: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

fn data(place: impl AsRef<Path>, message: &str) -> Error {
    Error::new(ErrorKind::Data, format!("{}: {message}", place.as_ref().display()))
}

fn no_pictures(path: &Path) -> Error {
    data(path, "holds no pictures")
        .hint(format!("pictures are files named {}", PICTURES.map(|e| format!("*.{e}")).join(", ")))
}
