//! How well a suspicion score tells defects from sound images.
//!
//! Scores follow the out-of-distribution convention: larger is more suspicious, and the defects are the positives. Tied scores are
//! always taken together, so no figure depends on the order of the images.

use serde::{Deserialize, Deserializer, Serialize};

use super::scores::ContentOrder;
use super::statistics::{Bootstrap, Estimate, Interval};
use crate::error::{Error, ErrorKind, Result};

/// Images sorted by suspicion, the most suspicious first, in groups of equal scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// Image indices by falling score.
    order: Vec<usize>,
    /// Where each group of equal scores ends in `order`.
    ends: Vec<usize>,
    scores: Vec<f64>,
    positive: Vec<bool>,
}

impl Ranking {
    /// Ranks images by `scores`; `positive` marks the defects. Infinite scores are fine: an image that is rejected without a score
    /// is the most suspicious.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] if a score isn't a number or there isn't one for each image.
    pub fn new(scores: &[f64], positive: &[bool]) -> Result<Self> {
        if scores.len() != positive.len() || scores.iter().any(|score| score.is_nan()) {
            let what =
                format!("found {} scores for {} images, expected a number for each", scores.len(), positive.len());
            return Err(Error::new(ErrorKind::Data, what));
        }
        // Adding 0 makes -0 into +0, which it ties with.
        let scores: Vec<f64> = scores.iter().map(|score| score + 0.0).collect();
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let is_end = |place: &usize| *place == order.len() || scores[order[*place]] != scores[order[*place - 1]];
        let ends = (1..=order.len()).filter(is_end).collect();
        Ok(Self { order, ends, scores, positive: positive.to_vec() })
    }

    /// The area under the ROC curve: the probability that a defect is more suspicious than a sound image, ties counting one half.
    /// `None` without either kind.
    pub fn auroc(&self) -> Option<f64> {
        self.weighted_auroc(None)
    }

    /// The average precision: Σ (recall step) × precision over the distinct thresholds. `None` without defects.
    pub fn aupr(&self) -> Option<f64> {
        self.weighted_aupr(None)
    }

    /// The share of sound images rejected at the highest threshold that catches at least 95 % of the defects. `None` without either
    /// kind.
    pub fn fpr95(&self) -> Option<f64> {
        self.weighted_fpr95(None)
    }

    /// The area under the risk–coverage curve: the mean over k = 1…n of the share of positives among the k least suspicious,
    /// averaged over all orders of tied scores. `None` of nothing.
    pub fn aurc(&self) -> Option<f64> {
        self.weighted_aurc(None)
    }

    /// The share of defects with a score above `threshold`, with Wilson's interval; `None` without defects.
    pub fn detection_rate(&self, threshold: f64) -> Option<Estimate> {
        let caught =
            self.scores.iter().zip(&self.positive).filter(|(score, positive)| **positive && **score > threshold);
        Estimate::of_share(caught.count() as u64, self.positive.iter().filter(|positive| **positive).count() as u64)
    }

    /// The accuracy among the least suspicious images at every coverage that a threshold can give, the smallest first.
    pub fn coverage_curve(&self) -> Vec<CoveragePoint> {
        let (mut covered, mut errors) = (0, 0);
        let mut points = Vec::with_capacity(self.ends.len());
        for (group, (positive, negative)) in self.groups(None).into_iter().enumerate().rev() {
            covered += positive + negative;
            errors += positive;
            points.push(CoveragePoint {
                threshold: self.scores[self.order[self.ends[group] - 1]],
                coverage: covered as f64 / self.order.len() as f64,
                accuracy: 1.0 - errors as f64 / covered as f64,
            });
        }
        points
    }

    /// The accuracy among the ⌈c·n⌉ least suspicious images, c the `coverage`, averaged over all orders of tied scores. `None` of nothing.
    pub fn accuracy_at(&self, coverage: f64) -> Option<f64> {
        self.weighted_accuracy_at(coverage, None)
    }

    /// The number of positives and negatives in each group, each image counted `times` times (once if `None`).
    fn groups(&self, times: Option<&[u32]>) -> Vec<(u64, u64)> {
        let mut start = 0;
        let group = |&end: &usize| {
            let mut sizes = (0, 0);
            for &image in &self.order[start..end] {
                let size = if self.positive[image] { &mut sizes.0 } else { &mut sizes.1 };
                *size += times.map_or(1, |times| u64::from(times[image]));
            }
            start = end;
            sizes
        };
        self.ends.iter().map(group).collect()
    }

    fn weighted_auroc(&self, times: Option<&[u32]>) -> Option<f64> {
        let groups = self.groups(times);
        let (positives, negatives) = total(&groups);
        let mut below = u128::from(negatives);
        let mut doubled = 0;
        for (positive, negative) in groups {
            below -= u128::from(negative);
            doubled += u128::from(positive) * (2 * below + u128::from(negative));
        }
        let pairs = u128::from(positives) * u128::from(negatives);
        (pairs > 0).then(|| doubled as f64 / (2 * pairs) as f64)
    }

    fn weighted_aupr(&self, times: Option<&[u32]>) -> Option<f64> {
        let groups = self.groups(times);
        let (positives, _) = total(&groups);
        let (mut caught, mut rejected) = (0, 0);
        let mut sum = 0.0;
        for (positive, negative) in groups.into_iter().filter(|&(positive, negative)| positive + negative > 0) {
            caught += positive;
            rejected += positive + negative;
            sum += positive as f64 * (caught as f64 / rejected as f64);
        }
        (positives > 0).then(|| sum / positives as f64)
    }

    fn weighted_fpr95(&self, times: Option<&[u32]>) -> Option<f64> {
        let groups = self.groups(times);
        let (positives, negatives) = total(&groups);
        let (mut caught, mut rejected) = (0, 0);
        for (positive, negative) in groups {
            caught += positive;
            rejected += negative;
            if 20 * caught >= 19 * positives {
                break;
            }
        }
        (positives > 0 && negatives > 0).then(|| rejected as f64 / negatives as f64)
    }

    fn weighted_accuracy_at(&self, coverage: f64, times: Option<&[u32]>) -> Option<f64> {
        let groups = self.groups(times);
        let (positives, negatives) = total(&groups);
        // A coverage such as 0.9 isn't a binary fraction: 0.9 · 10 must not become 10.
        let kept = (coverage * (positives + negatives) as f64 - 1e-9).ceil().max(1.0);
        let (mut covered, mut errors) = (0.0, 0.0);
        for (positive, negative) in groups.into_iter().rev() {
            let size = (positive + negative) as f64;
            let taken = size.min(kept - covered);
            if taken > 0.0 {
                errors += positive as f64 * taken / size;
                covered += taken;
            }
        }
        (covered > 0.0).then(|| (covered - errors) / covered)
    }

    fn weighted_aurc(&self, times: Option<&[u32]>) -> Option<f64> {
        let (mut covered, mut errors) = (0_u64, 0_u64);
        let mut sum = 0.0;
        for (positive, negative) in self.groups(times).into_iter().rev() {
            let size = positive + negative;
            for place in 1..=size {
                let expected = errors as f64 + positive as f64 * place as f64 / size as f64;
                sum += expected / (covered + place) as f64;
            }
            covered += size;
            errors += positive;
        }
        (covered > 0).then(|| sum / covered as f64)
    }
}

/// A point of the accuracy-against-coverage curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CoveragePoint {
    /// Images with at most this score are accepted; infinite (in JSON null) where those without a score are accepted too.
    #[serde(deserialize_with = "infinite_if_null")]
    pub threshold: f64,
    /// The share of images accepted.
    pub coverage: f64,
    /// The share of the accepted that is sound.
    pub accuracy: f64,
}

/// JSON has no infinity and gets null in its place.
pub(super) fn infinite_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}

/// How well a score detects one kind of defect, with 95 % bootstrap intervals. Defects and sound images are drawn anew separately,
/// so their numbers stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// The number of defects.
    pub defects: u64,
    /// The number of sound images.
    pub sound: u64,
    /// The area under the ROC curve.
    pub auroc: Estimate,
    /// The average precision.
    pub aupr: Estimate,
    /// The false-positive rate at a true-positive rate of 95 %.
    pub fpr95: Estimate,
}

impl Detection {
    /// Measures `scores` on images of which `positive` marks the defects; `None` if either kind is missing.
    ///
    /// # Errors
    /// As [`Ranking::new`].
    pub fn measure(
        scores: &[f64],
        positive: &[bool],
        order: &ContentOrder,
        bootstrap: Bootstrap,
    ) -> Result<Option<Self>> {
        let ranking = Ranking::new(scores, positive)?;
        let (Some(auroc), Some(aupr), Some(fpr95)) = (ranking.auroc(), ranking.aupr(), ranking.fpr95()) else {
            return Ok(None);
        };
        let (defects, sound): (Vec<u32>, Vec<u32>) = order.rows().iter().partition(|row| positive[**row as usize]);
        let strata = [&defects, &sound];
        let intervals = bootstrap.intervals(&strata.map(Vec::len), |draws| {
            let times = spread(scores.len(), &strata.map(Vec::as_slice), draws);
            let figures = [
                ranking.weighted_auroc(Some(&times)),
                ranking.weighted_aupr(Some(&times)),
                ranking.weighted_fpr95(Some(&times)),
            ];
            figures.map(|figure| figure.unwrap_or(f64::NAN)).to_vec()
        });
        let estimate = |figure: usize, value: f64| estimate(value, intervals.get(figure).copied().flatten());
        Ok(Some(Self {
            defects: defects.len() as u64,
            sound: sound.len() as u64,
            auroc: estimate(0, auroc),
            aupr: estimate(1, aupr),
            fpr95: estimate(2, fpr95),
        }))
    }
}

/// The coverages at which accuracy is told.
pub const COVERAGES: [f64; 6] = [1.0, 0.95, 0.9, 0.8, 0.7, 0.5];

/// The accuracy among the least suspicious images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The share of images accepted.
    pub coverage: f64,
    /// The share of the accepted that is sound, with a 95 % bootstrap interval over images.
    pub accuracy: Estimate,
}

/// How accuracy rises as the most suspicious images are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selective {
    /// The area under the risk–coverage curve, smaller is better, with a 95 % bootstrap interval over images.
    pub aurc: Estimate,
    /// The accuracy at each of [`COVERAGES`].
    pub at: Vec<Accuracy>,
}

impl Selective {
    /// Measures `scores` on images of which `wrong` marks the defects; `None` of no images.
    ///
    /// # Errors
    /// As [`Ranking::new`].
    pub fn measure(scores: &[f64], wrong: &[bool], order: &ContentOrder, bootstrap: Bootstrap) -> Result<Option<Self>> {
        let ranking = Ranking::new(scores, wrong)?;
        let rows = order.rows();
        let figures = |times: Option<&[u32]>| -> Option<Vec<f64>> {
            let at = COVERAGES.iter().map(|&coverage| ranking.weighted_accuracy_at(coverage, times));
            std::iter::once(ranking.weighted_aurc(times)).chain(at).collect()
        };
        let Some(values) = figures(None) else { return Ok(None) };
        let intervals = bootstrap.intervals(&[rows.len()], |draws| {
            let times = spread(scores.len(), &[&rows], draws);
            figures(Some(&times)).unwrap_or_else(|| vec![f64::NAN; values.len()])
        });
        let estimate = |figure: usize| estimate(values[figure], intervals.get(figure).copied().flatten());
        let at = COVERAGES.iter().zip(1..).map(|(&coverage, figure)| Accuracy { coverage, accuracy: estimate(figure) });
        Ok(Some(Self { aurc: estimate(0), at: at.collect() }))
    }
}

/// How often each of `n` images is drawn, from the draws of strata that list their images in content order.
fn spread(n: usize, strata: &[&[u32]], draws: &[Vec<u32>]) -> Vec<u32> {
    let mut times = vec![0; n];
    for (&row, &drawn) in strata.iter().zip(draws).flat_map(|(rows, draws)| rows.iter().zip(draws)) {
        times[row as usize] = drawn;
    }
    times
}

/// Without replicates the figure stands alone.
fn estimate(value: f64, interval: Option<Interval>) -> Estimate {
    Estimate::new(value, interval.unwrap_or(Interval { low: value, high: value }))
}

fn total(groups: &[(u64, u64)]) -> (u64, u64) {
    groups.iter().fold((0, 0), |sum, group| (sum.0 + group.0, sum.1 + group.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracies_at_a_coverage_share_ties_alike() {
        let scores = [0.0, 1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0, f64::INFINITY];
        let wrong = [0, 1, 0, 0, 1, 0, 1, 0, 1, 1].map(|mark| mark == 1);
        let ranking = Ranking::new(&scores, &wrong).unwrap();
        let expected = [(1.0, 0.5), (0.9, 5.0 / 9.0), (0.6, 1.0 - 2.5 / 6.0), (0.3, 1.0 - 2.0 / 9.0), (0.0, 1.0)];
        for (coverage, expected) in expected {
            assert!((ranking.accuracy_at(coverage).unwrap() - expected).abs() < 1e-12, "{coverage}");
        }
        assert_eq!(Ranking::new(&[], &[]).unwrap().accuracy_at(1.0), None);
        for point in ranking.coverage_curve() {
            assert!((ranking.accuracy_at(point.coverage).unwrap() - point.accuracy).abs() < 1e-12, "{point:?}");
        }
    }

    #[test]
    fn a_curve_that_ends_with_images_without_a_score_is_read_back_from_json() {
        let curve = Ranking::new(&[0.5, f64::INFINITY, -1.0], &[false, true, false]).unwrap().coverage_curve();
        assert_eq!(curve.last().unwrap().threshold, f64::INFINITY);
        let json = serde_json::to_string(&curve).unwrap();
        assert_eq!(serde_json::from_str::<Vec<CoveragePoint>>(&json).unwrap(), curve);
    }
}
