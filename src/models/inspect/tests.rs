//! Files that load, and files that don't.

use std::fs;
use std::path::Path;

use super::*;
use crate::models::testing;
use crate::tensor::Tensor;

/// A model's file of these tensors, without configuration.
fn inspect(tensors: &[(String, Tensor)]) -> Inspection {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, &Weights::from_tensors("", tensors).shards()[0]).unwrap();
    Inspection::of(&path, 4, Precision::F32).unwrap()
}

fn resnet() -> Vec<(String, Tensor)> {
    testing::tensors(&testing::resnet(&[8, 12], &[1, 1], false, 5))
}

fn rename(tensors: &mut [(String, Tensor)], from: &str, to: &str) {
    tensors.iter_mut().find(|(name, _)| name == from).unwrap().0 = to.to_owned();
}

fn names(unmatched: &[Unmatched]) -> Vec<(&str, Option<&str>)> {
    let nearest = |tensor: &'_ Unmatched| tensor.nearest.as_ref().map(|nearest| nearest.name.clone());
    let leak = |name: String| -> &'static str { name.leak() };
    unmatched.iter().map(|tensor| (tensor.name.as_str(), nearest(tensor).map(leak))).collect()
}

#[test]
fn a_file_that_loads_is_described() {
    let found = inspect(&resnet());
    assert!(found.error.is_none(), "{:?}", found.error);
    assert_eq!(found.dialect, Some("ResNet of torchvision or timm"));
    assert_eq!(found.file.dtypes, BTreeMap::from([("F32".to_owned(), found.file.tensors)]));
    assert_eq!((found.tensors.missing.len(), found.tensors.unused.len()), (0, 0));
    assert_eq!(found.tensors.ignored["num_batches_tracked"], 6);
    assert!(found.notices[0].contains("IMAGENET1K_V1"), "{:?}", found.notices);
    let model = found.model.unwrap();
    assert_eq!(model.architecture, ["ResNet-6 (basic, layers 1-1, 12 features)"]);
    assert_eq!(model.classes.as_ref().map(|classes| (classes.count, classes.names.is_none())), Some((5, true)));
    let [plan] = &model.plans[..] else { panic!("{:?}", model.plans) };
    let largest = plan.largest_value.as_ref().unwrap();
    // Four pictures of 224×224 in three channels, padded to four.
    assert_eq!((largest.name.as_str(), largest.bytes), ("normalize_image: 4×224×224×3", 4 * 4 * 224 * 224 * 4));
    assert!(plan.gpu_bytes > plan.parameter_bytes + plan.value_bytes);
    assert_eq!((plan.batch, plan.input), (4, "image"));
}

/// A model's folder of these tensors, and its config.json.
fn inspect_with(tensors: &[(String, Tensor)], config: &str) -> Inspection {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("model.safetensors"), &Weights::from_tensors("", tensors).shards()[0]).unwrap();
    fs::write(folder.path().join("config.json"), config).unwrap();
    Inspection::of(folder.path(), 4, Precision::F32).unwrap()
}

#[test]
fn networks_of_other_families_are_described() {
    let vit = testing::tensors(&testing::VitSizes::small().timm());
    let config =
        r#"{"architecture": "vit", "model_args": {"num_heads": 4}, "pretrained_cfg": {"input_size": [3, 12, 12]}}"#;
    let sizes = testing::ConvNextSizes { widths: vec![8, 12], depths: vec![1, 1], classes: 5 };
    let convnext = testing::tensors(&sizes.timm());
    let plain = r#"{"architecture": "convnext", "pretrained_cfg": {"input_size": [3, 32, 32]}}"#;
    for (mut tensors, config, dialect, described, lost) in [
        (
            vit,
            config,
            "VisionTransformer of timm",
            "ViT (patch 4, width 16, 2 blocks of 4 heads, GELU)",
            "blocks.1.attn.qkv.bias",
        ),
        (convnext, plain, "ConvNeXt of timm", "ConvNeXt (stages 1-1, widths 8-12, GELU)", "stages.1.blocks.0.gamma"),
    ] {
        let found = inspect_with(&tensors, config);
        assert!(found.error.is_none(), "{:?}", found.error);
        let model = found.model.unwrap();
        assert_eq!((found.dialect, model.architecture[0].as_str()), (Some(dialect), described));
        assert_eq!(model.activations["network"], "GELU");
        assert_eq!(model.preprocess_source.as_deref(), Some("config.json"));
        assert_eq!((found.tensors.missing.len(), found.tensors.unused.len()), (0, 0));

        let other = format!("{lost}s");
        rename(&mut tensors, lost, &other);
        let found = inspect_with(&tensors, config);
        assert!(found.error.is_some());
        assert_eq!(names(&found.tensors.missing), [(lost, Some(other.as_str()))]);
        assert_eq!(names(&found.tensors.unused), [(other.as_str(), Some(lost))]);
        assert_eq!(found.model.unwrap().architecture, [described]);
    }
}

#[test]
fn a_renamed_tensor_is_found_again() {
    let mut tensors = resnet();
    rename(&mut tensors, "layer2.0.bn1.weight", "layer2.0.bn1.gamma");
    rename(&mut tensors, "fc.bias", "fc.offset");
    let found = inspect(&tensors);
    let message = found.error.as_ref().unwrap().to_string();
    assert!(message.contains("no tensor `layer2.0.bn1.weight`"), "{message}");
    assert_eq!(
        names(&found.tensors.missing),
        [("layer2.0.bn1.weight", Some("layer2.0.bn1.gamma")), ("fc.bias", Some("fc.offset"))]
    );
    assert_eq!(
        names(&found.tensors.unused),
        [("fc.offset", Some("fc.bias")), ("layer2.0.bn1.gamma", Some("layer2.0.bn1.weight"))]
    );
    assert_eq!(found.tensors.missing[0].shape, Some(vec![12]));
    assert_eq!(found.model.unwrap().architecture, ["ResNet-6 (basic, layers 1-1, 12 features)"]);
}

#[test]
fn a_tensor_of_another_shape_and_one_too_many_are_listed() {
    let mut tensors = resnet();
    let at = tensors.iter().position(|(name, _)| name == "layer1.0.conv2.weight").unwrap();
    tensors[at].1 = Tensor::zeros([8, 8, 1, 3]);
    tensors.push(("layer1.0.conv2.bias".to_owned(), Tensor::zeros([8])));
    let found = inspect(&tensors);
    assert!(found.error.is_some());
    // The window's shape can't be told any more, so nothing behind it was read.
    assert!(found.model.is_none());
    tensors[at].1 = Tensor::zeros([8, 4, 3, 3]);
    tensors.retain(|(name, _)| name != "layer1.0.bn2.running_mean");
    let found = inspect(&tensors);
    assert!(found.error.is_some());
    tensors[at].1 = Tensor::zeros([8, 8, 3, 3]);
    let found = inspect(&tensors);
    assert_eq!(names(&found.tensors.missing), [("layer1.0.bn2.running_mean", Some("layer1.0.conv2.bias"))]);
    assert_eq!(names(&found.tensors.unused), [("layer1.0.conv2.bias", Some("layer1.0.bn2.running_mean"))]);
}

#[test]
fn an_unknown_network_is_described_by_its_names() {
    let tensors = [("encoder.a", 3), ("encoder.b", 4), ("head", 5)];
    let found = inspect(&tensors.map(|(name, len)| (name.to_owned(), Tensor::zeros([len]))));
    assert!(found.error.unwrap().to_string().contains("unknown key layout"));
    assert_eq!(found.file.groups, BTreeMap::from([("encoder".to_owned(), 2), ("head".to_owned(), 1)]));
    assert_eq!((found.dialect, found.file.parameters), (None, 12));
    assert!(found.model.is_none());
    assert!(Inspection::of(Path::new("no/such/folder"), 1, Precision::F32).is_err());
}

#[test]
fn a_resnet_of_hugging_face_needs_its_configuration() {
    let found = inspect(&testing::hugging_face_resnet(&resnet()));
    assert_eq!(found.dialect, Some("ResNetForImageClassification of Hugging Face's transformers"));
    let message = found.error.unwrap().to_string();
    assert!(message.contains("no config.json beside it, which says where its blocks have their stride"), "{message}");
}
