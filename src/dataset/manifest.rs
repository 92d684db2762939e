//! Lists of pictures and labels: CSV and JSON lines, as Hugging Face's imagefolder writes them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use super::{Found, Label, Sample, data, has_extension};
use crate::error::{Error, ErrorKind, Result};

const NAME_COLUMNS: [&str; 2] = ["file_name", "path"];
const LABEL_COLUMN: &str = "label";

/// The pictures that the manifest at `path` lists, whose names are relative to its folder.
pub(super) fn read(path: &Path) -> Result<Found> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let rows = if has_extension(path, &["jsonl"]) { read_jsonl(path, file)? } else { read_csv(path, file)? };
    let root = path.parent().unwrap_or(Path::new(""));
    let mut found = Found::default();
    for Row { place, name, label } in rows {
        let file = root.join(&name);
        if !file.is_file() {
            return Err(data(&place, &format!("lists {name:?}, but there is no file {}", file.display())));
        }
        let label = match label {
            Some(text) => Label::Name { text, place, may_be_index: true },
            None => Label::Missing(place),
        };
        found.samples.push((Sample::file(&file, None), label));
    }
    Ok(found)
}

struct Row {
    /// The manifest and the line, for errors.
    place: String,
    name: String,
    label: Option<String>,
}

fn read_csv(path: &Path, file: File) -> Result<Vec<Row>> {
    let failed =
        |e: csv::Error| Error::new(ErrorKind::Format, format!("{}: not a CSV file", path.display())).caused_by(e);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let headers = reader.headers().map_err(failed)?.clone();
    let column = |wanted: &str| headers.iter().position(|header| header.trim_start_matches('\u{feff}') == wanted);
    let Some(name_column) = NAME_COLUMNS.into_iter().find_map(column) else {
        return Err(no_name_column(path.display()));
    };
    let label_column = column(LABEL_COLUMN);
    let row = |record: csv::Result<csv::StringRecord>| {
        let record = record.map_err(failed)?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |column| record.get(column).unwrap_or_default().to_owned();
        let label = label_column.map(cell).filter(|label| !label.is_empty());
        Ok(Row { place: format!("{}: line {line}", path.display()), name: cell(name_column), label })
    };
    reader.records().map(row).collect()
}

fn read_jsonl(path: &Path, file: File) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| Error::io(path, e))?;
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("{}: line {}", path.display(), index + 1);
        let object: Map<String, Value> = serde_json::from_str(&line)
            .map_err(|e| Error::new(ErrorKind::Format, format!("{place}: not a JSON object")).caused_by(e))?;
        let name = NAME_COLUMNS.into_iter().find_map(|column| object.get(column)?.as_str());
        let name = name.ok_or_else(|| no_name_column(&place))?.to_owned();
        let label = object.get(LABEL_COLUMN).and_then(label_text);
        rows.push(Row { place, name, label });
    }
    Ok(rows)
}

/// A label that's a text or a number.
pub(super) fn label_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn no_name_column(place: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Data, format!("{place}: no column file_name or path"))
}
