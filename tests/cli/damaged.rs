//! Bad input that lies in the files themselves: missing, empty, cut off, of other shapes, not finite.

use std::fs;
use std::path::Path;

use super::fixture::{Tensors, write_tensors};
use super::given::{Given, Row, edit, empty, first_picture, poison, replace, truncate};

const WEIGHTS: &str = "model.safetensors";

/// An aligner made elsewhere, of the fixture's sizes but for `bias`.
fn aligner(given: &mut Given, bias: Vec<f32>) {
    given.aligner = given.scratch.join("elsewhere.safetensors");
    let tensors = [("weight", vec![12, 16], vec![0.5; 192]), ("bias", vec![bias.len()], bias)];
    write_tensors(&given.aligner, &tensors.map(|(name, shape, values)| (name.to_owned(), (shape, values))).into());
}

pub(crate) const ROWS: &[Row] = &[
    Row(
        "no weights in the folder",
        "align",
        |g| g.classifier = g.spoiled(&g.classifier, |dir| fs::remove_file(dir.join(WEIGHTS)).unwrap()),
        &["classifier"],
    ),
    Row(
        "no weights in CLIP's folder",
        "build",
        |g| g.clip = g.spoiled(&g.clip, |dir| fs::remove_file(dir.join(WEIGHTS)).unwrap()),
        &["clip", WEIGHTS],
    ),
    Row("no such model", "classify", |g| g.classifier = g.scratch.join("nowhere"), &["nowhere"]),
    Row("no such model", "embed", |g| g.classifier = g.scratch.join("nowhere"), &["nowhere"]),
    Row("no such model", "inspect", |g| g.classifier = g.scratch.join("nowhere"), &["nowhere"]),
    Row("no such classifier", "calibrate", |g| g.classifier = g.scratch.join("nowhere"), &["nowhere"]),
    Row("no such CLIP", "align", |g| g.clip = g.scratch.join("nowhere"), &["nowhere"]),
    Row("no such aligner", "build", |g| g.aligner = g.scratch.join("nowhere"), &["nowhere"]),
    Row("no such bundle", "localize", |g| g.bundle = g.scratch.join("nowhere"), &["nowhere"]),
    Row("no such filter", "filter", |g| g.filter = g.scratch.join("nowhere"), &["nowhere"]),
    Row("no such list of concepts", "build", |g| g.concepts = g.scratch.join("nowhere"), &["nowhere"]),
    Row("no such images", "calibrate", |g| g.images = g.scratch.join("nowhere"), &["nowhere"]),
    Row(
        "a name that isn't in the cache",
        "classify",
        |g| g.classifier = "made-up/nowhere".into(),
        &["made-up/nowhere", "hub", "huggingface-cli download made-up/nowhere"],
    ),
    Row("a folder in the place of an aligner", "build", |g| g.aligner = g.fixture.path("clip"), &["clip"]),
    Row("a folder in the place of a filter", "filter", |g| g.filter = g.fixture.path("clip"), &["clip"]),
    Row("a folder in the place of a list", "build", |g| g.concepts = g.fixture.path("clip"), &["clip"]),
    Row("a file in the place of a bundle", "localize", |g| g.bundle = g.filter.clone(), &["model.heatlens"]),
    Row("CLIP in the place of a classifier", "align", |g| g.classifier = g.clip.clone(), &["clip", "classifier"]),
    Row("a classifier in the place of CLIP", "align", |g| g.clip = g.classifier.clone(), &["classifier", "CLIP"]),
    Row(
        "truncated classifier",
        "build",
        |g| g.classifier = g.spoiled(&g.classifier, |dir| truncate(&dir.join(WEIGHTS))),
        &["classifier/model.safetensors"],
    ),
    Row(
        "truncated classifier",
        "inspect",
        |g| g.classifier = g.spoiled(&g.classifier, |dir| truncate(&dir.join(WEIGHTS))),
        &["classifier/model.safetensors", "safetensors"],
    ),
    Row(
        "truncated CLIP",
        "align",
        |g| g.clip = g.spoiled(&g.clip, |dir| truncate(&dir.join(WEIGHTS))),
        &["clip/model.safetensors"],
    ),
    Row("truncated aligner", "build", |g| g.aligner = g.spoiled(&g.aligner, truncate), &["aligner.safetensors"]),
    Row("truncated filter", "filter", |g| g.filter = g.spoiled(&g.filter, truncate), &["model.heatlens"]),
    Row("truncated filter", "evaluate filter", |g| g.filter = g.spoiled(&g.filter, truncate), &["model.heatlens"]),
    Row(
        "truncated bundle",
        "localize",
        |g| g.bundle = g.spoiled(&g.bundle, |dir| truncate(&dir.join("samples.safetensors"))),
        &["bundle/samples.safetensors"],
    ),
    Row(
        "attacks that the manifest counts otherwise",
        "merge",
        |g| {
            let recount = |dir: &Path| {
                let path = dir.join("manifest.json");
                let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                manifest["attacks"][0]["succeeded"] = 999.into();
                fs::write(path, manifest.to_string()).unwrap();
            };
            g.bundle = g.spoiled(&g.bundle, recount);
        },
        &["bundle/samples.jsonl", "attacked images, expected 999"],
    ),
    Row(
        "truncated manifest",
        "show",
        |g| g.bundle = g.spoiled(&g.bundle, |dir| truncate(&dir.join("manifest.json"))),
        &["bundle/manifest.json"],
    ),
    Row(
        "a classifier of no bytes",
        "classify",
        |g| g.classifier = g.spoiled(&g.classifier, |dir| empty(&dir.join(WEIGHTS))),
        &["classifier/model.safetensors"],
    ),
    Row("an aligner of no bytes", "build", |g| g.aligner = g.spoiled(&g.aligner, empty), &["aligner.safetensors"]),
    Row("a filter of no bytes", "filter", |g| g.filter = g.spoiled(&g.filter, empty), &["model.heatlens"]),
    Row("a list of no bytes", "build", |g| g.concepts = g.list("words.txt", ""), &["words.txt"]),
    Row(
        "a tensor of another shape",
        "classify",
        |g| {
            g.classifier = g.spoiled(&g.classifier, |dir| replace(&dir.join(WEIGHTS), "[16,8,3,3]", "[8,16,3,3]"));
        },
        &[WEIGHTS, "layer2.0.conv1.weight"],
    ),
    Row(
        "a tensor of another shape",
        "align",
        |g| g.clip = g.spoiled(&g.clip, |dir| replace(&dir.join(WEIGHTS), "[64,16]", "[16,64]")),
        &["clip/model.safetensors", "mlp.fc1.weight"],
    ),
    Row("an aligner's bias of another length", "build", |g| aligner(g, vec![0.0; 11]), &["elsewhere", "bias", "[11]"]),
    Row("an aligner that isn't finite", "build", |g| aligner(g, vec![f32::NAN; 12]), &["elsewhere", "bias", "NaN"]),
    Row(
        "a classifier that isn't finite",
        "classify",
        |g| g.classifier = g.spoiled(&g.classifier, |dir| poison(&dir.join(WEIGHTS), "fc.bias")),
        &["classifier/model.safetensors", "fc.bias", "NaN"],
    ),
    Row(
        "a CLIP that isn't finite",
        "align",
        |g| g.clip = g.spoiled(&g.clip, |dir| poison(&dir.join(WEIGHTS), "visual_projection.weight")),
        &["clip/model.safetensors", "visual_projection.weight", "NaN"],
    ),
    Row(
        "unknown key layout",
        "embed",
        |g| {
            let tensors = Tensors::from([("encoder.weight".to_owned(), (vec![2, 2], vec![1.0; 4]))]);
            g.classifier = g.scratch.join("unknown.safetensors");
            write_tensors(&g.classifier, &tensors);
        },
        &["unknown.safetensors", "encoder.weight"],
    ),
    Row(
        "CLIP without config.json",
        "align",
        |g| g.clip = g.spoiled(&g.clip, |dir| fs::remove_file(dir.join("config.json")).unwrap()),
        &["clip", "config.json"],
    ),
    Row(
        "CLIP without preprocessing",
        "align",
        |g| g.clip = g.spoiled(&g.clip, |dir| fs::remove_file(dir.join("preprocessor_config.json")).unwrap()),
        &["clip", "preprocessor_config.json"],
    ),
    Row(
        "CLIP without a tokenizer",
        "build",
        |g| g.clip = g.spoiled(&g.clip, |dir| fs::remove_file(dir.join("vocab.json")).unwrap()),
        &["clip", "vocab.json"],
    ),
    Row(
        "a classifier that doesn't name its classes",
        "build",
        |g| g.classifier = g.spoiled(&g.classifier, |dir| edit(&dir.join("config.json"), "label_names", "labels")),
        &["classifier", "--classes"],
    ),
    Row(
        "a configuration that isn't JSON",
        "classify",
        |g| g.classifier = g.spoiled(&g.classifier, |dir| truncate(&dir.join("config.json"))),
        &["classifier/config.json"],
    ),
    Row(
        "an image that doesn't decode",
        "align",
        |g| g.images = g.spoiled(&g.images, |dir| truncate(&first_picture(dir))),
        &["align/cat/"],
    ),
    Row(
        "an image that doesn't decode",
        "build",
        |g| g.images = g.spoiled(&g.images, |dir| fs::write(dir.join("dog/notes.png"), "not a picture").unwrap()),
        &["build/dog/notes.png"],
    ),
    Row(
        "an image that doesn't decode",
        "calibrate",
        |g| g.images = g.spoiled(&g.images, |dir| empty(&first_picture(dir))),
        &["calibrate/cat/"],
    ),
    Row(
        "an image that doesn't decode",
        "evaluate filter",
        |g| g.images = g.spoiled(&g.images, |dir| truncate(&first_picture(dir))),
        &["test/cat/"],
    ),
    Row(
        "an image that doesn't decode",
        "classify",
        |g| g.images = g.spoiled(&g.images, |dir| truncate(&first_picture(dir))),
        &["test/cat/"],
    ),
    Row(
        "an image that doesn't decode",
        "embed",
        |g| g.images = g.spoiled(&g.images, |dir| truncate(&first_picture(dir))),
        &["test/cat/"],
    ),
];
