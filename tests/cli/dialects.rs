//! Every dialect in which models come, from files to embeddings, beside the golden values of the original libraries.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use heatlens::weights::formula;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::fixture::{fixture, heatlens};

/// A vocabulary that only has to load.
const VOCABULARY: &str = r#"{"a": 0, "a</w>": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}"#;

/// The small networks among the goldens, by name.
fn goldens() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("small-") && path.extension().is_some_and(|extension| extension == "json") {
            found.push((name, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() >= 8, "{} small goldens", found.len());
    found
}

fn size(golden: &Value, key: &str) -> usize {
    golden[key].as_u64().unwrap() as usize
}

/// Writes a golden's model into `folder`, in its own type and its ecosystem's layout.
fn write_model(golden: &Value, folder: &Path) {
    let keys: Vec<(String, Vec<usize>)> = serde_json::from_value(golden["keys"].clone()).unwrap();
    let dtype = match golden["dtype"].as_str().unwrap() {
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        other => panic!("dtype {other}"),
    };
    let bytes = |(name, shape): &(String, Vec<usize>)| -> Vec<u8> {
        let tensor = formula::tensor(name, shape);
        let values = tensor.data().iter();
        match dtype {
            Dtype::F16 => values.flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect(),
            Dtype::BF16 => values.flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect(),
            _ => values.flat_map(|value| value.to_le_bytes()).collect(),
        }
    };
    let data: Vec<Vec<u8>> = keys.iter().map(bytes).collect();
    let views = keys.iter().zip(&data);
    let views = views.map(|((name, shape), data)| (name, TensorView::new(dtype, shape.clone(), data).unwrap()));
    let file = folder.join(golden["file"].as_str().unwrap());
    safetensors::serialize_to_file(views, None, &file).unwrap();
    for (name, config) in golden["configs"].as_object().unwrap() {
        fs::write(folder.join(name), config.to_string()).unwrap();
    }
    // The goldens' classifiers come without a word on their pictures.
    let has = |name: &str| folder.join(name).exists();
    if !has("preprocessor_config.json") && !has("open_clip_config.json") && !has("config.json") {
        let config = json!({"architecture": "resnet", "pretrained_cfg": {
            "input_size": [3, golden["height"], golden["width"]], "crop_pct": 1.0, "mean": golden["mean"],
            "std": golden["std"],
        }});
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
    }
    fs::write(folder.join("vocab.json"), VOCABULARY).unwrap();
    fs::write(folder.join("merges.txt"), "#version: 0.2\n").unwrap();
}

/// Writes a golden's pictures, and the embeddings that the original library makes of them with the pictures' names.
fn write_pictures(name: &str, golden: &Value, folder: &Path) -> (PathBuf, PathBuf) {
    let pictures = folder.join("pictures");
    fs::create_dir(&pictures).unwrap();
    let (height, width) = (size(golden, "height"), size(golden, "width"));
    let mut paths = Vec::new();
    for picture in golden["pictures"].as_array().unwrap() {
        let picture = picture.as_str().unwrap();
        let file = format!("{}.png", picture.replace('/', "-"));
        let pixels = formula::picture(picture, height, width);
        let (width, height) = (width as u32, height as u32);
        image::save_buffer(pictures.join(&file), &pixels, width, height, image::ExtendedColorType::Rgb8).unwrap();
        paths.push(format!("elsewhere/{file}"));
    }
    let values = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/goldens/models/{name}.safetensors"));
    let bytes = fs::read(values).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let embeddings = file.tensor("features").or_else(|_| file.tensor("visual.embedding")).unwrap();
    let reference = folder.join("reference.safetensors");
    let metadata = HashMap::from([("paths".to_owned(), json!(paths).to_string())]);
    safetensors::serialize_to_file([("embeddings", embeddings)], Some(metadata), &reference).unwrap();
    (pictures, reference)
}

#[test]
fn every_dialect_and_type_agrees_with_its_library_from_file_to_embedding() {
    for (name, golden) in goldens() {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("model");
        fs::create_dir(&model).unwrap();
        write_model(&golden, &model);
        let (pictures, reference) = write_pictures(&name, &golden, root.path());
        let [model, pictures, reference] = [&model, &pictures, &reference].map(|path| path.to_str().unwrap());

        let found = fixture().json(&["inspect", model, "--json", "--batch", "2"]);
        assert!(found["error"].is_null() && found["dialect"].is_string(), "{name}: {found}");
        assert_eq!(found["tensors"]["missing"].as_array().unwrap().len(), 0, "{name}");
        assert_eq!(found["tensors"]["unused"].as_array().unwrap().len(), 0, "{name}");
        let dtype = match golden["dtype"].as_str().unwrap() {
            "float32" => "F32",
            "float16" => "F16",
            _ => "BF16",
        };
        assert_eq!(found["file"]["dtypes"].as_object().unwrap().keys().collect::<Vec<_>>(), [dtype], "{name}");

        let output = heatlens().args(["embed", "--json", "--model", model, pictures, "--expect", reference]).output();
        let output = output.unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
        let comparison = &serde_json::from_str::<Value>(&stdout).unwrap()["comparison"];
        assert_eq!((&comparison["rows"], &comparison["failing"]), (&json!(8), &json!(0)), "{name}");
    }
}
