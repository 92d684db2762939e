//! WebDataset: tar files in which the files of one sample share their name up to the first dot.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::{Found, Label, PICTURES, Sample, Source, manifest};
use crate::error::{Error, ErrorKind, Result};

/// Labels are short; a longer `.cls` or `.json` isn't one.
const MAX_LABEL_BYTES: u64 = 1 << 20;

/// What one key of a shard has gathered so far.
#[derive(Default)]
struct Entry {
    picture: Option<Sample>,
    label: Option<String>,
}

/// The samples of `shards`, shard by shard in the order given, each in the order of its entries.
pub(super) fn read(shards: &[PathBuf]) -> Result<Found> {
    let mut found = Found::default();
    for shard in shards {
        read_shard(shard, &mut found)?;
    }
    Ok(found)
}

fn read_shard(path: &Path, found: &mut Found) -> Result<()> {
    let failed =
        |e: std::io::Error| Error::new(ErrorKind::Format, format!("{}: not a tar file", path.display())).caused_by(e);
    let shard: Arc<Path> = path.into();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut order: Vec<Entry> = Vec::new();
    let mut keys: HashMap<String, usize> = HashMap::new();
    for entry in archive.entries_with_seek().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().map_err(failed)?.to_string_lossy().into_owned();
        let place = path.join(&name);
        let Some((key, extension)) = split(&name) else {
            found.ignored.push((place, "has no extension".to_owned()));
            continue;
        };
        let index = *keys.entry(key.to_owned()).or_insert_with(|| {
            order.push(Entry::default());
            order.len() - 1
        });
        let sample = &mut order[index];
        let extension = extension.to_ascii_lowercase();
        if PICTURES.contains(&extension.as_str()) && sample.picture.is_none() {
            let source =
                Source::Shard { shard: shard.clone(), offset: entry.raw_file_position(), length: entry.size() };
            sample.picture = Some(Sample { path: place.display().to_string(), source, label: None });
        } else if matches!(extension.as_str(), "cls" | "json") && entry.size() <= MAX_LABEL_BYTES {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(failed)?;
            let label = if extension == "cls" { text_label(&bytes) } else { json_label(&bytes) };
            sample.label = sample.label.take().or(label);
        } else {
            found.ignored.push((place, "neither the sample's first picture nor its label".to_owned()));
        }
    }
    for Entry { picture, label } in order {
        let Some(picture) = picture else { continue };
        let place = picture.path.clone();
        let label = match label {
            Some(text) => Label::Name { text, place, may_be_index: true },
            None => Label::Missing(place),
        };
        found.samples.push((picture, label));
    }
    Ok(())
}

/// A name at the first dot of its last component: the sample's key and what kind of file it is.
fn split(name: &str) -> Option<(&str, &str)> {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = start + name[start..].find('.')?;
    Some((&name[..dot], &name[dot + 1..]))
}

fn text_label(bytes: &[u8]) -> Option<String> {
    let text = str::from_utf8(bytes).ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn json_label(bytes: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    ["label", "cls", "class"].into_iter().find_map(|key| manifest::label_text(value.get(key)?))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn keys_end_at_the_first_dot_of_the_last_component() {
        assert_eq!(split("a/b.c/0001.seg.png"), Some(("a/b.c/0001", "seg.png")));
        assert_eq!(split("0001.jpg"), Some(("0001", "jpg")));
        assert_eq!(split("./x.cls"), Some(("./x", "cls")));
        assert_eq!(split("a.b/readme"), None);
    }
}
