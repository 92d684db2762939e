//! `heatlens bench filter`: what the runtime filter costs beside the classifier.

use heatlens::Result;
use heatlens::bench::{FilterOptions, FilterRow, filter};
use heatlens::gpu::AdapterSummary;
use serde::Serialize;

use super::listing::Listing;
use super::{Common, NetworkArgs};
use crate::cli::Context;
use crate::cli::output::{Align, Outcome};

/// Measure what the runtime filter adds to a classifier, one picture at a time
///
/// In turns: the classifier's dispatches; those of the filter (aligner, concept scores, argmax, distances to three maps of the
/// predicted class); and a picture from its bytes to its distances, which takes one submission. Classifier, aligner, directions and
/// maps have numbers from a formula. --batch is of no use here: a filter that runs beside a program sees one picture at a time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens bench filter
  heatlens bench filter --arch resnet50 --concepts 200 --json")]
pub(super) struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Concepts
    #[arg(long, value_name = "N", default_value = "100")]
    concepts: usize,
    #[command(flatten)]
    common: Common,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Findings<'a> {
    adapter: &'a AdapterSummary,
    rows: &'a [FilterRow],
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let format = args.common.format(context)?;
    let &NetworkArgs { arch, size } = &args.network;
    arch.check_size(size)?;
    let device = context.device()?;
    let options =
        FilterOptions { architecture: arch, size, concepts: args.concepts, repetitions: args.common.repetitions() };
    let rows = [filter(device, &options, &context.progress)?];
    let cells = |row: &FilterRow| {
        [
            format!("{} {}", row.arch, row.sample),
            row.concepts.to_string(),
            format!("{:.2} ± {:.2}", row.forward_ms, row.forward_spread_ms),
            format!("{:.3} ± {:.3}", row.heatmap_ms, row.heatmap_spread_ms),
            format!("{:.2} %", 100.0 * row.heatmap_share),
            format!("{:.2} ± {:.2}", row.image_ms, row.image_spread_ms),
            row.submissions.to_string(),
        ]
    };
    let listing = Listing {
        adapter: device.summary(),
        notes: vec![format!("three maps for each of {} classes; {} repetitions", rows[0].classes, rows[0].repetitions)],
        header: [
            ("classifier", Align::Left),
            ("concepts", Align::Right),
            ("forward ms", Align::Right),
            ("filter ms", Align::Right),
            ("of forward", Align::Right),
            ("a picture ms", Align::Right),
            ("submissions", Align::Right),
        ],
        cells: rows.iter().map(cells).collect(),
        whole: Findings { adapter: device.summary(), rows: &rows },
        rows: &rows,
    };
    listing.print(format, context)?;
    Ok(Outcome::Done)
}
