//! `heatlens merge`: bundles of disjoint images, joined into one.

use std::path::PathBuf;

use heatlens::{Bundle, Result};

use super::Context;
use super::args::check_output_folder;
use super::build;
use super::output::Outcome;

/// Join bundles of disjoint images into the bundle of all of them
///
/// The bundles must come from the same models, aligner, lists and kind of adapter, and share no image. Counts are added and rows
/// put into the order of their paths, so the result doesn't depend on the order of the bundles or on how the images were split.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens build --config heatlens.toml --shard 1/2 -o part1
  heatlens build --config heatlens.toml --shard 2/2 -o part2
  heatlens merge part1 part2 -o bundle")]
pub(crate) struct Args {
    /// The bundles that `heatlens build` wrote
    #[arg(value_name = "BUNDLE", required = true)]
    bundles: Vec<PathBuf>,
    /// The folder to write
    #[arg(short = 'o', long = "output", value_name = "BUNDLE")]
    merged: PathBuf,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    check_output_folder(&args.merged)?;
    let bundles = args.bundles.iter().map(|folder| Bundle::open(folder)).collect::<Result<Vec<_>>>()?;
    let merged = Bundle::merge(&bundles, &args.merged, &context.progress)?;
    let written = format!("written to {}\n", args.merged.display());
    context.print(merged.manifest(), || build::text(merged.manifest()) + &written)?;
    Ok(Outcome::Done)
}
