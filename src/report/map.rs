//! A map as every writer sees it: names, numbers and what they rest on.

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// What the values of a map mean, and so how they are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapKind {
    /// Shares in [0, 1]: how often the row's concept scored above the column's.
    Strength,
    /// 1 where such a share is above a threshold, 0 where it is below.
    Binarised,
    /// Differences of two such shares, in [-1, 1].
    Differential,
}

impl MapKind {
    /// A value in whole percent, with its sign if it is a difference.
    pub(super) fn percent(self, value: f64) -> String {
        let rounded = (100.0 * value).round() as i64;
        match self {
            Self::Differential if rounded != 0 => format!("{rounded:+}"),
            _ => rounded.to_string(),
        }
    }

    /// A cell's value as it is printed: in whole percent, or 0 or 1 where it was binarised.
    pub(super) fn number(self, value: f64) -> String {
        match self {
            Self::Binarised => value.to_string(),
            Self::Strength | Self::Differential => self.percent(value),
        }
    }
}

/// One set of images whose counts a map rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// What the set is called: `correct`, `missed`, `clip space`.
    pub name: String,
    /// How many images it holds.
    pub n: u64,
    /// C×C counts, row-major: in how many of them the row's concept scored above the column's.
    pub counts: Vec<u64>,
}

/// Intervals around the values, both C×C, row-major; NaN where there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Intervals {
    /// Lower ends.
    pub low: Vec<f64>,
    /// Upper ends.
    pub high: Vec<f64>,
}

/// Cells that stand out, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flags {
    /// What a flag says: `false discovery rate below 5 %`, `exactly at the threshold`.
    pub meaning: String,
    /// C×C, row-major.
    pub cells: Vec<bool>,
}

/// A C×C map of concept pairs, ready to be written: cell (i, j), at `i * C + j`, compares concept i with concept j.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MapView {
    /// What is shown: `plane · correct`.
    pub title: String,
    /// What the values mean.
    pub kind: MapKind,
    /// The names of the C concepts, along both axes.
    pub concepts: Vec<String>,
    /// C×C values, row-major; NaN on the diagonal and wherever there is none.
    pub values: Vec<f64>,
    /// The sets behind the values: one of a strength or binarised map, two of a differential one (first less second); empty where the
    /// values don't come from counts.
    pub sides: Vec<Side>,
    /// An interval of each value.
    pub intervals: Option<Intervals>,
    /// C×C p-values, row-major; NaN where no test was made.
    pub p: Option<Vec<f64>>,
    /// Marked cells.
    pub flags: Option<Flags>,
    /// Whether enough images stand behind the map; if not it is drawn hatched and says so.
    pub supported: bool,
}

impl MapView {
    /// A supported map of `values` alone, to be completed by its fields.
    pub fn new(title: impl Into<String>, kind: MapKind, concepts: Vec<String>, values: Vec<f64>) -> Self {
        Self {
            title: title.into(),
            kind,
            concepts,
            values,
            sides: Vec::new(),
            intervals: None,
            p: None,
            flags: None,
            supported: true,
        }
    }

    /// C, the number of concepts.
    pub fn size(&self) -> usize {
        self.concepts.len()
    }

    /// The value of cell (`row`, `column`), or `None` where the map has none.
    ///
    /// # Panics
    /// If the map doesn't hold such a cell.
    pub fn value(&self, row: usize, column: usize) -> Option<f64> {
        let value = self.values[row * self.size() + column];
        value.is_finite().then_some(value)
    }

    /// The mean of a row over its off-diagonal values: a concept's win rate, or the change of it; `None` if it has none.
    pub fn row_mean(&self, row: usize) -> Option<f64> {
        let values = (0..self.size()).filter(|&column| column != row).filter_map(|column| self.value(row, column));
        let (sum, n) = values.fold((0.0, 0), |(sum, n), value| (sum + value, n + 1));
        (n > 0).then(|| sum / f64::from(n))
    }

    /// The half-width of the range that colours span: 1 for strength; for a differential map the least of a few round
    /// numbers that holds every value, so that small differences remain visible.
    pub fn range(&self) -> f64 {
        let largest = self.values.iter().filter(|value| value.is_finite()).fold(0.0_f64, |max, v| max.max(v.abs()));
        match self.kind {
            MapKind::Strength | MapKind::Binarised => 1.0,
            MapKind::Differential => {
                [0.1, 0.2, 0.4, 0.6, 0.8].into_iter().find(|&limit| largest <= limit).unwrap_or(1.0)
            }
        }
    }

    /// The support as people read it: `n = 91`, or `correct n = 91, missed n = 14`.
    pub fn support(&self) -> String {
        match self.sides.as_slice() {
            [only] => format!("n = {}", only.n),
            sides => sides.iter().map(|side| format!("{} n = {}", side.name, side.n)).collect::<Vec<_>>().join(", "),
        }
    }

    /// Checks that every array is C×C.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] that names the map and the array.
    pub fn check(&self) -> Result<()> {
        let cells = self.size() * self.size();
        let mut lengths = vec![("values", self.values.len())];
        lengths.extend(self.sides.iter().map(|side| ("counts", side.counts.len())));
        lengths.extend(self.intervals.iter().flat_map(|i| [("low", i.low.len()), ("high", i.high.len())]));
        lengths.extend(self.p.iter().map(|p| ("p", p.len())));
        lengths.extend(self.flags.iter().map(|flags| ("flags", flags.cells.len())));
        match lengths.into_iter().find(|&(_, len)| len != cells) {
            None => Ok(()),
            Some((name, len)) => Err(Error::new(
                ErrorKind::Data,
                format!(
                    "map {}: {name} has {len} cells, expected {cells} ({} concepts squared)",
                    self.title,
                    self.size()
                ),
            )),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A map of `size` concepts whose counts follow from a formula; antisymmetric as differential maps are.
    pub(crate) fn example(kind: MapKind, names: &[&str]) -> MapView {
        let size = names.len();
        let concepts = names.iter().map(|&name| name.to_owned()).collect();
        let cell = |i: usize, j: usize| match kind {
            _ if i == j => f64::NAN,
            MapKind::Binarised => f64::from(u8::from(i < j)),
            MapKind::Strength if i < j => ((i * 7 + j * 3) % 11) as f64 / 10.0,
            MapKind::Strength => 1.0 - ((j * 7 + i * 3) % 11) as f64 / 10.0,
            MapKind::Differential => (((i * i + 5 * j * j) % 13) as f64 - ((j * j + 5 * i * i) % 13) as f64) / 12.0,
        };
        let values = (0..size * size).map(|at| cell(at / size, at % size)).collect();
        MapView::new("plane", kind, concepts, values)
    }

    #[test]
    fn row_means_leave_out_the_diagonal_and_gaps() {
        let mut map = example(MapKind::Strength, &["a", "b", "c"]);
        map.values = vec![9.0, 0.5, 1.0, 0.25, 9.0, f64::NAN, f64::NAN, f64::NAN, 9.0];
        assert_eq!(map.row_mean(0), Some(0.75));
        assert_eq!(map.row_mean(1), Some(0.25));
        assert_eq!(map.row_mean(2), None);
    }

    #[test]
    fn the_range_of_a_differential_map_is_the_least_that_holds_it() {
        let mut map = MapView::new("d", MapKind::Differential, vec!["a".into(), "b".into()], vec![f64::NAN; 4]);
        for (value, range) in [(0.0, 0.1), (-0.1, 0.1), (0.11, 0.2), (-0.4, 0.4), (0.81, 1.0), (-1.0, 1.0)] {
            map.values[1] = value;
            assert_eq!(map.range(), range, "{value}");
        }
        map.kind = MapKind::Strength;
        assert_eq!(map.range(), 1.0);
    }

    #[test]
    fn an_array_of_another_size_is_named() {
        let mut map = example(MapKind::Strength, &["a", "b"]);
        map.check().unwrap();
        map.p = Some(vec![0.5; 3]);
        let error = map.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert_eq!(error.to_string(), "map plane: p has 3 cells, expected 4 (2 concepts squared)");
    }
}
