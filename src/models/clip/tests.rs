//! Loading and recording in every dialect, without a GPU.

use std::fs;

use super::*;
use crate::layers::{Activation, EndToken};
use crate::models::testing::{self, ClipSizes};
use crate::models::transformer::{Heads, TransformerSettings};
use crate::tensor::Tensor;
use crate::weights::Config;

const VOCABULARY: &str = r#"{"a": 0, "b": 1, "c": 2, "a</w>": 3, "b</w>": 4, "c</w>": 5, "ab</w>": 6,
    "<|startoftext|>": 9, "<|endoftext|>": 10}"#;
const HUGGING_FACE: &str = r#"{"model_type": "clip",
    "vision_config": {"hidden_act": "gelu", "num_attention_heads": 4},
    "text_config": {"hidden_act": "quick_gelu", "num_attention_heads": 2, "eos_token_id": 10}}"#;
const PROCESSOR: &str = r#"{"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 12},
    "crop_size": {"height": 12, "width": 12}}"#;
const OPEN_CLIP: &str = r#"{"model_cfg": {"embed_dim": 12, "vision_cfg": {"head_width": 4}, "text_cfg": {"heads": 2}},
    "preprocess_cfg": {"interpolation": "bilinear"}}"#;

/// A model's folder: weights, configuration files and a small tokenizer.
fn folder(tensors: &[(String, Tensor)], configs: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let weights = Weights::from_tensors("", tensors);
    fs::write(folder.path().join("model.safetensors"), &weights.shards()[0]).unwrap();
    for (name, text) in [("vocab.json", VOCABULARY), ("merges.txt", "#version: 0.2\na b</w>\n")].iter().chain(configs) {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn open_clip() -> Vec<(String, Tensor)> {
    testing::tensors(&ClipSizes::small().open_clip())
}

fn load_open_clip(tensors: &[(String, Tensor)]) -> Clip {
    Clip::open(folder(tensors, &[("open_clip_config.json", OPEN_CLIP)]).path()).unwrap()
}

fn load_hugging_face(tensors: &[(String, Tensor)]) -> Clip {
    let configs = [("config.json", HUGGING_FACE), ("preprocessor_config.json", PROCESSOR)];
    Clip::open(folder(tensors, &configs).path()).unwrap()
}

/// All parameters of both towers in the order of their use, and all dispatches in words.
fn recorded(clip: &Clip) -> (Vec<Vec<f32>>, String) {
    let mut plan = Plan::new(2);
    let pixels = clip.image_input(&mut plan);
    let image = clip.record_image(&mut plan, pixels);
    let ids = clip.text_input(&mut plan);
    let text = clip.record_text(&mut plan, ids);
    assert_eq!(plan.shape(image), plan.shape(text));
    (plan.parameters().iter().map(|parameter| parameter.data().f32().to_vec()).collect(), plan.to_string())
}

#[test]
fn dialects_load_to_the_same_layers() {
    let tensors = open_clip();
    let expected = recorded(&load_open_clip(&tensors));
    assert_eq!(expected, recorded(&load_hugging_face(&testing::hugging_face(&tensors))));

    let mut custom = tensors.clone();
    for (name, _) in &mut custom {
        if !name.starts_with("visual.") && name != "logit_scale" {
            *name = format!("text.{name}");
        }
    }
    assert_eq!(expected, recorded(&load_open_clip(&custom)));
}

#[test]
fn queries_are_scaled_and_projections_are_the_right_way_round() {
    let mut tensors = open_clip();
    for (name, tensor) in &mut tensors {
        match name.as_str() {
            "visual.transformer.resblocks.0.attn.in_proj_weight" => tensor.data_mut().fill(1.0),
            "visual.proj" => (0..).zip(tensor.data_mut()).for_each(|(index, value)| *value = index as f32),
            "logit_scale" => tensor.data_mut()[0] = 100f32.ln(),
            _ => {}
        }
    }
    let clip = load_open_clip(&tensors);
    let (parameters, _) = recorded(&clip);
    // Packed [in, out]: for each of 16 inputs 16 queries, keys and values. Heads have 4 channels, so 1/√4.
    let qkv = parameters.iter().find(|values| values.len() == 16 * 48 && values[16] == 1.0).unwrap();
    assert!(qkv.chunks_exact(48).all(|row| row[..16] == [0.5; 16] && row[16..] == [1.0; 32]));
    // Stored [in, out] already, and 12 outputs need no padding.
    let projection: Vec<f32> = (0..16 * 12).map(|index| index as f32).collect();
    assert!(parameters.contains(&projection));
    assert!((clip.logit_scale() - 100.0).abs() < 1e-3);
}

#[test]
fn settings_reach_the_towers() {
    let clip = load_hugging_face(&testing::hugging_face(&open_clip()));
    assert_eq!((clip.vision().activation(), clip.text().activation()), (Activation::Gelu, Activation::QuickGelu));
    assert_eq!(clip.vision().describe(), "ViT (patch 4, width 16, 2 blocks of 4 heads, GELU)");
    assert_eq!(clip.text().describe(), "text transformer (width 8, 1 blocks of 2 heads, QuickGELU)");
    assert_eq!((clip.text().context(), clip.text().vocabulary(), clip.embedding_dim()), (6, 11, 12));
    assert_eq!(clip.vision().image_size(), [12, 12]);
    assert_eq!(clip.tokenizer().encode("ab c", 6).unwrap().ids, [9, 6, 5, 10, 10, 10]);
}

#[test]
fn taps_have_stable_names() {
    let clip = load_open_clip(&open_clip());
    let names = |plan: &Plan| plan.outputs().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let output = &mut |plan: &mut Plan, name: &str, var| plan.output(name, var);
    let mut plan = Plan::new(1);
    let ids = clip.text_input(&mut plan);
    clip.text().record_with(&mut plan, ids, output);
    assert_eq!(names(&plan), ["embeddings", "block.0", "embedding"]);

    let mut plan = Plan::new(1);
    let bytes = clip.image_input(&mut plan);
    let pixels = normalize(&mut plan, bytes, clip.preprocess());
    clip.vision().record_with(&mut plan, pixels, output);
    assert_eq!(names(&plan), ["embeddings", "block.0", "block.1", "embedding"]);
}

/// ViT-B/32: 4.41 GMAC as in torchvision's table (whose head of 1,000 classes costs about what the projection does), and
/// 87.85 million parameters as in open_clip's.
#[test]
fn real_sizes_have_the_published_work() {
    let sizes =
        ClipSizes { vision_width: 768, vision_depth: 12, patch: 32, grid: 7, embedding: 512, ..ClipSizes::small() };
    let mut specs = sizes.open_clip();
    specs.retain(|(name, _)| name.starts_with("visual."));
    let weights = testing::zeros(&specs);
    assert_eq!(parameter_count(&weights), 87_849_216);
    let settings = TransformerSettings { heads: Heads::Width(64), activation: Activation::QuickGelu, epsilon: 1e-5 };
    let names = Names::of(ClipLayout::OpenClip { text: "" });
    let vision = ClipVision::load(&weights, &names, settings).unwrap();
    let mut plan = Plan::new(1);
    let bytes = plan.input_pixels("pixels", 224, 224);
    let colors = crate::layers::Normalization { scale: 1.0, mean: [0.0; 3], std: [1.0; 3] };
    let pixels = plan.normalize_image(bytes, [224, 224], colors);
    let embedding = vision.record(&mut plan, pixels);
    assert_eq!(plan.shape(embedding).channels, 512);
    let recorded = plan.flops() as f64 / 2e9;
    // The fourth, padded channel of the patches costs 0.04 GMAC.
    assert!((recorded - 4.41 - 0.04).abs() < 0.03, "{recorded} GMAC");
    let counts = plan.dispatch_counts();
    assert_eq!((counts["gemm"], counts["attention"], counts["layer_norm"]), (1 + 12 * 4 + 1, 12, 2 + 12 * 2));
}

#[test]
fn both_towers_share_few_pipelines() {
    let clip = load_open_clip(&open_clip());
    let (mut image, mut text) = (Plan::new(2), Plan::new(3));
    let pixels = clip.image_input(&mut image);
    clip.record_image(&mut image, pixels);
    let ids = clip.text_input(&mut text);
    clip.record_text(&mut text, ids);
    assert!(testing::pipelines(&[&image, &text]) <= 16, "{} pipelines", testing::pipelines(&[&image, &text]));
}

#[test]
fn no_tensor_is_optional() {
    let load = |config: &'static str, json: &'static str| {
        move |weights: &Weights| {
            let Layout::Clip(layout) = Layout::of(weights)? else { panic!("not a CLIP") };
            let names = Names::of(layout);
            let config = Config::parse(config, json)?;
            let settings = match config.get("model_cfg") {
                Some(_) => ClipSettings::from_open_clip(&config, false)?,
                None => ClipSettings::from_hugging_face(&config)?,
            };
            let vision = ClipVision::load(weights, &names, settings.vision)?;
            let text = ClipText::load(weights, &names, settings.text, settings.end)?;
            logit_scale(weights)?;
            refuse_unread(weights, "CLIP", is_ignored)?;
            Ok((vision, text))
        }
    };
    let tensors = open_clip();
    testing::every_tensor_is_needed(&tensors, |_| false, load("open_clip_config.json", OPEN_CLIP));
    let tensors = testing::hugging_face(&tensors);
    testing::every_tensor_is_needed(&tensors, |_| false, load("config.json", HUGGING_FACE));
}

#[test]
fn harmless_extras_are_ignored_and_others_refused() {
    let mut tensors = testing::hugging_face(&open_clip());
    tensors.push(("text_model.embeddings.position_ids".to_owned(), Tensor::zeros([1, 6])));
    load_hugging_face(&tensors);
    tensors.push(("vision_model.embeddings.patch_embedding.bias".to_owned(), Tensor::zeros([16])));
    let folder = folder(&tensors, &[("config.json", HUGGING_FACE), ("preprocessor_config.json", PROCESSOR)]);
    let error = Clip::open(folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Weights);
    let message = "a variant of CLIP that isn't supported: it has `vision_model.embeddings.patch_embedding.bias`";
    assert!(error.to_string().ends_with(message), "{error}");
}

#[test]
fn missing_and_unfit_files_are_named() {
    let tensors = testing::hugging_face(&open_clip());
    let fails = |tensors: &[(String, Tensor)], configs: &[(&str, &str)]| {
        let error = Clip::open(folder(tensors, configs).path()).unwrap_err();
        (error.kind(), error.to_string())
    };
    let hugging_face = ("config.json", HUGGING_FACE);

    let (kind, message) = fails(&tensors, &[]);
    assert_eq!(kind, ErrorKind::Config);
    assert!(message.ends_with("no config.json beside it, which says which activation it uses"), "{message}");

    let (_, message) = fails(&tensors, &[hugging_face]);
    assert!(message.contains("no preprocessor_config.json beside it"), "{message}");

    let larger = PROCESSOR.replace("12", "16");
    let (kind, message) = fails(&tensors, &[hugging_face, ("preprocessor_config.json", &larger)]);
    assert_eq!(kind, ErrorKind::Config);
    assert!(message.ends_with("makes 16×16 pixels, but the image tower takes 12×12"), "{message}");

    let vocabulary = VOCABULARY.replace("10}", "11}");
    let configs = [hugging_face, ("preprocessor_config.json", PROCESSOR), ("vocab.json", &vocabulary)];
    let (kind, message) = fails(&tensors, &configs);
    assert_eq!(kind, ErrorKind::Mismatch);
    assert!(message.ends_with("the tokenizer has 12 tokens, but the text tower 11"), "{message}");

    let config = HUGGING_FACE.replace("\"eos_token_id\": 10", "\"eos_token_id\": 49407");
    let (kind, message) = fails(&tensors, &[("config.json", &config)]);
    assert_eq!(kind, ErrorKind::Weights);
    assert!(message.contains("has 11 tokens, but the configured end token is 49407"), "{message}");

    let config = HUGGING_FACE.replace("\"num_attention_heads\": 4", "\"num_attention_heads\": 5");
    let (kind, message) = fails(&tensors, &[("config.json", &config)]);
    assert_eq!(kind, ErrorKind::Weights);
    assert!(message.contains("16 channels (`vision_model.encoder.layers`) don't make 5 heads"), "{message}");

    let mut oblong = tensors.clone();
    let position = "vision_model.embeddings.position_embedding.weight";
    oblong.iter_mut().find(|(name, _)| name == position).unwrap().1 = Tensor::zeros([9, 16]);
    let (_, message) = fails(&oblong, &[hugging_face]);
    assert!(message.contains("has 9 positions, not a class token's and a square of patches"), "{message}");
}

#[test]
fn the_end_token_is_the_configured_one() {
    let clip = load_open_clip(&open_clip());
    let mut plan = Plan::new(1);
    let ids = clip.text_input(&mut plan);
    clip.record_text(&mut plan, ids);
    let largest = format!("{:?}", EndToken::LargestId);
    assert!(plan.dispatches().iter().any(|dispatch| format!("{:?}", dispatch.kernel).contains(&largest)));
    let clip = load_hugging_face(&testing::hugging_face(&open_clip()));
    let mut plan = Plan::new(1);
    let ids = clip.text_input(&mut plan);
    clip.record_text(&mut plan, ids);
    let first = format!("{:?}", EndToken::First(10));
    assert!(plan.dispatches().iter().any(|dispatch| format!("{:?}", dispatch.kernel).contains(&first)));
}
