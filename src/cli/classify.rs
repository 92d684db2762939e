//! `heatlens classify`: what a classifier says.

use std::io;
use std::path::PathBuf;

use heatlens::Result;
use heatlens::dataset::Dataset;
use heatlens::models::Classifier;
use heatlens::semantics::{Classified, classify};

use super::Context;
use super::args::{ImageArgs, class_names};
use super::output::{Outcome, print, print_json_line};

/// Classify images with a classifier
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens classify --model models/resnet18 cat.jpg
  heatlens classify --model timm/resnet50.a1_in1k cat.jpg          from the Hugging Face cache
  heatlens classify --model resnet50.safetensors --classes imagenet.txt photos/ --top 1 --json > predictions.jsonl")]
pub(crate) struct Args {
    /// The classifier: a folder in its ecosystem's layout, a .safetensors file, or a name in the Hugging Face cache
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// The names of its classes, one a line in logit order [default: those of its configuration, or else numbers]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
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
    let classifier = Classifier::load(&context.files(&args.model)?, &context.progress)?;
    let names = match &args.classes {
        Some(list) => Some(class_names(Some(list), &classifier, &args.model)?),
        None => classifier.class_names().map(<[String]>::to_vec),
    };
    let images = Dataset::from_paths(&args.paths, &mut io::stdin().lock())?;
    let options = args.image.run_options(&context.global);
    let device = context.device()?;
    let found = classify(device, &classifier, names.as_deref(), &images, args.top, &options, &context.progress)?;
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
