//! Which pairs of concepts speak against an image.

use serde::Serialize;

use super::distance::{Distance, StoredMap};

/// A pair of concepts whose order in an image is more like the class's failures than like its successes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// The concept that scored higher.
    pub stronger: String,
    /// The concept that scored lower.
    pub weaker: String,
    /// What the pair's two cells add to the score d(correct) − d(defect).
    pub contribution: f64,
}

/// The at most `limit` pairs that add most to d(h, `correct`) − d(h, `defect`), the largest first, those above 0 only; equal ones
/// in the concepts' order. Where no scores tie, the contributions of all pairs sum to the score. (`l2` is a root, so its pairs
/// share the difference of the squares in proportion.)
pub fn reasons(scores: &[f32], correct: &StoredMap, defect: &StoredMap, names: &[String], limit: usize) -> Vec<Reason> {
    let mut pairs = contributions(scores, correct, defect);
    pairs.retain(|pair| pair.2 > 0.0);
    pairs.sort_by(|a, b| b.2.total_cmp(&a.2));
    pairs.truncate(limit);
    let reason = |(i, j, contribution): (usize, usize, f64)| Reason {
        stronger: names[i].clone(),
        weaker: names[j].clone(),
        contribution,
    };
    pairs.into_iter().map(reason).collect()
}

/// (stronger, weaker, contribution) of every pair that doesn't tie.
fn contributions(scores: &[f32], correct: &StoredMap, defect: &StoredMap) -> Vec<(usize, usize, f64)> {
    let concepts = scores.len();
    let ordered: Vec<(usize, usize)> = (0..concepts)
        .flat_map(|i| (0..concepts).map(move |j| (i, j)))
        .filter(|&(i, j)| scores[i] > scores[j])
        .collect();
    let ones = ordered.len() as u64;
    let scale = match correct.kind() {
        // a − b = (a² − b²)/(a + b)
        Distance::L2 => match (correct.distance_of_scores(scores), defect.distance_of_scores(scores)) {
            (Some(a), Some(b)) if a + b > 0.0 => 1.0 / (a + b),
            _ => 0.0,
        },
        _ => 1.0,
    };
    let difference = |cell: usize, holds: bool| correct.term(cell, holds, ones) - defect.term(cell, holds, ones);
    let contribution = |(i, j): (usize, usize)| {
        let both = difference(i * concepts + j, true) + difference(j * concepts + i, false);
        (i, j, both * scale)
    };
    ordered.into_iter().map(contribution).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::{Counts, Fraction, Membership, reference};
    use crate::tensor::Tensor;

    fn stored(counts: &Counts, distance: Distance) -> StoredMap {
        StoredMap::new(counts, distance, Fraction::HALF, Membership::Outside)
    }

    #[test]
    fn contributions_sum_to_the_score() {
        let scores = Tensor::new(
            [5, 4],
            [
                [4.0, 3.0, 2.0, 1.0],
                [4.0, 2.0, 3.0, 1.0],
                [3.0, 4.0, 2.0, 1.0],
                [1.0, 2.0, 3.0, 4.0],
                [1.0, 3.0, 2.0, 4.0],
            ]
            .concat(),
        );
        let correct = reference::counts(&scores, &[0, 1, 2]).unwrap();
        let defect = reference::counts(&scores, &[3, 4]).unwrap();
        let image = [2.0, 1.0, 4.0, 3.0];
        for distance in Distance::ALL {
            let (correct, defect) = (stored(&correct, distance), stored(&defect, distance));
            let total: f64 = contributions(&image, &correct, &defect).iter().map(|pair| pair.2).sum();
            let score = correct.distance_of_scores(&image).unwrap() - defect.distance_of_scores(&image).unwrap();
            assert!((total - score).abs() < 1e-6, "{distance}: {total} {score}");
        }
    }

    #[test]
    fn the_pair_that_the_defect_shares_comes_first() {
        let correct = Counts::new(3, 10, vec![0, 10, 10, 0, 0, 5, 0, 5, 0]).unwrap();
        let defect = Counts::new(3, 10, vec![0, 0, 10, 10, 0, 5, 0, 5, 0]).unwrap();
        let names = ["a", "b", "c"].map(str::to_owned);
        let found =
            reasons(&[2.0, 3.0, 1.0], &stored(&correct, Distance::L1), &stored(&defect, Distance::L1), &names, 5);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].stronger.as_str(), found[0].weaker.as_str()), ("b", "a"));
        assert!((found[0].contribution - 2.0 / 6.0).abs() < 1e-12);
        let ties = contributions(&[1.0; 3], &stored(&correct, Distance::Cosine), &stored(&defect, Distance::Cosine));
        assert!(ties.is_empty());
    }
}
