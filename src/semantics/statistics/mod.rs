//! Intervals, exact tests and the bootstrap.
//!
//! Everything here is a function of counts or of values in a fixed order, so no result depends on threads or on the order in
//! which images came.

mod bootstrap;
mod exact;
mod ranks;

pub(crate) use bootstrap::drawn_anew;
pub use bootstrap::{Bootstrap, percentile};
pub use exact::{BenjaminiHochberg, FisherExact, benjamini_hochberg, mcnemar_exact};
pub use ranks::{RankTest, correlation_interval, null_scale, rank_test, two_sided_p};

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF, Normal};

/// The confidence of every interval the program prints.
pub const CONFIDENCE: f64 = 0.95;

/// A closed interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// The interval of the negated quantity.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { low: -self.high, high: -self.low }
    }
}

/// A figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure itself, from all the data.
    pub value: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end of its interval.
    pub high: f64,
}

impl Estimate {
    /// `value` with its interval.
    pub fn new(value: f64, Interval { low, high }: Interval) -> Self {
        Self { value, low, high }
    }

    /// The share of `successes` in `n` with Wilson's 95 % interval, or `None` of nothing.
    pub fn of_share(successes: u64, n: u64) -> Option<Self> {
        (n > 0).then(|| Self::of_some(successes, n))
    }

    /// The same of at least one; of nothing, which isn't expected, the share is one half in [0, 1].
    pub(crate) fn of_some(successes: u64, n: u64) -> Self {
        Self::new(share(successes, n), wilson(successes, n, CONFIDENCE))
    }
}

/// Wilson's score interval of a share, without continuity correction (E. B. Wilson, 1927). Nothing is known of no images: [0, 1].
pub fn wilson(successes: u64, n: u64, confidence: f64) -> Interval {
    if n == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, p) = (n as f64, successes as f64 / n as f64);
    let z = two_sided_z(confidence);
    let z2 = z * z / n;
    let centre = (p + z2 / 2.0) / (1.0 + z2);
    let half = z * ((p * (1.0 - p) + z2 / 4.0) / n).sqrt() / (1.0 + z2);
    // At p = 0 and p = 1 one end is exactly p; rounding must not put it elsewhere.
    Interval {
        low: if p == 0.0 { 0.0 } else { (centre - half).max(0.0) },
        high: if p == 1.0 { 1.0 } else { (centre + half).min(1.0) },
    }
}

/// Newcombe's hybrid score interval of the difference `a/n1 − b/n2` of two independent shares (R. G. Newcombe, Statistics in
/// Medicine 17:873–890, 1998, method 10).
pub fn newcombe(a: u64, n1: u64, b: u64, n2: u64, confidence: f64) -> Interval {
    square_and_add(share(a, n1), wilson(a, n1, confidence), share(b, n2), wilson(b, n2, confidence), 0.0)
}

/// The images of two paired maps at one cell: the same n images, seen twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paired {
    /// The predicate holds both times.
    pub both: u64,
    /// It holds the first time only.
    pub first_only: u64,
    /// It holds the second time only.
    pub second_only: u64,
    /// It holds neither time.
    pub neither: u64,
}

/// Newcombe's score interval of the difference (first share − second share) of two paired shares (R. G. Newcombe, Statistics
/// in Medicine 17:2635–2650, 1998, method 10): Wilson's intervals of the two shares joined by their correlation φ, whose
/// numerator is drawn towards 0 by n/2 where it is positive.
pub fn newcombe_paired(table: Paired, confidence: f64) -> Interval {
    let Paired { both, first_only, second_only, neither } = table;
    let (first, second) = (both + first_only, both + second_only);
    let n = first + second_only + neither;
    let [a, b, c, d] = [both, first_only, second_only, neither].map(|count| count as f64);
    let product = (a + b) * (c + d) * (a + c) * (b + d);
    let agreement = a * d - b * c;
    let numerator = if agreement > 0.0 { (agreement - n as f64 / 2.0).max(0.0) } else { agreement };
    let phi = if product > 0.0 { numerator / product.sqrt() } else { 0.0 };
    square_and_add(share(first, n), wilson(first, n, confidence), share(second, n), wilson(second, n, confidence), phi)
}

/// The interval of p − q from those of p and q, whose estimates correlate by `phi`.
fn square_and_add(p: f64, of_p: Interval, q: f64, of_q: Interval, phi: f64) -> Interval {
    let reach = |x: f64, y: f64| (x * x - 2.0 * phi * x * y + y * y).max(0.0).sqrt();
    Interval {
        low: (p - q - reach(p - of_p.low, of_q.high - q)).max(-1.0),
        high: (p - q + reach(of_p.high - p, q - of_q.low)).min(1.0),
    }
}

/// The `q` quantile of Beta(a, b).
///
/// # Panics
/// If a or b isn't positive or q isn't in [0, 1].
pub fn beta_quantile(q: f64, a: f64, b: f64) -> f64 {
    match Beta::new(a, b) {
        Ok(beta) => beta.inverse_cdf(q),
        Err(error) => panic!("Beta({a}, {b}): {error}"),
    }
}

/// A share of nothing counts as one half, the middle of the interval [0, 1] that is known of it.
fn share(successes: u64, n: u64) -> f64 {
    if n == 0 { 0.5 } else { successes as f64 / n as f64 }
}

/// The standard normal's quantile that leaves (1 − confidence)/2 above it.
fn two_sided_z(confidence: f64) -> f64 {
    // The interval of every cell of every map asks for the same one.
    const Z_95: f64 = 1.959_963_984_540_054;
    if confidence == CONFIDENCE { Z_95 } else { Normal::standard().inverse_cdf(0.5 + confidence / 2.0) }
}
