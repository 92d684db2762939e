//! The fixed shapes of what commands print and write, and the exit codes that aren't errors.

use std::fs;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use super::fixture::{CLASSES, CONCEPTS, fixture, heatlens, program, walk};

fn path(name: &str) -> String {
    fixture().path(name).display().to_string()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn has(value: &Value, names: &[&str]) {
    for name in names {
        assert!(value.get(name).is_some(), "`{name}` in {value}");
    }
}

#[test]
fn classify_prints_the_most_probable_classes() {
    let folder = path("test");
    let lines = fixture().json_lines(&["classify", "--model", &path("classifier"), &folder, "--top", "2", "--json"]);
    assert_eq!(lines.len(), walk(Path::new(&folder)).len());
    for line in &lines {
        assert_eq!(keys(line), ["path", "classes"]);
        let classes = line["classes"].as_array().unwrap();
        assert_eq!(classes.len(), 2);
        let probabilities: Vec<f64> = classes.iter().map(|class| class["probability"].as_f64().unwrap()).collect();
        assert!(probabilities[0] >= probabilities[1] && probabilities.iter().sum::<f64>() <= 1.0 + 1e-9);
        assert!(classes.iter().all(|class| CLASSES.contains(&class["class"].as_str().unwrap())));
    }
    let text = fixture().run(&["classify", "--model", &path("classifier"), &folder, "--top", "1"]);
    assert_eq!(text.lines().count(), 2 * lines.len());
}

/// The shape of `embeddings` and the list in `paths`.
fn embedded(file: &Path) -> (Vec<usize>, Vec<String>) {
    let bytes = fs::read(file).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let paths = serde_json::from_str(&header.metadata().as_ref().unwrap()["paths"]).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    (tensors.tensor("embeddings").unwrap().shape().to_vec(), paths)
}

#[test]
fn embed_writes_embeddings_with_their_paths() {
    let root = tempfile::tempdir().unwrap();
    let [file, prompts] = ["e.safetensors", "prompts.txt"].map(|name| root.path().join(name));
    let output = file.to_str().unwrap();
    let pictures = walk(&fixture().path("test"));
    for (model, size) in [("classifier", 16), ("clip", 12)] {
        fixture().run(&["embed", "--model", &path(model), &path("test"), "-o", output]);
        let (shape, paths) = embedded(&file);
        assert_eq!(shape, [pictures.len(), size]);
        let mut sorted = paths;
        sorted.sort();
        assert_eq!(sorted, pictures.iter().map(|p| p.display().to_string()).collect::<Vec<_>>());
    }
    fs::write(&prompts, "a cat\n\na long ship, at sea\n").unwrap();
    fixture().run(&["embed", "--model", &path("clip"), "--text", prompts.to_str().unwrap(), "-o", output]);
    let (shape, paths) = embedded(&file);
    assert_eq!((shape, paths), (vec![2, 12], vec!["a cat".to_owned(), "a long ship, at sea".to_owned()]));
    let of_classifier = ["embed", "--model", &path("classifier"), "--text", prompts.to_str().unwrap(), "-o", output];
    heatlens().args(of_classifier).assert().code(2);
}

#[test]
fn the_aligner_is_a_linear_layer() {
    let bytes = fs::read(fixture().path("aligner.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| {
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32);
        tensor.shape().to_vec()
    };
    assert_eq!((shape("weight"), shape("bias")), (vec![12, 16], vec![12]));
}

#[test]
fn build_prints_its_manifest_with_the_dispatches() {
    let root = tempfile::tempdir().unwrap();
    let bundle = root.path().join("bundle");
    let args = [
        "build",
        "--json",
        "--classifier",
        &path("classifier"),
        "--clip",
        &path("clip"),
        "--aligner",
        &path("aligner.safetensors"),
        "--concepts",
        &path("concepts.txt"),
        "--images",
        &path("build"),
        "-o",
        bundle.to_str().unwrap(),
    ];
    let manifest = fixture().json(&args);
    has(&manifest, &["schema", "classes", "concepts", "n", "accuracy", "adapter", "near_ties", "dispatches"]);
    let dispatches = manifest["dispatches"].as_object().unwrap();
    for kernel in ["gemm", "attention", "layer_norm", "embed_patches", "max_pool", "mean_pool", "normalize_image"] {
        assert!(dispatches[kernel].as_u64().unwrap() > 0, "{kernel}");
    }
    // Written again in its place, it is the same.
    assert_eq!(fixture().json(&args), manifest);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left beside the bundle");
}

#[test]
fn localize_prints_verdicts_by_image_class_and_in_total() {
    let found = fixture().json(&["localize", &path("bundle"), "--json"]);
    let totals = &found["totals"];
    let count = |of: &Value, name: &str| of[name].as_u64().unwrap();
    let sum = |of: &Value| ["head", "encoder", "undetermined"].iter().map(|name| count(of, name)).sum::<u64>();
    let classes = found["classes"].as_array().unwrap();
    assert_eq!(classes.iter().map(|class| class["class"].as_str().unwrap()).collect::<Vec<_>>(), CLASSES);
    for class in classes {
        has(class, &["n", "head", "encoder", "undetermined", "agreement", "lost", "intruding"]);
        assert_eq!(sum(class), count(class, "n"));
        for change in class["lost"].as_array().unwrap().iter().chain(class["intruding"].as_array().unwrap()) {
            has(change, &["concept", "change", "low", "high"]);
            assert!(CONCEPTS.contains(&change["concept"].as_str().unwrap()));
        }
    }
    assert_eq!(classes.iter().map(|class| count(class, "n")).sum::<u64>(), sum(totals));
    let samples = found["samples"].as_array().unwrap();
    assert_eq!(samples.len() as u64, sum(totals));
    for sample in samples {
        has(sample, &["path", "label", "prediction", "verdict", "zero_shot_verdict", "heatmap_verdict"]);
        assert!(CLASSES.contains(&sample["label"].as_str().unwrap()));
        assert_ne!(sample["label"], sample["prediction"]);
    }
    assert!(
        fixture()
            .run(&["localize", &path("bundle")])
            .contains("misclassified images, by the counterfactual oracle: head")
    );
}

#[test]
fn filter_prints_a_line_of_json_for_each_image() {
    let lines = fixture().json_lines(&["filter", "--filter", &path("model.heatlens"), &path("test")]);
    assert_eq!(lines.len(), walk(&fixture().path("test")).len());
    for line in &lines {
        let known = ["path", "prediction", "score", "threshold", "stratum", "verdict", "reasons"];
        has(line, &known);
        let rejected = line["verdict"] == "reject";
        assert!(rejected || line["verdict"] == "accept");
        if let (Some(score), Some(threshold)) = (line["score"].as_f64(), line["threshold"].as_f64()) {
            assert_eq!(rejected, score > threshold, "{line}");
        }
        for reason in line["reasons"].as_array().unwrap() {
            assert_eq!(keys(reason), ["stronger", "weaker", "contribution"]);
        }
    }
}

#[test]
fn a_gate_fails_if_and_only_if_an_image_is_rejected() {
    let lines = fixture().json_lines(&["filter", "--filter", &path("model.heatlens"), &path("test")]);
    for (verdict, code) in [("accept", 0), ("reject", 1)] {
        let of: Vec<&str> =
            lines.iter().filter(|line| line["verdict"] == verdict).map(|line| line["path"].as_str().unwrap()).collect();
        assert!(!of.is_empty(), "the fixture has images to {verdict}");
        let filter = ["filter", "--gate", "--filter", &path("model.heatlens"), "-"];
        heatlens().args(filter).write_stdin(of.join("\n")).assert().code(code);
    }
}

#[test]
fn a_self_contained_filter_needs_no_classifier() {
    let root = tempfile::tempdir().unwrap();
    let filter = root.path().join("whole.heatlens");
    let filter = filter.to_str().unwrap();
    let classifier = root.path().join("classifier");
    fs::create_dir(&classifier).unwrap();
    for file in walk(&fixture().path("classifier")) {
        fs::copy(&file, classifier.join(file.file_name().unwrap())).unwrap();
    }
    let moved = classifier.to_str().unwrap();
    let calibrate = ["calibrate", &path("bundle"), "--classifier", moved, "--images", &path("calibrate")];
    let calibrate = [&calibrate[..], &["--false-reject-rate", "0.5", "--self-contained", "-o", filter]].concat();
    fixture().run(&calibrate);
    fs::remove_dir_all(&classifier).unwrap();
    let lines = |filter: &str| fixture().json_lines(&["filter", "--filter", filter, &path("test")]);
    assert_eq!(lines(filter), lines(&path("model.heatlens")));
}

#[test]
fn evaluate_compares_the_filter_with_the_baselines() {
    let written: Value = serde_json::from_str(&fs::read_to_string(fixture().path("eval.json")).unwrap()).unwrap();
    let printed = fixture().json(&[
        "evaluate",
        "filter",
        "--json",
        "--filter",
        &path("model.heatlens"),
        "--images",
        &path("test"),
    ]);
    assert_eq!(printed, written);
    let kinds = written["kinds"].as_array().unwrap();
    assert_eq!(kinds[0]["kind"], "misclassified");
}

#[test]
fn export_writes_the_arrays() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("arrays");
    fixture().run(&["export", &path("bundle"), "-o", folder.to_str().unwrap()]);
    let [n, k, c, d, e] =
        [walk(&fixture().path("build")).len(), CLASSES.len(), CONCEPTS.len(), 16, 12].map(|x| x as u64);
    let arrays: [(&str, &str, &[u64]); 12] = [
        ("scores", "<f4", &[n, c]),
        ("logits", "<f4", &[n, k]),
        ("features", "<f4", &[n, d]),
        ("clip", "<f4", &[n, e]),
        ("directions", "<f4", &[c, e]),
        ("class_directions", "<f4", &[k, e]),
        ("labels", "<i8", &[n]),
        ("predictions", "<i8", &[n]),
        ("counts_correct", "<u8", &[k, c, c]),
        ("counts_missed", "<u8", &[k, c, c]),
        ("counts_false_alarm", "<u8", &[k, c, c]),
        ("support", "<u8", &[3, k]),
    ];
    for (name, dtype, shape) in arrays {
        let file = fs::File::open(folder.join(format!("{name}.npy"))).unwrap();
        let array = npyz::NpyFile::new(BufReader::new(file)).unwrap();
        assert_eq!((array.dtype().descr().as_str(), array.shape()), (&*format!("'{dtype}'"), shape), "{name}");
    }
    let lines = |name: &str| fs::read_to_string(folder.join(name)).unwrap().lines().count() as u64;
    assert_eq!(["samples.txt", "classes.txt", "concepts.txt"].map(lines), [n, k, c]);
}

#[test]
fn show_prints_a_map_or_writes_it() {
    let bundle = path("bundle");
    let text = fixture().run(&["show", &bundle, "--set", "correct", "--class", CLASSES[0]]);
    assert!(CONCEPTS.iter().all(|concept| text.contains(concept)), "{text}");
    let map = fixture().json(&["show", &bundle, "--set", "differential", "--class", CLASSES[1], "--json"]);
    assert_eq!(map["concepts"].as_array().unwrap().len(), CONCEPTS.len());
    assert_eq!(map["kind"], "differential");
    let root = tempfile::tempdir().unwrap();
    for (name, magic) in
        [("map.png", b"\x89PNG".as_slice()), ("map.npy", b"\x93NUMPY"), ("map.csv", b"row,"), ("map.json", b"{")]
    {
        let file = root.path().join(name);
        let set = ["--set", "ground-truth", "--class", CLASSES[2], "--space", "clip", "-o", file.to_str().unwrap()];
        fixture().run(&[&["show", &bundle], &set[..]].concat());
        assert!(fs::read(&file).unwrap().starts_with(magic), "{name}");
    }
    for set in ["missed", "false-alarm", "output-label", "loss", "adversarial"] {
        fixture().run(&["show", &bundle, "--set", set, "--class", CLASSES[0]]);
    }
    fixture().run(&["show", &bundle, "--set", "correct", "--class", CLASSES[0], "--binarised"]);
    fixture().run(&["show", &bundle, "--set", "correct", "--class", CLASSES[0], "--binarised", "0.7"]);
}

#[test]
fn a_report_says_whether_the_filter_was_evaluated() {
    let root = tempfile::tempdir().unwrap();
    let page = root.path().join("report.html");
    let output = page.to_str().unwrap();
    fixture().run(&["report", &path("bundle"), "-o", output]);
    assert!(fs::read_to_string(&page).unwrap().contains("not evaluated"));
    fixture().run(&["report", &path("bundle"), "--evaluation", &path("eval.json"), "-o", output]);
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("AUROC"));
    assert!(!html.contains("http://") && !html.contains("https://"), "the page loads nothing");
}

#[test]
fn doctor_tests_every_kernel() {
    let found = fixture().json(&["doctor", "--json"]);
    assert!(!found["adapters"].as_array().unwrap().is_empty());
    let kernels = found["kernels"].as_array().unwrap();
    let tested: Vec<&str> = kernels.iter().map(|kernel| kernel["kernel"].as_str().unwrap()).collect();
    let mut known: Vec<&str> = heatlens::kernels::cases::all().iter().map(|case| case.kernel.name()).collect();
    known.sort_unstable();
    known.dedup();
    assert_eq!(tested, known);
    assert!(kernels.iter().all(|kernel| kernel["passes"] == true), "{found}");
}

#[test]
fn every_command_explains_itself() {
    let commands =
        ["align", "build", "merge", "show", "localize", "calibrate", "filter", "report", "export", "classify", "embed"];
    for command in commands.iter().chain(["attack", "check", "compare", "doctor", "inspect"].iter()) {
        let help = fixture().run(&[command, "--help"]);
        assert!(help.contains("Examples:") && help.contains(&format!("heatlens {command}")), "{command}: {help}");
    }
    for nested in [["evaluate", "filter"], ["evaluate", "localization"], ["concepts", "lint"], ["concepts", "suggest"]]
    {
        assert!(fixture().run(&[&nested[..], &["--help"]].concat()).contains("Examples:"), "{nested:?}");
    }
    assert_eq!(fixture().run(&["--version"]), format!("heatlens {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_arguments_exit_with_2() {
    let rows: [&[&str]; 5] =
        [&[], &["frobnicate"], &["align"], &["classify", "--tpo", "1"], &["show", "b", "--set", "hits"]];
    for args in rows {
        heatlens().args(args).assert().code(2);
    }
}

#[test]
fn quiet_says_nothing_on_standard_error() {
    let output = heatlens().args(["classify", "-q", "--model", &path("classifier"), &path("test")]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let mut child = program()
        .args(["filter", "--filter", &path("model.heatlens"), &path("test"), &path("calibrate"), &path("build")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}
