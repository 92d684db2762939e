//! Folders of pictures.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Found, Label, PICTURES, Sample, data, has_extension};
use crate::error::{Error, Result};

/// The folders and the files in `dir`, links followed, each sorted by their bytes.
pub(super) fn list(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
        let path = entry.map_err(|e| Error::io(dir, e))?.path();
        if path.is_dir() { folders.push(path) } else { files.push(path) }
    }
    folders.sort();
    files.sort();
    Ok((folders, files))
}

/// A folder of class folders.
pub(super) fn labelled(root: &Path) -> Result<Found> {
    let (folders, files) = list(root)?;
    if folders.is_empty() && files.iter().any(|file| has_extension(file, &PICTURES)) {
        return Err(data(root, "pictures lie directly in the folder, expected one folder for each class")
            .hint("move them into class folders, or add a metadata.csv with the columns file_name and label"));
    }
    let mut found = Found::default();
    for file in files {
        found.ignored.push((file, "not in a class folder".to_owned()));
    }
    for folder in folders {
        let Some(class) = folder.file_name().and_then(|name| name.to_str()) else {
            return Err(data(&folder, "the class folder's name isn't Unicode"));
        };
        if class.starts_with('.') {
            found.ignored.push((folder, "hidden".to_owned()));
            continue;
        }
        let before = found.samples.len();
        let label = Label::Name { text: class.to_owned(), place: folder.display().to_string(), may_be_index: false };
        walk(&folder, &label, &mut Vec::new(), &mut found)?;
        if found.samples.len() == before {
            return Err(data(&folder, "the class folder holds no pictures").hint("fill the folder or remove it"));
        }
        found.folders.push(class.to_owned());
    }
    Ok(found)
}

/// Any folder, searched to any depth.
pub(super) fn all(root: &Path) -> Result<Found> {
    let mut found = Found::default();
    walk(root, &Label::Missing(root.display().to_string()), &mut Vec::new(), &mut found)?;
    Ok(found)
}

/// Adds the pictures in `dir` and, after them, those in the folders within. `above` are the folders being walked, by which
/// links that lead back are told.
fn walk(dir: &Path, label: &Label, above: &mut Vec<PathBuf>, found: &mut Found) -> Result<()> {
    let place = fs::canonicalize(dir).map_err(|e| Error::io(dir, e))?;
    if above.contains(&place) {
        found.ignored.push((dir.to_owned(), "a link to a folder above it".to_owned()));
        return Ok(());
    }
    above.push(place);
    let (folders, files) = list(dir)?;
    for file in files {
        if has_extension(&file, &PICTURES) {
            found.samples.push((Sample::file(&file, None), label.clone()));
        } else {
            found.ignored.push((file, "not a picture by its name".to_owned()));
        }
    }
    for folder in folders {
        walk(&folder, label, above, found)?;
    }
    above.pop();
    Ok(())
}
