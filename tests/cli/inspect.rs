//! What `inspect` says of models that load and of those that don't, and how `embed` tells a difference.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use heatlens::{Tensor, Weights};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::fixture::{fixture, heatlens, walk, write_picture};

fn path(name: &str) -> String {
    fixture().path(name).display().to_string()
}

/// Copies a model's folder.
fn copied(name: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in walk(&fixture().path(name)) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_classifier_is_described() {
    let found = fixture().json(&["inspect", &path("classifier"), "--json", "--batch", "4"]);
    let model = &found["model"];
    assert_eq!(found["dialect"], "ResNet of torchvision or timm");
    assert_eq!(model["classes"]["names"], json!(["cat", "dog", "ship"]));
    assert_eq!(model["classes"]["names_from"], "config.json `label_names`");
    assert_eq!(model["preprocess_source"], "config.json");
    assert_eq!(model["preprocess_steps"]["height"], 32);
    assert_eq!(found["error"], Value::Null);
    let plan = &model["plans"][0];
    assert_eq!((&plan["input"], &plan["batch"]), (&json!("image"), &json!(4)));
    // The stem, by far the largest layer: 16 · 16 results of 8 channels, 7 · 7 · 4 padded inputs, a multiply and an add.
    let stem = 16 * 16 * 8 * 7 * 7 * 4 * 2;
    let flops = plan["flops"].as_u64().unwrap();
    assert!(flops > stem && flops < 2 * stem, "{flops} against {stem}");
    let text = fixture().run(&["inspect", &path("classifier")]);
    for part in ["ReLU", "3, named by config.json `label_names`: cat, dog, ship", "F32", "images a run", "centre crop"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_clip_is_described_tower_by_tower() {
    let found = fixture().json(&["inspect", &path("clip"), "--json"]);
    let model = &found["model"];
    assert_eq!(model["activations"], json!({"image": "QuickGELU", "text": "QuickGELU"}));
    assert_eq!((&model["text"]["context"], &model["features"]), (&json!(32), &json!(12)));
    // Each letter within a word and at its end, and the two special tokens.
    assert_eq!(model["text"]["tokenizer"], 2 * 94 + 2);
    assert_eq!(model["preprocess_source"], "preprocessor_config.json");
    let inputs: Vec<&str> = model["plans"].as_array().unwrap().iter().map(|p| p["input"].as_str().unwrap()).collect();
    assert_eq!(inputs, ["image", "text"]);
    let batch = |args: &[&str]| fixture().json(args)["model"]["plans"][0]["value_bytes"].as_u64().unwrap();
    let clip = path("clip");
    let [one, two] = ["1", "2"].map(|batch_of| batch(&["inspect", &clip, "--json", "--batch", batch_of]));
    assert_eq!(2 * one, two, "values grow with the batch");
}

#[test]
fn a_model_that_does_not_load_is_still_described() {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("model");
    copied("classifier", &model);
    let weights = Weights::open(model.join("model.safetensors")).unwrap();
    let renamed = |name: &str| if name == "fc.bias" { "fc.offset".to_owned() } else { name.to_owned() };
    let tensors: Vec<(String, Tensor)> =
        weights.names().map(|name| (renamed(name), weights.tensor(name).unwrap())).collect();
    fs::write(model.join("model.safetensors"), &Weights::from_tensors("", &tensors).shards()[0]).unwrap();

    let output = heatlens().args(["inspect", model.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stdout = String::from_utf8(output.stdout).unwrap();
    for part in ["ResNet", "missing tensor", "fc.bias", "[3]", "fc.offset"] {
        assert!(stdout.contains(part), "{part} in {stdout}");
    }
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: ") && stderr.contains("no tensor `fc.bias`"), "{stderr}");

    let output = heatlens().args(["inspect", "--json", model.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["error"]["code"], "weights");
    let expected = json!([{"name": "fc.bias", "shape": [3], "nearest": {"name": "fc.offset", "shape": [3]}}]);
    assert_eq!(found["tensors"]["missing"], expected);
}

#[test]
fn each_stage_of_a_picture_has_its_size_and_hash() {
    let root = tempfile::tempdir().unwrap();
    let picture = root.path().join("picture.png");
    write_picture(&picture, "explained");
    let pixels = image::open(&picture).unwrap().into_rgb8();
    let hash = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // The fixture's pictures are as large as its network's input, so only the last stage changes them.
    let same = hash(&pixels);
    let values: Vec<u8> = (0..3usize)
        .flat_map(|channel| pixels.iter().skip(channel).step_by(3))
        .flat_map(|&value| ((f32::from(value) / 255.0 - 0.5) / 0.25).to_le_bytes())
        .collect();
    let picture = picture.to_str().unwrap();
    let found = fixture().json(&["inspect", &path("classifier"), "--json", "--explain-preprocess", picture]);
    let stages = found["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["file", "decode", "resize", "crop", "normalize"]);
    assert_eq!(stages[0]["sha256"], hash(&fs::read(picture).unwrap()));
    assert!(stages[1..4].iter().all(|stage| stage["sha256"] == same && stage["size"] == json!([32, 32])), "{found}");
    assert_eq!(stages[4]["sha256"], hash(&values));
    let text = fixture().run(&["inspect", &path("classifier"), "--explain-preprocess", picture]);
    assert!(text.contains(&same) && text.contains("32×32"), "{text}");
    let nothing = ["inspect", &path("classifier"), "--explain-preprocess", "nowhere.png"];
    heatlens().args(nothing).assert().code(2);
}

#[test]
fn a_turned_picture_is_explained_upright_where_that_is_asked() {
    let stages = |more: &[&str]| {
        let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/pictures/exif6.png");
        let model = path("classifier");
        let args = [&["inspect", &model, "--json", "--explain-preprocess", picture], more].concat();
        let found = fixture().json(&args);
        let stage = |stage: &Value| (stage["name"].as_str().unwrap().to_owned(), stage["size"].clone());
        found["stages"].as_array().unwrap().iter().map(stage).collect::<Vec<_>>()
    };
    let (stored, upright) = (stages(&[]), stages(&["--exif"]));
    let turned = |size: [u32; 2]| [("decode".to_owned(), json!([11, 7])), ("orient".to_owned(), json!(size))];
    assert_eq!(stored[1..3], turned([11, 7]));
    assert_eq!(upright[1..3], turned([7, 11]));
}

/// Embeddings of the fixture's test pictures by its classifier: the file, and its values with their paths.
fn embedded(folder: &Path) -> (Tensor, Vec<String>) {
    let file = folder.join("ours.safetensors");
    fixture().run(&["embed", "--model", &path("classifier"), &path("test"), "-o", file.to_str().unwrap()]);
    let weights = Weights::open(&file).unwrap();
    let paths = serde_json::from_str(weights.metadata("paths").unwrap()).unwrap();
    (weights.tensor("embeddings").unwrap(), paths)
}

/// A reference file.
fn write_reference(file: &Path, values: &Tensor, paths: Option<&[String]>) {
    let bytes: Vec<u8> = values.data().iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, values.shape().to_vec(), &bytes).unwrap();
    let metadata = paths.map(|paths| HashMap::from([("paths".to_owned(), json!(paths).to_string())]));
    safetensors::serialize_to_file([("embeddings", view)], metadata, file).unwrap();
}

#[test]
fn embed_tells_where_it_differs_from_a_reference() {
    let root = tempfile::tempdir().unwrap();
    let (mut values, mut paths) = embedded(root.path());
    let reference = root.path().join("reference.safetensors");
    let embed = |args: &[&str]| {
        let mut command = heatlens();
        command.args(["embed", "--model", &path("classifier"), &path("test"), "--expect"]).arg(&reference).args(args);
        command.output().unwrap()
    };
    // Rows in another order, from another folder.
    let order: Vec<usize> = (0..paths.len()).rev().collect();
    values = values.select_rows(&order);
    paths.reverse();
    let folder = path("test");
    paths.iter_mut().for_each(|path| *path = path.replace(&folder, "/elsewhere"));
    write_reference(&reference, &values, Some(&paths));
    let output = embed(&["--tolerance", "0", "--min-cosine", "0.9999999"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert!(stdout.starts_with("all 24 rows are within 0e0"), "{stdout}");

    let columns = values.columns();
    let largest = values.row(3).iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let wrong = values.row(3)[5] + 0.25 * largest;
    values.data_mut()[3 * columns + 5] = wrong;
    write_reference(&reference, &values, Some(&paths));
    let output = embed(&["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let comparison = &found["comparison"];
    assert_eq!((&comparison["rows"], &comparison["failing"], &found["output"]), (&json!(24), &json!(1), &Value::Null));
    let worst = &comparison["worst"][0];
    let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    assert_eq!(name(worst["path"].as_str().unwrap()), name(&paths[3]));
    assert_eq!((&worst["index"], &worst["reference"]), (&json!(5), &json!(wrong)));
    let text = String::from_utf8(embed(&[]).stdout).unwrap();
    assert!(text.starts_with("1 of 24 rows are beyond 1e-3") && text.contains("FAIL"), "{text}");

    // What can't be compared is an error, not a failed gate.
    write_reference(&reference, &values, None);
    assert_eq!(embed(&[]).status.code(), Some(1), "by order, the rows are others");
    write_reference(&reference, &values.select_rows(&[0, 1]), None);
    let output = embed(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("reference.safetensors: has 2 rows"));
    paths[0] = "/elsewhere/unknown.png".to_owned();
    write_reference(&reference, &values, Some(&paths));
    let output = embed(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("has no row for"), "an unknown name");
    for args in [["--tolerance", "-1"], ["--min-cosine", "2"], ["--tolerance", "NaN"]] {
        assert_eq!(embed(&args).status.code(), Some(2), "{args:?}");
    }
}
