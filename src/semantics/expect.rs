//! Embeddings beside those of a reference: another program's for the same pictures or prompts.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::embed::Embeddings;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;
use crate::weights::Weights;

/// How near embeddings must be to their reference, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tolerance {
    /// The largest allowed difference of a value, over the largest magnitude of the reference's row.
    pub error: f64,
    /// The least allowed cosine between the two rows.
    pub cosine: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { error: 1e-3, cosine: 0.99999 }
    }
}

/// Reference embeddings from a file.
#[derive(Debug, Clone)]
pub struct Reference {
    name: String,
    values: Tensor,
    paths: Option<Vec<String>>,
}

/// What tells which row of a reference belongs to which of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowName {
    /// A picture's path: file names count, and where several files have the same one, the folders before it as well.
    Path,
    /// A prompt, all of it.
    Prompt,
}

/// How far one row lies from its reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowDifference {
    /// The picture's path, or the prompt.
    pub path: String,
    /// The cosine between the two rows; NaN if one of them is zero.
    pub cosine: f64,
    /// The largest difference over the largest magnitude of the reference's row.
    pub error: f64,
    /// Where in the row that is.
    pub index: usize,
    /// Our value there.
    pub ours: f32,
    /// The reference's value there.
    pub reference: f32,
    /// Whether the row is within the tolerance.
    pub passes: bool,
}

/// Embeddings compared with a reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What was asked for.
    pub tolerance: Tolerance,
    /// Rows compared.
    pub rows: usize,
    /// Rows beyond the tolerance.
    pub failing: usize,
    /// The least cosine of all rows.
    pub least_cosine: f64,
    /// The largest error of all rows.
    pub largest_error: f64,
    /// The rows that lie farthest off, the worst first; those beyond the tolerance come before all others.
    pub worst: Vec<RowDifference>,
}

impl Reference {
    /// Reads a safetensors file with the tensor `embeddings` `[N, E]` (f32, f16 or bf16) and, if it has them, the rows' names as
    /// a JSON list under `paths` in its metadata, as [`Embeddings::save`] writes them.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], [`ErrorKind::Format`] or [`ErrorKind::Weights`] naming the file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Weights::open(path)?;
        let [rows, _] = file.extents("embeddings")?;
        let failed = |what: &str| Error::new(ErrorKind::Format, format!("{}: {what}", path.display()));
        let paths: Option<Vec<String>> = file
            .metadata("paths")
            .map(|text| {
                serde_json::from_str(text).map_err(|e| failed("`paths` isn't a JSON list of names").caused_by(e))
            })
            .transpose()?;
        if let Some(paths) = paths.as_ref().filter(|paths| paths.len() != rows) {
            return Err(failed(&format!("`paths` has {} names, but `embeddings` {rows} rows", paths.len())));
        }
        Ok(Self { name: file.name().to_owned(), values: file.tensor("embeddings")?, paths })
    }

    /// Compares `ours` with the reference, row by row: by name where the reference has names, else by order. The `worst` rows
    /// are kept.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] if the two don't have the same rows, or rows of different lengths.
    pub fn compare(&self, ours: &Embeddings, by: RowName, tolerance: Tolerance, worst: usize) -> Result<Comparison> {
        let (found, expected) = (&ours.values, &self.values);
        if found.columns() != expected.columns() {
            let message =
                format!("embeddings of {} values, but the model's have {}", expected.columns(), found.columns());
            return Err(self.mismatch(message));
        }
        let matched = match &self.paths {
            Some(theirs) => self.match_names(&ours.paths, theirs, by)?,
            None => (0..expected.rows()).collect(),
        };
        if matched.len() != found.rows() || found.rows() != expected.rows() {
            let message = format!("{} rows, but there are {} to compare", expected.rows(), found.rows());
            return Err(self.mismatch(message));
        }
        let mut rows: Vec<RowDifference> = (ours.paths.iter().zip(matched).enumerate())
            .map(|(row, (path, theirs))| difference(path, found.row(row), expected.row(theirs), tolerance))
            .collect();
        let comparison = Comparison {
            tolerance,
            rows: rows.len(),
            failing: rows.iter().filter(|row| !row.passes).count(),
            least_cosine: rows.iter().map(|row| row.cosine).fold(f64::INFINITY, nan_or_min),
            largest_error: rows
                .iter()
                .map(|row| row.error)
                .fold(0.0, |a, b| if a.is_nan() { a } else { f64::max(a, b) }),
            worst: Vec::new(),
        };
        rows.sort_by(|a, b| {
            a.passes.cmp(&b.passes).then(b.error.total_cmp(&a.error)).then(a.cosine.total_cmp(&b.cosine))
        });
        rows.truncate(worst);
        Ok(Comparison { worst: rows, ..comparison })
    }

    /// For each of `ours` the row of `theirs` that has its name.
    fn match_names(&self, ours: &[String], theirs: &[String], by: RowName) -> Result<Vec<usize>> {
        let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (row, name) in theirs.iter().enumerate() {
            rows.entry(key(name, by)).or_default().push(row);
        }
        let mut is_taken = vec![false; theirs.len()];
        let mut matched = Vec::with_capacity(ours.len());
        for name in ours {
            let candidates = rows.get(key(name, by)).map_or(&[][..], Vec::as_slice);
            let row = match (candidates, by) {
                ([], _) => return Err(self.mismatch(format!("no row for {name}"))),
                ([only], _) => *only,
                // The same prompt twice has the same embedding twice.
                (_, RowName::Prompt) => candidates.iter().copied().find(|&row| !is_taken[row]).unwrap_or(candidates[0]),
                (_, RowName::Path) => {
                    let shared = |row: usize| shared_endings(name, &theirs[row]);
                    let longest = candidates.iter().map(|&row| shared(row)).max().unwrap_or(0);
                    match candidates.iter().copied().filter(|&row| shared(row) == longest).collect::<Vec<_>>()[..] {
                        [only] => only,
                        _ => return Err(self.mismatch(format!("several rows that could be {name}"))),
                    }
                }
            };
            if std::mem::replace(&mut is_taken[row], true) {
                return Err(self.mismatch(format!("one row for several inputs, {name} the last of them")));
            }
            matched.push(row);
        }
        match is_taken.iter().position(|taken| !taken) {
            Some(row) => Err(self.mismatch(format!("a row for {}, which wasn't embedded", theirs[row]))),
            None => Ok(matched),
        }
    }

    fn mismatch(&self, what: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Mismatch, format!("{}: has {what}", self.name))
    }
}

/// The smaller of two numbers, NaN if either is one.
fn nan_or_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// What rows of the same name share: a path's file name, on whichever system it was written.
fn key(name: &str, by: RowName) -> &str {
    match by {
        RowName::Path => name.rsplit(['/', '\\']).next().unwrap_or(name),
        RowName::Prompt => name,
    }
}

/// How many of their last parts two paths share.
fn shared_endings(a: &str, b: &str) -> usize {
    let parts = |path| str::rsplit(path, ['/', '\\']);
    parts(a).zip(parts(b)).take_while(|(a, b)| a == b).count()
}

fn difference(path: &str, ours: &[f32], reference: &[f32], tolerance: Tolerance) -> RowDifference {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let cosine = dot(ours, reference) / (dot(ours, ours) * dot(reference, reference)).sqrt();
    let at = |index: usize| (f64::from(ours[index]) - f64::from(reference[index])).abs();
    let index = (0..ours.len()).max_by(|&a, &b| at(a).total_cmp(&at(b)).then(b.cmp(&a))).unwrap_or(0);
    let largest = reference.iter().fold(0.0, |largest: f64, &value| largest.max(f64::from(value).abs()));
    let error = if at(index) == 0.0 { 0.0 } else { at(index) / largest };
    RowDifference {
        path: path.to_owned(),
        cosine,
        error,
        index,
        ours: ours[index],
        reference: reference[index],
        // Written so that NaN doesn't pass.
        passes: error <= tolerance.error && cosine >= tolerance.cosine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embeddings(rows: &[[f32; 2]], paths: &[&str]) -> Embeddings {
        let values = Tensor::new([rows.len(), 2], rows.concat());
        Embeddings { values, paths: paths.iter().map(|&path| path.to_owned()).collect(), skipped: Vec::new() }
    }

    fn reference(rows: &[[f32; 2]], paths: Option<&[&str]>) -> Reference {
        let Embeddings { values, paths: names, .. } = embeddings(rows, paths.unwrap_or(&[]));
        Reference { name: "ref.safetensors".to_owned(), values, paths: paths.map(|_| names) }
    }

    #[test]
    fn a_difference_is_told_with_its_place() {
        let ours = embeddings(&[[1.0, 2.0], [3.0, -4.0]], &["a.png", "b.png"]);
        let found = reference(&[[1.0, 2.0], [3.0, -5.0]], None);
        let found = found.compare(&ours, RowName::Path, Tolerance::default(), 1).unwrap();
        assert_eq!((found.rows, found.failing, found.largest_error), (2, 1, 0.2));
        // cos of (3, -4) and (3, -5): 29 / (5 √34).
        let cosine = 29.0 / (5.0 * 34.0f64.sqrt());
        assert!((found.least_cosine - cosine).abs() < 1e-15);
        let [worst] = &found.worst[..] else { panic!("{found:?}") };
        assert_eq!((worst.path.as_str(), worst.index, worst.ours, worst.reference), ("b.png", 1, -4.0, -5.0));
        assert!(!worst.passes);
        let loose = Tolerance { error: 0.2, cosine: 0.9 };
        let found = reference(&[[1.0, 2.0], [3.0, -5.0]], None).compare(&ours, RowName::Path, loose, 9).unwrap();
        assert_eq!((found.failing, found.worst.len(), found.worst[0].path.as_str()), (0, 2, "b.png"));
    }

    #[test]
    fn a_row_of_zeros_never_passes() {
        let ours = embeddings(&[[0.0, 0.0], [1.0, 1.0]], &["a", "b"]);
        let found = reference(&[[0.0, 0.0], [0.0, 0.0]], None).compare(&ours, RowName::Path, Tolerance::default(), 2);
        let found = found.unwrap();
        assert_eq!(found.failing, 2);
        assert!(found.least_cosine.is_nan() && found.largest_error == f64::INFINITY, "{found:?}");
    }

    #[test]
    fn rows_are_matched_by_file_name_and_where_needed_by_folder() {
        let ours = embeddings(&[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]], &["x/cat/1.png", "x/dog/1.png", "x/dog/2.png"]);
        let theirs = ["D:\\data\\dog\\2.png", "D:\\data\\dog\\1.png", "D:\\data\\cat\\1.png"];
        let rows = [[3.0, 0.0], [2.0, 0.0], [1.0, 0.0]];
        let found = reference(&rows, Some(&theirs)).compare(&ours, RowName::Path, Tolerance::default(), 3).unwrap();
        assert_eq!((found.failing, found.largest_error, found.least_cosine), (0, 0.0, 1.0));
    }

    #[test]
    fn rows_that_do_not_belong_together_are_refused_by_name() {
        let rows = [[1.0, 0.0], [2.0, 0.0]];
        let ours = embeddings(&rows, &["cat/1.png", "dog/2.png"]);
        let cases: [(&[&str], &str); 4] = [
            (&["1.png", "3.png"], "has no row for dog/2.png"),
            (&["a/2.png", "b/2.png"], "has no row for cat/1.png"),
            (&["1.png", "1.png"], "has several rows that could be cat/1.png"),
            (&["1.png", "2.png", "3.png"], "has a row for 3.png, which wasn't embedded"),
        ];
        for (theirs, message) in cases {
            let rows: Vec<[f32; 2]> = theirs.iter().map(|_| [1.0, 0.0]).collect();
            let error =
                reference(&rows, Some(theirs)).compare(&ours, RowName::Path, Tolerance::default(), 1).unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::Mismatch, format!("ref.safetensors: {message}")));
        }
        let error = reference(&rows[..1], None).compare(&ours, RowName::Path, Tolerance::default(), 1).unwrap_err();
        assert_eq!(error.to_string(), "ref.safetensors: has 1 rows, but there are 2 to compare");
    }

    #[test]
    fn prompts_are_matched_whole() {
        let ours = embeddings(&[[1.0, 0.0], [2.0, 0.0], [1.0, 0.0]], &["on/off", "or/off", "on/off"]);
        let theirs = ["or/off", "on/off", "on/off"];
        let rows = [[2.0, 0.0], [1.0, 0.0], [1.0, 0.0]];
        let found = reference(&rows, Some(&theirs)).compare(&ours, RowName::Prompt, Tolerance::default(), 3).unwrap();
        assert_eq!(found.failing, 0);
    }
}
