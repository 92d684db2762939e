//! Loading and recording in both dialects, without a GPU.

use super::*;
use crate::error::{ErrorKind, Result};
use crate::models::testing::{self, VitSizes};
use crate::models::transformer::{Heads, TransformerSettings};
use crate::models::{Classifier, Model};
use crate::progress::Silent;
use crate::tensor::Tensor;
use crate::weights::{Config, ModelFiles, Weights};

const TIMM: &str = r#"{"architecture": "vit_small_patch4_12", "num_classes": 5, "global_pool": "token",
    "model_args": {"img_size": [12, 12], "num_heads": 4, "global_pool": "token", "qkv_bias": true},
    "pretrained_cfg": {"input_size": [3, 12, 12], "crop_pct": 0.9, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}"#;
const HUGGING_FACE: &str = r#"{"model_type": "vit", "num_attention_heads": 4, "image_size": 12, "layer_norm_eps": 1e-6,
    "id2label": {"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"}}"#;
/// As old files have it, which don't name the processor.
const PROCESSOR: &str = r#"{"do_normalize": true, "do_resize": true, "size": 12, "resample": 2}"#;

fn timm() -> Vec<(String, Tensor)> {
    testing::tensors(&VitSizes::small().timm())
}

fn open(tensors: &[(String, Tensor)], configs: &[(&str, &str)]) -> Result<Classifier> {
    let config = |&(name, json): &(&str, &str)| Ok((name.to_owned(), Config::parse(name, json)?));
    let configs = configs.iter().map(config).collect::<Result<_>>()?;
    match Model::load(&ModelFiles::from_parts(Weights::from_tensors("v.safetensors", tensors), configs), &Silent)? {
        Model::Classifier(classifier) => Ok(*classifier),
        Model::Clip(_) => panic!("taken for a CLIP"),
    }
}

fn settings(heads: Heads) -> TransformerSettings {
    TransformerSettings { heads, activation: Activation::Gelu, epsilon: 1e-6 }
}

/// All parameters in the order of their use, and all dispatches in words.
fn recorded(classifier: &Classifier) -> (Vec<Vec<f32>>, String) {
    let mut plan = Plan::new(2);
    let pixels = classifier.input(&mut plan);
    classifier.record(&mut plan, pixels);
    (plan.parameters().iter().map(|parameter| parameter.data().f32().to_vec()).collect(), plan.to_string())
}

#[test]
fn dialects_load_to_the_same_layers() {
    let by_timm = open(&timm(), &[("config.json", TIMM)]).unwrap();
    let configs = [("config.json", HUGGING_FACE), ("preprocessor_config.json", PROCESSOR)];
    let by_hugging_face = open(&testing::hugging_face_vit(&timm()), &configs).unwrap();
    assert_eq!(recorded(&by_timm), recorded(&by_hugging_face));
    assert_eq!(by_hugging_face.class_names().unwrap(), ["a", "b", "c", "d", "e"]);
    for network in [by_timm.network(), by_hugging_face.network()] {
        assert_eq!(network.describe(), "ViT (patch 4, width 16, 2 blocks of 4 heads, GELU)");
        assert_eq!((network.feature_dim(), network.num_classes()), (16, 5));
        assert_eq!(network.input_size(), InputSize::Exactly([12, 12]));
    }
}

/// ViT-B/16: 17.56 GMAC and 86,567,656 parameters as in torchvision's table.
#[test]
fn real_sizes_have_the_published_work() {
    let sizes = VitSizes { width: 768, depth: 12, patch: 16, grid: 14, classes: 1000 };
    let vit = Vit::from_weights(&testing::zeros(&sizes.timm()), Dialect::Timm, settings(Heads::Width(64))).unwrap();
    assert_eq!(vit.parameters(), 86_567_656);
    let mut plan = Plan::new(1);
    let pixels = plan.input_pixels("pixels", 224, 224);
    let colors = crate::layers::Normalization { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] };
    let pixels = plan.normalize_image(pixels, [224, 224], colors);
    vit.record(&mut plan, pixels);
    // The patches' fourth, padded channel costs 0.04 GMAC; norms and the softmax a little as well.
    let recorded = plan.flops() as f64 / 2e9;
    assert!((recorded - 17.56 - 0.04).abs() < 0.05, "{recorded} GMAC");
    assert!(testing::pipelines(&[&plan]) <= 12, "{} pipelines", testing::pipelines(&[&plan]));
}

#[test]
fn taps_have_stable_names() {
    let vit =
        Vit::from_weights(&Weights::from_tensors("v", &timm()), Dialect::Timm, settings(Heads::Count(2))).unwrap();
    let mut plan = Plan::new(2);
    let pixels = plan.input_pixels("pixels", 12, 12);
    let colors = crate::layers::Normalization { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] };
    let pixels = plan.normalize_image(pixels, [12, 12], colors);
    vit.record_with(&mut plan, pixels, &mut |plan, name, var| plan.output(name, var));
    let names: Vec<_> = plan.outputs().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["embeddings", "block.0", "block.1", "features", "logits"]);
}

#[test]
fn no_tensor_is_optional() {
    let load = |dialect| move |weights: &Weights| Vit::from_weights(weights, dialect, settings(Heads::Count(4)));
    testing::every_tensor_is_needed(&timm(), |_| false, load(Dialect::Timm));
    let tensors = testing::hugging_face_vit(&timm());
    testing::every_tensor_is_needed(&tensors, |_| false, load(Dialect::HuggingFace));
}

#[test]
fn what_classification_does_not_read_is_ignored() {
    let mut tensors = testing::hugging_face_vit(&timm());
    tensors.push(("vit.pooler.dense.weight".to_owned(), Tensor::zeros([16, 16])));
    tensors.push(("vit.embeddings.mask_token".to_owned(), Tensor::zeros([1, 1, 16])));
    open(&tensors, &[("config.json", HUGGING_FACE), ("preprocessor_config.json", PROCESSOR)]).unwrap();
    tensors.push(("vit.encoder.layer.0.gate".to_owned(), Tensor::zeros([1])));
    let error = open(&tensors, &[("config.json", HUGGING_FACE)]).unwrap_err();
    let message = "v.safetensors: a variant of ViT that isn't supported: it has `vit.encoder.layer.0.gate`";
    assert_eq!(error.to_string(), message);
}

#[test]
fn heads_follow_from_the_configuration() {
    let heads = |json: &str| settings::from_timm(&Config::parse("config.json", json).unwrap()).unwrap().heads;
    assert_eq!(heads(r#"{"architecture": "deit_tiny_patch16_224"}"#), Heads::Width(64));
    assert_eq!(heads(r#"{"architecture": "vit_giant_patch14_224"}"#), Heads::Count(16));
    assert_eq!(heads(r#"{"architecture": "test_vit"}"#), Heads::Count(2));
    assert_eq!(heads(r#"{"architecture": "vit_giant_patch14_224", "model_args": {"num_heads": 8}}"#), Heads::Count(8));
    let own = Config::parse("config.json", r#"{"architecture": "own_vit"}"#).unwrap();
    let message = "config.json: `model_args.num_heads` is missing, and the number of heads of `own_vit` isn't known";
    assert_eq!(settings::from_timm(&own).unwrap_err().to_string(), message);
    let found = settings::from_hugging_face(&Config::parse("config.json", "{}").unwrap()).unwrap();
    assert_eq!(found, TransformerSettings { heads: Heads::Count(12), activation: Activation::Gelu, epsilon: 1e-12 });
}

#[test]
fn variants_are_refused_by_name() {
    for (name, variant) in [
        ("dist_token", "a distilled vision transformer"),
        ("reg_token", "registers"),
        ("blocks.0.ls1.gamma", "layer scale"),
        ("blocks.0.attn.q_norm.weight", "normalised queries and keys"),
        ("blocks.0.mlp.fc1_g.weight", "gated MLPs"),
        ("fc_norm.weight", "average pooling"),
        ("attn_pool.latent", "attention pooling"),
        ("norm_pre.weight", "a norm before its blocks"),
        ("patch_embed.backbone.stem.conv.weight", "a hybrid"),
        ("blocks.0.attn.relative_position_bias_table", "relative positions"),
        ("blocks.0.attn.rel_pos.mlp.fc1.weight", "relative positions"),
        ("blocks.0.attn.q_bias", "a BEiT"),
    ] {
        let mut tensors = timm();
        tensors.push((name.to_owned(), Tensor::zeros([1])));
        let error = open(&tensors, &[("config.json", TIMM)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Weights);
        let message = error.to_string();
        assert!(message.contains(variant) && message.contains(name), "{message}");
    }
    // Positions for patches alone (timm's `no_embed_class`).
    let mut tensors = timm();
    tensors[1].1 = Tensor::zeros([1, 9, 16]);
    let error = open(&tensors, &[("config.json", TIMM)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "v.safetensors: `pos_embed` has 9 positions, not a class token's and a square of patches"
    );
}

#[test]
fn what_the_configuration_asks_for_is_followed_or_refused() {
    let fails = |tensors: &[(String, Tensor)], configs: &[(&str, &str)]| {
        let error = open(tensors, configs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        error.to_string()
    };
    let message = fails(&timm(), &[]);
    assert_eq!(message, "v.safetensors: no config.json beside it, which says how its attention is split");
    for (old, new, message) in [
        ("\"global_pool\": \"token\",", "\"global_pool\": \"avg\",", "`global_pool` is avg; only token is supported"),
        ("\"qkv_bias\": true", "\"qkv_bias\": false", "`model_args.qkv_bias` is false, which isn't supported"),
        ("\"qkv_bias\"", "\"init_values\"", "`model_args.init_values` is true, which isn't supported"),
        ("[12, 12]", "16", "`model_args.img_size` is 16, but the positions are those of 12×12 pixels"),
        ("[3, 12, 12]", "[3, 16, 12]", "makes 12×16 pixels, but the network takes 12×12"),
        ("\"num_classes\": 5", "\"num_classes\": 7", "`num_classes` is 7, but the head has 5"),
    ] {
        let found = fails(&timm(), &[("config.json", &TIMM.replacen(old, new, 1))]);
        assert!(found.starts_with("config.json: ") && found.ends_with(message), "{found}");
    }
    let tensors = testing::hugging_face_vit(&timm());
    let message = fails(&tensors, &[("config.json", HUGGING_FACE)]);
    assert_eq!(message, "v.safetensors: no preprocessor_config.json beside it, which says how pictures are prepared");
    for (old, new, message) in [
        ("\"vit\"", "\"deit\"", "`model_type` is deit; vit was expected"),
        ("12,", "16,", "`image_size` is 16, but the positions are those of 12×12 pixels"),
        (
            "\"image_size\"",
            "\"hidden_act\": \"gelu_new\", \"image_size\"",
            "`hidden_act` is gelu_new; relu, quick_gelu and gelu are supported",
        ),
        (
            "\"image_size\"",
            "\"qkv_bias\": false, \"image_size\"",
            "`qkv_bias` is false; only queries, keys and values with a bias are supported",
        ),
    ] {
        let config = HUGGING_FACE.replacen(old, new, 1);
        let found = fails(&tensors, &[("config.json", &config), ("preprocessor_config.json", PROCESSOR)]);
        assert!(found.starts_with("config.json: ") && found.ends_with(message), "{found}");
    }
}
