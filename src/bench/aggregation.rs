//! Heatmap aggregation at any number of concepts and images.

use serde::Serialize;

use super::sample::{in_turns, timed, wrong};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::kernels::cases::noise;
use crate::progress::Observer;
use crate::semantics::count_maps;
use crate::tensor::Tensor;

/// Rows of the map that are compared with counts in plain Rust.
const CHECKED: usize = 3;

/// What is aggregated, and how it is measured.
#[derive(Debug, Clone, Copy)]
pub struct AggregationOptions {
    /// Concepts.
    pub concepts: usize,
    /// Images, all of one map.
    pub images: usize,
    /// Repetitions.
    pub repetitions: usize,
}

/// One map.
#[derive(Debug, Serialize)]
pub struct AggregationRow {
    /// Concepts.
    pub concepts: usize,
    /// Images.
    pub images: usize,
    /// Milliseconds from the scores to the map, both in the host's memory.
    pub median_ms: f64,
    /// Half of their interquartile range.
    pub spread_ms: f64,
    /// Repetitions.
    pub repetitions: usize,
    /// 10⁹ comparisons of two scores a second at the median.
    pub giga_comparisons: f64,
    /// Bytes of the scores and of the map in the host's memory.
    pub host_bytes: u64,
}

/// Measures how long the map of scores from a formula takes.
///
/// # Errors
/// [`ErrorKind::Usage`] if there are no images, fewer than two concepts, or 2³² scores or more; those of the device; [`ErrorKind::Device`] if a count
/// is wrong.
pub fn aggregation(device: &Device, options: &AggregationOptions, observer: &dyn Observer) -> Result<AggregationRow> {
    let &AggregationOptions { concepts, images, repetitions } = options;
    if concepts < 2 || images == 0 {
        let message = format!("{images} images with {concepts} concepts make no map");
        return Err(Error::new(ErrorKind::Usage, message).hint("use --concepts 2 and --images 1 or more"));
    }
    if concepts.checked_mul(images).is_none_or(|scores| u32::try_from(scores).is_err()) {
        let message = format!("{images} images with {concepts} concepts are 2³² scores or more");
        return Err(Error::new(ErrorKind::Usage, message).hint("use fewer --images or --concepts"));
    }
    // Few distinct values, so that there are ties.
    let values = noise(3, images * concepts).iter().map(|value| (1e3 * value).round()).collect();
    let scores = Tensor::new([images, concepts], values);
    let all = [(0..images as u32).collect::<Vec<_>>()];
    let map = || Ok(count_maps(device, &scores, &all)?.remove(0));
    let first = map()?;
    for i in (0..CHECKED).map(|part| part * (concepts - 1) / (CHECKED - 1)) {
        for j in 0..concepts {
            let above = (0..images).map(|row| scores.row(row)).filter(|row| row[i] > row[j]).count();
            let found = first.cells()[i * concepts + j] as usize;
            if found != above {
                return Err(wrong(device, &format!("cell {i}, {j} is {found}, not {above}")));
            }
        }
    }
    let sample = in_turns(repetitions, &[&|| Ok(timed(map)?.0)], observer)?[0];
    let comparisons = images as f64 * (concepts as f64).powi(2);
    Ok(AggregationRow {
        concepts,
        images,
        median_ms: 1e3 * sample.median,
        spread_ms: 1e3 * sample.spread,
        repetitions,
        giga_comparisons: comparisons / sample.median * 1e-9,
        host_bytes: 4 * (concepts * (images + concepts)) as u64,
    })
}
