//! `heatlens align`: fit the map from a classifier's features to CLIP's space.

use std::path::PathBuf;

use heatlens::models::{Classifier, Clip};
use heatlens::semantics::{AlignOptions, AlignerFigures};
use heatlens::{Aligner, Error, ErrorKind, Result};

use super::Context;
use super::args::{ImageArgs, check_output, unlabelled};
use super::output::{Outcome, estimate, figure};

/// Fit the aligner: a linear map from the classifier's features to CLIP's image embeddings
///
/// It is fitted by ridge regression on images without labels. They must not be those that `build`, `calibrate` or `evaluate`
/// get: the aligner stores their content hashes, and those commands refuse an overlap. Unless --lambda is given, the strength
/// of the penalty is chosen by cross-validation, and a fifth of the images is held out to say how well the aligner does.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens align --classifier models/resnet18 --clip models/clip --images photos/align -o aligner.safetensors
  heatlens align --config heatlens.toml --lambda 10")]
pub(crate) struct Args {
    /// The classifier: a folder in its ecosystem's layout, a .safetensors file, or a name in the Hugging Face cache
    #[arg(long, value_name = "MODEL")]
    classifier: PathBuf,
    /// CLIP: a folder in Hugging Face's or open_clip's layout, or a name in the Hugging Face cache
    #[arg(long, value_name = "MODEL")]
    clip: PathBuf,
    /// Images to fit to; labels aren't needed
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// The strength of the penalty on the weights; all images are fitted to then
    #[arg(long, value_name = "X")]
    lambda: Option<f64>,
    /// The file to write: `weight` [E,D] and `bias` [E], as torch.nn.Linear has them
    #[arg(short = 'o', long = "output", value_name = "aligner.safetensors")]
    aligner: PathBuf,
    #[command(flatten)]
    image: ImageArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let aligner = compute(args, context)?;
    let written = format!("written to {}\n", args.aligner.display());
    context.print(&aligner.figures(), || aligner.figures().map(text).unwrap_or_default() + &written)?;
    Ok(Outcome::Done)
}

/// Fits the aligner and writes it.
pub(crate) fn compute(args: &Args, context: &Context) -> Result<Aligner> {
    if let Some(lambda) = args.lambda.filter(|lambda| !lambda.is_finite() || *lambda < 0.0) {
        return Err(Error::new(ErrorKind::Usage, format!("--lambda is {lambda}, expected a number from 0 on")));
    }
    check_output(&args.aligner)?;
    let classifier = Classifier::load(&context.files(&args.classifier)?, &context.progress)?;
    let clip = Clip::load(&context.files(&args.clip)?)?;
    let images = unlabelled(&args.images, context)?;
    let options = AlignOptions { lambda: args.lambda, run: args.image.run_options(&context.global) };
    let aligner = Aligner::fit(context.device()?, &classifier, &clip, &images, &options, &context.progress)?;
    aligner.save(&args.aligner)?;
    Ok(aligner)
}

/// The figures in a few lines.
fn text(figures: &AlignerFigures) -> String {
    let AlignerFigures { lambda, fitted, measured, r2, mean_cosine, .. } = figures;
    let on = if figures.held_out { "held-out images" } else { "of the fitted images themselves" };
    let agreement = figures
        .zero_shot_agreement
        .map_or_else(String::new, |share| format!("  same zero-shot class as CLIP  {}\n", estimate(&share)));
    format!(
        "aligner fitted to {fitted} images with lambda {lambda:.3e}; on {measured} {on}:\n  R²                            \
         {}\n  mean cosine                   {}\n{agreement}",
        figure(r2),
        figure(mean_cosine)
    )
}
