//! What a filter is measured against: suspicion scores that need no heatmap.

use std::fmt;

/// A suspicion score of the classifier's logits. Larger is more suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Baseline {
    /// Minus the maximum softmax probability (D. Hendrycks and K. Gimpel, 2017).
    MaximumSoftmax,
    /// Minus the largest logit (D. Hendrycks et al., 2022).
    MaximumLogit,
    /// −ln Σ exp(logit), the energy at temperature 1 (W. Liu et al., 2020).
    Energy,
}

impl Baseline {
    /// All baselines that need logits alone.
    pub const ALL: [Self; 3] = [Self::MaximumSoftmax, Self::MaximumLogit, Self::Energy];

    /// The name in outputs.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaximumSoftmax => "max-softmax",
            Self::MaximumLogit => "max-logit",
            Self::Energy => "energy",
        }
    }

    /// The suspicion of one image with the given logits, in f64.
    pub fn suspicion(self, logits: &[f32]) -> f64 {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let largest = f64::from(largest);
        // Shifted by the largest logit, so that no exponential overflows.
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
        match self {
            Self::MaximumSoftmax => -1.0 / sum,
            Self::MaximumLogit => -largest,
            Self::Energy => -(largest + sum.ln()),
        }
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// ln(p/(1 − p)) of the largest softmax probability p of one image with the given logits, in f64: the largest logit less the log of the
/// others' summed exponentials. It ranks images as p does and still tells those apart whose p rounds to 1.
pub fn log_odds(logits: &[f32]) -> f64 {
    let top = (0..logits.len()).fold(0, |best, class| if logits[class] > logits[best] { class } else { best });
    let others = || (0..logits.len()).filter(|&class| class != top).map(|class| f64::from(logits[class]));
    let rival = others().fold(f64::NEG_INFINITY, f64::max);
    // Shifted by the largest of them, so that no exponential overflows.
    f64::from(logits[top]) - rival - others().map(|logit| (logit - rival).exp()).sum::<f64>().ln()
}

/// How strongly CLIP disagrees with a prediction: its best class's score less the predicted class's, 0 where it agrees.
/// `class_scores` are one image's cosines in clip space.
pub fn clip_disagreement(class_scores: &[f32], prediction: usize) -> f64 {
    let best = class_scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    f64::from(best) - f64::from(class_scores[prediction])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspicions_follow_their_definitions() {
        let logits = [1.0, 3.0, -2.0];
        let sum = 1f64.exp() + 3f64.exp() + (-2f64).exp();
        assert!((Baseline::MaximumSoftmax.suspicion(&logits) + 3f64.exp() / sum).abs() < 1e-12);
        assert!((Baseline::Energy.suspicion(&logits) + sum.ln()).abs() < 1e-12);
        assert_eq!(Baseline::MaximumLogit.suspicion(&logits), -3.0);
        for baseline in Baseline::ALL {
            assert!(baseline.suspicion(&[1e4, -1e4]).is_finite(), "{baseline}");
            assert!(baseline.suspicion(&[0.1, 0.0]) > baseline.suspicion(&[9.0, 0.0]), "{baseline}");
        }
        let p = 3f64.exp() / sum;
        assert!((log_odds(&logits) - (p / (1.0 - p)).ln()).abs() < 1e-12);
        assert_eq!(log_odds(&[2.0, 2.0]), 0.0);
        assert_eq!(log_odds(&[-1e4, 1e4]), 2e4);
        assert_eq!(clip_disagreement(&[0.1, 0.3], 1), 0.0);
        assert_eq!(clip_disagreement(&[0.25, 0.75], 0), 0.5);
    }
}
