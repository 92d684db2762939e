//! What all ResNets have in common: a stem and layers of residual blocks. How it is loaded is in `load_trunk.rs`.

use crate::layers::Activation::{self, Identity, Relu};
use crate::layers::Conv2d;
use crate::models::Tap;
use crate::plan::{Plan, Var};

/// The convolutional part of a ResNet.
#[derive(Debug, Clone)]
pub(in crate::models) struct Trunk {
    /// One convolution, or three in a deep stem.
    pub(super) stem: Vec<Conv2d>,
    pub(super) stem_pool: StemPool,
    pub(super) layers: Vec<Vec<Block>>,
    /// The activation in the stem and behind each block's sum.
    pub(super) activation: Activation,
}

/// What halves the picture behind the stem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StemPool {
    /// The largest of 3×3.
    Max,
    /// The mean of 2×2.
    Avg,
}

/// A residual block: two 3×3 convolutions (basic), or 1×1, 3×3 and 1×1 (bottleneck).
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) convs: Vec<Conv2d>,
    /// What halves the picture before the last convolution, if no convolution has the stride.
    pub(super) pool: Option<AvgPool>,
    pub(super) shortcut: Option<Shortcut>,
}

/// What makes a block's input into the shape of its output.
#[derive(Debug, Clone)]
pub(super) struct Shortcut {
    pub(super) pool: Option<AvgPool>,
    pub(super) conv: Conv2d,
}

/// The mean of squares of `stride`², which lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AvgPool {
    pub(super) stride: usize,
    /// Whether squares at the border may be smaller; else what makes no whole one is dropped.
    pub(super) ceil: bool,
}

impl AvgPool {
    fn record(self, plan: &mut Plan, x: Var) -> Var {
        plan.avg_pool(x, self.stride, self.stride, self.ceil)
    }
}

impl Block {
    /// The activation within the block is always ReLU: transformers' `hidden_act` doesn't reach there.
    fn record(&self, plan: &mut Plan, x: Var, activation: Activation) -> Var {
        let skip = self.shortcut.as_ref().map_or(x, |shortcut| {
            let x = shortcut.pool.map_or(x, |pool| pool.record(plan, x));
            plan.conv2d(x, &shortcut.conv, Identity)
        });
        let (last, convs) = self.split();
        let y = convs.iter().fold(x, |y, conv| plan.conv2d(y, conv, Relu));
        let y = self.pool.map_or(y, |pool| pool.record(plan, y));
        plan.conv2d_add(y, last, skip, activation)
    }

    fn split(&self) -> (&Conv2d, &[Conv2d]) {
        self.convs.split_last().expect("a block has convolutions")
    }

    pub(super) fn outputs(&self) -> usize {
        self.split().0.outputs
    }

    fn is_bottleneck(&self) -> bool {
        self.convs.len() == 3
    }
}

impl Trunk {
    /// Records the forward pass on normalised `pixels`, `[n, height, width, 3]`, handing on `stem` (behind its pooling) and
    /// `layer{L}.{i}`.
    pub(in crate::models) fn record(&self, plan: &mut Plan, pixels: Var, tap: &mut Tap<'_>) -> Var {
        let x = self.stem.iter().fold(pixels, |x, conv| plan.conv2d(x, conv, self.activation));
        let mut x = match self.stem_pool {
            StemPool::Max => plan.max_pool(x, 3, 2, 1),
            StemPool::Avg => plan.avg_pool(x, 2, 2, false),
        };
        tap(plan, "stem", x);
        for (layer, blocks) in (1..).zip(&self.layers) {
            for (index, block) in blocks.iter().enumerate() {
                x = block.record(plan, x, self.activation);
                tap(plan, &format!("layer{layer}.{index}"), x);
            }
        }
        x
    }

    /// Channels of the result.
    pub(in crate::models) fn outputs(&self) -> usize {
        let stem = self.stem.last().map_or(0, |conv| conv.outputs);
        self.layers.iter().flatten().last().map_or(stem, Block::outputs)
    }

    /// How much smaller than the picture the result is, in either direction.
    pub(in crate::models) fn reduction(&self) -> usize {
        let strides = |block: &Block| {
            let convs = block.convs.iter().map(|conv| conv.window.stride).product::<usize>();
            convs * block.pool.map_or(1, |pool| pool.stride)
        };
        4 * self.layers.iter().flatten().map(strides).product::<usize>()
    }

    /// Channels behind the stem.
    pub(in crate::models) fn width(&self) -> usize {
        self.stem.last().map_or(0, |conv| conv.outputs)
    }

    /// The edge of the stem's window, if it has only one.
    pub(super) fn stem_size(&self) -> Option<usize> {
        if let [conv] = &self.stem[..] { Some(conv.window.height) } else { None }
    }

    /// The blocks of each layer in words, such as `3-4-6-3`.
    pub(in crate::models) fn depths(&self) -> String {
        self.layers.iter().map(|blocks| blocks.len().to_string()).collect::<Vec<_>>().join("-")
    }

    /// Its architecture in a few words, such as `ResNet-50 (bottleneck, layers 3-4-6-3, 2048 features)`, with what sets it
    /// apart from the one in the paper.
    pub(super) fn describe(&self) -> String {
        let blocks = || self.layers.iter().flatten();
        let bottleneck = blocks().all(Block::is_bottleneck);
        let convolutions: usize = blocks().map(|block| block.convs.len()).sum();
        let groups = blocks().flat_map(|block| &block.convs).map(|conv| conv.groups).max().unwrap_or(1);
        let (name, kind) =
            (if groups > 1 { "ResNeXt" } else { "ResNet" }, if bottleneck { "bottleneck" } else { "basic" });
        let mut parts = vec![kind.to_owned(), format!("layers {}", self.depths())];
        if groups > 1 {
            let widths = blocks().flat_map(|block| &block.convs).filter(|conv| conv.groups > 1);
            let width = widths.map(|conv| conv.inputs / conv.groups).next().unwrap_or(1);
            parts.push(format!("{groups}×{width}d"));
        }
        if self.stem.len() > 1 {
            parts.push("deep stem".to_owned());
        }
        if blocks().any(|block| block.shortcut.as_ref().is_some_and(|shortcut| shortcut.pool.is_some())) {
            parts.push("average-pooled shortcuts".to_owned());
        }
        if bottleneck && blocks().any(|block| block.convs[0].window.stride > 1) {
            parts.push("stride in the 1×1".to_owned());
        }
        parts.push(format!("{} features", self.outputs()));
        format!("{name}-{} ({})", convolutions + 2, parts.join(", "))
    }
}
