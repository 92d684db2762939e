//! The whole way from pictures to a bundle with classifiers that aren't ResNets.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::fixture::{CLASSES, EDGE, fixture, formula_tensors, write_tensors};

/// Writes a classifier of formula weights with timm's config, for the fixture's pictures and classes.
fn write_model(folder: &Path, architecture: &str, layers: &[(&str, &[usize])], parameters: &[(&str, &[usize])]) {
    let layers = layers.iter().flat_map(|(name, weight)| {
        [(format!("{name}.weight"), weight.to_vec()), (format!("{name}.bias"), weight[..1].to_vec())]
    });
    let parameters = parameters.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
    write_tensors(&folder.join("model.safetensors"), &formula_tensors(layers.chain(parameters)));
    let preprocess =
        json!({"input_size": [3, EDGE, EDGE], "crop_pct": 1.0, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]});
    let config = json!({"architecture": architecture, "label_names": CLASSES, "pretrained_cfg": preprocess});
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

/// Aligns, builds and localises with the classifier in `folder`.
fn takes_the_whole_way(folder: &Path, described: &str) {
    let text = |path: &Path| path.display().to_string();
    let [classifier, aligner, bundle] =
        [folder.to_owned(), folder.join("aligner.safetensors"), folder.join("bundle")].map(|path| text(&path));
    let [clip, concepts, align, build] =
        ["clip", "concepts.txt", "align", "build"].map(|name| text(&fixture().path(name)));
    let models = ["--classifier", &classifier, "--clip", &clip];
    let found = fixture().json(&["inspect", &classifier, "--json"]);
    assert_eq!(found["model"]["architecture"], json!([described]));
    fixture().run(&[&["align"], &models[..], &["--images", &align, "-o", &aligner]].concat());
    let rest = ["--aligner", &aligner, "--concepts", &concepts, "--images", &build, "-o", &bundle];
    fixture().run(&[&["build"], &models[..], &rest, &["--minimum-support", "2"]].concat());
    fixture().run(&["localize", &bundle]);
}

#[test]
fn a_vision_transformer_takes_the_whole_way() {
    let folder = tempfile::tempdir().unwrap();
    let layers: [(&str, &[usize]); 9] = [
        ("patch_embed.proj", &[64, 3, 8, 8]),
        ("blocks.0.norm1", &[64]),
        ("blocks.0.attn.qkv", &[192, 64]),
        ("blocks.0.attn.proj", &[64, 64]),
        ("blocks.0.norm2", &[64]),
        ("blocks.0.mlp.fc1", &[128, 64]),
        ("blocks.0.mlp.fc2", &[64, 128]),
        ("norm", &[64]),
        ("head", &[CLASSES.len(), 64]),
    ];
    let parameters: [(&str, &[usize]); 2] = [("cls_token", &[1, 1, 64]), ("pos_embed", &[1, 17, 64])];
    write_model(folder.path(), "vit_tiny_patch8_32", &layers, &parameters);
    takes_the_whole_way(folder.path(), "ViT (patch 8, width 64, 1 blocks of 1 heads, GELU)");
}

#[test]
fn a_convnext_takes_the_whole_way() {
    let folder = tempfile::tempdir().unwrap();
    let layers: [(&str, &[usize]); 8] = [
        ("stem.0", &[16, 3, 4, 4]),
        ("stem.1", &[16]),
        ("stages.0.blocks.0.conv_dw", &[16, 1, 7, 7]),
        ("stages.0.blocks.0.norm", &[16]),
        ("stages.0.blocks.0.mlp.fc1", &[64, 16]),
        ("stages.0.blocks.0.mlp.fc2", &[16, 64]),
        ("head.norm", &[16]),
        ("head.fc", &[CLASSES.len(), 16]),
    ];
    write_model(folder.path(), "convnext_atto", &layers, &[]);
    takes_the_whole_way(folder.path(), "ConvNeXt (stages 1, widths 16, GELU)");
}
