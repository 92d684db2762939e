//! Whole forward passes.

use std::time::Instant;

use serde::Serialize;

use super::peak::{Peak, Peaks};
use super::sample::{Sample, in_turns, timed, wrong};
use crate::error::Result;
use crate::gpu::{Device, Input};
use crate::models::{Architecture, SampleSize, Samples, common_plan};
use crate::progress::Observer;
use crate::weights::Precision;

/// Which forward pass is measured, and how.
#[derive(Debug, Clone, Copy)]
pub struct ModelOptions {
    /// The network, with weights from the formula.
    pub architecture: Architecture,
    /// The edge of its pictures in pixels, as [`Architecture::load`] takes it.
    pub size: Option<usize>,
    /// How its weights are held.
    pub precision: Precision,
    /// Pictures or prompts of one run.
    pub batch: usize,
    /// Repetitions.
    pub repetitions: usize,
    /// What the first result's time counts from: the beginning of the program.
    pub started: Instant,
}

/// One network at one size and batch.
#[derive(Debug, Serialize)]
pub struct ModelRow {
    /// The architecture's name.
    pub arch: &'static str,
    /// How large its pictures or prompts are.
    #[serde(flatten)]
    pub sample: SampleSize,
    /// How its weights are held.
    pub precision: Precision,
    /// Pictures or prompts of one run.
    pub batch: usize,
    /// Milliseconds from [`started`](ModelOptions::started) to the first result: opening the device, making the weights, compiling
    /// shaders, uploading, one run.
    pub first_ms: f64,
    /// Milliseconds of a run: upload of the pictures or prompts, forward pass, readback.
    pub median_ms: f64,
    /// Half of their interquartile range.
    pub spread_ms: f64,
    /// Repetitions.
    pub repetitions: usize,
    /// Pictures, or prompts, a second at the median.
    pub images_per_second: f64,
    /// 10⁹ operations a second at the median, a multiply-add counted as two.
    pub gflops: f64,
    /// `gflops` over the adapter's multiply-add rate.
    pub share_of_peak: f64,
    /// Bytes on the GPU by the plan: weights, values, readback.
    pub gpu_bytes: u64,
    /// Bytes that the device's allocator holds more after the first run than before the network was compiled; none where wgpu doesn't
    /// allocate by itself (Metal).
    pub allocated_bytes: Option<u64>,
}

/// What the device is given for samples.
pub(super) fn input(samples: &Samples) -> Input<'_> {
    match samples {
        Samples::Pictures(bytes) => Input::Bytes(bytes),
        Samples::Prompts(ids) => Input::U32(ids),
    }
}

/// Measures a network's forward pass in turns with the adapter's rates.
///
/// # Errors
/// Those of [`Architecture::load`] and of the device; [`ErrorKind::Device`](crate::ErrorKind::Device) if a result isn't finite or runs differ.
pub fn model(device: &Device, options: &ModelOptions, observer: &dyn Observer) -> Result<(Peak, ModelRow)> {
    let &ModelOptions { architecture, size, precision, batch, repetitions, started } = options;
    device.prepare(&common_plan(precision))?;
    let network = architecture.load_in(size, precision)?;
    let plan = network.record(batch)?;
    let before = device.allocated_bytes();
    let executable = device.compile(&plan)?;
    let samples = network.samples(batch);
    let run = || Ok(executable.run(&[(network.input(), input(&samples))])?.tensor(network.output()));
    let first = run()?;
    let first_ms = 1e3 * started.elapsed().as_secs_f64();
    let allocated_bytes = before.zip(device.allocated_bytes()).map(|(before, after)| after.saturating_sub(before));
    let wrong = |what: &str| wrong(device, &format!("{} {what}", architecture.name()));
    if !first.data().iter().all(|value| value.is_finite()) {
        return Err(wrong("computed values that aren't finite"));
    }
    let peaks = Peaks::new(device, device.clock())?;
    let forward = || {
        let (seconds, again) = timed(run)?;
        if again.data() == first.data() { Ok(seconds) } else { Err(wrong("computed something else the second time")) }
    };
    forward()?;
    let measurements: [&dyn Fn() -> Result<f64>; 3] = [&forward, &|| peaks.fma.seconds(), &|| peaks.copy.seconds()];
    let samples = in_turns(repetitions, &measurements, observer)?;
    let peak = peaks.at(&samples[1], &samples[2]);
    let Sample { median, spread, repetitions } = samples[0];
    let gflops = plan.flops() as f64 / median * 1e-9;
    let row = ModelRow {
        arch: architecture.name(),
        sample: network.sample_size(),
        precision,
        batch,
        first_ms,
        median_ms: 1e3 * median,
        spread_ms: 1e3 * spread,
        repetitions,
        images_per_second: batch as f64 / median,
        gflops,
        share_of_peak: gflops / peak.fma_gflops,
        gpu_bytes: executable.bytes(),
        allocated_bytes,
    };
    Ok((peak, row))
}
