//! Which concepts are in which image, as people say.

use std::collections::HashMap;
use std::path::{Component, Path};

use crate::error::{Error, ErrorKind, Result};

/// Columns that name the image.
const NAME_COLUMNS: [&str; 2] = ["file_name", "path"];

/// Annotated images: a CSV file with a column `file_name` (or `path`) and for each annotated concept a column of 0 and 1.
#[derive(Debug, Clone)]
pub struct Annotations {
    source: String,
    columns: Vec<String>,
    /// The rows of images by the last part of their names.
    rows: HashMap<String, Vec<Row>>,
}

#[derive(Debug, Clone)]
struct Row {
    line: u64,
    parts: Vec<String>,
    cells: Vec<String>,
}

impl Annotations {
    /// Reads annotations.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; [`ErrorKind::Format`] for a file that is no CSV; [`ErrorKind::Data`] if no column names the images, two
    /// columns have one name or an image is listed twice.
    pub fn open(path: &Path) -> Result<Self> {
        let source = path.display().to_string();
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        let failed = |e: csv::Error| Error::new(ErrorKind::Format, format!("{source}: not a CSV file")).caused_by(e);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
        let headers = reader.headers().map_err(failed)?;
        let columns: Vec<String> = headers.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
        if let Some(twice) = (1..columns.len()).find(|&at| columns[..at].contains(&columns[at])) {
            let message = format!("{source}: two columns are called `{}`", columns[twice]);
            return Err(Error::new(ErrorKind::Data, message));
        }
        let named = |wanted: &str| columns.iter().position(|column| column == wanted);
        let name_column = NAME_COLUMNS.into_iter().find_map(named).ok_or_else(|| {
            let message = format!("{source}: no column file_name or path, found {}", columns.join(", "));
            Error::new(ErrorKind::Data, message)
        })?;
        let mut rows: HashMap<String, Vec<Row>> = HashMap::new();
        for record in reader.records() {
            let record = record.map_err(failed)?;
            let line = record.position().map_or(0, csv::Position::line);
            let parts = parts(&record[name_column]);
            let Some(last) = parts.last() else {
                return Err(Error::new(ErrorKind::Data, format!("{source}:{line}: the name of the image is empty")));
            };
            let of_name = rows.entry(last.clone()).or_default();
            if let Some(before) = of_name.iter().find(|before| before.parts == parts) {
                let message = format!("{source}:{line}: {} is already on line {}", &record[name_column], before.line);
                return Err(Error::new(ErrorKind::Data, message));
            }
            of_name.push(Row { line, parts, cells: record.iter().map(str::to_owned).collect() });
        }
        Ok(Self { source, columns, rows })
    }

    /// Whether each of the images at `paths` has a concept; none where it isn't annotated. An image and its row belong together
    /// if one's path is the end of the other's; of several rows the longest counts.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] naming a concept without a column, a cell that isn't 0 or 1, or an image that two rows fit alike.
    pub fn of_concept(&self, concept: &str, paths: &[String]) -> Result<Vec<Option<bool>>> {
        let column = self.columns.iter().position(|column| column == concept).ok_or_else(|| {
            let message = format!("{}: no column `{concept}`, found {}", self.source, self.columns.join(", "));
            Error::new(ErrorKind::Data, message).hint("annotate the concept in a column of its name")
        })?;
        paths.iter().map(|path| self.row_of(path)?.map(|row| self.cell(row, column)).transpose()).collect()
    }

    fn row_of(&self, path: &str) -> Result<Option<&Row>> {
        let wanted = parts(path);
        let Some(rows) = wanted.last().and_then(|last| self.rows.get(last)) else { return Ok(None) };
        let common = |row: &&Row| {
            let alike = wanted.iter().rev().zip(row.parts.iter().rev()).take_while(|(a, b)| a == b).count();
            (alike == wanted.len().min(row.parts.len())).then_some(alike)
        };
        let longest = rows.iter().filter_map(|row| common(&row)).max();
        let mut fitting = rows.iter().filter(|row| longest.is_some() && common(row) == longest);
        match (fitting.next(), fitting.next()) {
            (Some(first), Some(second)) => {
                let message = format!("{}: lines {} and {} both fit {path}", self.source, first.line, second.line);
                Err(Error::new(ErrorKind::Data, message).hint("name the images there with more of their folders"))
            }
            (only, _) => Ok(only),
        }
    }

    fn cell(&self, row: &Row, column: usize) -> Result<bool> {
        match row.cells.get(column).map_or("", String::as_str) {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            found => {
                let (source, line, name) = (&self.source, row.line, &self.columns[column]);
                let message = format!("{source}:{line}: `{found}` in column `{name}`, expected 0 or 1");
                Err(Error::new(ErrorKind::Data, message))
            }
        }
    }
}

/// The folders and the name that a path is made of, whichever way they are separated.
fn parts(path: &str) -> Vec<String> {
    let path = path.replace('\\', "/");
    let named = Path::new(&path).components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> Result<Annotations> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.csv");
        std::fs::write(&path, text).unwrap();
        Annotations::open(&path)
    }

    #[test]
    fn images_are_found_by_the_end_of_their_paths() {
        let notes = open("file_name,wings\nbuild/cat/1.png,1\ntest/cat/1.png,0\ncat/2.png,true\n").unwrap();
        let paths = ["data/build/cat/1.png", "./test/cat/1.png", "other/cat/1.png", "cat/2.png", "2.png", "9.png"];
        let found = notes.of_concept("wings", &paths.map(str::to_owned)).unwrap();
        assert_eq!(found, [Some(true), Some(false), None, Some(true), Some(true), None]);
        let error = notes.of_concept("wings", &["cat/1.png".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("lines 2 and 3 both fit cat/1.png"), "{error}");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let error = |text: &str| {
            let found = open(text).and_then(|notes| notes.of_concept("wings", &["a.png".to_owned()]));
            found.unwrap_err().to_string()
        };
        assert!(error("name,wings\na.png,1\n").contains("no column file_name or path, found name, wings"));
        assert!(error("path,wings\na.png,1\na.png,0\n").contains("notes.csv:3: a.png is already on line 2"));
        assert!(error("path,wings\na.png,maybe\n").contains("notes.csv:2: `maybe` in column `wings`"));
        assert!(error("path,wings,wings\na.png,1,0\n").contains("notes.csv: two columns are called `wings`"));
        assert!(error("path,wheels\na.png,1\n").contains("no column `wings`, found path, wheels"));
        assert!(error("path,wings\n,1\n").contains("notes.csv:2: the name of the image is empty"));
        assert!(error("path,wings\na.png\n").contains("not a CSV file"));
    }
}
