//! What the report shows, gathered from a bundle.

use std::path::Path;

use super::data::{
    ConceptChange, Estimate, Example, Fact, Localization, OtherOracle, PairChange, ReportData, ReportMap, Responsible,
    TwoByTwo, Verdicts,
};
use super::evaluation;
use super::map::MapView;
use super::summary::{figure, percent, share, thousands};
use super::view::loss_view;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::progress::{Observer, step};
use crate::semantics::{
    self, AlignerFigures, Bundle, Change, ClassFindings, Counts, Differential, Fault, HeatmapRule, ImageSet,
    LocalizeOptions, ModelIdentity, Oracle, OracleTable, Samples, ScoreMode, Space, TIE_TOLERANCE, Tally,
};

/// How many example images the report shows at most.
const EXAMPLES: usize = 80;
/// How many of an example's concepts are named.
const TOP_CONCEPTS: usize = 4;
/// Cells near a tie are worth a notice from this share on.
const MANY_NEAR_TIES: f64 = 1e-3;
/// Skipped images that are named one by one.
const NAMED_SKIPS: usize = 5;

/// Gathers the report of `bundle`: its maps and their statistics, the localisation by default options, examples, and the
/// filter's evaluation where one is given.
///
/// # Errors
/// Those of the device and the observer; [`ErrorKind::Mismatch`] for an evaluation of another classifier's filter or of
/// other concepts; [`ErrorKind::Io`] if a thumbnail is missing.
pub fn of_bundle(
    bundle: &Bundle,
    device: &Device,
    evaluation: Option<&semantics::Evaluation>,
    observer: &dyn Observer,
) -> Result<ReportData> {
    let manifest = bundle.manifest();
    let classes = manifest.classes.len();
    evaluation.map_or(Ok(()), |evaluation| check_evaluation(evaluation, bundle))?;
    let findings = bundle.findings(device, observer)?;
    step(observer, "localisation", 0, 1)?;
    let localization = bundle.localize_with(device, &LocalizeOptions::default(), &findings)?;
    step(observer, "localisation", 1, 1)?;
    let maps = maps(bundle, device, &findings)?;
    let confusion = bundle.sets()?.confusion_matrix();
    let right: u64 = (0..classes).map(|class| confusion[class][class]).sum();
    let images = bundle.samples().labels.len() as u64;
    let recall = |class: usize| Estimate::of_share(confusion[class][class], confusion[class].iter().sum());
    let unknown = Estimate { value: f64::NAN, low: f64::NAN, high: f64::NAN };
    Ok(ReportData {
        title: bundle.name(),
        facts: facts(bundle, &maps),
        notices: notices(bundle),
        classes: manifest.classes.clone(),
        concepts: manifest.concepts.clone(),
        accuracy: Estimate::of_share(right, images).unwrap_or(unknown),
        recall: (0..classes).map(recall).collect(),
        confusion,
        min_support: manifest.minimum_support,
        maps,
        responsible: findings.iter().enumerate().flat_map(|(class, found)| responsible(class, found)).collect(),
        examples: examples(bundle, &localization)?,
        localization: Some(faults(&localization, manifest.aligner.as_ref())),
        evaluation: evaluation.map(evaluation::page),
    })
}

/// Refuses figures of another filter than one of this bundle.
fn check_evaluation(evaluation: &semantics::Evaluation, bundle: &Bundle) -> Result<()> {
    let manifest = bundle.manifest();
    let other = if evaluation.classifier.sha256 != manifest.classifier.sha256 {
        "another classifier's filter than the bundle's: the weights' hashes differ"
    } else if evaluation.classifier.precision != manifest.classifier.precision {
        "a filter of another precision than the bundle's"
    } else if evaluation.concepts != manifest.concepts {
        "a filter of other concepts than the bundle's"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Mismatch, format!("measures {other}"))
        .hint("evaluate a filter that `heatlens calibrate` made from this bundle"))
}

/// Each class's maps in the order in which the page offers them.
fn maps(bundle: &Bundle, device: &Device, findings: &[ClassFindings]) -> Result<Vec<ReportMap>> {
    let manifest = bundle.manifest();
    let (concepts, minimum) = (&manifest.concepts, manifest.minimum_support);
    let mut maps = Vec::new();
    for (class, found) in findings.iter().enumerate() {
        let sets = [ImageSet::Correct(class), ImageSet::Missed(class), ImageSet::FalseAlarm(class)];
        let counts = bundle.maps(device, &sets, Space::Classifier, ScoreMode::Raw)?;
        let [correct, missed, false_alarm] = [&counts[0], &counts[1], &counts[2]];
        let mut add = |set: &str, view| maps.push(ReportMap { class, set: set.to_owned(), view });
        let title = |set: &str| format!("{} · {set}", manifest.classes[class]);
        let strength = |set: &str, of: &Counts| MapView::of_counts(title(set), set, concepts, of, minimum);
        let difference = |set: &str, other: (&str, &Counts), known: Option<&Differential>| {
            let sets = [("correct", correct), other];
            MapView::of_difference(title(set), sets, concepts, known, minimum)
        };
        let of_sets = |other: &Counts| {
            (correct.n() > 0 && other.n() > 0).then(|| Differential::of_sets(correct, other)).transpose()
        };
        let differential = match &found.differential {
            Some(map) => Some(map.clone()),
            None => of_sets(missed)?,
        };
        add("differential", difference("differential", ("missed", missed), differential.as_ref()));
        let intruders = of_sets(false_alarm)?;
        let set = "false-alarm-differential";
        add(set, difference(set, ("false-alarm", false_alarm), intruders.as_ref()));
        let loss = match &found.loss {
            Some(map) => Some(map.clone()),
            None => bundle.losses(device, &[class])?.into_iter().flatten().next(),
        };
        add("loss", loss_view(bundle, class, loss.as_ref())?);
        add("correct", strength("correct", correct));
        add("missed", strength("missed", missed));
        add("false-alarm", strength("false-alarm", false_alarm));
        if !manifest.attacks.is_empty() {
            let attacked =
                bundle.maps(device, &[ImageSet::Adversarial(class)], Space::Classifier, ScoreMode::Raw)?.remove(0);
            add("adversarial", strength("adversarial", &attacked));
        }
    }
    Ok(maps)
}

/// A class's responsible concepts from both of its difference maps.
fn responsible(class: usize, found: &ClassFindings) -> [Responsible; 2] {
    let change = |change: &Change| ConceptChange {
        concept: change.concept.clone(),
        change: Estimate { value: change.change, low: change.low, high: change.high },
    };
    let pair = |pair: &semantics::PairChange| PairChange {
        stronger: pair.stronger.clone(),
        weaker: pair.weaker.clone(),
        change: Estimate { value: pair.change, low: pair.low, high: pair.high },
        significant: pair.flagged,
    };
    [("differential", &found.responsible), ("loss", &found.lost_by_encoder)].map(|(origin, found)| {
        let lists = found.clone().unwrap_or_default();
        Responsible {
            class,
            origin: origin.to_owned(),
            supported: found.is_some(),
            lost: lists.lost.iter().map(change).collect(),
            intruding: lists.intruding.iter().map(change).collect(),
            pairs: lists.pairs.iter().map(pair).collect(),
        }
    })
}

fn faults(found: &semantics::Localization, aligner: Option<&AlignerFigures>) -> Localization {
    let verdicts =
        |tally: &Tally| Verdicts { head: tally.head, encoder: tally.encoder, undetermined: tally.undetermined };
    let table = |table: &OracleTable| TwoByTwo {
        both: table.both,
        oracle_only: table.oracle_only,
        clip_only: table.clip_only,
        neither: table.neither,
    };
    let other = |oracle: Oracle| {
        let semantics::Verdicts { head, encoder, undetermined } = found.totals.of(oracle);
        OtherOracle { name: oracle.to_string(), totals: Verdicts { head, encoder, undetermined } }
    };
    Localization {
        rule: rule(&found.options),
        totals: verdicts(&found.totals),
        others: Oracle::ALL.into_iter().filter(|oracle| *oracle != found.options.oracle).map(other).collect(),
        classes: found.classes.iter().map(|class| verdicts(&class.tally)).collect(),
        agreement: found.totals.agreement.share(),
        class_agreement: found.classes.iter().map(|class| class.tally.agreement.share()).collect(),
        errors: table(&found.totals.errors),
        correct: table(&found.totals.correct),
        false_encoder: found.totals.false_encoder_rate,
        aligner: aligner.map(aligner_facts).unwrap_or_default(),
    }
}

fn rule(options: &LocalizeOptions) -> String {
    let first = match options.oracle {
        Oracle::Counterfactual => format!(
            "A head is refitted to the features. If it puts the label of a misclassified image above the prediction, and on a \
             typical feature of the class the classifier’s own head falls short of it by more than {} standard deviations, the head is \
             at fault, else the encoder: that is to say that the head isn’t broken, not that another one wouldn’t do better.",
            options.shortfall
        ),
        Oracle::Refit => {
            "The head is at fault where a head refitted to the features of other images is right.".to_owned()
        }
        Oracle::ZeroShot => {
            let margin = match options.margin {
                margin if margin > 0.0 => format!(" or when the oracle’s margin is below {margin}"),
                _ => String::new(),
            };
            format!(
                "The oracle asks which class’s text the aligned feature of a misclassified image is nearest to: if that is the \
                 label, the feature still carries the right meaning and the head is at fault, else the encoder. It is undetermined \
                 when CLIP itself, on the image, doesn’t say the label{margin}."
            )
        }
    };
    let second = match options.heatmap_rule {
        HeatmapRule::Percentile => {
            "says encoder if the image’s map is farther from the class’s correct map than 95 % of the correct images’ are"
        }
        HeatmapRule::Nearer => {
            "says encoder if the image’s map is nearer to the class’s missed map than to the correct one"
        }
    };
    format!("{first} A second oracle, from the maps, {second}.")
}

fn aligner_facts(figures: &AlignerFigures) -> Vec<Fact> {
    let measured = if figures.held_out { "held-out images" } else { "the fitted images themselves" };
    let mut facts = vec![
        fact("R²", figure(&figures.r2), format!("on {} {measured}", thousands(figures.measured as u64))),
        fact("mean cosine to CLIP’s embedding", figure(&figures.mean_cosine), ""),
        fact(
            "fitted on",
            format!("{} images", thousands(figures.fitted as u64)),
            format!("λ = {}", short(figures.lambda)),
        ),
    ];
    facts.extend(figures.zero_shot_agreement.map(|found| fact("same zero-shot class as CLIP", share(&found), "")));
    facts
}

fn facts(bundle: &Bundle, maps: &[ReportMap]) -> Vec<Fact> {
    let manifest = bundle.manifest();
    let model = |name: &str, model: &ModelIdentity| fact(name, file_name(&model.path), model.sha256.clone());
    let features = bundle.samples().features.columns();
    let embedding = bundle.directions().columns();
    let pairs = manifest.concepts.len() * (manifest.concepts.len() - 1) / 2;
    let families = maps.iter().filter(|map| map.view.flags.is_some()).count();
    let mut facts = vec![
        model("classifier", &manifest.classifier),
        model("CLIP", &manifest.clip),
        fact("spaces", format!("{features} features aligned to {embedding} dimensions"), ""),
        fact("images", thousands(manifest.n as u64), manifest.images.display().to_string()),
        fact("concepts and prompts", counted(manifest.concepts.len(), "concept"), manifest.templates.join(" | ")),
        fact(
            "tests",
            format!("{families} families of {pairs}"),
            "each supported difference map is one, at a false discovery rate of 5 %",
        ),
        fact("adapter", manifest.adapter.clone(), ""),
    ];
    for attack in &manifest.attacks {
        let value = format!("{} changed the prediction, {} failed", attack.succeeded, attack.failed);
        let detail = format!(
            "{} on images misclassified before, {} without an original",
            attack.misclassified_before, attack.unmatched
        );
        facts.push(fact(&format!("attack {}", attack.name), value, detail));
    }
    let near = format!("{} of {} cells", thousands(manifest.near_ties), thousands(manifest.cells));
    facts.push(fact(
        "near ties",
        near,
        format!("scores within {TIE_TOLERANCE:e} of each other, which another adapter may order otherwise"),
    ));
    facts.push(fact("made by", format!("heatlens {}", manifest.version), ""));
    facts
}

/// What a reader should know before believing a number.
pub(super) fn notices(bundle: &Bundle) -> Vec<String> {
    let manifest = bundle.manifest();
    let mut notices = manifest.notices.clone();
    if manifest.overlap_allowed && !notices.iter().any(|notice| notice.contains("overlap")) {
        notices.push(
            "The bundle was built with --allow-overlap: its images may be those the aligner was fitted on.".into(),
        );
    }
    if !manifest.skipped.is_empty() {
        let named = manifest.skipped.iter().take(NAMED_SKIPS).map(|(path, why)| format!("{path} ({why})"));
        let more = if manifest.skipped.len() > NAMED_SKIPS { ", …" } else { "" };
        let named = named.collect::<Vec<_>>().join(", ");
        notices.push(format!("{} left out: {named}{more}.", counted(manifest.skipped.len(), "image")));
    }
    if manifest.near_ties as f64 > MANY_NEAR_TIES * manifest.cells as f64 {
        notices.push(format!(
            "{} of all comparisons are near ties, which another adapter may decide otherwise.",
            percent(manifest.near_ties as f64 / manifest.cells as f64)
        ));
    }
    notices
}

/// Images of as many classes and verdicts as fit: in turn from each class an image of each verdict and a recognised one.
fn examples(bundle: &Bundle, localization: &semantics::Localization) -> Result<Vec<Example>> {
    let Samples { labels, predictions, paths, scores, .. } = bundle.samples();
    let mut faults = localization.samples.iter().map(|sample| sample.verdict);
    let verdicts: Vec<Option<Fault>> = labels
        .iter()
        .zip(predictions)
        .map(|(label, prediction)| if label == prediction { None } else { faults.next() })
        .collect();
    const KINDS: [Option<Fault>; 4] = [Some(Fault::Encoder), Some(Fault::Head), Some(Fault::Undetermined), None];
    // In content order the first few are as good as any, whatever the files' names.
    let order = bundle.order().rows();
    let mut queues = vec![Vec::new(); KINDS.len() * bundle.manifest().classes.len()];
    for row in order.into_iter().map(|row| row as usize) {
        let kind = KINDS.iter().position(|kind| *kind == verdicts[row]).unwrap_or_default();
        queues[KINDS.len() * labels[row] + kind].push(row);
    }
    let most = queues.iter().map(Vec::len).max().unwrap_or(0);
    let mut rows: Vec<usize> = Vec::new();
    for turn in 0..most {
        let next = queues.iter().filter_map(|queue| queue.get(turn).copied());
        rows.extend(next.take(EXAMPLES - rows.len()));
        // Another turn is whole or not at all: the last classes would come off badly.
        if rows.len() + queues.iter().filter(|queue| queue.len() > turn + 1).count() > EXAMPLES {
            break;
        }
    }
    rows.sort_by_key(|&row| (labels[row], verdicts[row].is_none(), predictions[row]));
    let example = |row: usize| {
        let mut ranked: Vec<usize> = (0..scores.columns()).collect();
        ranked.sort_by(|&a, &b| scores.row(row)[b].total_cmp(&scores.row(row)[a]));
        let concepts = ranked.into_iter().take(TOP_CONCEPTS).map(|at| bundle.manifest().concepts[at].clone());
        Ok(Example {
            path: paths[row].clone(),
            label: labels[row],
            prediction: predictions[row],
            verdict: verdicts[row].map(|fault| fault.to_string()),
            concepts: concepts.collect(),
            thumbnail: bundle.thumbnail(row)?,
        })
    };
    rows.into_iter().map(example).collect()
}

pub(super) fn fact(name: &str, value: impl Into<String>, detail: impl Into<String>) -> Fact {
    Fact { name: name.to_owned(), value: value.into(), detail: detail.into() }
}

/// `1 image`, `2 images`.
pub(super) fn counted(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {what}{plural}", thousands(n as u64))
}

/// A number of any size in at most four digits.
fn short(value: f64) -> String {
    if (0.01..1000.0).contains(&value) { format!("{value:.2}") } else { format!("{value:.2e}") }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
