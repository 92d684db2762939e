//! What commands say of bundles that exist already, and when they gate.

use std::fs;

use super::fixture::{CLASSES, fixture, heatlens};

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
