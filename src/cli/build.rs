//! `heatlens build`: classifier, CLIP and aligner over labelled images, into a bundle.

use std::path::PathBuf;

use heatlens::dataset::Shard;
use heatlens::models::{Classifier, Clip};
use heatlens::semantics::{BuildInputs, BuildOptions, Concepts, MINIMUM_SUPPORT, Manifest, Templates, shard};
use heatlens::{Aligner, Bundle, Result};

use super::Context;
use super::args::{Attacked, ImageArgs, attacked, check_output_folder, class_names, labelled};
use super::output::{Outcome, estimate};

/// Run classifier, CLIP and aligner over labelled images and write a bundle: scores, heatmaps, everything that later
/// commands need
///
/// An interrupted build goes on where it was when the same command is given again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens build --classifier models/resnet18 --clip models/clip --aligner aligner.safetensors \\
      --concepts concepts.txt --images photos/build -o bundle
  heatlens build --config heatlens.toml --attacked pgd8=attacked/eps8 --json
  heatlens build --config heatlens.toml --shard 2/5 -o part2

Lists:
  concepts, classes   one a line, `name` or `name: prompt phrase | prompt phrase`; # begins a comment
  templates           one a line with {} where the phrase goes; default: a photo of a {}.")]
pub(crate) struct Args {
    /// The classifier: a folder in its ecosystem's layout, a .safetensors file, or a name in the Hugging Face cache
    #[arg(long, value_name = "MODEL")]
    classifier: PathBuf,
    /// CLIP: a folder in Hugging Face's or open_clip's layout, or a name in the Hugging Face cache
    #[arg(long, value_name = "MODEL")]
    clip: PathBuf,
    /// The aligner that `heatlens align` wrote, or any `weight` [E,D] and `bias` [E]
    #[arg(long, value_name = "FILE")]
    aligner: PathBuf,
    /// The list of concepts
    #[arg(long, value_name = "FILE")]
    concepts: PathBuf,
    /// The list of classes in logit order [default: the names in the model's configuration]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// The list of prompt templates
    #[arg(long, value_name = "FILE")]
    templates: Option<PathBuf>,
    /// Labelled images: a folder for each class, a manifest, or WebDataset shards
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Attacked versions of some of the images, in class folders and of the same names (where `heatlens attack` made them its record
    /// tells which image is whose original), for adversarial maps
    #[arg(long, value_name = "NAME=DIR")]
    attacked: Vec<Attacked>,
    /// Take only this part of the images (2/5: the second of five), by their content; `heatlens merge` joins the bundles
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Images in a map's set under which it is called unsupported
    #[arg(long, value_name = "N", default_value_t = MINIMUM_SUPPORT)]
    minimum_support: u64,
    /// Let images in, or attacks on such, that the aligner was fitted on; every output says so
    #[arg(long)]
    allow_overlap: bool,
    /// The folder to write
    #[arg(short = 'o', long = "output", value_name = "BUNDLE")]
    bundle: PathBuf,
    #[command(flatten)]
    image: ImageArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let bundle = compute(args, context)?;
    let written = format!("written to {}\n", args.bundle.display());
    context.print(bundle.manifest(), || text(bundle.manifest()) + &written)?;
    Ok(Outcome::Done)
}

/// Builds the bundle.
pub(crate) fn compute(args: &Args, context: &Context) -> Result<Bundle> {
    check_output_folder(&args.bundle)?;
    let concepts = Concepts::from_file(&args.concepts)?;
    let templates = args.templates.as_ref().map(Templates::from_file).transpose()?.unwrap_or_default();
    let classifier = Classifier::load(&context.files(&args.classifier)?, &context.progress)?;
    let clip = Clip::load(&context.files(&args.clip)?)?;
    let aligner = Aligner::open(&args.aligner)?;
    let classes = class_names(args.classes.as_deref(), &classifier, &args.classifier)?;
    let mut images = labelled(&args.images, &classes, context)?;
    let mut attacked = attacked(&args.attacked, &classes, context)?;
    if let Some(part) = args.shard {
        (images, attacked) =
            shard(&images, &attacked, part, &context.progress).map_err(|e| e.at(args.images.display()))?;
    }
    let options = BuildOptions {
        run: args.image.run_options(&context.global),
        attacked,
        allow_overlap: args.allow_overlap,
        minimum_support: args.minimum_support,
        ..BuildOptions::default()
    };
    let inputs = BuildInputs {
        classifier: &classifier,
        classifier_path: &args.classifier,
        clip: &clip,
        clip_path: &args.clip,
        aligner: &aligner,
        concepts: &concepts,
        classes: &classes,
        templates: &templates,
        images: &images,
        images_path: &args.images,
    };
    Bundle::build(context.device()?, &inputs, &options, &context.progress, &args.bundle)
}

/// What was built, in a few lines.
pub(crate) fn text(manifest: &Manifest) -> String {
    let Manifest { n, classes, concepts, accuracy, adapter, near_ties, cells, .. } = manifest;
    let mut text = format!(
        "{n} images of {} classes, {} concepts, on {adapter}\n  accuracy    {}\n  near ties   {near_ties} of {cells} cells could \
         come out the other way on another adapter\n",
        classes.len(),
        concepts.len(),
        estimate(accuracy),
    );
    for attack in &manifest.attacks {
        text += &format!(
            "  {:<11} {} attacks changed the prediction, {} didn't, {} were on misclassified images\n",
            attack.name, attack.succeeded, attack.failed, attack.misclassified_before
        );
    }
    for (path, why) in &manifest.skipped {
        text += &format!("  skipped     {path}: {why}\n");
    }
    let total: u64 = manifest.dispatches.values().sum();
    text + &format!("  dispatches  {total} of {} kernels\n", manifest.dispatches.len())
}
