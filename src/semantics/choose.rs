//! Which way to score images a filter takes: chosen on images that set no threshold.

use serde::{Deserialize, Serialize};

use super::calibration::Stratum;
use super::diagnosis::ScoreMode;
use super::distance::Distance;
use super::folds::Images;
use super::method::{Combination, configuration};
use super::scores::ContentOrder;
use super::statistics::{Bootstrap, Estimate, Interval, drawn_anew, rank_test};
use crate::dataset::ContentHash;
use crate::error::{Error, ErrorKind, Result};

/// Folds of the cross-validation.
pub const FOLDS: usize = 5;

/// The least number of correctly classified and of misclassified images to choose by, copies not counted: two a fold.
pub const LEAST_TO_CHOOSE: usize = 2 * FOLDS;

/// A way to score images, and how well it told defects from correctly classified ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// How maps are compared.
    pub distance: Distance,
    /// Whether concept scores are centred.
    pub scores: ScoreMode,
    /// Whether the heatmap score is combined with the softmax.
    pub combined: bool,
    /// The cross-validated AUROC, the mean of those of `kinds`, with its bootstrap interval.
    pub auroc: Estimate,
    /// For each kind of defect, misclassified images and then each set of attacked ones, the probability that one of it scores above a
    /// correctly classified image of the same fold and stratum, ties counting one half, with its bootstrap interval.
    pub kinds: Vec<Estimate>,
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
    /// Successful attacks behind it, by the set's name.
    pub attacked: Vec<(String, u64)>,
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

/// What is known of the images that a choice is made by; those that are rejected without a score, whatever the distance, aren't
/// among them. Clean images come in content order, then each set of attacked ones in that of their originals.
pub(crate) struct Examples {
    /// The content of the image itself or, of an attacked one, of its original: what copies and attacked versions share.
    pub(crate) originals: Vec<ContentHash>,
    pub(crate) strata: Vec<Stratum>,
    /// The kind of defect, by its place in `kinds`; none for correctly classified images.
    pub(crate) defects: Vec<Option<usize>>,
    /// The log-odds of the largest softmax probability.
    pub(crate) log_odds: Vec<f64>,
    /// The kinds of defects: misclassified images and the sets of attacked ones.
    pub(crate) kinds: Vec<String>,
}

/// The scores of one fold and stratum: those of each kind of defect, then those of correctly classified images.
type Group = Vec<Vec<f64>>;

impl Examples {
    /// The number of images of a kind, copies not counted; of none, the correctly classified ones.
    pub(crate) fn count(&self, kind: Option<usize>) -> usize {
        self.images().partition(|row| self.defects[row as usize] == kind).0.len()
    }

    /// The rows of a kind.
    pub(crate) fn rows_of(&self, kind: Option<usize>) -> impl Iterator<Item = usize> {
        (0..self.defects.len()).filter(move |&row| self.defects[row] == kind)
    }

    /// Whether there are enough of all kinds to choose by.
    pub(crate) fn suffice(&self) -> bool {
        let kinds = || (0..self.kinds.len()).map(Some).chain([None]);
        kinds().all(|kind| self.count(kind) >= LEAST_TO_CHOOSE)
            && aurocs(&self.groups(&vec![0.0; self.defects.len()]), self.kinds.len()).is_some()
    }

    /// The cross-validated AUROC of the heatmap scores, or of their combination with the softmax, and that of each kind: an image's
    /// score comes from a fit without its fold.
    pub(crate) fn cross_validate(
        &self,
        heatmap: &[Option<f64>],
        is_combined: bool,
    ) -> Result<(Estimate, Vec<Estimate>)> {
        let alone = |score: &Option<f64>| score.unwrap_or(f64::INFINITY);
        let scores = if is_combined { self.out_of_fold(heatmap)? } else { heatmap.iter().map(alone).collect() };
        let (groups, kinds) = (self.groups(&scores), self.kinds.len());
        let found = aurocs(&groups, kinds)
            .ok_or_else(|| Error::new(ErrorKind::Data, "no fold holds images of both kinds to compare"))?;
        let sizes: Vec<usize> = groups.iter().flatten().map(Vec::len).collect();
        let drawn = |times: &[Vec<u32>]| {
            let mut times = times.iter();
            let again = |group: &Group| group.iter().zip(&mut times).map(|(of, times)| drawn_anew(of, times)).collect();
            let groups: Vec<Group> = groups.iter().map(again).collect();
            let found = aurocs(&groups, kinds).unwrap_or_else(|| vec![f64::NAN; kinds]);
            [vec![mean(&found)], found].concat()
        };
        let intervals = Bootstrap::default().intervals(&sizes, drawn).into_iter();
        let values = [vec![mean(&found)], found].concat().into_iter().zip(intervals);
        let mut figures =
            values.map(|(value, interval)| Estimate::new(value, interval.unwrap_or(Interval { low: 0.0, high: 1.0 })));
        let auroc = figures.next().unwrap_or(Estimate { value: f64::NAN, low: 0.0, high: 1.0 });
        Ok((auroc, figures.collect()))
    }

    /// Fits the combination to all images that have a heatmap score.
    pub(crate) fn fit(&self, heatmap: &[Option<f64>]) -> Result<Combination> {
        self.fit_where(heatmap, |_| true)
    }

    fn fit_where(&self, heatmap: &[Option<f64>], is_used: impl Fn(usize) -> bool) -> Result<Combination> {
        let of = |kind: Option<usize>| -> Vec<[f64; 2]> {
            let rows = self.rows_of(kind).filter(|&row| is_used(row));
            rows.filter_map(|row| Some([heatmap[row]?, self.log_odds[row]])).collect()
        };
        let kinds = self.kinds.iter().enumerate().map(|(kind, name)| (name.as_str(), of(Some(kind))));
        Combination::fit(&of(None), &kinds.collect::<Vec<_>>())
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

    fn images(&self) -> Images {
        let order = ContentOrder::new(&self.originals);
        Images::new(&order, &order.rows(), &self.originals)
    }

    /// Each row's fold. The images of each kind are dealt in turn, those that are of several with the first.
    fn folds(&self) -> Vec<usize> {
        let mut folds = vec![0; self.defects.len()];
        let mut rest = self.images();
        for kind in (0..self.kinds.len()).map(Some).chain([None]) {
            let (of_kind, others) = rest.partition(|row| self.defects[row as usize] == kind);
            for (fold, rows) in of_kind.deal(FOLDS).into_iter().enumerate() {
                rows.into_iter().for_each(|row| folds[row as usize] = fold);
            }
            rest = others;
        }
        folds
    }

    /// The scores by fold and stratum.
    fn groups(&self, scores: &[f64]) -> Vec<Group> {
        let folds = self.folds();
        let mut groups = vec![vec![Vec::new(); self.kinds.len() + 1]; FOLDS * Stratum::ALL.len()];
        for (row, &score) in scores.iter().enumerate() {
            let group = folds[row] * Stratum::ALL.len() + self.strata[row] as usize;
            groups[group][self.defects[row].unwrap_or(self.kinds.len())].push(score);
        }
        // What can't be compared isn't drawn anew either.
        groups.retain(|group| {
            group.split_last().is_some_and(|(correct, defects)| {
                !correct.is_empty() && defects.iter().any(|of_kind| !of_kind.is_empty())
            })
        });
        groups
    }
}

/// The AUROC of each kind over all groups; none if a kind nowhere meets correctly classified images.
fn aurocs(groups: &[Group], kinds: usize) -> Option<Vec<f64>> {
    let of = |kind: usize| {
        let pairs: Vec<[Vec<f64>; 2]> =
            groups.iter().map(|group| [group[kind].clone(), group[kinds].clone()]).collect();
        rank_test(&pairs).map(|test| test.auroc)
    };
    (0..kinds).map(of).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
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
        (Examples { strata, log_odds, ..plain(&wrong) }, heatmap)
    }

    /// Different images, of which `wrong` marks the misclassified.
    fn plain(wrong: &[bool]) -> Examples {
        Examples {
            originals: different(wrong.len()),
            strata: vec![Stratum::Own; wrong.len()],
            defects: wrong.iter().map(|wrong| wrong.then_some(0)).collect(),
            log_odds: vec![0.0; wrong.len()],
            kinds: vec!["misclassified".to_owned()],
        }
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
            [false, true].map(|is_combined| examples.cross_validate(&heatmap, is_combined).unwrap().0);
        assert!(combined.value > alone.value && alone.value > 0.6, "{combined:?} {alone:?}");
        assert!(alone.low < alone.value && alone.value < alone.high);
        let fitted = examples.fit(&heatmap).unwrap();
        assert!(fitted.kinds[0].heatmap > 0.0 && fitted.kinds[0].log_odds < 0.0);
        assert_eq!((fitted.correct, fitted.kinds[0].images), (100, 50));
    }

    #[test]
    fn attacks_that_look_surer_than_any_correct_image_are_told_apart_as_well() {
        let (mut examples, mut heatmap) = examples(150);
        let mistakes = examples.cross_validate(&heatmap, true).unwrap();
        // Every other correct image was attacked: its versions have larger log-odds and somewhat larger heatmap scores.
        for row in (0..150).filter(|row| row % 3 == 1) {
            examples.originals.push(examples.originals[row]);
            examples.strata.push(examples.strata[row]);
            examples.defects.push(Some(1));
            examples.log_odds.push(examples.log_odds[row] + 0.8);
            heatmap.push(heatmap[row].map(|score| score + 0.3));
        }
        examples.kinds.push("pgd".to_owned());
        assert!(examples.suffice() && examples.count(Some(1)) == 50);
        let (combined, kinds) = examples.cross_validate(&heatmap, true).unwrap();
        let (alone, _) = examples.cross_validate(&heatmap, false).unwrap();
        assert!((combined.value - (kinds[0].value + kinds[1].value) / 2.0).abs() < 1e-15);
        assert!(combined.value > alone.value, "{combined:?} {alone:?}");
        assert!(kinds.iter().all(|kind| kind.low < kind.value && kind.value < kind.high));
        assert!(
            kinds[1].value > 0.6 && kinds[0].value < mistakes.0.value,
            "attacks cost something: {kinds:?} {mistakes:?}"
        );
        let folds = examples.folds();
        assert!((150..200).all(|row| folds[row] == folds[1 + 3 * (row - 150)]), "with their originals");
    }

    #[test]
    fn nothing_is_learnt_from_the_fold_that_is_scored() {
        let (mut examples, heatmap) = examples(150);
        // Signs that say nothing stay at one half, though a fit to all images would find something in them.
        examples.defects = (0..150).map(|row| (row * 7 % 11 < 4).then_some(0)).collect();
        let (found, _) = examples.cross_validate(&heatmap, true).unwrap();
        assert!(found.low < 0.5, "{found:?}");
        let mut scores = heatmap;
        scores[3] = None;
        assert!(examples.cross_validate(&scores, true).unwrap().0.value.is_finite());
    }

    #[test]
    fn a_choice_needs_images_of_both_kinds_that_meet() {
        let wrong = |n: usize| (0..n).map(|row| row < 10).collect::<Vec<_>>();
        assert!(!plain(&wrong(19)).suffice());
        let strata = (0..20).map(|row| Stratum::ALL[usize::from(row < 10)]).collect();
        let mut apart = Examples { strata, ..plain(&wrong(20)) };
        assert!(!apart.suffice());
        apart.strata = vec![Stratum::Own; 20];
        assert!(apart.suffice());
        apart.originals[1] = apart.originals[0];
        assert!(!apart.suffice(), "nine misclassified images and a copy");
    }

    #[test]
    fn copies_of_an_image_share_a_fold_whatever_their_labels() {
        let images = [0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 9];
        let wrong = [1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0].map(|mark| mark == 1);
        let originals = images.map(|image| ContentHash([image; 32])).to_vec();
        let examples = Examples { originals, ..plain(&wrong) };
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
            kinds: vec![Estimate { value, low: 0.0, high: 1.0 }],
        };
        let candidates = vec![
            candidate(Distance::Cosine, false, 0.7),
            candidate(Distance::L1, false, 0.7),
            candidate(Distance::L1, true, 0.6),
        ];
        let choice = Choice { correct: 20, misclassified: 20, attacked: Vec::new(), candidates };
        assert_eq!(choice.best(|_| true).unwrap().name(), "cosine raw");
        assert_eq!(choice.best(|candidate| candidate.combined).unwrap().name(), "l1 raw + softmax");
        assert!(choice.best(|_| false).is_none());
    }
}
