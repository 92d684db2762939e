//! `heatlens embed`: a model's embeddings as a file, or beside those of another program.

use std::io;
use std::path::{Path, PathBuf};

use heatlens::dataset::Dataset;
use heatlens::models::Model;
use heatlens::semantics::{
    Comparison, Embeddings, Reference, RowDifference, RowName, Tolerance, embed_images, embed_texts,
};
use heatlens::{Error, ErrorKind, Observer, Result};

use super::Context;
use super::args::{ImageArgs, check_output};
use super::output::{Align, Outcome, table};

/// How many rows of a comparison are printed.
const WORST: usize = 5;

/// Embed images with a classifier (its pooled features) or with CLIP, or prompts with CLIP
///
/// The file holds the tensor `embeddings` [N,E], not normalised, and in its metadata `paths`, a JSON list of the images' paths
/// (or of the prompts).
///
/// With --expect the embeddings are compared with those in another such file, from PyTorch, say: row by row, matched by file
/// name if that file has `paths`, else by order. The exit code is 1 if a row is beyond the tolerance.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("input").args(["paths", "text"]).required(true))]
#[command(after_help = "Examples:
  heatlens embed --model models/clip photos/ -o images.safetensors
  heatlens embed --model openai/clip-vit-base-patch32 --text prompts.txt -o prompts.safetensors
  heatlens embed --model models/resnet18 photos/ -o features.safetensors
  heatlens embed --model models/clip photos/ --expect from-pytorch.safetensors --tolerance 1e-4")]
pub(crate) struct Args {
    /// The model: a folder in its ecosystem's layout, a .safetensors file, or a name in the Hugging Face cache
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Images, folders of them, or - for paths on standard input, one a line
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A file of prompts for CLIP's text tower, one a line
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// The file to write
    #[arg(short = 'o', long = "output", value_name = "embeddings.safetensors", required_unless_present = "expect")]
    embeddings: Option<PathBuf>,
    /// Compare with the tensor `embeddings` of this file
    #[arg(long, value_name = "ref.safetensors")]
    expect: Option<PathBuf>,
    /// The largest difference of a value that passes, over the largest magnitude of the reference's row
    #[arg(long, value_name = "X", default_value = "1e-3", requires = "expect")]
    tolerance: f64,
    /// The least cosine between two rows that passes
    #[arg(long, value_name = "X", default_value = "0.99999", requires = "expect")]
    min_cosine: f64,
    #[command(flatten)]
    image: ImageArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let tolerance = tolerance(args)?;
    if let Some(path) = &args.embeddings {
        check_output(path)?;
    }
    let reference = args.expect.as_deref().map(Reference::open).transpose()?;
    let model = Model::load(&context.files(&args.model)?, &context.progress)?;
    let embeddings = match &args.text {
        Some(prompts) => of_prompts(args, &model, prompts, context)?,
        None => {
            let images = Dataset::from_paths(&args.paths, &mut io::stdin().lock())?;
            let options = args.image.run_options(&context.global);
            embed_images(context.device()?, &model, &images, &options, &context.progress)?
        }
    };
    let by = if args.text.is_some() { RowName::Prompt } else { RowName::Path };
    let compare = |reference: Reference| reference.compare(&embeddings, by, tolerance, WORST);
    let comparison = reference.map(compare).transpose()?;
    if let Some(path) = &args.embeddings {
        embeddings.save(path)?;
    }
    let shape = embeddings.values.shape();
    let mut summary = serde_json::json!({"shape": shape, "skipped": embeddings.skipped, "output": args.embeddings});
    if let Some(comparison) = &comparison {
        summary["comparison"] = serde_json::json!(comparison);
    }
    let text = || {
        let written = args
            .embeddings
            .as_ref()
            .map(|path| format!("{} embeddings of {} values written to {}\n", shape[0], shape[1], path.display()));
        written.unwrap_or_default() + &comparison.as_ref().map(text).unwrap_or_default()
    };
    context.print(&summary, text)?;
    let passes = comparison.is_none_or(|comparison| comparison.failing == 0);
    Ok(if passes { Outcome::Done } else { Outcome::GateFailed })
}

fn tolerance(args: &Args) -> Result<Tolerance> {
    let Args { tolerance: error, min_cosine: cosine, .. } = *args;
    if !error.is_finite() || error < 0.0 {
        return Err(Error::new(ErrorKind::Usage, format!("--tolerance is {error}, expected a number from 0 on")));
    }
    if !(-1.0..=1.0).contains(&cosine) {
        return Err(Error::new(ErrorKind::Usage, format!("--min-cosine is {cosine}, expected a number from -1 to 1")));
    }
    Ok(Tolerance { error, cosine })
}

/// The verdict and the worst rows.
fn text(comparison: &Comparison) -> String {
    let Comparison { tolerance: Tolerance { error, cosine }, rows, failing, least_cosine, largest_error, worst } =
        comparison;
    let verdict = match failing {
        0 => format!("all {rows} rows are within {error:e} of the reference, with cosines from {cosine} on"),
        _ => format!("{failing} of {rows} rows are beyond {error:e} of the reference, or have a cosine below {cosine}"),
    };
    let header = [
        ("", Align::Left),
        ("cosine", Align::Right),
        ("max|Δ|/max|ref|", Align::Right),
        ("at", Align::Right),
        ("ours", Align::Right),
        ("reference", Align::Right),
        ("", Align::Left),
    ];
    let row = |row: &RowDifference| {
        let verdict = if row.passes { "" } else { "FAIL" };
        [
            row.path.clone(),
            format!("{:.8}", row.cosine),
            format!("{:.1e}", row.error),
            row.index.to_string(),
            row.ours.to_string(),
            row.reference.to_string(),
            verdict.to_owned(),
        ]
    };
    let rows: Vec<_> = worst.iter().map(row).collect();
    let extremes = format!("least cosine {least_cosine:.8}, largest error {largest_error:.1e}; the farthest:");
    format!("{verdict}\n{extremes}\n{}", table(header, &rows))
}

fn of_prompts(args: &Args, model: &Model, prompts: &Path, context: &Context) -> Result<Embeddings> {
    let Model::Clip(clip) = model else {
        let message = format!("{}: is a classifier, and --text needs CLIP's text tower", args.model.display());
        return Err(Error::new(ErrorKind::Usage, message));
    };
    let text = std::fs::read_to_string(prompts).map_err(|e| Error::io(prompts, e))?;
    let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(Error::new(ErrorKind::Data, format!("{}: holds no prompt", prompts.display())));
    }
    let batch = context.global.batch();
    let (values, truncated) = embed_texts(context.device()?, clip, &lines, batch, &context.progress)?;
    if truncated > 0 {
        let tokens = clip.text().context();
        context.progress.notice(&format!("{truncated} prompts have more than {tokens} tokens and were cut"));
    }
    Ok(Embeddings { values, paths: lines, skipped: Vec::new() })
}
