//! What the files beside the weights say.

use std::sync::Mutex;

use super::*;
use crate::error::ErrorKind;
use crate::image::{Filter, Resize};
use crate::models::testing;
use crate::weights::Weights;

/// Keeps the notices.
#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Observer for Listener {
    fn notice(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

fn load_with(stem: usize, configs: &[(&str, &str)]) -> Result<(Classifier, Vec<String>)> {
    let mut specs = testing::resnet(&[8], &[1], false, 3);
    specs[0].1 = vec![8, 3, stem, stem];
    let weights = Weights::from_tensors("r.safetensors", &testing::tensors(&specs));
    let config = |&(name, json): &(&str, &str)| Ok((name.to_owned(), Config::parse(name, json)?));
    let configs = configs.iter().map(config).collect::<Result<_>>()?;
    let listener = Listener::default();
    let classifier = Classifier::load(&ModelFiles::from_parts(weights, configs), &listener)?;
    Ok((classifier, listener.0.into_inner().unwrap()))
}

fn load(configs: &[(&str, &str)]) -> Result<(Classifier, Vec<String>)> {
    load_with(7, configs)
}

#[test]
fn bare_weights_take_torchvisions_preset() {
    let (classifier, notices) = load(&[]).unwrap();
    assert_eq!(*classifier.preprocess(), Preprocess::torchvision(Torchvision::V1));
    assert_eq!(classifier.class_names(), None);
    assert_eq!(notices.len(), 1);
    assert!(notices[0].starts_with("r.safetensors: ") && notices[0].contains("IMAGENET1K_V1"), "{notices:?}");
    assert_eq!(classifier.sha256().len(), 64);
}

#[test]
fn timms_config_is_followed() {
    let config = r#"{"architecture": "resnet18", "num_classes": 3, "label_names": ["a", "b", "c"], "global_pool": "avg",
        "pretrained_cfg": {"input_size": [3, 64, 48], "crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear",
        "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}"#;
    let (classifier, notices) = load(&[("config.json", config)]).unwrap();
    assert_eq!(notices, [""; 0]);
    let preprocess = classifier.preprocess();
    assert_eq!((preprocess.height, preprocess.width, preprocess.filter), (64, 48, Filter::Bilinear));
    assert_eq!((preprocess.mean, preprocess.std), ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]));
    assert_eq!(classifier.class_names().unwrap(), ["a", "b", "c"]);
    let mut plan = Plan::new(2);
    let pixels = classifier.input(&mut plan);
    let output = classifier.record(&mut plan, pixels);
    assert_eq!((plan.shape(output.features).channels, plan.shape(output.logits).channels), (8, 3));
    assert_eq!(plan.inputs()[0].0, "pixels");
}

#[test]
fn transformers_config_is_followed() {
    let config = r#"{"id2label": {"0": "first", "2": "third", "1": "second"}}"#;
    let processor = r#"{"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}"#;
    let (classifier, notices) = load(&[("config.json", config), ("preprocessor_config.json", processor)]).unwrap();
    assert_eq!(notices, [""; 0]);
    assert_eq!(classifier.preprocess().resize, Resize::Exact { height: 32, width: 32 });
    assert_eq!(classifier.class_names().unwrap(), ["first", "second", "third"]);
}

#[test]
fn other_stems_are_told() {
    let (_, notices) = load_with(3, &[("config.json", r#"{"architecture": "resnet18"}"#)]).unwrap();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].starts_with("r.safetensors: the stem is a 3×3 convolution"), "{notices:?}");
}

#[test]
fn what_does_not_fit_is_named() {
    for (json, message) in [
        (r#"{"num_classes": 10}"#, "config.json: `num_classes` is 10, but the head has 3"),
        (r#"{"label_names": ["a", "b"]}"#, "config.json: `label_names` has 2 names, but the head has 3 classes"),
        (r#"{"id2label": {"0": "a", "1": "b", "3": "d"}}"#, "config.json: `id2label` isn't a list of names"),
        (r#"{"label_names": [1, 2, 3]}"#, "config.json: `label_names` isn't a list of names"),
        (r#"{"label_names": "a"}"#, "config.json: `label_names` isn't a list of names"),
        (r#"{"architecture": "resnetaa50"}"#, "config.json: `architecture` is resnetaa50; anti-aliased pooling isn't"),
        (r#"{"architecture": "resnetblur18"}"#, "config.json: `architecture` is resnetblur18; blurred pooling isn't"),
        (r#"{"architecture": 18}"#, "config.json: `architecture` is 18; a text was expected"),
        (r#"{"global_pool": "max"}"#, "config.json: `global_pool` is max; only avg is supported"),
        (
            r#"{"model_args": {"output_stride": 8}}"#,
            "config.json: `model_args.output_stride` is 8, which isn't supported",
        ),
        (r#"{"architecture": "resnet18", "pretrained_cfg": {"interpolation": "magic"}}"#, "config.json: "),
    ] {
        let error = load(&[("config.json", json)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().starts_with(message), "{error}");
    }
}
