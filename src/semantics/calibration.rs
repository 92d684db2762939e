//! The runtime filter's arithmetic: suspicion, strata, the conformal threshold, the verdict.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fraction::Fraction;
use super::heatmap::Support;
use super::metrics::infinite_if_null;
use super::reasons::Reason;
use super::statistics::{Interval, beta_quantile};
use crate::error::{Error, ErrorKind, Result};

/// Which map stands for a kind of defect of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The class's own map.
    Own,
    /// The pool over all classes, since the class's own map has too little support.
    Pooled,
}

impl Source {
    /// The class's own map if it has the support, else the pool if that has, else none.
    pub fn choose(own: Support<'_>, pool: Support<'_>) -> Option<Self> {
        match (own, pool) {
            (Support::Supported(_), _) => Some(Self::Own),
            (_, Support::Supported(_)) => Some(Self::Pooled),
            _ => None,
        }
    }
}

/// The defect maps that a predicted class is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Defects {
    /// Where the false-alarm map comes from.
    pub false_alarm: Option<Source>,
    /// Where the adversarial map comes from; `None` as well where none was built.
    pub adversarial: Option<Source>,
}

impl Defects {
    /// Where images predicted as a class go that has the given support of its correct map and these defect maps: the stratum
    /// of their scores, or why they are rejected.
    ///
    /// # Errors
    /// [`Cause::NoCorrectMap`] or [`Cause::NoDefectMap`].
    pub fn route(self, correct: Support<'_>) -> Result<Stratum, Cause> {
        let sources = [self.false_alarm, self.adversarial];
        if correct.counts().is_none() {
            Err(Cause::NoCorrectMap)
        } else if sources.contains(&Some(Source::Pooled)) {
            Ok(Stratum::Pooled)
        } else if sources.contains(&Some(Source::Own)) {
            Ok(Stratum::Own)
        } else {
            Err(Cause::NoDefectMap)
        }
    }
}

/// Scores that share a threshold. A class belongs to one of them by the support of its defect maps, which is fixed before
/// calibration, so the threshold's guarantee holds in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stratum {
    /// Every defect map used is the class's own.
    Own,
    /// At least one defect map is the pool over classes.
    Pooled,
}

impl Stratum {
    /// Both strata.
    pub const ALL: [Self; 2] = [Self::Own, Self::Pooled];
}

impl fmt::Display for Stratum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Own => "own",
            Self::Pooled => "pooled",
        })
    }
}

/// The score of an image: its distance to the predicted class's correct map less the smaller of its distances to the
/// defect maps. Larger is more suspicious. `None` without a distance to the correct map or to any defect map.
pub fn suspicion(correct: Option<f64>, defects: &[Option<f64>]) -> Option<f64> {
    let nearest = defects.iter().flatten().copied().min_by(f64::total_cmp)?;
    Some(correct? - nearest)
}

/// A conformal threshold with what its calibration promises.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Scores above this are rejected; infinite (in JSON null) where so many correct images have no score that none is.
    #[serde(deserialize_with = "infinite_if_null")]
    pub threshold: f64,
    /// The number of correct calibration images behind it.
    pub n: u64,
    /// The threshold is their `rank`-th smallest score.
    pub rank: u64,
    /// The largest probability of rejecting a correct image, over calibration draws.
    pub false_reject_rate: f64,
    /// The 5 % quantile of the rate that one calibration realises.
    pub low: f64,
    /// The 95 % quantile of the rate that one calibration realises.
    pub high: f64,
}

impl Threshold {
    /// The ⌈(n + 1)(1 − α)⌉-th smallest of the n scores of correct calibration images (split conformal prediction; V. Vovk,
    /// A. Gammerman and G. Shafer, 2005). The realised rate follows Beta(n + 1 − rank, rank) where scores don't tie, and is
    /// smaller where they do.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] naming the n needed if n is too small for α, or if a score isn't a number.
    pub fn fit(scores: &[f64], alpha: Fraction) -> Result<Self> {
        let n = scores.len() as u64;
        if scores.iter().any(|score| score.is_nan()) {
            return Err(Error::new(ErrorKind::Data, "a calibration score isn't a number"));
        }
        // ⌈(n + 1)(1 − α)⌉ = n + 1 − ⌊(n + 1)α⌋
        let above = alpha.floor_of(n + 1);
        if above == 0 {
            let needed = alpha.smallest_whole() - 1;
            let what = format!("found {n} correct calibration images, a false-reject rate of {alpha} needs {needed}");
            return Err(Error::new(ErrorKind::Data, what).hint("calibrate on more images or allow a higher rate"));
        }
        let rank = n + 1 - above;
        let mut ascending = scores.to_vec();
        ascending.sort_by(f64::total_cmp);
        let Interval { low, high } = Self::band(n, rank);
        Ok(Self { threshold: ascending[rank as usize - 1], n, rank, false_reject_rate: alpha.value(), low, high })
    }

    /// The 5 % and 95 % quantiles of the false-reject rate realised by a threshold at the `rank`-th smallest of `n` scores.
    pub fn band(n: u64, rank: u64) -> Interval {
        let (a, b) = ((n + 1 - rank) as f64, rank as f64);
        Interval { low: beta_quantile(0.05, a, b), high: beta_quantile(0.95, a, b) }
    }
}

/// A threshold for each stratum that some class belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The threshold of [`Stratum::Own`], if any class belongs to it.
    pub own: Option<Threshold>,
    /// The threshold of [`Stratum::Pooled`], if any class belongs to it.
    pub pooled: Option<Threshold>,
}

impl Calibration {
    /// Fits thresholds to the scores of correct calibration images. `strata` are those that classes belong to.
    ///
    /// # Errors
    /// As [`Threshold::fit`], naming the stratum.
    pub fn fit(scores: &[(Stratum, f64)], strata: &[Stratum], alpha: Fraction) -> Result<Self> {
        let fit = |stratum: Stratum| -> Result<Option<Threshold>> {
            if !strata.contains(&stratum) {
                return Ok(None);
            }
            let scores: Vec<f64> = scores.iter().filter(|(of, _)| *of == stratum).map(|&(_, score)| score).collect();
            Threshold::fit(&scores, alpha).map(Some).map_err(|error| error.at(format!("stratum '{stratum}'")))
        };
        Ok(Self { own: fit(Stratum::Own)?, pooled: fit(Stratum::Pooled)? })
    }

    /// The threshold of a stratum.
    pub fn threshold(&self, stratum: Stratum) -> Option<&Threshold> {
        match stratum {
            Stratum::Own => self.own.as_ref(),
            Stratum::Pooled => self.pooled.as_ref(),
        }
    }

    /// How suspicious an image of `stratum` with this score is on a scale that all strata share: the score less the stratum's
    /// threshold, above 0 where it is rejected. None without a threshold.
    ///
    /// A stratum with an infinite threshold rejects nothing that has a score. Its images are less suspicious than all those of the other
    /// stratum, and stand in the order of their scores. No number lies below every difference, so there the differences m become
    /// m/(1 + |m|), which keeps their order and signs, and the unbounded stratum's scores s become s/(1 + |s|) − 2.
    pub fn margin(&self, stratum: Stratum, score: f64) -> Option<f64> {
        let threshold = self.threshold(stratum)?.threshold;
        let squeezed = |value: f64| value / (1.0 + value.abs());
        let is_unbounded = [self.own, self.pooled].iter().flatten().any(|found| found.threshold.is_infinite());
        Some(match (threshold.is_infinite(), is_unbounded) {
            (true, _) => squeezed(score) - 2.0,
            (false, true) => squeezed(score - threshold),
            (false, false) => score - threshold,
        })
    }

    /// The verdict on an image predicted as `prediction`, whose class takes the given [`route`](Defects::route), with the given
    /// score; none where it isn't defined. `reasons` is called for scores above the threshold only.
    pub fn verdict(
        &self,
        prediction: &str,
        route: Result<Stratum, Cause>,
        score: Option<f64>,
        reasons: impl FnOnce() -> Vec<Reason>,
    ) -> Verdict {
        let stratum = route.ok();
        let threshold = stratum.and_then(|stratum| self.threshold(stratum)).map(|threshold| threshold.threshold);
        // What isn't a number is above no threshold, and nothing is known of it.
        let score = score.filter(|score| stratum.is_some() && !score.is_nan());
        let cause = match (route, score, threshold) {
            (Err(cause), ..) => Some(cause),
            (_, None, _) => Some(Cause::NoDistance),
            (_, _, None) => Some(Cause::NoThreshold),
            (_, Some(score), Some(threshold)) => (score > threshold).then_some(Cause::AboveThreshold),
        };
        Verdict {
            prediction: prediction.to_owned(),
            score,
            threshold,
            stratum,
            verdict: if cause.is_some() { Decision::Reject } else { Decision::Accept },
            reasons: if cause == Some(Cause::AboveThreshold) { reasons() } else { Vec::new() },
            cause,
            parts: None,
        }
    }
}

/// Whether the filter lets a prediction pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// The prediction may be used.
    Accept,
    /// It shouldn't be.
    Reject,
}

/// Why an image is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The score is above its stratum's threshold.
    AboveThreshold,
    /// Too few correct images of the predicted class were seen when the maps were built.
    NoCorrectMap,
    /// There is no defect map to compare with.
    NoDefectMap,
    /// The image's map has no distance: all of its scores tie, or the stored map is 0 everywhere.
    NoDistance,
    /// The class's stratum was not calibrated.
    NoThreshold,
}

/// What the filter says of one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The predicted class.
    pub prediction: String,
    /// The suspicion score, larger is more suspicious; none where it isn't defined.
    pub score: Option<f64>,
    /// The stratum's threshold.
    pub threshold: Option<f64>,
    /// The stratum of the predicted class.
    pub stratum: Option<Stratum>,
    /// Accept or reject.
    pub verdict: Decision,
    /// The concept pairs that speak against the image, for scores above the threshold.
    pub reasons: Vec<Reason>,
    /// Why it is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// What the score is made of, where the filter combines heatmaps with the softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Parts>,
}

/// What a combined score is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Parts {
    /// The heatmap score.
    pub heatmap: f64,
    /// The largest softmax probability.
    pub max_softmax: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::{Counts, MINIMUM_SUPPORT};

    fn alpha(text: &str) -> Fraction {
        text.parse().unwrap()
    }

    #[test]
    fn the_threshold_is_the_conformal_rank() {
        let scores: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let fitted = Threshold::fit(&scores, alpha("0.05")).unwrap();
        assert_eq!((fitted.rank, fitted.threshold), (96, 96.0), "ceil(101 * 0.95) = 96");
        let fitted = Threshold::fit(&scores[..99], alpha("0.1")).unwrap();
        assert_eq!((fitted.rank, fitted.threshold), (90, 91.0), "99 scores from 2 to 100");
        assert!(fitted.low < 0.1 && fitted.high > 0.1);
        assert!(Threshold::fit(&[f64::NAN; 50], alpha("0.1")).is_err());
    }

    #[test]
    fn too_few_images_are_an_error_that_names_the_number_needed() {
        let scores = [(Stratum::Own, 0.0); 18];
        let error = Calibration::fit(&scores, &[Stratum::Own], alpha("0.05")).unwrap_err();
        let expected = "stratum 'own': found 18 correct calibration images, a false-reject rate of 0.05 needs 19";
        assert_eq!(error.to_string(), expected);
        let enough = [(Stratum::Own, 0.0); 19];
        assert!(Calibration::fit(&enough, &[Stratum::Own], alpha("0.05")).unwrap().pooled.is_none());
        assert!(Calibration::fit(&enough, &Stratum::ALL, alpha("0.05")).is_err());
    }

    #[test]
    fn margins_keep_the_order_of_scores_where_a_threshold_is_infinite() {
        let scores = |of: fn(usize) -> f64| (0..19).map(of);
        let fit = |pooled: fn(usize) -> f64| {
            let own = scores(|k| k as f64).map(|score| (Stratum::Own, score));
            let pooled = scores(pooled).map(|score| (Stratum::Pooled, score));
            Calibration::fit(&own.chain(pooled).collect::<Vec<_>>(), &Stratum::ALL, alpha("0.1")).unwrap()
        };
        let bounded = fit(|k| 10.0 * k as f64);
        assert_eq!(bounded.margin(Stratum::Own, 20.0), Some(3.0), "rank 18 of 19");
        assert_eq!(bounded.margin(Stratum::Pooled, 170.0), Some(0.0));
        // Nine of nineteen have no distance: ten is the last rank with one.
        let unbounded = fit(|k| if k < 10 { k as f64 } else { f64::INFINITY });
        let rising = [(Stratum::Pooled, -1e6), (Stratum::Pooled, 0.0), (Stratum::Pooled, 1e6)];
        let rising = rising.into_iter().chain([-1e6, 16.0, 17.0, 17.5, 1e6].map(|score| (Stratum::Own, score)));
        let margins: Vec<f64> = rising.map(|(of, score)| unbounded.margin(of, score).unwrap()).collect();
        assert!(margins.windows(2).all(|pair| pair[0] < pair[1]), "{margins:?}");
        assert_eq!((margins[5], margins[6] > 0.0), (0.0, true), "what is at its threshold is kept");
        assert_eq!(Calibration { pooled: None, ..bounded }.margin(Stratum::Pooled, 0.0), None);
    }

    #[test]
    fn only_the_map_without_support_falls_back() {
        let (few, many) = (Counts::empty(2).unwrap(), Counts::new(2, 9, vec![0, 9, 0, 0]).unwrap());
        let (few, many) = (few.support(MINIMUM_SUPPORT), many.support(MINIMUM_SUPPORT));
        assert_eq!(Source::choose(many, few), Some(Source::Own));
        assert_eq!(Source::choose(few, many), Some(Source::Pooled));
        assert_eq!(Source::choose(few, few), None);
        let route = |false_alarm, adversarial| Defects { false_alarm, adversarial }.route(many);
        assert_eq!(route(Some(Source::Own), None), Ok(Stratum::Own));
        assert_eq!(route(Some(Source::Own), Some(Source::Pooled)), Ok(Stratum::Pooled));
        assert_eq!(route(None, None), Err(Cause::NoDefectMap));
        let own = Defects { false_alarm: Some(Source::Own), adversarial: None };
        assert_eq!(own.route(few), Err(Cause::NoCorrectMap));
    }

    #[test]
    fn verdicts_name_their_cause() {
        let scores = [(Stratum::Own, 0.1); 19];
        let calibration = Calibration::fit(&scores, &[Stratum::Own], alpha("0.05")).unwrap();
        let reason = || vec![Reason { stronger: "a".into(), weaker: "b".into(), contribution: 0.1 }];
        let verdict = |route, correct, defects: &[Option<f64>]| {
            calibration.verdict("cat", route, suspicion(correct, defects), reason)
        };
        let own = Ok(Stratum::Own);
        let accepted = verdict(own, Some(0.5), &[Some(0.4), None]);
        assert_eq!((accepted.verdict, accepted.cause), (Decision::Accept, None), "0.1 isn't above 0.1");
        let rejected = verdict(own, Some(0.5), &[Some(0.4), Some(0.3)]);
        assert_eq!((rejected.verdict, rejected.cause), (Decision::Reject, Some(Cause::AboveThreshold)));
        let json = serde_json::to_value(&rejected).unwrap();
        assert_eq!(json["stratum"], "own");
        assert_eq!(json["verdict"], "reject");
        assert_eq!(json["reasons"][0]["stronger"], "a");
        assert_eq!(json["cause"], "above-threshold");
        let cause = |verdict: Verdict| (verdict.verdict == Decision::Reject).then_some(verdict.cause).flatten();
        let no_map = Err(Cause::NoCorrectMap);
        assert_eq!(cause(verdict(no_map, Some(0.1), &[Some(0.1)])), Some(Cause::NoCorrectMap));
        assert_eq!(cause(verdict(own, None, &[Some(0.1)])), Some(Cause::NoDistance));
        assert_eq!(cause(verdict(own, Some(0.1), &[None])), Some(Cause::NoDistance));
        assert_eq!(cause(verdict(own, Some(f64::NAN), &[Some(0.1)])), Some(Cause::NoDistance));
        assert_eq!(cause(verdict(Ok(Stratum::Pooled), Some(0.1), &[Some(0.1)])), Some(Cause::NoThreshold));
    }
}
