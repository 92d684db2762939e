//! Whether scores tell two groups apart, and whether two scores move together.

use statrs::function::erf::erfc;

use super::{Interval, percentile, two_sided_z};

/// How well a score tells a first group from a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankTest {
    /// The probability that one of the first group scores above one of the second of the same stratum, ties counting one half.
    pub auroc: f64,
    /// How many standard errors the statistic lies above what it is without any difference; 0 if all scores tie.
    pub z: f64,
    /// The two-sided p of there being no difference.
    pub p: f64,
}

/// Wilcoxon's and Mann and Whitney's rank-sum test over strata, each a first and a second group: groups are compared within
/// their stratum alone and the statistics U added. The p is the normal approximation's, corrected for ties and without continuity
/// correction. None if no stratum has both groups.
pub fn rank_test(strata: &[[Vec<f64>; 2]]) -> Option<RankTest> {
    let (mut wins, mut pairs, mut variance) = (0.0, 0.0, 0.0);
    for [first, second] in strata.iter().filter(|groups| groups.iter().all(|group| !group.is_empty())) {
        let of = |group: &[f64], is_first: bool| group.iter().map(|&score| (score + 0.0, is_first)).collect::<Vec<_>>();
        let mut scores = [of(first, true), of(second, false)].concat();
        scores.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let [m, n] = [first, second].map(|group| group.len() as f64);
        let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0.0);
        for run in scores.chunk_by(|a, b| a.0 == b.0) {
            let length = run.len() as f64;
            let in_first = run.iter().filter(|(_, is_first)| *is_first).count() as f64;
            rank_sum += in_first * (before + (length + 1.0) / 2.0);
            ties += length * length * length - length;
            before += length;
        }
        let all = m + n;
        wins += rank_sum - m * (m + 1.0) / 2.0;
        pairs += m * n;
        variance += m * n / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    }
    let z = if variance > 0.0 { (wins - pairs / 2.0) / variance.sqrt() } else { 0.0 };
    (pairs > 0.0).then(|| RankTest { auroc: wins / pairs, z, p: two_sided_p(z) })
}

/// The probability that a standard normal variable lies at least as far from 0 as `z`.
pub fn two_sided_p(z: f64) -> f64 {
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// The spread of many test statistics, most of which are ordinary: the median of |z| over that of a standard normal variable, at
/// least 1. Where tests depend on each other the spread of ordinary ones can be far from 1, and z over it is what tells the others
/// (the empirical null; B. Efron, Journal of the American Statistical Association 99:96–104, 2004).
pub fn null_scale(z: &[f64]) -> f64 {
    /// The median of |z| of a standard normal variable.
    const MEDIAN: f64 = 0.674_489_750_196_081_7;
    let mut sizes: Vec<f64> = z.iter().map(|z| z.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    percentile(&sizes, 0.5).map_or(1.0, |median| (median / MEDIAN).max(1.0))
}

/// Fisher's interval of a correlation r of n pairs (R. A. Fisher, 1921): the normal interval of its inverse hyperbolic tangent,
/// whose standard error is 1/√(n − 3). Of fewer than four pairs nothing is known: [−1, 1].
pub fn correlation_interval(r: f64, n: u64, confidence: f64) -> Interval {
    if n < 4 {
        return Interval { low: -1.0, high: 1.0 };
    }
    let (z, half) = (r.atanh(), two_sided_z(confidence) / ((n - 3) as f64).sqrt());
    Interval { low: (z - half).tanh(), high: (z + half).tanh() }
}
