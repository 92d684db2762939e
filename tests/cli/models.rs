//! Where models come from: folders, shards, and names in the Hugging Face cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use heatlens::Weights;
use serde_json::json;

use super::fixture::{CLASSES, Tensors, fixture, heatlens, walk, write_tensors};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A Hugging Face cache with `made-up/classifier` as a system without links keeps it: the fixture's classifier, copied.
fn cache(root: &Path) -> PathBuf {
    let cache = root.join("hub");
    let snapshot = add_snapshot(&cache, "made-up/classifier");
    for file in walk(&fixture().path("classifier")) {
        fs::copy(&file, snapshot.join(file.file_name().unwrap())).unwrap();
    }
    cache
}

/// A snapshot without files of the model `name`, which `main` stands for.
fn add_snapshot(cache: &Path, name: &str) -> PathBuf {
    let model = cache.join(format!("models--{}", name.replace('/', "--")));
    let snapshot = model.join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(model.join("refs")).unwrap();
    fs::write(model.join("refs/main"), COMMIT).unwrap();
    snapshot
}

/// What `classify` prints with this model, the cache at `cache` and `folder` as the working directory.
fn classify(model: &str, cache: &Path, folder: &Path) -> Output {
    let mut command = heatlens();
    command.args(["classify", "--json", "--model", model]).arg(fixture().path("test"));
    command.env("HF_HUB_CACHE", cache).current_dir(folder).output().unwrap()
}

/// What `classify` prints with a model that must load.
fn classified(model: &str, cache: &Path, folder: &Path) -> String {
    let output = classify(model, cache, folder);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{model}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn expected() -> String {
    let [model, pictures] = ["classifier", "test"].map(|name| fixture().path(name).display().to_string());
    fixture().run(&["classify", "--json", "--model", &model, &pictures])
}

#[test]
fn names_are_found_in_the_cache() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    for name in ["made-up/classifier", "made-up/classifier@main", &format!("made-up/classifier@{COMMIT}")] {
        assert_eq!(classified(name, &cache, root.path()), expected(), "{name}");
    }
    // As the environment names the cache otherwise.
    let home = root.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::rename(&cache, home.join("hub")).unwrap();
    let mut command = heatlens();
    command.args(["classify", "--json", "--model", "made-up/classifier"]).arg(fixture().path("test"));
    command.env_remove("HF_HUB_CACHE").env("HF_HOME", &home).assert().success().stdout(expected());
}

#[test]
fn a_path_comes_before_a_name() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    // An empty folder of that name is what the user means, so there are no weights.
    fs::create_dir_all(root.path().join("made-up/classifier")).unwrap();
    let output = classify("made-up/classifier", &cache, root.path());
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("made-up/classifier: no model.safetensors"), "{stderr}");
}

#[test]
fn a_project_file_may_name_a_model() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    let config = root.path().join("heatlens.toml");
    fs::write(&config, "model = \"made-up/classifier\"").unwrap();
    let mut command = heatlens();
    command.args(["classify", "--json", "--config"]).arg(&config).arg(fixture().path("test"));
    command.env("HF_HUB_CACHE", cache).assert().success().stdout(expected());
}

#[test]
fn snapshots_that_lack_something_say_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    let without_weights = add_snapshot(&cache, "made-up/empty");
    fs::write(without_weights.join("config.json"), "{}").unwrap();
    let checkpoint = add_snapshot(&cache, "made-up/checkpoint");
    fs::write(checkpoint.join("pytorch_model.bin"), "PK").unwrap();
    fs::write(add_snapshot(&cache, "made-up/half").join("model.safetensors.index.json"), shard_index(&["a", "b"]))
        .unwrap();
    fs::create_dir_all(cache.join("models--made-up--nothing")).unwrap();
    let download = |name: &str| format!("huggingface-cli download made-up/{name}");
    let hub = cache.display().to_string();
    let cases = [
        ("made-up/empty", vec!["no model.safetensors", "it holds config.json", "incomplete"], download("empty")),
        ("made-up/checkpoint", vec!["it holds pytorch_model.bin"], "safetensors.torch.save_file".to_owned()),
        ("made-up/half", vec!["shard-a.safetensors"], download("half")),
        ("made-up/nothing", vec!["made-up/nothing: no snapshot"], download("nothing")),
        ("made-up/classifier@v2", vec!["no revision `v2`"], download("classifier")),
        ("made-up/other", vec!["no such file or folder", &hub], download("other")),
    ];
    for (name, messages, hint) in cases {
        let output = classify(name, &cache, root.path());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {stderr}");
        for part in messages.into_iter().chain([hint.as_str()]) {
            assert!(stderr.contains(part), "{name}: {part} in {stderr}");
        }
    }
}

/// The index of a model that has each tensor in a file of its own.
fn shard_index(tensors: &[&str]) -> String {
    let files = tensors.iter().map(|name| ((*name).to_owned(), json!(format!("shard-{name}.safetensors"))));
    json!({"metadata": {}, "weight_map": serde_json::Map::from_iter(files)}).to_string()
}

#[test]
fn shards_make_the_same_model() {
    let root = tempfile::tempdir().unwrap();
    let weights = Weights::open(fixture().path("classifier/model.safetensors")).unwrap();
    let names: Vec<&str> = weights.names().collect();
    for name in &names {
        let tensor = weights.tensor(name).unwrap();
        let tensors = Tensors::from([((*name).to_owned(), (tensor.shape().to_vec(), tensor.into_data()))]);
        write_tensors(&root.path().join(format!("shard-{name}.safetensors")), &tensors);
    }
    fs::write(root.path().join("model.safetensors.index.json"), shard_index(&names)).unwrap();
    fs::copy(fixture().path("classifier/config.json"), root.path().join("config.json")).unwrap();
    assert_eq!(classified(root.path().to_str().unwrap(), root.path(), root.path()), expected());
}

#[test]
fn a_list_names_the_classes() {
    let root = tempfile::tempdir().unwrap();
    let list = root.path().join("classes.txt");
    fs::write(&list, "# in logit order\nKatze\nHund\nSchiff\n").unwrap();
    let [model, pictures] = ["classifier", "test"].map(|name| fixture().path(name).display().to_string());
    let named = ["classify", "--json", "--model", &model, "--classes", list.to_str().unwrap(), &pictures];
    let renamed = CLASSES.iter().zip(["Katze", "Hund", "Schiff"]).fold(expected(), |text, (class, name)| {
        text.replace(&format!("\"class\":\"{class}\""), &format!("\"class\":\"{name}\""))
    });
    assert_eq!(fixture().run(&named), renamed);
}
