//! `heatlens evaluate localization`: does localisation name faults that were planted?

use std::path::PathBuf;
use std::str::FromStr;

use heatlens::models::Clip;
use heatlens::semantics::statistics::Estimate;
use heatlens::semantics::{
    Concepts, KindLocalization, LocalizationEvaluation, LocalizationInputs, LocalizeOptions, Oracle, Origin, Plant,
    PlantResult, SHORTFALL, Templates, Verdicts, evaluate_localization,
};
use heatlens::{Error, ErrorKind, Result, models::Classifier};

use super::super::Context;
use super::super::args::{ImageArgs, check_output, class_names, finite, labelled, unlabelled};
use super::super::output::{Align, Outcome, estimate, percent, table};

/// Measure localisation on planted faults: variants of a classifier of which it is known which part is damaged
///
/// A plant is a .safetensors file with the tensors in which the variant differs from the classifier and with metadata: `kind`, `cause`
/// (head, encoder or mixed), `seed`, `description`, and where a concept was lost `class` and `concept`. Its errors are the images that
/// the intact classifier gets right and the variant doesn't; undetermined counts as wrong. Each variant's aligner is fitted anew, CLIP
/// runs once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens evaluate localization --plants weights/demo/plants --seeds 5-9 --classifier weights/demo/classifier \\
      --clip weights/demo/clip --align weights/demo/images/align --images weights/demo/images/build \\
      --concepts weights/demo/concepts.txt --templates weights/demo/templates.txt")]
pub(crate) struct Args {
    /// The folder of planted faults
    #[arg(long, value_name = "DIR")]
    plants: PathBuf,
    /// Take only the plants with these seeds
    #[arg(long, value_name = "A-B")]
    seeds: Option<Seeds>,
    /// The intact classifier
    #[arg(long, value_name = "MODEL")]
    classifier: PathBuf,
    /// CLIP
    #[arg(long, value_name = "MODEL")]
    clip: PathBuf,
    /// Images to fit aligners to; labels aren't needed
    #[arg(long, value_name = "DIR")]
    align: PathBuf,
    /// Labelled images whose errors are localised, other ones than those
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// The list of concepts
    #[arg(long, value_name = "FILE")]
    concepts: PathBuf,
    /// The list of classes in logit order [default: the names in the model's configuration]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// The list of prompt templates
    #[arg(long, value_name = "FILE")]
    templates: Option<PathBuf>,
    /// The shortfall of the counterfactual oracle, as for `heatlens localize`
    #[arg(long, value_name = "X", default_value_t = SHORTFALL, value_parser = finite::<f64>)]
    shortfall: f64,
    /// The margin of the zero-shot oracle, as for `heatlens localize`
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = finite::<f32>)]
    margin: f32,
    /// A file for all figures
    #[arg(short = 'o', long = "output", value_name = "plants.json")]
    localization: Option<PathBuf>,
    #[command(flatten)]
    image: ImageArgs,
}

/// A range of seeds, both ends included.
#[derive(Debug, Clone, Copy)]
struct Seeds {
    first: u64,
    last: u64,
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err("expected a seed or a range of them, such as 5-9".to_owned()),
        }
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let evaluation = compute(args, context)?;
    context.print(&evaluation, || text(&evaluation))?;
    Ok(Outcome::Done)
}

fn compute(args: &Args, context: &Context) -> Result<LocalizationEvaluation> {
    args.localization.as_deref().map(check_output).transpose()?;
    let mut plants = Plant::open_all(&args.plants)?;
    if let Some(Seeds { first, last }) = args.seeds {
        plants.retain(|plant| (first..=last).contains(&plant.seed));
        if plants.is_empty() {
            let message = format!("{}: no plant has a seed from {first} to {last}", args.plants.display());
            return Err(Error::new(ErrorKind::Usage, message));
        }
    }
    let files = context.files(&args.classifier)?;
    let clip = Clip::load(&context.files(&args.clip)?)?;
    let concepts = Concepts::from_file(&args.concepts)?;
    let templates = args.templates.as_ref().map(Templates::from_file).transpose()?.unwrap_or_default();
    let classifier = Classifier::load(&files, &context.progress)?;
    let classes = class_names(args.classes.as_deref(), &classifier, &args.classifier)?;
    let inputs = LocalizationInputs {
        classifier: &files,
        classifier_path: &args.classifier,
        clip: &clip,
        clip_path: &args.clip,
        plants: &plants,
        concepts: &concepts,
        classes: &classes,
        templates: &templates,
        align: &unlabelled(&args.align, context)?,
        images: &labelled(&args.images, &classes, context)?,
        images_path: &args.images,
    };
    let options = LocalizeOptions { shortfall: args.shortfall, margin: args.margin, ..LocalizeOptions::default() };
    let run = args.image.run_options(&context.global);
    let evaluation = evaluate_localization(context.device()?, &inputs, &options, &run, &context.progress)?;
    if let Some(path) = &args.localization {
        super::save(&evaluation, path)?;
    }
    Ok(evaluation)
}

fn text(evaluation: &LocalizationEvaluation) -> String {
    let LocalizationEvaluation { images, accuracy, kinds, pure, plants, .. } = evaluation;
    let mut text = format!("{images} images, accuracy of the intact classifier {}\n", estimate(accuracy));
    for kind in kinds {
        text += &format!("\n{} (plants: {})\n", kind.kind, kind.plants);
        text += &confusion(kind);
    }
    text += "\nnamed rightly, of errors that one part makes alone; undetermined is wrong\n";
    let header = [
        ("kind", Align::Left),
        (Oracle::Counterfactual.name(), Align::Left),
        (Oracle::ZeroShot.name(), Align::Left),
        (Oracle::Refit.name(), Align::Left),
        ("lost concept in the first three", Align::Left),
    ];
    let rows: Vec<_> = kinds.iter().chain([pure]).map(named_row).collect();
    text += &table(header, &rows);
    if let Some(best) = &evaluation.best_shortfall {
        text += &format!(
            "\nshortfall {}; on these plants {} would name the most of the kind named least, {}\n",
            evaluation.options.shortfall,
            if best.from < best.to { format!("{} to {}", best.from, best.to) } else { best.from.to_string() },
            percent(best.least_named)
        );
    }
    let lost: Vec<_> = plants.iter().filter_map(lost_row).collect();
    if !lost.is_empty() {
        let header = [
            ("plant", Align::Left),
            ("lost concept", Align::Left),
            ("rank among the class's own", Align::Left),
            ("in the intact classifier", Align::Left),
            ("among all lost", Align::Left),
        ];
        text.push('\n');
        text += &table(header, &lost);
    }
    text
}

/// Cause against verdict.
fn confusion(kind: &KindLocalization) -> String {
    let header = [
        ("caused by", Align::Left),
        ("errors", Align::Right),
        ("oracle", Align::Left),
        ("head", Align::Right),
        ("encoder", Align::Right),
        ("undet.", Align::Right),
    ];
    let mut rows = Vec::new();
    for row in &kind.errors {
        for oracle in Oracle::ALL {
            let Verdicts { head, encoder, undetermined } = row.of(oracle);
            let cells = [head, encoder, undetermined].map(|count| count.to_string());
            let [head, encoder, undetermined] = cells;
            let (cause, errors) = match oracle {
                Oracle::Counterfactual => (caused_by(row.origin).to_owned(), row.errors.to_string()),
                _ => (String::new(), String::new()),
            };
            rows.push([cause, errors, oracle.to_string(), head, encoder, undetermined]);
        }
    }
    table(header, &rows)
}

fn caused_by(origin: Origin) -> &'static str {
    match origin {
        Origin::Head => "head",
        Origin::Encoder => "encoder",
        Origin::Either => "either alone",
        Origin::Together => "only both",
    }
}

fn named_row(kind: &KindLocalization) -> [String; 5] {
    let none = || "–".to_owned();
    let share =
        |oracle: Oracle| kind.named.get(oracle.name()).copied().flatten().map_or_else(none, |found| estimate(&found));
    let [found, of] = kind.concepts_found;
    let interval = |Estimate { low, high, .. }| format!("{found} of {of} [{}, {}]", percent(low), percent(high));
    let concepts = Estimate::of_share(found as u64, of as u64).map_or_else(none, interval);
    let [counterfactual, zero_shot, refit] = Oracle::ALL.map(share);
    [kind.kind.clone(), counterfactual, zero_shot, refit, concepts]
}

fn lost_row(plant: &PlantResult) -> Option<[String; 5]> {
    let lost = plant.lost.as_ref()?;
    let rank = |rank: Option<usize>| rank.map_or_else(|| "–".to_owned(), |rank| rank.to_string());
    let among = format!("{} of {}", rank(lost.rank), lost.missing);
    let plant = format!("{} {}", plant.kind, plant.seed);
    Some([
        plant,
        format!("{} of {}", lost.concept, lost.class),
        among,
        rank(lost.rank_intact),
        rank(lost.rank_among_all),
    ])
}
