//! `heatlens bench aggregation`: how long a heatmap of many concepts and images takes.

use heatlens::Result;
use heatlens::bench::{AggregationOptions, AggregationRow, aggregation};
use heatlens::gpu::AdapterSummary;
use serde::Serialize;

use super::Common;
use super::listing::Listing;
use crate::cli::Context;
use crate::cli::output::{Align, Outcome};

/// The size that the time and memory are carried over to.
const LARGE_CONCEPTS: u64 = 10_000;
const LARGE_IMAGES: u64 = 50_000;

/// Measure how long a heatmap of many concepts over many images takes
///
/// The scores are numbers from a formula in the host's memory; scores and counts that don't fit the adapter at once go there in
/// tiles, and the map comes back to the host's memory. Three of its rows are counted again in plain Rust. The last columns carry time
/// and memory over to 10,000 concepts and 50,000 images, in proportion to the comparisons: closest where the map is as large.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens bench aggregation
  heatlens bench aggregation --concepts 10000 --images 500 --repeat 3")]
pub(super) struct Args {
    /// Concepts
    #[arg(long, value_name = "N", default_value = "1000")]
    concepts: usize,
    /// Images
    #[arg(long, value_name = "N", default_value = "1000")]
    images: usize,
    #[command(flatten)]
    common: Common,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Findings<'a> {
    adapter: &'a AdapterSummary,
    rows: &'a [Row],
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    measured: AggregationRow,
    /// For 10,000 concepts and 50,000 images.
    large_seconds: f64,
    large_host_bytes: u64,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let format = args.common.format(context)?;
    let device = context.device()?;
    let (concepts, images) = (args.concepts, args.images);
    let options = AggregationOptions { concepts, images, repetitions: args.common.repetitions() };
    let measured = aggregation(device, &options, &context.progress)?;
    let large = (LARGE_IMAGES * LARGE_CONCEPTS * LARGE_CONCEPTS) as f64;
    let rows = [Row {
        large_seconds: 1e-9 * large / measured.giga_comparisons,
        large_host_bytes: 4 * LARGE_CONCEPTS * (LARGE_IMAGES + LARGE_CONCEPTS),
        measured,
    }];
    let gigabytes = |bytes: u64| format!("{:.2}", 1e-9 * bytes as f64);
    let cells = |row: &Row| {
        [
            row.measured.concepts.to_string(),
            row.measured.images.to_string(),
            format!("{:.1} ± {:.1}", row.measured.median_ms, row.measured.spread_ms),
            format!("{:.2}", row.measured.giga_comparisons),
            gigabytes(row.measured.host_bytes),
            format!("{:.0}", row.large_seconds),
            gigabytes(row.large_host_bytes),
        ]
    };
    let listing = Listing {
        adapter: device.summary(),
        notes: vec![format!("{} repetitions", rows[0].measured.repetitions)],
        header: [
            ("concepts", Align::Right),
            ("images", Align::Right),
            ("ms", Align::Right),
            ("10⁹ comparisons/s", Align::Right),
            ("GB of scores, map", Align::Right),
            ("10,000 × 50,000 s", Align::Right),
            ("GB of these", Align::Right),
        ],
        cells: rows.iter().map(cells).collect(),
        whole: Findings { adapter: device.summary(), rows: &rows },
        rows: &rows,
    };
    listing.print(format, context)?;
    Ok(Outcome::Done)
}
