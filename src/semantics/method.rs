//! How a filter turns distances and logits into a score.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::diagnosis::ScoreMode;
use super::distance::Distance;
use super::logistic::Logistic;
use crate::error::Result;

/// The log-odds that a prediction is wrong, from the image's heatmap score and its largest softmax probability p: its odds add up
/// those of each kind of defect, all of which count as if they were as frequent as the first.
///
/// A sum tells what one weighted sum can't: a mistake has a small p, many an attack a larger one than any correct image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Combination {
    /// Correctly classified images that it was fitted to.
    pub correct: u64,
    /// The kinds of defects.
    pub kinds: Vec<KindOdds>,
}

/// The log-odds of one kind of defect: intercept + heatmap · (heatmap score) + log_odds · ln(p/(1 − p)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindOdds {
    /// `misclassified`, or the name of a set of attacked images.
    pub kind: String,
    /// The intercept.
    pub intercept: f64,
    /// The weight of the heatmap score.
    pub heatmap: f64,
    /// The weight of the log-odds of the largest softmax probability.
    pub log_odds: f64,
    /// Images of the kind that it was fitted to.
    pub images: u64,
}

impl Combination {
    /// Fits each kind's weights to correctly classified images and to those of the kind, each given as its heatmap score and its
    /// log-odds.
    ///
    /// # Errors
    /// As [`Logistic::fit`], for each kind.
    pub fn fit(correct: &[[f64; 2]], kinds: &[(&str, Vec<[f64; 2]>)]) -> Result<Self> {
        let first = kinds.first().map_or(0, |(_, images)| images.len()) as f64;
        let odds = |(kind, images): &(&str, Vec<[f64; 2]>)| {
            let marks: Vec<bool> = (0..correct.len() + images.len()).map(|at| at >= correct.len()).collect();
            let Logistic { intercept, weights } = Logistic::fit(&[correct, images].concat(), &marks)?;
            Ok(KindOdds {
                kind: (*kind).to_owned(),
                intercept: intercept + (first / images.len() as f64).ln(),
                heatmap: weights[0],
                log_odds: weights[1],
                images: images.len() as u64,
            })
        };
        Ok(Self { correct: correct.len() as u64, kinds: kinds.iter().map(odds).collect::<Result<_>>()? })
    }

    /// The combined score; larger is more suspicious.
    pub fn score(&self, heatmap: f64, log_odds: f64) -> f64 {
        let each = || self.kinds.iter().map(|kind| kind.intercept + kind.heatmap * heatmap + kind.log_odds * log_odds);
        // Shifted by the largest, so that no exponential overflows.
        let largest = each().fold(f64::NEG_INFINITY, f64::max);
        largest + each().map(|odds| (odds - largest).exp()).sum::<f64>().ln()
    }
}

/// A way to score images, with its thresholds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// How maps are compared.
    pub distance: Distance,
    /// Whether concept scores are centred.
    pub scores: ScoreMode,
    /// How the heatmap score is combined with the softmax; none where it stands alone.
    pub combination: Option<Combination>,
    /// The thresholds.
    pub calibration: Calibration,
}

impl Method {
    /// The name of the same method without the softmax; none where it has none anyway.
    pub fn heatmap_alone(&self) -> Option<String> {
        self.combination.as_ref().map(|_| configuration(self.distance, self.scores, false))
    }

    /// The score of an image with the given heatmap score and log-odds of the largest softmax probability. Larger is more
    /// suspicious; none without a heatmap score.
    pub fn score(&self, heatmap: Option<f64>, log_odds: f64) -> Option<f64> {
        let heatmap = heatmap?;
        let combined = self.combination.as_ref().map(|combination| combination.score(heatmap, log_odds));
        Some(combined.unwrap_or(heatmap))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&configuration(self.distance, self.scores, self.combination.is_some()))
    }
}

/// What a way to score images is called: `cosine raw`, `l1 centered + softmax`.
pub(crate) fn configuration(distance: Distance, scores: ScoreMode, is_combined: bool) -> String {
    format!("{distance} {scores}{}", if is_combined { " + softmax" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_of_several_kinds_add_up_and_weigh_alike() {
        let image = |k: i32, shift: f64| [f64::from(k * 7 % 11) + shift, f64::from(k * 5 % 13)];
        let group = |n: i32, shift: f64| (0..n).map(|k| image(k, shift)).collect::<Vec<_>>();
        let (correct, mistakes, attacks) = (group(60, 0.0), group(20, 4.0), group(40, -3.0));
        let single = |kind: &str, images: &[[f64; 2]]| Combination::fit(&correct, &[(kind, images.to_vec())]).unwrap();
        let both =
            Combination::fit(&correct, &[("misclassified", mistakes.clone()), ("pgd", attacks.clone())]).unwrap();
        assert_eq!((both.correct, both.kinds[0].images, both.kinds[1].images), (60, 20, 40));
        let [first, second] = [single("misclassified", &mistakes), single("pgd", &attacks)];
        assert_eq!(both.kinds[0], first.kinds[0]);
        for [heatmap, log_odds] in [[0.0, 0.0], [9.0, 2.0], [-4.0, 12.0]] {
            let [a, b] = [&first, &second].map(|of| of.score(heatmap, log_odds).exp());
            let expected = (a + b / 2.0).ln();
            assert!((both.score(heatmap, log_odds) - expected).abs() < 1e-12, "twice as many attacks count half");
        }
        assert!(both.score(1e6, -1e6).is_finite());
        assert!(Combination::fit(&correct, &[("pgd", Vec::new())]).is_err());
    }
}
