//! How `calibrate` chooses, and what `filter` and `evaluate filter` make of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fixture::{fixture, heatlens, walk};

fn path(name: &str) -> String {
    fixture().path(name).display().to_string()
}

/// All pictures of the fixture in one folder, under names that sort as `rename` makes them.
fn pool(folder: &Path, rename: impl Fn(usize, &str) -> String) {
    let splits = ["align", "build", "calibrate", "test"].map(|split| walk(&fixture().path(split)));
    for (number, file) in splits.concat().into_iter().enumerate() {
        let class = file.parent().unwrap().file_name().unwrap();
        fs::create_dir_all(folder.join(class)).unwrap();
        let name = rename(number, file.file_name().unwrap().to_str().unwrap());
        fs::copy(&file, folder.join(class).join(name)).unwrap();
    }
}

/// Lists some pictures of a folder of [`pool`] twice, every other of them under another class.
fn list_twice(folder: &Path) {
    let classes: BTreeSet<_> = walk(folder).iter().map(|file| file.parent().unwrap().to_owned()).collect();
    let mut files: Vec<(Vec<u8>, PathBuf)> =
        walk(folder).into_iter().map(|file| (fs::read(&file).unwrap(), file)).collect();
    // By content, so that they are the same whatever their names are.
    files.sort();
    for (number, (_, file)) in files.iter().step_by(4).enumerate() {
        let is_other = |class: &&PathBuf| Some(class.as_path()) != file.parent();
        let class = if number % 2 == 0 { file.parent().unwrap() } else { classes.iter().find(is_other).unwrap() };
        fs::copy(file, class.join(format!("copy-{number}.png"))).unwrap();
    }
}

/// "Attacks" on the pictures of a folder: in the place of each a picture of another class.
fn swap(images: &Path, to: &Path) {
    let mut files: Vec<(Vec<u8>, PathBuf)> =
        walk(images).into_iter().map(|file| (fs::read(&file).unwrap(), file)).collect();
    files.sort();
    for (at, (_, file)) in files.iter().enumerate() {
        let mut others = files.iter().cycle().skip(at + 1);
        let (bytes, _) = others.find(|(_, other)| other.parent() != file.parent()).unwrap();
        let file = to.join(file.strip_prefix(images).unwrap());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

/// Calibrates on a folder of pictures, of which the bundle has seen some.
fn calibrate(images: &Path, filter: &Path, more: &[&str]) -> Value {
    let bundle = path("bundle");
    let args = ["calibrate", &bundle, "--images", images.to_str().unwrap(), "-o", filter.to_str().unwrap(), "--json"];
    fixture().json(&[&args[..], &["--false-reject-rate", "0.1", "--allow-overlap"], more].concat())
}

/// Whether the folder of an image that `filter` checked is what it is predicted as.
fn is_correct(line: &Value) -> bool {
    line["path"].as_str().unwrap().rsplit('/').nth(1) == line["prediction"].as_str()
}

#[test]
fn what_is_not_given_is_chosen_by_one_half_whatever_the_order_and_the_batch() {
    let root = tempfile::tempdir().unwrap();
    let (images, moved) = (root.path().join("images"), root.path().join("moved"));
    pool(&images, |_, name| name.to_owned());
    pool(&moved, |number, _| format!("{:04}.png", 7919 * (number + 1) % 1009));
    [&images, &moved].into_iter().for_each(|folder| list_twice(folder));
    let filter = root.path().join("model.heatlens");
    let found = calibrate(&images, &filter, &[]);
    let choice = &found["choice"];
    let count = |key: &str| choice[key].as_u64().unwrap();
    assert!(count("misclassified") >= 10 && count("correct") >= 10, "{choice}");
    let n = walk(&images).len() as u64;
    assert!(count("misclassified") + count("correct") <= n.div_ceil(2), "one half alone: {choice}");

    let candidates = choice["candidates"].as_array().unwrap();
    let auroc = |candidate: &Value| candidate["auroc"]["value"].as_f64().unwrap();
    assert_eq!(candidates.len(), 6 * 2 * 2);
    let best = candidates.iter().map(auroc).fold(0.0, f64::max);
    let taken = candidates.iter().find(|candidate| auroc(candidate) == best).unwrap();
    for key in ["distance", "scores"] {
        assert_eq!(found[key], taken[key]);
    }
    assert_eq!(found["combination"].is_object(), taken["combined"].as_bool().unwrap());
    // Twelve ways to compare heatmaps and the best combination, of which one is the filter's own.
    assert_eq!(found["alternatives"].as_array().unwrap().len(), 12);

    let again = calibrate(&moved, &root.path().join("moved.heatlens"), &["--batch", "5"]);
    for key in ["choice", "distance", "scores", "combination", "calibration", "alternatives", "baselines"] {
        assert_eq!(found[key], again[key], "{key}");
    }
    let evaluated = |images: &Path, batch: &str| {
        let [filter, images] = [filter.as_path(), images].map(|path| path.to_str().unwrap());
        let args = ["evaluate", "filter", "--filter", filter, "--images", images, "--allow-overlap"];
        fixture().json(&[&args[..], &["--json", "--batch", batch]].concat())
    };
    let (found, again) = (evaluated(&images, "7"), evaluated(&moved, "3"));
    for key in ["accuracy", "kept", "kinds", "selective"] {
        assert_eq!(found[key], again[key], "{key}");
    }
    let given = calibrate(&images, &filter, &["--distance", "l1", "--scores", "centered", "--combine", "always"]);
    assert_eq!((&given["distance"], &given["scores"]), (&"l1".into(), &"centered".into()));
    assert!(given["combination"].is_object() && given["choice"]["candidates"].as_array().unwrap().len() == 1);
}

#[test]
fn attacks_count_as_much_as_mistakes_whatever_the_order_and_the_batch() {
    let root = tempfile::tempdir().unwrap();
    let [images, moved, attacked, attacked_moved] =
        ["images", "moved", "attacked", "attacked-moved"].map(|name| root.path().join(name));
    pool(&images, |_, name| name.to_owned());
    pool(&moved, |number, _| format!("{:04}.png", 7919 * (number + 1) % 1009));
    swap(&images, &attacked);
    swap(&moved, &attacked_moved);
    let filter = root.path().join("model.heatlens");
    let set = |folder: &Path| format!("swapped={}", folder.display());
    let found = calibrate(&images, &filter, &["--attacked", &set(&attacked)]);
    let again = calibrate(&moved, &filter, &["--attacked", &set(&attacked_moved), "--batch", "5"]);
    for key in ["choice", "distance", "scores", "combination", "calibration", "alternatives", "baselines"] {
        assert_eq!(found[key], again[key], "{key}");
    }
    let choice = &found["choice"];
    assert_eq!(choice["attacked"][0][0], "swapped");
    let attacks = choice["attacked"][0][1].as_u64().unwrap();
    assert!(
        (10..=choice["correct"].as_u64().unwrap()).contains(&attacks),
        "those of one half that succeeded: {choice}"
    );
    for candidate in choice["candidates"].as_array().unwrap() {
        let kinds: Vec<f64> =
            candidate["kinds"].as_array().unwrap().iter().map(|kind| kind["value"].as_f64().unwrap()).collect();
        let mean = kinds.iter().sum::<f64>() / 2.0;
        assert!(
            kinds.len() == 2 && (candidate["auroc"]["value"].as_f64().unwrap() - mean).abs() < 1e-12,
            "{candidate}"
        );
    }
    let always = ["--combine", "always", "--attacked", &set(&attacked)];
    let kinds = &calibrate(&images, &filter, &always)["combination"]["kinds"];
    assert_eq!((&kinds[0]["kind"], &kinds[1]["kind"]), (&"misclassified".into(), &"swapped".into()));
    assert_eq!(kinds[1]["images"].as_u64(), Some(attacks));
    let evaluate = [
        "evaluate",
        "filter",
        "--filter",
        filter.to_str().unwrap(),
        "--images",
        images.to_str().unwrap(),
        "--allow-overlap",
    ];
    assert!(fixture().run(&evaluate).contains("+ softmax *"));
}

#[test]
fn attacks_that_have_no_say_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let [images, attacked, few] = ["images", "attacked", "few"].map(|name| root.path().join(name));
    pool(&images, |_, name| name.to_owned());
    swap(&images, &attacked);
    for (number, file) in walk(&attacked).into_iter().enumerate().filter(|(number, _)| number % 8 == 0) {
        // Every other one is of no picture that there is.
        let to = few.join(file.strip_prefix(&attacked).unwrap());
        let to = if number % 16 == 0 { to } else { to.with_file_name("unheard-of.png") };
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&file, to).unwrap();
    }
    let (bundle, filter) = (path("bundle"), root.path().join("model.heatlens").display().to_string());
    let refused = |set: &Path, more: &[&str]| {
        let set = format!("swapped={}", set.display());
        let args = ["calibrate", &bundle, "--images", images.to_str().unwrap(), "--attacked", &set, "-o", &filter];
        let output = heatlens().args(args).args(["--false-reject-rate", "0.1", "--allow-overlap"]).args(more).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let stderr = refused(&few, &[]);
    assert!(stderr.contains("swapped:") && stderr.contains("successful attacks on correctly classified"), "{stderr}");
    assert!(stderr.contains("have no original among the calibration images") && stderr.contains("hint:"), "{stderr}");
    let stderr = refused(&attacked, &["--distance", "l1", "--scores", "raw", "--combine", "never"]);
    assert!(stderr.contains("swapped: attacked images have no say where distance"), "{stderr}");
}

#[test]
fn thresholds_are_scores_that_filter_gives_bit_for_bit() {
    let root = tempfile::tempdir().unwrap();
    let (images, filter) = (root.path().join("images"), root.path().join("model.heatlens"));
    pool(&images, |_, name| name.to_owned());
    for (distance, scores) in [("cosine", "raw"), ("l2", "centered"), ("hamming", "centered"), ("loglik", "raw")] {
        let given = ["--distance", distance, "--scores", scores, "--combine", "never", "--batch", "7"];
        let header = calibrate(&images, &filter, &given);
        let args = ["filter", "--filter", filter.to_str().unwrap(), images.to_str().unwrap(), "--batch", "3"];
        let lines = fixture().json_lines(&args);
        for stratum in ["own", "pooled"] {
            let threshold = &header["calibration"][stratum];
            let is_counted = |line: &&Value| line["stratum"] == stratum && is_correct(line);
            // An image without a score is above every threshold.
            let score = |line: &Value| line["score"].as_f64().unwrap_or(f64::INFINITY);
            let mut found: Vec<f64> = lines.iter().filter(is_counted).map(score).collect();
            found.sort_by(f64::total_cmp);
            assert_eq!(threshold["n"].as_u64().unwrap_or(0), found.len() as u64, "{distance} {scores} {stratum}");
            if let Some(rank) = threshold["rank"].as_u64() {
                assert_eq!(threshold["threshold"].as_f64(), Some(found[rank as usize - 1]), "{distance} {scores}");
            }
        }
    }
}

#[test]
fn copies_of_an_image_do_not_move_a_threshold() {
    let root = tempfile::tempdir().unwrap();
    let (images, filter) = (root.path().join("images"), root.path().join("model.heatlens"));
    pool(&images, |_, name| name.to_owned());
    let given = ["--distance", "cosine", "--scores", "raw", "--combine", "never"];
    let once = calibrate(&images, &filter, &given);
    for (number, file) in walk(&images).into_iter().enumerate() {
        fs::copy(&file, file.with_file_name(format!("copy-{number}.png"))).unwrap();
    }
    let twice = calibrate(&images, &filter, &given);
    for key in ["calibration", "alternatives", "baselines"] {
        assert_eq!(once[key], twice[key], "{key}");
    }
}

#[test]
fn a_combined_score_is_made_of_its_parts() {
    let root = tempfile::tempdir().unwrap();
    let images = root.path().join("images");
    pool(&images, |_, name| name.to_owned());
    let filter = root.path().join("model.heatlens");
    let header = calibrate(&images, &filter, &["--combine", "always"]);
    let weight = |name: &str| header["combination"]["kinds"][0][name].as_f64().unwrap();
    let filter = filter.to_str().unwrap();
    let lines = fixture().json_lines(&["filter", "--filter", filter, images.to_str().unwrap()]);
    let scored: Vec<&Value> = lines.iter().filter(|line| line["score"].is_number()).collect();
    assert!(!scored.is_empty());
    for line in &scored {
        let part = |name: &str| line["parts"][name].as_f64().unwrap();
        let log_odds = (part("max_softmax") / (1.0 - part("max_softmax"))).ln();
        let score = weight("intercept") + weight("heatmap") * part("heatmap") + weight("log_odds") * log_odds;
        assert!((score - line["score"].as_f64().unwrap()).abs() < 1e-6 * score.abs().max(1.0), "{line}");
    }
    assert!(scored.iter().any(|line| line["verdict"] == "reject" && !line["reasons"].as_array().unwrap().is_empty()));

    let evaluate = ["evaluate", "filter", "--filter", filter, "--images", images.to_str().unwrap(), "--allow-overlap"];
    for threshold in ["own", "pooled"].map(|stratum| &header["calibration"][stratum]["threshold"]) {
        let is_it = |line: &Value| is_correct(line) && line["score"] == *threshold;
        assert!(threshold.is_null() || lines.iter().any(is_it), "{threshold} is no correct image's score");
    }

    let found = fixture().json(&[&evaluate[..], &["--json"]].concat());
    let rejected = lines.iter().filter(|line| line["verdict"] == "reject").count() as f64;
    let coverage = 1.0 - rejected / lines.len() as f64;
    assert!(
        (found["kept"]["coverage"]["value"].as_f64().unwrap() - coverage).abs() < 1e-12,
        "evaluate judges as filter does"
    );
    assert!(fixture().run(&evaluate).contains("+ softmax *"), "the filter's own row is marked");
}

#[test]
fn every_distance_and_baseline_has_its_row() {
    let found: Value = serde_json::from_str(&fs::read_to_string(fixture().path("eval.json")).unwrap()).unwrap();
    let names = |rows: &Value, role: &str| -> BTreeSet<String> {
        let rows = rows.as_array().unwrap().iter().filter(|row| row["role"] == role);
        rows.map(|row| row["method"].as_str().unwrap().to_owned()).collect()
    };
    let distances = ["l1", "l2", "cosine", "cosine-plain", "hamming", "loglik"];
    let ways = distances.iter().flat_map(|distance| ["raw", "centered"].map(|scores| format!("{distance} {scores}")));
    let (ways, filter): (BTreeSet<String>, BTreeSet<String>) = ways.partition(|way| way != "cosine raw");
    let baselines = ["max-softmax", "max-logit", "energy"].map(str::to_owned).into();
    for rows in [&found["kinds"][0]["methods"], &found["selective"]] {
        assert_eq!(names(rows, "filter"), filter, "the default, as there are too few images to choose by");
        assert_eq!(names(rows, "alternative"), ways);
        assert_eq!(names(rows, "baseline"), baselines);
    }
    for row in found["kinds"][0]["methods"].as_array().unwrap() {
        assert!(row["selective"]["aurc"]["low"].is_number(), "{row}");
        let at = row["selective"]["at"].as_array().unwrap();
        let coverages: Vec<f64> = at.iter().map(|at| at["coverage"].as_f64().unwrap()).collect();
        assert_eq!(coverages, [1.0, 0.95, 0.9, 0.8, 0.7, 0.5]);
        assert_eq!(at[0]["accuracy"]["value"], found["accuracy"]["value"], "all images are kept");
    }
    for row in found["selective"].as_array().unwrap() {
        assert!(row["kept"]["accuracy"]["low"].is_number() && row["kept"]["false_rejects"]["high"].is_number());
    }
}

#[test]
fn too_few_images_to_choose_by_are_a_notice_or_an_error() {
    let root = tempfile::tempdir().unwrap();
    let filter = root.path().join("model.heatlens").display().to_string();
    let (bundle, images) = (path("bundle"), path("calibrate"));
    let args = ["calibrate", &bundle, "--images", &images, "--false-reject-rate", "0.5", "-o", &filter];
    let found = fixture().json(&[&args[..], &["--json"]].concat());
    assert!(found["choice"].is_null() && found["combination"].is_null());
    assert_eq!((&found["distance"], &found["scores"]), (&"cosine".into(), &"raw".into()));
    assert!(found["notices"].as_array().unwrap().iter().any(|notice| notice.as_str().unwrap().contains("too few")));
    let output = heatlens().args(args).args(["--combine", "always"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("takes 10 misclassified and 10 correct") && stderr.contains("hint:"), "{stderr}");
    // What is given needs no choice, and no notice.
    let given = ["--distance", "loglik", "--scores", "centered", "--combine", "never", "--json"];
    let found = fixture().json(&[&args[..], &given].concat());
    assert!(!found["notices"].to_string().contains("too few"), "{}", found["notices"]);
}

#[test]
fn a_rate_that_cannot_be_held_is_told() {
    let root = tempfile::tempdir().unwrap();
    let [concepts, bundle, filter] =
        ["concepts.txt", "bundle", "model.heatlens"].map(|name| root.path().join(name).display().to_string());
    // The same prompts: no image has a stronger one.
    fs::write(&concepts, "fur\ncoat: fur\n").unwrap();
    let [classifier, clip, aligner, build, images] =
        ["classifier", "clip", "aligner.safetensors", "build", "calibrate"].map(path);
    let models =
        ["build", "--classifier", &classifier, "--clip", &clip, "--aligner", &aligner, "--concepts", &concepts];
    fixture().run(&[&models[..], &["--images", &build, "--minimum-support", "2", "-o", &bundle]].concat());
    let calibrate = ["calibrate", &bundle, "--images", &images, "--false-reject-rate", "0.5", "-o", &filter, "--json"];
    let found = fixture().json(&calibrate);
    assert!(found["notices"].to_string().contains("can't be held"), "{}", found["notices"]);
    let lines = fixture().json_lines(&["filter", "--filter", &filter, &images]);
    assert!(lines.iter().all(|line| line["cause"] == "no-distance" && line["score"].is_null()));
}
