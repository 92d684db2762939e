//! How a filter turns distances and logits into a score.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::diagnosis::ScoreMode;
use super::distance::Distance;
use super::logistic::Logistic;
use crate::error::Result;

/// The log-odds that a prediction is wrong, from the image's heatmap score and its largest softmax probability p:
/// intercept + heatmap · (heatmap score) + log_odds · ln(p/(1 − p)).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Combination {
    /// The intercept.
    pub intercept: f64,
    /// The weight of the heatmap score.
    pub heatmap: f64,
    /// The weight of the log-odds of the largest softmax probability.
    pub log_odds: f64,
    /// Correctly classified images that it was fitted to.
    pub correct: u64,
    /// Misclassified images that it was fitted to.
    pub misclassified: u64,
}

impl Combination {
    /// Fits the weights to images of which `wrong` marks the misclassified, each given as its heatmap score and its log-odds.
    ///
    /// # Errors
    /// As [`Logistic::fit`].
    pub fn fit(images: &[[f64; 2]], wrong: &[bool]) -> Result<Self> {
        let Logistic { intercept, weights } = Logistic::fit(images, wrong)?;
        let misclassified = wrong.iter().filter(|&&wrong| wrong).count() as u64;
        Ok(Self {
            intercept,
            heatmap: weights[0],
            log_odds: weights[1],
            correct: wrong.len() as u64 - misclassified,
            misclassified,
        })
    }

    /// The combined score; larger is more suspicious.
    pub fn score(&self, heatmap: f64, log_odds: f64) -> f64 {
        self.intercept + self.heatmap * heatmap + self.log_odds * log_odds
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
        self.combination.map(|_| configuration(self.distance, self.scores, false))
    }

    /// The score of an image with the given heatmap score and log-odds of the largest softmax probability. Larger is more
    /// suspicious; none without a heatmap score.
    pub fn score(&self, heatmap: Option<f64>, log_odds: f64) -> Option<f64> {
        let heatmap = heatmap?;
        Some(self.combination.map_or(heatmap, |combination| combination.score(heatmap, log_odds)))
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
