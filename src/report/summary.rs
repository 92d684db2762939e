//! The report in plain words: what the classifier gets wrong, in which concepts, encoder or head, and what the filter
//! catches.

use serde::Serialize;

use super::data::{
    ConceptChange, DefectKind, Estimate, Localization, MethodScores, OtherOracle, ReportData, Responsible,
};
use super::html::confusions;
use crate::semantics::{HeadShare, Role};

/// A share as a percentage with one digit after the point, none for 0 and 100.
pub(super) fn percent(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let percent = format!("{:.1}", 100.0 * value).replace('-', "−");
    format!("{} %", percent.strip_suffix(".0").filter(|whole| ["0", "100"].contains(whole)).unwrap_or(&percent))
}

/// A share and its interval in percent.
pub(super) fn share(found: &Estimate) -> String {
    format!("{} [{}, {}]", percent(found.value), percent(found.low), percent(found.high))
}

/// A figure and its interval with three digits after the point.
pub(super) fn figure(found: &Estimate) -> String {
    format!("{:.3} [{:.3}, {:.3}]", found.value, found.low, found.high)
}

/// A whole number with thin spaces between groups of three digits from 10,000 on.
pub(super) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let head = digits.len() % 3;
    let groups = digits.as_bytes()[head..].chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let first = (head > 0).then(|| digits[..head].to_owned());
    first.into_iter().chain(groups).collect::<Vec<_>>().join("\u{202f}")
}

/// The report's story, a paragraph per entry: the classifier, its concepts, the localisation, the filter.
pub fn sentences(data: &ReportData) -> Vec<String> {
    let mut story = vec![classifier(data)];
    story.extend(concepts(data));
    story.extend(data.localization.as_ref().and_then(localization));
    story.push(filter(data));
    story
}

fn classifier(data: &ReportData) -> String {
    let images: u64 = data.confusion.iter().flatten().sum();
    let right: u64 = (0..data.classes.len()).map(|class| data.confusion[class][class]).sum();
    let mut text = format!(
        "The classifier gets {} of {} images right ({}).",
        thousands(right),
        thousands(images),
        if data.accuracy.value.is_finite() { share(&data.accuracy) } else { "–".to_owned() }
    );
    let recalls = data.recall.iter().enumerate().filter_map(|(class, recall)| Some((class, recall.as_ref()?)));
    let weakest = recalls.min_by(|a, b| a.1.value.total_cmp(&b.1.value));
    if let Some((class, recall)) = weakest.filter(|_| right < images) {
        text += &format!(" Its weakest class is {} with {}", data.classes[class], share(recall));
        text += &match confusions(data).first() {
            Some(c) => {
                format!("; its most frequent confusion is {} taken for {} ({} times).", c.label, c.prediction, c.count)
            }
            None => ".".to_owned(),
        };
    }
    text
}

/// The two classes whose responsible concepts stand out most, as far as intervals exclude chance.
fn concepts(data: &ReportData) -> Option<String> {
    let clear = |change: &&ConceptChange| change.change.low > 0.0 || change.change.high < 0.0;
    let strength = |r: &Responsible| {
        let changes = r.lost.iter().chain(&r.intruding).filter(clear);
        changes.map(|change| change.change.value.abs()).fold(0.0, f64::max)
    };
    let supported = data.responsible.iter().filter(|r| r.supported && r.origin == "differential");
    let mut ranked: Vec<&Responsible> = supported.collect();
    if ranked.is_empty() {
        return None;
    }
    ranked.retain(|r| strength(r) > 0.0);
    ranked.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
    if ranked.is_empty() {
        return Some(
            "No concept’s win rate differs between recognised and missed images by more than chance would.".into(),
        );
    }
    let sentence = |r: &&Responsible| {
        let named = |changes: &[ConceptChange], how: &str| {
            let list: Vec<String> = changes.iter().filter(clear).take(2).map(points).collect();
            (!list.is_empty()).then(|| format!("{how} {}", list.join(" and ")))
        };
        let parts = [named(&r.lost, "less"), named(&r.intruding, "more")];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("Images of {} that are missed show {}.", data.classes[r.class], parts.join(", "))
    };
    let story: Vec<String> = ranked.iter().take(2).map(sentence).collect();
    Some(format!("{} (Points of a concept’s win rate against the others.)", story.join(" ")))
}

/// A concept and its change from successes to failures, in points of win rate.
fn points(change: &ConceptChange) -> String {
    let Estimate { value, low, high } = change.change;
    let [value, low, high] = [value, high, low].map(|share| format!("{:+.0}", -100.0 * share).replace('-', "−"));
    format!("{} ({value} [{low}, {high}])", change.concept)
}

fn localization(l: &Localization) -> Option<String> {
    let n = l.totals.n();
    let HeadShare { least, most } = l.totals.head_share()?;
    let mut text = format!(
        "Of {} misclassified images, {} are blamed on the head, {} on the encoder and {} on neither for certain, so the head’s \
         share {}.",
        thousands(n),
        thousands(l.totals.head),
        thousands(l.totals.encoder),
        thousands(l.totals.undetermined),
        match l.totals.undetermined {
            0 => format!("is {}", share(&least)),
            _ => format!("lies between {} and {}", share(&least), share(&most)),
        }
    );
    for OtherOracle { name, totals } in &l.others {
        text += &format!(
            " The {name} oracle blames {} on the head, {} on the encoder and {} on neither.",
            thousands(totals.head),
            thousands(totals.encoder),
            thousands(totals.undetermined)
        );
    }
    if let Some(rate) = &l.false_encoder {
        text += &format!(" On correctly classified images the zero-shot oracle blames the encoder in {}.", share(rate));
    }
    Some(text)
}

fn filter(data: &ReportData) -> String {
    let Some(evaluation) = &data.evaluation else {
        return "The runtime filter has not been evaluated.".to_owned();
    };
    let caught = |kind: &DefectKind| {
        let of = |role: Role| {
            let methods = kind.methods.iter().filter(|m| m.role == role);
            methods.filter_map(|m| Some((m, m.detection?))).max_by(|a, b| a.1.value.total_cmp(&b.1.value))
        };
        let (_, caught) = of(Role::Filter)?;
        let beside =
            of(Role::Baseline).map_or_else(String::new, |(m, other)| format!(" ({} {})", m.name, share(&other)));
        Some(format!("{} {}{beside}", kind.name, share(&caught)))
    };
    let kinds: Vec<String> = evaluation.kinds.iter().filter_map(caught).collect();
    let rejects = share(&evaluation.false_rejects);
    if kinds.is_empty() {
        return format!("The runtime filter rejects {rejects} of correctly classified images.");
    }
    format!(
        "While it rejects {rejects} of correctly classified images, the runtime filter catches: {}.",
        kinds.join(", ")
    )
}

/// A kind of defect, and who tells it best.
#[derive(Serialize)]
pub(super) struct Contest<'a> {
    name: &'a str,
    n: u64,
    n_correct: u64,
    /// The filter, its heatmap alone, and the baselines.
    methods: Vec<&'a MethodScores>,
    /// What the filter might have been.
    alternatives: Vec<&'a MethodScores>,
    filter: &'a MethodScores,
    best: Best<'a>,
    baseline_wins: bool,
    verdict: String,
}

/// The best method's name by each figure.
#[derive(Serialize)]
struct Best<'a> {
    auroc: &'a str,
    aupr: &'a str,
    fpr95: &'a str,
    aurc: &'a str,
    detection: Option<&'a str>,
}

/// Compares the methods of a kind; `None` if it lacks the filter's figures.
pub(super) fn contest(kind: &DefectKind) -> Option<Contest<'_>> {
    let filter = kind.methods.iter().find(|method| method.role == Role::Filter)?;
    let (alternatives, methods): (Vec<_>, Vec<_>) =
        kind.methods.iter().partition(|method| method.role == Role::Alternative && !method.is_heatmap_alone);
    let by = |figure: &dyn Fn(&MethodScores) -> f64| {
        methods.iter().copied().max_by(|a, b| figure(a).total_cmp(&figure(b))).unwrap_or(filter)
    };
    let baselines = methods.iter().copied().filter(|method| method.role == Role::Baseline);
    let rival = baselines.max_by(|a, b| a.auroc.value.total_cmp(&b.auroc.value));
    let alone = methods.iter().find(|method| method.is_heatmap_alone && method.auroc.value > filter.auroc.value);
    let alone = alone.map_or_else(String::new, |alone| {
        format!(" The filter’s heatmap alone ranks them better: AUROC {:.3}.", alone.auroc.value)
    });
    let detects = methods.iter().any(|method| method.detection.is_some());
    Some(Contest {
        name: &kind.name,
        n: kind.n,
        n_correct: kind.n_correct,
        filter,
        best: Best {
            auroc: &by(&|m| m.auroc.value).name,
            aupr: &by(&|m| m.aupr.value).name,
            fpr95: &by(&|m| -m.fpr95.value).name,
            aurc: &by(&|m| -m.aurc.value).name,
            detection: detects.then(|| by(&|m| m.detection.map_or(-1.0, |d| d.value)).name.as_str()),
        },
        baseline_wins: rival.is_some_and(|rival| rival.auroc.value > filter.auroc.value),
        verdict: rival.map_or_else(|| "No baseline was measured.".to_owned(), |rival| verdict(filter, rival)) + &alone,
        methods,
        alternatives,
    })
}

fn verdict(filter: &MethodScores, rival: &MethodScores) -> String {
    let (ours, theirs) = (filter.auroc, rival.auroc);
    let overlap = |a: Estimate, b: Estimate| a.low <= b.high && b.low <= a.high;
    let caution = if overlap(ours, theirs) { " Their intervals overlap." } else { "" };
    let figures = |a: f64, b: f64| format!("AUROC {a:.3} against {b:.3}");
    if theirs.value > ours.value {
        format!("A baseline wins: {}, {}.{caution}", rival.name, figures(theirs.value, ours.value))
    } else if theirs.value < ours.value {
        format!(
            "The filter beats every baseline; the best is {}, {}.{caution}",
            rival.name,
            figures(ours.value, theirs.value)
        )
    } else {
        format!("The filter and {} are level, {}.{caution}", rival.name, figures(ours.value, theirs.value))
    }
}
