//! Well-known architectures without a file: their shapes at any input size, with weights from the formula.
//!
//! ```
//! use heatlens::models::Architecture;
//!
//! let network = Architecture::Resnet18.load(Some(64))?;
//! assert_eq!(network.record(4)?.batch(), 4);
//! # Ok::<(), heatlens::Error>(())
//! ```

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::resnet::{Family, Resnet};
use super::specs::{Specs, TextSizes, VisionSizes, resnet};
use super::{ClassifierOutput, ClipText, ClipVision, Network};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Filter, Preprocess, Resize, Rounding};
use crate::plan::{Plan, Var};
use crate::weights::{Precision, Weights, formula};

/// An architecture by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// ResNet-18.
    Resnet18,
    /// ResNet-50.
    Resnet50,
    /// The image tower of CLIP ViT-B/32.
    VitB32,
    /// The image tower of CLIP ViT-B/16.
    VitB16,
    /// The text tower of CLIP ViT-B/32.
    VitB32Text,
}

/// What an architecture is made of.
enum Form {
    Resnet { depths: [usize; 4], bottleneck: bool, size: usize },
    Vision { patch: usize, size: usize },
    Text,
}

/// A network with weights from the formula, for pictures of one size or for prompts.
#[derive(Debug, Clone)]
pub struct FormulaNetwork(Layers);

#[derive(Debug, Clone)]
enum Layers {
    /// For pictures of `size`² pixels.
    Pictures { tower: Tower, size: usize },
    /// For prompts as long as the context.
    Prompts(ClipText),
}

#[derive(Debug, Clone)]
enum Tower {
    Resnet(Resnet),
    Vision(ClipVision),
}

/// How large the samples are that a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum SampleSize {
    /// Height and width of pictures in pixels.
    #[serde(rename = "size")]
    Pixels(usize),
    /// Tokens of prompts.
    #[serde(rename = "tokens")]
    Tokens(usize),
}

/// The samples of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Samples {
    /// RGB pictures, `[batch, size, size, 3]`.
    Pictures(Vec<u8>),
    /// Token ids, `[batch, tokens]`.
    Prompts(Vec<u32>),
}

/// The edge of pictures in pixels if none is asked for.
const USUAL_SIZE: usize = 224;

/// The text tower of CLIP ViT-B/32.
const TEXT: TextSizes = TextSizes { width: 512, depth: 12, vocabulary: 49408, context: 77, embedding: 512 };

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Resnet18, Self::Resnet50, Self::VitB32, Self::VitB16, Self::VitB32Text];

    /// Its name: `resnet18`, `resnet50`, `vit-b-32`, `vit-b-16` or `vit-b-32-text`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resnet18 => "resnet18",
            Self::Resnet50 => "resnet50",
            Self::VitB32 => "vit-b-32",
            Self::VitB16 => "vit-b-16",
            Self::VitB32Text => "vit-b-32-text",
        }
    }

    /// Whether it takes pictures rather than prompts.
    pub fn takes_pictures(self) -> bool {
        self != Self::VitB32Text
    }

    fn form(self, asked: Option<usize>) -> Result<Form> {
        let size = asked.unwrap_or(USUAL_SIZE);
        let form = match self {
            Self::Resnet18 => Form::Resnet { depths: [2, 2, 2, 2], bottleneck: false, size },
            Self::Resnet50 => Form::Resnet { depths: [3, 4, 6, 3], bottleneck: true, size },
            Self::VitB32 => Form::Vision { patch: 32, size },
            Self::VitB16 => Form::Vision { patch: 16, size },
            Self::VitB32Text => Form::Text,
        };
        let message = match form {
            Form::Text if asked.is_some() => format!("{} takes prompts, which have no size in pixels", self.name()),
            _ if size == 0 => "pictures of no pixels can't be run".to_owned(),
            Form::Vision { patch, .. } if !size.is_multiple_of(patch) => {
                format!("{} takes sizes that are multiples of its patch of {patch} pixels, not {size}", self.name())
            }
            _ => return Ok(form),
        };
        Err(Error::new(ErrorKind::Usage, message))
    }

    /// Whether it takes pictures whose edge has this many pixels; none = 224, or that no edge is asked for as it takes prompts.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] saying which sizes it takes, or that prompts have none.
    pub fn check_size(self, size: Option<usize>) -> Result<()> {
        self.form(size).map(drop)
    }

    /// The network for pictures of `size`² pixels (none = 224), where a vision transformer gets as many positions as that
    /// makes patches, or for prompts of 77 tokens.
    ///
    /// # Errors
    /// Those of [`check_size`](Self::check_size).
    pub fn load(self, size: Option<usize>) -> Result<FormulaNetwork> {
        self.load_in(size, Precision::F32)
    }

    /// As [`load`](Self::load), the weights held in `precision` on the GPU.
    ///
    /// # Errors
    /// Those of [`check_size`](Self::check_size).
    pub fn load_in(self, size: Option<usize>, precision: Precision) -> Result<FormulaNetwork> {
        let weights = |specs| weights(self.name(), specs).with_precision(precision);
        Ok(FormulaNetwork(match self.form(size)? {
            Form::Resnet { depths, bottleneck, size } => {
                let weights = weights(resnet(&[64, 128, 256, 512], &depths, bottleneck, 1000));
                Layers::Pictures { tower: Tower::Resnet(Resnet::from_weights(&weights, Family::Torchvision)?), size }
            }
            Form::Vision { patch, size } => {
                let sizes = VisionSizes { width: 768, depth: 12, patch, grid: size / patch, embedding: 512 };
                let weights = weights(sizes.open_clip());
                Layers::Pictures { tower: Tower::Vision(ClipVision::openai(&weights)?), size }
            }
            Form::Text => Layers::Prompts(ClipText::openai(&weights(TEXT.open_clip()))?),
        }))
    }
}

impl fmt::Display for SampleSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pixels(size) => write!(f, "{size}×{size}"),
            Self::Tokens(tokens) => write!(f, "{tokens} tokens"),
        }
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|architecture| architecture.name() == text)
            .ok_or_else(|| format!("expected one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

fn weights(name: &str, specs: Specs) -> Weights {
    let tensors: Vec<_> = specs
        .into_iter()
        .map(|(name, shape)| {
            let tensor = formula::tensor(&name, &shape);
            (name, tensor)
        })
        .collect();
    Weights::from_tensors(name, &tensors)
}

/// A prompt of `tokens` tokens: the start, words, and the end, which has the vocabulary's largest id.
fn prompt(name: &str, tokens: usize, vocabulary: usize) -> Vec<u32> {
    let seed = formula::seed(name);
    let [start, end] = [vocabulary - 2, vocabulary - 1].map(|id| id as u32);
    let word = |index| (formula::word(seed, index) % u64::from(start)) as u32;
    [start].into_iter().chain((2..tokens).map(word)).chain([end]).collect()
}

impl FormulaNetwork {
    /// Records the forward pass on `batch` [`samples`](Self::samples): an input `pixels`, `u8 [batch, size, size, 3]`, or
    /// `ids`, `u32 [batch, tokens]`. The output is `logits`, or CLIP's `embedding`.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if pictures have 2³² pixels or more, or prompts as many tokens.
    pub fn record(&self, batch: usize) -> Result<Plan> {
        self.check_batch(batch)?;
        let mut plan = Plan::new(batch);
        let input = self.add_input(&mut plan);
        self.record_on(&mut plan, input);
        Ok(plan)
    }

    /// An input of its samples.
    pub(crate) fn add_input(&self, plan: &mut Plan) -> Var {
        match self.sample_size() {
            SampleSize::Pixels(size) => plan.input_pixels(self.input(), size, size),
            SampleSize::Tokens(tokens) => plan.input_indices(self.input(), tokens),
        }
    }

    /// Whether one run takes `batch` samples.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if they have 2³² pixels or tokens or more.
    pub(crate) fn check_batch(&self, batch: usize) -> Result<()> {
        let (one, what, hint) = match self.sample_size() {
            SampleSize::Pixels(size) => (size.checked_mul(size), "pictures", "use a smaller --batch or --size"),
            SampleSize::Tokens(tokens) => (Some(tokens), "prompts", "use a smaller --batch"),
        };
        let all = one.and_then(|one| one.checked_mul(batch));
        if all.is_none_or(|all| u32::try_from(all).is_err()) {
            let message = format!("{batch} {what} of {} are more than one run can take", self.sample_size());
            return Err(Error::new(ErrorKind::Limit, message).hint(hint));
        }
        Ok(())
    }

    /// Records the forward pass on an input of its samples, and names its output.
    pub(crate) fn record_on(&self, plan: &mut Plan, input: Var) {
        let input = self.normalized(plan, input);
        let result = match &self.0 {
            Layers::Pictures { tower: Tower::Resnet(resnet), .. } => resnet.record(plan, input).logits,
            Layers::Pictures { tower: Tower::Vision(vision), .. } => vision.record(plan, input),
            Layers::Prompts(text) => text.record(plan, input),
        };
        plan.output(self.output(), result);
    }

    /// As [`record_on`](Self::record_on) without naming outputs, where the network is a classifier.
    pub(crate) fn classify_on(&self, plan: &mut Plan, input: Var) -> Option<ClassifierOutput> {
        let Layers::Pictures { tower: Tower::Resnet(resnet), .. } = &self.0 else { return None };
        let pixels = self.normalized(plan, input);
        Some(resnet.record(plan, pixels))
    }

    /// What the layers take: normalised pixels, or ids as they are.
    fn normalized(&self, plan: &mut Plan, input: Var) -> Var {
        match self.preprocess() {
            Some(preprocess) => super::normalize(plan, input, &preprocess),
            None => input,
        }
    }

    /// What becomes of a picture of another size: the shorter edge to `size` (bicubic), then the square in its middle. None for
    /// a network that takes prompts.
    pub(crate) fn preprocess(&self) -> Option<Preprocess> {
        let SampleSize::Pixels(size) = self.sample_size() else { return None };
        Some(Preprocess {
            resize: Resize::ShortestEdge(size),
            filter: Filter::Bicubic,
            height: size,
            width: size,
            rounding: Rounding::HalfEven,
            fill: [0; 3],
            scale: 1.0 / 255.0,
            mean: [0.5; 3],
            std: [0.25; 3],
        })
    }

    /// How large the pictures or prompts are that it takes.
    pub fn sample_size(&self) -> SampleSize {
        match &self.0 {
            &Layers::Pictures { size, .. } => SampleSize::Pixels(size),
            Layers::Prompts(text) => SampleSize::Tokens(text.context()),
        }
    }

    /// The name of the plan's input.
    pub fn input(&self) -> &'static str {
        match self.0 {
            Layers::Pictures { .. } => "pixels",
            Layers::Prompts(_) => "ids",
        }
    }

    /// The name of the plan's output.
    pub fn output(&self) -> &'static str {
        match self.0 {
            Layers::Pictures { tower: Tower::Resnet(_), .. } => "logits",
            Layers::Pictures { tower: Tower::Vision(_), .. } | Layers::Prompts(_) => "embedding",
        }
    }

    /// `batch` samples from the formula.
    pub fn samples(&self, batch: usize) -> Samples {
        let names = (0..batch).map(|number| format!("bench/{number}"));
        match &self.0 {
            &Layers::Pictures { size, .. } => {
                Samples::Pictures(names.flat_map(|name| formula::picture(&name, size, size)).collect())
            }
            Layers::Prompts(text) => {
                Samples::Prompts(names.flat_map(|name| prompt(&name, text.context(), text.vocabulary())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_the_architecture_takes() {
        assert!(Architecture::ALL.into_iter().all(|architecture| architecture.check_size(None).is_ok()));
        assert!(Architecture::Resnet50.check_size(Some(1)).is_ok());
        assert!(Architecture::VitB16.check_size(Some(240)).is_ok());
        assert!(Architecture::Resnet18.check_size(Some(0)).is_err());
        assert!(Architecture::VitB32.check_size(Some(0)).is_err());
        let refusal = |architecture: Architecture, size| architecture.check_size(Some(size)).unwrap_err().to_string();
        let multiples = "vit-b-32 takes sizes that are multiples of its patch of 32 pixels, not 240";
        assert_eq!(refusal(Architecture::VitB32, 240), multiples);
        assert_eq!(refusal(Architecture::VitB32Text, 224), "vit-b-32-text takes prompts, which have no size in pixels");
    }

    #[test]
    fn prompts_fill_the_context_and_end_with_the_largest_id() {
        let network = Architecture::VitB32Text.load(None).unwrap();
        assert_eq!(network.sample_size(), SampleSize::Tokens(77));
        let Samples::Prompts(ids) = network.samples(2) else { panic!("no prompts") };
        let prompts: Vec<&[u32]> = ids.chunks(77).collect();
        assert_eq!(prompts.len(), 2);
        assert_ne!(prompts[0], prompts[1]);
        for prompt in prompts {
            assert_eq!((prompt[0], prompt[76]), (49406, 49407));
            assert!(prompt[1..76].iter().all(|&id| id < 49406), "{prompt:?}");
        }
        assert_eq!(network.record(1 << 26).unwrap_err().kind(), ErrorKind::Limit);
    }

    #[test]
    fn work_is_that_of_the_literature() {
        // GMAC of one picture of 224×224 or of one prompt: He et al. (2015) and torchvision for ResNets, open_clip's profile for
        // CLIP.
        let literature =
            [(Architecture::Resnet18, 1.82), (Architecture::VitB32, 4.41), (Architecture::VitB32Text, 2.98)];
        for (architecture, expected) in literature {
            let network = architecture.load(None).unwrap();
            let plan = network.record(1).unwrap();
            let found = plan.flops() as f64 / 2e9;
            // The plan counts the padding of the picture's three colours to four channels.
            assert!((found / expected - 1.0).abs() < 0.03, "{}: {found}", architecture.name());
            assert_eq!(plan.outputs()[0].0, network.output());
        }
    }

    #[test]
    fn names_are_read_back() {
        for architecture in Architecture::ALL {
            assert_eq!(architecture.name().parse(), Ok(architecture));
        }
        assert!("vgg16".parse::<Architecture>().unwrap_err().contains("resnet18, resnet50, vit-b-32"));
    }

    #[test]
    fn more_pixels_than_a_run_takes_are_refused() {
        let network = Architecture::Resnet18.load(Some(64)).unwrap();
        assert_eq!(network.record(1 << 20).unwrap_err().kind(), ErrorKind::Limit);
        assert_eq!(network.record(usize::MAX).unwrap_err().kind(), ErrorKind::Limit);
    }
}
