//! Repeated measurements and what is said of them.

use std::time::Instant;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::progress::{Observer, step};

/// Repetitions of one measurement, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// The median.
    pub median: f64,
    /// Half of the interquartile range.
    pub spread: f64,
    /// How many repetitions there were.
    pub repetitions: usize,
}

impl Sample {
    /// Of at least one measurement.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let at = share * (seconds.len() - 1) as f64;
            let (below, above) = (seconds[at.floor() as usize], seconds[at.ceil() as usize]);
            below + (above - below) * at.fract()
        };
        let spread = (quantile(0.75) - quantile(0.25)) / 2.0;
        Self { median: quantile(0.5), spread, repetitions: seconds.len() }
    }
}

/// What `run` gives, and the seconds it takes by the host's clock.
///
/// # Errors
/// Those of `run`.
pub(super) fn timed<T>(run: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let found = run()?;
    Ok((start.elapsed().as_secs_f64(), found))
}

/// That `device` computed what it mustn't: `what` says which and how.
pub(super) fn wrong(device: &Device, what: &str) -> Error {
    let message = format!("{}: {what}", device.summary().name);
    Error::new(ErrorKind::Device, message).hint("`heatlens doctor` checks every kernel by itself")
}

/// Takes each measurement `repetitions` times, all of them in turns: whatever else the machine does meanwhile slows all
/// of them alike, so that their ratios hold.
///
/// # Errors
/// The first of the measurements', or the observer's.
pub(super) fn in_turns(
    repetitions: usize,
    measurements: &[&dyn Fn() -> Result<f64>],
    observer: &dyn Observer,
) -> Result<Vec<Sample>> {
    let mut seconds = vec![Vec::with_capacity(repetitions); measurements.len()];
    let total = repetitions * measurements.len();
    for turn in 0..repetitions {
        for (at, (measure, seconds)) in measurements.iter().zip(&mut seconds).enumerate() {
            step(observer, "measuring", turn * measurements.len() + at, total)?;
            seconds.push(measure()?);
        }
    }
    Ok(seconds.into_iter().map(Sample::of).collect())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::progress::Silent;

    #[test]
    fn the_spread_is_half_of_the_interquartile_range() {
        let sample = Sample::of(vec![5.0, 1.0, 2.0, 100.0, 3.0]);
        assert_eq!(sample, Sample { median: 3.0, spread: 1.5, repetitions: 5 });
        assert_eq!(Sample::of(vec![4.0, 2.0]), Sample { median: 3.0, spread: 0.5, repetitions: 2 });
        assert_eq!(Sample::of(vec![7.0]).spread, 0.0);
    }

    #[test]
    fn measurements_take_turns() {
        let order = RefCell::new(String::new());
        let measure = |name: char| {
            order.borrow_mut().push(name);
            Ok(f64::from(u32::from(name)))
        };
        let samples = in_turns(2, &[&|| measure('a'), &|| measure('b')], &Silent).unwrap();
        assert_eq!((order.into_inner().as_str(), samples[1].median), ("abab", 98.0));
    }
}
