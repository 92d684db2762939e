//! `heatlens evaluate`: how good is a filter on images that it has never seen?

use std::path::{Path, PathBuf};

use clap::Subcommand;
use heatlens::models::Clip;
use heatlens::semantics::statistics::Estimate;
use heatlens::semantics::{
    Accuracy, EvaluateOptions, Evaluation, Kept, KindResult, Method, MethodResult, Role, SelectiveResult,
};
use heatlens::weights::ModelFiles;
use heatlens::{Error, Filter, Result, files};

use super::Context;
use super::args::{Attacked, ImageArgs, attacked, check_output, labelled, name_mismatch};
use super::output::{Align, Outcome, estimate, figure, or_dash, percent, table};

mod localization;

/// Measure what heatlens makes on images that nothing was made from
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Filter(FilterArgs),
    Localization(localization::Args),
}

/// Measure a filter: which misclassifications and attacks it catches, beside the usual baselines
///
/// For each kind of defect: AUROC, AUPR, the false-positive rate at 95 % true positives, the share caught at the threshold, AURC and
/// accuracy against coverage; on the clean images: what the thresholds keep. Beside the filter's own method
/// stand every other distance of raw and of centred scores, the best combination with the softmax, and the baselines (maximum
/// softmax probability, maximum logit, energy), all with thresholds calibrated on the same images, and CLIP's disagreement without one.
/// Where a baseline wins, the output says so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens evaluate filter --filter model.heatlens --images photos/test
  heatlens evaluate filter --filter model.heatlens --images photos/test --attacked pgd8=attacked/eps8 -o eval.json")]
pub(crate) struct FilterArgs {
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
    /// Attacked versions of some of the images, in class folders and of the same names (where `heatlens attack` made them its record
    /// tells which image is whose original)
    #[arg(long, value_name = "NAME=DIR")]
    attacked: Vec<Attacked>,
    /// Let images in, attacked or not, or attacks on such, that the filter, its bundle or its aligner has seen; every output says so
    #[arg(long)]
    allow_overlap: bool,
    /// A file for all figures, which `heatlens report` reads
    #[arg(short = 'o', long = "output", value_name = "eval.json")]
    evaluation: Option<PathBuf>,
    #[command(flatten)]
    image: ImageArgs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    match &args.what {
        What::Filter(args) => {
            let evaluation = compute(args, context)?;
            context.print(&evaluation, || text(&evaluation))?;
            Ok(Outcome::Done)
        }
        What::Localization(args) => localization::run(args, context),
    }
}

/// Evaluates the filter, and writes the figures where that was asked for.
pub(crate) fn compute(args: &FilterArgs, context: &Context) -> Result<Evaluation> {
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
        .map_err(|e| name_mismatch(e, args.clip.as_deref()))?;
    if let Some(path) = &args.evaluation {
        save(&evaluation, path)?;
    }
    Ok(evaluation)
}

/// Writes an evaluation as JSON.
fn save(evaluation: &impl serde::Serialize, path: &Path) -> Result<()> {
    files::write_atomic(path, |file| {
        serde_json::to_writer_pretty(&mut *file, evaluation)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(|e| Error::io(path, e))
    })
}

fn text(evaluation: &Evaluation) -> String {
    let Evaluation { method, images, accuracy, promised_false_rejects, kept, .. } = evaluation;
    let mut text = format!("{method}; {images} images, accuracy {}\n", estimate(accuracy));
    text += &format!(
        "false rejects {} (promised: at most {} on average); {} of the images are kept, accuracy on them {}\n",
        or_dash(kept.false_rejects.as_ref(), estimate),
        percent(*promised_false_rejects),
        estimate(&kept.coverage),
        or_dash(kept.accuracy.as_ref(), estimate),
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
        text += &winners(method, methods);
        text += "accuracy (%) among the least suspicious of these images, by the share of them that is kept\n";
        let header = ["method", "AURC", "95 %", "90 %", "80 %", "70 %", "50 %"].map(|name| (name, Align::Left));
        text += &table(header, &methods.iter().filter_map(selective_row).collect::<Vec<_>>());
    }
    text += "\nat the threshold, on the clean images\n";
    let header = ["method", "false rejects", "kept", "accuracy of the kept"].map(|name| (name, Align::Left));
    text += &table(header, &evaluation.selective.iter().filter_map(kept_row).collect::<Vec<_>>());
    text += "\n* the filter\n";
    for notice in &evaluation.notices {
        text += &format!("note: {notice}\n");
    }
    text
}

/// The method's name; the filter's is marked.
fn name(method: &str, role: Role) -> String {
    format!("{method}{}", if role == Role::Filter { " *" } else { "" })
}

/// Which baselines rank the defects better than the filter, and which don't; the heatmap alone counts as one where the filter combines it.
fn winners(method: &Method, methods: &[MethodResult]) -> String {
    let auroc = |result: &MethodResult| Some(result.detection?.auroc.value);
    let Some(ours) = methods.iter().find(|result| result.role == Role::Filter).and_then(auroc) else {
        return String::new();
    };
    let alone = method.heatmap_alone();
    let rival = |result: &MethodResult| match result.role {
        Role::Baseline => Some((result.method.clone(), auroc(result)?)),
        Role::Alternative if alone.as_ref() == Some(&result.method) => {
            Some(("its heatmap alone".to_owned(), auroc(result)?))
        }
        _ => None,
    };
    let (better, others): (Vec<_>, Vec<_>) = methods.iter().filter_map(rival).partition(|(_, theirs)| *theirs > ours);
    let list = |mut of: Vec<(String, f64)>| {
        of.sort_by(|a, b| b.1.total_cmp(&a.1));
        let named: Vec<String> = of.iter().map(|(name, auroc)| format!("{name} {auroc:.3}")).collect();
        if named.is_empty() { "none".to_owned() } else { named.join(", ") }
    };
    format!("better than the filter's AUROC of {ours:.3}: {}; not better: {}\n", list(better), list(others))
}

fn method_row(result: &MethodResult) -> [String; 5] {
    let detection = result.detection.as_ref();
    [
        name(&result.method, result.role),
        or_dash(detection.map(|found| &found.auroc), figure),
        or_dash(detection.map(|found| &found.aupr), figure),
        or_dash(detection.map(|found| &found.fpr95), figure),
        or_dash(result.detected.as_ref(), estimate),
    ]
}

fn selective_row(result: &MethodResult) -> Option<[String; 7]> {
    let selective = result.selective.as_ref()?;
    let at = |coverage: f64| {
        let found = selective.at.iter().find(|found| found.coverage == coverage);
        found.map_or_else(String::new, |Accuracy { accuracy: Estimate { value, low, high }, .. }| {
            format!("{:.1} [{:.0}, {:.0}]", 100.0 * value, 100.0 * low, 100.0 * high)
        })
    };
    let [aurc, name] = [figure(&selective.aurc), name(&result.method, result.role)];
    Some([name, aurc, at(0.95), at(0.9), at(0.8), at(0.7), at(0.5)])
}

fn kept_row(result: &SelectiveResult) -> Option<[String; 4]> {
    let Kept { coverage, accuracy, false_rejects } = result.kept?;
    Some([
        name(&result.method, result.role),
        or_dash(false_rejects.as_ref(), estimate),
        estimate(&coverage),
        or_dash(accuracy.as_ref(), estimate),
    ])
}
