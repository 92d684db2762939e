//! The difference of two maps, with what is known of each cell.

use serde::Serialize;

use super::heatmap::Counts;
use super::statistics::{
    CONFIDENCE, FisherExact, Interval, Paired, benjamini_hochberg, mcnemar_exact, newcombe, newcombe_paired,
};
use crate::error::{Error, ErrorKind, Result};

/// The level at which cells of one map are flagged: among the flagged at most 5 % are expected to be false.
pub const FALSE_DISCOVERY_RATE: f64 = 0.05;

/// The map `first − second`, in [−1, 1]: the differential map of two disjoint sets of images, or the loss map of the same
/// images in two spaces.
///
/// Cells (i, j) with i < j form one family of C(C − 1)/2 tests; (j, i) shares the test of (i, j). Where scores tie, (j, i)
/// isn't exactly the negative of (i, j): shares and intervals come from each cell's own counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Differential {
    first: Counts,
    second: Counts,
    both: Option<Vec<u32>>,
    tests: Vec<Test>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Test {
    p: f64,
    adjusted: f64,
    flagged: bool,
}

/// One cell of a [`Differential`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DifferentialCell {
    /// The first map's share less the second's.
    pub change: f64,
    /// The lower end of its 95 % interval (Newcombe).
    pub low: f64,
    /// The upper end of its 95 % interval (Newcombe).
    pub high: f64,
    /// The two-sided exact p of cell (min, max) of this pair: Fisher's, or McNemar's for paired maps.
    pub p: f64,
    /// That p adjusted for all tests of the map (Benjamini–Hochberg).
    pub adjusted: f64,
    /// Whether it is flagged at [`FALSE_DISCOVERY_RATE`].
    pub flagged: bool,
}

impl Differential {
    /// The difference of the maps of two disjoint sets: D = H_first − H_second, with Fisher's exact test.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for different numbers of concepts, [`ErrorKind::Data`] if either set is empty.
    pub fn of_sets(first: &Counts, second: &Counts) -> Result<Self> {
        check(first, second)?;
        let fisher = FisherExact::new(first.n(), second.n());
        let tables: Vec<(u64, u64)> =
            upper(first.concepts()).map(|(i, j)| (u64::from(first.at(i, j)), u64::from(second.at(i, j)))).collect();
        Ok(Self {
            first: first.clone(),
            second: second.clone(),
            both: None,
            tests: tested(&fisher.two_sided_all(&tables)),
        })
    }

    /// The difference of two maps of the same images, with McNemar's exact test. `both` `[C, C]` counts the images for which
    /// a cell's predicate holds in both maps.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for different numbers of concepts or images, [`ErrorKind::Data`] if there are no images or `both`
    /// doesn't fit the two maps.
    pub fn paired(first: &Counts, second: &Counts, both: Vec<u32>) -> Result<Self> {
        check(first, second)?;
        if first.n() != second.n() {
            let what = format!("paired maps need the same images, found {} and {}", first.n(), second.n());
            return Err(Error::new(ErrorKind::Mismatch, what));
        }
        let cells = first.cells().iter().zip(second.cells());
        let fits = |(&both, (&a, &b)): (&u32, (&u32, &u32))| {
            both <= a.min(b) && u64::from(a) + u64::from(b) <= first.n() + u64::from(both)
        };
        if both.len() != first.cells().len() || !both.iter().zip(cells).all(fits) {
            return Err(Error::new(ErrorKind::Data, "the joint counts of two paired maps don't fit the maps"));
        }
        let mut map = Self { first: first.clone(), second: second.clone(), both: Some(both), tests: Vec::new() };
        let p: Vec<f64> = upper(first.concepts())
            .map(|(i, j)| map.pairs(i, j).map_or(1.0, |table| mcnemar_exact(table.first_only, table.second_only)))
            .collect();
        map.tests = tested(&p);
        Ok(map)
    }

    /// C.
    pub fn concepts(&self) -> usize {
        self.first.concepts()
    }

    /// The map that is subtracted from.
    pub fn first(&self) -> &Counts {
        &self.first
    }

    /// The map that is subtracted.
    pub fn second(&self) -> &Counts {
        &self.second
    }

    /// Whether both maps are of the same images.
    pub fn is_paired(&self) -> bool {
        self.both.is_some()
    }

    /// The number of tests in the map's one family: C(C − 1)/2.
    pub fn tests(&self) -> usize {
        self.tests.len()
    }

    /// The first map's share less the second's at cell (i, j); 0 on the diagonal.
    pub fn change(&self, i: usize, j: usize) -> f64 {
        let share = |map: &Counts| f64::from(map.at(i, j)) / map.n() as f64;
        share(&self.first) - share(&self.second)
    }

    /// All changes, row-major `[C, C]`.
    pub fn changes(&self) -> Vec<f64> {
        let (n1, n2) = (self.first.n() as f64, self.second.n() as f64);
        let cells = self.first.cells().iter().zip(self.second.cells());
        cells.map(|(&a, &b)| f64::from(a) / n1 - f64::from(b) / n2).collect()
    }

    /// Newcombe's 95 % interval of the change at (i, j), from that cell's own counts.
    pub fn interval(&self, i: usize, j: usize) -> Interval {
        if let Some(table) = self.pairs(i, j) {
            return newcombe_paired(table, CONFIDENCE);
        }
        let [a, b] = [&self.first, &self.second].map(|map| (u64::from(map.at(i, j)), map.n()));
        newcombe(a.0, a.1, b.0, b.1, CONFIDENCE)
    }

    /// All that is known of cell (i, j), or `None` on the diagonal.
    pub fn cell(&self, i: usize, j: usize) -> Option<DifferentialCell> {
        let (a, b) = (i.min(j), i.max(j));
        if a == b {
            return None;
        }
        // Row a of the upper triangle begins after the rows above it, which hold C - 1, C - 2, … tests.
        let Test { p, adjusted, flagged } = self.tests[a * (2 * self.concepts() - a - 1) / 2 + b - a - 1];
        let Interval { low, high } = self.interval(i, j);
        Some(DifferentialCell { change: self.change(i, j), low, high, p, adjusted, flagged })
    }

    /// The pairs (i, j) by falling change, each pair in the direction in which the change is larger and only where it is
    /// above 0; equal changes in the order of the concepts.
    pub fn strongest_pairs(&self, limit: usize) -> Vec<(usize, usize)> {
        let mut pairs: Vec<(usize, usize, f64)> = upper(self.concepts())
            .map(|(i, j)| {
                let (forth, back) = (self.change(i, j), self.change(j, i));
                if forth >= back { (i, j, forth) } else { (j, i, back) }
            })
            .filter(|&(_, _, change)| change > 0.0)
            .collect();
        pairs.sort_by(|a, b| b.2.total_cmp(&a.2));
        pairs.truncate(limit);
        pairs.into_iter().map(|(i, j, _)| (i, j)).collect()
    }

    fn pairs(&self, i: usize, j: usize) -> Option<Paired> {
        let both = u64::from(self.both.as_ref()?[i * self.concepts() + j]);
        let (first_only, second_only) = (u64::from(self.first.at(i, j)) - both, u64::from(self.second.at(i, j)) - both);
        Some(Paired { both, first_only, second_only, neither: self.first.n() - both - first_only - second_only })
    }
}

/// The cells (i, j) with i < j, row by row.
fn upper(concepts: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..concepts).flat_map(move |i| (i + 1..concepts).map(move |j| (i, j)))
}

fn tested(p: &[f64]) -> Vec<Test> {
    let family = benjamini_hochberg(p, FALSE_DISCOVERY_RATE);
    let rest = family.adjusted.into_iter().zip(family.flagged);
    p.iter().zip(rest).map(|(&p, (adjusted, flagged))| Test { p, adjusted, flagged }).collect()
}

fn check(first: &Counts, second: &Counts) -> Result<()> {
    if first.concepts() != second.concepts() {
        let what = format!("maps of {} and {} concepts have no difference", first.concepts(), second.concepts());
        return Err(Error::new(ErrorKind::Mismatch, what));
    }
    if first.n() == 0 || second.n() == 0 {
        let what = format!("a difference needs images on both sides, found {} and {}", first.n(), second.n());
        return Err(Error::new(ErrorKind::Data, what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::reference;
    use crate::tensor::Tensor;

    #[test]
    fn cells_carry_their_own_counts_and_the_pairs_test() {
        let first = Counts::new(3, 10, vec![0, 8, 10, 1, 0, 4, 0, 4, 0]).unwrap();
        let second = Counts::new(3, 6, vec![0, 1, 6, 5, 0, 3, 0, 3, 0]).unwrap();
        let map = Differential::of_sets(&first, &second).unwrap();
        assert_eq!(map.tests(), 3);
        assert!((map.change(0, 1) - (0.8 - 1.0 / 6.0)).abs() < 1e-15);
        assert_eq!(map.changes()[1], map.change(0, 1));
        let cell = map.cell(0, 1).unwrap();
        // scipy.stats.fisher_exact([[8, 2], [1, 5]]); the mirrored cell has other counts but shares the test.
        assert!((cell.p - 0.034_965_034_965_034_96).abs() < 1e-12);
        assert_eq!(map.cell(1, 0).unwrap().p, cell.p);
        assert_eq!(map.cell(1, 2).unwrap().p, 1.0, "0.4 and 0.5 of few images");
        assert_eq!(map.cell(0, 2).unwrap().p, 1.0);
        assert!((cell.adjusted - 3.0 * cell.p).abs() < 1e-12 && !cell.flagged);
        assert_eq!(map.interval(0, 1), newcombe(8, 10, 1, 6, CONFIDENCE));
        assert_eq!(map.interval(1, 0), newcombe(1, 10, 5, 6, CONFIDENCE), "ties break the mirror");
        assert_eq!(map.cell(1, 1), None);
        assert_eq!(map.strongest_pairs(1), [(0, 1)]);
    }

    #[test]
    fn paired_maps_use_the_discordant_images() {
        let first = Tensor::new([3, 2], vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
        let second = Tensor::new([3, 2], vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let rows = [0, 1, 2];
        let (a, b) = (reference::counts(&first, &rows).unwrap(), reference::counts(&second, &rows).unwrap());
        let map = Differential::paired(&a, &b, reference::joint_counts(&first, &second, &rows)).unwrap();
        let table = map.pairs(0, 1).unwrap();
        assert_eq!(table, Paired { both: 1, first_only: 1, second_only: 0, neither: 1 });
        assert_eq!(map.cell(0, 1).unwrap().p, 1.0);
        assert_eq!(map.interval(0, 1), newcombe_paired(table, CONFIDENCE));
        assert!(map.is_paired());
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let some = Counts::new(2, 3, vec![0, 2, 1, 0]).unwrap();
        let fewer = Counts::new(2, 2, vec![0, 2, 0, 0]).unwrap();
        assert!(Differential::of_sets(&some, &Counts::empty(3).unwrap()).is_err());
        assert!(Differential::of_sets(&some, &Counts::empty(2).unwrap()).is_err());
        assert!(Differential::paired(&some, &fewer, vec![0; 4]).is_err());
        assert!(Differential::paired(&some, &some, vec![0, 3, 1, 0]).is_err(), "more in both than in either");
        assert!(Differential::paired(&some, &some, vec![0; 4]).is_err(), "2 + 2 of 3 images share at least one");
        assert!(Differential::paired(&some, &some, vec![0, 2, 1, 0]).is_ok());
    }
}
