//! `heatlens classify`: what a classifier says.

use std::io;
use std::path::PathBuf;

use heatlens::Result;
use heatlens::dataset::Dataset;
use heatlens::models::Classifier;
use heatlens::semantics::{Classified, classify};

use super::Context;
use super::args::ImageArgs;
use super::output::{Outcome, print, print_json_line};

/// Classify images with a classifier
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens classify --model models/resnet18 cat.jpg
  heatlens classify --model resnet50.safetensors photos/ --top 1 --json > predictions.jsonl")]
pub(crate) struct Args {
    /// The classifier: a folder in its ecosystem's layout, or a .safetensors file
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Images, folders of them, or - for paths on standard input, one a line
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// How many classes to print, the most probable first
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    #[command(flatten)]
    image: ImageArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let classifier = Classifier::open(&args.model, &context.progress)?;
    let images = Dataset::from_paths(&args.paths, &mut io::stdin().lock())?;
    let options = args.image.run_options(&context.global);
    let found = classify(context.device()?, &classifier, &images, args.top, &options, &context.progress)?;
    context.progress.clear();
    for image in &found {
        let printed = if context.global.json { print_json_line(image) } else { print(&text(image)) };
        printed?;
    }
    Ok(Outcome::Done)
}

fn text(image: &Classified) -> String {
    let mut text = format!("{}\n", image.path);
    for class in &image.classes {
        text += &format!("  {:>5.1} %  {}\n", 100.0 * class.probability, class.class);
    }
    text
}
