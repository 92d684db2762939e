//! The page against a small made-up study: what must be on it, what must not, and what it does to hostile names.

use super::data::*;
use super::{Flags, Intervals, MapKind, MapView, Side, html, sentences, write_html};
use crate::error::ErrorKind;
use crate::semantics::Role;

const CONCEPTS: [&str; 6] = ["wings", "wheels", "metallic", "ears", "wet", "tail"];
const CLASSES: [&str; 3] = ["plane", "cat", "ship"];

fn estimate(value: f64) -> Estimate {
    Estimate { value, low: value - 0.05, high: value + 0.05 }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn fact(name: &str, value: &str) -> Fact {
    Fact { name: name.to_owned(), value: value.to_owned(), detail: String::new() }
}

/// Counts of concept i above concept j in n images, from a formula.
fn side(name: &str, n: u64, seed: u64) -> Side {
    let size = CONCEPTS.len() as u64;
    let upper = |i: u64, j: u64| (i * 31 + j * 17 + seed * 13) % (n + 1);
    let count = |at: u64| match (at / size, at % size) {
        (i, j) if i == j => 0,
        (i, j) if i < j => upper(i, j),
        (i, j) => n - upper(j, i),
    };
    Side { name: name.to_owned(), n, counts: (0..size * size).map(count).collect() }
}

fn strength(class: usize, set: &str, n: u64) -> ReportMap {
    let counts = side(set, n, class as u64);
    let share =
        |at: usize| if at.is_multiple_of(CONCEPTS.len() + 1) { f64::NAN } else { counts.counts[at] as f64 / n as f64 };
    let values: Vec<f64> = (0..counts.counts.len()).map(share).collect();
    let mut view = MapView::new(format!("{} · {set}", CLASSES[class]), MapKind::Strength, owned(&CONCEPTS), values);
    view.intervals = Some(Intervals {
        low: view.values.iter().map(|v| v - 0.1).collect(),
        high: view.values.iter().map(|v| v + 0.1).collect(),
    });
    view.sides = vec![counts];
    view.supported = n >= 5;
    ReportMap { class, set: set.to_owned(), view }
}

fn differential(class: usize) -> ReportMap {
    let (first, second) = (strength(class, "correct", 90).view, strength((class + 1) % 3, "missed", 14).view);
    let values: Vec<f64> = first.values.iter().zip(&second.values).map(|(a, b)| 0.4 * (a - b)).collect();
    let title = format!("{} · differential", CLASSES[class]);
    let mut view = MapView::new(title, MapKind::Differential, owned(&CONCEPTS), values.clone());
    view.sides = vec![first.sides[0].clone(), second.sides[0].clone()];
    view.intervals = Some(Intervals {
        low: values.iter().map(|v| v - 0.2).collect(),
        high: values.iter().map(|v| v + 0.2).collect(),
    });
    view.p = Some(values.iter().map(|v| (-20.0 * v.abs()).exp()).collect());
    view.flags =
        Some(Flags { meaning: "significant at 5 %".into(), cells: values.iter().map(|v| v.abs() > 0.2).collect() });
    ReportMap { class, set: "differential".to_owned(), view }
}

fn changes(names: &[&str], sign: f64) -> Vec<ConceptChange> {
    let change = |(at, &concept): (usize, &&str)| ConceptChange {
        concept: concept.to_owned(),
        change: estimate(sign * (0.3125 - 0.09 * at as f64)),
    };
    names.iter().enumerate().map(change).collect()
}

fn method(name: &str, role: Role, auroc: f64) -> MethodScores {
    MethodScores {
        name: name.to_owned(),
        role,
        is_heatmap_alone: false,
        auroc: estimate(auroc),
        aupr: estimate(auroc - 0.2),
        fpr95: estimate(1.1 - auroc),
        aurc: estimate(0.95 - auroc),
        detection: Some(estimate(auroc - 0.4)),
    }
}

fn kind(name: &str, filter: f64, softmax: f64) -> DefectKind {
    let methods = vec![
        method("heatmap filter", Role::Filter, filter),
        method("hamming centered", Role::Alternative, 0.995),
        method("max softmax", Role::Baseline, softmax),
    ];
    DefectKind { name: name.to_owned(), n: 41, n_correct: 12345, methods }
}

fn curve(name: &str, is_filter: bool, lift: f64) -> CoverageCurve {
    let points = (1..=100).map(|at| f64::from(at) / 100.0).map(|c| (c, 0.86 + lift * (1.0 - c))).collect();
    CoverageCurve { name: name.to_owned(), is_filter, points, aurc: estimate(0.08) }
}

fn evaluation() -> Evaluation {
    Evaluation {
        facts: vec![fact("distance", "cosine"), fact("threshold", "0.231")],
        notices: vec!["12 attacks failed and were left out".into()],
        false_rejects: estimate(0.0512),
        kinds: vec![kind("misclassified", 0.761, 0.843), kind("pgd8", 0.953, 0.611)],
        curves: vec![curve("heatmap filter", true, 0.09), curve("max softmax", false, 0.12)],
    }
}

/// A JPEG-like file of a size no decoder looks at: only its signature matters here.
const PICTURE: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F'];

fn example(label: usize, prediction: usize, verdict: Option<&str>) -> Example {
    Example {
        path: format!("images/{}/7.jpg", CLASSES[label]),
        label,
        prediction,
        verdict: verdict.map(str::to_owned),
        concepts: owned(&["wings", "tail"]),
        thumbnail: PICTURE.to_vec(),
    }
}

fn study() -> ReportData {
    let sets = [("correct", 90), ("missed", 3), ("false-alarm", 12)];
    let maps = (0..3)
        .flat_map(|class| sets.into_iter().map(move |(set, n)| strength(class, set, n)).chain([differential(class)]));
    let responsible = |class| Responsible {
        class,
        origin: "differential".into(),
        supported: class != 1,
        lost: changes(&["wings", "metallic"], 1.0),
        intruding: changes(&["wet"], -1.0),
        pairs: vec![PairChange {
            stronger: "wings".into(),
            weaker: "wet".into(),
            change: estimate(0.44),
            significant: true,
        }],
    };
    ReportData {
        title: "animals & vehicles".into(),
        facts: vec![fact("classifier", "ResNet-18"), fact("adapter", "llvmpipe (Vulkan)")],
        notices: vec!["2 images didn't decode and were skipped".into()],
        classes: owned(&CLASSES),
        concepts: owned(&CONCEPTS),
        confusion: vec![vec![90, 4, 6], vec![2, 95, 3], vec![17, 1, 82]],
        accuracy: estimate(0.89),
        recall: vec![Some(estimate(0.90)), Some(estimate(0.95)), Some(estimate(0.82))],
        min_support: 5,
        maps: maps.collect(),
        responsible: (0..3).map(responsible).collect(),
        localization: Some(Localization {
            rule: "An error is the head’s if the aligned embedding still says the label.".into(),
            totals: Verdicts { head: 14, encoder: 11, undetermined: 8 },
            others: vec![OtherOracle {
                name: "zero-shot".into(),
                totals: Verdicts { head: 20, encoder: 4, undetermined: 9 },
            }],
            classes: vec![
                Verdicts { head: 6, encoder: 2, undetermined: 2 },
                Verdicts { head: 1, encoder: 2, undetermined: 2 },
                Verdicts { head: 7, encoder: 7, undetermined: 4 },
            ],
            agreement: Some(estimate(0.727)),
            class_agreement: vec![Some(estimate(0.8)), None, Some(estimate(0.667))],
            errors: TwoByTwo { both: 14, oracle_only: 3, clip_only: 11, neither: 5 },
            correct: TwoByTwo { both: 240, oracle_only: 12, clip_only: 9, neither: 6 },
            false_encoder: Some(estimate(0.337)),
            aligner: vec![fact("R²", "0.713")],
        }),
        examples: vec![example(2, 0, Some("encoder")), example(0, 2, Some("head")), example(1, 1, None)],
        evaluation: Some(evaluation()),
    }
}

/// The data block of a page, parsed.
fn data_of(page: &str) -> serde_json::Value {
    let start = page.split_once("id=\"data\">").expect("a data block").1;
    serde_json::from_str(start.split_once("</script>").expect("its end").0).expect("JSON")
}

/// The page without tags, whitespace run together: what a reader sees if scripts are off.
fn text_of(page: &str) -> String {
    let body = page.split_once("<body>").expect("a body").1.split_once("<script").expect("a script").0;
    let mut text = String::new();
    for part in body.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, after)| after));
        text.push(' ');
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_section_is_there() {
    let page = html(&study()).unwrap();
    for id in ["classifier", "maps", "concepts", "faults", "examples", "filter", "about"] {
        assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}");
        assert!(page.contains(&format!("href=\"#{id}\"")), "{id}");
    }
    let text = text_of(&page);
    for part in ["animals &amp; vehicles", "2 images didn&#x27;t decode", "llvmpipe (Vulkan)", "12 attacks failed"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn the_tables_show_the_given_numbers() {
    let text = text_of(&html(&study()).unwrap());
    for part in [
        "267 of 300 images",
        "ship 100 18 9 82.0 % [77.0 %, 87.0 %]",
        "ship → plane 17",
        "between 42.4 % [27.2 %, 59.2 %] and 66.7 % [49.6 %, 80.2 %]",
        "plane 10 6 2 2 80.0 % [75.0 %, 85.0 %]",
        "cat 5 1 2 2 –",
        "all 33 14 11 8 72.7 % [67.7 %, 77.7 %]",
        "by the zero-shot oracle: head 20, encoder 4, undetermined 9",
        "zero-shot oracle says the label 14 3 zero-shot oracle doesn’t 11 5",
        "zero-shot oracle says the label 240 12 zero-shot oracle doesn’t 9 6",
        "33.7 % [28.7 %, 38.7 %] of the",
        "heatmap filter 0.761 [0.711, 0.811]",
        "12 345 correctly classified",
        "wings +0.31",
        "wet −0.31",
        "wings &gt; wet +0.44",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn the_scripts_maps_are_the_given_ones() {
    let study = study();
    let data = data_of(&html(&study).unwrap());
    assert_eq!(data["maps"].as_array().unwrap().len(), study.maps.len());
    for (shown, given) in data["maps"].as_array().unwrap().iter().zip(&study.maps) {
        assert_eq!((shown["class"].as_u64(), shown["set"].as_str()), (Some(given.class as u64), Some(&*given.set)));
        assert_eq!(shown["supported"].as_bool(), Some(given.view.supported));
        for (at, &value) in given.view.values.iter().enumerate() {
            match shown["values"][at].as_f64() {
                Some(number) => assert!((number - value).abs() <= 0.5e-4 + 1e-12, "{number} {value}"),
                None => assert!(value.is_nan()),
            }
        }
        for (shown, given) in shown["sides"].as_array().unwrap().iter().zip(&given.view.sides) {
            assert_eq!(shown["n"].as_u64(), Some(given.n));
            let counts: Vec<u64> = serde_json::from_value(shown["counts"].clone()).unwrap();
            assert_eq!(counts, given.counts);
        }
    }
    // All maps of a set share one range, so that their colours compare.
    let ranges: Vec<f64> = data["maps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|map| map["set"] == "differential")
        .map(|map| map["range"].as_f64().unwrap())
        .collect();
    assert!(ranges.iter().all(|&range| range == ranges[0]), "{ranges:?}");
}

#[test]
fn hostile_names_stay_text() {
    const HOSTILE: &str = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\"' & \u{2028}";
    let mut study = study();
    study.title = HOSTILE.into();
    study.classes[0] = HOSTILE.into();
    study.concepts[0] = HOSTILE.into();
    study.notices.push(HOSTILE.into());
    for map in &mut study.maps {
        map.view.title = HOSTILE.into();
        map.view.concepts[0] = HOSTILE.into();
    }
    study.responsible[0].lost[0].concept = HOSTILE.into();
    study.examples[0].path = HOSTILE.into();
    let evaluation = study.evaluation.as_mut().unwrap();
    evaluation.kinds[0].name = HOSTILE.into();
    evaluation.curves[1].name = HOSTILE.into();
    let page = html(&study).unwrap();
    assert!(!page.contains("<script>alert") && !page.contains("<img src=x") && !page.contains("<!--"), "unescaped");
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert_eq!(data_of(&page)["classes"][0], HOSTILE);
}

#[test]
fn nothing_is_loaded() {
    let page = html(&study()).unwrap();
    for reference in
        ["http:", "https:", "src=\"//", "url(\"", "@import", "<link", "fetch(", "XMLHttpRequest", "import("]
    {
        assert!(!page.contains(reference), "{reference}");
    }
    let sources: Vec<&str> = page.split("src=\"").skip(1).map(|rest| &rest[..rest.find('"').unwrap()]).collect();
    assert_eq!(sources, ["data:image/jpeg;base64,/9j/4AAQSkZJRg=="; 3]);
}

#[test]
fn without_an_evaluation_the_page_says_so() {
    let mut study = study();
    let page = html(&study).unwrap();
    assert!(!page.contains("ot evaluated"));
    study.evaluation = None;
    let text = text_of(&html(&study).unwrap());
    assert!(text.contains("Not evaluated. Figures of the build set never stand in"), "{text}");
    assert!(text.contains("has not been evaluated"));
    assert!(!text.contains("AUROC"));
}

#[test]
fn a_winning_baseline_is_named() {
    let text = text_of(&html(&study()).unwrap());
    assert!(
        text.contains("A baseline wins: max softmax, AUROC 0.843 against 0.761. Their intervals overlap."),
        "{text}"
    );
    assert!(text.contains("The filter beats every baseline; the best is max softmax, AUROC 0.953 against 0.611."));
}

#[test]
fn the_summary_tells_the_story() {
    let story = sentences(&study());
    assert_eq!(
        story,
        [
            "The classifier gets 267 of 300 images right (89.0 % [84.0 %, 94.0 %]). Its weakest class is ship with 82.0 % \
             [77.0 %, 87.0 %]; its most frequent confusion is ship taken for plane (17 times).",
            "Images of plane that are missed show less wings (−31 [−36, −26]) and metallic (−22 [−27, −17]), more wet (+31 \
             [+26, +36]). Images of ship that are missed show less wings (−31 [−36, −26]) and metallic (−22 [−27, −17]), \
             more wet (+31 [+26, +36]). (Points of a concept’s win rate against the others.)",
            "Of 33 misclassified images, 14 are blamed on the head, 11 on the encoder and 8 on neither for certain, so the \
             head’s share lies between 42.4 % [27.2 %, 59.2 %] and 66.7 % [49.6 %, 80.2 %]. The zero-shot oracle blames 20 \
             on the head, 4 on the encoder and 9 on neither. On correctly classified images the zero-shot oracle blames the \
             encoder in 33.7 % [28.7 %, 38.7 %].",
            "While it rejects 5.1 % [0.1 %, 10.1 %] of correctly classified images, the runtime filter catches: misclassified \
             36.1 % [31.1 %, 41.1 %] (max softmax 44.3 % [39.3 %, 49.3 %]), pgd8 55.3 % [50.3 %, 60.3 %] (max softmax 21.1 % \
             [16.1 %, 26.1 %]).",
        ]
    );
}

#[test]
fn an_empty_study_still_makes_a_page() {
    let mut study = study();
    study.maps.clear();
    study.responsible.clear();
    study.examples.clear();
    study.notices.clear();
    study.localization = None;
    study.evaluation = None;
    study.confusion = vec![vec![0; 3]; 3];
    study.recall = vec![None; 3];
    study.accuracy = Estimate { value: f64::NAN, low: f64::NAN, high: f64::NAN };
    let text = text_of(&html(&study).unwrap());
    assert!(text.contains("Not localised.") && text.contains("No pictures were kept."), "{text}");
    assert!(!text.contains("NaN"), "{text}");
}

#[test]
fn parts_that_do_not_fit_are_named() {
    type Break = fn(&mut ReportData);
    let broken: [(&str, Break); 4] = [
        ("recall has 2 entries, expected 3", |study| study.recall.truncate(2)),
        ("a row of confusion has 4 entries", |study| study.confusion[1].push(0)),
        ("a map is of class 3", |study| study.maps[2].class = 3),
        ("counts has 35 cells, expected 36", |study| study.maps[1].view.sides[0].counts.truncate(35)),
    ];
    for (message, breaks) in broken {
        let mut study = study();
        breaks(&mut study);
        let error = html(&study).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains(message), "{message} in {error}");
    }
}

#[test]
fn a_page_that_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/report.html");
    assert_eq!(write_html(&path, &study()).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let path = folder.path().join("report.html");
    write_html(&path, &study()).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), html(&study()).unwrap());
}
