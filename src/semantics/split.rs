//! Calibration images, parted into those that a way to score is chosen by and those that set its thresholds.

use std::collections::HashMap;

use super::attacked::{AttackedSet, Originals};
use super::baselines::log_odds;
use super::calibration::{Cause, Stratum};
use super::choose::Examples;
use super::evaluate::MISCLASSIFIED;
use super::filter::Scored;
use super::folds::Images;
use super::fraction::Fraction;
use super::scores::ContentOrder;
use crate::dataset::{Dataset, Sample};

/// An image: 0 and its row for a clean one, else the set's number from 1 and the row in it.
pub(super) type Place = (usize, usize);

/// Labelled images and attacked versions of some of them, as every way to score them sees them.
pub(super) struct Split {
    /// The clean images, then each set of attacked ones.
    pub(super) scored: Vec<Scored>,
    wrong: Vec<bool>,
    /// Each image's stratum; none where it is rejected without a score.
    strata: Vec<Vec<Option<Stratum>>>,
    /// For each set of attacked images those whose original was classified correctly and that aren't, by the original's row.
    succeeded: Vec<HashMap<usize, Vec<usize>>>,
    /// The sets' names, and how many of their images have no original.
    pub(super) sets: Vec<(String, usize)>,
    order: ContentOrder,
}

impl Split {
    /// `routes` are the classes' strata.
    ///
    /// # Errors
    /// As [`Originals::of`].
    pub(super) fn new(
        clean: (Scored, &Dataset),
        attacked: Vec<(Scored, &str, AttackedSet<'_>)>,
        routes: &[Result<Stratum, Cause>],
    ) -> crate::error::Result<Self> {
        let samples: Vec<&Sample> = clean.0.collected.indices.iter().map(|&index| &clean.1.samples[index]).collect();
        let (labels, found) = (samples.iter().map(|sample| sample.label), &clean.0.predictions);
        let wrong: Vec<bool> = labels.clone().zip(found).map(|(label, found)| label != Some(*found)).collect();
        let order = ContentOrder::new(&clean.0.collected.hashes.iter().copied().zip(labels).collect::<Vec<_>>());
        let rows = samples.iter().zip(&clean.0.collected.hashes);
        let rows = rows.map(|(sample, &hash)| (sample.path.as_str(), sample.label.unwrap_or_default(), hash));
        let originals = Originals::new(rows);
        let (mut scored, mut succeeded, mut sets) = (vec![clean.0], Vec::new(), Vec::new());
        for (of_set, name, set) in attacked {
            let mut versions = HashMap::<usize, Vec<usize>>::new();
            let mut unmatched = 0;
            for (row, original) in set.originals(&originals)?.into_iter().enumerate() {
                match original {
                    None => unmatched += 1,
                    Some(original) if !wrong[original] && set.samples[row].label != Some(of_set.predictions[row]) => {
                        versions.entry(original).or_default().push(row);
                    }
                    Some(_) => {}
                }
            }
            versions.values_mut().for_each(|rows| rows.sort_by_key(|&row| of_set.collected.hashes[row]));
            scored.push(of_set);
            succeeded.push(versions);
            sets.push((name.to_owned(), unmatched));
        }
        let of = |scored: &Scored| scored.predictions.iter().map(|&class| routes[class].ok()).collect();
        let strata = scored.iter().map(of).collect();
        Ok(Self { scored, wrong, strata, succeeded, sets, order })
    }

    /// All clean images.
    pub(super) fn all(&self) -> Vec<u32> {
        self.order.rows()
    }

    /// The clean images dealt into two halves: the first for what is chosen or fitted, the second for the threshold.
    pub(super) fn halves(&self) -> [Vec<u32>; 2] {
        let images = Images::new(&self.order, &self.all(), &self.scored[0].collected.hashes);
        let mut halves = images.deal(2).into_iter();
        std::array::from_fn(|_| halves.next().unwrap_or_default())
    }

    /// The images of `rows` that are classified correctly, each once: a threshold takes what it is set by for independent.
    pub(super) fn correct(&self, rows: &[u32]) -> Vec<usize> {
        let mut correct: Vec<usize> = rows.iter().map(|&row| row as usize).filter(|&row| !self.wrong[row]).collect();
        correct.dedup_by_key(|row| self.scored[0].collected.hashes[*row]);
        correct
    }

    /// A clean image's stratum.
    pub(super) fn stratum(&self, row: usize) -> Option<Stratum> {
        self.strata[0][row]
    }

    /// The log-odds of an image's largest softmax probability.
    pub(super) fn log_odds(&self, (source, row): Place) -> f64 {
        log_odds(self.scored[source].logits.row(row))
    }

    /// The images that a choice by the clean images `rows` may be made by: those themselves and the successful attacks on them.
    pub(super) fn places(&self, rows: &[u32]) -> Vec<Place> {
        let rows = || rows.iter().map(|&row| row as usize);
        let attacks = |(versions, source): (&HashMap<usize, Vec<usize>>, usize)| {
            rows()
                .flat_map(|row| versions.get(&row).into_iter().flatten())
                .map(|&row| (source, row))
                .collect::<Vec<_>>()
        };
        let attacked = self.succeeded.iter().zip(1..).flat_map(attacks);
        let places = rows().map(|row| (0, row)).chain(attacked);
        places.filter(|&(source, row)| self.strata[source][row].is_some()).collect()
    }

    /// What is known of the images at `places`.
    pub(super) fn examples(&self, places: &[Place]) -> Examples {
        let mut originals: Vec<HashMap<usize, usize>> = Vec::with_capacity(self.succeeded.len());
        for versions in &self.succeeded {
            let pairs = versions.iter().flat_map(|(&original, rows)| rows.iter().map(move |&row| (row, original)));
            originals.push(pairs.collect());
        }
        let original = |(source, row): Place| source.checked_sub(1).map_or(row, |set| originals[set][&row]);
        let defect = |&(source, row): &Place| if source > 0 { Some(source) } else { self.wrong[row].then_some(0) };
        let hash = |&place: &Place| self.scored[0].collected.hashes[original(place)];
        let kinds = std::iter::once(MISCLASSIFIED).chain(self.sets.iter().map(|(name, _)| name.as_str()));
        Examples {
            originals: places.iter().map(hash).collect(),
            strata: places.iter().filter_map(|&(source, row)| self.strata[source][row]).collect(),
            defects: places.iter().map(defect).collect(),
            log_odds: places.iter().map(|&place| self.log_odds(place)).collect(),
            kinds: kinds.map(str::to_owned).collect(),
        }
    }

    /// Whether each of `strata` has enough correct images among `rows` for a threshold at `alpha`.
    pub(super) fn suffices(&self, rows: &[u32], strata: &[Stratum], alpha: Fraction) -> bool {
        let correct = self.correct(rows);
        let of = |stratum: Stratum| correct.iter().filter(|&&row| self.stratum(row) == Some(stratum)).count() as u64;
        strata.iter().all(|&stratum| alpha.floor_of(of(stratum) + 1) > 0)
    }
}
