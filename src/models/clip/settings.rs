//! What a CLIP's configuration says and its weights don't: heads, activation, epsilon, the end token.

use crate::error::Result;
use crate::layers::{Activation, EndToken};
use crate::models::loading::activation;
use crate::models::transformer::{Heads, TransformerSettings};
use crate::weights::Config;

/// The id that transformers treats as "take the largest id", because its first configurations had it by mistake.
const LEGACY_END: usize = 2;
/// CLIP's end token in transformers' defaults.
const DEFAULT_END: usize = 49407;
/// PyTorch's default of layer norms.
const DEFAULT_EPSILON: f64 = 1e-5;

/// The towers of OpenAI's release; their transformers' heads all have this width.
pub(super) const OPENAI: TransformerSettings =
    TransformerSettings { heads: Heads::Width(64), activation: Activation::QuickGelu, epsilon: DEFAULT_EPSILON as f32 };

/// Settings of a whole CLIP.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ClipSettings {
    pub(super) vision: TransformerSettings,
    pub(super) text: TransformerSettings,
    pub(super) end: EndToken,
}

impl ClipSettings {
    /// From transformers' `config.json`. What it leaves out has transformers' defaults, as it writes only what differs.
    pub(super) fn from_hugging_face(config: &Config) -> Result<Self> {
        if let Some(kind) = config.text("model_type")?.filter(|&kind| kind != "clip") {
            return Err(config.error("model_type", format!("is {kind}; clip was expected")));
        }
        let tower = |section: &str, default_heads: usize| -> Result<TransformerSettings> {
            let heads = config.integer(&format!("{section}.num_attention_heads"))?.unwrap_or(default_heads);
            Ok(TransformerSettings {
                heads: Heads::Count(heads),
                activation: activation(config, &format!("{section}.hidden_act"), Activation::QuickGelu)?,
                epsilon: config.number(&format!("{section}.layer_norm_eps"))?.unwrap_or(DEFAULT_EPSILON) as f32,
            })
        };
        let end = "text_config.eos_token_id";
        let end = match config.integer(end)?.unwrap_or(DEFAULT_END) {
            LEGACY_END => EndToken::LargestId,
            id => {
                EndToken::First(u32::try_from(id).map_err(|_| config.error(end, format!("is {id}, not a token id")))?)
            }
        };
        Ok(Self { vision: tower("vision_config", 12)?, text: tower("text_config", 8)?, end })
    }

    /// From open_clip's `open_clip_config.json`, with open_clip's defaults. Weights as OpenAI published them (`by_openai`) use
    /// QuickGELU unless the configuration says otherwise.
    pub(super) fn from_open_clip(config: &Config, by_openai: bool) -> Result<Self> {
        if config.get("model_cfg").is_none() {
            return Err(config.error("model_cfg", "is missing"));
        }
        refuse_variants(config)?;
        let activation = match config.flag("model_cfg.quick_gelu")?.unwrap_or(by_openai) {
            true => Activation::QuickGelu,
            false => Activation::Gelu,
        };
        let tower = |section: &str, heads: Heads| -> Result<TransformerSettings> {
            let epsilon = config.number(&format!("model_cfg.{section}.norm_kwargs.eps"))?.unwrap_or(DEFAULT_EPSILON);
            Ok(TransformerSettings { heads, activation, epsilon: epsilon as f32 })
        };
        let image_heads = Heads::Width(config.integer("model_cfg.vision_cfg.head_width")?.unwrap_or(64));
        let text_heads = Heads::Count(config.integer("model_cfg.text_cfg.heads")?.unwrap_or(8));
        let (vision, text) = (tower("vision_cfg", image_heads)?, tower("text_cfg", text_heads)?);
        Ok(Self { vision, text, end: EndToken::LargestId })
    }
}

/// Fails on options of open_clip that change the computation without showing in the weights.
fn refuse_variants(config: &Config) -> Result<()> {
    const PLAIN: [(&str, &[&str]); 15] = [
        ("multimodal_cfg", &[]),
        ("vision_cfg.timm_model_name", &[]),
        ("vision_cfg.pool_type", &["\"tok\""]),
        ("vision_cfg.pos_embed_type", &["\"learnable\""]),
        ("vision_cfg.global_average_pool", &["false"]),
        ("vision_cfg.attentional_pool", &["false"]),
        ("vision_cfg.final_ln_after_pool", &["false"]),
        ("vision_cfg.no_ln_pre", &["false"]),
        ("vision_cfg.act_kwargs", &["{}"]),
        ("text_cfg.hf_model_name", &[]),
        ("text_cfg.pool_type", &["\"argmax\""]),
        ("text_cfg.no_causal_mask", &["false"]),
        ("text_cfg.embed_cls", &["false"]),
        ("text_cfg.final_ln_after_pool", &["false"]),
        ("text_cfg.act_kwargs", &["{}"]),
    ];
    for (option, plain) in PLAIN {
        let path = format!("model_cfg.{option}");
        if let Some(value) = config.get(&path).map(ToString::to_string).filter(|value| !plain.contains(&&value[..])) {
            return Err(config.error(&path, format!("is {value}, which isn't supported")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn hugging_face(json: &str) -> Result<ClipSettings> {
        ClipSettings::from_hugging_face(&Config::parse("config.json", json)?)
    }

    fn open_clip(json: &str) -> Result<ClipSettings> {
        ClipSettings::from_open_clip(&Config::parse("open_clip_config.json", json)?, false)
    }

    /// Defaults of transformers' CLIPVisionConfig and CLIPTextConfig.
    #[test]
    fn hugging_face_defaults() {
        let settings = hugging_face(r#"{"model_type": "clip", "text_config": {}, "vision_config": null}"#).unwrap();
        let tower = |heads| TransformerSettings {
            heads: Heads::Count(heads),
            activation: Activation::QuickGelu,
            epsilon: 1e-5,
        };
        assert_eq!(settings, ClipSettings { vision: tower(12), text: tower(8), end: EndToken::First(49407) });
    }

    #[test]
    fn hugging_face_towers_are_set_apart() {
        let settings = hugging_face(
            r#"{"vision_config": {"hidden_act": "gelu", "num_attention_heads": 16, "layer_norm_eps": 1e-6},
                "text_config": {"hidden_act": "quick_gelu", "num_attention_heads": 2, "eos_token_id": 686}}"#,
        )
        .unwrap();
        assert_eq!(
            settings.vision,
            TransformerSettings { heads: Heads::Count(16), activation: Activation::Gelu, epsilon: 1e-6 }
        );
        assert_eq!(
            settings.text,
            TransformerSettings { heads: Heads::Count(2), activation: Activation::QuickGelu, epsilon: 1e-5 }
        );
        assert_eq!(settings.end, EndToken::First(686));
        assert_eq!(hugging_face(r#"{"text_config": {"eos_token_id": 2}}"#).unwrap().end, EndToken::LargestId);
    }

    #[test]
    fn open_clip_defaults() {
        let settings = open_clip(r#"{"model_cfg": {"vision_cfg": {"width": 768}, "text_cfg": {}}}"#).unwrap();
        let tower = |heads| TransformerSettings { heads, activation: Activation::Gelu, epsilon: 1e-5 };
        let expected =
            ClipSettings { vision: tower(Heads::Width(64)), text: tower(Heads::Count(8)), end: EndToken::LargestId };
        assert_eq!(settings, expected);
    }

    #[test]
    fn weights_by_openai_use_quick_gelu_unless_told_otherwise() {
        let activation = |json: &str| {
            let config = Config::parse("open_clip_config.json", json).unwrap();
            ClipSettings::from_open_clip(&config, true).unwrap().vision.activation
        };
        assert_eq!(activation(r#"{"model_cfg": {}}"#), Activation::QuickGelu);
        assert_eq!(activation(r#"{"model_cfg": {"quick_gelu": false}}"#), Activation::Gelu);
    }

    #[test]
    fn open_clip_settings() {
        let settings = open_clip(
            r#"{"model_cfg": {"quick_gelu": true, "custom_text": false,
                "vision_cfg": {"head_width": 80, "norm_kwargs": {"eps": 1e-6}, "pool_type": "tok", "no_ln_pre": false},
                "text_cfg": {"heads": 12, "hf_model_name": null}}}"#,
        )
        .unwrap();
        assert_eq!(
            settings.vision,
            TransformerSettings { heads: Heads::Width(80), activation: Activation::QuickGelu, epsilon: 1e-6 }
        );
        assert_eq!(
            settings.text,
            TransformerSettings { heads: Heads::Count(12), activation: Activation::QuickGelu, epsilon: 1e-5 }
        );
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (json, message) in [
            (r#"{"model_type": "siglip"}"#, "config.json: `model_type` is siglip; clip was expected"),
            (
                r#"{"vision_config": {"hidden_act": "gelu_new"}}"#,
                "config.json: `vision_config.hidden_act` is gelu_new; relu, quick_gelu and gelu are supported",
            ),
            (
                r#"{"text_config": {"num_attention_heads": "eight"}}"#,
                "config.json: `text_config.num_attention_heads` is \"eight\"; a whole number was expected",
            ),
        ] {
            let error = hugging_face(json).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message));
        }
        for (json, message) in [
            (r#"{"preprocess_cfg": {}}"#, "open_clip_config.json: `model_cfg` is missing"),
            (
                r#"{"model_cfg": {"vision_cfg": {"pool_type": "avg"}}}"#,
                "open_clip_config.json: `model_cfg.vision_cfg.pool_type` is \"avg\", which isn't supported",
            ),
            (
                r#"{"model_cfg": {"text_cfg": {"no_causal_mask": true}}}"#,
                "open_clip_config.json: `model_cfg.text_cfg.no_causal_mask` is true, which isn't supported",
            ),
        ] {
            let error = open_clip(json).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, message));
        }
    }
}
