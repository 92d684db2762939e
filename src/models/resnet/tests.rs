//! Loading and recording, without a GPU.

use super::load_trunk::Settings;
use super::trunk::Block;
use super::*;
use crate::error::{ErrorKind, Result};
use crate::layers::Conv2d;
use crate::models::layout::Layout;
use crate::models::testing;
use crate::tensor::Tensor;
use crate::weights::Weights;

fn load(weights: &Weights) -> Result<Resnet> {
    Layout::of(weights)?;
    Resnet::from_weights(weights, Family::Torchvision)
}

fn record(resnet: &Resnet, size: usize) -> (Plan, ClassifierOutput) {
    let mut plan = Plan::new(1);
    let bytes = plan.input_pixels("pixels", size, size);
    let colors = crate::layers::Normalization { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] };
    let pixels = plan.normalize_image(bytes, [size, size], colors);
    let output = resnet.record(&mut plan, pixels);
    (plan, output)
}

fn small(bottleneck: bool) -> Vec<(String, Tensor)> {
    testing::tensors(&testing::resnet(&[8, 12], &[1, 2], bottleneck, 5))
}

/// GMAC and parameters as in the table of torchvision's ResNet weights.
#[test]
fn real_sizes_have_the_published_work() {
    for (depths, bottleneck, gmac, parameters, gemms) in
        [([2, 2, 2, 2], false, 1.81, 11_689_512, 21), ([3, 4, 6, 3], true, 4.09, 25_557_032, 54)]
    {
        let resnet = load(&testing::zeros(&testing::resnet(&[64, 128, 256, 512], &depths, bottleneck, 1000)));
        let resnet = resnet.unwrap();
        assert_eq!(resnet.parameters(), parameters);
        let (plan, _) = record(&resnet, 224);
        let recorded = plan.flops() as f64 / 2e9;
        // The stem's fourth, padded channel costs 0.04 GMAC; pooling a little as well.
        assert!((recorded - gmac - 0.04).abs() < 0.02, "{recorded} GMAC, not {gmac}");
        let counts = plan.dispatch_counts();
        assert_eq!((counts["gemm"], counts["max_pool"], counts["mean_pool"]), (gemms, 1, 1));
        assert_eq!(plan.dispatches().len(), gemms + 3);
        assert!(testing::pipelines(&[&plan]) <= 12, "{} pipelines", testing::pipelines(&[&plan]));
    }
}

#[test]
fn depth_and_width_come_from_the_weights() {
    for (bottleneck, features, description) in [
        (false, 12, "ResNet-8 (basic, layers 1-2, 12 features)"),
        (true, 48, "ResNet-11 (bottleneck, layers 1-2, 48 features)"),
    ] {
        let resnet = load(&Weights::from_tensors("small", &small(bottleneck))).unwrap();
        assert_eq!((resnet.feature_dim(), resnet.num_classes()), (features, 5));
        assert_eq!(resnet.describe(), description);
        let (plan, output) = record(&resnet, 33);
        assert_eq!(plan.shape(output.features).channels, features);
        assert_eq!(plan.shape(output.logits).channels, 5);
        assert_eq!(plan.shape(output.logits).rows(), 1);
    }
}

/// The strides of each block's convolutions, and of its shortcut's.
fn strides_of(trunk: &Trunk) -> Vec<(Vec<usize>, Option<usize>)> {
    let stride = |conv: &Conv2d| conv.window.stride;
    let blocks = trunk.layers.iter().flatten();
    let of = |block: &Block| {
        let shortcut = block.shortcut.as_ref().map(|shortcut| stride(&shortcut.conv));
        (block.convs.iter().map(stride).collect(), shortcut)
    };
    blocks.map(of).collect()
}

/// torchvision's "v1.5": the 3×3 convolution of a bottleneck, and the first one of a basic block, has the stride.
#[test]
fn strides_are_where_torchvision_has_them() {
    let strides = |bottleneck| {
        let resnet = load(&Weights::from_tensors("small", &small(bottleneck))).unwrap();
        strides_of(&resnet.trunk)
    };
    assert_eq!(strides(false), [(vec![1, 1], None), (vec![2, 1], Some(2)), (vec![1, 1], None)]);
    assert_eq!(strides(true), [(vec![1, 1, 1], Some(1)), (vec![1, 2, 1], Some(2)), (vec![1, 1, 1], None)]);
}

#[test]
fn taps_have_stable_names() {
    let resnet = load(&Weights::from_tensors("small", &small(false))).unwrap();
    let mut plan = Plan::new(2);
    let pixels = plan.input("pixels", 64 * 64, 3);
    resnet.record_with(&mut plan, pixels, &mut |plan, name, var| plan.output(name, var));
    let names: Vec<_> = plan.outputs().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["stem", "layer1.0", "layer2.0", "layer2.1", "features", "logits"]);
}

#[test]
fn no_tensor_is_optional() {
    let counter = |name: &str| name.ends_with("num_batches_tracked");
    testing::every_tensor_is_needed(&small(false), counter, load);
    testing::every_tensor_is_needed(&small(true), counter, load);
}

#[test]
fn variants_are_refused_by_name() {
    let refused = |name: &str, shape: &[usize]| {
        let mut tensors = small(false);
        tensors.retain(|(other, _)| other != name);
        tensors.push((name.to_owned(), Tensor::zeros(shape)));
        let error = load(&Weights::from_tensors("r.safetensors", &tensors)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Weights);
        assert!(error.hint_text().unwrap().starts_with("supported are ResNets"));
        error.to_string()
    };
    assert_eq!(
        refused("layer1.0.conv2.weight", &[8, 2, 3, 3]),
        "r.safetensors: not supported: 4 groups of channels in `layer1.0.conv2.weight`"
    );
    assert!(refused("layer1.0.se.fc1.weight", &[1]).contains("a ResNet with channel attention"));
    assert!(refused("layer2.0.downsample.2.weight", &[1]).contains("it has `layer2.0.downsample.2.weight`"));
    assert!(refused("maxpool.0.weight", &[8, 8, 3, 3]).contains("it has `maxpool.0.weight`"));
    assert_eq!(
        refused("layer1.0.conv1.bias", &[8]),
        "r.safetensors: a variant of ResNet that isn't supported: it has `layer1.0.conv1.bias`"
    );
}

#[test]
fn bad_shapes_say_what_was_expected() {
    let mut tensors = small(false);
    for (name, tensor) in &mut tensors {
        match name.as_str() {
            "fc.weight" => *tensor = Tensor::zeros([5, 511]),
            "bn1.running_var" => tensor.data_mut()[3] = -1.0,
            _ => {}
        }
    }
    let fails = |tensors: &[(String, Tensor)]| load(&Weights::from_tensors("r", tensors)).unwrap_err().to_string();
    assert_eq!(fails(&tensors), "r: the running variance behind `conv1.weight` is -1 at 3");
    tensors.iter_mut().find(|(name, _)| name == "bn1.running_var").unwrap().1.data_mut()[3] = 1.0;
    assert_eq!(fails(&tensors), "r: tensor `fc.weight` has shape [5, 511], not [5, 12]");
    tensors.iter_mut().find(|(name, _)| name == "conv1.weight").unwrap().1 = Tensor::zeros([8, 3, 6, 6]);
    assert_eq!(
        fails(&tensors),
        "r: tensor `conv1.weight` has shape [8, 3, 6, 6]; a square window of odd size was expected"
    );
}

#[test]
fn unknown_layouts_show_their_names() {
    let tensors = ["a.weight", "b.weight"].map(|name| (name.to_owned(), Tensor::zeros([1])));
    let error = load(&Weights::from_tensors("x.safetensors", &tensors)).unwrap_err();
    assert_eq!(error.to_string(), "x.safetensors: unknown key layout: `a.weight`, `b.weight` …");
    assert_eq!(error.kind(), ErrorKind::Weights);
    let error = load(&Weights::from_tensors("x.safetensors", &[])).unwrap_err();
    assert_eq!(error.to_string(), "x.safetensors: unknown key layout: no tensors …");
}

/// Plain tensors as timm's variant `d` has them: a deep stem, and shortcuts with pooling.
fn variant_d(bottleneck: bool) -> Vec<(String, Tensor)> {
    let mut specs = testing::resnet(&[8, 12], &[1, 2], bottleneck, 5);
    specs.retain(|(name, _)| name != "conv1.weight");
    for (conv, norm, shape) in [("conv1.0", "conv1.1", [6, 3, 3, 3]), ("conv1.3", "conv1.4", [6, 6, 3, 3])] {
        specs.push((format!("{conv}.weight"), shape.to_vec()));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            specs.push((format!("{norm}.{part}"), vec![shape[0]]));
        }
    }
    specs.push(("conv1.6.weight".to_owned(), vec![8, 6, 3, 3]));
    for (name, _) in &mut specs {
        *name = name.replace("downsample.1.", "downsample.2.").replace("downsample.0.", "downsample.1.");
    }
    testing::tensors(&specs)
}

#[test]
fn deep_stems_and_pooled_shortcuts_follow_from_the_names() {
    let resnet = load(&Weights::from_tensors("d", &variant_d(true))).unwrap();
    assert_eq!(
        resnet.describe(),
        "ResNet-11 (bottleneck, layers 1-2, deep stem, average-pooled shortcuts, 48 features)"
    );
    assert_eq!(strides_of(&resnet.trunk), [(vec![1, 1, 1], Some(1)), (vec![1, 2, 1], Some(1)), (vec![1, 1, 1], None)]);
    // Sizes that aren't even are rounded up both by the pooling and by the convolution.
    let (plan, _) = record(&resnet, 35);
    let counts = plan.dispatch_counts();
    assert_eq!((counts["avg_pool"], counts["max_pool"], counts["gemm"]), (1, 1, 3 + 9 + 2 + 1));
    for bottleneck in [false, true] {
        testing::every_tensor_is_needed(&variant_d(bottleneck), |name| name.ends_with("num_batches_tracked"), load);
    }
}

#[test]
fn groups_follow_from_the_shapes() {
    let mut tensors = small(true);
    for (name, tensor) in &mut tensors {
        if name.ends_with("conv2.weight") {
            let [outputs, inputs, height, width] = tensor.shape()[..] else { panic!("{name}") };
            *tensor =
                Tensor::new([outputs, inputs / 4, height, width], vec![0.5; outputs * inputs / 4 * height * width]);
        }
    }
    let resnet = load(&Weights::from_tensors("x", &tensors)).unwrap();
    assert_eq!(resnet.describe(), "ResNeXt-11 (bottleneck, layers 1-2, 4×2d, 48 features)");
    assert_eq!(record(&resnet, 33).0.dispatch_counts()["grouped_conv"], 3);
    testing::every_tensor_is_needed(&tensors, |name| name.ends_with("num_batches_tracked"), load);
    let uneven = tensors.iter_mut().find(|(name, _)| name == "layer1.0.conv2.weight").unwrap();
    uneven.1 = Tensor::zeros([6, 2, 3, 3]);
    let error = load(&Weights::from_tensors("x", &tensors)).unwrap_err();
    assert_eq!(error.to_string(), "x: not supported: 4 groups of channels in `layer1.0.conv2.weight`");
}

const PLAIN: Settings = Settings { activation: Activation::Relu, stride_in_first: false, first_layer_stride: 1 };

fn load_hugging_face(tensors: &[(String, Tensor)], settings: Settings) -> Result<Resnet> {
    let weights = Weights::from_tensors("hf", &testing::hugging_face_resnet(tensors));
    Layout::of(&weights)?;
    Resnet::from_weights(&weights, Family::HuggingFace(settings))
}

#[test]
fn dialects_load_to_the_same_layers() {
    for bottleneck in [false, true] {
        let tensors = small(bottleneck);
        let values = |resnet: &Resnet| {
            let (plan, _) = record(resnet, 33);
            let values =
                plan.parameters().iter().map(|parameter| format!("{:?}", parameter.data())).collect::<Vec<_>>();
            (values, plan.to_string())
        };
        let hugging_face = load_hugging_face(&tensors, PLAIN).unwrap();
        assert_eq!(values(&hugging_face), values(&load(&Weights::from_tensors("plain", &tensors)).unwrap()));
        let renamed = testing::hugging_face_resnet(&tensors);
        let counter = |name: &str| name.ends_with("num_batches_tracked");
        testing::every_tensor_is_needed(&renamed, counter, |weights| {
            Resnet::from_weights(weights, Family::HuggingFace(PLAIN))
        });
    }
}

#[test]
fn hugging_face_settings_are_followed() {
    let settings = |json: &str| {
        let config = crate::weights::Config::parse("config.json", json)?;
        let weights = Weights::from_tensors("hf", &testing::hugging_face_resnet(&small(true)));
        settings::from_hugging_face(&config, &weights)
    };
    assert_eq!(settings("{}").unwrap(), PLAIN);
    let moved = settings(
        r#"{"model_type": "resnet", "layer_type": "bottleneck", "hidden_act": "gelu",
        "downsample_in_bottleneck": true, "downsample_in_first_stage": true}"#,
    );
    let moved = moved.unwrap();
    assert_eq!(moved, Settings { activation: Activation::Gelu, stride_in_first: true, first_layer_stride: 2 });
    let resnet = load_hugging_face(&small(true), moved).unwrap();
    assert_eq!(resnet.activation(), Activation::Gelu);
    assert_eq!(strides_of(&resnet.trunk), [(vec![2, 1, 1], Some(2)), (vec![2, 1, 1], Some(2)), (vec![1, 1, 1], None)]);
    assert_eq!(resnet.describe(), "ResNet-11 (bottleneck, layers 1-2, stride in the 1×1, 48 features)");
    for (json, message) in [
        (r#"{"layer_type": "basic"}"#, "config.json: `layer_type` is basic, but the weights are of bottleneck blocks"),
        (r#"{"model_type": "regnet"}"#, "config.json: `model_type` is regnet; resnet was expected"),
        (r#"{"hidden_act": "silu"}"#, "config.json: `hidden_act` is silu; relu, quick_gelu and gelu are supported"),
        (
            r#"{"downsample_in_bottleneck": 1}"#,
            "config.json: `downsample_in_bottleneck` is 1; true or false was expected",
        ),
    ] {
        let error = settings(json).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message));
    }
}
