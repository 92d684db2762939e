//! CLIP: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021), with a vision
//! transformer or a ResNet as its image tower.

mod names;
mod settings;
mod text;
mod vision;
mod vision_resnet;
mod vision_transformer;

use std::path::Path;

pub use text::ClipText;
pub use vision::ClipVision;

use serde_json::json;

use super::layout::{ClipLayout, Layout, refuse_unread};
use super::loading::held_linear;
use super::{normalize, parameter_count, pixel_input};
use crate::error::{Error, ErrorKind, Result};
use crate::image::Preprocess;
use crate::layers::Linear;
use crate::plan::{Plan, Var};
use crate::text::Tokenizer;
use crate::weights::{ModelFiles, Precision, Weights};
use names::Names;
use settings::ClipSettings;

/// An image tower and a text tower with all that belongs to them.
#[derive(Debug, Clone)]
pub struct Clip {
    vision: ClipVision,
    text: ClipText,
    tokenizer: Tokenizer,
    preprocess: Preprocess,
    logit_scale: f32,
    parameters: usize,
    sha256: String,
    precision: Precision,
}

impl Clip {
    /// Loads the CLIP at `path`, a folder or a `.safetensors` file; see [`load`](Self::load).
    ///
    /// # Errors
    /// Those of [`ModelFiles::open`] and [`load`](Self::load).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::load(&ModelFiles::open(path)?)
    }

    /// Loads a CLIP from its files: Hugging Face's layout with `config.json` and `preprocessor_config.json` (or `processor_config.json`), or OpenAI's
    /// and open_clip's with `open_clip_config.json`, and in both the tokenizer's files.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] if it is another network or a variant that isn't supported, or if a tensor is missing or of
    /// another shape; [`ErrorKind::Config`] if a file is missing, can't be followed or doesn't fit the weights; or a
    /// file's own error.
    pub fn load(files: &ModelFiles) -> Result<Self> {
        let weights = files.weights();
        let layout = match Layout::of(weights)? {
            Layout::Clip(layout) => layout,
            Layout::Classifier(_) => return Err(weights.error("an image classifier; a CLIP was expected")),
        };
        let settings = match layout {
            ClipLayout::HuggingFace => ClipSettings::from_hugging_face(files.require_config("config.json", SETTINGS)?)?,
            ClipLayout::OpenClip { .. } => {
                let by_openai = OPENAI_MARKS.iter().all(|name| files.weights().contains(name));
                ClipSettings::from_open_clip(files.require_config("open_clip_config.json", SETTINGS)?, by_openai)?
            }
        };
        let names = Names::of(layout);
        let vision = ClipVision::load(weights, &names, settings.vision)?;
        let text = ClipText::load(weights, &names, settings.text, settings.end)?;
        if vision.embedding_dim() != text.embedding_dim() {
            let (image, text) = (vision.embedding_dim(), text.embedding_dim());
            return Err(weights.error(format!("image embeddings have {image} values, but text embeddings {text}")));
        }
        let logit_scale = logit_scale(weights)?;
        refuse_unread(weights, "CLIP", is_ignored)?;

        let preprocess = match layout {
            ClipLayout::OpenClip { .. } => open_clip_preprocess(files, vision.image_size())?,
            ClipLayout::HuggingFace => hugging_face_preprocess(files, vision.image_size())?,
        };
        let tokenizer = tokenizer(files, &text)?;
        let (parameters, sha256) = (parameter_count(weights), weights.sha256().to_owned());
        let precision = weights.precision();
        Ok(Self { vision, text, tokenizer, preprocess, logit_scale, parameters, sha256, precision })
    }

    /// The image tower.
    pub fn vision(&self) -> &ClipVision {
        &self.vision
    }

    /// The text tower.
    pub fn text(&self) -> &ClipText {
        &self.text
    }

    /// What makes prompts into the ids that the text tower takes.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// How pictures are made into the image tower's input.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The factor of cosines in zero-shot logits (the exponential of the stored value).
    pub fn logit_scale(&self) -> f32 {
        self.logit_scale
    }

    /// The number E of values of an embedding.
    pub fn embedding_dim(&self) -> usize {
        self.vision.embedding_dim()
    }

    /// The number of trained values of both towers.
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// The SHA-256 of its weights, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// How the weights of both towers are held on the GPU.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// An input of 8-bit pixels as [`preprocess`](Self::preprocess) makes them.
    pub fn image_input(&self, plan: &mut Plan) -> Var {
        pixel_input(plan, &self.preprocess)
    }

    /// Records the image tower on such an input: embeddings `[n, E]`, not normalised.
    pub fn record_image(&self, plan: &mut Plan, pixels: Var) -> Var {
        let pixels = normalize(plan, pixels, &self.preprocess);
        self.vision.record(plan, pixels)
    }

    /// An input of token ids, as long as the text tower's context.
    pub fn text_input(&self, plan: &mut Plan) -> Var {
        plan.input_indices("ids", self.text.context())
    }

    /// Records the text tower on such an input: embeddings `[n, E]`, not normalised.
    pub fn record_text(&self, plan: &mut Plan, ids: Var) -> Var {
        self.text.record(plan, ids)
    }
}

/// What a CLIP's configuration is needed for.
const SETTINGS: &str = "which activation it uses";

/// Scalars that only the weights published by OpenAI carry.
const OPENAI_MARKS: [&str; 3] = ["input_resolution", "context_length", "vocab_size"];

/// Tensors that some files carry and no forward pass of embeddings reads.
fn is_ignored(name: &str) -> bool {
    let is_buffer = ["attn_mask", "logit_bias"].contains(&name) || OPENAI_MARKS.contains(&name);
    name.ends_with(".position_ids") || name.ends_with(".num_batches_tracked") || is_buffer
}

/// A projection of `width` channels without bias, stored as `[outputs, width]` or, `transposed`, as `[width, outputs]`.
fn projection(weights: &Weights, name: &str, width: usize, transposed: bool) -> Result<Linear> {
    let [rows, columns] = weights.extents(name)?;
    let weight = if transposed {
        weights.tensor_shaped(name, &[width, columns])?.transpose()
    } else {
        weights.tensor_shaped(name, &[rows, width])?
    };
    held_linear(weights, Linear::new(name, &weight, None))
}

fn logit_scale(weights: &Weights) -> Result<f32> {
    let scale = weights.tensor("logit_scale")?;
    match scale.data() {
        [scale] => Ok(scale.exp()),
        _ => Err(weights.error(format!("tensor `logit_scale` has shape {:?}, not [] or [1]", scale.shape()))),
    }
}

fn hugging_face_preprocess(files: &ModelFiles, size: [usize; 2]) -> Result<Preprocess> {
    let (settings, config) = files.image_processor()?;
    let preprocess = Preprocess::from_hf(settings, Some("clip"), Path::new(config.name()))?;
    let [height, width] = size;
    if [preprocess.height, preprocess.width] == size {
        return Ok(preprocess);
    }
    let made = format!("{}×{}", preprocess.width, preprocess.height);
    let message = format!("{}: makes {made} pixels, but the image tower takes {width}×{height}", config.name());
    Err(Error::new(ErrorKind::Config, message))
}

fn open_clip_preprocess(files: &ModelFiles, size: [usize; 2]) -> Result<Preprocess> {
    let config = files.require_config("open_clip_config.json", "how pictures are prepared")?;
    // open_clip rounds a ResNet's size down to a multiple of 32 for its positions, and yet feeds it whole pictures.
    let edge = "model_cfg.vision_cfg.image_size";
    if let Some(found) = config.get(edge).filter(|found| [json!(size), json!(size[0])].iter().all(|s| s != *found)) {
        let [height, width] = size;
        return Err(config.error(edge, format!("is {found}, but the positions are those of {width}×{height} pixels")));
    }
    let section = config.get("preprocess_cfg").unwrap_or(&serde_json::Value::Null);
    Preprocess::from_open_clip(section, size, Path::new(config.name()))
}

fn tokenizer(files: &ModelFiles, text: &ClipText) -> Result<Tokenizer> {
    let Some(folder) = files.folder() else {
        let message = format!("{}: a CLIP needs a folder with its tokenizer's files", files.weights().name());
        return Err(Error::new(ErrorKind::Config, message));
    };
    let tokenizer = Tokenizer::from_dir(folder)?;
    let (ids, rows) = (tokenizer.vocabulary_size(), text.vocabulary());
    if ids > rows {
        let message = format!("{}: the tokenizer has {ids} tokens, but the text tower {rows}", folder.display());
        return Err(Error::new(ErrorKind::Mismatch, message));
    }
    Ok(tokenizer)
}

#[cfg(test)]
mod tests;
