//! `heatlens export`: a bundle as NumPy arrays.

use std::path::PathBuf;

use heatlens::{Bundle, Result, report};

use super::Context;
use super::args::check_output_folder;
use super::output::Outcome;

/// Write a bundle's arrays as .npy files and its names as text, for other programs
///
/// scores [N,C], logits [N,K], features [N,D], clip [N,E], directions [C,E] and class_directions [K,E] as f32; labels and
/// predictions [N] as i64; counts_correct, counts_missed and counts_false_alarm [K,C,C] and support [3,K] as u64; concepts.txt,
/// classes.txt and samples.txt.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens export bundle -o arrays && python -c \"import numpy; print(numpy.load('arrays/scores.npy').shape)\"")]
pub(crate) struct Args {
    /// The bundle that `heatlens build` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The folder to write, new or empty
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    check_output_folder(&args.folder)?;
    let bundle = Bundle::open(&args.bundle)?;
    let device = if bundle.counts().is_none() { Some(context.device()?) } else { None };
    report::export(&bundle, device, &args.folder)?;
    let written = serde_json::json!({"folder": args.folder, "images": bundle.manifest().n});
    context.print(&written, || format!("{} images written to {}\n", bundle.manifest().n, args.folder.display()))?;
    Ok(Outcome::Done)
}
