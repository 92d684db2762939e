//! Logistic regression of a yes or no on a few features.

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

use crate::error::{Error, ErrorKind, Result};

/// λ of the penalty λ/2·‖w‖² on the weights of standardised features: about what one example says, and enough that the weights stay
/// finite where features part the groups without an overlap.
pub const RIDGE: f64 = 1.0;

/// Newton steps that a fit takes at most; a few are usual.
const STEPS: usize = 200;

/// The log-odds of yes as a weighted sum of features.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    /// What is added to the sum.
    pub intercept: f64,
    /// Each feature's weight.
    pub weights: Vec<f64>,
}

impl Logistic {
    /// Fits the weights to examples, each of the same number of finite features: minimises −log-likelihood + [`RIDGE`]/2·‖w‖², w the
    /// weights of the features less their mean over their standard deviation, by Newton's method in f64; the intercept isn't
    /// penalised. A feature that doesn't vary gets the weight 0. Sums are in the order of the examples.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] without examples of both kinds, or if the fit doesn't converge, as with features that aren't finite.
    pub fn fit<const F: usize>(features: &[[f64; F]], positive: &[bool]) -> Result<Self> {
        let positives = positive.iter().filter(|&&positive| positive).count();
        if positives == 0 || positives == positive.len() || features.len() != positive.len() {
            let what = format!(
                "a logistic fit needs examples of both kinds, found {positives} of one among {} with {} rows of features",
                positive.len(),
                features.len()
            );
            return Err(Error::new(ErrorKind::Data, what));
        }
        let n = features.len() as f64;
        let mean: [f64; F] = std::array::from_fn(|f| features.iter().map(|row| row[f]).sum::<f64>() / n);
        let spread: [f64; F] = std::array::from_fn(|f| {
            let is_constant = features.iter().all(|row| row[f] == features[0][f]);
            let variance = features.iter().map(|row| (row[f] - mean[f]).powi(2)).sum::<f64>() / n;
            if is_constant { f64::INFINITY } else { variance.sqrt() }
        });
        // A leading 1 stands for the intercept.
        let value = |row: &[f64; F], f: usize| if f == 0 { 1.0 } else { (row[f - 1] - mean[f - 1]) / spread[f - 1] };
        let design = Mat::from_fn(features.len(), F + 1, |row, f| value(&features[row], f));
        let target = Mat::from_fn(features.len(), 1, |row, _| f64::from(u8::from(positive[row])));
        let w = newton(&design, &target)?;
        let weights: Vec<f64> = (0..F).map(|f| w[(f + 1, 0)] / spread[f]).collect();
        let shift: f64 = weights.iter().zip(mean).map(|(weight, mean)| weight * mean).sum();
        Ok(Self { intercept: w[(0, 0)] - shift, weights })
    }

    /// The log-odds of yes for an example.
    pub fn log_odds(&self, features: &[f64]) -> f64 {
        self.intercept + self.weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum::<f64>()
    }
}

/// The minimiser of the penalised negative log-likelihood; column 0 of `design` isn't penalised.
fn newton(design: &Mat<f64>, target: &Mat<f64>) -> Result<Mat<f64>> {
    let failed = || Error::new(ErrorKind::Data, "the logistic fit doesn't converge: are all features finite?");
    let penalty = |f: usize| if f == 0 { 0.0 } else { RIDGE };
    let loss = |w: &Mat<f64>| {
        let eta = design * w;
        // ln(1 + e^η) − y·η without overflow
        let term = |row: usize| {
            eta[(row, 0)].max(0.0) + (-eta[(row, 0)].abs()).exp().ln_1p() - target[(row, 0)] * eta[(row, 0)]
        };
        let ridge: f64 = (0..w.nrows()).map(|f| penalty(f) * w[(f, 0)].powi(2)).sum();
        (0..design.nrows()).map(term).sum::<f64>() + ridge / 2.0
    };
    let mut w = Mat::<f64>::zeros(design.ncols(), 1);
    let mut value = loss(&w);
    for _ in 0..STEPS {
        let eta = design * &w;
        let p = Mat::from_fn(design.nrows(), 1, |row, _| 1.0 / (1.0 + (-eta[(row, 0)]).exp()));
        let mut gradient = design.transpose() * (&p - target);
        let weighted =
            Mat::from_fn(design.nrows(), design.ncols(), |row, f| p[(row, 0)] * (1.0 - p[(row, 0)]) * design[(row, f)]);
        let mut curvature = design.transpose() * weighted;
        for f in 0..w.nrows() {
            gradient[(f, 0)] += penalty(f) * w[(f, 0)];
            curvature[(f, f)] += penalty(f);
        }
        let direction = curvature.llt(Side::Lower).map_err(|_| failed())?.solve(&gradient);
        // Twice what the step can gain at most; a smaller gain is lost in the loss's own rounding.
        let decrement: f64 = (0..w.nrows()).map(|f| gradient[(f, 0)] * direction[(f, 0)]).sum();
        if !decrement.is_finite() {
            break;
        }
        if decrement <= 1e-24 * (1.0 + value) {
            return Ok(w);
        }
        let mut step = 1.0;
        // Near the minimum the loss no longer tells points apart, and full steps converge.
        if decrement > 1e-10 * (1.0 + value) {
            while loss(&(&w - &direction * faer::Scale(step))) > value - step * decrement / 4.0 {
                step /= 2.0;
            }
        }
        w = &w - &direction * faer::Scale(step);
        value = loss(&w);
    }
    Err(failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_vanishes() {
        let features: Vec<[f64; 2]> = (0..60).map(|k| [f64::from(k * 7 % 11), f64::from(k * k % 13) * 1e-3]).collect();
        let positive: Vec<bool> = (0..60).map(|k| k % 11 + k * 7 % 5 > 7).collect();
        let fitted = Logistic::fit(&features, &positive).unwrap();
        let residual =
            |row: usize| 1.0 / (1.0 + (-fitted.log_odds(&features[row])).exp()) - f64::from(u8::from(positive[row]));
        assert!((0..60).map(residual).sum::<f64>().abs() < 1e-9, "the intercept isn't penalised");
        for f in 0..2 {
            let mean = features.iter().map(|row| row[f]).sum::<f64>() / 60.0;
            let spread = (features.iter().map(|row| (row[f] - mean).powi(2)).sum::<f64>() / 60.0).sqrt();
            let slope: f64 = (0..60).map(|row| residual(row) * (features[row][f] - mean) / spread).sum();
            assert!((slope + RIDGE * fitted.weights[f] * spread).abs() < 1e-8, "{f}: {slope}");
        }
    }

    #[test]
    fn groups_without_an_overlap_get_finite_weights_whatever_their_sizes_and_units() {
        for (unit, positives) in [(1.0, 20), (1e9, 20), (1e-9, 20), (1.0, 1), (1.0, 39)] {
            let features: Vec<[f64; 2]> = (0..40).map(|k| [unit * f64::from(k), 3.0]).collect();
            let positive: Vec<bool> = (0..40).map(|k| k >= 40 - positives).collect();
            let fitted = Logistic::fit(&features, &positive).unwrap();
            assert!(fitted.weights[0] > 0.0 && fitted.weights[0].is_finite(), "{fitted:?}");
            assert_eq!(fitted.weights[1], 0.0, "what doesn't vary says nothing");
            let expected: f64 = features.iter().map(|row| 1.0 / (1.0 + (-fitted.log_odds(row)).exp())).sum();
            assert!((expected - f64::from(positives)).abs() < 1e-8, "{expected} of {positives}");
        }
    }

    #[test]
    fn what_cannot_be_fitted_is_an_error() {
        assert!(Logistic::fit(&[[1.0], [2.0]], &[true, true]).is_err());
        assert!(Logistic::fit::<1>(&[], &[]).is_err());
        assert!(Logistic::fit(&[[1.0], [f64::INFINITY], [0.0]], &[true, false, true]).is_err());
        assert!(Logistic::fit(&[[1.0], [f64::NAN], [0.0]], &[true, false, true]).is_err());
    }
}
