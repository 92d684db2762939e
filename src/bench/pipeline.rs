//! From picture files to embeddings, beside decoding alone and the GPU alone.

use serde::Serialize;

use super::sample::{in_turns, timed, wrong};
use crate::dataset::{Batch, Dataset};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::models::Architecture;
use crate::plan::{Plan, Var};
use crate::progress::{Observer, Silent};
use crate::semantics::{Collected, Compiled, Pass, RunOptions, usual_batch};

/// What the pictures are run through, and how.
#[derive(Debug, Clone, Copy)]
pub struct PipelineOptions {
    /// The network, with weights from the formula.
    pub architecture: Architecture,
    /// The edge in pixels that pictures are resized and cropped to, as [`Architecture::load`] takes it.
    pub size: Option<usize>,
    /// Pictures of one run, at most; none = as many as suit the adapter and fit it.
    pub batch: Option<usize>,
    /// Repetitions.
    pub repetitions: usize,
}

/// One network over one set of pictures.
#[derive(Debug, Serialize)]
pub struct PipelineRow {
    /// The architecture's name.
    pub arch: &'static str,
    /// The edge in pixels that pictures are resized and cropped to.
    pub size: usize,
    /// Pictures.
    pub images: usize,
    /// Pictures of one run.
    pub batch: usize,
    /// Threads that decode.
    pub threads: usize,
    /// Milliseconds of reading, decoding, resizing and hashing all pictures, with nothing run.
    pub decode_ms: f64,
    /// Half of their interquartile range.
    pub decode_spread_ms: f64,
    /// Milliseconds of running the same batches from memory: upload, normalisation, forward pass, readback.
    pub gpu_ms: f64,
    /// Half of their interquartile range.
    pub gpu_spread_ms: f64,
    /// Milliseconds from the files to all results.
    pub together_ms: f64,
    /// Half of their interquartile range.
    pub together_spread_ms: f64,
    /// Repetitions of each.
    pub repetitions: usize,
    /// Pictures a second of decoding alone.
    pub decode_images_per_second: f64,
    /// Pictures a second of the GPU alone.
    pub gpu_images_per_second: f64,
    /// Pictures a second from files to results.
    pub together_images_per_second: f64,
    /// The last over the smaller of the two others: 1 where the faster of the two hides behind the slower.
    pub share_of_slower: f64,
    /// On a software adapter, which computes on the processors that decode: `decode_ms` plus `gpu_ms` over `together_ms`,
    /// 1 where both together take as long as one after the other.
    pub share_of_serial: Option<f64>,
}

/// Measures in turns how long `images` take to decode, to run, and both together by the same code that embeds images. The
/// batches are kept in memory.
///
/// # Errors
/// Those of [`Architecture::load`], of reading the images and of the device; [`ErrorKind::Usage`] if the network takes no
/// pictures; [`ErrorKind::Data`] if there are none; [`ErrorKind::Device`] if runs differ.
pub fn pipeline(
    device: &Device,
    images: &Dataset,
    options: &PipelineOptions,
    observer: &dyn Observer,
) -> Result<PipelineRow> {
    let &PipelineOptions { architecture, size, batch, repetitions } = options;
    let samples = &images.samples;
    if samples.is_empty() {
        return Err(Error::new(ErrorKind::Data, "there are no pictures to measure"));
    }
    let network = architecture.load(size)?;
    network.check_batch(batch.unwrap_or_else(|| usual_batch(device)).min(samples.len()))?;
    let Some(preprocess) = network.preprocess() else {
        let message =
            format!("{} takes prompts; the way from files to embeddings is that of pictures", architecture.name());
        return Err(Error::new(ErrorKind::Usage, message).hint("`heatlens bench models` measures it"));
    };
    let record = |plan: &mut Plan, pixels: &[Var]| network.record_on(plan, pixels[0]);
    let pass =
        Pass { stage: "embedding", preprocess: &[&preprocess], record: &record, thumbnails: false, journal: None };
    let run_options = RunOptions { batch, ..RunOptions::default() };
    let compiled = Compiled::new(device, &pass, samples.len(), &run_options)?;
    let batches: Vec<Batch> = compiled.loader(samples).collect::<Result<_>>()?;
    let decode = || {
        let (seconds, ()) = timed(|| {
            for batch in compiled.loader(samples) {
                batch?;
            }
            Ok(())
        })?;
        Ok(seconds)
    };
    let run = || {
        let batches = batches.clone();
        timed(|| {
            let mut all = Collected::default();
            compiled.run_batches(samples, batches.into_iter().map(Ok), |rows| {
                all.append(rows);
                Ok(())
            })?;
            Ok(all.take(network.output()))
        })
    };
    let (_, first) = run()?;
    let differ = || wrong(device, &format!("{} computed something else another time", architecture.name()));
    let gpu = || {
        let (seconds, again) = run()?;
        if again == first { Ok(seconds) } else { Err(differ()) }
    };
    let every: Vec<usize> = (0..samples.len()).collect();
    let together = || {
        let (seconds, mut all) = timed(|| {
            let mut all = Collected::default();
            compiled.run(samples, &every, &mut all, &Silent)?;
            Ok(all)
        })?;
        if all.take(network.output()) == first { Ok(seconds) } else { Err(differ()) }
    };
    let measured = in_turns(repetitions, &[&decode, &gpu, &together], observer)?;
    let [decode, gpu, together] = [measured[0], measured[1], measured[2]];
    let count = samples.len() as f64;
    let serial = (decode.median + gpu.median) / together.median;
    Ok(PipelineRow {
        arch: architecture.name(),
        size: preprocess.height,
        images: samples.len(),
        batch: compiled.batch(),
        threads: rayon::current_num_threads(),
        decode_ms: 1e3 * decode.median,
        decode_spread_ms: 1e3 * decode.spread,
        gpu_ms: 1e3 * gpu.median,
        gpu_spread_ms: 1e3 * gpu.spread,
        together_ms: 1e3 * together.median,
        together_spread_ms: 1e3 * together.spread,
        repetitions,
        decode_images_per_second: count / decode.median,
        gpu_images_per_second: count / gpu.median,
        together_images_per_second: count / together.median,
        share_of_slower: decode.median.max(gpu.median) / together.median,
        share_of_serial: device.profile().is_software().then_some(serial),
    })
}
