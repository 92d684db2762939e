//! Maps as tables for other programs: CSV in long form, JSON and npy.

use std::path::Path;

use serde::Serialize;

use super::map::MapView;
use super::npy::write_npy;
use crate::error::{Error, ErrorKind, Result};
use crate::files;

/// One off-diagonal cell, as a row of the CSV. The second count and n are those of a differential map's second side.
#[derive(Serialize)]
struct Row<'a> {
    row: &'a str,
    column: &'a str,
    value: Option<f64>,
    count: Option<u64>,
    n: Option<u64>,
    other_count: Option<u64>,
    other_n: Option<u64>,
    low: Option<f64>,
    high: Option<f64>,
    p: Option<f64>,
    flag: Option<bool>,
    supported: bool,
}

/// Writes the off-diagonal cells, one a line with its concepts' names, values at full precision, empty where there is none.
///
/// # Errors
/// [`ErrorKind::Io`] that names `path`, [`ErrorKind::Data`] for a malformed map; nothing is half-written.
pub fn write_csv(path: impl AsRef<Path>, map: &MapView) -> Result<()> {
    let path = path.as_ref();
    map.check()?;
    files::write_atomic(path, |file| {
        let mut writer = csv::Writer::from_writer(file);
        for row in 0..map.size() {
            for column in (0..map.size()).filter(|&column| column != row) {
                writer.serialize(cell(map, row, column)).map_err(|error| write_error(path, error))?;
            }
        }
        writer.flush().map_err(|source| Error::io(path, source))
    })
}

fn cell(map: &MapView, row: usize, column: usize) -> Row<'_> {
    let at = row * map.size() + column;
    let finite = |value: f64| value.is_finite().then_some(value);
    let (first, second) = (map.sides.first(), map.sides.get(1));
    Row {
        row: &map.concepts[row],
        column: &map.concepts[column],
        value: map.value(row, column),
        count: first.map(|side| side.counts[at]),
        n: first.map(|side| side.n),
        other_count: second.map(|side| side.counts[at]),
        other_n: second.map(|side| side.n),
        low: map.intervals.as_ref().and_then(|intervals| finite(intervals.low[at])),
        high: map.intervals.as_ref().and_then(|intervals| finite(intervals.high[at])),
        p: map.p.as_ref().and_then(|p| finite(p[at])),
        flag: map.flags.as_ref().map(|flags| flags.cells[at]),
        supported: map.supported,
    }
}

fn write_error(path: &Path, error: csv::Error) -> Error {
    Error::new(ErrorKind::Io, path.display().to_string()).caused_by(error)
}

/// Writes the map as it is: one JSON object with the fields of [`MapView`], null where there is no number.
///
/// # Errors
/// [`ErrorKind::Io`] that names `path`, [`ErrorKind::Data`] for a malformed map; nothing is half-written.
pub fn write_json(path: impl AsRef<Path>, map: &MapView) -> Result<()> {
    let path = path.as_ref();
    map.check()?;
    files::write_atomic(path, |file| {
        serde_json::to_writer(&mut *file, map)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(|source| Error::io(path, source))
    })
}

/// Writes the file of `map` that the extension of `path` names: a picture (`.png`), a table (`.csv`), the values alone
/// (`.npy`, f32 `[C, C]`, NaN where there is none) or everything (`.json`).
///
/// # Errors
/// [`ErrorKind::Usage`] for any other extension, else as the single writers.
pub fn write_map(path: impl AsRef<Path>, map: &MapView) -> Result<()> {
    let path = path.as_ref();
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("png") => super::png::write_png(path, map),
        Some("csv") => write_csv(path, map),
        Some("json") => write_json(path, map),
        Some("npy") => {
            map.check()?;
            let values: Vec<f32> = map.values.iter().map(|&value| value as f32).collect();
            write_npy(path, &[map.size(), map.size()], &values)
        }
        _ => Err(Error::new(
            ErrorKind::Usage,
            format!("{}: the extension says what to write, expected .png, .csv, .npy or .json", path.display()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::map::tests::example;
    use crate::report::{Flags, Intervals, MapKind, Side};

    fn complete() -> MapView {
        let mut map = example(MapKind::Differential, &["wings", "long, tall", "horns \"big\""]);
        let side = |name: &str, n| Side { name: name.to_owned(), n, counts: (0..9).collect() };
        map.sides = vec![side("correct", 40), side("missed", 9)];
        map.intervals = Some(Intervals { low: vec![-0.5; 9], high: vec![0.5; 9] });
        map.p = Some((0..9).map(|at| if at == 5 { f64::NAN } else { 0.125 }).collect());
        map.flags = Some(Flags { meaning: "flagged".into(), cells: (0..9).map(|at| at == 1).collect() });
        map
    }

    #[test]
    fn csv_holds_every_off_diagonal_cell() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.csv");
        let map = complete();
        write_map(&path, &map).unwrap();
        let mut reader = csv::Reader::from_path(&path).unwrap();
        let names: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        assert_eq!(
            names,
            ["row", "column", "value", "count", "n", "other_count", "other_n", "low", "high", "p", "flag", "supported"]
        );
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 6);
        for row in &rows {
            let index = |name: &str| map.concepts.iter().position(|concept| concept == name).unwrap();
            let (i, j) = (index(&row[0]), index(&row[1]));
            assert_eq!(row[2].parse::<f64>().unwrap(), map.value(i, j).unwrap());
            assert_eq!(row[3].parse::<usize>().unwrap(), i * 3 + j);
            assert_eq!((&row[4], &row[6], &row[7]), ("40", "9", "-0.5"));
            assert_eq!(&row[9], if (i, j) == (1, 2) { "" } else { "0.125" });
            assert_eq!(&row[10], if (i, j) == (0, 1) { "true" } else { "false" });
        }
    }

    #[test]
    fn json_has_null_where_there_is_no_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.JSON");
        let map = complete();
        write_map(&path, &map).unwrap();
        let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(json["kind"], "differential");
        assert!(json["values"][4].is_null());
        assert_eq!(json["values"][1].as_f64(), map.value(0, 1));
        assert_eq!(json["sides"][1]["n"], 9);
        assert_eq!(json["concepts"][2], "horns \"big\"");
    }

    #[test]
    fn npy_holds_the_values() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.npy");
        let map = complete();
        write_map(&path, &map).unwrap();
        let array = npyz::NpyFile::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap())).unwrap();
        assert_eq!(array.shape(), [3, 3]);
        let values = array.into_vec::<f32>().unwrap();
        assert!(values[0].is_nan() && values[8].is_nan());
        assert_eq!(values[1], map.values[1] as f32);
    }

    #[test]
    fn another_extension_is_an_error_that_lists_the_four() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["map.bmp", "map", ".png"] {
            let error = write_map(folder.path().join(name), &complete()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            for part in [name, ".png", ".csv", ".npy", ".json"] {
                assert!(error.to_string().contains(part), "{part} in {error}");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
