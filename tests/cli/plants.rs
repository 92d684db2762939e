//! Localisation set against faults planted in the fixture's classifier.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use tempfile::TempDir;

use super::fixture::{fixture, heatlens};
use super::order::shuffled;

/// Shape and values.
type Values = (Vec<usize>, Vec<f32>);

/// A tensor of the fixture's classifier.
fn tensor(name: &str) -> Values {
    let bytes = fs::read(fixture().path("classifier/model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let found = file.tensor(name).unwrap();
    (found.shape().to_vec(), found.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

/// The head with its first two rows swapped.
fn swapped_head() -> Values {
    let (shape, mut rows) = tensor("fc.weight");
    let (first, rest) = rows.split_at_mut(shape[1]);
    first.swap_with_slice(&mut rest[..shape[1]]);
    (shape, rows)
}

/// A batch norm without its first half.
fn silenced(name: &str) -> Values {
    let (shape, mut values) = tensor(name);
    let half = values.len() / 2;
    values[..half].fill(0.0);
    (shape, values)
}

/// A folder with one plant.
struct Planted {
    folder: TempDir,
    file: PathBuf,
}

impl Planted {
    fn new(tensors: &[(&str, Values)], says: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("7.safetensors");
        write(&file, tensors, says);
        Self { folder, file }
    }
}

fn write(file: &Path, tensors: &[(&str, Values)], says: &[(&str, &str)]) {
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let data: Vec<_> = tensors.iter().map(|(name, (shape, values))| (*name, shape.clone(), bytes(values))).collect();
    let views =
        data.iter().map(|(name, shape, bytes)| (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let metadata = says.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
    safetensors::serialize_to_file(views, Some(metadata), file).unwrap();
}

fn says<'a>(kind: &'a str, cause: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("kind", kind), ("cause", cause), ("seed", "7"), ("description", "planted")]
}

fn args(plants: &Path, more: &[&str]) -> Vec<String> {
    args_with(plants, |split| fixture().path(split).display().to_string(), more)
}

/// The arguments with images from elsewhere.
fn args_with(plants: &Path, images: impl Fn(&str) -> String, more: &[&str]) -> Vec<String> {
    let text = |path: PathBuf| path.display().to_string();
    let [classifier, clip, concepts] = ["classifier", "clip", "concepts.txt"].map(|name| text(fixture().path(name)));
    let given = [classifier, clip, images("align"), images("build"), concepts];
    let flags = ["--classifier", "--clip", "--align", "--images", "--concepts"];
    let pairs = flags.iter().zip(given).flat_map(|(flag, value)| [(*flag).to_owned(), value]);
    let start = ["evaluate", "localization", "--plants", &text(plants.to_owned())].map(str::to_owned);
    start.into_iter().chain(pairs).chain(more.iter().map(|&word| word.to_owned())).collect()
}

#[test]
fn verdicts_are_set_against_causes() {
    let planted = Planted::new(&[("fc.weight", swapped_head())], &says("row", "head"));
    let norm = ["layer2.0.bn2.weight", "layer2.0.bn2.bias"].map(|name| (name, silenced(name)));
    let lost = [("class", "dog"), ("concept", "fur")];
    let seeded = |kind, cause, seed| {
        let others = says(kind, cause).into_iter().filter(|(key, _)| *key != "seed");
        others.chain([("seed", seed)]).collect::<Vec<_>>()
    };
    let norm_says = [seeded("norm", "encoder", "8"), lost.to_vec()].concat();
    write(&planted.folder.path().join("8.safetensors"), &norm, &norm_says);
    let both = [&norm[..], &[("fc.weight", swapped_head())]].concat();
    write(&planted.folder.path().join("9.safetensors"), &both, &seeded("both", "mixed", "9"));
    let written = planted.folder.path().join("plants.json");
    let all = args(planted.folder.path(), &["-o", written.to_str().unwrap(), "--json"]);
    let found = fixture().json(&all.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(written).unwrap()).unwrap(), found);
    let moved =
        args_with(planted.folder.path(), |split| shuffled(planted.folder.path(), split), &["--batch", "3", "--json"]);
    let moved = fixture().json(&moved.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(moved, found, "the order of the images and the batch");
    let kinds = found["kinds"].as_array().unwrap();
    assert_eq!(kinds.iter().map(|kind| &kind["kind"]).collect::<Vec<_>>(), ["both", "norm", "row"]);
    for (kind, origin) in [(&kinds[1], "encoder"), (&kinds[2], "head")] {
        let [row] = &kind["errors"].as_array().unwrap()[..] else { panic!("one cause: {kind}") };
        assert_eq!(row["origin"], origin);
        let errors = row["errors"].as_u64().unwrap();
        assert!(errors > 0, "{kind}");
        for oracle in ["counterfactual", "zero_shot", "refit"] {
            let verdicts = ["head", "encoder", "undetermined"].map(|name| row[oracle][name].as_u64().unwrap());
            assert_eq!(verdicts.iter().sum::<u64>(), errors, "{oracle}");
            let right = row[oracle][origin].as_u64().unwrap() as f64 / errors as f64;
            assert_eq!(kind["named"][oracle.replace('_', "-")]["value"], right);
        }
    }
    let head = kinds[2]["named"]["counterfactual"]["value"].as_f64().unwrap();
    assert!(head > 0.5, "a head with swapped rows misreads typical features: {head}");
    assert_eq!(found["pure"]["plants"], 2);
    assert_eq!(found["plants"][1]["lost"]["concept"], "fur");
    let one = args(planted.folder.path(), &["--seeds", "7"]);
    let text = fixture().run(&one.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(text.contains("row (plants: 1)") && !text.contains("norm"), "{text}");
}

/// The error of a plant.
fn error(planted: &Planted, more: &[&str]) -> String {
    let output = heatlens().args(args(planted.folder.path(), more)).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn plants_that_cannot_be_used_are_refused_by_name() {
    let swapped = swapped_head();
    let head = |name: &'static str| [(name, swapped.clone())];
    let (shape, values) = &swapped;
    let transposed = [("fc.weight", (shape.iter().rev().copied().collect(), values.clone()))];
    let elsewhere = [says("row", "head"), vec![("class", "dog"), ("concept", "feathers")]].concat();
    let rows: [(Planted, &[&str]); 6] = [
        (Planted::new(&head("head.weight"), &says("row", "head")), &["tensor `head.weight` replaces nothing"]),
        (Planted::new(&transposed, &says("row", "head")), &["tensor `fc.weight` has shape [16, 3], expected [3, 16]"]),
        (Planted::new(&[], &says("row", "head")), &["holds no tensor"]),
        (Planted::new(&head("fc.weight"), &says("row", "tail")), &["`cause` is 'tail'", "head, encoder or mixed"]),
        (Planted::new(&head("fc.weight"), &says("row", "encoder")), &["its cause is the encoder", "`mixed`"]),
        (Planted::new(&head("fc.weight"), &elsewhere), &["concept 'feathers' is unknown", "ears, fur"]),
    ];
    for (planted, expected) in rows {
        let error = error(&planted, &["-q"]);
        assert!(error.contains(planted.file.to_str().unwrap()) && error.contains("hint:"), "{error}");
        assert!(expected.iter().all(|part| error.contains(part)), "{expected:?} in {error}");
    }
    let planted = Planted::new(&head("fc.weight"), &says("row", "head"));
    assert!(error(&planted, &["-q", "--seeds", "1-6"]).contains("no plant has a seed from 1 to 6"));
    assert!(error(&planted, &["--seeds", "9-3"]).contains("expected a seed or a range of them"));
    for flag in ["--shortfall", "--margin"] {
        assert!(error(&planted, &[flag, "nan"]).contains("expected a finite number"), "{flag}");
    }
    fs::remove_file(&planted.file).unwrap();
    assert!(error(&planted, &["-q"]).contains("no .safetensors file"));
}
