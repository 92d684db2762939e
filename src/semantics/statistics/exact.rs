//! Exact tests of counts, and the correction for many of them.

use std::cmp::Ordering;

use rayon::prelude::*;
use statrs::function::factorial::ln_factorial;

/// Terms this small beside the sum no longer change it.
const NEGLIGIBLE: f64 = 1e-18;

/// How much likelier than the observed table another may be by rounding alone, as in R's `fisher.test`.
const SLACK: f64 = 1e-7;

/// Fisher's exact test for many tables over the same two groups, such as the cells of two maps.
///
/// A p-value costs a few dozen multiplications: the hypergeometric probabilities are walked outwards from the observed table
/// by their ratios until they no longer count, and the place where the other tail begins is found by bisection.
#[derive(Debug, Clone)]
pub struct FisherExact {
    n1: u64,
    n2: u64,
    ln_factorial: Vec<f64>,
}

impl FisherExact {
    /// Prepares the test for groups of `n1` and `n2`.
    pub fn new(n1: u64, n2: u64) -> Self {
        Self { n1, n2, ln_factorial: (0..=n1 + n2).map(ln_factorial).collect() }
    }

    /// The two-sided p of `a` successes in the first group and `b` in the second: the probability, given the margins, of all
    /// tables no likelier than this one.
    ///
    /// # Panics
    /// If a is above n1 or b above n2.
    pub fn two_sided(&self, a: u64, b: u64) -> f64 {
        assert!(a <= self.n1 && b <= self.n2, "{a} of {} and {b} of {} aren't counts", self.n1, self.n2);
        let k = a + b;
        let (first, last) = (k.saturating_sub(self.n2), k.min(self.n1));
        let limit = self.ln_probability(a, k) + SLACK.ln_1p();
        let mode = (((k + 1) as u128 * (self.n1 + 1) as u128) / (self.n1 + self.n2 + 2) as u128) as u64;
        let mode = mode.clamp(first, last);
        let own = self.tail(a, k, a <= mode);
        // Probabilities fall from the mode to either end: the first that is small enough starts the other tail. The search
        // begins at the mode itself, since two tables may share the peak.
        let other = match a.cmp(&mode) {
            Ordering::Equal => return 1.0,
            Ordering::Less => {
                let start = partition(mode, last + 1, |x| self.ln_probability(x, k) > limit);
                if start > last { 0.0 } else { self.tail(start, k, false) }
            }
            Ordering::Greater => {
                let steps = partition(0, mode - first + 1, |step| self.ln_probability(mode - step, k) > limit);
                if steps > mode - first { 0.0 } else { self.tail(mode - steps, k, true) }
            }
        };
        (own + other).min(1.0)
    }

    /// The p-values of `tables` (successes in the first and in the second group), in parallel.
    pub fn two_sided_all(&self, tables: &[(u64, u64)]) -> Vec<f64> {
        tables.par_iter().with_min_len(256).map(|&(a, b)| self.two_sided(a, b)).collect()
    }

    /// ln P(x of the k successes fall into the first group).
    fn ln_probability(&self, x: u64, k: u64) -> f64 {
        let choose = |n: u64, r: u64| {
            self.ln_factorial[n as usize] - self.ln_factorial[r as usize] - self.ln_factorial[(n - r) as usize]
        };
        choose(self.n1, x) + choose(self.n2, k - x) - choose(self.n1 + self.n2, k)
    }

    /// The sum of the probabilities from `start` downwards or upwards, away from the mode.
    fn tail(&self, start: u64, k: u64, down: bool) -> f64 {
        let (first, last) = (k.saturating_sub(self.n2), k.min(self.n1));
        let (mut x, mut term, mut sum) = (start, 1.0, 1.0);
        while term > sum * NEGLIGIBLE && x != if down { first } else { last } {
            // P(x + 1) / P(x) = (n1 − x)(k − x) / ((x + 1)(n2 − k + x + 1)), and the reverse downwards.
            term *= if down {
                (x as f64 * (self.n2 + x - k) as f64) / ((self.n1 - x + 1) as f64 * (k - x + 1) as f64)
            } else {
                ((self.n1 - x) as f64 * (k - x) as f64) / ((x + 1) as f64 * (self.n2 + x + 1 - k) as f64)
            };
            sum += term;
            x = if down { x - 1 } else { x + 1 };
        }
        sum * self.ln_probability(start, k).exp()
    }
}

/// The first value in `low..high` for which `before` no longer holds, or `high`.
fn partition(mut low: u64, mut high: u64, before: impl Fn(u64) -> bool) -> u64 {
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// McNemar's exact two-sided p from the two discordant counts: twice the smaller binomial tail at one half, at most 1.
pub fn mcnemar_exact(first_only: u64, second_only: u64) -> f64 {
    let (n, k) = (first_only + second_only, first_only.min(second_only));
    if first_only == second_only {
        return 1.0;
    }
    let ln_term = ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k) - n as f64 * std::f64::consts::LN_2;
    let (mut term, mut sum) = (1.0, 1.0);
    for x in (1..=k).rev() {
        term *= x as f64 / (n - x + 1) as f64;
        sum += term;
        if term < sum * NEGLIGIBLE {
            break;
        }
    }
    (2.0 * sum * ln_term.exp()).min(1.0)
}

/// What [`benjamini_hochberg`] makes of a family of tests, in the tests' order.
#[derive(Debug, Clone, PartialEq)]
pub struct BenjaminiHochberg {
    /// The adjusted p-values: the smallest level at which each test would be flagged.
    pub adjusted: Vec<f64>,
    /// Whether each test is flagged at the given level.
    pub flagged: Vec<bool>,
}

/// Benjamini and Hochberg's step-up procedure (1995): among the flagged tests of one family at most the share `level` is
/// expected to be false.
pub fn benjamini_hochberg(p: &[f64], level: f64) -> BenjaminiHochberg {
    let m = p.len();
    let mut order: Vec<usize> = (0..m).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![1.0; m];
    let mut smallest: f64 = 1.0;
    let mut cut = 0;
    for (rank, &test) in order.iter().enumerate().rev() {
        // The ratio first: it is at least 1, so no adjusted p is below its p by rounding.
        smallest = smallest.min(p[test] * (m as f64 / (rank + 1) as f64));
        adjusted[test] = smallest;
        // Compared as Benjamini and Hochberg wrote it, so that p exactly at its step is flagged whatever m / rank rounds to.
        if cut == 0 && p[test] <= level * ((rank + 1) as f64 / m as f64) {
            cut = rank + 1;
        }
    }
    let mut flagged = vec![false; m];
    order[..cut].iter().for_each(|&test| flagged[test] = true);
    BenjaminiHochberg { adjusted, flagged }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every probability of the hypergeometric distribution, from whole numbers.
    fn by_integers(a: u64, n1: u64, b: u64, n2: u64) -> f64 {
        let choose = |n: u64, r: u64| (0..r).fold(1_u128, |ways, i| ways * u128::from(n - i) / u128::from(i + 1));
        let k = a + b;
        let ways: Vec<u128> = (k.saturating_sub(n2)..=k.min(n1)).map(|x| choose(n1, x) * choose(n2, k - x)).collect();
        let observed = choose(n1, a) * choose(n2, b);
        let extreme: u128 = ways.iter().filter(|&&way| way <= observed).sum();
        extreme as f64 / ways.iter().sum::<u128>() as f64
    }

    #[test]
    fn fisher_agrees_with_whole_numbers_on_every_small_table() {
        for (n1, n2) in [(0, 3), (1, 1), (5, 5), (3, 11), (12, 7), (20, 20)] {
            let test = FisherExact::new(n1, n2);
            for a in 0..=n1 {
                for b in 0..=n2 {
                    let (found, expected) = (test.two_sided(a, b), by_integers(a, n1, b, n2));
                    assert!(
                        (found - expected).abs() <= 1e-12 * expected.max(1e-3),
                        "{a}/{n1} {b}/{n2}: {found} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_adjusted_p_is_below_its_p() {
        for m in 1..=60 {
            let p: Vec<f64> = (1..=m).map(|i| f64::from(i) / 61.0).collect();
            let found = benjamini_hochberg(&p, 0.05);
            assert!(found.adjusted.iter().zip(&p).all(|(adjusted, p)| adjusted >= p), "{m} tests");
        }
    }
}
