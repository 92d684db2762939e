//! What became of each attacked image, kept in a file beside the folder of pictures.
//!
//! The file of the folder `eps8` is `eps8.jsonl`: a line that identifies the attack, then one for each image that is finished.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::IgnoredAny;

use super::super::manifest::json;
use super::{AttackOptions, AttackedImage};
use crate::dataset::{ContentHash, Sample, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;

/// The record of an attack that goes on.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    file: File,
    images: HashMap<PathBuf, AttackedImage>,
}

impl Record {
    /// The record of the attack that `key` identifies, whose options come first in it; its pictures go to the folder `out`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is the record of another attack, or a folder with something in it and no record;
    /// [`ErrorKind::Io`].
    pub(super) fn open(out: &Path, key: &(AttackOptions, impl Serialize, bool)) -> Result<Self> {
        let path = beside(out);
        let key = json(key)?;
        let failed = |e| Error::io(&path, e);
        let text = if path.exists() { std::fs::read_to_string(&path).map_err(failed)? } else { String::new() };
        let whole = whole_lines(&text);
        let first = whole.lines().next();
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
        let images = images(&path, whole)?;
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

/// The hash of each attacked picture's original; none where no record beside its folder tells it.
///
/// # Errors
/// [`ErrorKind::Io`] or [`ErrorKind::Format`] naming a record.
pub(crate) fn originals(samples: &[&Sample]) -> Result<Vec<Option<ContentHash>>> {
    let mut records: HashMap<PathBuf, HashMap<PathBuf, AttackedImage>> = HashMap::new();
    let original = |sample: &&Sample| -> Result<Option<ContentHash>> {
        let Source::File(path) = &sample.source else { return Ok(None) };
        let path = std::path::absolute(path).map_err(|e| Error::io(path, e))?;
        let Some(folder) = path.parent().and_then(Path::parent) else { return Ok(None) };
        if !records.contains_key(folder) {
            records.insert(folder.to_owned(), recorded(&beside(folder))?);
        }
        let file = path.strip_prefix(folder).unwrap_or(&path);
        Ok(records[folder].get(file).map(|image| image.sha256))
    };
    samples.iter().map(original).collect()
}

/// The images in a file if it is the record of an attack; none in any other.
fn recorded(path: &Path) -> Result<HashMap<PathBuf, AttackedImage>> {
    if !path.is_file() {
        return Ok(HashMap::new());
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = whole_lines(&text);
    let key = whole.lines().next().unwrap_or_default();
    let is_record = serde_json::from_str::<(AttackOptions, IgnoredAny, IgnoredAny)>(key).is_ok();
    if is_record { images(path, whole) } else { Ok(HashMap::new()) }
}

/// The images in the lines after the first.
fn images(path: &Path, whole: &str) -> Result<HashMap<PathBuf, AttackedImage>> {
    let image = |(number, line): (usize, &str)| {
        let image: AttackedImage = serde_json::from_str(line).map_err(|e| {
            Error::new(ErrorKind::Format, format!("{}: line {}", path.display(), number + 1)).caused_by(e)
        })?;
        Ok((image.file.clone(), image))
    };
    whole.lines().enumerate().skip(1).map(image).collect()
}

/// The record of the folder `out`.
fn beside(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".jsonl");
    out.with_file_name(name)
}

/// A text without a last line that was cut off in its writing, which is made anew.
fn whole_lines(text: &str) -> &str {
    &text[..text.rfind('\n').map_or(0, |end| end + 1)]
}

#[cfg(test)]
mod tests {
    use super::super::AttackMethod;
    use super::*;

    #[test]
    fn originals_are_told_by_the_record_beside_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("eps8");
        let sample = |file: &str| Sample::file(&out.join(file), Some(0));
        let samples = ["cat/a.png", "cat/b.png"].map(sample);
        let found = || originals(&samples.iter().collect::<Vec<_>>());
        assert_eq!(found().unwrap(), [None, None], "no record");

        let options = AttackOptions { method: AttackMethod::Square, levels: 8, queries: 9, seed: 1 };
        let mut record = Record::open(&out, &(options, ("weights", "preprocessing"), false)).unwrap();
        let original = ContentHash::of(b"the original");
        let image = |file: &str| AttackedImage {
            path: "photos/cat/a.jpg".to_owned(),
            sha256: original,
            file: file.into(),
            success: true,
            queries: 3,
        };
        record.keep(image("cat/a.png")).unwrap();
        assert_eq!(found().unwrap(), [Some(original), None]);

        let path = root.path().join("eps8.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{{\"path\": \"cut o")).unwrap();
        assert_eq!(found().unwrap(), [Some(original), None], "a last line that was cut off");
        std::fs::write(&path, format!("{text}{{}}\n")).unwrap();
        let error = found().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format);
        assert!(error.to_string().contains("eps8.jsonl: line 3"), "{error}");
        std::fs::write(&path, "{\"file_name\": \"cat/a.png\", \"label\": \"cat\"}\n").unwrap();
        assert_eq!(found().unwrap(), [None, None], "the list of a data set");
    }
}
