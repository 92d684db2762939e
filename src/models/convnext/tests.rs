//! Loading and recording in both dialects, without a GPU.

use super::*;
use crate::error::{ErrorKind, Result};
use crate::models::testing::{self, ConvNextSizes};
use crate::models::{Classifier, Model};
use crate::progress::Silent;
use crate::tensor::Tensor;
use crate::weights::{Config, ModelFiles, Weights};
use settings::Settings;

const TIMM: &str = r#"{"architecture": "convnext_tiny", "num_classes": 5, "global_pool": "avg",
    "model_args": {"depths": [1, 2], "dims": [8, 12], "use_grn": false},
    "pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}"#;
const HUGGING_FACE: &str = r#"{"model_type": "convnext", "layer_norm_eps": 1e-6,
    "id2label": {"0": "a", "1": "b", "2": "c", "3": "d", "4": "e"}}"#;
const PROCESSOR: &str = r#"{"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}}"#;

fn sizes() -> ConvNextSizes {
    ConvNextSizes { widths: vec![8, 12], depths: vec![1, 2], classes: 5 }
}

fn timm() -> Vec<(String, Tensor)> {
    testing::tensors(&sizes().timm())
}

fn open(tensors: &[(String, Tensor)], configs: &[(&str, &str)]) -> Result<Classifier> {
    let config = |&(name, json): &(&str, &str)| Ok((name.to_owned(), Config::parse(name, json)?));
    let configs = configs.iter().map(config).collect::<Result<_>>()?;
    match Model::load(&ModelFiles::from_parts(Weights::from_tensors("c.safetensors", tensors), configs), &Silent)? {
        Model::Classifier(classifier) => Ok(*classifier),
        Model::Clip(_) => panic!("taken for a CLIP"),
    }
}

fn open_timm(tensors: &[(String, Tensor)]) -> Classifier {
    open(tensors, &[("config.json", TIMM)]).unwrap()
}

fn plain() -> Settings {
    Settings { activation: Activation::Gelu, epsilon: 1e-6, final_epsilon: 1e-6 }
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
    let by_timm = open_timm(&timm());
    let configs = [("config.json", HUGGING_FACE), ("preprocessor_config.json", PROCESSOR)];
    let by_hugging_face = open(&testing::hugging_face_convnext(&timm()), &configs).unwrap();
    assert_eq!(recorded(&by_timm), recorded(&by_hugging_face));
    assert_eq!(by_hugging_face.class_names().unwrap(), ["a", "b", "c", "d", "e"]);
    for network in [by_timm.network(), by_hugging_face.network()] {
        assert_eq!(network.describe(), "ConvNeXt (stages 1-2, widths 8-12, GELU)");
        assert_eq!((network.feature_dim(), network.num_classes()), (12, 5));
        assert_eq!(network.input_size(), InputSize::AtLeast(8));
    }
}

/// ConvNeXt-T: 4.46 GMAC and 28,589,128 parameters as in torchvision's table.
#[test]
fn real_sizes_have_the_published_work() {
    let sizes = ConvNextSizes { widths: vec![96, 192, 384, 768], depths: vec![3, 3, 9, 3], classes: 1000 };
    let convnext = ConvNext::from_weights(&testing::zeros(&sizes.timm()), Dialect::Timm, plain()).unwrap();
    assert_eq!(convnext.parameters(), 28_589_128);
    let mut plan = Plan::new(1);
    let pixels = plan.input_pixels("pixels", 224, 224);
    let colors = crate::layers::Normalization { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] };
    let pixels = plan.normalize_image(pixels, [224, 224], colors);
    convnext.record(&mut plan, pixels);
    let recorded = plan.flops() as f64 / 2e9;
    assert!((recorded - 4.46).abs() < 0.05, "{recorded} GMAC");
    assert!(testing::pipelines(&[&plan]) <= 12, "{} pipelines", testing::pipelines(&[&plan]));
}

#[test]
fn layer_scale_is_folded_and_1x1_convolutions_are_matrices() {
    let mut tensors = timm();
    let last = |tensors: &[(String, Tensor)]| {
        let convnext = ConvNext::from_weights(&Weights::from_tensors("c", tensors), Dialect::Timm, plain()).unwrap();
        let fc2 = &convnext.stages[0].blocks[0].fc2;
        (fc2.weight.data().f32().to_vec(), fc2.bias.data().f32().to_vec())
    };
    let scale: Vec<f32> = (0..8).map(|channel| 0.5f32.powi(channel)).collect();
    tensors.iter_mut().find(|(name, _)| name == "stages.0.blocks.0.gamma").unwrap().1 = Tensor::new([8], scale.clone());
    let scaled = last(&tensors);
    let mut convolutions = tensors.clone();
    for (name, tensor) in convolutions.iter_mut().filter(|(name, _)| name.contains(".fc") && name.ends_with("weight")) {
        if name.contains("mlp") {
            *tensor = Tensor::new([tensor.rows(), tensor.columns(), 1, 1], tensor.data().to_vec());
        }
    }
    assert_eq!(scaled, last(&convolutions));
    tensors.retain(|(name, _)| !name.ends_with("gamma"));
    let (weight, bias) = last(&tensors);
    for (row, plain) in scaled.0.chunks_exact(8).zip(weight.chunks_exact(8)).chain([(&scaled.1[..], &bias[..])]) {
        let expected: Vec<f32> = plain.iter().zip(&scale).map(|(value, scale)| value * scale).collect();
        assert_eq!(row, expected);
    }
}

#[test]
fn taps_have_stable_names() {
    let convnext = ConvNext::from_weights(&Weights::from_tensors("c", &timm()), Dialect::Timm, plain()).unwrap();
    let mut plan = Plan::new(2);
    let pixels = plan.input_pixels("pixels", 9, 11);
    let colors = crate::layers::Normalization { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] };
    let pixels = plan.normalize_image(pixels, [9, 11], colors);
    convnext.record_with(&mut plan, pixels, &mut |plan, name, var| plan.output(name, var));
    let names: Vec<_> = plan.outputs().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["stem", "stage0.0", "stage1.0", "stage1.1", "features", "logits"]);
}

#[test]
fn no_tensor_is_optional() {
    let load = |dialect| move |weights: &Weights| ConvNext::from_weights(weights, dialect, plain());
    testing::every_tensor_is_needed(&timm(), |_| false, load(Dialect::Timm));
    let tensors = testing::hugging_face_convnext(&timm());
    testing::every_tensor_is_needed(&tensors, |_| false, load(Dialect::HuggingFace));
}

#[test]
fn epsilons_follow_from_the_configuration() {
    let timm = |json: &str| settings::from_timm(&Config::parse("config.json", json).unwrap()).unwrap();
    assert_eq!(timm(r#"{"architecture": "convnext_base"}"#), plain());
    let large = Settings { epsilon: 1e-5, final_epsilon: 1e-5, ..plain() };
    assert_eq!(timm(r#"{"architecture": "convnext_xxlarge"}"#), large);
    assert_eq!(timm(r#"{"architecture": "convnext_tiny", "model_args": {"norm_eps": 1e-5}}"#), large);
    let found = settings::from_hugging_face(&Config::parse("config.json", "{}").unwrap()).unwrap();
    assert_eq!(found, Settings { final_epsilon: 1e-12, ..plain() });
}

#[test]
fn variants_are_refused_by_name() {
    let refused = |name: &str, shape: &[usize]| {
        let mut tensors = timm();
        tensors.retain(|(other, _)| other != name);
        tensors.push((name.to_owned(), Tensor::zeros(shape)));
        let error = open(&tensors, &[("config.json", TIMM)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Weights);
        let message = error.to_string();
        assert!(message.contains(name), "{message}");
        message
    };
    assert!(refused("stages.0.blocks.0.mlp.grn.weight", &[32]).contains("a ConvNeXt V2"));
    assert!(refused("head.pre_logits.fc.weight", &[12, 12]).contains("a hidden layer in its head"));
    assert!(refused("norm_pre.weight", &[12]).contains("a norm before its blocks or its pooling"));
    assert!(refused("stem.2.weight", &[8]).contains("an overlapping stem"));
    assert!(refused("stages.0.blocks.0.shortcut.weight", &[8]).contains("a variant of ConvNeXt"));
    assert!(refused("stages.0.blocks.0.conv_dw.weight", &[8, 1, 4, 4]).contains("a square window of odd size"));
}

#[test]
fn what_the_configuration_asks_for_is_followed_or_refused() {
    let fails = |tensors: &[(String, Tensor)], configs: &[(&str, &str)]| {
        let error = open(tensors, configs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        error.to_string()
    };
    let message = fails(&timm(), &[]);
    assert_eq!(message, "c.safetensors: no config.json beside it, which says which activation it uses");
    for (old, new, message) in [
        ("\"avg\"", "\"max\"", "`global_pool` is max; only avg is supported"),
        ("\"use_grn\": false", "\"use_grn\": true", "`model_args.use_grn` is true, which isn't supported"),
        ("convnext_tiny", "test_convnext2", "`architecture` is test_convnext2; its activation isn't supported"),
        ("[3, 32, 32]", "[3, 7, 32]", "makes 32×7 pixels, but the network takes at least 8×8"),
    ] {
        let found = fails(&timm(), &[("config.json", &TIMM.replacen(old, new, 1))]);
        assert!(found.starts_with("config.json: ") && found.ends_with(message), "{found}");
    }
    let tensors = testing::hugging_face_convnext(&timm());
    let config = HUGGING_FACE.replacen("convnext", "convnextv2", 1);
    let found = fails(&tensors, &[("config.json", &config), ("preprocessor_config.json", PROCESSOR)]);
    assert_eq!(found, "config.json: `model_type` is convnextv2; convnext was expected");
}
