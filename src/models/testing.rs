//! Tensors of whole networks for the tests of this room.

pub(super) use super::specs::{Specs, resnet};
use super::specs::{TextSizes, VisionSizes};
use crate::plan::Plan;
use crate::tensor::Tensor;
use crate::weights::Weights;

/// The same ResNet under transformers' names.
pub(super) fn hugging_face_resnet(torchvision: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    let renamed = |name: &str| {
        let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
        match &mut parts[..] {
            [stem, _] if stem == "conv1" => *stem = "resnet.embedder.embedder.convolution".into(),
            [stem, _] if stem == "bn1" => *stem = "resnet.embedder.embedder.normalization".into(),
            [head, _] => *head = "classifier.1".into(),
            [layer, _, part, inner @ ..] => {
                let number: usize = layer["layer".len()..].parse().unwrap();
                *layer = format!("resnet.encoder.stages.{}.layers", number - 1);
                if part == "downsample" {
                    *part = "shortcut".into();
                    inner[0] = if inner[0] == "0" { "convolution" } else { "normalization" }.into();
                } else {
                    let kind = if part.starts_with("conv") { "convolution" } else { "normalization" };
                    let number: usize = part[part.len() - 1..].parse().unwrap();
                    *part = format!("layer.{}.{kind}", number - 1);
                }
            }
            other => panic!("{other:?}"),
        }
        parts.join(".")
    };
    torchvision.iter().map(|(name, tensor)| (renamed(name), tensor.clone())).collect()
}

/// The image tower of a CLIP that is a ResNet, as OpenAI and open_clip name it, for pictures of `32 · grid` pixels.
pub(super) fn clip_resnet(width: usize, grid: usize, embedding: usize) -> Specs {
    let mut specs = Specs::new();
    for (name, shape) in resnet(&[width, 2 * width, 4 * width, 8 * width], &[1, 2, 1, 1], true, 1) {
        if !["conv1.weight", "fc.weight", "fc.bias"].contains(&&name[..]) && !name.starts_with("bn1.") {
            specs.push((format!("visual.{name}"), shape));
        }
    }
    for (number, [outputs, inputs]) in (1..).zip([[width / 2, 3], [width / 2, width / 2], [width, width / 2]]) {
        specs.push((format!("visual.conv{number}.weight"), vec![outputs, inputs, 3, 3]));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            specs.push((format!("visual.bn{number}.{part}"), vec![outputs]));
        }
    }
    let features = 32 * width;
    specs.push(("visual.attnpool.positional_embedding".into(), vec![grid * grid + 1, features]));
    for (part, outputs) in [("q", features), ("k", features), ("v", features), ("c", embedding)] {
        specs.push((format!("visual.attnpool.{part}_proj.weight"), vec![outputs, features]));
        specs.push((format!("visual.attnpool.{part}_proj.bias"), vec![outputs]));
    }
    specs
}

/// The sizes of a CLIP.
pub(super) struct ClipSizes {
    pub(super) vision_width: usize,
    pub(super) vision_depth: usize,
    pub(super) patch: usize,
    pub(super) grid: usize,
    pub(super) text_width: usize,
    pub(super) text_depth: usize,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    pub(super) embedding: usize,
}

impl ClipSizes {
    /// A CLIP that loads in no time.
    pub(super) fn small() -> Self {
        Self {
            vision_width: 16,
            vision_depth: 2,
            patch: 4,
            grid: 3,
            text_width: 8,
            text_depth: 1,
            vocabulary: 11,
            context: 6,
            embedding: 12,
        }
    }

    /// Its tensors as OpenAI and open_clip name them.
    pub(super) fn open_clip(&self) -> Specs {
        let vision = VisionSizes {
            width: self.vision_width,
            depth: self.vision_depth,
            patch: self.patch,
            grid: self.grid,
            embedding: self.embedding,
        };
        let text = TextSizes {
            width: self.text_width,
            depth: self.text_depth,
            vocabulary: self.vocabulary,
            context: self.context,
            embedding: self.embedding,
        };
        let mut specs = [vision.open_clip(), text.open_clip()].concat();
        specs.push(("logit_scale".into(), vec![]));
        specs
    }
}

/// The sizes of a ViT.
pub(super) struct VitSizes {
    pub(super) width: usize,
    pub(super) depth: usize,
    pub(super) patch: usize,
    pub(super) grid: usize,
    pub(super) classes: usize,
}

impl VitSizes {
    /// A ViT that loads in no time.
    pub(super) fn small() -> Self {
        Self { width: 16, depth: 2, patch: 4, grid: 3, classes: 5 }
    }

    /// Its tensors as timm names them.
    pub(super) fn timm(&self) -> Specs {
        let &Self { width, depth, patch, grid, classes } = self;
        let mut specs: Specs = vec![
            ("cls_token".into(), vec![1, 1, width]),
            ("pos_embed".into(), vec![1, grid * grid + 1, width]),
            ("patch_embed.proj.weight".into(), vec![width, 3, patch, patch]),
            ("patch_embed.proj.bias".into(), vec![width]),
        ];
        let mut layer = |name: &str, weight: &[usize]| {
            specs.push((format!("{name}.weight"), weight.to_vec()));
            specs.push((format!("{name}.bias"), weight[..1].to_vec()));
        };
        for block in 0..depth {
            let name = |part: &str| format!("blocks.{block}.{part}");
            layer(&name("norm1"), &[width]);
            layer(&name("attn.qkv"), &[3 * width, width]);
            layer(&name("attn.proj"), &[width, width]);
            layer(&name("norm2"), &[width]);
            layer(&name("mlp.fc1"), &[4 * width, width]);
            layer(&name("mlp.fc2"), &[width, 4 * width]);
        }
        layer("norm", &[width]);
        layer("head", &[classes, width]);
        specs
    }
}

/// The same ViT under transformers' names, which have queries, keys and values apart.
pub(super) fn hugging_face_vit(timm: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    const RENAMED: [(&str, &str); 10] = [
        ("cls_token", "vit.embeddings.cls_token"),
        ("pos_embed", "vit.embeddings.position_embeddings"),
        ("patch_embed.proj.", "vit.embeddings.patch_embeddings.projection."),
        ("norm.", "vit.layernorm."),
        ("head.", "classifier."),
        (".norm1.", ".layernorm_before."),
        (".norm2.", ".layernorm_after."),
        (".attn.proj.", ".attention.output.dense."),
        (".mlp.fc1.", ".intermediate.dense."),
        (".mlp.fc2.", ".output.dense."),
    ];
    let mut renamed = Vec::new();
    for (old, tensor) in timm {
        let is_part =
            |part: &&(&str, &str)| old.starts_with(part.0) || (part.0.starts_with('.') && old.contains(part.0));
        let part = RENAMED.iter().find(is_part);
        let name = part.map_or(old.clone(), |(part, new)| old.replacen(part, new, 1));
        let name = name.replace("blocks.", "vit.encoder.layer.");
        if name.contains("attn.qkv") {
            let rows = tensor.shape()[0] / 3;
            for (index, part) in ["query", "key", "value"].into_iter().enumerate() {
                let columns = tensor.data().len() / tensor.shape()[0];
                let data = tensor.data()[index * rows * columns..(index + 1) * rows * columns].to_vec();
                let shape = [&[rows], &tensor.shape()[1..]].concat();
                renamed
                    .push((name.replace("attn.qkv", &format!("attention.attention.{part}")), Tensor::new(shape, data)));
            }
        } else {
            renamed.push((name, tensor.clone()));
        }
    }
    renamed
}

/// The sizes of a ConvNeXt.
pub(super) struct ConvNextSizes {
    pub(super) widths: Vec<usize>,
    pub(super) depths: Vec<usize>,
    pub(super) classes: usize,
}

impl ConvNextSizes {
    /// Its tensors as timm names them.
    pub(super) fn timm(&self) -> Specs {
        let mut specs = Specs::new();
        let mut layer = |name: String, weight: &[usize]| {
            specs.push((format!("{name}.weight"), weight.to_vec()));
            specs.push((format!("{name}.bias"), weight[..1].to_vec()));
        };
        let mut channels = self.widths[0];
        layer("stem.0".into(), &[channels, 3, 4, 4]);
        layer("stem.1".into(), &[channels]);
        for (stage, (&width, &depth)) in self.widths.iter().zip(&self.depths).enumerate() {
            if stage > 0 {
                layer(format!("stages.{stage}.downsample.0"), &[channels]);
                layer(format!("stages.{stage}.downsample.1"), &[width, channels, 2, 2]);
            }
            for block in 0..depth {
                let name = |part: &str| format!("stages.{stage}.blocks.{block}.{part}");
                layer(name("conv_dw"), &[width, 1, 7, 7]);
                layer(name("norm"), &[width]);
                layer(name("mlp.fc1"), &[4 * width, width]);
                layer(name("mlp.fc2"), &[width, 4 * width]);
            }
            channels = width;
        }
        layer("head.norm".into(), &[channels]);
        layer("head.fc".into(), &[self.classes, channels]);
        for (stage, (&width, &depth)) in self.widths.iter().zip(&self.depths).enumerate() {
            specs.extend((0..depth).map(|block| (format!("stages.{stage}.blocks.{block}.gamma"), vec![width])));
        }
        specs
    }
}

/// The same ConvNeXt under transformers' names.
pub(super) fn hugging_face_convnext(timm: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    const RENAMED: [(&str, &str); 12] = [
        ("stem.0", "convnext.embeddings.patch_embeddings"),
        ("stem.1", "convnext.embeddings.layernorm"),
        ("stages.", "convnext.encoder.stages."),
        (".downsample.", ".downsampling_layer."),
        (".blocks.", ".layers."),
        ("conv_dw", "dwconv"),
        ("head.norm", "convnext.layernorm"),
        ("head.fc", "classifier"),
        (".norm.", ".layernorm."),
        ("mlp.fc1", "pwconv1"),
        ("mlp.fc2", "pwconv2"),
        ("gamma", "layer_scale_parameter"),
    ];
    let renamed = |name: &String| RENAMED.iter().fold(name.clone(), |name, (old, new)| name.replace(old, new));
    timm.iter().map(|(name, tensor)| (renamed(name), tensor.clone())).collect()
}

/// Tensors of these shapes, each with its own values; variances are positive.
pub(super) fn tensors(specs: &Specs) -> Vec<(String, Tensor)> {
    let mut state = 1u32;
    let mut value = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes' generator
        (state >> 8) as f32 / (1 << 24) as f32 + 0.01
    };
    let tensor = |(name, shape): &(String, Vec<usize>)| {
        let data = (0..shape.iter().product()).map(|_| value()).collect();
        (name.clone(), Tensor::new(shape.clone(), data))
    };
    specs.iter().map(tensor).collect()
}

/// The same CLIP under transformers' names, which have queries, keys and values apart and projections transposed.
pub(super) fn hugging_face(open_clip: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    const RENAMED: [(&str, &str); 19] = [
        ("visual.transformer.resblocks", "vision_model.encoder.layers"),
        ("transformer.resblocks", "text_model.encoder.layers"),
        ("visual.conv1", "vision_model.embeddings.patch_embedding"),
        ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
        ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
        ("visual.ln_pre", "vision_model.pre_layrnorm"),
        ("visual.ln_post", "vision_model.post_layernorm"),
        ("visual.proj", "visual_projection.weight"),
        ("token_embedding", "text_model.embeddings.token_embedding"),
        ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
        ("ln_final", "text_model.final_layer_norm"),
        ("text_projection", "text_projection.weight"),
        ("ln_1", "layer_norm1"),
        ("ln_2", "layer_norm2"),
        ("attn.in_proj_", "self_attn.in_proj."),
        ("attn.out_proj", "self_attn.out_proj"),
        ("mlp.c_fc", "mlp.fc1"),
        ("mlp.c_proj", "mlp.fc2"),
        ("logit_scale", "logit_scale"),
    ];
    let mut renamed = Vec::new();
    for (old, tensor) in open_clip {
        let mut name = old.clone();
        for (part, new) in RENAMED {
            // A name is a prefix, and within blocks an inner part as well.
            if name.starts_with(part) || (old.contains("resblocks") && name.contains(&format!(".{part}"))) {
                name = name.replacen(part, new, 1);
            }
        }
        if name.contains("in_proj") {
            let rows = tensor.rows() / 3;
            for (part, letter) in ["q", "k", "v"].into_iter().enumerate() {
                let part = tensor.select_rows(&(part * rows..(part + 1) * rows).collect::<Vec<_>>());
                renamed.push((name.replace("in_proj", &format!("{letter}_proj")), part));
            }
        } else if old.ends_with("proj") || old == "text_projection" {
            renamed.push((name, tensor.transpose()));
        } else {
            renamed.push((name, tensor.clone()));
        }
    }
    renamed
}

/// A file of f16 zeros in these shapes: as large as the real one, yet made without touching its memory.
pub(super) fn zeros(specs: &Specs) -> Weights {
    let mut end = 0;
    let mut header = serde_json::Map::new();
    for (name, shape) in specs {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = serde_json::json!({"dtype": "F16", "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = vec![0; 8 + header.len() + end];
    bytes[..8].copy_from_slice(&(header.len() as u64).to_le_bytes());
    bytes[8..8 + header.len()].copy_from_slice(header.as_bytes());
    Weights::from_bytes("zeros.safetensors", bytes).unwrap()
}

/// The number of distinct pipelines that a plan needs, the largest of the profiles.
pub(super) fn pipelines(plans: &[&Plan]) -> usize {
    use crate::kernels::Profile;
    let of = |profile| {
        let dispatches = plans.iter().flat_map(|plan| plan.dispatches());
        let launches = dispatches.map(|dispatch| dispatch.kernel.launch(profile));
        let keys: std::collections::BTreeSet<_> = launches.map(|l| (l.shader.label, l.constants)).collect();
        keys.len()
    };
    Profile::ALL.map(of).into_iter().max().unwrap()
}

/// Checks that `load` refuses the file without any one of `tensors`, and with any one of another shape, and that the
/// error names the tensor; `exempt` ones may be left out.
pub(super) fn every_tensor_is_needed<T: std::fmt::Debug>(
    tensors: &[(String, Tensor)],
    exempt: impl Fn(&str) -> bool,
    load: impl Fn(&Weights) -> crate::Result<T>,
) {
    assert!(load(&Weights::from_tensors("whole", tensors)).is_ok());
    for at in (0..tensors.len()).filter(|&at| !exempt(&tensors[at].0)) {
        let (name, tensor) = &tensors[at];
        let mut others = tensors.to_vec();
        others.remove(at);
        let error = load(&Weights::from_tensors("lacking", &others)).expect_err(name);
        assert_eq!(error.kind(), crate::ErrorKind::Weights, "{error}");
        assert!(error.to_string().starts_with("lacking: "), "without {name}: {error}");

        let mut shape = tensor.shape().to_vec();
        shape.push(2);
        let mut others = tensors.to_vec();
        others[at].1 = Tensor::new(shape, [tensor.data(), tensor.data()].concat());
        let error = load(&Weights::from_tensors("misshapen", &others)).expect_err(name);
        assert_eq!(error.kind(), crate::ErrorKind::Weights, "{error}");
        assert!(error.to_string().contains(&format!("`{name}`")), "another shape of {name}: {error}");
    }
}
