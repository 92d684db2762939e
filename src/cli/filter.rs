//! `heatlens filter`: which predictions to trust.

use std::io;
use std::path::PathBuf;

use heatlens::dataset::Dataset;
use heatlens::semantics::{Decision, RunOptions, Verdict};
use heatlens::{Filter, Result};
use serde::Serialize;

use super::Context;
use super::output::{Outcome, print_json_line};

/// Check new images with a filter: one line of JSON each
///
/// A line is {"path","prediction","score","threshold","stratum":"own"|"pooled","verdict":"accept"|"reject","reasons":[{"stronger",
/// "weaker","contribution"}]}, with "parts":{"heatmap","max_softmax"} if the filter combines the two, and with "cause" if the image is
/// rejected: above-threshold; or no-correct-map, no-defect-map, no-distance, no-threshold, where what isn't known is null. A
/// line is {"path","error"} for an image that can't be read; then the exit code is 2.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens filter --filter model.heatlens cat.jpg photos/
  find . -name '*.jpg' | heatlens filter --filter model.heatlens -
  heatlens filter --filter model.heatlens --gate new/ > verdicts.jsonl || echo 'not all are accepted'")]
pub(crate) struct Args {
    /// The file that `heatlens calibrate` wrote
    #[arg(long, value_name = "model.heatlens")]
    filter: PathBuf,
    /// The classifier [default: the one in the filter, or where it was at calibration]
    #[arg(long, value_name = "DIR")]
    classifier: Option<PathBuf>,
    /// Images, folders of them, or - for paths on standard input, one a line
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// End with exit code 1 if any image is rejected
    #[arg(long)]
    gate: bool,
    /// Turn images as their EXIF orientation says
    #[arg(long)]
    exif: bool,
}

/// A line for an image that was checked.
#[derive(Serialize)]
struct Checked<'a> {
    path: &'a str,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

/// A line for an image that couldn't be.
#[derive(Serialize)]
struct Failed<'a> {
    path: &'a str,
    error: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let images = Dataset::from_paths(&args.paths, &mut io::stdin().lock())?;
    let filter = Filter::open(context.device()?, &args.filter, args.classifier.as_deref())?;
    context.global.check_precision(&args.filter, filter.header().classifier.precision)?;
    let options = RunOptions { batch: context.global.batch(), exif: args.exif, ..RunOptions::default() };
    let (mut rejected, mut failed) = (false, false);
    let mut each = |path: &str, verdict: Result<Verdict>| {
        context.progress.suspend(|| match verdict {
            Ok(verdict) => {
                rejected |= verdict.verdict == Decision::Reject;
                print_json_line(&Checked { path, verdict: &verdict })
            }
            Err(error) => {
                failed = true;
                print_json_line(&Failed { path, error: error.to_string() })
            }
        })
    };
    filter.check_many(&images, &options, &context.progress, &mut each)?;
    Ok(match (failed, rejected && args.gate) {
        (true, _) => Outcome::SomeFailed,
        (false, true) => Outcome::GateFailed,
        (false, false) => Outcome::Done,
    })
}
