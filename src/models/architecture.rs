//! Well-known architectures without a file: their shapes at any input size, with weights from the formula.
//!
//! ```
//! use heatlens::models::Architecture;
//!
//! let network = Architecture::Resnet18.load(64)?;
//! assert_eq!(network.record(4)?.batch(), 4);
//! # Ok::<(), heatlens::Error>(())
//! ```

use std::str::FromStr;

use super::resnet::{Family, Resnet};
use super::specs::{Specs, VisionSizes, resnet};
use super::{ClassifierOutput, ClipVision, Network};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Filter, Preprocess, Resize, Rounding};
use crate::plan::{Plan, Var};
use crate::weights::{Weights, formula};

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
}

/// A network with weights from the formula, for pictures of one size.
#[derive(Debug, Clone)]
pub struct FormulaNetwork {
    layers: Layers,
    size: usize,
}

#[derive(Debug, Clone)]
enum Layers {
    Resnet(Resnet),
    Vision(ClipVision),
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Resnet18, Self::Resnet50, Self::VitB32, Self::VitB16];

    /// Its name: `resnet18`, `resnet50`, `vit-b-32` or `vit-b-16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resnet18 => "resnet18",
            Self::Resnet50 => "resnet50",
            Self::VitB32 => "vit-b-32",
            Self::VitB16 => "vit-b-16",
        }
    }

    /// The pixels along an edge of a patch; none for networks without patches.
    fn patch(self) -> Option<usize> {
        match self {
            Self::Resnet18 | Self::Resnet50 => None,
            Self::VitB32 => Some(32),
            Self::VitB16 => Some(16),
        }
    }

    /// Whether it takes pictures of `size`² pixels.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] saying which sizes it takes.
    pub fn check_size(self, size: usize) -> Result<()> {
        let message = match self.patch() {
            _ if size == 0 => "pictures of no pixels can't be run".to_owned(),
            Some(patch) if !size.is_multiple_of(patch) => {
                format!("{} takes sizes that are multiples of its patch of {patch} pixels, not {size}", self.name())
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Usage, message))
    }

    /// The network for pictures of `size`² pixels; a vision transformer gets as many positions as that makes patches.
    ///
    /// # Errors
    /// Those of [`check_size`](Self::check_size).
    pub fn load(self, size: usize) -> Result<FormulaNetwork> {
        self.check_size(size)?;
        let specs = match self.patch() {
            None => {
                let (depths, bottleneck) = match self {
                    Self::Resnet50 => ([3, 4, 6, 3], true),
                    _ => ([2, 2, 2, 2], false),
                };
                resnet(&[64, 128, 256, 512], &depths, bottleneck, 1000)
            }
            Some(patch) => VisionSizes { width: 768, depth: 12, patch, grid: size / patch, embedding: 512 }.open_clip(),
        };
        let weights = weights(self.name(), specs);
        let layers = match self.patch() {
            None => Layers::Resnet(Resnet::from_weights(&weights, Family::Torchvision)?),
            Some(_) => Layers::Vision(ClipVision::openai(&weights)?),
        };
        Ok(FormulaNetwork { layers, size })
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

impl FormulaNetwork {
    /// Records the forward pass on an input `pixels` of `batch` pictures, `u8 [batch, size, size, 3]`: the output is
    /// `logits`, or CLIP's `embedding`.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if the pictures have 2³² pixels or more.
    pub fn record(&self, batch: usize) -> Result<Plan> {
        self.check_batch(batch)?;
        let mut plan = Plan::new(batch);
        let bytes = plan.input_pixels("pixels", self.size, self.size);
        self.record_on(&mut plan, bytes);
        Ok(plan)
    }

    /// Whether one run takes `batch` pictures.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if they have 2³² pixels or more.
    pub(crate) fn check_batch(&self, batch: usize) -> Result<()> {
        let size = self.size;
        let pixels = batch.checked_mul(size).and_then(|row| row.checked_mul(size));
        if pixels.is_none_or(|pixels| u32::try_from(pixels).is_err()) {
            let message = format!("{batch} pictures of {size}×{size} pixels are more than one run can take");
            return Err(Error::new(ErrorKind::Limit, message).hint("use a smaller --batch or --size"));
        }
        Ok(())
    }

    /// Records the forward pass on `bytes`, `u8 [batch, size, size, 3]`, and names its output.
    pub(crate) fn record_on(&self, plan: &mut Plan, bytes: Var) {
        let pixels = super::normalize(plan, bytes, &self.preprocess());
        let result = match &self.layers {
            Layers::Resnet(resnet) => resnet.record(plan, pixels).logits,
            Layers::Vision(vision) => vision.record(plan, pixels),
        };
        plan.output(self.output(), result);
    }

    /// As [`record_on`](Self::record_on) without naming outputs, where the network is a classifier.
    pub(crate) fn classify_on(&self, plan: &mut Plan, bytes: Var) -> Option<ClassifierOutput> {
        let Layers::Resnet(resnet) = &self.layers else { return None };
        let pixels = super::normalize(plan, bytes, &self.preprocess());
        Some(resnet.record(plan, pixels))
    }

    /// What becomes of a picture of another size: the shorter edge to `size` (bicubic), then the square in its middle.
    pub(crate) fn preprocess(&self) -> Preprocess {
        let size = self.size;
        Preprocess {
            resize: Resize::ShortestEdge(size),
            filter: Filter::Bicubic,
            height: size,
            width: size,
            rounding: Rounding::HalfEven,
            fill: [0; 3],
            scale: 1.0 / 255.0,
            mean: [0.5; 3],
            std: [0.25; 3],
        }
    }

    /// The name of the plan's output.
    pub fn output(&self) -> &'static str {
        match self.layers {
            Layers::Resnet(_) => "logits",
            Layers::Vision(_) => "embedding",
        }
    }

    /// `batch` pictures of its size.
    pub fn pictures(&self, batch: usize) -> Vec<u8> {
        (0..batch).flat_map(|number| formula::picture(&format!("bench/{number}"), self.size, self.size)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_the_architecture_takes() {
        assert!(Architecture::Resnet50.check_size(1).is_ok());
        assert!(Architecture::VitB16.check_size(240).is_ok());
        assert!(Architecture::Resnet18.check_size(0).is_err());
        let error = Architecture::VitB32.check_size(240).unwrap_err();
        assert_eq!(error.to_string(), "vit-b-32 takes sizes that are multiples of its patch of 32 pixels, not 240");
        assert!(Architecture::VitB32.check_size(0).is_err());
    }

    #[test]
    fn work_is_that_of_the_literature() {
        // GMAC of one picture of 224×224: He et al. (2015) and torchvision for ResNets, open_clip's profile for CLIP.
        for (architecture, expected) in [(Architecture::Resnet18, 1.82), (Architecture::VitB32, 4.41)] {
            let network = architecture.load(224).unwrap();
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
        let network = Architecture::Resnet18.load(64).unwrap();
        assert_eq!(network.record(1 << 20).unwrap_err().kind(), ErrorKind::Limit);
        assert_eq!(network.record(usize::MAX).unwrap_err().kind(), ErrorKind::Limit);
    }
}
