//! The program as a user meets it: exit codes, what it prints, and every kind of bad input.

mod cli {
    mod bench;
    pub(crate) mod bundles;
    mod calibration;
    mod classifiers;
    pub(crate) mod damaged;
    mod dialects;
    pub(crate) mod fixture;
    pub(crate) mod given;
    pub(crate) mod held;
    mod inspect;
    mod models;
    mod order;
    mod outputs;
    mod plants;
    mod project_file;
}

use std::fs;
use std::path::{Path, PathBuf};

use cli::fixture::{CLASSES, Tensors, fixture, heatlens, walk, write_classifier, write_picture, write_tensors};
use cli::given::{Given, Row, edit, empty_folder, nudge, replace};

/// Bad input that lies in how things fit together.
const ROWS: &[Row] = &[
    Row(
        "an empty class folder",
        "build",
        |g| g.images = g.spoiled(&g.images, |dir| empty_folder(&dir.join("ship"))),
        &["build/ship"],
    ),
    Row(
        "an empty class folder",
        "calibrate",
        |g| g.images = g.spoiled(&g.images, |dir| empty_folder(&dir.join("dog"))),
        &["calibrate/dog"],
    ),
    Row(
        "an empty class folder",
        "evaluate filter",
        |g| g.images = g.spoiled(&g.images, |dir| empty_folder(&dir.join("cat"))),
        &["test/cat"],
    ),
    Row(
        "a folder that is no class",
        "calibrate",
        |g| {
            g.images = g.spoiled(&g.images, |dir| fs::rename(dir.join("ship"), dir.join("boat")).unwrap());
        },
        &["calibrate/boat"],
    ),
    Row(
        "a folder without images",
        "align",
        |g| {
            g.images = g.scratch.join("empty");
            fs::create_dir(&g.images).unwrap();
        },
        &["empty"],
    ),
    Row(
        "too few classes",
        "build",
        |g| {
            let list = g.list("classes.txt", "cat\ndog\n");
            g.extra = vec!["--classes".into(), list.display().to_string()];
        },
        &["classes.txt", "2 classes", "3 logits"],
    ),
    Row(
        "a class twice",
        "build",
        |g| {
            let list = g.list("classes.txt", "cat\ndog\ncat\n");
            g.extra = vec!["--classes".into(), list.display().to_string()];
        },
        &["classes.txt:3", "cat"],
    ),
    Row(
        "too few classes",
        "classify",
        |g| {
            let list = g.list("classes.txt", "cat\ndog\n");
            g.extra = vec!["--classes".into(), list.display().to_string()];
        },
        &["classes.txt", "2 classes", "3 logits"],
    ),
    Row(
        "a reference without embeddings",
        "embed",
        |g| g.extra = vec!["--expect".into(), g.aligner.display().to_string()],
        &["aligner.safetensors", "embeddings"],
    ),
    Row("a concept twice", "build", |g| g.concepts = g.list("words.txt", "fur\nears\nfur\n"), &["words.txt:3", "fur"]),
    Row("an empty phrase", "build", |g| g.concepts = g.list("words.txt", "fur\nears: |\n"), &["words.txt:2", "ears"]),
    Row("one concept only", "build", |g| g.concepts = g.list("words.txt", "fur\n"), &["words.txt"]),
    Row(
        "a template without a placeholder",
        "build",
        |g| {
            let list = g.list("templates.txt", "a photo\n");
            g.extra = vec!["--templates".into(), list.display().to_string()];
        },
        &["templates.txt:1"],
    ),
    Row(
        "build on the aligner's images",
        "build",
        |g| g.images = g.fixture.path("align"),
        &["aligner", "/align/", "--allow-overlap"],
    ),
    Row(
        "calibrate on the bundle's images",
        "calibrate",
        |g| g.images = g.fixture.path("build"),
        &["bundle", "/build/", "--allow-overlap"],
    ),
    Row(
        "calibrate on the aligner's images",
        "calibrate",
        |g| g.images = g.fixture.path("align"),
        &["aligner", "/align/", "--allow-overlap"],
    ),
    Row(
        "evaluate on the bundle's images",
        "evaluate filter",
        |g| g.images = g.fixture.path("build"),
        &["bundle", "/build/", "--allow-overlap"],
    ),
    Row(
        "evaluate on the aligner's images",
        "evaluate filter",
        |g| g.images = g.fixture.path("align"),
        &["aligner", "/align/", "--allow-overlap"],
    ),
    Row(
        "evaluate on the calibration images",
        "evaluate filter",
        |g| g.images = g.fixture.path("calibrate"),
        &["the filter", "/calibrate/", "--allow-overlap"],
    ),
    Row(
        "calibrate on the bundle's attacked images",
        "calibrate",
        Given::attacked,
        &["bundle", "48 of these 48 attacked images of `mirrored`", "/attacked/", "--allow-overlap"],
    ),
    Row(
        "evaluate on the bundle's attacked images",
        "evaluate filter",
        Given::attacked,
        &["bundle", "48 of these 48 attacked images of `mirrored`", "/attacked/", "--allow-overlap"],
    ),
    Row(
        "build with attacks on the aligner's images",
        "build",
        |g| g.attack("align"),
        &["the aligner", "attacked images of `square` or their originals", "/square/", "--allow-overlap"],
    ),
    Row(
        "calibrate with attacks on the bundle's images",
        "calibrate",
        |g| g.attack("build"),
        &["bundle", "attacked images of `square` or their originals", "/square/", "--allow-overlap"],
    ),
    Row(
        "evaluate on attacks on the calibration images",
        "evaluate filter",
        |g| g.attack("calibrate"),
        &["the filter", "attacked images of `square` or their originals", "/square/", "--allow-overlap"],
    ),
    Row(
        "a bundle of another version",
        "export",
        |g| {
            g.bundle = g.spoiled(&g.bundle, |dir| edit(&dir.join("manifest.json"), "\"schema\": 2", "\"schema\": 999"));
        },
        &["bundle/manifest.json", "999"],
    ),
    Row(
        "a bundle of another version",
        "calibrate",
        |g| {
            g.bundle = g.spoiled(&g.bundle, |dir| edit(&dir.join("manifest.json"), "\"schema\": 2", "\"schema\": 1"));
        },
        &["bundle/manifest.json", "schema version 1, expected 2", "heatlens build"],
    ),
    Row(
        "a filter of another version",
        "evaluate filter",
        |g| {
            g.filter = g.spoiled(&g.filter, |file| replace(file, "\\\"schema\\\":4", "\\\"schema\\\":9"));
        },
        &["model.heatlens", "9"],
    ),
    Row(
        "a filter of an older version",
        "filter",
        |g| {
            g.filter = g.spoiled(&g.filter, |file| replace(file, "\\\"schema\\\":4", "\\\"schema\\\":3"));
        },
        &["model.heatlens", "schema version 3, expected 4", "heatlens calibrate"],
    ),
    Row("a file that is no filter", "evaluate filter", |g| g.filter = g.aligner.clone(), &["aligner.safetensors"]),
    Row("a folder that is no bundle", "report", |g| g.bundle = g.fixture.path("clip"), &["clip/manifest.json"]),
    Row(
        "a filter with another classifier",
        "filter",
        |g| {
            g.classifier = g.scratch.join("other");
            write_classifier(&g.classifier, CLASSES.len(), 2.0);
        },
        &["model.heatlens"],
    ),
    Row(
        "a bundle with another classifier",
        "calibrate",
        |g| {
            g.classifier = g.scratch.join("other");
            write_classifier(&g.classifier, CLASSES.len(), 2.0);
        },
        &["other"],
    ),
    Row(
        "an aligner of another classifier",
        "build",
        |g| {
            g.classifier = g.scratch.join("other");
            write_classifier(&g.classifier, CLASSES.len(), 2.0);
        },
        &["aligner.safetensors", "another classifier"],
    ),
    Row(
        "an aligner of another CLIP",
        "build",
        |g| g.clip = g.spoiled(&g.clip, |dir| nudge(&dir.join("model.safetensors"))),
        &["aligner.safetensors", "another CLIP"],
    ),
    Row(
        "a filter of another CLIP",
        "evaluate filter",
        |g| {
            let clip = g.spoiled(&g.clip, |dir| nudge(&dir.join("model.safetensors")));
            g.extra = vec!["--clip".into(), clip.display().to_string()];
        },
        &["clip: another CLIP"],
    ),
    Row(
        "an evaluation of another classifier",
        "report",
        |g| {
            let made = g.fixture.path("eval.json");
            let other = g.spoiled(&made, |file| edit(file, "\"sha256\": \"", "\"sha256\": \"0"));
            g.extra = vec!["--evaluation".into(), other.display().to_string()];
        },
        &["eval.json", "another classifier"],
    ),
    Row(
        "an evaluation of other concepts",
        "report",
        |g| {
            let other = g.spoiled(&g.fixture.path("eval.json"), |file| edit(file, "\"ears\"", "\"tail\""));
            g.extra = vec!["--evaluation".into(), other.display().to_string()];
        },
        &["eval.json", "other concepts"],
    ),
    Row(
        "a file that is no evaluation",
        "report",
        |g| g.extra = vec!["--evaluation".into(), g.aligner.display().to_string()],
        &["aligner.safetensors"],
    ),
    Row("too few images for the rate", "calibrate", |g| g.false_reject_rate = "0.001", &["0.001", "999"]),
    Row(
        "an aligner of another size",
        "build",
        |g| {
            g.aligner = g.scratch.join("wide.safetensors");
            let tensors = [("weight", vec![12, 7], vec![0.5; 84]), ("bias", vec![12], vec![0.0; 12])];
            let tensors = tensors.map(|(name, shape, values)| (name.to_owned(), (shape, values)));
            write_tensors(&g.aligner, &Tensors::from(tensors));
        },
        &["wide.safetensors"],
    ),
    Row(
        "no folder for the output",
        "align",
        |g| g.output = g.output.join("deep/aligner.safetensors"),
        &["output/deep"],
    ),
    Row("no folder for the output", "build", |g| g.output = g.output.join("deep/bundle"), &["output/deep"]),
    Row("no folder for the output", "calibrate", |g| g.output = g.output.join("deep/model.heatlens"), &["output/deep"]),
    Row(
        "no folder for the output",
        "evaluate filter",
        |g| g.output = g.output.join("deep/eval.json"),
        &["output/deep"],
    ),
    Row("no folder for the output", "export", |g| g.output = g.output.join("deep/arrays"), &["output/deep"]),
    Row("no folder for the output", "report", |g| g.output = g.output.join("deep/report.html"), &["output/deep"]),
    Row("no folder for the output", "embed", |g| g.output = g.output.join("deep/e.safetensors"), &["output/deep"]),
    Row("no folder for the output", "show", |g| g.output = g.output.join("deep/map.png"), &["output/deep"]),
    Row("a file in the place of a bundle", "build", |g| g.output.set_file_name("kept.txt"), &["kept.txt"]),
    Row("a folder that isn't ours in the place of a bundle", "build", |g| g.output.set_file_name("kept"), &["kept"]),
    Row("a folder in the place of a file", "align", |g| g.output.set_file_name("kept"), &["kept"]),
    Row("a map of no known format", "show", |g| g.output.set_file_name("map.bmp"), &["map.bmp"]),
    Row("an unknown class", "show", |g| g.class = "boat", &["boat"]),
    Row(
        "a class and a confusion at once",
        "show",
        |g| g.extra = vec!["--confusion".into(), "cat:ship".into()],
        &["--class", "--confusion"],
    ),
    Row(
        "a set of attacks twice",
        "build",
        |g| {
            let set = format!("a={}", g.fixture.path("attacked").display());
            g.extra = ["--attacked", &set, "--attacked", &set].map(str::to_owned).to_vec();
        },
        &["`a` twice"],
    ),
    Row(
        "no attacked images",
        "evaluate filter",
        |g| g.extra = vec!["--attacked".into(), format!("a={}", g.scratch.join("nowhere").display())],
        &["nowhere"],
    ),
    Row("no such adapter", "classify", |g| g.extra = vec!["--adapter".into(), "abacus".into()], &["abacus"]),
    Row("an adapter that isn't there", "classify", |g| g.extra = vec!["--adapter".into(), "99".into()], &["99"]),
];

/// A folder's files with their bytes, and its folders.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let with_content = |path: PathBuf| match path.is_dir() {
        true => [vec![(path.clone(), None)], snapshot(&path)].concat(),
        false => vec![(path.clone(), Some(fs::read(&path).unwrap()))],
    };
    entries.into_iter().flat_map(with_content).collect()
}

/// What is wrong with how the program refuses a row's input.
fn complaints(Row(what, command, spoil, names): &Row) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let [scratch, out] = ["scratch", "out"].map(|name| root.path().join(name));
    fs::create_dir(&scratch).unwrap();
    fs::create_dir_all(out.join("kept")).unwrap();
    fs::write(out.join("kept.txt"), "before").unwrap();
    fs::write(out.join("kept/inner.txt"), "before").unwrap();
    let mut given = Given::new(command, &scratch, &out);
    spoil(&mut given);
    let before = snapshot(&out);
    let output = heatlens().args(given.args()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let mut complaints = Vec::new();
    if output.status.code() != Some(2) {
        complaints.push(format!("ends with {}", output.status));
    }
    if stderr.matches("error: ").count() != 1 {
        complaints.push("doesn't print one error".to_owned());
    }
    complaints
        .extend(names.iter().filter(|name| !stderr.contains(**name)).map(|name| format!("doesn't name `{name}`")));
    if !output.stdout.is_empty() {
        complaints.push("prints results".to_owned());
    }
    if snapshot(&out) != before {
        complaints.push("changes the output's folder".to_owned());
    }
    complaints.into_iter().map(|complaint| format!("{command}, {what}: {complaint}\n{stderr}")).collect()
}

#[test]
fn bad_input_is_refused_by_name_and_leaves_the_output_as_it_was() {
    let rows = ROWS.iter().chain(cli::damaged::ROWS).chain(cli::held::ROWS).chain(cli::bundles::ROWS);
    let complaints: Vec<String> = rows.flat_map(complaints).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The rows above fail for their own reasons only if what they spoil is sound.
#[test]
fn the_same_commands_succeed_on_sound_input() {
    let root = tempfile::tempdir().unwrap();
    for command in [
        "align",
        "calibrate",
        "evaluate filter",
        "filter",
        "classify",
        "localize",
        "export",
        "report",
        "merge",
        "compare",
        "check",
        "concepts lint",
        "concepts suggest",
        "attack",
    ] {
        let given = Given::new(command, root.path(), &root.path().join(command.replace(' ', "-")));
        fs::create_dir_all(given.output.parent().unwrap()).unwrap();
        heatlens().args(given.args()).assert().success();
    }
}

#[test]
fn skipped_images_are_counted_and_listed() {
    let root = tempfile::tempdir().unwrap();
    let mut given = Given::new("build", root.path(), root.path());
    given.images = given.spoiled(&given.images, |dir| fs::write(dir.join("dog/notes.png"), "no picture").unwrap());
    given.extra = ["--bad-images", "skip", "--json"].map(str::to_owned).to_vec();
    let output = heatlens().args(given.args()).assert().success().get_output().clone();
    let manifest: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let sound = walk(&fixture().path("build")).len();
    assert_eq!(manifest["n"], sound);
    assert_eq!(manifest["skipped"].as_array().unwrap().len(), 1);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("dog/notes.png"), "{stderr}");
    assert!(stderr.contains(&format!("1 of {} images", sound + 1)), "{stderr}");
}

#[test]
fn an_allowed_overlap_marks_what_is_made() {
    let root = tempfile::tempdir().unwrap();
    let mut given = Given::new("build", root.path(), root.path());
    given.images = given.fixture.path("align");
    given.extra = ["--allow-overlap", "--json"].map(str::to_owned).to_vec();
    let output = heatlens().args(given.args()).assert().success().get_output().clone();
    let manifest: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(manifest["overlap_allowed"], true);
    assert!(manifest["notices"].to_string().contains("overlap allowed"), "{manifest}");
}

#[test]
fn an_image_that_cannot_be_read_has_its_own_line_in_the_filters_output() {
    let root = tempfile::tempdir().unwrap();
    let [sound, broken] = ["sound.png", "broken.png"].map(|name| root.path().join(name));
    write_picture(&sound, "sound");
    fs::write(&broken, "no picture").unwrap();
    let filter = fixture().path("model.heatlens");
    let output = heatlens().arg("filter").arg("--filter").arg(filter).args([&broken, &sound]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let lines: Vec<serde_json::Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["path", "error"]);
    assert!(lines[0]["error"].as_str().unwrap().contains("broken.png"));
    assert_eq!(lines[1]["path"], sound.display().to_string());
    assert!(lines[1]["verdict"] == "accept" || lines[1]["verdict"] == "reject");
}
