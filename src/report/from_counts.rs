//! Maps for the writers, made of counts.

use super::map::{Flags, Intervals, MapKind, MapView, Side};
use crate::semantics::statistics::Interval;
use crate::semantics::{Cell, Counts, Differential, FALSE_DISCOVERY_RATE, Fraction};

impl MapView {
    /// The shares of one set with Wilson's intervals; unsupported under `minimum` images.
    pub(super) fn of_counts(title: String, set: &str, concepts: &[String], counts: &Counts, minimum: u64) -> Self {
        let size = concepts.len();
        let share = |i: usize, j: usize| f64::from(counts.at(i, j)) / counts.n() as f64;
        let known = counts.n() > 0;
        let mut map = Self::new(title, MapKind::Strength, concepts.to_vec(), grid(size, known, share));
        map.sides = vec![side(set, counts)];
        map.intervals = known.then(|| intervals(size, |i, j| counts.interval(i, j)));
        map.supported = counts.support(minimum).counts().is_some();
        map
    }

    /// The difference of two sets of which `known` is what is known, none where one of them is empty. Intervals are
    /// Newcombe's; tests and flags are left out where either set has fewer than `minimum` images.
    pub(super) fn of_difference(
        title: String,
        sets: [(&str, &Counts); 2],
        concepts: &[String],
        known: Option<&Differential>,
        minimum: u64,
    ) -> Self {
        let size = concepts.len();
        let change = |i: usize, j: usize| known.map_or(f64::NAN, |map| map.change(i, j));
        let mut map = Self::new(title, MapKind::Differential, concepts.to_vec(), grid(size, known.is_some(), change));
        map.sides = sets.iter().map(|(name, counts)| side(name, counts)).collect();
        map.intervals = known.map(|known| intervals(size, |i, j| known.interval(i, j)));
        map.supported = sets.iter().all(|(_, counts)| counts.support(minimum).counts().is_some());
        if let Some(known) = known.filter(|_| map.supported) {
            let cells: Vec<_> = (0..size * size).map(|at| known.cell(at / size, at % size)).collect();
            map.p = Some(cells.iter().map(|cell| cell.map_or(f64::NAN, |cell| cell.p)).collect());
            map.flags = Some(Flags {
                meaning: format!(
                    "significant at a false discovery rate of {:.0} % among the map’s {} tests ({})",
                    100.0 * FALSE_DISCOVERY_RATE,
                    known.tests(),
                    if known.is_paired() { "exact McNemar" } else { "Fisher’s exact" }
                ),
                cells: cells.iter().map(|cell| cell.is_some_and(|cell| cell.flagged)).collect(),
            });
        }
        map
    }

    /// The map of one set binarised at `tau`: 1 above it, 0 below, and flagged, without a value, exactly at it.
    pub(super) fn binarised(mut self, counts: &Counts, tau: Fraction) -> Self {
        let size = self.size();
        let Some(cells) = counts.binarised(tau) else { return self };
        self.values = grid(size, true, |i, j| match cells[i * size + j] {
            Cell::Zero => 0.0,
            Cell::One => 1.0,
            Cell::Even => f64::NAN,
        });
        self.kind = MapKind::Binarised;
        self.intervals = None;
        self.flags = Some(Flags {
            meaning: format!("exactly at the threshold {tau}"),
            cells: cells.iter().map(|cell| *cell == Cell::Even).collect(),
        });
        self
    }
}

fn side(name: &str, counts: &Counts) -> Side {
    Side { name: name.to_owned(), n: counts.n(), counts: counts.cells().iter().map(|&count| count.into()).collect() }
}

/// `value` of every cell off the diagonal, NaN on it and where nothing is known.
fn grid(size: usize, known: bool, value: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let cell = |at: usize| match (at / size, at % size) {
        (i, j) if i == j || !known => f64::NAN,
        (i, j) => value(i, j),
    };
    (0..size * size).map(cell).collect()
}

fn intervals(size: usize, of: impl Fn(usize, usize) -> Interval) -> Intervals {
    Intervals { low: grid(size, true, |i, j| of(i, j).low), high: grid(size, true, |i, j| of(i, j).high) }
}
