//! How models are held on the adapter: how many images at a time, in how much memory, in which precision.

use std::fs;
use std::path::Path;

use super::fixture::{CLASSES, heatlens, write_classifier};
use super::given::{Given, Row, edit};

pub(crate) const ROWS: &[Row] = &[
    Row(
        "a batch that doesn't fit",
        "classify",
        |g| {
            g.classifier = g.spoiled(&g.classifier, enlarge);
            g.extra = ["--batch", "9", "--memory", "1"].map(str::to_owned).to_vec();
        },
        &["a batch of 9 doesn't fit", "bytes of weights", "at most 1048576", "--batch"],
    ),
    Row(
        "a batch that is no number",
        "classify",
        |g| g.extra = vec!["--batch".into(), "0".into()],
        &["--batch", "auto"],
    ),
    Row(
        "weights past f16",
        "classify",
        |g| {
            g.classifier = g.scratch.join("loud");
            write_classifier(&g.classifier, CLASSES.len(), 1e6);
            g.extra = ["--precision", "f16"].map(str::to_owned).to_vec();
        },
        &["loud", "`fc.weight`", "f16"],
    ),
    Row(
        "a filter of another precision",
        "filter",
        |g| g.extra = ["--precision", "f16"].map(str::to_owned).to_vec(),
        &["model.heatlens", "f32", "f16"],
    ),
    Row(
        "an evaluation in another precision",
        "report",
        |g| {
            let made = g.fixture.path("eval.json");
            let other = g.spoiled(&made, |file| edit(file, "\"precision\": \"f32\"", "\"precision\": \"f16\""));
            g.extra = vec!["--evaluation".into(), other.display().to_string()];
        },
        &["eval.json", "another precision"],
    ),
    Row(
        "a bundle of another precision",
        "calibrate",
        |g| g.extra = ["--precision", "f16"].map(str::to_owned).to_vec(),
        &["bundle", "f32", "f16"],
    ),
];

/// A classifier of larger pictures, of which nine take more than a MiB and one doesn't.
fn enlarge(classifier: &Path) {
    edit(&classifier.join("config.json"), "[3,32,32]", "[3,96,96]");
}

#[test]
fn an_automatic_batch_fits_the_memory_and_changes_no_result() {
    let root = tempfile::tempdir().unwrap();
    let mut given = Given::new("classify", root.path(), root.path());
    given.classifier = given.spoiled(&given.classifier, enlarge);
    let mut run = |extra: &[&str]| {
        given.extra = extra.iter().map(|&arg| arg.to_owned()).collect();
        heatlens().args(given.args()).assert().success().get_output().stdout.clone()
    };
    let expected = run(&["--json", "--batch", "9"]);
    assert!(!expected.is_empty());
    assert!(run(&["--json", "--batch", "auto", "--memory", "1"]) == expected);
}

/// What is made in f16 says so, and is used in f16 without being asked.
#[test]
fn a_precision_is_kept_from_the_bundle_to_the_verdicts() {
    let root = tempfile::tempdir().unwrap();
    let run = |given: &Given| heatlens().args(given.args()).assert().success().get_output().stdout.clone();
    let json = |given: &Given| -> serde_json::Value { serde_json::from_slice(&run(given)).unwrap() };
    let project = root.path().join("heatlens.toml");
    fs::write(&project, "precision = \"f16\"\n").unwrap();
    let mut build = Given::new("build", root.path(), &root.path().join("build"));
    fs::create_dir(root.path().join("build")).unwrap();
    build.extra = ["--json", "--config", &project.display().to_string()].map(str::to_owned).to_vec();
    let manifest = json(&build);
    assert_eq!([&manifest["classifier"]["precision"], &manifest["clip"]["precision"]], ["f16", "f16"]);

    let mut calibrate = Given::new("calibrate", root.path(), root.path());
    calibrate.bundle = build.output;
    calibrate.extra = vec!["--json".to_owned()];
    assert_eq!(json(&calibrate)["classifier"]["precision"], "f16");

    let mut filter = Given::new("filter", root.path(), root.path());
    filter.filter = calibrate.output;
    let verdicts = run(&filter);
    filter.extra = ["--precision", "f16"].map(str::to_owned).to_vec();
    assert!(run(&filter) == verdicts);
    filter.extra[1] = "f32".to_owned();
    heatlens().args(filter.args()).assert().code(2);
}
