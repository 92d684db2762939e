//! Concept scores before they become maps: order, finiteness, centring, wins.

use rayon::prelude::*;

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;

/// The images' order by content, in which everything that rounds or draws is done, so that no result depends on the order
/// in which files were listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentOrder {
    rank: Vec<u32>,
}

impl ContentOrder {
    /// The order of rows with the given keys: the images' content hashes, or (hash, label) where an image may be listed under
    /// two labels. Rows with equal keys are interchangeable.
    pub fn new<K: Ord>(keys: &[K]) -> Self {
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by(|&a, &b| keys[a].cmp(&keys[b]));
        let mut rank = vec![0; keys.len()];
        order.iter().enumerate().for_each(|(place, &row)| rank[row] = place as u32);
        Self { rank }
    }

    /// `rows` in content order.
    pub fn sorted(&self, rows: &[u32]) -> Vec<u32> {
        let mut rows = rows.to_vec();
        rows.sort_unstable_by_key(|&row| self.rank[row as usize]);
        rows
    }

    /// All rows in content order.
    pub fn rows(&self) -> Vec<u32> {
        self.sorted(&(0..self.rank.len() as u32).collect::<Vec<_>>())
    }
}

/// Checks that every value of `[N, …]` is finite; `what` names the values and `paths` the rows.
///
/// # Errors
/// [`ErrorKind::Data`] naming the first offending row.
pub fn check_finite(values: &Tensor, what: &str, paths: &[String]) -> Result<()> {
    for row in 0..values.rows() {
        // By bit pattern: a compiler that assumes finite numbers can't drop this.
        let bad = values.row(row).iter().find(|value| value.to_bits() & 0x7f80_0000 == 0x7f80_0000);
        if let Some(value) = bad {
            let path = paths.get(row).map_or_else(|| format!("row {row}"), Clone::clone);
            return Err(Error::new(ErrorKind::Data, format!("{path}: {what} hold {value}, expected finite numbers")));
        }
    }
    Ok(())
}

/// Each concept's mean score over the classes' means: every class weighs alike, whatever its number of images. `scores` is
/// `[N, C]`; classes without images don't count. Sums are in f64 and content order.
///
/// # Errors
/// [`ErrorKind::Data`] of no images, or if a label is past `classes`.
pub fn class_balanced_means(
    scores: &Tensor,
    labels: &[usize],
    classes: usize,
    order: &ContentOrder,
) -> Result<Vec<f32>> {
    let concepts = scores.columns();
    let mut sums = vec![vec![0.0_f64; concepts]; classes];
    let mut sizes = vec![0_u32; classes];
    for row in order.rows() {
        let label = labels[row as usize];
        if label >= classes {
            return Err(Error::new(ErrorKind::Data, format!("row {row}: label {label}, expected below {classes}")));
        }
        sizes[label] += 1;
        sums[label].iter_mut().zip(scores.row(row as usize)).for_each(|(sum, &score)| *sum += f64::from(score));
    }
    let present = sizes.iter().filter(|&&size| size > 0).count();
    if present == 0 {
        return Err(Error::new(ErrorKind::Data, "means need at least one image, found none"));
    }
    let mean = |concept: usize| {
        let means = sums.iter().zip(&sizes).filter(|(_, size)| **size > 0);
        (means.map(|(sum, &size)| sum[concept] / f64::from(size)).sum::<f64>() / present as f64) as f32
    };
    Ok((0..concepts).map(mean).collect())
}

/// `scores` `[N, C]` less each concept's mean.
#[must_use]
pub fn centered(scores: &Tensor, means: &[f32]) -> Tensor {
    let data = scores.data().chunks_exact(means.len()).flat_map(|row| row.iter().zip(means).map(|(s, m)| s - m));
    Tensor::new(scores.shape(), data.collect())
}

/// For every image and concept the number of concepts that scored strictly lower: the row sums of its single-input map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wins {
    concepts: usize,
    wins: Vec<u32>,
}

impl Wins {
    /// The wins behind scores `[N, C]`.
    pub fn of_scores(scores: &Tensor) -> Self {
        let concepts = scores.columns();
        let mut wins = vec![0; scores.data().len()];
        let rows = wins.par_chunks_exact_mut(concepts.max(1)).zip(scores.data().par_chunks_exact(concepts.max(1)));
        rows.for_each(|(wins, scores)| {
            let mut order: Vec<usize> = (0..concepts).collect();
            order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            let mut lower = 0;
            for place in 0..concepts {
                // Adding 0 makes -0 into +0, which it ties with.
                if place > 0 && scores[order[place]] + 0.0 != scores[order[place - 1]] + 0.0 {
                    lower = place as u32;
                }
                wins[order[place]] = lower;
            }
        });
        Self { concepts, wins }
    }

    /// C.
    pub fn concepts(&self) -> usize {
        self.concepts
    }

    /// One image's wins, by concept.
    pub fn row(&self, row: u32) -> &[u32] {
        &self.wins[row as usize * self.concepts..][..self.concepts]
    }
}

/// How many cells (i, j), i < j, of all single-input maps lie within `tolerance` of a tie: those another adapter might decide
/// otherwise. `scores` is `[N, C]`.
pub fn near_ties(scores: &Tensor, tolerance: f32) -> u64 {
    let near = |row: &[f32]| {
        let mut sorted = row.to_vec();
        sorted.sort_by(f32::total_cmp);
        let mut first = 0;
        let mut pairs = 0;
        for (place, &score) in sorted.iter().enumerate() {
            while score - sorted[first] > tolerance {
                first += 1;
            }
            pairs += (place - first) as u64;
        }
        pairs
    };
    scores.data().par_chunks_exact(scores.columns().max(1)).map(near).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_weigh_classes_alike_and_ignore_the_order() {
        let scores = Tensor::new([4, 2], vec![1.0, 0.0, 3.0, 0.0, 10.0, 1.0, 5.0, 0.5]);
        let means = class_balanced_means(&scores, &[0, 0, 2, 0], 3, &ContentOrder::new(&[3, 1, 2, 0])).unwrap();
        assert_eq!(means, [6.5, ((0.5 / 3.0 + 1.0) / 2.0) as f32]);
        assert_eq!(centered(&scores, &means).row(0), [1.0 - 6.5, -means[1]]);
        assert!(class_balanced_means(&scores, &[0, 0, 9, 0], 3, &ContentOrder::new(&[3, 1, 2, 0])).is_err());
        let none = Tensor::zeros([0, 2]);
        assert!(class_balanced_means(&none, &[], 3, &ContentOrder::new::<u8>(&[])).is_err());
    }

    #[test]
    fn wins_are_strict() {
        let scores = Tensor::new([2, 4], vec![0.5, 0.1, 0.5, 0.9, -0.0, 0.0, 1.0, -1.0]);
        let wins = Wins::of_scores(&scores);
        assert_eq!(wins.row(0), [1, 0, 1, 3]);
        assert_eq!(wins.row(1), [1, 1, 3, 0]);
    }

    #[test]
    fn near_ties_are_those_of_every_pair() {
        let scores = Tensor::new([2, 4], vec![0.0, 0.3, 0.1, 0.35, 1.0, 1.0, 1.0, 5.0]);
        for tolerance in [0.0, 0.06, 0.11, 0.26, 10.0] {
            let pairs = |row: &[f32]| {
                let all = (0..4).flat_map(|i| (0..i).map(move |j| (i, j)));
                all.filter(|&(i, j)| (row[i] - row[j]).abs() <= tolerance).count() as u64
            };
            assert_eq!(near_ties(&scores, tolerance), pairs(scores.row(0)) + pairs(scores.row(1)), "{tolerance}");
        }
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let paths = ["a.png".to_owned(), "b.png".to_owned()];
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = check_finite(&Tensor::new([2, 1], vec![0.0, value]), "scores", &paths).unwrap_err();
            assert!(error.to_string().starts_with("b.png: scores hold"), "{error}");
        }
        check_finite(&Tensor::new([2, 1], vec![f32::MAX, f32::MIN_POSITIVE]), "scores", &paths).unwrap();
    }

    #[test]
    fn rows_come_in_the_order_of_their_keys() {
        let order = ContentOrder::new(&["d", "a", "c", "b", "e"]);
        assert_eq!(order.rows(), [1, 3, 2, 0, 4]);
        assert_eq!(order.sorted(&[4, 0, 1]), [1, 0, 4]);
    }
}
