//! `heatlens bench peak`: what the adapter can do at best.

use heatlens::Result;
use heatlens::bench::{Peak, Sample, peak};
use heatlens::gpu::{AdapterSummary, Clock};
use serde::Serialize;

use super::listing::Listing;
use super::{ClockArg, Common, describe};
use crate::cli::Context;
use crate::cli::output::{Align, Outcome};

/// Measure the adapter's multiply-add rate and its copy bandwidth
///
/// Both are what a compute shader reaches (shaders/fma_peak.wgsl, shaders/copy_peak.wgsl), not what a data sheet says.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens bench peak
  heatlens bench peak --repeat 30 --json")]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    clock: ClockArg,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Findings<'a> {
    adapter: &'a AdapterSummary,
    clock: Clock,
    peak: Peak,
}

#[derive(Debug, Serialize)]
struct Row {
    clock: Clock,
    what: &'static str,
    rate: f64,
    unit: &'static str,
    median_ms: f64,
    spread_ms: f64,
    repetitions: usize,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let format = args.common.format(context)?;
    let device = context.device()?;
    let clock = args.clock.clock(device)?;
    let (peak, [fma, copy]) = peak(device, clock, args.common.repetitions(), &context.progress)?;
    let row = |what, rate, unit, Sample { median, spread, repetitions }: Sample| {
        let [median_ms, spread_ms] = [median, spread].map(|seconds| 1e3 * seconds);
        Row { clock, what, rate, unit, median_ms, spread_ms, repetitions }
    };
    let rows = [row("multiply-add", peak.fma_gflops, "GFLOP/s", fma), row("copy", peak.copy_gbps, "GB/s", copy)];
    let cells = |row: &Row| {
        let time = format!("{:.2} ± {:.2}", row.median_ms, row.spread_ms);
        [row.what.to_owned(), format!("{:.1} {}", row.rate, row.unit), time]
    };
    let listing = Listing {
        adapter: device.summary(),
        notes: vec![format!("timed with {}, {} repetitions", describe(clock), fma.repetitions)],
        header: [("", Align::Left), ("rate", Align::Right), ("ms", Align::Right)],
        cells: rows.iter().map(cells).collect(),
        whole: Findings { adapter: device.summary(), clock, peak },
        rows: &rows,
    };
    listing.print(format, context)?;
    Ok(Outcome::Done)
}
