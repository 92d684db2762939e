//! Whole networks against PyTorch: torchvision, timm, transformers and open_clip (`tests/reference/models.py`).
//!
//! `cargo test --release --test models -- --nocapture` prints each block's error.

mod precision {
    mod f16;
}

mod support {
    pub(crate) mod accuracy;
    pub(crate) mod golden;
    pub(crate) mod networks;
    pub(crate) mod tower;
}

use std::collections::BTreeSet;

use heatlens::Tensor;
use heatlens::gpu::Device;
use heatlens::weights::Precision;
use serde_json::json;
use support::accuracy::Table;
use support::golden::{Deviation, Golden, cosine, least_cosine, table};
use support::networks::{all_profiles, own_profile, run_classifier, run_clip, value};

/// The least cosine between an embedding (or feature) and its golden.
const COSINE: f64 = 0.99999;

/// Per network the largest `max|Δ| / max|golden|` of any block or output. The contract is 1e-3 for logits; these are a few
/// times what adapters give, so that what is only slightly wrong shows as well. ResNet-50 has the most layers that amplify
/// rounding: PyTorch's own f32 results are off by 3e-5.
const TOLERANCES: [(&str, f64); 35] = [
    ("small-basic", 1e-5),
    ("small-basic-f16", 1e-5),
    ("small-basic-bf16", 1e-5),
    ("small-bottleneck", 1e-5),
    ("small-resnet34", 2e-5),
    ("small-resnet26d", 1e-5),
    ("small-resnet10t", 1e-5),
    ("small-resnet-hf-basic", 1e-5),
    ("small-resnet-hf", 1e-5),
    ("small-resnet-hf-v1", 1e-5),
    ("small-clip-hf", 1e-5),
    ("small-clip-hf-f16", 1e-5),
    ("small-clip-hf-bf16", 1e-5),
    ("small-clip-openclip", 1e-5),
    ("small-clip-custom-text", 1e-5),
    ("small-clip-resnet", 1e-5),
    ("small-vit-timm", 1e-5),
    ("small-vit-hf", 1e-5),
    ("small-convnext-timm", 1e-5),
    ("small-convnext-hf", 1e-5),
    ("vit-tiny", 1e-5),
    ("convnext-tiny", 1e-5),
    ("resnet18", 2e-5),
    ("resnet50", 2e-4),
    ("resnext50-32x4d", 1e-5),
    ("wide-resnet50-2", 1e-5),
    ("clip-rn50-openclip", 2e-4),
    ("clip-vit-b-32-hf", 2e-5),
    ("clip-vit-b-32-openclip", 2e-5),
    ("clip-vit-b-16-openclip", 2e-5),
    ("clip-vit-l-14-shallow", 1e-5),
    ("clip-vit-l-14-336-shallow", 1e-5),
    ("clip-vit-h-14-shallow", 1e-5),
    ("clip-rn101-shallow", 1e-4),
    ("clip-rn50x4-shallow", 1e-5),
];

static BLOCKS: Table = Table::new("blocks", "| network | errors |");
static NETWORKS: Table = Table::new(
    "networks",
    "| network | reference | input | blocks | features or image | logits or text | least cosine | reference's own f32 |",
);

/// Batch sizes at which scores must have the same bits.
const BATCHES: [usize; 3] = [1, 7, 32];

/// The deviations of every block and output.
fn deviations(golden: &Golden, found: &[(String, Tensor)]) -> Vec<Deviation> {
    let expected = golden.header.blocks.iter().chain(&golden.header.outputs);
    let names: BTreeSet<&str> = expected.clone().map(|figures| figures.name.as_str()).collect();
    assert_eq!(names, found.iter().map(|(name, _)| name.as_str()).collect(), "{}: what is tapped", golden.name);
    expected.map(|figures| golden.deviation(figures, value(found, &figures.name))).collect()
}

fn tolerance(golden: &Golden) -> f64 {
    TOLERANCES.iter().find(|(name, _)| *name == golden.name).unwrap().1
}

/// Compares every block and output and prints the table.
fn assert_close(golden: &Golden, device: &Device, found: &[(String, Tensor)]) {
    let deviations = deviations(golden, found);
    println!("{}", table(&format!("{}, {:?} kernels", golden.name, device.profile()), &deviations));
    add_row(golden, &deviations, found);
    for deviation in deviations {
        let worst = deviation.error.max(deviation.rms);
        assert!(worst <= tolerance(golden), "{}: {} is off by {worst:.1e}", golden.name, deviation.name);
    }
    for figures in &golden.header.outputs {
        let cosine = least_cosine(value(found, &figures.name), golden.array(&figures.name));
        assert!(cosine >= COSINE, "{}: {} has a cosine of {cosine}", golden.name, figures.name);
    }
}

/// The network's row of the table of errors.
fn add_row(golden: &Golden, deviations: &[Deviation], found: &[(String, Tensor)]) {
    let (blocks, outputs) = deviations.split_at(golden.header.blocks.len());
    let worst = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let cosines = golden.header.outputs.iter().map(|figures| {
        let distance = 1.0 - least_cosine(value(found, &figures.name), golden.array(&figures.name));
        distance.max(0.0)
    });
    let [height, width] = golden.size();
    let mut cells = vec![golden.header.source.clone(), format!("{width}×{height}")];
    let each = blocks.iter().map(|block| (&block.name, block.error.max(block.rms)));
    cells.push(format!("{:.1e}", worst(&mut each.clone().map(|(_, error)| error))));
    let each: Vec<String> = each.map(|(name, error)| format!("{name} {error:.0e}")).collect();
    BLOCKS.row(&format!("`{}`", golden.name), &[each.join(" · ")]);
    cells.extend(outputs.iter().map(|output| format!("{:.1e}", output.error)));
    cells.push(format!("1 − {:.0e}", worst(&mut cosines.into_iter())));
    cells.push(format!("{:.1e}", worst(&mut outputs.iter().map(|output| output.reference_error))));
    NETWORKS.row(&format!("`{}`", golden.name), &cells);
}

/// The column of each row's largest score; the goldens' inputs are chosen so that no two rows share one.
fn distinct_predictions(rows: usize, columns: usize, score: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    let best = |row| (0..columns).max_by(|&a, &b| score(row, a).total_cmp(&score(row, b))).unwrap();
    let predictions: Vec<usize> = (0..rows).map(best).collect();
    assert_eq!(predictions.iter().collect::<BTreeSet<_>>().len(), rows, "not distinct: {predictions:?}");
    predictions
}

fn check_classifier(name: &str, devices: &[Device], batches: &[usize]) {
    let golden = Golden::open(name);
    for (device, found) in devices.iter().zip(run_classifier(&golden, Precision::F32, devices, batches)) {
        assert_close(&golden, device, &found);
        let predictions = |logits: &Tensor| {
            distinct_predictions(logits.rows(), logits.columns(), |row, class| f64::from(logits.row(row)[class]))
        };
        assert_eq!(predictions(value(&found, "logits")), predictions(golden.array("logits")));
    }
}

fn check_clip(name: &str, devices: &[Device], batches: &[usize]) {
    let golden = Golden::open(name);
    for (device, found) in devices.iter().zip(run_clip(&golden, Precision::F32, devices, batches)) {
        assert_close(&golden, device, &found);
        let predictions = |images: &Tensor, texts: &Tensor| {
            distinct_predictions(images.rows(), texts.rows(), |image, text| cosine(images.row(image), texts.row(text)))
        };
        let ours = predictions(value(&found, "visual.embedding"), value(&found, "text.embedding"));
        assert_eq!(ours, predictions(golden.array("visual.embedding"), golden.array("text.embedding")));
    }
}

#[test]
fn small_resnet_of_basic_blocks() {
    check_classifier("small-basic", &all_profiles(), &BATCHES);
}

#[test]
fn small_resnet_from_f16() {
    check_classifier("small-basic-f16", &all_profiles(), &BATCHES);
}

#[test]
fn small_resnet_from_bf16() {
    check_classifier("small-basic-bf16", &all_profiles(), &BATCHES);
}

#[test]
fn small_resnet_of_bottlenecks_on_odd_sizes() {
    check_classifier("small-bottleneck", &all_profiles(), &BATCHES);
}

#[test]
fn small_resnet_as_deep_as_the_34() {
    check_classifier("small-resnet34", &all_profiles(), &BATCHES[..2]);
}

#[test]
fn small_resnet_of_timm_with_pooled_shortcuts_on_odd_sizes() {
    check_classifier("small-resnet26d", &all_profiles(), &BATCHES);
}

#[test]
fn small_resnet_of_timm_with_a_tiered_stem() {
    check_classifier("small-resnet10t", &all_profiles(), &BATCHES);
}

#[test]
fn small_resnets_of_hugging_face() {
    check_classifier("small-resnet-hf-basic", &all_profiles(), &BATCHES[..2]);
    check_classifier("small-resnet-hf", &all_profiles(), &BATCHES);
    check_classifier("small-resnet-hf-v1", &all_profiles(), &BATCHES[..2]);
}

#[test]
fn small_clip_of_hugging_face() {
    check_clip("small-clip-hf", &all_profiles(), &BATCHES);
}

#[test]
fn small_clip_from_f16() {
    check_clip("small-clip-hf-f16", &all_profiles(), &BATCHES);
}

#[test]
fn small_clip_from_bf16() {
    check_clip("small-clip-hf-bf16", &all_profiles(), &BATCHES);
}

#[test]
fn small_clip_of_open_clip() {
    check_clip("small-clip-openclip", &all_profiles(), &BATCHES);
}

#[test]
fn small_clip_of_open_clip_with_its_text_tower_apart() {
    check_clip("small-clip-custom-text", &all_profiles(), &BATCHES[..2]);
}

#[test]
fn small_clip_with_a_resnet() {
    check_clip("small-clip-resnet", &all_profiles(), &BATCHES);
}

#[test]
fn small_vit_of_timm() {
    check_classifier("small-vit-timm", &all_profiles(), &BATCHES);
}

#[test]
fn small_vit_of_hugging_face() {
    check_classifier("small-vit-hf", &all_profiles(), &BATCHES);
}

#[test]
fn small_convnext_of_timm_on_odd_sizes() {
    check_classifier("small-convnext-timm", &all_profiles(), &BATCHES);
}

#[test]
fn small_convnext_of_hugging_face() {
    check_classifier("small-convnext-hf", &all_profiles(), &BATCHES);
}

/// What the goldens are there to find: each setting that a loader could get wrong shows far above the tolerance.
#[test]
fn wrong_settings_show() {
    let devices = own_profile();
    let settings = [
        ("small-clip-hf", "/vision_config/hidden_act", json!("quick_gelu"), "visual.embedding"),
        ("small-clip-hf", "/vision_config/num_attention_heads", json!(2), "visual.embedding"),
        ("small-clip-hf", "/vision_config/layer_norm_eps", json!(1e-3), "visual.embedding"),
        ("small-clip-hf", "/text_config/hidden_act", json!("quick_gelu"), "text.embedding"),
        ("small-clip-hf", "/text_config/num_attention_heads", json!(4), "text.embedding"),
        ("small-clip-hf", "/text_config/layer_norm_eps", json!(1e-3), "text.embedding"),
        ("small-clip-hf", "/text_config/eos_token_id", json!(126), "text.embedding"),
        ("small-resnet-hf-basic", "/hidden_act", json!("relu"), "logits"),
        ("small-resnet-hf", "/downsample_in_bottleneck", json!(true), "logits"),
        ("small-resnet-hf-v1", "/downsample_in_bottleneck", json!(false), "logits"),
        ("small-vit-hf", "/hidden_act", json!("quick_gelu"), "logits"),
        ("small-vit-hf", "/num_attention_heads", json!(2), "logits"),
        ("small-vit-hf", "/layer_norm_eps", json!(1e-3), "logits"),
        ("small-vit-timm", "/model_args/num_heads", json!(2), "logits"),
        ("small-convnext-hf", "/hidden_act", json!("quick_gelu"), "logits"),
        ("small-convnext-hf", "/layer_norm_eps", json!(1e-6), "logits"),
        ("small-convnext-timm", "/model_args", json!({"norm_eps": 1e-3}), "logits"),
    ];
    for (name, setting, wrong, output) in settings {
        let mut golden = Golden::open(name);
        *golden.header.configs["config.json"].pointer_mut(setting).unwrap() = wrong;
        let run = if golden.tokens.is_empty() { run_classifier } else { run_clip };
        let found = run(&golden, Precision::F32, &devices, &[]).remove(0);
        let deviation = deviations(&golden, &found).into_iter().find(|deviation| deviation.name == output).unwrap();
        println!("{name}, wrong {setting}: {:.1e}", deviation.error);
        assert!(deviation.error > 10.0 * tolerance(&golden), "{name}, wrong {setting}: {:.1e}", deviation.error);
    }
}

#[test]
fn vit_tiny() {
    check_classifier("vit-tiny", &own_profile(), &BATCHES[..1]);
}

#[test]
fn convnext_tiny() {
    check_classifier("convnext-tiny", &own_profile(), &BATCHES[..1]);
}

#[test]
fn resnet_18() {
    check_classifier("resnet18", &own_profile(), &BATCHES[..2]);
}

#[test]
fn resnet_50() {
    check_classifier("resnet50", &own_profile(), &BATCHES[..1]);
}

/// Layers of full width, one block each.
#[test]
fn resnext_50_and_wide_resnet_50() {
    check_classifier("resnext50-32x4d", &own_profile(), &BATCHES[..2]);
    check_classifier("wide-resnet50-2", &own_profile(), &BATCHES[..1]);
}

#[test]
fn clip_rn50_of_open_clip() {
    check_clip("clip-rn50-openclip", &own_profile(), &[]);
}

#[test]
fn clip_vit_b_32_of_hugging_face() {
    check_clip("clip-vit-b-32-hf", &own_profile(), &BATCHES[..1]);
}

/// Layers of full width, most of one block; in RN101's third stage so many that their numbers have two digits, which as text
/// sort differently. 32 and 40 heads in the attention pooling.
#[test]
fn clip_rn101_and_rn50x4_of_open_clip() {
    check_clip("clip-rn101-shallow", &own_profile(), &BATCHES[..1]);
    check_clip("clip-rn50x4-shallow", &own_profile(), &BATCHES[..1]);
}

/// Layers of full width, one or two of them; heads of 64 and 80 channels; the 577 tokens of pictures of 336 pixels.
#[test]
fn clip_vit_l_14_and_h_14_of_open_clip() {
    check_clip("clip-vit-l-14-shallow", &own_profile(), &BATCHES[..1]);
    check_clip("clip-vit-l-14-336-shallow", &own_profile(), &[]);
    check_clip("clip-vit-h-14-shallow", &own_profile(), &BATCHES[..1]);
}

#[test]
fn clip_vit_b_16_of_open_clip() {
    check_clip("clip-vit-b-16-openclip", &own_profile(), &[]);
}

#[test]
fn clip_vit_b_32_of_open_clip() {
    check_clip("clip-vit-b-32-openclip", &own_profile(), &BATCHES[..1]);
}
