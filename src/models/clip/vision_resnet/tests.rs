//! Loading and recording, without a GPU.

use super::super::names::Names;
use super::super::{ClipVision, is_ignored, open_clip_preprocess};
use super::*;
use crate::error::ErrorKind;
use crate::layers::{Activation, Normalization};
use crate::models::layout::{Layout, refuse_unread};
use crate::models::transformer::Heads;
use crate::models::{parameter_count, testing};
use crate::weights::{Config, ModelFiles};

fn load(weights: &Weights, head_width: usize) -> Result<ClipVision> {
    let Layout::Clip(layout) = Layout::of(weights)? else { panic!("not a CLIP") };
    let settings =
        TransformerSettings { heads: Heads::Width(head_width), activation: Activation::QuickGelu, epsilon: 1e-5 };
    let vision = ClipVision::load(weights, &Names::of(layout), settings)?;
    refuse_unread(weights, "CLIP", is_ignored)?;
    Ok(vision)
}

fn record(vision: &ClipVision) -> (Plan, Var) {
    let mut plan = Plan::new(2);
    let [height, width] = vision.image_size();
    let bytes = plan.input_pixels("pixels", height, width);
    let colors = Normalization { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] };
    let pixels = plan.normalize_image(bytes, [height, width], colors);
    let embedding = vision.record(&mut plan, pixels);
    (plan, embedding)
}

fn small() -> Weights {
    Weights::from_tensors("rn", &testing::tensors(&testing::clip_resnet(4, 2, 12)))
}

#[test]
fn the_tower_follows_from_the_weights() {
    let vision = load(&small(), 16).unwrap();
    assert_eq!(vision.describe(), "ResNet (width 4, layers 1-2-1-1, attention pooling of 8 heads)");
    assert_eq!((vision.image_size(), vision.embedding_dim(), vision.activation()), ([64, 64], 12, Activation::Relu));
    let (plan, embedding) = record(&vision);
    assert_eq!((plan.shape(embedding).rows(), plan.shape(embedding).channels), (2, 12));
    let counts = plan.dispatch_counts();
    // The stem's, and before the last convolution and in the shortcut of three layers.
    assert_eq!((counts["avg_pool"], counts["embed_patches"], counts["attention"]), (1 + 2 * 3, 1, 1));
    assert!(!counts.contains_key("max_pool"));
}

/// RN50's image tower has 38.3 of open_clip's 102.0 million parameters.
#[test]
fn real_sizes_have_the_published_parameters() {
    let mut specs = testing::clip_resnet(64, 7, 1024);
    let blocks = |layer: usize| [3, 4, 6, 3][layer - 1];
    // The tower of the tests has few blocks: the others have the shapes of a layer's last.
    for (layer, found) in [(1, 1), (2, 2), (3, 1), (4, 1)] {
        let (inner, outer) = (64 << (layer - 1), 256 << (layer - 1));
        for block in found..blocks(layer) {
            let shapes = [[inner, outer, 1, 1], [inner, inner, 3, 3], [outer, inner, 1, 1]];
            for (number, shape) in (1..).zip(shapes) {
                specs.push((format!("visual.layer{layer}.{block}.conv{number}.weight"), shape.to_vec()));
                for part in ["weight", "bias", "running_mean", "running_var"] {
                    specs.push((format!("visual.layer{layer}.{block}.bn{number}.{part}"), vec![shape[0]]));
                }
            }
        }
    }
    let weights = testing::zeros(&specs);
    assert_eq!(parameter_count(&weights), 38_316_896);
    let vision = load(&weights, 64).unwrap();
    assert_eq!(vision.describe(), "ResNet (width 64, layers 3-4-6-3, attention pooling of 32 heads)");
    assert_eq!((vision.image_size(), vision.embedding_dim()), ([224, 224], 1024));
    assert!(testing::pipelines(&[&record(&vision).0]) <= 12);
}

#[test]
fn no_tensor_is_optional() {
    let tensors = testing::tensors(&testing::clip_resnet(4, 2, 12));
    let counter = |name: &str| name.ends_with("num_batches_tracked");
    testing::every_tensor_is_needed(&tensors, counter, |weights| load(weights, 16));
}

#[test]
fn what_does_not_fit_is_named() {
    let error = load(&small(), 200).unwrap_err();
    assert_eq!(error.to_string(), "rn: 128 channels (`visual.attnpool`) don't make 0 heads, each of a multiple of 4");
    let mut specs = testing::clip_resnet(4, 2, 12);
    specs.iter_mut().find(|(name, _)| name == POSITION).unwrap().1 = vec![6, 128];
    let error = load(&Weights::from_tensors("rn", &testing::tensors(&specs)), 16).unwrap_err();
    assert_eq!(error.to_string(), format!("rn: `{POSITION}` has 6 positions, not the mean's and a square of pixels"));
}

/// open_clip takes pictures of 72 pixels with positions for 64, and drops the rest within the network.
#[test]
fn sizes_that_the_positions_are_not_for_are_refused() {
    let preprocess = |size: &str| {
        let json = format!(r#"{{"model_cfg": {{"vision_cfg": {{"image_size": {size}}}}}}}"#);
        let name = "open_clip_config.json";
        let files = ModelFiles::from_parts(small(), vec![(name.to_owned(), Config::parse(name, &json)?)]);
        open_clip_preprocess(&files, [64, 64])
    };
    assert_eq!(preprocess("64").unwrap().height, 64);
    assert_eq!(preprocess("[64, 64]").unwrap().width, 64);
    assert_eq!(preprocess("null").unwrap().width, 64);
    let error = preprocess("72").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let message = "`model_cfg.vision_cfg.image_size` is 72, but the positions are those of 64×64 pixels";
    assert!(error.to_string().ends_with(message), "{error}");
}
