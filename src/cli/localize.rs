//! `heatlens localize`: is the encoder or the head at fault?

use std::path::PathBuf;

use clap::ValueEnum;
use heatlens::semantics::{
    Change, ClassTally, HeadShare, HeatmapRule, Localization, LocalizeOptions, Oracle, OracleTable, SHORTFALL, Tally,
    Verdicts,
};
use heatlens::{Bundle, Result};

use super::Context;
use super::args::finite;
use super::output::{Align, Outcome, estimate, or_dash, table};

/// Tell for each misclassified image whether the encoder lost its meaning or the head misread it
///
/// By default a head is refitted to the features: where it would have got the image right, and the classifier's own head misreads
/// even typical features of the class, the head is at fault; otherwise the encoder, which is to say that the head isn't broken, not
/// that another one wouldn't do better. The published zero-shot oracle instead takes the
/// class whose prompt is nearest to the aligned feature: if that is the true class, it blames the head, and where CLIP itself doesn't
/// recognise the image, it leaves the verdict undetermined. The heatmap oracle is a second opinion by the distance to the class's map.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens localize bundle
  heatlens localize bundle --oracle zero-shot --margin 0.01
  heatlens localize bundle --json | jq .totals")]
pub(crate) struct Args {
    /// The bundle that `heatlens build` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Whose verdicts are given: counterfactual (refitted head and typical features), zero-shot (the published one), or refit (head
    /// wherever a refitted head is right)
    #[arg(long, value_name = "ORACLE", default_value_t = Oracle::default())]
    oracle: Oracle,
    /// By how many standard deviations the own head's margin on a typical feature must fall short of a refitted head's for the
    /// counterfactual oracle to blame it
    #[arg(long, value_name = "X", default_value_t = SHORTFALL, value_parser = finite::<f64>)]
    shortfall: f64,
    /// The zero-shot oracle's margin (top-1 less top-2 cosine) under which its verdict is undetermined
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = finite::<f32>)]
    margin: f32,
    /// How the heatmap oracle decides
    #[arg(long, value_name = "RULE", value_enum, default_value = "percentile")]
    heatmap_rule: HeatmapRuleArg,
}

/// How the heatmap oracle decides.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum HeatmapRuleArg {
    /// Encoder if the distance to the correct map is above the 95th percentile of the class's correct images
    Percentile,
    /// Encoder if the missed map, without the image itself, is nearer than the correct map
    Nearer,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let localization = compute(args, context)?;
    context.print(&localization, || text(&localization))?;
    Ok(Outcome::Done)
}

/// Localises the faults.
pub(crate) fn compute(args: &Args, context: &Context) -> Result<Localization> {
    let bundle = Bundle::open(&args.bundle)?;
    let heatmap_rule = match args.heatmap_rule {
        HeatmapRuleArg::Percentile => HeatmapRule::Percentile,
        HeatmapRuleArg::Nearer => HeatmapRule::Nearer,
    };
    let options = LocalizeOptions { oracle: args.oracle, shortfall: args.shortfall, margin: args.margin, heatmap_rule };
    bundle.localize(context.device()?, &options, &context.progress)
}

fn text(localization: &Localization) -> String {
    let Localization { totals, classes, options, .. } = localization;
    let Tally { n, head, encoder, undetermined, .. } = totals;
    let mut text = format!(
        "{n} misclassified images, by the {} oracle: head {head}, encoder {encoder}, undetermined {undetermined}\n",
        options.oracle
    );
    for oracle in Oracle::ALL.into_iter().filter(|oracle| *oracle != options.oracle) {
        let Verdicts { head, encoder, undetermined } = totals.of(oracle);
        text += &format!("  by the {oracle} oracle: head {head}, encoder {encoder}, undetermined {undetermined}\n");
    }
    if let Some(HeadShare { least, most }) = &totals.head_share {
        text += &match undetermined {
            0 => format!("the head's share is {}", estimate(least)),
            _ => format!("the head's share lies between {} and {}", estimate(least), estimate(most)),
        };
        text += &match totals.agreement.share() {
            Some(share) => format!("; it and the heatmaps agree on {} of {}\n", estimate(&share), totals.compared),
            None => "\n".to_owned(),
        };
    }
    if let Some(rate) = &totals.false_encoder_rate {
        text +=
            &format!("on correctly classified images the zero-shot oracle blames the encoder in {}\n", estimate(rate));
    }
    text.push('\n');
    let header = [
        ("class", Align::Left),
        ("wrong", Align::Right),
        ("head", Align::Right),
        ("encoder", Align::Right),
        ("undet.", Align::Right),
        ("agree", Align::Left),
    ];
    text += &table(header, &classes.iter().map(verdict_row).collect::<Vec<_>>());
    text += "\nchange in how often a concept beats the others, in points, where its 95 % interval doesn't hold 0\n";
    let header = [("class", Align::Left), ("own concepts lost", Align::Left), ("intruding concepts", Align::Left)];
    text += &table(header, &classes.iter().map(concept_row).collect::<Vec<_>>());
    text += "\nwho says the label                both zero-shot only   CLIP only   neither\n";
    text += &oracle_row("misclassified images", &totals.errors);
    text += &oracle_row("correctly classified images", &totals.correct);
    text
}

fn verdict_row(class: &ClassTally) -> [String; 6] {
    let Tally { n, head, encoder, undetermined, ref agreement, .. } = class.tally;
    let [n, head, encoder, undetermined] = [n, head, encoder, undetermined].map(|count| count.to_string());
    let agreement = or_dash(agreement.share().as_ref(), estimate);
    [class.class.clone(), n, head, encoder, undetermined, agreement]
}

fn concept_row(class: &ClassTally) -> [String; 3] {
    let few = || "unsupported: too few images".to_owned();
    // What a class has lost may be told by its loss map where its failures are too few.
    let lost = if class.supported || !class.missing.is_empty() { strongest(&class.missing) } else { few() };
    let intruding = if class.supported { strongest(&class.intruding) } else { few() };
    [class.class.clone(), lost, intruding]
}

/// The changes whose interval doesn't hold 0, at most two.
fn strongest(changes: &[Change]) -> String {
    let certain = changes.iter().filter(|change| change.low * change.high > 0.0).take(2);
    let points = |c: &Change| {
        let [change, low, high] = [c.change, c.low, c.high].map(|share| format!("{:+.0}", 100.0 * share));
        format!("{} {change} [{low}, {high}]", c.concept)
    };
    let parts: Vec<String> = certain.map(points).collect();
    if parts.is_empty() { "–".to_owned() } else { parts.join(", ") }
}

fn oracle_row(name: &str, table: &OracleTable) -> String {
    let OracleTable { both, oracle_only, clip_only, neither } = table;
    format!("{name:<30}{both:>8}{oracle_only:>15}{clip_only:>12}{neither:>10}\n")
}
