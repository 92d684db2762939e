//! `heatlens bench models`: how fast whole networks are.

use heatlens::Result;
use heatlens::bench::{ModelOptions, ModelRow, Peak, model};
use heatlens::gpu::AdapterSummary;
use serde::Serialize;

use super::listing::Listing;
use super::{Common, NetworkArgs};
use crate::cli::Context;
use crate::cli::output::{Align, Outcome};

/// Measure a network's forward pass, and how long its first result takes
///
/// The network has weights from a formula, so that no file is needed; a run uploads pictures' bytes, or the ids of prompts of 77
/// tokens, and reads the result back. --batch says how many it takes (1 unless given). The first result's time counts from the
/// start of the program. A driver's own cache of compiled shaders makes it shorter: empty it first (Mesa:
/// MESA_SHADER_CACHE_DISABLE=true) to see the time of a new machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens bench models --arch resnet18 --size 64 --batch 4
  heatlens bench models --arch vit-b-32 --repeat 30 --json
  heatlens bench models --arch vit-b-32-text --batch 16
  heatlens bench models --arch vit-b-16 --precision f16 --cooperative-matrix")]
pub(super) struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    common: Common,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Findings<'a> {
    adapter: &'a AdapterSummary,
    peak: Peak,
    rows: &'a [ModelRow],
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let format = args.common.format(context)?;
    let &NetworkArgs { arch, size } = &args.network;
    arch.check_size(size)?;
    let device = context.device()?;
    let options = ModelOptions {
        architecture: arch,
        size,
        precision: context.global.precision().unwrap_or_default(),
        batch: context.global.batch().unwrap_or(1),
        repetitions: args.common.repetitions(),
        started: context.started,
    };
    let (peak, row) = model(device, &options, &context.progress)?;
    let rows = [row];
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let cells = |row: &ModelRow| {
        [
            format!("{} {}", row.arch, row.sample),
            row.precision.to_string(),
            row.batch.to_string(),
            format!("{:.0}", row.first_ms),
            format!("{:.2} ± {:.2}", row.median_ms, row.spread_ms),
            format!("{:.1}", row.images_per_second),
            format!("{:.1}", row.gflops),
            format!("{:.1} %", 100.0 * row.share_of_peak),
            mib(row.gpu_bytes),
            row.allocated_bytes.map_or_else(String::new, mib),
        ]
    };
    let listing = Listing {
        adapter: device.summary(),
        notes: vec![format!(
            "peak {:.1} GFLOP/s, {:.1} GB/s; {} repetitions",
            peak.fma_gflops, peak.copy_gbps, rows[0].repetitions
        )],
        header: [
            ("network", Align::Left),
            ("weights", Align::Left),
            ("batch", Align::Right),
            ("first ms", Align::Right),
            ("ms", Align::Right),
            ("samples/s", Align::Right),
            ("GFLOP/s", Align::Right),
            ("of peak", Align::Right),
            ("MiB by plan", Align::Right),
            ("MiB allocated", Align::Right),
        ],
        cells: rows.iter().map(cells).collect(),
        whole: Findings { adapter: device.summary(), peak, rows: &rows },
        rows: &rows,
    };
    listing.print(format, context)?;
    Ok(Outcome::Done)
}
