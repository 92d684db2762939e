//! What became of each attacked image, kept in a file beside the folder of pictures.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::manifest::json;
use super::AttackedImage;
use crate::dataset::ContentHash;
use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;

/// A file of JSON lines: first what identifies the attack, then each image that is finished.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    file: File,
    images: HashMap<PathBuf, AttackedImage>,
}

impl Record {
    /// The record of the attack that `key` identifies, whose pictures go to the folder `out`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is the record of another attack, or a folder with something in it and no record;
    /// [`ErrorKind::Io`].
    pub(super) fn open(out: &Path, key: &impl Serialize) -> Result<Self> {
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(".jsonl");
        let path = out.with_file_name(name);
        let key = json(key)?;
        let failed = |e| Error::io(&path, e);
        let text = if path.exists() { std::fs::read_to_string(&path).map_err(failed)? } else { String::new() };
        // A last line that was cut off in its writing is made anew.
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let mut lines = whole.lines();
        let first = lines.next();
        if first.is_some_and(|first| first != key) {
            let message = format!("{}: is the record of another attack", path.display());
            return Err(
                Error::new(ErrorKind::Usage, message).hint("choose another folder, or remove it with its record")
            );
        }
        let is_occupied = || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
        if first.is_none() && is_occupied() {
            let message = format!("{}: is a folder with something in it, expected an empty or new one", out.display());
            return Err(Error::new(ErrorKind::Usage, message).hint("choose another folder or empty this one first"));
        }
        let mut images = HashMap::new();
        for (number, line) in lines.enumerate() {
            let image: AttackedImage = serde_json::from_str(line).map_err(|e| {
                Error::new(ErrorKind::Format, format!("{}: line {}", path.display(), number + 2)).caused_by(e)
            })?;
            images.insert(image.file.clone(), image);
        }
        let whole = if first.is_none() { format!("{key}\n") } else { whole.to_owned() };
        if whole != text {
            write_atomic(&path, |file| file.write_all(whole.as_bytes()).map_err(failed))?;
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        Ok(Self { path, file, images })
    }

    /// Whether an image is finished: its original is the same and its picture is there.
    pub(super) fn holds(&self, file: &Path, hash: ContentHash, out: &Path) -> bool {
        self.images.get(file).is_some_and(|image| image.sha256 == hash) && out.join(file).is_file()
    }

    /// Adds a finished image.
    pub(super) fn keep(&mut self, image: AttackedImage) -> Result<()> {
        let line = json(&image)? + "\n";
        self.file.write_all(line.as_bytes()).map_err(|e| Error::io(&self.path, e))?;
        self.images.insert(image.file.clone(), image);
        Ok(())
    }

    /// What became of an image.
    pub(super) fn image(&self, file: &Path) -> Option<AttackedImage> {
        self.images.get(file).cloned()
    }
}
