//! `heatlens compare`: what became of a classifier from one bundle to another.

use std::path::PathBuf;

use heatlens::semantics::{ClassDrift, CompareOptions, Drift, PairDrift, PairedChange, ScoreMode, Space};
use heatlens::{Bundle, Result};

use super::Context;
use super::args::share;
use super::output::{Align, Outcome, estimate, or_dash, percent, table};

/// Compare two bundles on the images that both hold: accuracy, recall of each class, and which concepts changed their order
///
/// Images are matched by their content, so every test is of pairs: McNemar's exact test and paired intervals, corrected for many
/// tests over the classes and over the pairs of concepts within each. The drift of a class is the share of all comparisons between
/// two concepts, over its images, that came out otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens compare bundle-v1 bundle-v2
  heatlens compare bundle-v1 bundle-v2 --max-drift 0.05

Exit codes:
  1  the drift of a supported class is above --max-drift")]
pub(crate) struct Args {
    /// The earlier bundle
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The later bundle, of the same classes and concepts
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// Fail with exit code 1 if any supported class drifts more than this share
    #[arg(long, value_name = "X", value_parser = share)]
    max_drift: Option<f64>,
    /// The space of the scores: classifier or clip
    #[arg(long, value_name = "SPACE", default_value = "classifier")]
    space: Space,
    /// Compare scores as they are (raw) or less each concept's mean in its own bundle (centered)
    #[arg(long, value_name = "MODE", default_value = "raw")]
    scores: ScoreMode,
}

/// Pairs of concepts that are printed of each class.
const PAIRS: usize = 3;

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let [before, after] = [&args.before, &args.after].map(|folder| Bundle::open(folder));
    let options = CompareOptions { space: args.space, mode: args.scores, max_drift: args.max_drift };
    let drift = before?.compare(&after?, context.device()?, &options, &context.progress)?;
    context.print(&drift, || text(&drift))?;
    Ok(if drift.above.is_empty() { Outcome::Done } else { Outcome::GateFailed })
}

fn text(drift: &Drift) -> String {
    let Drift { images, only_before, only_after, predictions_changed, accuracy, classes, .. } = drift;
    let mut text = format!(
        "{images} images in both ({only_before} only before, {only_after} only after), {predictions_changed} predictions \
         differ\n"
    );
    if drift.same_classifier {
        text += "both bundles are of the same classifier\n";
    }
    if !drift.made_differently.is_empty() {
        let differing = drift.made_differently.join(", ");
        text += &format!(
            "note: the bundles also have different {differing}; what changed needn't be the classifier's doing\n"
        );
    }
    text += &format!("accuracy  {}, p = {:.3}\n", change(accuracy), accuracy.p);
    let share = or_dash(drift.drift.as_ref(), estimate);
    text += &format!("drift     {share} of the comparisons between concepts came out otherwise\n\n");
    let header = [
        ("class", Align::Left),
        ("images", Align::Right),
        ("recall", Align::Left),
        ("adj. p", Align::Right),
        ("drift", Align::Left),
        ("pairs changed", Align::Right),
        ("reversed", Align::Right),
    ];
    text += &table(header, &classes.iter().map(class_row).collect::<Vec<_>>());
    let tested = classes.iter().filter(|class| class.supported).count();
    text += &format!(
        "* recall changed; false-discovery rate 5 %, over {tested} classes and over the pairs of concepts within each\n"
    );
    let pairs: Vec<_> = classes.iter().flat_map(pair_rows).collect();
    if !pairs.is_empty() {
        text += &format!(
            "\nhow often the first of two concepts beats the second, the {PAIRS} largest changes of each class\n"
        );
        let header = [("class", Align::Left), ("pair", Align::Left), ("images", Align::Left), ("adj. p", Align::Right)];
        text += &table(header, &pairs);
        text += "! most images changed sides\n";
    }
    if let Some(most) = drift.max_drift {
        text += &match &drift.above[..] {
            [] => format!("no class drifts more than {}", percent(most)),
            above => format!("more than {} drift: {}", percent(most), above.join(", ")),
        };
        let few = classes.iter().filter(|class| !class.supported).map(|class| class.class.as_str());
        let few = few.collect::<Vec<_>>().join(", ");
        text += &if few.is_empty() { "\n".to_owned() } else { format!("; too few images to tell: {few}\n") };
    }
    text
}

fn change(PairedChange { before, after, change, .. }: &PairedChange) -> String {
    let [value, low, high] = [change.value, change.low, change.high].map(|share| format!("{:+.1}", 100.0 * share));
    format!("{} → {} ({value} [{low}, {high}])", percent(*before), percent(*after))
}

/// The pairs of a class that changed most.
fn pair_rows(class: &ClassDrift) -> impl Iterator<Item = [String; 4]> {
    class.pairs.iter().take(PAIRS).map(|PairDrift { stronger, weaker, share, adjusted, reversed }| {
        let mark = if *reversed { " !" } else { "" };
        [class.class.clone(), format!("{stronger} > {weaker}"), change(share) + mark, format!("{adjusted:.3}")]
    })
}

fn class_row(class: &ClassDrift) -> [String; 7] {
    let none = || "–".to_owned();
    let mark = if class.changed { "*" } else { "" };
    [
        class.class.clone(),
        class.images.to_string(),
        class.recall.as_ref().map_or_else(none, |recall| change(recall) + mark),
        class.adjusted.map_or_else(none, |p| format!("{p:.3}")),
        class.drift.as_ref().map_or_else(|| "unsupported".to_owned(), estimate),
        format!("{} of {}", class.pairs.len(), class.tests),
        class.pairs.iter().filter(|pair| pair.reversed).count().to_string(),
    ]
}
