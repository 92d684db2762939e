//! The concepts responsible for a class's failures: the row means of a differential or loss map.

use serde::Serialize;

use super::differential::Differential;
use super::scores::{ContentOrder, Wins};
use super::statistics::{Bootstrap, Interval};
use crate::error::{Error, ErrorKind, Result};

/// How many pairs [`Responsible`] keeps.
const STRONGEST_PAIRS: usize = 10;

/// The change in one concept's win rate: the mean of its row of the map over the C − 1 other concepts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The concept's name.
    pub concept: String,
    /// The first map's win rate less the second's, in [−1, 1].
    pub change: f64,
    /// The lower end of its 95 % bootstrap interval.
    pub low: f64,
    /// The upper end of its 95 % bootstrap interval.
    pub high: f64,
}

/// A pair of concepts whose order changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairChange {
    /// The concept that wins more often in the first map than in the second.
    pub stronger: String,
    /// The concept it wins against.
    pub weaker: String,
    /// By how much, in (0, 1].
    pub change: f64,
    /// The lower end of the 95 % interval (Newcombe).
    pub low: f64,
    /// The upper end of the 95 % interval (Newcombe).
    pub high: f64,
    /// The two-sided exact p.
    pub p: f64,
    /// Whether it is flagged at a false-discovery rate of 5 % within the map.
    pub flagged: bool,
}

/// Which concepts failures lack (`lost`) and which they have in their place (`intruding`).
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Responsible {
    /// Concepts with a positive change, the largest first.
    pub lost: Vec<Change>,
    /// Concepts with a negative change, the most negative first.
    pub intruding: Vec<Change>,
    /// The pairs with the largest changes.
    pub pairs: Vec<PairChange>,
}

impl Responsible {
    /// From the differential map of two disjoint sets of images with the given wins and rows: either set is drawn anew on its own.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] if names, wins or rows don't fit the map.
    pub fn of_sets(
        map: &Differential,
        names: &[String],
        wins: &Wins,
        rows: [&[u32]; 2],
        order: &ContentOrder,
        bootstrap: Bootstrap,
    ) -> Result<Self> {
        check(map, names, &[wins], &rows.map(<[u32]>::len))?;
        let rows = rows.map(|rows| order.sorted(rows));
        let intervals = bootstrap.intervals(&[rows[0].len(), rows[1].len()], |times| {
            let rates = [0, 1].map(|set| win_rates(wins, &rows[set], &times[set]));
            rates[0].iter().zip(&rates[1]).map(|(first, second)| first - second).collect()
        });
        Ok(Self::new(map, names, &intervals))
    }

    /// From the loss map of the images `rows` with the given wins in its two spaces: images are drawn anew with both of their maps.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] if names, wins or rows don't fit the map.
    pub fn paired(
        map: &Differential,
        names: &[String],
        wins: [&Wins; 2],
        rows: &[u32],
        order: &ContentOrder,
        bootstrap: Bootstrap,
    ) -> Result<Self> {
        check(map, names, &wins, &[rows.len(), rows.len()])?;
        let rows = order.sorted(rows);
        let intervals = bootstrap.intervals(&[rows.len()], |times| {
            let rates = wins.map(|wins| win_rates(wins, &rows, &times[0]));
            rates[0].iter().zip(&rates[1]).map(|(first, second)| first - second).collect()
        });
        Ok(Self::new(map, names, &intervals))
    }

    fn new(map: &Differential, names: &[String], intervals: &[Option<Interval>]) -> Self {
        let concepts = map.concepts();
        let changes = map.changes();
        let mut ranked: Vec<Change> = changes
            .chunks_exact(concepts)
            .zip(names.iter().zip(intervals))
            .map(|(row, (concept, interval))| {
                let change = row.iter().sum::<f64>() / (concepts - 1) as f64;
                // Without replicates the figure stands alone.
                let Interval { low, high } = interval.unwrap_or(Interval { low: change, high: change });
                Change { concept: concept.clone(), change, low, high }
            })
            .collect();
        ranked.sort_by(|a, b| b.change.total_cmp(&a.change));
        let lost = ranked.iter().filter(|change| change.change > 0.0).cloned().collect();
        let intruding = ranked.iter().rev().filter(|change| change.change < 0.0).cloned().collect();
        let pair = |(i, j): (usize, usize)| {
            let cell = map.cell(i, j)?;
            let (stronger, weaker) = (names[i].clone(), names[j].clone());
            Some(PairChange {
                stronger,
                weaker,
                change: cell.change,
                low: cell.low,
                high: cell.high,
                p: cell.p,
                flagged: cell.flagged,
            })
        };
        Self { lost, intruding, pairs: map.strongest_pairs(STRONGEST_PAIRS).into_iter().filter_map(pair).collect() }
    }
}

/// Each concept's mean share of wins over `rows`, each counted `times` times. Sums are of integers, so exact.
fn win_rates(wins: &Wins, rows: &[u32], times: &[u32]) -> Vec<f64> {
    let mut sums = vec![0_u64; wins.concepts()];
    for (&row, &times) in rows.iter().zip(times).filter(|(_, times)| **times > 0) {
        sums.iter_mut().zip(wins.row(row)).for_each(|(sum, &wins)| *sum += u64::from(wins) * u64::from(times));
    }
    let all = rows.len() as f64 * (wins.concepts() - 1) as f64;
    sums.into_iter().map(|sum| sum as f64 / all).collect()
}

fn check(map: &Differential, names: &[String], wins: &[&Wins], rows: &[usize]) -> Result<()> {
    let fits = names.len() == map.concepts() && wins.iter().all(|wins| wins.concepts() == map.concepts());
    let counted = [map.first().n(), map.second().n()];
    if !fits || rows.iter().zip(counted).any(|(&rows, n)| rows as u64 != n) {
        let what = format!(
            "a map of {} concepts over {counted:?} images doesn't fit {} names and {rows:?} rows",
            map.concepts(),
            names.len()
        );
        return Err(Error::new(ErrorKind::Mismatch, what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::reference;
    use crate::tensor::Tensor;

    fn names() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_concept_that_failures_lack_is_lost() {
        // Hits rank a > b > c, misses c > a > b: c intrudes by a full win rate, a loses half of its own, b the other half.
        let scores = Tensor::new([4, 3], [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [2.0, 1.0, 3.0], [2.0, 1.0, 3.0]].concat());
        let (hits, misses) = ([0, 1], [2, 3]);
        let counts = [&hits, &misses].map(|rows| reference::counts(&scores, rows).unwrap());
        let map = Differential::of_sets(&counts[0], &counts[1]).unwrap();
        let order = ContentOrder::new(&[2, 3, 0, 1]);
        let wins = Wins::of_scores(&scores);
        let found =
            Responsible::of_sets(&map, &names(), &wins, [&hits, &misses], &order, Bootstrap::default()).unwrap();
        let change = |concept: &str, change: f64| Change { concept: concept.into(), change, low: change, high: change };
        assert_eq!(
            found.lost,
            [change("a", 0.5), change("b", 0.5)],
            "no image differs from its set, so neither do draws"
        );
        assert_eq!(found.intruding, [change("c", -1.0)]);
        let pairs: Vec<_> = found.pairs.iter().map(|pair| (pair.stronger.as_str(), pair.weaker.as_str())).collect();
        assert_eq!(pairs, [("a", "c"), ("b", "c")]);
        assert!(Responsible::of_sets(&map, &names(), &wins, [&hits, &[2]], &order, Bootstrap::default()).is_err());
    }

    #[test]
    fn paired_draws_keep_an_image_and_both_of_its_maps() {
        // Images differ, but a wins one more and b one less of two in the first space on each of them: no paired draw can change
        // that, while drawing the two spaces apart would.
        let first = Tensor::new([2, 3], [[2.0, 1.0, 0.0], [1.0, 0.0, 2.0]].concat());
        let second = Tensor::new([2, 3], [[1.0, 2.0, 0.0], [0.0, 1.0, 2.0]].concat());
        let rows = [0, 1];
        let counts = [&first, &second].map(|scores| reference::counts(scores, &rows).unwrap());
        let map =
            Differential::paired(&counts[0], &counts[1], reference::joint_counts(&first, &second, &rows)).unwrap();
        let wins = [Wins::of_scores(&first), Wins::of_scores(&second)];
        let order = ContentOrder::new(&rows);
        let found =
            Responsible::paired(&map, &names(), [&wins[0], &wins[1]], &rows, &order, Bootstrap::default()).unwrap();
        let change = |concept: &str, change: f64| Change { concept: concept.into(), change, low: change, high: change };
        assert_eq!(found.lost, [change("a", 0.5)]);
        assert_eq!(found.intruding, [change("b", -0.5)]);
    }
}
