//! `heatlens embed`: a model's embeddings as a file.

use std::io;
use std::path::PathBuf;

use heatlens::dataset::Dataset;
use heatlens::models::Model;
use heatlens::semantics::{Embeddings, embed_images, embed_texts};
use heatlens::{Error, ErrorKind, Observer, Result};

use super::Context;
use super::args::{ImageArgs, check_output};
use super::output::Outcome;

/// Embed images with a classifier (its pooled features) or with CLIP, or prompts with CLIP
///
/// The file holds the tensor `embeddings` [N,E], not normalised, and in its metadata `paths`, a JSON list of the images' paths
/// (or of the prompts).
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("input").args(["paths", "text"]).required(true))]
#[command(after_help = "Examples:
  heatlens embed --model models/clip photos/ -o images.safetensors
  heatlens embed --model models/clip --text prompts.txt -o prompts.safetensors
  heatlens embed --model models/resnet18 photos/ -o features.safetensors")]
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
    #[arg(short = 'o', long = "output", value_name = "embeddings.safetensors")]
    embeddings: PathBuf,
    #[command(flatten)]
    image: ImageArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    check_output(&args.embeddings)?;
    let model = Model::open(&args.model, &context.progress)?;
    let embeddings = match &args.text {
        Some(prompts) => of_prompts(args, &model, prompts, context)?,
        None => {
            let images = Dataset::from_paths(&args.paths, &mut io::stdin().lock())?;
            let options = args.image.run_options(&context.global);
            embed_images(context.device()?, &model, &images, &options, &context.progress)?
        }
    };
    embeddings.save(&args.embeddings)?;
    let shape = embeddings.values.shape();
    let summary = serde_json::json!({"shape": shape, "skipped": embeddings.skipped, "output": args.embeddings});
    let text = || format!("{} embeddings of {} values written to {}\n", shape[0], shape[1], args.embeddings.display());
    context.print(&summary, text)?;
    Ok(Outcome::Done)
}

fn of_prompts(args: &Args, model: &Model, prompts: &std::path::Path, context: &Context) -> Result<Embeddings> {
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
