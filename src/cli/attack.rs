//! `heatlens attack`: pictures that a classifier misreads, found by asking it.

use std::path::PathBuf;

use heatlens::Result;
use heatlens::models::Classifier;
use heatlens::semantics::{AttackMethod, AttackOptions, AttackReport, attack};

use super::Context;
use super::args::{ImageArgs, check_output_folder, class_names, labelled};
use super::output::{Align, Outcome, estimate, or_dash, table};

/// Attack the images that a classifier reads correctly, by forward passes alone, for build's --attacked
///
/// Square Attack (Andriushchenko et al., 2020) or uniform noise, L∞, on the 8-bit pixels of the original picture, whatever its
/// size: each query goes through the model's own preprocessing. Every attacked image is written as PNG into the folder of its
/// class, misread or not, and is within epsilon of the original exactly. Beside the folder, DIR.jsonl keeps what became of each; an
/// interrupted attack goes on from there when the same command is given again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens attack --classifier models/resnet18 --images photos/build --epsilon 8/255 --queries 1000 -o attacked/square8
  heatlens attack --classifier models/resnet18 --images photos/build --method noise --epsilon 8/255 -o attacked/noise8
  heatlens build --config heatlens.toml --attacked square8=attacked/square8")]
pub(crate) struct Args {
    /// The classifier: a folder in its ecosystem's layout, a .safetensors file, or a name in the Hugging Face cache
    #[arg(long, value_name = "MODEL")]
    classifier: PathBuf,
    /// The list of classes in logit order [default: the names in the model's configuration]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Labelled images: a folder for each class, a manifest, or WebDataset shards
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// How pictures are searched for: square or noise
    #[arg(long, value_name = "METHOD", default_value = "square")]
    method: AttackMethod,
    /// How far each channel of a pixel may move, as a share of its range: 8/255 or 0.03 (rounded down to whole levels)
    #[arg(long, value_name = "EPS", value_parser = levels)]
    epsilon: u8,
    /// How often the classifier is asked about an image at most
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    queries: u64,
    /// The seed of the random numbers
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// The folder to write, new or this attack's own
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    attacked: PathBuf,
    #[command(flatten)]
    image: ImageArgs,
}

/// Whole levels of 0 … 255 from a share of that range.
fn levels(text: &str) -> Result<u8, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let share = match text.split_once('/') {
        Some((part, whole)) => number(part).zip(number(whole)).map(|(part, whole)| part / whole),
        None => number(text),
    };
    // 8/255 · 255 may come out just below 8.
    let levels = share.map(|share| (255.0 * share + 1e-9).floor()).filter(|levels| (1.0..=255.0).contains(levels));
    levels.map(|levels| levels as u8).ok_or_else(|| "expected a share from 1/255 to 1, such as 8/255".to_owned())
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    check_output_folder(&args.attacked)?;
    let classifier = Classifier::load(&context.files(&args.classifier)?, &context.progress)?;
    let classes = class_names(args.classes.as_deref(), &classifier, &args.classifier)?;
    let images = labelled(&args.images, &classes, context)?;
    let options = AttackOptions { method: args.method, levels: args.epsilon, queries: args.queries, seed: args.seed };
    let run = args.image.run_options(&context.global);
    let report = attack(context.device()?, &classifier, &images, options, &run, &context.progress, &args.attacked)?;
    context.print(&report, || text(&report) + &format!("written to {}\n", args.attacked.display()))?;
    Ok(Outcome::Done)
}

fn text(report: &AttackReport) -> String {
    let AttackReport { options, images, attacked, by_queries, .. } = report;
    let shares = [report.accuracy, report.robust_accuracy, report.success];
    let [accuracy, robust, success] = shares.map(|share| or_dash(share.as_ref(), estimate));
    let mut text = format!(
        "{images} images; {} are read correctly and were attacked, ε = {}/255\naccuracy         {accuracy}\nafter the attack \
         {robust}\nattacks succeed  {success}",
        attacked.len(),
        options.levels,
    );
    text += &report.median_queries.map_or_else(String::new, |median| format!(", half of them within {median} queries"));
    text += "\n\n";
    let header = [("queries", Align::Right), ("succeeded", Align::Left)];
    let row = |step: &heatlens::semantics::SuccessByQueries| [step.queries.to_string(), estimate(&step.success)];
    text + &table(header, &by_queries.iter().map(row).collect::<Vec<_>>())
}
