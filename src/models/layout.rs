//! Which network a file's tensor names belong to.

use crate::error::{Error, ErrorKind, Result};
use crate::weights::Weights;

use super::{convnext, resnet, vit};

/// The key layouts that load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// An image classifier.
    Classifier(ClassifierLayout),
    /// A CLIP.
    Clip(ClipLayout),
}

/// The key layouts of classifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClassifierLayout {
    /// A ResNet.
    Resnet(resnet::Dialect),
    /// A ConvNeXt.
    ConvNext(convnext::Dialect),
    /// A vision transformer.
    Vit(vit::Dialect),
}

/// The key layouts of CLIPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClipLayout {
    /// transformers' `CLIPModel`.
    HuggingFace,
    /// A CLIP of OpenAI or open_clip.
    OpenClip {
        /// What stands before the names of the text tower: nothing, or `text.` in a `CustomTextCLIP`.
        text: &'static str,
    },
}

/// Parts of tensor names that give away a network which doesn't load, in the order in which they are looked for.
const REFUSED: [(&str, &str); 41] = [
    ("visual.trunk.attn_pool.", "an open_clip SigLIP"),
    (
        "timm_model.",
        "a timm model in transformers' wrapper: strip `timm_model.` from the names and use timm's config.json",
    ),
    ("dinov2", "a DINOv2"),
    ("beit.", "a BEiT"),
    ("efficientnet.", "an EfficientNet"),
    ("mobilenet", "a MobileNet"),
    ("visual.trunk.", "an open_clip model with an image tower of timm"),
    ("text.transformer.embeddings.", "an open_clip model with a text tower of transformers"),
    ("text_decoder.", "a CoCa"),
    ("vision_model.head.", "a SigLIP"),
    ("text_model.head.", "a SigLIP"),
    ("head.probe", "a SigLIP's image tower"),
    ("layers.0.blocks.0.attn.", "a Swin"),
    ("relative_position_bias_table", "a vision transformer with relative positions (BEiT, Swin)"),
    (".rel_pos.", "a vision transformer with relative positions"),
    (".attn.q_bias", "a BEiT or EVA"),
    ("deit.embeddings.", "a DeiT in transformers' layout"),
    ("dist_token", "a distilled vision transformer (DeiT)"),
    ("reg_token", "a vision transformer with registers"),
    (".ls1.gamma", "a vision transformer with layer scale"),
    (".attn.q_norm.", "a vision transformer with normalised queries and keys"),
    (".mlp.fc1_g.", "a vision transformer with gated MLPs (SwiGLU)"),
    ("fc_norm.", "a vision transformer with average pooling"),
    ("attn_pool.", "a vision transformer with attention pooling"),
    ("norm_pre.", "a network with a norm before its blocks or its pooling"),
    ("patch_embed.backbone.", "a hybrid of a convolutional network and a vision transformer"),
    ("encoder.layers.encoder_layer_0.", "a vision transformer in torchvision's layout"),
    ("stages.0.blocks.0.conv1.", "a pre-activation ResNet"),
    ("regnet.", "a RegNet in transformers' layout"),
    (".grn.", "a ConvNeXt V2"),
    ("stem.2.weight", "a ConvNeXt with an overlapping stem"),
    ("head.pre_logits.", "a network with a hidden layer in its head"),
    ("features.", "a network in torchvision's `features` layout (VGG, DenseNet, MobileNet, EfficientNet)"),
    (".se.", "a ResNet with channel attention (squeeze-and-excitation, ECA)"),
    (".se_module.", "a ResNet with channel attention (squeeze-and-excitation)"),
    (".aa.", "a ResNet with anti-aliased pooling"),
    (".convs.0.", "a Res2Net"),
    (".conv2.fc1.", "a ResNeSt"),
    (".conv2.attn.", "a selective-kernel ResNet"),
    (".ls_1.", "an open_clip model with layer scale"),
    ("_orig_mod.", "a compiled module saved with its wrapper: strip `_orig_mod.` from the names"),
];

/// Starts of names that a file has and others that it doesn't, which together give away a network that doesn't load.
const INCOMPLETE: [(&str, &str, &str); 8] = [
    ("vision_model.", "text_model.", "a CLIP's image tower alone"),
    ("text_model.", "vision_model.", "a CLIP's text tower alone"),
    ("embeddings.class_embedding", "text_model.", "a CLIP's image tower alone"),
    ("embeddings.token_embedding.", "vision_model.", "a CLIP's text tower alone"),
    ("embeddings.cls_token", "vit.", "a vision transformer of transformers without a classifier's head"),
    ("embedder.embedder.", "resnet.", "a ResNet of transformers without a classifier's head"),
    ("bn1.weight", "bn1.running_mean", "a ResNet with another norm than batch norm"),
    ("stem.1.weight", "stem.1.bias", "a ConvNeXt with another norm than layer norm"),
];

impl Layout {
    /// Whose names these are.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Classifier(ClassifierLayout::Resnet(resnet::Dialect::Torchvision)) => "ResNet of torchvision or timm",
            Self::Classifier(ClassifierLayout::Resnet(resnet::Dialect::HuggingFace)) => {
                "ResNetForImageClassification of Hugging Face's transformers"
            }
            Self::Classifier(ClassifierLayout::ConvNext(convnext::Dialect::Timm)) => "ConvNeXt of timm",
            Self::Classifier(ClassifierLayout::ConvNext(convnext::Dialect::HuggingFace)) => {
                "ConvNextForImageClassification of Hugging Face's transformers"
            }
            Self::Classifier(ClassifierLayout::Vit(vit::Dialect::Timm)) => "VisionTransformer of timm",
            Self::Classifier(ClassifierLayout::Vit(vit::Dialect::HuggingFace)) => {
                "ViTForImageClassification of Hugging Face's transformers"
            }
            Self::Clip(ClipLayout::HuggingFace) => "CLIPModel of Hugging Face's transformers",
            Self::Clip(ClipLayout::OpenClip { text: "" }) => "CLIP of OpenAI or open_clip",
            Self::Clip(ClipLayout::OpenClip { .. }) => "CustomTextCLIP of open_clip",
        }
    }

    /// The layout of a file.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] naming the network where it is a known one that doesn't load, or else some of the names.
    pub(super) fn of(weights: &Weights) -> Result<Self> {
        for (marker, network) in REFUSED {
            if let Some(name) = weights.names().find(|name| name.contains(marker)) {
                return Err(weights.error(format!("not supported: {network}, by its tensor `{name}`")).hint(SUPPORTED));
            }
        }
        let has = |prefix: &str| weights.names().any(|name| name.starts_with(prefix));
        if let Some((present, absent, network)) = INCOMPLETE.iter().find(|(some, none, _)| has(some) && !has(none)) {
            let message = format!("not supported: {network}, by its `{present}` without `{absent}`");
            return Err(weights.error(message).hint(SUPPORTED));
        }
        if has("vision_model.") {
            Ok(Self::Clip(ClipLayout::HuggingFace))
        } else if has("visual.") {
            let text = if weights.names().any(|name| name.starts_with("text.")) { "text." } else { "" };
            Ok(Self::Clip(ClipLayout::OpenClip { text }))
        } else if weights.contains("convnext.embeddings.patch_embeddings.weight") {
            Ok(Self::Classifier(ClassifierLayout::ConvNext(convnext::Dialect::HuggingFace)))
        } else if weights.contains("stages.0.blocks.0.conv_dw.weight") {
            Ok(Self::Classifier(ClassifierLayout::ConvNext(convnext::Dialect::Timm)))
        } else if weights.contains("vit.embeddings.cls_token") {
            Ok(Self::Classifier(ClassifierLayout::Vit(vit::Dialect::HuggingFace)))
        } else if weights.contains("blocks.0.attn.qkv.weight") {
            Ok(Self::Classifier(ClassifierLayout::Vit(vit::Dialect::Timm)))
        } else if has("resnet.embedder.") {
            Ok(Self::Classifier(ClassifierLayout::Resnet(resnet::Dialect::HuggingFace)))
        } else if weights.contains("layer1.0.conv1.weight") {
            Ok(Self::Classifier(ClassifierLayout::Resnet(resnet::Dialect::Torchvision)))
        } else {
            let names: Vec<_> = weights.names().take(3).map(|name| format!("`{name}`")).collect();
            let found = if names.is_empty() { "no tensors".to_owned() } else { names.join(", ") };
            Err(weights.error(format!("unknown key layout: {found} …")).hint(SUPPORTED))
        }
    }
}

/// What does load.
pub(super) const SUPPORTED: &str = "supported are ResNets with basic or bottleneck blocks (ResNeXt, wide and timm's `d` \
    ones as well) under torchvision's, timm's and Hugging Face's names, ViTs that classify by their class token and \
    ConvNeXts under timm's and Hugging Face's, and CLIPs with a vision transformer or a ResNet under Hugging Face's and \
    open_clip's";

/// Fails if tensors are left that no layer has read, but for those that `ignored` accepts.
///
/// # Errors
/// [`ErrorKind::Weights`] naming some of the tensors.
pub(super) fn refuse_unread(weights: &Weights, network: &str, ignored: impl Fn(&str) -> bool) -> Result<()> {
    let unread: Vec<_> = weights.unused().into_iter().filter(|name| !ignored(name)).collect();
    let Some(first) = unread.first() else { return Ok(()) };
    let more = if unread.len() > 1 { format!(" and {} others", unread.len() - 1) } else { String::new() };
    let message = format!("{}: a variant of {network} that isn't supported: it has `{first}`{more}", weights.name());
    Err(Error::new(ErrorKind::Weights, message).hint(SUPPORTED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    fn refusal(tensor: &str) -> String {
        let weights = Weights::from_tensors("w", &[(tensor.to_owned(), Tensor::zeros([1]))]);
        Layout::of(&weights).unwrap_err().to_string()
    }

    #[test]
    fn each_network_that_does_not_load_is_refused_by_its_name() {
        for (marker, _) in REFUSED {
            let message = refusal(marker);
            // A marker within another is found under that one's name.
            let (found, network) = *REFUSED.iter().find(|(found, _)| marker.contains(found)).unwrap();
            assert_eq!(message, format!("w: not supported: {network}, by its tensor `{marker}`"), "{found}");
        }
        for (present, absent, network) in INCOMPLETE {
            let message = refusal(present);
            assert_eq!(message, format!("w: not supported: {network}, by its `{present}` without `{absent}`"));
        }
    }
}
