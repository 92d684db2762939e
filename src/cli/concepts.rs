//! `heatlens concepts`: is the list of concepts any good, and which words does it lack?

use std::path::{Path, PathBuf};

use clap::Subcommand;
use heatlens::models::Clip;
use heatlens::semantics::{
    Biased, Concepts, Inseparable, Lint, LintOptions, Space, SuggestOptions, Suggestion, Suggestions, Synonyms,
    Templates,
};
use heatlens::weights::ModelFiles;
use heatlens::{Bundle, Result};

use super::Context;
use super::args::share;
use super::output::{Align, Outcome, estimate, figure, table};

/// Find faults in a list of concepts, and words that it lacks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Lint(LintArgs),
    Suggest(SuggestArgs),
}

/// Find concepts that say the same, that CLIP doesn't tell apart, that always win, or whose prompts are cut
///
/// Near-synonyms by the cosine of their directions; pairs whose scores in clip space move together over the bundle's images;
/// concepts that win or lose nearly all comparisons; and, given the list, prompts that are cut, empty or the same. Correlations
/// and win rates are named only if their whole 95 % interval is past the bound.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens concepts lint bundle
  heatlens concepts lint bundle --concepts concepts.txt --gate

Exit codes:
  1  --gate, and something was found")]
struct LintArgs {
    /// The bundle that `heatlens build` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The list that the bundle was built with, whose prompts are to be looked at
    #[arg(long, value_name = "FILE")]
    concepts: Option<PathBuf>,
    /// CLIP, whose tokenizer cuts the prompts [default: where it was when the bundle was built]
    #[arg(long, value_name = "MODEL", requires = "concepts")]
    clip: Option<PathBuf>,
    /// The cosine from which on two concepts are near-synonyms
    #[arg(long, value_name = "X", default_value_t = 0.95, value_parser = share)]
    synonyms: f64,
    /// The correlation from which on two concepts' scores say the same
    #[arg(long, value_name = "X", default_value_t = 0.95, value_parser = share)]
    correlation: f64,
    /// The share of comparisons that a concept wins (or loses) nearly always
    #[arg(long, value_name = "X", default_value_t = 0.9, value_parser = share)]
    dominance: f64,
    /// Fail with exit code 1 if anything is found
    #[arg(long)]
    gate: bool,
}

/// Rank the words of a large list by how well they tell correctly classified images from misclassified ones
///
/// Each word's score on the bundle's images, less the image's mean over all words, is compared between correct and misclassified
/// images of the same class: AUROC, and a rank-sum test within classes. From 200 words on a word is flagged if it stands out among the
/// words, corrected for all of them (Benjamini-Hochberg); of fewer, if it stands out from chance. The list should therefore be large
/// and of all kinds of words. No image is needed, only CLIP's text tower.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens concepts suggest bundle --vocabulary weights/vocabulary/english.txt
  heatlens concepts suggest bundle --vocabulary words.txt --class ship --space clip --top 50

The vocabulary, like the list of concepts:
  one a line, `name` or `name: prompt phrase | prompt phrase`; # begins a comment")]
struct SuggestArgs {
    /// The bundle that `heatlens build` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The words
    #[arg(long, value_name = "FILE")]
    vocabulary: PathBuf,
    /// CLIP, whose text tower reads the words [default: where it was when the bundle was built]
    #[arg(long, value_name = "MODEL")]
    clip: Option<PathBuf>,
    /// The list of prompt templates [default: those the bundle was built with]
    #[arg(long, value_name = "FILE")]
    templates: Option<PathBuf>,
    /// One class alone [default: all with enough correct and misclassified images]
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// The space of the scores: classifier or clip
    #[arg(long, value_name = "SPACE", default_value = "classifier")]
    space: Space,
    /// How many words to print
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    match &args.what {
        What::Lint(args) => lint(args, context),
        What::Suggest(args) => suggest(args, context),
    }
}

/// CLIP, held as it was when the bundle was built.
fn open_clip(given: Option<&Path>, bundle: &Bundle) -> Result<Clip> {
    let identity = &bundle.manifest().clip;
    Clip::load(&ModelFiles::open(given.unwrap_or(&identity.path))?.with_precision(identity.precision))
}

fn lint(args: &LintArgs, context: &Context) -> Result<Outcome> {
    let bundle = Bundle::open(&args.bundle)?;
    let list = args.concepts.as_ref().map(Concepts::from_file).transpose()?;
    let clip = list.as_ref().map(|_| open_clip(args.clip.as_deref(), &bundle)).transpose()?;
    let templates = bundle.templates();
    let list = list.as_ref().zip(clip.as_ref()).map(|(list, clip)| (list, &templates, clip));
    let LintArgs { synonyms, correlation, dominance, .. } = *args;
    let found = bundle.lint(&LintOptions { synonyms, correlation, dominance }, list)?;
    context.print(&found, || lint_text(&found, args.concepts.is_some()))?;
    Ok(if args.gate && found.count() > 0 { Outcome::GateFailed } else { Outcome::Done })
}

fn lint_text(found: &Lint, has_list: bool) -> String {
    let Lint { synonyms, inseparable, biased, prompts, pairs, images } = found;
    let mut text = format!("{} finding(s) in {pairs} pairs of concepts on {images} images\n", found.count());
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text += &format!("\n{title}\n  {}\n", lines.join("\n  "));
        }
    };
    let pair = |Synonyms { first, second, cosine }: &Synonyms| format!("{first}, {second}: cosine {cosine:.3}");
    section("near-synonyms", synonyms.iter().map(pair).collect());
    let pair = |Inseparable { first, second, correlation }: &Inseparable| {
        format!("{first}, {second}: correlation {}", figure(correlation))
    };
    section("CLIP doesn't tell apart on these images", inseparable.iter().map(pair).collect());
    let bias = |Biased { concept, space, win_rate, mean }: &Biased| {
        let space = if *space == Space::Clip { "clip" } else { "classifier" };
        format!("{concept}: wins {} of comparisons in {space} space, mean score {mean:.3}", estimate(win_rate))
    };
    section("win or lose nearly always: compare with --scores centered", biased.iter().map(bias).collect());
    section("prompts", prompts.iter().map(|p| format!("{}: '{}' {}", p.concept, p.prompt, p.fault)).collect());
    if !has_list {
        text += "\nprompts weren't looked at: give the list with --concepts\n";
    }
    text
}

fn suggest(args: &SuggestArgs, context: &Context) -> Result<Outcome> {
    let bundle = Bundle::open(&args.bundle)?;
    let class = args.class.as_deref().map(|name| bundle.class_index(name)).transpose()?;
    let vocabulary = Concepts::from_file(&args.vocabulary)?;
    let templates = args.templates.as_ref().map(Templates::from_file).transpose()?;
    let templates = templates.unwrap_or_else(|| bundle.templates());
    context.global.check_precision(&args.bundle, bundle.manifest().clip.precision)?;
    let clip = open_clip(args.clip.as_deref(), &bundle)?;
    let options = SuggestOptions { space: args.space, class, top: args.top, batch: context.global.batch() };
    let found = bundle.suggest(context.device()?, &clip, &vocabulary, &templates, &options, &context.progress)?;
    context.print(&found, || suggest_text(&found))?;
    Ok(Outcome::Done)
}

fn suggest_text(found: &Suggestions) -> String {
    let Suggestions { tested, spread, flagged, truncated, classes, correct, misclassified, words } = found;
    let told = if *flagged == 0 { "none tells".to_owned() } else { format!("{flagged} tell") };
    let mut text = format!(
        "{tested} words on {correct} correct and {misclassified} misclassified images of {} class(es); {told} them apart at a \
         false-discovery rate of 5 %\n",
        classes.len()
    );
    if *spread > 1.0 {
        text += &format!(
            "an ordinary word's statistic spreads {spread:.1} times as far as chance alone; p is against that spread\n"
        );
    }
    if *truncated > 0 {
        text += &format!("{truncated} prompts are longer than the text tower's context and were cut\n");
    }
    let header = [
        ("word", Align::Left),
        ("AUROC", Align::Left),
        ("adj. p", Align::Right),
        ("stronger in", Align::Left),
        ("nearest concept", Align::Left),
    ];
    let row = |word: &Suggestion| {
        let side = if word.auroc.value >= 0.5 { "correct" } else { "misclassified" };
        [
            word.word.clone(),
            format!("{}{}", figure(&word.auroc), if word.flagged { "*" } else { "" }),
            format!("{:.4}", word.adjusted),
            side.to_owned(),
            format!("{} ({:.3})", word.nearest, word.cosine),
        ]
    };
    text.push('\n');
    text += &table(header, &words.iter().map(row).collect::<Vec<_>>());
    text += if *flagged == 0 {
        "\nnone stands out: these are the first by the size of their effect, which chance or a difference that most words share \
         explains"
    } else {
        "\n* flagged"
    };
    text + "; the 95 % intervals aren't adjusted for the choice among all words\n"
}
