//! `heatlens calibrate`: a bundle and fresh images make a runtime filter.

use std::path::PathBuf;

use heatlens::semantics::{CalibrateOptions, Distance, FilterHeader, Fraction, ScoreMode, Stratum};
use heatlens::{Bundle, Filter, Result};

use super::Context;
use super::args::{ImageArgs, check_output, labelled, name_overlap};
use super::output::{Outcome, percent};

/// Calibrate a runtime filter on labelled images that were used for nothing else, and write it as one file
///
/// The filter compares an image's heatmap with the maps of the class that was predicted: is it nearer to those of correct
/// predictions or to those of false alarms (and of attacks, if the bundle has them)? The threshold is the conformal one: at
/// most the given share of correct predictions is rejected, on average over calibration draws.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens calibrate bundle --images photos/calibrate -o model.heatlens
  heatlens calibrate bundle --images photos/calibrate --false-reject-rate 0.01 --self-contained -o model.heatlens")]
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
    /// The share of correct predictions that may be rejected
    #[arg(long, value_name = "ALPHA", default_value = "0.05")]
    false_reject_rate: Fraction,
    /// How maps are compared: l1, l2, cosine, cosine-plain, hamming or loglik
    #[arg(long, value_name = "NAME", default_value = "cosine")]
    distance: Distance,
    /// Compare scores as they are (raw), or each less its concept's mean over the bundle (centered)
    #[arg(long, value_name = "MODE", default_value = "raw")]
    scores: ScoreMode,
    /// Put the classifier's weights into the file, so that it needs no other
    #[arg(long)]
    self_contained: bool,
    /// Let images in that the bundle or its aligner has seen; every output says so
    #[arg(long)]
    allow_overlap: bool,
    /// The file to write
    #[arg(short = 'o', long = "output", value_name = "model.heatlens")]
    filter: PathBuf,
    #[command(flatten)]
    image: ImageArgs,
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
        self_contained: args.self_contained,
        run: args.image.run_options(&context.global),
        allow_overlap: args.allow_overlap,
    };
    let classifier = args.classifier.as_deref();
    let file = Filter::calibrate(context.device()?, &bundle, classifier, &images, &options, &context.progress)
        .map_err(|e| name_overlap(e, &args.images))?;
    file.save(&args.filter)?;
    Ok(file.header().clone())
}

/// The thresholds and what they promise, in a few lines.
fn text(header: &FilterHeader) -> String {
    let mut text = format!(
        "filter at a false-reject rate of {}, distance {}\n",
        percent(header.false_reject_rate),
        header.distance
    );
    let strata = Stratum::ALL.into_iter().filter_map(|stratum| Some((stratum, header.calibration.threshold(stratum)?)));
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
