//! Results don't depend on the order in which images are listed, nor on the batch.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fixture::{fixture, walk};

fn path(name: &str) -> String {
    fixture().path(name).display().to_string()
}

/// The pictures of a split (or of the attacked ones) in a list that goes through them in jumps, class by class and back.
pub(crate) fn shuffled(root: &Path, split: &str) -> String {
    let files = walk(&fixture().path(split));
    let mut list = String::from("file_name,label\n");
    let jump = [7, 11, 13].into_iter().find(|&jump| !files.len().is_multiple_of(jump)).unwrap();
    for number in 0..files.len() {
        let file = &files[(number * jump + 5) % files.len()];
        let class = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
        list += &format!("{},{class}\n", file.display());
    }
    let path = root.join(format!("{split}.csv"));
    fs::write(&path, list).unwrap();
    path.display().to_string()
}

/// What is made of the splits as they are, or of their lists with batches of another size.
struct Made {
    root: PathBuf,
    aligner: String,
    bundle: String,
}

impl Made {
    fn new(root: &Path, images: impl Fn(&str) -> String, more: &[&str]) -> Self {
        fs::create_dir(root).unwrap();
        let file = |name: &str| root.join(name).display().to_string();
        let (aligner, bundle) = (file("aligner.safetensors"), file("bundle"));
        let [classifier, clip, concepts] = ["classifier", "clip", "concepts.txt"].map(path);
        let models = ["--classifier", &classifier, "--clip", &clip];
        let run = |args: &[&str]| fixture().run(&[args, &models[..], more].concat());
        run(&["align", "--images", &images("align"), "-o", &aligner]);
        let attacked = format!("mirrored={}", images("attacked"));
        let build =
            ["build", "--aligner", &aligner, "--concepts", &concepts, "--images", &images("build"), "-o", &bundle];
        run(&[&build[..], &["--minimum-support", "2", "--attacked", &attacked]].concat());
        Self { root: root.to_owned(), aligner, bundle }
    }
}

/// The value under `key`, which is a list, by its entries' paths.
fn by_path(found: &Value, key: &str) -> Vec<Value> {
    let mut entries = found[key].as_array().unwrap().clone();
    entries.sort_by_key(|entry| entry["path"].as_str().unwrap().to_owned());
    entries
}

#[test]
fn neither_the_order_nor_the_batch_shows() {
    let root = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| root.path().join(name));
    let lists = root.path().join("lists");
    fs::create_dir(&lists).unwrap();
    let one = Made::new(&one, path, &["--batch", "7"]);
    let other = Made::new(&other, |split| shuffled(&lists, split), &["--batch", "3"]);
    assert!(fs::read(&one.aligner).unwrap() == fs::read(&other.aligner).unwrap(), "the aligners differ");

    let json = |args: &[&str]| {
        [&one, &other].map(|made| {
            let args: Vec<&str> =
                args.iter().map(|arg| if *arg == "BUNDLE" { made.bundle.as_str() } else { arg }).collect();
            fixture().json(&[&args[..], &["--json"]].concat())
        })
    };
    let [a, b] = json(&["localize", "BUNDLE"]);
    assert_eq!((&a["totals"], &a["classes"]), (&b["totals"], &b["classes"]));
    assert_eq!(by_path(&a, "samples"), by_path(&b, "samples"));

    let (checks, words) = (root.path().join("checks.txt"), root.path().join("words.txt"));
    let spec = "check fur for all: fur > ears implies wheels > water at least 0 %\ncheck no for class cat: fur > fur at most 1 %";
    fs::write(&checks, spec).unwrap();
    fs::write(&words, (0..300).map(|word| format!("w{word}\n")).collect::<String>()).unwrap();
    let [checks, words] = [&checks, &words].map(|file| file.to_str().unwrap());
    let same: [&[&str]; 10] = [
        &["check", checks, "BUNDLE"],
        &["concepts", "lint", "BUNDLE", "--correlation", "0", "--dominance", "0.5", "--synonyms", "0"],
        &["concepts", "suggest", "BUNDLE", "--vocabulary", words],
        &["concepts", "suggest", "BUNDLE", "--vocabulary", words, "--space", "clip"],
        &["show", "BUNDLE", "--set", "differential", "--class", "dog"],
        &["show", "BUNDLE", "--set", "loss", "--class", "dog"],
        &["show", "BUNDLE", "--set", "adversarial", "--class", "cat"],
        &["show", "BUNDLE", "--set", "correct", "--class", "cat", "--scores", "centered"],
        &["compare", &one.bundle, "BUNDLE"],
        &["compare", "BUNDLE", &one.bundle],
    ];
    for args in same {
        let [a, b] = json(args);
        assert_eq!(a, b, "{args:?}");
    }
    let drift = fixture().json(&["compare", &one.bundle, &other.bundle, "--max-drift", "0", "--json"]);
    assert_eq!((&drift["images"], &drift["drift"]["high"]), (&48.into(), &0.0.into()));

    let pages = [&one, &other].map(|made| {
        let page = made.root.join("report.html");
        fixture().run(&["report", &made.bundle, "-o", page.to_str().unwrap()]);
        fs::read_to_string(page).unwrap()
    });
    let [a, b] = pages;
    // The pages name where the images are, in HTML's spelling.
    let escaped = |path: &str| path.replace('/', "&#x2f;");
    let b = b.replace(&escaped(lists.join("build.csv").to_str().unwrap()), &escaped(&path("build")));
    assert!(a == b, "the reports differ");
}

#[test]
fn attacks_are_reported_alike_in_any_order() {
    let root = tempfile::tempdir().unwrap();
    let classifier = path("classifier");
    let attack = |images: &str, name: &str, batch: &str| {
        let out = root.path().join(name).display().to_string();
        let args = ["attack", "--classifier", &classifier, "--images", images, "--epsilon", "16/255", "--queries", "9"];
        fixture().json(&[&args[..], &["-o", &out, "--batch", batch, "--json"]].concat())
    };
    let (a, b) = (attack(&path("test"), "one", "7"), attack(&shuffled(root.path(), "test"), "other", "2"));
    assert_eq!(by_path(&a, "attacked"), by_path(&b, "attacked"));
    for key in ["images", "misclassified", "accuracy", "robust_accuracy", "success", "by_queries", "median_queries"] {
        assert_eq!(a[key], b[key], "{key}");
    }
    let steps: Vec<u64> =
        a["by_queries"].as_array().unwrap().iter().map(|step| step["queries"].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 2, 5, 9]);
}
