//! Commands on bundles that exist already: what they refuse, what they say, and when they gate.

use std::fs;

use heatlens::semantics::statistics::{rank_test, two_sided_p};

use super::fixture::{CLASSES, fixture, heatlens};
use super::given::{Row, edit};

/// Bad input of the commands that take bundles or make attacks.
pub(crate) const ROWS: &[Row] = &[
    Row(
        "a bundle twice",
        "merge",
        |g| g.extra = vec![g.bundle.display().to_string()],
        &["bundle and ", "share 48 image(s)", "build/cat/", "--shard 1/2"],
    ),
    Row(
        "a bundle of other concepts",
        "merge",
        |g| {
            let other = g.spoiled(&g.bundle, |dir| edit(&dir.join("manifest.json"), "\"water\"", "\"snow\""));
            g.extra = vec![other.display().to_string()];
        },
        &["scratch/bundle", "different concepts", "'water' and 'snow'"],
    ),
    Row("no folder for the output", "merge", |g| g.output = g.output.join("deep/bundle"), &["output/deep"]),
    Row(
        "a shard that isn't there",
        "build",
        |g| g.extra = vec!["--shard".into(), "3/2".into()],
        &["--shard", "3/2", "1/N to N/N"],
    ),
    Row(
        "more shards than images",
        "build",
        |g| g.extra = vec!["--shard".into(), "1/1000000007".into()],
        &["/build: ", "holds none of the 48 images"],
    ),
    Row(
        "a bundle of other concepts",
        "compare",
        |g| g.bundle = g.spoiled(&g.bundle, |dir| edit(&dir.join("manifest.json"), "\"water\"", "\"snow\"")),
        &["scratch/bundle", "different concepts", "'water' and 'snow'"],
    ),
    Row("a folder that is no bundle", "compare", |g| g.bundle = g.fixture.path("clip"), &["clip/manifest.json"]),
    Row("a drift above 1", "compare", |g| g.extra = vec!["--max-drift".into(), "5".into()], &["--max-drift", "0 to 1"]),
    Row("no such checks", "check", |g| g.spec = g.scratch.join("nowhere.txt"), &["nowhere.txt"]),
    Row(
        "a check that can't be read",
        "check",
        |g| g.spec = g.list("spec.txt", "check a\n  for all: fur > at least 5 %\n"),
        &["spec.txt:2:18: found the keyword `at`, expected a concept"],
    ),
    Row(
        "a check of an unknown concept",
        "check",
        |g| g.spec = g.list("spec.txt", "check a for all: fur > waters at least 5 %\n"),
        &["spec.txt:1:24: there is no concept `waters`", "did you mean `water`?"],
    ),
    Row(
        "hasCon without annotations",
        "check",
        |g| g.spec = g.list("spec.txt", "check a for all: hasCon(fur) at least 5 %\n"),
        &["spec.txt:1:25", "--annotations"],
    ),
    Row(
        "annotations without the concept",
        "check",
        |g| {
            g.spec = g.list("spec.txt", "check a for all: hasCon(fur) at least 5 %\n");
            let notes = g.list("notes.csv", "file_name,ears\na.png,1\n");
            g.extra = vec!["--annotations".into(), notes.display().to_string()];
        },
        &["notes.csv", "no column `fur`"],
    ),
    Row(
        "no folder for the output",
        "check",
        |g| g.extra = vec!["--junit".into(), g.output.join("deep/checks.xml").display().to_string()],
        &["output/deep"],
    ),
    Row(
        "the prompts of another list",
        "concepts lint",
        |g| {
            let list = g.list("words.txt", "fur\nears\n");
            g.extra = vec!["--concepts".into(), list.display().to_string()];
        },
        &["bundle: was built with other concepts"],
    ),
    Row("no vocabulary", "concepts suggest", |g| g.concepts = g.scratch.join("nowhere.txt"), &["nowhere.txt"]),
    Row(
        "an unknown class",
        "concepts suggest",
        |g| g.extra = vec!["--class".into(), "boat".into()],
        &["boat", "cat, dog, ship"],
    ),
    Row("a classifier for CLIP", "concepts suggest", |g| g.clip = g.classifier.clone(), &["classifier"]),
    Row("an epsilon of nothing", "attack", |g| g.epsilon = "0/255", &["--epsilon", "expected a share from 1/255 to 1"]),
    Row(
        "an unknown method",
        "attack",
        |g| g.extra = vec!["--method".into(), "magic".into()],
        &["'magic' isn't a method", "square or noise"],
    ),
    Row("a folder that isn't ours", "attack", |g| g.output.set_file_name("kept"), &["kept", "something in it"]),
    Row("no folder for the output", "attack", |g| g.output = g.output.join("deep/attacked"), &["output/deep"]),
];

fn path(name: &str) -> String {
    fixture().path(name).display().to_string()
}

#[test]
fn a_bundle_compared_with_itself_passes_any_gate() {
    let bundle = path("bundle");
    let drift = fixture().json(&["compare", &bundle, &bundle, "--max-drift", "0", "--json"]);
    assert_eq!((drift["images"].as_u64(), drift["predictions_changed"].as_u64()), (Some(48), Some(0)));
    assert_eq!((drift["drift"]["value"].as_f64(), drift["same_classifier"].as_bool()), (Some(0.0), Some(true)));
    assert_eq!(drift["accuracy"]["p"].as_f64(), Some(1.0));
    let classes = drift["classes"].as_array().unwrap();
    assert_eq!(classes.iter().map(|class| class["class"].as_str().unwrap()).collect::<Vec<_>>(), CLASSES);
    assert!(classes.iter().all(|class| class["tests"] == 10 && class["pairs"].as_array().unwrap().is_empty()));
}

#[test]
fn drift_above_the_bound_fails_the_gate() {
    let root = tempfile::tempdir().unwrap();
    let [words, other] = ["words.txt", "other"].map(|name| root.path().join(name));
    // The same names, but two of them stand for the other's phrase: the two concepts change sides.
    fs::write(&words, "ears: fur\nfur: ears\nwater\nmetal\nwheels\n").unwrap();
    let [words, other] = [&words, &other].map(|path| path.to_str().unwrap());
    let models =
        ["--classifier", &path("classifier"), "--clip", &path("clip"), "--aligner", &path("aligner.safetensors")];
    let build = ["--concepts", words, "--images", &path("build"), "--minimum-support", "2", "-o", other];
    fixture().run(&[&["build"], &models[..], &build].concat());
    let compare = ["compare", &path("bundle"), other, "--max-drift"];
    let drift = fixture().json(&["compare", &path("bundle"), other, "--json"]);
    assert!(drift["drift"]["value"].as_f64().unwrap() > 0.0 && drift["accuracy"]["change"]["value"] == 0.0);
    let text = heatlens().args(compare).arg("0").assert().code(1).get_output().stdout.clone();
    assert!(String::from_utf8(text).unwrap().contains("more than 0.0 % drift: "));
    heatlens().args(compare).arg("1").assert().code(0);
}

#[test]
fn checks_gate_and_write_junit() {
    let root = tempfile::tempdir().unwrap();
    let [spec, junit] = ["spec.txt", "junit.xml"].map(|name| root.path().join(name));
    let text = "check always for all: fur > ears implies not ears > fur at least 100 %\n\
                check never for class cat, dog: fur > fur at least 1 %\n";
    fs::write(&spec, text).unwrap();
    let args = ["check", spec.to_str().unwrap(), &path("bundle"), "--junit", junit.to_str().unwrap(), "--worst", "2"];
    let output = heatlens().args(args).arg("--json").assert().code(1).get_output().stdout.clone();
    let found: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!((found["passed"].as_u64(), found["failed"].as_u64()), (Some(1), Some(1)));
    let checks = found["checks"].as_array().unwrap();
    assert_eq!(checks.iter().map(|check| check["verdict"].as_str().unwrap()).collect::<Vec<_>>(), ["pass", "fail"]);
    assert_eq!(checks[0]["share"]["value"], 1.0);
    let worst = checks[1]["worst"].as_array().unwrap();
    assert!(worst.len() == 2 && worst.iter().all(|image| image["margin"] == 0.0), "{worst:?}");
    let written = fs::read_to_string(&junit).unwrap();
    assert!(written.contains("tests=\"2\" failures=\"1\"") && written.contains("name=\"never\""), "{written}");
    let text = heatlens().args(args).assert().code(1).get_output().stdout.clone();
    assert!(String::from_utf8(text).unwrap().ends_with("1 passed, 1 failed\n"));
}

#[test]
fn lint_names_what_is_wrong_with_a_list() {
    let root = tempfile::tempdir().unwrap();
    let [words, bundle] = ["words.txt", "bundle"].map(|name| root.path().join(name));
    // Two names of one phrase, and a phrase longer than the text tower's 32 tokens of single letters.
    fs::write(&words, "ears\nhearing: ears\nfur: very very very very very long and warm hair\n").unwrap();
    let [words, bundle] = [&words, &bundle].map(|path| path.to_str().unwrap());
    let models =
        ["--classifier", &path("classifier"), "--clip", &path("clip"), "--aligner", &path("aligner.safetensors")];
    let build = ["--concepts", words, "--images", &path("build"), "--minimum-support", "2", "-o", bundle];
    fixture().run(&[&["build"], &models[..], &build].concat());
    let found = fixture().json(&["concepts", "lint", bundle, "--concepts", words, "--json"]);
    let pairs = found["synonyms"].as_array().unwrap();
    let twins = pairs.iter().find(|pair| pair["first"] == "ears" && pair["second"] == "hearing").unwrap();
    assert!((twins["cosine"].as_f64().unwrap() - 1.0).abs() < 1e-6);
    assert!(found["inseparable"].as_array().unwrap().iter().any(|pair| pair["second"] == "hearing"));
    let prompts = found["prompts"].as_array().unwrap();
    let faults: Vec<&str> = prompts.iter().map(|prompt| prompt["fault"].as_str().unwrap()).collect();
    assert!(faults[0].contains("same as one of 'ears'") && faults[1].contains("more than 32 tokens"), "{faults:?}");
    let least = fixture().json(&["concepts", "lint", &path("bundle"), "--json", "--dominance", "0.5"]);
    assert!(!least["biased"].as_array().unwrap().is_empty());
    assert_eq!((least["pairs"].as_u64(), least["images"].as_u64()), (Some(10), Some(48)));
    heatlens().args(["concepts", "lint", bundle, "--gate"]).assert().code(1);
}

#[test]
fn suggest_ranks_a_vocabulary() {
    let root = tempfile::tempdir().unwrap();
    let words = root.path().join("words.txt");
    // More words than are scored at a time, one of them a concept's own name.
    let list: String = (0..600).map(|word| format!("w{word}\n")).collect();
    fs::write(&words, format!("{list}fur\n")).unwrap();
    let bundle = path("bundle");
    let suggest = ["concepts", "suggest", &bundle, "--json", "--vocabulary"];
    for space in ["classifier", "clip"] {
        let words = words.to_str().unwrap();
        let found = fixture().json(&[&suggest[..], &[words, "--space", space, "--top", "20"]].concat());
        let ranked = found["words"].as_array().unwrap();
        assert_eq!((found["tested"].as_u64(), ranked.len()), (Some(601), 20));
        let strength = |word: &serde_json::Value| (word["auroc"]["value"].as_f64().unwrap() - 0.5).abs();
        assert!(ranked.windows(2).all(|pair| strength(&pair[0]) >= strength(&pair[1])));
        assert!(ranked.iter().all(|word| word["p"].as_f64() <= word["adjusted"].as_f64()));
        // What the bundle's own concepts score is in the bundle: each is nearest to itself.
        let found = fixture().json(&[&suggest[..], &[&path("concepts.txt"), "--space", space]].concat());
        for word in found["words"].as_array().unwrap() {
            assert_eq!(word["nearest"], word["word"]);
            assert!((word["cosine"].as_f64().unwrap() - 1.0).abs() < 1e-6);
        }
        let class = found["classes"][0].as_str().unwrap();
        let few = fixture().json(&[&suggest[..], &[words, "--class", class, "--top", "3"]].concat());
        assert_eq!((&few["classes"], few["words"].as_array().unwrap().len()), (&serde_json::json!([class]), 3));
    }
}

/// Rows of this many columns, each brought to norm 1.
fn unit_rows(data: &[f32], columns: usize) -> Vec<Vec<f64>> {
    let unit = |row: &[f32]| {
        let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        row.iter().map(|&value| f64::from(value) / norm).collect()
    };
    data.chunks_exact(columns).map(unit).collect()
}

/// Thousands of words, scored in tiles, against a plain computation in f64 from embeddings that other commands give.
#[test]
fn suggest_is_exact_over_thousands_of_words() {
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str| root.path().join(name).display().to_string();
    let words: Vec<String> = (0..5200).map(|word| format!("w{word}")).collect();
    fs::write(file("words.txt"), words.join("\n")).unwrap();
    let prompts: Vec<String> = words.iter().map(|word| format!("a photo of a {word}.")).collect();
    fs::write(file("prompts.txt"), prompts.join("\n")).unwrap();
    let (bundle, clip) = (path("bundle"), path("clip"));
    fixture().run(&["embed", "--model", &clip, "--text", &file("prompts.txt"), "-o", &file("embeddings.safetensors")]);
    fixture().run(&["export", &bundle, "-o", &file("arrays")]);

    let bytes = fs::read(file("embeddings.safetensors")).unwrap();
    let embeddings = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let embeddings = embeddings.tensor("embeddings").unwrap();
    let columns = embeddings.shape()[1];
    let values: Vec<f32> =
        embeddings.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let directions = unit_rows(&values, columns);
    let mean: Vec<f64> =
        (0..columns).map(|at| directions.iter().map(|row| row[at]).sum::<f64>() / words.len() as f64).collect();
    let array = |name: &str| npyz::NpyFile::new(fs::File::open(file(&format!("arrays/{name}.npy"))).unwrap()).unwrap();
    let images = unit_rows(&array("clip").into_vec::<f32>().unwrap(), columns);
    let [labels, predictions] = ["labels", "predictions"].map(|name| array(name).into_vec::<i64>().unwrap());

    let args = ["concepts", "suggest", &bundle, "--vocabulary", &file("words.txt"), "--space", "clip", "--top", "60"];
    let found = fixture().json(&[&args[..], &["--json"]].concat());
    assert_eq!(found["tested"], words.len());
    let classes = found["classes"].as_array().unwrap();
    let spread = found["spread"].as_f64().unwrap();
    for suggestion in found["words"].as_array().unwrap() {
        let word = words.iter().position(|word| *word == suggestion["word"]).unwrap();
        let score = |image: &[f64]| -> f64 {
            image.iter().zip(directions[word].iter().zip(&mean)).map(|(x, (q, mean))| x * (q - mean)).sum()
        };
        let group = |class: usize, is_correct: bool| -> Vec<f64> {
            let rows = (0..images.len()).filter(|&row| labels[row] == class as i64);
            rows.filter(|&row| (predictions[row] == labels[row]) == is_correct).map(|row| score(&images[row])).collect()
        };
        let strata = classes.iter().map(|class| CLASSES.iter().position(|name| class == name).unwrap());
        let strata: Vec<_> = strata.map(|class| [group(class, true), group(class, false)]).collect();
        let expected = rank_test(&strata).unwrap();
        let pairs: usize = strata.iter().map(|[a, b]| a.len() * b.len()).sum();
        // A pair of scores that f32 rounds past each other is one pair less.
        let auroc = suggestion["auroc"]["value"].as_f64().unwrap();
        assert!((auroc - expected.auroc).abs() <= 1.01 / pairs as f64, "{suggestion} {expected:?}");
        let p = two_sided_p(expected.z / spread);
        assert!((suggestion["p"].as_f64().unwrap() - p).abs() < 0.05, "{suggestion} {p}");
    }
}

#[test]
fn the_documented_checks_are_those_of_the_demo() {
    let read = |name: &str| fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let checks = read("weights/demo/checks.txt");
    assert!(read("docs/checks.md").contains(&format!("```text\n{checks}```\n")));
    heatlens::semantics::Checks::parse(&checks, "checks.txt").unwrap();
}
