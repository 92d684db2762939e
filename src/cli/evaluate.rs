//! `heatlens evaluate`: how good is a filter on images that it has never seen?

use std::path::{Path, PathBuf};

use clap::Subcommand;
use heatlens::models::Clip;
use heatlens::semantics::{EvaluateOptions, Evaluation, KindResult, MethodResult};
use heatlens::weights::ModelFiles;
use heatlens::{Error, Filter, Result, files};

use super::Context;
use super::args::{Attacked, ImageArgs, attacked, check_output, labelled, name_mismatch, name_overlap};
use super::output::{Align, Outcome, estimate, percent, table};

/// Measure what heatlens makes on images that nothing was made from
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Filter(FilterArgs),
}

/// Measure a filter: which misclassifications and attacks it catches, beside the usual baselines
///
/// For each kind of defect: AUROC, AUPR, the false-positive rate at 95 % true positives, and the share caught at the
/// threshold. The baselines (maximum softmax probability, maximum logit, energy) have thresholds calibrated on the same images.
/// Where a baseline wins, the output says so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens evaluate filter --filter model.heatlens --images photos/test
  heatlens evaluate filter --filter model.heatlens --images photos/test --attacked pgd8=attacked/eps8 -o eval.json")]
struct FilterArgs {
    /// The file that `heatlens calibrate` wrote
    #[arg(long, value_name = "model.heatlens")]
    filter: PathBuf,
    /// The classifier [default: the one in the filter, or where it was at calibration]
    #[arg(long, value_name = "DIR")]
    classifier: Option<PathBuf>,
    /// CLIP, for the baseline that compares the prediction with CLIP's own
    #[arg(long, value_name = "DIR")]
    clip: Option<PathBuf>,
    /// Labelled images
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Attacked versions of some of the images, in class folders and of the same names
    #[arg(long, value_name = "NAME=DIR")]
    attacked: Vec<Attacked>,
    /// Let images in that the filter, its bundle or its aligner has seen; every output says so
    #[arg(long)]
    allow_overlap: bool,
    /// A file for all figures, which `heatlens report` reads
    #[arg(short = 'o', long = "output", value_name = "eval.json")]
    evaluation: Option<PathBuf>,
    #[command(flatten)]
    image: ImageArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let evaluation = compute(args, context)?;
    context.print(&evaluation, || text(&evaluation))?;
    Ok(Outcome::Done)
}

/// Evaluates the filter, and writes the figures where that was asked for.
pub(crate) fn compute(args: &Args, context: &Context) -> Result<Evaluation> {
    let What::Filter(args) = &args.what;
    args.evaluation.as_deref().map(check_output).transpose()?;
    let filter = Filter::open(context.device()?, &args.filter, args.classifier.as_deref())?;
    context.global.check_precision(&args.filter, filter.header().classifier.precision)?;
    let clip = args
        .clip
        .as_deref()
        .map(|clip| Clip::load(&ModelFiles::open(clip)?.with_precision(filter.header().clip.precision)));
    let clip = clip.transpose()?;
    let classes = filter.header().classes.clone();
    let images = labelled(&args.images, &classes, context)?;
    let attacked = attacked(&args.attacked, &classes, context)?;
    let options = EvaluateOptions { run: args.image.run_options(&context.global), allow_overlap: args.allow_overlap };
    let evaluation = filter
        .evaluate(&images, &attacked, clip.as_ref(), &options, &context.progress)
        .map_err(|e| name_mismatch(name_overlap(e, &args.images), args.clip.as_deref()))?;
    if let Some(path) = &args.evaluation {
        save(&evaluation, path)?;
    }
    Ok(evaluation)
}

/// Writes an evaluation as JSON.
fn save(evaluation: &Evaluation, path: &Path) -> Result<()> {
    files::write_atomic(path, |file| {
        serde_json::to_writer_pretty(&mut *file, evaluation)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(|e| Error::io(path, e))
    })
}

fn text(evaluation: &Evaluation) -> String {
    let Evaluation { images, accuracy, coverage, promised_false_rejects, .. } = evaluation;
    let mut text = format!("{images} images, accuracy {}\n", percent(*accuracy));
    text += &format!(
        "false rejects {} (promised: at most {} on average); {} of the images are kept, accuracy on them {}\n",
        evaluation.false_rejects.map_or_else(|| "–".to_owned(), |found| estimate(&found)),
        percent(*promised_false_rejects),
        percent(*coverage),
        evaluation.kept_accuracy.map_or_else(|| "–".to_owned(), |found| estimate(&found)),
    );
    for kind in &evaluation.kinds {
        let KindResult { kind, defects, sound, failed_attacks, methods } = kind;
        text += &format!("\n{kind}: {defects} defects among {sound} correctly classified images");
        text +=
            &if *failed_attacks > 0 { format!("; {failed_attacks} attacks changed nothing\n") } else { "\n".into() };
        let header = [
            ("method", Align::Left),
            ("AUROC", Align::Left),
            ("AUPR", Align::Left),
            ("FPR95", Align::Left),
            ("caught at the threshold", Align::Left),
        ];
        text += &table(header, &methods.iter().map(method_row).collect::<Vec<_>>());
    }
    for notice in &evaluation.notices {
        text += &format!("note: {notice}\n");
    }
    text
}

fn method_row(result: &MethodResult) -> [String; 5] {
    let none = || "–".to_owned();
    let figure = |pick: fn(&heatlens::semantics::Detection) -> heatlens::semantics::statistics::Estimate| {
        result.detection.as_ref().map_or_else(none, |found| {
            let found = pick(found);
            format!("{:.3} [{:.3}, {:.3}]", found.value, found.low, found.high)
        })
    };
    [
        result.method.clone(),
        figure(|found| found.auroc),
        figure(|found| found.aupr),
        figure(|found| found.fpr95),
        result.detected.map_or_else(none, |found| estimate(&found)),
    ]
}
