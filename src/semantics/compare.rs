//! What became of a classifier from one bundle to another, on the images that both hold.
//!
//! The same images are seen twice, so every test is McNemar's and every interval that of a paired difference.

mod matched;

use rayon::prelude::*;
use serde::Serialize;

use matched::Matched;

use super::bundle::{Bundle, Samples, Space};
use super::counting::{count_joint, count_maps};
use super::diagnosis::ScoreMode;
use super::differential::{Differential, FALSE_DISCOVERY_RATE};
use super::flips::flipped_share;
use super::manifest::{differing_makers, first_difference};
use super::statistics::{Bootstrap, CONFIDENCE, Estimate, Paired, benjamini_hochberg, mcnemar_exact, newcombe_paired};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::progress::{Observer, step};

/// How two bundles are compared.
#[derive(Debug, Clone, Copy, Default)]
pub struct CompareOptions {
    /// The space of the scores.
    pub space: Space,
    /// Whether each bundle's concept means are taken off its scores first.
    pub mode: ScoreMode,
    /// The drift above which a class is named in [`Drift::above`].
    pub max_drift: Option<f64>,
}

/// A share of the same images in the first and in the second bundle.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedChange {
    /// The share in the first bundle.
    pub before: f64,
    /// The share in the second bundle.
    pub after: f64,
    /// `after` less `before`, with Newcombe's paired interval.
    pub change: Estimate,
    /// McNemar's exact two-sided p.
    pub p: f64,
}

/// A pair of concepts that is ordered otherwise in the second bundle, more often than chance explains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairDrift {
    /// The concept that wins more often than before.
    pub stronger: String,
    /// The concept it wins against.
    pub weaker: String,
    /// The share of images in which the stronger wins.
    #[serde(flatten)]
    pub share: PairedChange,
    /// The p adjusted for all pairs of the class (Benjamini–Hochberg).
    pub adjusted: f64,
    /// Whether the majority of images changed sides.
    pub reversed: bool,
}

/// How one class changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassDrift {
    /// The class.
    pub class: String,
    /// Its images in both bundles.
    pub images: u64,
    /// Whether they are enough: a class with fewer than the minimum support gets no figures.
    pub supported: bool,
    /// The share of comparisons between two concepts that came out otherwise, with its bootstrap interval.
    pub drift: Option<Estimate>,
    /// The share of its images that is classified correctly.
    pub recall: Option<PairedChange>,
    /// The recall's p adjusted for all supported classes (Benjamini–Hochberg).
    pub adjusted: Option<f64>,
    /// Whether the recall changed, at a false-discovery rate of 5 % over the classes.
    pub changed: bool,
    /// Pairs of concepts that were tested.
    pub tests: usize,
    /// The pairs whose order changed, at a false-discovery rate of 5 % within the class; the largest change first.
    pub pairs: Vec<PairDrift>,
}

/// What became of a classifier from one bundle to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// Images in both bundles, on which everything else rests.
    pub images: u64,
    /// Images in the first bundle alone.
    pub only_before: u64,
    /// Images in the second bundle alone.
    pub only_after: u64,
    /// Whether both bundles come of the same classifier's weights.
    pub same_classifier: bool,
    /// What else the bundles were made with differently, such as `CLIPs` or `concept prompts`: where there is any, what
    /// changed needn't be the classifier's doing.
    pub made_differently: Vec<String>,
    /// Images whose prediction differs.
    pub predictions_changed: u64,
    /// The share that is classified correctly.
    pub accuracy: PairedChange,
    /// The share of comparisons between two concepts that came out otherwise, over all images, with its bootstrap interval.
    pub drift: Option<Estimate>,
    /// Each class.
    pub classes: Vec<ClassDrift>,
    /// The drift that is allowed, where one was given.
    pub max_drift: Option<f64>,
    /// The supported classes whose drift is above that.
    pub above: Vec<String>,
}

impl Bundle {
    /// Compares this bundle with a later one on the images that both hold, found by their content.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] naming a class or concept that only one has; [`ErrorKind::Data`] if the two share no image or
    /// label one differently, or if there is a drift to keep to but no class with enough images; those of the device and the
    /// observer.
    pub fn compare(
        &self,
        later: &Self,
        device: &Device,
        options: &CompareOptions,
        observer: &dyn Observer,
    ) -> Result<Drift> {
        check_names(self, later)?;
        let rows = Matched::new(self, later)?;
        let scores = [(self, &rows.before), (later, &rows.after)]
            .map(|(bundle, rows)| Ok(bundle.scores(options.space, options.mode)?.select_rows(rows)));
        let [before, after] = scores;
        let (before, after) = (before?, after?);
        let flips: Vec<f64> =
            (0..rows.len()).into_par_iter().map(|row| flipped_share(before.row(row), after.row(row))).collect();
        let drift_of =
            |rows: &[u32]| Bootstrap::default().mean(&rows.iter().map(|&row| flips[row as usize]).collect::<Vec<_>>());
        let correct = |bundle: &Self, rows: &[usize]| -> Vec<bool> {
            let Samples { labels, predictions, .. } = &bundle.samples;
            rows.iter().map(|&row| labels[row] == predictions[row]).collect()
        };
        let correct = [correct(self, &rows.before), correct(later, &rows.after)];
        let Manifests { classes, concepts, minimum_support } = Manifests::of(self, later);
        let mut found: Vec<ClassDrift> = Vec::with_capacity(classes.len());
        for some in self.classes_at_once() {
            let groups: Vec<Vec<u32>> = some.clone().map(|class| rows.of_class(class)).collect();
            let [firsts, seconds] = [count_maps(device, &before, &groups)?, count_maps(device, &after, &groups)?];
            let joint = count_joint(device, &before, &after, &groups)?;
            let maps = groups.iter().zip(firsts).zip(seconds).zip(joint);
            for (class, (((group, first), second), both)) in some.zip(maps) {
                step(observer, "comparing", class, classes.len())?;
                let images = group.len() as u64;
                let supported = images >= minimum_support.max(1);
                let map = supported.then(|| Differential::paired(&second, &first, both)).transpose()?;
                let content = rows.order.sorted(group);
                found.push(ClassDrift {
                    class: classes[class].clone(),
                    images,
                    supported,
                    drift: drift_of(&content).filter(|_| supported),
                    recall: supported.then(|| paired(&correct, group)),
                    adjusted: None,
                    changed: false,
                    tests: map.as_ref().map_or(0, Differential::tests),
                    pairs: map.as_ref().map_or_else(Vec::new, |map| changed_pairs(map, concepts)),
                });
            }
        }
        step(observer, "comparing", classes.len(), classes.len())?;
        if let Some(most) = options.max_drift.filter(|_| found.iter().all(|class| !class.supported)) {
            let message =
                format!("no class has {minimum_support} images in both bundles, so none can keep to a drift of {most}");
            return Err(Error::new(ErrorKind::Data, message).hint("compare bundles of more images"));
        }
        test_recalls(&mut found);
        let is_above = |class: &&ClassDrift| {
            let drift = class.drift.as_ref().zip(options.max_drift);
            drift.is_some_and(|(drift, most)| drift.value > most)
        };
        let above = found.iter().filter(is_above).map(|class| class.class.clone()).collect();
        let all: Vec<u32> = rows.order.rows();
        let predictions = rows.before.iter().zip(&rows.after);
        let predictions = predictions.map(|(&a, &b)| (self.samples.predictions[a], later.samples.predictions[b]));
        Ok(Drift {
            images: rows.len() as u64,
            only_before: (self.samples.labels.len() - rows.len()) as u64,
            only_after: (later.samples.labels.len() - rows.len()) as u64,
            same_classifier: self.manifest.classifier.sha256 == later.manifest.classifier.sha256,
            made_differently: made_differently(self, later),
            predictions_changed: predictions.filter(|(before, after)| before != after).count() as u64,
            accuracy: paired(&correct, &all),
            drift: drift_of(&all),
            classes: found,
            max_drift: options.max_drift,
            above,
        })
    }
}

/// What two comparable bundles have in common.
struct Manifests<'a> {
    classes: &'a [String],
    concepts: &'a [String],
    minimum_support: u64,
}

impl<'a> Manifests<'a> {
    fn of(first: &'a Bundle, second: &Bundle) -> Self {
        Self {
            classes: &first.manifest.classes,
            concepts: &first.manifest.concepts,
            minimum_support: first.manifest.minimum_support.max(second.manifest.minimum_support),
        }
    }
}

fn check_names(first: &Bundle, second: &Bundle) -> Result<()> {
    let [a, b] = [&first.manifest, &second.manifest];
    for (what, a, b) in [("classes", &a.classes, &b.classes), ("concepts", &a.concepts, &b.concepts)] {
        if let Some(found) = first_difference(a, b) {
            let message = format!("{} and {} have different {what}: {found}", first.place(), second.place());
            return Err(Error::new(ErrorKind::Mismatch, message).hint("build both with the same lists"));
        }
    }
    Ok(())
}

/// What besides the classifier's weights the bundles were made with differently. Different classifiers have different aligners.
fn made_differently(first: &Bundle, second: &Bundle) -> Vec<String> {
    let [a, b] = [first, second].map(Bundle::manifest);
    let is_same = a.classifier.sha256 == b.classifier.sha256;
    let [of_a, of_b] = [first.aligner(), second.aligner()];
    let others = [
        ("concept prompts", first.directions != second.directions),
        ("aligners", is_same && (of_a.weight(), of_a.bias()) != (of_b.weight(), of_b.bias())),
    ];
    let makers = differing_makers(a, b).map(|(what, _)| what).filter(|what| *what != "classifiers");
    let others = others.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what);
    makers.chain(others).map(str::to_owned).collect()
}

/// How the share of true rows changed.
fn paired([before, after]: &[Vec<bool>; 2], rows: &[u32]) -> PairedChange {
    let mut table = Paired { both: 0, first_only: 0, second_only: 0, neither: 0 };
    for &row in rows {
        *match (after[row as usize], before[row as usize]) {
            (true, true) => &mut table.both,
            (true, false) => &mut table.first_only,
            (false, true) => &mut table.second_only,
            (false, false) => &mut table.neither,
        } += 1;
    }
    let share = |count: u64| count as f64 / rows.len() as f64;
    let (before, after) = (share(table.both + table.second_only), share(table.both + table.first_only));
    PairedChange {
        before,
        after,
        change: Estimate::new(after - before, newcombe_paired(table, CONFIDENCE)),
        p: mcnemar_exact(table.first_only, table.second_only),
    }
}

/// The flagged pairs of the map "after less before", the largest change first.
fn changed_pairs(map: &Differential, names: &[String]) -> Vec<PairDrift> {
    let n = map.first().n();
    let share = |count: u32| f64::from(count) / n as f64;
    let pairs = map.strongest_pairs(map.tests()).into_iter().filter_map(|(i, j)| {
        let cell = map.cell(i, j).filter(|cell| cell.flagged)?;
        let [after, before] = [map.first(), map.second()].map(|map| map.at(i, j));
        let change = Estimate { value: cell.change, low: cell.low, high: cell.high };
        Some(PairDrift {
            stronger: names[i].clone(),
            weaker: names[j].clone(),
            share: PairedChange { before: share(before), after: share(after), change, p: cell.p },
            adjusted: cell.adjusted,
            reversed: 2 * u64::from(before) < n && 2 * u64::from(after) > n,
        })
    });
    pairs.collect()
}

/// Tests the recalls of the supported classes as one family.
fn test_recalls(classes: &mut [ClassDrift]) {
    let p: Vec<f64> = classes.iter().filter_map(|class| Some(class.recall.as_ref()?.p)).collect();
    let family = benjamini_hochberg(&p, FALSE_DISCOVERY_RATE);
    let tested = classes.iter_mut().filter(|class| class.recall.is_some());
    for ((class, adjusted), flagged) in tested.zip(family.adjusted).zip(family.flagged) {
        class.adjusted = Some(adjusted);
        class.changed = flagged;
    }
}

#[cfg(test)]
mod tests;
