//! What the networks of classifiers have in common.

use std::fmt;

use super::Tap;
use crate::layers::{Activation, Linear};
use crate::plan::{Plan, Var};

/// A network that makes pictures into features, and features into logits with a linear head.
pub trait Network: fmt::Debug + Send + Sync {
    /// Records the forward pass on normalised `pixels`, `[n, height, width, 3]`, handing on every intermediate result, at last
    /// `features` and `logits`.
    fn record_with(&self, plan: &mut Plan, pixels: Var, tap: &mut Tap<'_>) -> ClassifierOutput;

    /// The last layer, from features to logits.
    fn head(&self) -> &Linear;

    /// The activation between its layers.
    fn activation(&self) -> Activation;

    /// The pictures it takes.
    fn input_size(&self) -> InputSize;

    /// The number of trained values.
    fn parameters(&self) -> usize;

    /// Its architecture in a few words, such as `ResNet-50 (bottleneck, layers 3-4-6-3, 2048 features)`.
    fn describe(&self) -> String;

    /// [`record_with`](Self::record_with), handing nothing on.
    fn record(&self, plan: &mut Plan, pixels: Var) -> ClassifierOutput {
        self.record_with(plan, pixels, &mut |_, _, _| {})
    }

    /// The number D of values of a feature.
    fn feature_dim(&self) -> usize {
        self.head().inputs
    }

    /// The number K of classes.
    fn num_classes(&self) -> usize {
        self.head().outputs
    }
}

/// The sizes of pictures that a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputSize {
    /// Height and width of at least so many pixels.
    AtLeast(usize),
    /// This height and width, which its positions are for.
    Exactly([usize; 2]),
}

impl InputSize {
    /// Whether pictures of this height and width are taken.
    pub fn takes(self, size: [usize; 2]) -> bool {
        match self {
            Self::AtLeast(edge) => size.iter().all(|&found| found >= edge),
            Self::Exactly(expected) => size == expected,
        }
    }
}

/// `224×224`, width first, or `at least 32×32`.
impl fmt::Display for InputSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(edge) => write!(f, "at least {edge}×{edge}"),
            Self::Exactly([height, width]) => write!(f, "{width}×{height}"),
        }
    }
}

/// Values of a recorded forward pass.
#[derive(Debug, Clone, Copy)]
pub struct ClassifierOutput {
    /// The feature `z` that the head takes, `[n, D]`.
    pub features: Var,
    /// `W z + b`, `[n, K]`.
    pub logits: Var,
}
