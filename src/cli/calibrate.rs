//! `heatlens calibrate`: a bundle and fresh images make a runtime filter.

use std::path::PathBuf;

use clap::ValueEnum;
use heatlens::semantics::{
    CalibrateOptions, Candidate, Choice, Combination, Distance, FilterHeader, Fraction, KindOdds, MISCLASSIFIED,
    ScoreMode, Stratum,
};
use heatlens::{Bundle, Filter, Result};

use super::Context;
use super::args::{Attacked, ImageArgs, attacked, check_output, labelled};
use super::output::{Align, Outcome, figure, percent, table};

/// Calibrate a runtime filter on labelled images that were used for nothing else, and write it as one file
///
/// The filter compares an image's heatmap with the maps of the class that was predicted: is it nearer to those of correct
/// predictions or to those of false alarms (and of attacks, if the bundle has them)? The threshold is the conformal one: at
/// most the given share of correct predictions is rejected, on average over calibration draws.
///
/// Distance, scores and whether the heatmap score is combined with the softmax (by logistic regression) are chosen by
/// cross-validation on one half of the images, by how well misclassified ones are told from correct ones, unless they are given;
/// the other half sets the threshold. Where attacked versions of the images are given, so that the filter is to tell attacks as
/// well, each set of them counts as much as the misclassified images. With fewer than ten misclassified images in the first half, or too few correct ones in the other
/// for the false-reject rate, the filter is cosine, raw, not combined, and all images set the threshold.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens calibrate bundle --images photos/calibrate -o model.heatlens
  heatlens calibrate bundle --images photos/calibrate --false-reject-rate 0.01 --self-contained -o model.heatlens
  heatlens calibrate bundle --images photos/calibrate --attacked pgd8=attacked/calibrate/eps8 -o model.heatlens
  heatlens calibrate bundle --images photos/calibrate --distance cosine --scores raw --combine never -o model.heatlens")]
pub(crate) struct Args {
    /// The bundle that `heatlens build` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The classifier [default: where the bundle found it]
    #[arg(long, value_name = "DIR")]
    classifier: Option<PathBuf>,
    /// Labelled images
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Attacked versions of some of the images, in class folders and of the same names (where `heatlens attack` made them its record
    /// tells which image is whose original)
    #[arg(long, value_name = "NAME=DIR")]
    attacked: Vec<Attacked>,
    /// The share of correct predictions that may be rejected
    #[arg(long, value_name = "ALPHA", default_value = "0.05")]
    false_reject_rate: Fraction,
    /// How maps are compared: l1, l2, cosine, cosine-plain, hamming or loglik [default: chosen]
    #[arg(long, value_name = "NAME")]
    distance: Option<Distance>,
    /// Compare scores as they are (raw), or each less its concept's mean over the bundle (centered) [default: chosen]
    #[arg(long, value_name = "MODE")]
    scores: Option<ScoreMode>,
    /// Combine the heatmap score with the softmax
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    combine: Combine,
    /// Put the classifier's weights into the file, so that it needs no other
    #[arg(long)]
    self_contained: bool,
    /// Let images in, attacked or not, or attacks on such, that the bundle or its aligner has seen; every output says so
    #[arg(long)]
    allow_overlap: bool,
    /// The file to write
    #[arg(short = 'o', long = "output", value_name = "model.heatlens")]
    filter: PathBuf,
    #[command(flatten)]
    image: ImageArgs,
}

/// Whether the heatmap score is combined with the softmax.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Combine {
    /// If that is better in cross-validation
    Auto,
    /// Whatever cross-validation says
    Always,
    /// The heatmap score alone
    Never,
}

impl Combine {
    fn given(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::Always => Some(true),
            Self::Never => Some(false),
        }
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let header = compute(args, context)?;
    let written = format!("written to {}\n", args.filter.display());
    context.print(&header, || text(&header) + &written)?;
    Ok(Outcome::Done)
}

/// Calibrates the filter and writes it.
pub(crate) fn compute(args: &Args, context: &Context) -> Result<FilterHeader> {
    check_output(&args.filter)?;
    let bundle = Bundle::open(&args.bundle)?;
    context.global.check_precision(&args.bundle, bundle.manifest().classifier.precision)?;
    let images = labelled(&args.images, &bundle.manifest().classes, context)?;
    let options = CalibrateOptions {
        false_reject_rate: args.false_reject_rate,
        distance: args.distance,
        scores: args.scores,
        combine: args.combine.given(),
        attacked: attacked(&args.attacked, &bundle.manifest().classes, context)?,
        self_contained: args.self_contained,
        run: args.image.run_options(&context.global),
        allow_overlap: args.allow_overlap,
    };
    let classifier = args.classifier.as_deref();
    let file = Filter::calibrate(context.device()?, &bundle, classifier, &images, &options, &context.progress)?;
    file.save(&args.filter)?;
    Ok(file.header().clone())
}

/// What was chosen, the thresholds and what they promise.
fn text(header: &FilterHeader) -> String {
    let FilterHeader { method, choice, false_reject_rate, .. } = header;
    let mut text = choice.as_ref().map(choice_text).unwrap_or_default();
    text += &format!("filter at a false-reject rate of {}: {method}\n", percent(*false_reject_rate));
    text += &method.combination.as_ref().map(combination_text).unwrap_or_default();
    let strata = Stratum::ALL.into_iter().filter_map(|stratum| Some((stratum, method.calibration.threshold(stratum)?)));
    for (stratum, threshold) in strata {
        let maps = match stratum {
            Stratum::Own => "own defect maps",
            Stratum::Pooled => "pooled defect maps",
        };
        text += &format!(
            "  classes with {maps}: reject above {:.4} (rank {} of {} correct images; realised rate in [{}, {}] with 90 %)\n",
            threshold.threshold,
            threshold.rank,
            threshold.n,
            percent(threshold.low),
            percent(threshold.high)
        );
    }
    text
}

/// What a combined score is made of.
fn combination_text(Combination { correct, kinds }: &Combination) -> String {
    let sum = |KindOdds { intercept, heatmap, log_odds, .. }: &KindOdds| {
        format!("{intercept:.3} {heatmap:+.3} · heatmap score {log_odds:+.3} · ln(p/(1 − p))")
    };
    let fitted: Vec<String> = kinds.iter().map(|kind| format!("{} {}", kind.images, kind.kind)).collect();
    let fitted = format!("fitted to {correct} correct and {} images", fitted.join(", "));
    match &kinds[..] {
        [only] => format!(
            "  score = {}, p the largest softmax probability\n  (the log-odds that the prediction is wrong, {fitted})\n",
            sum(only)
        ),
        _ => {
            let rows: Vec<[String; 2]> = kinds.iter().map(|kind| [format!("    {}", kind.kind), sum(kind)]).collect();
            let width = rows.iter().map(|[name, _]| name.chars().count()).max().unwrap_or(0);
            let rows: String = rows.iter().map(|[name, sum]| format!("{name:width$}  {sum}\n")).collect();
            format!(
                "  score = ln of the sum of exp over the kinds of defects, p the largest softmax probability\n{rows}  (the log-odds that the \
                 prediction is wrong if all kinds are as frequent, {fitted})\n"
            )
        }
    }
}

/// The cross-validated AUROC of every candidate: a row for each distance and kind of scores.
fn choice_text(choice: &Choice) -> String {
    let Choice { correct, misclassified, attacked, .. } = choice;
    let sets: String = attacked.iter().map(|(name, images)| format!(", {images} {name}")).collect();
    let mean = if attacked.is_empty() { "" } else { ", mean of the kinds" };
    let mut text = format!(
        "AUROC of {misclassified} misclassified{sets} among {correct} correct images{mean}, cross-validated on the half that sets no \
         threshold\n"
    );
    let best = choice.best(|_| true);
    let cell = |found: Option<&Candidate>| {
        found.map_or_else(
            || "–".to_owned(),
            |found| format!("{}{}", figure(&found.auroc), if best == Some(found) { " *" } else { "" }),
        )
    };
    let row = |(scores, distance): (ScoreMode, Distance)| {
        let of = |combined: bool| {
            let is_it =
                |found: &&Candidate| (found.distance, found.scores, found.combined) == (distance, scores, combined);
            choice.candidates.iter().find(is_it)
        };
        let cells = [of(false), of(true)];
        cells.iter().any(Option::is_some).then(|| [format!("  {distance} {scores}"), cell(cells[0]), cell(cells[1])])
    };
    let rows = ScoreMode::ALL.into_iter().flat_map(|scores| Distance::ALL.map(|distance| (scores, distance)));
    let rows: Vec<[String; 3]> = rows.filter_map(row).collect();
    let header = [("  maps", Align::Left), ("heatmap alone", Align::Left), ("with softmax", Align::Left)];
    text += &table(header, &rows);
    if let Some(best) = best.filter(|_| !attacked.is_empty()) {
        let names = std::iter::once(MISCLASSIFIED).chain(attacked.iter().map(|(name, _)| name.as_str()));
        let kinds: Vec<String> =
            names.zip(&best.kinds).map(|(name, auroc)| format!("{name} {}", figure(auroc))).collect();
        text += &format!("  * {}\n", kinds.join(", "));
    }
    text + "\n"
}
