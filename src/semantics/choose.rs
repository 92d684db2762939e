//! Which way to score images a filter takes: chosen on images that set no threshold.

use serde::{Deserialize, Serialize};

use super::calibration::Stratum;
use super::diagnosis::ScoreMode;
use super::distance::Distance;
use super::folds::Images;
use super::method::{Combination, configuration};
use super::scores::ContentOrder;
use super::statistics::{Bootstrap, Estimate, rank_test};
use crate::dataset::ContentHash;
use crate::error::{Error, ErrorKind, Result};

/// Folds of the cross-validation.
pub const FOLDS: usize = 5;

/// The least number of correctly classified and of misclassified images to choose by, copies not counted: two a fold.
pub const LEAST_TO_CHOOSE: usize = 2 * FOLDS;

/// A way to score images, and how well it told misclassified from correctly classified ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// How maps are compared.
    pub distance: Distance,
    /// Whether concept scores are centred.
    pub scores: ScoreMode,
    /// Whether the heatmap score is combined with the softmax.
    pub combined: bool,
    /// The probability that a misclassified image scores above a correctly classified one of the same fold and stratum, ties counting
    /// one half: the cross-validated AUROC, with its bootstrap interval.
    pub auroc: Estimate,
}

impl Candidate {
    /// What it is called.
    pub fn name(&self) -> String {
        configuration(self.distance, self.scores, self.combined)
    }
}

/// The comparison by which a filter's way to score images was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Correctly classified images behind it.
    pub correct: u64,
    /// Misclassified images behind it.
    pub misclassified: u64,
    /// Every candidate; the first of those with the largest AUROC was taken.
    pub candidates: Vec<Candidate>,
}

impl Choice {
    /// The best of the candidates that `is_eligible`.
    pub fn best(&self, is_eligible: impl Fn(&Candidate) -> bool) -> Option<&Candidate> {
        let eligible = self.candidates.iter().filter(|candidate| is_eligible(candidate));
        // The first of equals, as the simplest ones come first.
        eligible.reduce(|best, next| if next.auroc.value > best.auroc.value { next } else { best })
    }
}

/// What is known of the images that a choice is made by, in content order; those that are rejected without a score, whatever
/// the distance, aren't among them.
pub(crate) struct Examples {
    /// The images' hashes; copies have the same.
    pub(crate) hashes: Vec<ContentHash>,
    pub(crate) strata: Vec<Stratum>,
    pub(crate) wrong: Vec<bool>,
    /// The log-odds of the largest softmax probability.
    pub(crate) log_odds: Vec<f64>,
}

impl Examples {
    /// Whether there are enough of both kinds to choose by.
    pub(crate) fn suffice(&self) -> bool {
        self.kinds().iter().all(|images| images.len() >= LEAST_TO_CHOOSE)
            && !self.groups(&vec![0.0; self.wrong.len()]).is_empty()
    }

    /// The cross-validated AUROC of the heatmap scores, or of their combination with the softmax: an image's score comes from a fit
    /// without its fold.
    pub(crate) fn cross_validate(&self, heatmap: &[Option<f64>], is_combined: bool) -> Result<Estimate> {
        let alone = |score: &Option<f64>| score.unwrap_or(f64::INFINITY);
        let scores = if is_combined { self.out_of_fold(heatmap)? } else { heatmap.iter().map(alone).collect() };
        let groups = self.groups(&scores);
        let test = rank_test(&groups);
        let test = test.ok_or_else(|| Error::new(ErrorKind::Data, "no fold holds images of both kinds to compare"))?;
        Ok(Bootstrap::default().auroc(test.auroc, &groups))
    }

    /// Fits the combination to all images that have a heatmap score.
    pub(crate) fn fit(&self, heatmap: &[Option<f64>]) -> Result<Combination> {
        self.fit_where(heatmap, |_| true)
    }

    fn fit_where(&self, heatmap: &[Option<f64>], is_used: impl Fn(usize) -> bool) -> Result<Combination> {
        let rows = (0..heatmap.len()).filter(|&row| is_used(row));
        let rows = rows.filter_map(|row| Some(([heatmap[row]?, self.log_odds[row]], self.wrong[row])));
        let (features, wrong): (Vec<[f64; 2]>, Vec<bool>) = rows.unzip();
        Combination::fit(&features, &wrong)
    }

    fn out_of_fold(&self, heatmap: &[Option<f64>]) -> Result<Vec<f64>> {
        let folds = self.folds();
        let fits = (0..FOLDS).map(|fold| self.fit_where(heatmap, |row| folds[row] != fold));
        let fits = fits.collect::<Result<Vec<_>>>()?;
        let score = |row: usize| {
            heatmap[row].map_or(f64::INFINITY, |heatmap| fits[folds[row]].score(heatmap, self.log_odds[row]))
        };
        Ok((0..heatmap.len()).map(score).collect())
    }

    /// The misclassified images and the others; one that is listed under two labels is among the former.
    fn kinds(&self) -> [Images; 2] {
        let order = ContentOrder::new(&self.hashes);
        let (wrong, correct) =
            Images::new(&order, &order.rows(), &self.hashes).partition(|row| self.wrong[row as usize]);
        [wrong, correct]
    }

    /// Each row's fold. The images of each kind are dealt in turn.
    fn folds(&self) -> Vec<usize> {
        let mut folds = vec![0; self.wrong.len()];
        for dealt in self.kinds().map(|images| images.deal(FOLDS)) {
            for (fold, rows) in dealt.into_iter().enumerate() {
                rows.into_iter().for_each(|row| folds[row as usize] = fold);
            }
        }
        folds
    }

    /// Scores of misclassified and of correct images, by fold and stratum, where there are both.
    fn groups(&self, scores: &[f64]) -> Vec<[Vec<f64>; 2]> {
        let folds = self.folds();
        let mut groups = vec![[Vec::new(), Vec::new()]; FOLDS * Stratum::ALL.len()];
        for (row, &score) in scores.iter().enumerate() {
            let group = folds[row] * Stratum::ALL.len() + self.strata[row] as usize;
            groups[group][usize::from(!self.wrong[row])].push(score);
        }
        groups.retain(|group| group.iter().all(|scores| !scores.is_empty()));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cases::noise;

    /// Images whose misclassified third has larger heatmap scores and smaller log-odds.
    fn examples(n: usize) -> (Examples, Vec<Option<f64>>) {
        let values = noise(7, 2 * n);
        let wrong: Vec<bool> = (0..n).map(|row| row % 3 == 0).collect();
        let shift = |row: usize| if wrong[row] { 0.6 } else { 0.0 };
        let heatmap = (0..n).map(|row| Some(f64::from(values[row]) + shift(row))).collect();
        let log_odds = (0..n).map(|row| f64::from(values[n + row]) - shift(row)).collect();
        let strata = (0..n).map(|row| Stratum::ALL[usize::from(row % 5 == 0)]).collect();
        (Examples { hashes: different(n), strata, wrong, log_odds }, heatmap)
    }

    /// The hashes of `n` different images, in their order.
    fn different(n: usize) -> Vec<ContentHash> {
        (0..n).map(|row| ContentHash([row as u8; 32])).collect()
    }

    #[test]
    fn two_independent_signs_are_better_than_one() {
        let (examples, heatmap) = examples(150);
        assert!(examples.suffice());
        let [alone, combined] =
            [false, true].map(|is_combined| examples.cross_validate(&heatmap, is_combined).unwrap());
        assert!(combined.value > alone.value && alone.value > 0.6, "{combined:?} {alone:?}");
        assert!(alone.low < alone.value && alone.value < alone.high);
        let fitted = examples.fit(&heatmap).unwrap();
        assert!(fitted.heatmap > 0.0 && fitted.log_odds < 0.0);
        assert_eq!((fitted.correct, fitted.misclassified), (100, 50));
    }

    #[test]
    fn nothing_is_learnt_from_the_fold_that_is_scored() {
        let (mut examples, heatmap) = examples(150);
        // Signs that say nothing stay at one half, though a fit to all images would find something in them.
        examples.wrong = (0..150).map(|row| row * 7 % 11 < 4).collect();
        let found = examples.cross_validate(&heatmap, true).unwrap();
        assert!(found.low < 0.5, "{found:?}");
        let mut scores = heatmap;
        scores[3] = None;
        assert!(examples.cross_validate(&scores, true).unwrap().value.is_finite());
    }

    #[test]
    fn a_choice_needs_images_of_both_kinds_that_meet() {
        let few = Examples {
            hashes: different(19),
            strata: vec![Stratum::Own; 19],
            wrong: (0..19).map(|row| row < 10).collect(),
            log_odds: vec![0.0; 19],
        };
        assert!(!few.suffice());
        let apart = |row: usize| Stratum::ALL[usize::from(row < 10)];
        let wrong = (0..20).map(|row| row < 10).collect();
        let mut apart =
            Examples { hashes: different(20), strata: (0..20).map(apart).collect(), wrong, log_odds: vec![0.0; 20] };
        assert!(!apart.suffice());
        apart.strata = vec![Stratum::Own; 20];
        assert!(apart.suffice());
        apart.hashes[1] = apart.hashes[0];
        assert!(!apart.suffice(), "nine misclassified images and a copy");
    }

    #[test]
    fn copies_of_an_image_share_a_fold_whatever_their_labels() {
        let images = [0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 9];
        let examples = Examples {
            hashes: images.map(|image| ContentHash([image; 32])).to_vec(),
            strata: vec![Stratum::Own; 13],
            wrong: [1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0].map(|mark| mark == 1).to_vec(),
            log_odds: vec![0.0; 13],
        };
        // Images 0, 3 and 4 are misclassified at least once.
        assert_eq!(examples.folds(), [0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 0, 1, 1]);
    }

    #[test]
    fn the_simplest_of_equals_is_taken() {
        let candidate = |distance, combined, value| Candidate {
            distance,
            scores: ScoreMode::Raw,
            combined,
            auroc: Estimate { value, low: 0.0, high: 1.0 },
        };
        let candidates = vec![
            candidate(Distance::Cosine, false, 0.7),
            candidate(Distance::L1, false, 0.7),
            candidate(Distance::L1, true, 0.6),
        ];
        let choice = Choice { correct: 20, misclassified: 20, candidates };
        assert_eq!(choice.best(|_| true).unwrap().name(), "cosine raw");
        assert_eq!(choice.best(|candidate| candidate.combined).unwrap().name(), "l1 raw + softmax");
        assert!(choice.best(|_| false).is_none());
    }
}
