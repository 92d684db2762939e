//! The filter's evaluation as the page shows it.

use super::assemble::{counted, fact};
use super::data::{CoverageCurve, DefectKind, Estimate, Evaluation, MethodScores};
use super::summary::{percent, share};
use crate::semantics::{self, KindResult, MISCLASSIFIED, Method, MethodResult, Role};

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
    let unknown = Estimate { value: f64::NAN, low: f64::NAN, high: f64::NAN };
    let aurc = |method: &str| {
        let clean = found.kinds.iter().filter(|kind| kind.kind == MISCLASSIFIED).flat_map(|kind| &kind.methods);
        let selective = clean.filter(|result| result.method == method).find_map(|result| result.selective.as_ref());
        selective.map_or(unknown, |selective| selective.aurc)
    };
    let curve = |result: &semantics::SelectiveResult| CoverageCurve {
        name: method_name(&result.method, result.role),
        is_filter: result.role == Role::Filter,
        points: result.curve.iter().map(|point| (point.coverage, point.accuracy)).collect(),
        aurc: aurc(&result.method),
    };
    Evaluation {
        facts: facts(found),
        notices,
        false_rejects: found.kept.false_rejects.unwrap_or(unknown),
        kinds: found.kinds.iter().map(|kind| defect_kind(&found.method, kind)).collect(),
        // The alternatives' curves would hide the others.
        curves: found.selective.iter().filter(|result| result.role != Role::Alternative).map(curve).collect(),
    }
}

fn facts(found: &semantics::Evaluation) -> Vec<super::Fact> {
    let none = || "–".to_owned();
    let mut facts = vec![
        fact(
            "scores by",
            found.method.to_string(),
            "distance, concept scores, and the softmax where it is combined with them",
        ),
        fact("test images", counted(found.images, "image"), ""),
        fact("accuracy on all of them", share(&found.accuracy), ""),
        fact("accuracy on those kept", found.kept.accuracy.as_ref().map_or_else(none, share), ""),
        fact("kept", share(&found.kept.coverage), ""),
        fact("false rejects promised", percent(found.promised_false_rejects), ""),
        fact("false rejects found", found.kept.false_rejects.as_ref().map_or_else(none, share), ""),
    ];
    let baselines = found.selective.iter().filter(|result| result.role == Role::Baseline);
    facts.extend(baselines.filter_map(|result| {
        let value = result.kept?.false_rejects.as_ref().map_or_else(none, share);
        let name = format!("false rejects of {}", method_name(&result.method, result.role));
        Some(fact(&name, value, "at its own calibrated threshold"))
    }));
    facts.push(fact("adapter", found.adapter.clone(), ""));
    facts
}

fn defect_kind(filter: &Method, found: &KindResult) -> DefectKind {
    let alone = filter.heatmap_alone();
    let method = |result: &MethodResult| {
        let detection = result.detection?;
        Some(MethodScores {
            name: method_name(&result.method, result.role),
            role: result.role,
            is_heatmap_alone: alone.as_ref() == Some(&result.method),
            auroc: detection.auroc,
            aupr: detection.aupr,
            fpr95: detection.fpr95,
            aurc: result.selective.as_ref()?.aurc,
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

/// A method as people write it: `filter (cosine raw)`, `max softmax`.
fn method_name(name: &str, role: Role) -> String {
    match role {
        Role::Filter => format!("filter ({name})"),
        Role::Alternative => name.to_owned(),
        Role::Baseline => name.replace('-', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::{
        Calibration, Combination, CoveragePoint, Detection, Distance, Kept, ModelIdentity, ScoreMode, Selective,
        SelectiveResult,
    };

    #[test]
    fn figures_keep_their_places_and_gaps_become_notices() {
        let estimate = |value: f64| Estimate { value, low: value - 0.01, high: value + 0.01 };
        let method = |name: &str, role: Role, auroc: f64| MethodResult {
            method: name.to_owned(),
            role,
            detection: Some(Detection {
                defects: 8,
                sound: 90,
                auroc: estimate(auroc),
                aupr: estimate(0.5),
                fpr95: estimate(0.25),
            }),
            selective: Some(Selective { aurc: estimate(0.1), at: Vec::new() }),
            detected: Some(estimate(0.4)),
        };
        let kind = |kind: &str, failed_attacks: usize, methods: Vec<MethodResult>| KindResult {
            kind: kind.to_owned(),
            defects: 8,
            sound: 90,
            failed_attacks,
            methods,
        };
        let blank = MethodResult {
            method: "cosine raw".to_owned(),
            role: Role::Filter,
            detection: None,
            selective: None,
            detected: None,
        };
        let kept = Kept { coverage: estimate(0.9), accuracy: None, false_rejects: Some(estimate(0.06)) };
        let selective = |method: &str, role: Role| SelectiveResult {
            method: method.to_owned(),
            role,
            curve: vec![CoveragePoint { threshold: 0.0, coverage: 0.5, accuracy: 0.75 }],
            kept: Some(kept),
        };
        let found = semantics::Evaluation {
            classifier: ModelIdentity {
                path: "classifier".into(),
                sha256: "00".into(),
                preprocess: "00".into(),
                precision: Default::default(),
            },
            concepts: vec!["wings".to_owned(), "wheels".to_owned()],
            images: 98,
            accuracy: estimate(90.0 / 98.0),
            method: Method {
                distance: Distance::Cosine,
                scores: ScoreMode::Raw,
                combination: Some(Combination { correct: 20, kinds: Vec::new() }),
                calibration: Calibration { own: None, pooled: None },
            },
            kept,
            promised_false_rejects: 0.05,
            kinds: vec![
                kind(
                    "misclassified",
                    0,
                    vec![
                        method("cosine raw + softmax", Role::Filter, 0.8),
                        method("cosine raw", Role::Alternative, 0.7),
                        method("l1 raw", Role::Alternative, 0.95),
                        method("max-softmax", Role::Baseline, 0.9),
                    ],
                ),
                kind("pgd4", 3, vec![blank]),
            ],
            selective: vec![
                selective("cosine raw", Role::Filter),
                selective("l1 raw", Role::Alternative),
                selective("max-softmax", Role::Baseline),
            ],
            skipped: vec![("a.png".to_owned(), "broken".to_owned())],
            notices: Vec::new(),
            overlap_allowed: true,
            adapter: "an adapter".to_owned(),
        };
        let page = page(&found);
        assert_eq!(page.false_rejects.value, 0.06);
        let methods = &page.kinds[0].methods;
        assert_eq!((methods[0].name.as_str(), methods[0].role), ("filter (cosine raw + softmax)", Role::Filter));
        let alone: Vec<bool> = methods.iter().map(|method| method.is_heatmap_alone).collect();
        assert_eq!(alone, [false, true, false, false]);
        assert_eq!((methods[3].name.as_str(), methods[3].auroc.value), ("max softmax", 0.9));
        assert_eq!(page.curves.len(), 2);
        assert_eq!((page.kinds[0].n, page.kinds[0].n_correct, page.kinds[1].methods.len()), (8, 90, 0));
        assert_eq!((page.curves[0].aurc.value, methods[0].aurc.value), (0.1, 0.1));
        assert_eq!(page.curves[0].points, [(0.5, 0.75)]);
        let notices = page.notices.join("\n");
        for part in ["--allow-overlap", "1 image left out", "pgd4: 3 attacks failed", "pgd4: no defects"] {
            assert!(notices.contains(part), "{part} in {notices}");
        }
        assert!(page.facts.iter().any(|fact| fact.name == "false rejects of max softmax"));
    }
}
