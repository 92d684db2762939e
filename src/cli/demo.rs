//! `heatlens demo`: the whole method on the pictures that come with it, told in a screenful.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::FromArgMatches;
use heatlens::semantics::statistics::Estimate;
use heatlens::semantics::{
    AlignerFigures, Baseline, Change, Evaluation, FilterHeader, KindResult, Localization, Manifest, Method,
    MethodResult,
};
use heatlens::{Bundle, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::Context;
use super::output::{Align, Outcome, estimate, figure, or_dash, percent, table};
use super::{align, build, calibrate, evaluate, localize, report};

/// Run the whole method on the drawn pictures that come with heatlens, and write a report
///
/// Ten classes and eighteen attributes, a classifier with a planted weakness, and a small CLIP. Every stage runs the same code as
/// the command of its name.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens demo -o demo-output")]
pub(crate) struct Args {
    /// The demo's models and pictures
    #[arg(long, value_name = "DIR", default_value = "weights/demo")]
    weights: PathBuf,
    /// The folder for the aligner, the bundle, the filter, the evaluation and the report
    #[arg(short = 'o', long = "output", value_name = "DIR", default_value = "demo-output")]
    folder: PathBuf,
}

/// `demo.json`: what the classifier was trained to get wrong.
#[derive(Debug, Deserialize)]
struct Demo {
    weakness: Weakness,
}

#[derive(Debug, Deserialize)]
struct Weakness {
    class: String,
    description: String,
    concepts_expected_lost: Vec<String>,
}

/// Everything the story is told from.
#[derive(Debug, Serialize)]
struct Story {
    aligner: Option<AlignerFigures>,
    bundle: Manifest,
    confusions: Vec<(String, String, u64)>,
    localization: Localization,
    weakness: Found,
    filter: FilterHeader,
    evaluation: Evaluation,
    seconds: Vec<(&'static str, f64)>,
    report: PathBuf,
}

/// Where the planted weakness stands among the concepts lost.
#[derive(Debug, Serialize)]
struct Found {
    class: String,
    description: String,
    /// Each expected concept with its rank among the lost ones, from 1; none where it isn't among them.
    ranks: Vec<(String, Option<usize>)>,
    lost: Vec<Change>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let story = compute(args, context)?;
    context.print(&story, || text(&story))?;
    Ok(Outcome::Done)
}

fn compute(args: &Args, context: &Context) -> Result<Story> {
    let Args { weights, folder } = args;
    let demo = read(&weights.join("demo.json"))?;
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let [aligner, bundle, filter, evaluation, page] =
        ["aligner.safetensors", "bundle", "model.heatlens", "evaluation.json", "report.html"].map(|n| folder.join(n));
    let given = |name: &str| weights.join(name).into_os_string();
    let attacks = |split: &str| {
        ["eps4", "eps8"].map(|set| {
            let mut named = OsString::from(format!("{set}="));
            named.push(weights.join("attacked").join(split).join(set));
            named
        })
    };
    let mut seconds = Vec::new();
    let mut clock = Instant::now();
    let mut lap = |stage: &'static str| {
        seconds.push((stage, clock.elapsed().as_secs_f64()));
        clock = Instant::now();
    };

    let models: Vec<OsString> = vec!["--classifier".into(), given("classifier"), "--clip".into(), given("clip")];
    let argv =
        [models.clone(), options(&[("--images", given("images/align")), ("-o", aligner.clone().into())])].concat();
    let fitted = align::compute(&parse(argv)?, context)?;
    lap("align");

    let [eps4, eps8] = attacks("build");
    let lists = options(&[
        ("--aligner", aligner.into()),
        ("--concepts", given("concepts.txt")),
        ("--classes", given("classes.txt")),
        ("--templates", given("templates.txt")),
        ("--images", given("images/build")),
        ("--attacked", eps4),
        ("--attacked", eps8),
        ("-o", bundle.clone().into()),
    ]);
    let built = build::compute(&parse([models, lists].concat())?, context)?;
    lap("build");

    let localization = localize::compute(&parse(vec![bundle.clone().into()])?, context)?;
    lap("localize");

    let argv = options(&[("--images", given("images/calibrate")), ("-o", filter.clone().into())]);
    let header = calibrate::compute(&parse([vec![bundle.clone().into()], argv].concat())?, context)?;
    lap("calibrate");

    let [eps4, eps8] = attacks("test");
    let argv = options(&[
        ("--filter", filter.into()),
        ("--clip", given("clip")),
        ("--images", given("images/test")),
        ("--attacked", eps4),
        ("--attacked", eps8),
        ("-o", evaluation.clone().into()),
    ]);
    let measured = evaluate::compute(&parse(argv)?, context)?;
    lap("evaluate");

    let argv = options(&[("--evaluation", evaluation.into()), ("-o", page.clone().into())]);
    report::compute(&parse([vec![bundle.into()], argv].concat())?, context)?;
    lap("report");

    Ok(Story {
        aligner: fitted.figures().cloned(),
        confusions: confusions(&built),
        bundle: built.manifest().clone(),
        weakness: found(demo.weakness, &localization),
        localization,
        filter: header,
        evaluation: measured,
        seconds,
        report: page,
    })
}

fn read(path: &Path) -> Result<Demo> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Error::io(path, e)
            .hint("run the demo where heatlens was cloned to, or say where weights/demo is with --weights DIR")
    })?;
    serde_json::from_str(&text).map_err(|e| Error::new(ErrorKind::Format, path.display().to_string()).caused_by(e))
}

/// Flags and their values as a command line has them.
fn options(pairs: &[(&str, OsString)]) -> Vec<OsString> {
    pairs.iter().flat_map(|(flag, value)| [OsString::from(flag), value.clone()]).collect()
}

/// A command's arguments, read as from its own command line.
fn parse<A: clap::Args + FromArgMatches>(argv: Vec<OsString>) -> Result<A> {
    let failed = |e: clap::Error| Error::new(ErrorKind::Usage, "the demo's own arguments").caused_by(e);
    let matches = A::augment_args(clap::Command::new("demo").no_binary_name(true)).try_get_matches_from(argv);
    A::from_arg_matches(&matches.map_err(failed)?).map_err(failed)
}

/// The three commonest confusions: ground truth, prediction, images.
fn confusions(bundle: &Bundle) -> Vec<(String, String, u64)> {
    let classes = &bundle.manifest().classes;
    let samples = bundle.samples();
    let mut counts = vec![0; classes.len() * classes.len()];
    for (&label, &prediction) in samples.labels.iter().zip(&samples.predictions).filter(|(l, p)| l != p) {
        counts[label * classes.len() + prediction] += 1;
    }
    let mut order: Vec<usize> = (0..counts.len()).filter(|&cell| counts[cell] > 0).collect();
    order.sort_by_key(|&cell| std::cmp::Reverse(counts[cell]));
    let name =
        |cell: &usize| (classes[cell / classes.len()].clone(), classes[cell % classes.len()].clone(), counts[*cell]);
    order.iter().take(3).map(name).collect()
}

fn found(weakness: Weakness, localization: &Localization) -> Found {
    let class = localization.classes.iter().find(|class| class.class == weakness.class);
    let lost = class.map(|class| class.lost.clone()).unwrap_or_default();
    let rank = |concept: &String| lost.iter().position(|change| change.concept == *concept).map(|at| at + 1);
    let ranks = weakness.concepts_expected_lost.iter().map(|concept| (concept.clone(), rank(concept))).collect();
    Found { class: weakness.class, description: weakness.description, ranks, lost }
}

fn text(story: &Story) -> String {
    let Story { bundle, localization, weakness, evaluation, .. } = story;
    let mut text = format!("on {}\n\n", bundle.adapter);
    text += &format!("WHAT IT GETS WRONG   accuracy {} on {} pictures", estimate(&bundle.accuracy), bundle.n);
    let confusions = story.confusions.iter().map(|(truth, prediction, n)| format!("{truth} → {prediction} {n}"));
    text += &format!("; most often {}\n", confusions.collect::<Vec<_>>().join(", "));
    if let Some(aligner) = &story.aligner {
        text += &format!(
            "                     aligner: R² {}, mean cosine {} on {} held-out pictures\n",
            figure(&aligner.r2),
            figure(&aligner.mean_cosine),
            aligner.measured
        );
    }

    text += "\nIN WHICH CONCEPTS    missed pictures against correct ones: change in how often a concept beats the others, in points\n";
    let supported = localization.classes.iter().filter(|class| class.supported && !class.lost.is_empty());
    let mut classes: Vec<_> = supported.collect();
    classes.sort_by(|a, b| b.lost[0].change.total_cmp(&a.lost[0].change));
    let row = |class: &&heatlens::semantics::ClassTally| {
        let list = |changes: &[Change]| {
            let named = changes.iter().take(2).map(|c| {
                let [change, low, high] = [c.change, c.high, c.low].map(|share| format!("{:+.0}", -100.0 * share));
                format!("{} {change} [{low}, {high}]", c.concept)
            });
            named.collect::<Vec<_>>().join(", ")
        };
        [format!("  {}", class.class), class.tally.n.to_string(), list(&class.lost), list(&class.intruding)]
    };
    let header = [
        ("  class", Align::Left),
        ("missed", Align::Right),
        ("concepts lost", Align::Left),
        ("concepts intruding", Align::Left),
    ];
    text += &table(header, &classes.iter().take(5).map(row).collect::<Vec<_>>());
    text += &format!("  planted weakness: {}\n", weakness.description);
    for (concept, rank) in &weakness.ranks {
        text += &match rank {
            Some(rank) => format!(
                "  found: `{concept}` is number {rank} among the concepts that missed {}s lack\n",
                weakness.class
            ),
            None => format!("  not found: `{concept}` isn't among the concepts that missed {}s lack\n", weakness.class),
        };
    }

    let totals = &localization.totals;
    text += &format!(
        "\nENCODER OR HEAD      of {} misclassified pictures: head {}, encoder {}, undetermined {}\n",
        totals.n, totals.head, totals.encoder, totals.undetermined
    );
    text += &format!(
        "                     the head is blamed only if it misreads even typical pictures of the class; a refitted one would get {} right\n",
        totals.refit.head
    );
    if let Some(rate) = &totals.false_encoder_rate {
        text += &format!(
            "                     the published zero-shot oracle: head {}, encoder {}, undetermined {}; on correct pictures it blames the encoder in {}\n",
            totals.zero_shot.head,
            totals.zero_shot.encoder,
            totals.zero_shot.undetermined,
            estimate(rate)
        );
    }

    let rejects = or_dash(evaluation.kept.false_rejects.as_ref(), estimate);
    text += &format!(
        "\nWHOM TO TRUST        {}; calibrated for {} false rejects, {} on test pictures\n",
        evaluation.method,
        percent(story.filter.false_reject_rate),
        rejects
    );
    let (kinds, method) = (&evaluation.kinds, &evaluation.method);
    let header =
        [("  caught", Align::Left), ("of", Align::Right), ("filter", Align::Left), ("max softmax", Align::Left)];
    text += &table(header, &kinds.iter().map(|kind| caught_row(method, kind)).collect::<Vec<_>>());
    let header = ["  AUROC", "filter", "its heatmap", "max softmax", "best"].map(|name| (name, Align::Left));
    text += &table(header, &kinds.iter().map(|kind| ranking_row(method, kind)).collect::<Vec<_>>());
    for kind in evaluation.kinds.iter().filter(|kind| kind.failed_attacks > 0 || kind.kind.starts_with("eps")) {
        let tried = kind.defects + kind.failed_attacks;
        let share = Estimate::of_share(kind.defects as u64, tried as u64);
        let share = or_dash(share.as_ref(), estimate);
        text += &format!(
            "  {}: {} of {tried} attacks on correctly classified pictures succeed ({share})\n",
            kind.kind, kind.defects
        );
    }

    let kernels: Vec<String> = bundle.dispatches.iter().map(|(kernel, n)| format!("{kernel} {n}")).collect();
    text += &format!("\nbuild dispatched {}\n", kernels.join(", "));
    let laps: Vec<String> = story.seconds.iter().map(|(stage, s)| format!("{stage} {s:.1}")).collect();
    let total: f64 = story.seconds.iter().map(|(_, s)| s).sum();
    text += &format!("{total:.1} s: {}\n", laps.join(", "));
    text + &format!("report: {}\n", story.report.display())
}

/// The filter, its heatmap alone and the softmax on one kind of defect.
fn contestants<'a>(method: &Method, kind: &'a KindResult) -> [Option<&'a MethodResult>; 3] {
    let heatmap = method.heatmap_alone().unwrap_or_else(|| method.to_string());
    let of = |name: &str| kind.methods.iter().find(|method| method.method == name);
    [&method.to_string(), &heatmap, Baseline::MaximumSoftmax.name()].map(of)
}

/// What the filter and the softmax catch of one kind of defect.
fn caught_row(method: &Method, kind: &KindResult) -> [String; 4] {
    let [own, _, softmax] = contestants(method, kind);
    let caught = |method: Option<&MethodResult>| or_dash(method.and_then(|method| method.detected.as_ref()), estimate);
    [format!("  {}", kind.kind), kind.defects.to_string(), caught(own), caught(softmax)]
}

/// How well the filter, its heatmap alone and the softmax rank one kind of defect.
fn ranking_row(method: &Method, kind: &KindResult) -> [String; 5] {
    let found = contestants(method, kind).map(|method| Some(method?.detection?.auroc));
    let ranked = ["the filter", "its heatmap", "max softmax"].into_iter().zip(found);
    let known = ranked.filter_map(|(name, auroc)| Some((name, auroc?.value)));
    let best = known.reduce(|best, next| if next.1 > best.1 { next } else { best });
    let [own, heatmap, softmax] = found.map(|auroc| or_dash(auroc.as_ref(), figure));
    [format!("  {}", kind.kind), own, heatmap, softmax, best.map_or("–", |(name, _)| name).to_owned()]
}
