//! The bootstrap: how far a figure would move had other images of the same kind been drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use super::{CONFIDENCE, Estimate, Interval, rank_test};

/// A percentile bootstrap (B. Efron, 1979).
///
/// Replicate r draws from stream r of one counter-based generator, so replicates may run on any number of threads. Results
/// depend on the order of the images: callers give them in content-hash order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// How often the images are drawn anew.
    pub replicates: u32,
    /// The generator's seed.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { replicates: 1000, seed: 0x4865_6174_6c65_6e73 }
    }
}

impl Bootstrap {
    /// How often each image is drawn in one replicate: a multinomial draw for each stratum of `sizes`, with as many draws as
    /// the stratum has images.
    pub fn draw(&self, replicate: u32, sizes: &[usize]) -> Vec<Vec<u32>> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(u64::from(replicate));
        let mut stratum = |&size: &usize| {
            let mut times = vec![0; size];
            for _ in 0..size {
                // The high half of a 64 x 64 bit product is uniform on 0..size to within size / 2^64.
                let index = (u128::from(random.next_u64()) * size as u128) >> 64;
                times[index as usize] += 1;
            }
            times
        };
        sizes.iter().map(&mut stratum).collect()
    }

    /// The mean of `values`, one an image, with its interval; none of no images.
    pub fn mean(&self, values: &[f64]) -> Option<Estimate> {
        let n = values.len() as f64;
        let drawn = |times: &[Vec<u32>]| {
            vec![values.iter().zip(&times[0]).map(|(value, &times)| value * f64::from(times)).sum::<f64>() / n]
        };
        let interval = self.intervals(&[values.len()], drawn).remove(0)?;
        Some(Estimate::new(values.iter().sum::<f64>() / n, interval))
    }

    /// `value`, the AUROC of [`rank_test`] over `strata`, with its interval: the images of each group of each stratum are drawn anew on
    /// their own.
    pub fn auroc(&self, value: f64, strata: &[[Vec<f64>; 2]]) -> Estimate {
        let sizes: Vec<usize> = strata.iter().flatten().map(Vec::len).collect();
        let drawn = |times: &[Vec<u32>]| {
            let pairs = strata.iter().zip(times.chunks_exact(2));
            let groups: Vec<[Vec<f64>; 2]> =
                pairs.map(|([a, b], times)| [drawn_anew(a, &times[0]), drawn_anew(b, &times[1])]).collect();
            vec![rank_test(&groups).map_or(f64::NAN, |test| test.auroc)]
        };
        let interval = self.intervals(&sizes, drawn).remove(0);
        interval.map_or(Estimate { value, low: 0.0, high: 1.0 }, |interval| Estimate::new(value, interval))
    }

    /// The 95 % percentile intervals of the figures that `statistic` makes of how often each image of each stratum counts.
    ///
    /// `statistic` must always return the same number of figures. A replicate whose figure isn't a number (NaN) is left out;
    /// if all are, so is the interval.
    pub fn intervals(
        &self,
        sizes: &[usize],
        statistic: impl Fn(&[Vec<u32>]) -> Vec<f64> + Sync,
    ) -> Vec<Option<Interval>> {
        let replicates: Vec<Vec<f64>> =
            (0..self.replicates).into_par_iter().map(|replicate| statistic(&self.draw(replicate, sizes))).collect();
        let figures = replicates.first().map_or(0, Vec::len);
        let interval = |figure: usize| {
            let mut values: Vec<f64> =
                replicates.iter().map(|replicate| replicate[figure]).filter(|value| !value.is_nan()).collect();
            values.sort_by(f64::total_cmp);
            let tail = (1.0 - CONFIDENCE) / 2.0;
            Some(Interval { low: percentile(&values, tail)?, high: percentile(&values, 1.0 - tail)? })
        };
        (0..figures).map(interval).collect()
    }
}

/// Each of `values` as often as it was drawn.
pub(crate) fn drawn_anew(values: &[f64], times: &[u32]) -> Vec<f64> {
    values.iter().zip(times).flat_map(|(&value, &times)| std::iter::repeat_n(value, times as usize)).collect()
}

/// The quantile `q` of ascending values, linear between the two nearest order statistics (R's type 7, numpy's default);
/// `None` of nothing.
pub fn percentile(ascending: &[f64], q: f64) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = place.floor();
    let (low, high) = (ascending[below as usize], ascending[(below as usize + 1).min(last)]);
    // Equal neighbours need no interpolation, and infinite ones bear none.
    Some(if low == high { low } else { low + (high - low) * (place - below) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_keep_the_strata_and_depend_on_the_replicate_alone() {
        let bootstrap = Bootstrap::default();
        let draw = bootstrap.draw(7, &[5, 0, 100]);
        assert_eq!(draw.iter().map(|times| times.iter().sum::<u32>()).collect::<Vec<_>>(), [5, 0, 100]);
        assert_eq!(draw, bootstrap.draw(7, &[5, 0, 100]));
        assert_ne!(draw, bootstrap.draw(8, &[5, 0, 100]));
        assert_ne!(draw, Bootstrap { seed: 1, ..bootstrap }.draw(7, &[5, 0, 100]));
    }

    #[test]
    fn the_interval_of_a_mean_has_the_normal_width() {
        // 0 and 1 in equal parts: the standard error of the mean of 400 is 0.025.
        let mean = |times: &[Vec<u32>]| vec![times[0][..200].iter().sum::<u32>() as f64 / 400.0, f64::NAN];
        let intervals = Bootstrap { replicates: 4000, seed: 3 }.intervals(&[400], mean);
        let interval = intervals[0].unwrap();
        assert!((interval.low - (0.5 - 1.96 * 0.025)).abs() < 0.005, "{interval:?}");
        assert!((interval.high - (0.5 + 1.96 * 0.025)).abs() < 0.005, "{interval:?}");
        assert_eq!(intervals[1], None);
    }

    #[test]
    fn percentiles_are_those_of_numpy() {
        // numpy.percentile([1, 2, 4, 8], [0, 2.5, 50, 95, 100])
        for (q, expected) in [(0.0, 1.0), (0.025, 1.075), (0.5, 3.0), (0.95, 7.4), (1.0, 8.0)] {
            assert!((percentile(&[1.0, 2.0, 4.0, 8.0], q).unwrap() - expected).abs() < 1e-12, "{q}");
        }
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[3.0], 0.95), Some(3.0));
        assert_eq!(percentile(&[f64::INFINITY; 2], 0.3), Some(f64::INFINITY));
    }
}
