//! The filter's evaluation as the page shows it.

use super::assemble::{counted, fact};
use super::data::{CoverageCurve, DefectKind, Estimate, Evaluation, MethodScores};
use super::summary::percent;
use crate::semantics::{self, HEATMAP, KindResult, MethodResult};

/// What the filter is called beside its baselines.
const FILTER: &str = "heatmap filter";

/// The page's part of an evaluation. What couldn't be measured for want of defects becomes a notice.
pub(super) fn page(found: &semantics::Evaluation) -> Evaluation {
    let mut notices = found.notices.clone();
    if found.overlap_allowed && !notices.iter().any(|notice| notice.contains("overlap")) {
        notices.push("Splits were allowed to share images (--allow-overlap).".to_owned());
    }
    if !found.skipped.is_empty() {
        notices.push(format!("{} left out.", counted(found.skipped.len(), "image")));
    }
    for kind in &found.kinds {
        if kind.failed_attacks > 0 {
            let failed = counted(kind.failed_attacks, "attack");
            notices.push(format!("{}: {failed} failed and are no defects.", kind.kind));
        }
        if kind.methods.iter().all(|method| method.detection.is_none()) {
            notices.push(format!("{}: no defects or no sound images, so nothing to measure.", kind.kind));
        }
    }
    let curve = |result: &semantics::SelectiveResult| CoverageCurve {
        name: method_name(&result.method),
        is_filter: result.method == HEATMAP,
        points: result.selective.curve.iter().map(|point| (point.coverage, point.accuracy)).collect(),
        aurc: result.selective.aurc,
    };
    let unknown = Estimate { value: f64::NAN, low: f64::NAN, high: f64::NAN };
    Evaluation {
        facts: facts(found),
        notices,
        false_rejects: found.false_rejects.unwrap_or(unknown),
        kinds: found.kinds.iter().map(defect_kind).collect(),
        curves: found.selective.iter().map(curve).collect(),
    }
}

fn facts(found: &semantics::Evaluation) -> Vec<super::Fact> {
    let estimate = |e: &Estimate| format!("{} [{}, {}]", percent(e.value), percent(e.low), percent(e.high));
    let none = || "–".to_owned();
    let mut facts = vec![
        fact("test images", counted(found.images, "image"), ""),
        fact("accuracy on all of them", percent(found.accuracy), ""),
        fact("accuracy on those kept", found.kept_accuracy.as_ref().map_or_else(none, estimate), ""),
        fact("kept", percent(found.coverage), ""),
        fact("false rejects promised", percent(found.promised_false_rejects), ""),
        fact("false rejects found", found.false_rejects.as_ref().map_or_else(none, estimate), ""),
    ];
    let baselines = found.baseline_false_rejects.iter();
    facts.extend(baselines.map(|(name, found)| {
        let value = found.as_ref().map_or_else(none, estimate);
        fact(&format!("false rejects of {}", method_name(name)), value, "at its own calibrated threshold")
    }));
    facts.push(fact("adapter", found.adapter.clone(), ""));
    facts
}

fn defect_kind(found: &KindResult) -> DefectKind {
    let method = |result: &MethodResult| {
        let detection = result.detection?;
        Some(MethodScores {
            name: method_name(&result.method),
            is_filter: result.method == HEATMAP,
            auroc: detection.auroc,
            aupr: detection.aupr,
            fpr95: detection.fpr95,
            detection: result.detected,
        })
    };
    DefectKind {
        name: found.kind.clone(),
        n: found.defects as u64,
        n_correct: found.sound as u64,
        methods: found.methods.iter().filter_map(method).collect(),
    }
}

/// `max-softmax` as people write it.
fn method_name(name: &str) -> String {
    if name == HEATMAP { FILTER.to_owned() } else { name.replace('-', " ") }
}
