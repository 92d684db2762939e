//! Fault localisation: did the encoder lose the meaning of a misclassified image, or did the head misread it?
//!
//! 1. The zero-shot oracle takes the class whose direction is nearest to the aligned embedding. If that is the true class, the
//!    embedding still carries the meaning and the fault is the head's, else the encoder's.
//! 2. It is undetermined when CLIP itself, on the image, doesn't say the true class, or when the oracle's margin (its largest
//!    less its second largest cosine) is below a threshold.
//! 3. The heatmap oracle is a second opinion by the distance to the class's correct map alone.
//!
//! Ties of class scores go to the lowest index.

use serde::Serialize;

use super::responsible::Responsible;
use super::statistics::percentile;
use super::tally::{ClassTally, Fault, Tally};
use crate::error::{Error, ErrorKind, Result};
use crate::semantics::check_finite;
use crate::tensor::Tensor;

/// What localisation knows of N images of K classes. Distances are `None` where the map has too little support or there is no
/// distance.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The images' paths, N.
    pub paths: &'a [String],
    /// The classes' names, K.
    pub classes: &'a [String],
    /// The true classes, N.
    pub labels: &'a [usize],
    /// The classifier's predictions, N.
    pub predictions: &'a [usize],
    /// Cosines of the aligned embeddings with the class directions, `[N, K]`.
    pub aligned: &'a Tensor,
    /// Cosines of CLIP's image embeddings with the class directions, `[N, K]`.
    pub clip: &'a Tensor,
    /// Distances to the correct map of the true class, N; for correctly classified images without their own contribution.
    pub to_correct: &'a [Option<f64>],
    /// Distances to the missed map of the true class without the image's own contribution, N; read for misclassified images and
    /// [`HeatmapRule::Nearer`] alone.
    pub to_missed: &'a [Option<f64>],
    /// Each class's responsible concepts, K; `None` where its maps have too little support.
    pub responsible: &'a [Option<Responsible>],
}

/// How the heatmap oracle decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeatmapRule {
    /// Encoder iff the distance to the correct map is above the 95th percentile of the same distance over the class's correct
    /// images, each left out of its own map. Percentiles are linear between order statistics (numpy's default).
    #[default]
    Percentile,
    /// The plain form: encoder iff the missed map, without the image itself, is nearer than the correct map.
    Nearer,
}

/// The choices that localisation leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LocalizeOptions {
    /// The oracle's margin below which a verdict is undetermined; 0 is never.
    pub margin: f32,
    /// The heatmap oracle's rule.
    pub heatmap_rule: HeatmapRule,
}

/// The percentile of [`HeatmapRule::Percentile`].
const PERCENTILE: f64 = 0.95;

/// One misclassified image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// Its path.
    pub path: String,
    /// Its true class.
    pub label: String,
    /// The classifier's prediction.
    pub prediction: String,
    /// The verdict of rules 1 and 2.
    pub verdict: Fault,
    /// The heatmap oracle's verdict.
    pub heatmap_verdict: Fault,
    /// The zero-shot oracle's class.
    pub oracle: String,
    /// CLIP's own class.
    pub clip: String,
    /// The oracle's margin: its largest cosine less its second largest.
    pub margin: f32,
}

/// The verdicts on all misclassified images, by image, class and in total.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Localization {
    /// All classes together.
    pub totals: Tally,
    /// Each class, in logit order.
    pub classes: Vec<ClassTally>,
    /// Each misclassified image, in row order.
    pub samples: Vec<Sample>,
    /// The options used.
    pub options: LocalizeOptions,
}

/// Localises the fault of every misclassified image.
///
/// # Errors
/// [`ErrorKind::Data`] if the evidence's parts don't fit each other, there are fewer than two classes, or a class score isn't
/// finite.
pub fn localize(evidence: &Evidence<'_>, options: LocalizeOptions) -> Result<Localization> {
    check(evidence)?;
    let Evidence { labels, predictions, classes, .. } = *evidence;
    let thresholds = thresholds(evidence);
    let mut totals = Tally::default();
    let mut tallies = vec![Tally::default(); classes.len()];
    let mut samples = Vec::new();
    for (row, (&label, &prediction)) in labels.iter().zip(predictions).enumerate() {
        let (oracle, margin) = best(evidence.aligned.row(row));
        let (clip, _) = best(evidence.clip.row(row));
        let verdict = verdict(oracle == label, clip == label, margin, options.margin);
        if label == prediction {
            for tally in [&mut totals, &mut tallies[label]] {
                tally.add_correct(verdict, oracle == label, clip == label);
            }
            continue;
        }
        let to_correct = evidence.to_correct[row];
        let heatmap_verdict = match options.heatmap_rule {
            HeatmapRule::Percentile => farther(to_correct, thresholds[label]),
            HeatmapRule::Nearer => farther(to_correct, evidence.to_missed[row]),
        };
        for tally in [&mut totals, &mut tallies[label]] {
            tally.add_error(verdict, heatmap_verdict, oracle == label, clip == label);
        }
        samples.push(Sample {
            path: evidence.paths[row].clone(),
            label: classes[label].clone(),
            prediction: classes[prediction].clone(),
            verdict,
            heatmap_verdict,
            oracle: classes[oracle].clone(),
            clip: classes[clip].clone(),
            margin,
        });
    }
    totals.finish();
    let finished = |(class, mut tally): (usize, Tally)| {
        tally.finish();
        let responsible = evidence.responsible[class].clone().unwrap_or_default();
        let (lost, intruding) = (responsible.lost, responsible.intruding);
        let heatmap_threshold = thresholds[class].filter(|_| options.heatmap_rule == HeatmapRule::Percentile);
        ClassTally { class: classes[class].clone(), tally, lost, intruding, heatmap_threshold }
    };
    let classes = tallies.into_iter().enumerate().map(finished).collect();
    Ok(Localization { totals, classes, samples, options })
}

/// Rules 1 and 2.
fn verdict(oracle_is_right: bool, clip_is_right: bool, margin: f32, least_margin: f32) -> Fault {
    if !clip_is_right || margin < least_margin {
        Fault::Undetermined
    } else if oracle_is_right {
        Fault::Head
    } else {
        Fault::Encoder
    }
}

/// Rule 3: encoder iff the distance is above the threshold.
fn farther(distance: Option<f64>, threshold: Option<f64>) -> Fault {
    match (distance, threshold) {
        (Some(distance), Some(threshold)) if distance > threshold => Fault::Encoder,
        (Some(_), Some(_)) => Fault::Head,
        _ => Fault::Undetermined,
    }
}

/// Each class's percentile of the distances of its correct images to their own map.
fn thresholds(evidence: &Evidence<'_>) -> Vec<Option<f64>> {
    let mut distances = vec![Vec::new(); evidence.classes.len()];
    for (row, &label) in evidence.labels.iter().enumerate().filter(|&(row, &label)| evidence.predictions[row] == label)
    {
        distances[label].extend(evidence.to_correct[row]);
    }
    let threshold = |mut distances: Vec<f64>| {
        distances.sort_by(f64::total_cmp);
        percentile(&distances, PERCENTILE)
    };
    distances.into_iter().map(threshold).collect()
}

/// The index of the largest score, the lowest of equal ones, and how far it is above the second largest.
fn best(scores: &[f32]) -> (usize, f32) {
    let mut best = 0;
    let mut second = f32::NEG_INFINITY;
    for (class, &score) in scores.iter().enumerate().skip(1) {
        if score > scores[best] {
            second = scores[best];
            best = class;
        } else {
            second = second.max(score);
        }
    }
    (best, scores[best] - second)
}

fn check(evidence: &Evidence<'_>) -> Result<()> {
    let (n, k) = (evidence.labels.len(), evidence.classes.len());
    let fails = |what: String| Err(Error::new(ErrorKind::Data, what));
    if k < 2 {
        return fails(format!("found {k} class(es), localisation needs at least 2"));
    }
    for (what, found) in [
        ("paths", evidence.paths.len()),
        ("predictions", evidence.predictions.len()),
        ("distances to the correct map", evidence.to_correct.len()),
        ("distances to the missed map", evidence.to_missed.len()),
    ] {
        if found != n {
            return fails(format!("found {found} {what}, expected {n}"));
        }
    }
    if evidence.responsible.len() != k {
        return fails(format!("found responsible concepts of {} classes, expected {k}", evidence.responsible.len()));
    }
    for (what, scores) in [("aligned class scores", evidence.aligned), ("CLIP's class scores", evidence.clip)] {
        if scores.shape() != [n, k] {
            return fails(format!("{what} have shape {:?}, expected [{n}, {k}]", scores.shape()));
        }
        check_finite(scores, what, evidence.paths)?;
    }
    for row in 0..n {
        let (label, prediction) = (evidence.labels[row], evidence.predictions[row]);
        if label >= k || prediction >= k {
            return fails(format!(
                "{}: label {label}, prediction {prediction}, expected below {k}",
                evidence.paths[row]
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
