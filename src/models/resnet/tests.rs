//! Loading and recording, without a GPU.

use super::*;
use crate::error::{ErrorKind, Result};
use crate::models::layout::Layout;
use crate::models::testing;
use crate::tensor::Tensor;
use crate::weights::Weights;

fn load(weights: &Weights) -> Result<Resnet> {
    Layout::of(weights)?;
    Resnet::from_weights(weights)
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

/// torchvision's "v1.5": the 3×3 convolution of a bottleneck, and the first one of a basic block, has the stride.
#[test]
fn strides_are_where_torchvision_has_them() {
    let strides = |bottleneck| {
        let resnet = load(&Weights::from_tensors("small", &small(bottleneck))).unwrap();
        let stride = |conv: &Conv2d| conv.window.stride;
        let blocks = resnet.layers.iter().flatten().map(|block| match block {
            Block::Basic { conv1, conv2, downsample } => {
                (vec![stride(conv1), stride(conv2)], downsample.as_ref().map(stride))
            }
            Block::Bottleneck { conv1, conv2, conv3, downsample } => {
                (vec![stride(conv1), stride(conv2), stride(conv3)], downsample.as_ref().map(stride))
            }
        });
        blocks.collect::<Vec<_>>()
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
        "r.safetensors: not supported: grouped convolutions (4 groups in `layer1.0.conv2.weight`)"
    );
    assert_eq!(
        refused("conv1.0.weight", &[8, 3, 3, 3]),
        "r.safetensors: not supported: a ResNet with a deep stem (timm's variants `c`, `d`, `s` and `t`), by its tensor \
         `conv1.0.weight`"
    );
    assert!(refused("layer1.0.se.fc1.weight", &[1]).contains("a ResNet with channel attention"));
    assert!(refused("layer2.0.downsample.2.weight", &[1]).contains("average pooling in its shortcuts"));
    assert_eq!(
        refused("layer1.0.conv1.bias", &[8]),
        "r.safetensors: a variant of ResNet that isn't supported: it has `layer1.0.conv1.bias`"
    );
    assert!(refused("resnet.embedder.embedder.convolution.weight", &[1]).contains("transformers' layout"));
    assert!(refused("visual.attnpool.q_proj.weight", &[1]).contains("RN50 family"));
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
