//! Convolution and matrix product with a fused epilogue (`shaders/gemm_direct_8.wgsl`, `shaders/gemm_subgroup_16.wgsl`,
//! `shaders/gemm_tiled_8x1.wgsl`, `shaders/gemm_tiled_8x2.wgsl`), also with weights in f16 (`shaders/gemm_direct_8_f16.wgsl`,
//! `shaders/gemm_subgroup_16_f16.wgsl`, `shaders/gemm_tiled_8x1_f16.wgsl`, `shaders/gemm_tiled_8x2_f16.wgsl`).
//!
//! All are one implicit GEMM: output rows are positions of the window, the inner dimension runs over its taps and input
//! channels, and a matrix product is a 1×1 window. The shaders add the same products in the same order, in f32.

use std::ops::Range;
use std::sync::Arc;

use super::{
    Block, CooperativeGemm, Data, Element, Kernel, Launch, Matrices, Operand, Profile, Shader, Target, Variant,
    Winograd, fold, pad4, params, shader, size,
};

static DIRECT: Shader = shader!("gemm_direct_8", reads: 4);
static DIRECT_F16: Shader = shader!("gemm_direct_8_f16", reads: 4);
static SUBGROUP: Shader = shader!("gemm_subgroup_16", reads: 4);
static SUBGROUP_F16: Shader = shader!("gemm_subgroup_16_f16", reads: 4);
static TILED: Shader = shader!("gemm_tiled_8x2", reads: 4);
static TILED_F16: Shader = shader!("gemm_tiled_8x2_f16", reads: 4);
static TILED_SMALL: Shader = shader!("gemm_tiled_8x1", reads: 4);
static TILED_SMALL_F16: Shader = shader!("gemm_tiled_8x1_f16", reads: 4);

/// What a workgroup computes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) rows: usize,
    /// Output channels, in vec4s.
    pub(super) columns4: usize,
}

/// A way to compute it.
struct Tile {
    profile: Profile,
    f32: &'static Shader,
    f16: &'static Shader,
    extent: Extent,
}

impl Tile {
    const fn new(profile: Profile, [f32, f16]: [&'static Shader; 2], [rows, columns4]: [usize; 2]) -> Self {
        Self { profile, f32, f16, extent: Extent { rows, columns4 } }
    }
}

/// Every tile, a profile's largest first. All of them add an output's products in the same order.
static TILES: [Tile; 4] = [
    Tile::new(Profile::Hardware, [&TILED, &TILED_F16], [64, 16]),
    Tile::new(Profile::Hardware, [&TILED_SMALL, &TILED_SMALL_F16], [32, 8]),
    Tile::new(Profile::Software, [&DIRECT, &DIRECT_F16], [8, 8]),
    Tile::new(Profile::SoftwareSubgroups, [&SUBGROUP, &SUBGROUP_F16], [16, 8]),
];

impl Extent {
    fn workgroups(self, rows: usize, columns4: usize) -> usize {
        rows.div_ceil(self.rows) * columns4.div_ceil(self.columns4)
    }
}

/// What is applied to a result before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x·Φ(x)` with the error function (Hendrycks and Gimpel 2016), to 1e-6.
    Gelu,
    /// `x·σ(1.702 x)`, as OpenAI's CLIP has it.
    QuickGelu,
}

impl Activation {
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Identity => 0,
            Self::Relu => 1,
            Self::Gelu => 2,
            Self::QuickGelu => 3,
        }
    }

    /// Its name as papers write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "none",
            Self::Relu => "ReLU",
            Self::Gelu => "GELU",
            Self::QuickGelu => "QuickGELU",
        }
    }

    /// The function in f64.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Identity => x,
            Self::Relu => x.max(0.0),
            Self::Gelu => 0.5 * x * statrs::function::erf::erfc(-x / std::f64::consts::SQRT_2),
            Self::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        }
    }
}

/// The window that slides over an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Distance between positions, in both directions.
    pub stride: usize,
    /// Zeros added on every side.
    pub padding: usize,
}

impl Window {
    /// The number of positions, down and across, on an image of the given size.
    ///
    /// # Panics
    /// If the window is larger than the padded image; models check their input sizes first.
    pub fn output_size(&self, height: usize, width: usize) -> (usize, usize) {
        let across = |extent: usize, window: usize| {
            let free = (extent + 2 * self.padding).checked_sub(window);
            free.expect("the window fits the padded image") / self.stride + 1
        };
        (across(height, self.height), across(width, self.width))
    }

    /// The taps of the position (y, x) that lie on the image: number of the tap, row and column.
    pub(super) fn taps(
        self,
        y: usize,
        x: usize,
        height: usize,
        width: usize,
    ) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..self.height * self.width).filter_map(move |tap| {
            let iy = (y * self.stride + tap / self.width).checked_sub(self.padding)?;
            let ix = (x * self.stride + tap % self.width).checked_sub(self.padding)?;
            (iy < height && ix < width).then_some((tap, iy, ix))
        })
    }
}

/// All (image, y, x), in the order of rows.
pub(super) fn positions(images: usize, height: usize, width: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..images).flat_map(move |image| (0..height).flat_map(move |y| (0..width).map(move |x| (image, y, x))))
}

/// `activation(window(x) · W + bias [+ residual])`.
#[derive(Debug, Clone)]
pub struct Gemm {
    /// Images.
    pub images: usize,
    /// Input height.
    pub height: usize,
    /// Input width.
    pub width: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// The sliding window.
    pub window: Window,
    /// What is applied at the end.
    pub activation: Activation,
    /// How the weights are stored: f32, or f16.
    pub weights: Element,
    /// Whether weights in f16 are multiplied on cooperative matrices, the input rounded to f16 as well. A plan is lowered to kernels
    /// that do so.
    pub on_matrices: bool,
    /// Whether the fourth operand is added before the activation. Without it that operand is the bias once more.
    pub residual: bool,
    /// How many products this is: each has as many of the rows, one after another, and weights of its own.
    pub products: usize,
    /// Workgroups that one image must make with a larger tile for it to be taken ([`Target::least_workgroups`]).
    pub least_workgroups: usize,
}

impl Gemm {
    /// Output height and width.
    pub fn output_size(&self) -> (usize, usize) {
        self.window.output_size(self.height, self.width)
    }

    /// A plain product of `[rows, inputs]` and `[inputs, outputs]`.
    pub fn product(rows: usize, inputs: usize, outputs: usize) -> Self {
        Self {
            images: 1,
            height: rows,
            width: 1,
            inputs,
            outputs,
            window: Window { height: 1, width: 1, stride: 1, padding: 0 },
            activation: Activation::Identity,
            weights: Element::F32,
            on_matrices: false,
            residual: false,
            products: 1,
            least_workgroups: Target::LEAST_WORKGROUPS,
        }
    }

    fn rows(&self) -> usize {
        let (height, width) = self.output_size();
        self.images * height * width
    }

    /// The rows of one product.
    fn product_rows(&self) -> usize {
        self.rows() / self.products
    }

    fn taps(&self) -> usize {
        self.window.height * self.window.width
    }

    /// The largest of a profile's tiles of which one image makes enough, or the smallest. The number of images has no say: whether
    /// an adapter's compiler adds in all tiles alike is nothing to count on.
    fn tile(&self, profile: Profile) -> &'static Tile {
        let mut tiles = TILES.iter().filter(|tile| tile.profile == profile);
        let smallest = tiles.clone().next_back().expect("every profile has a tile");
        tiles.find(|tile| self.fills(tile.extent)).unwrap_or(smallest)
    }

    /// Whether one image makes enough workgroups of this extent.
    pub(super) fn fills(&self, extent: Extent) -> bool {
        let (height, width) = self.output_size();
        extent.workgroups(height * width, pad4(self.outputs) / 4) >= self.least_workgroups
    }

    /// Every output channel.
    pub(super) fn columns(&self) -> Range<usize> {
        0..pad4(self.outputs)
    }

    fn launch_columns(&self, tile: &Tile, columns: &Range<usize>) -> Launch {
        let shader = if self.weights == Element::F16 { tile.f16 } else { tile.f32 };
        self.launch_shader(shader, Vec::new(), tile.extent, columns)
    }

    /// Computes the output channels of which the weights are bound: `columns` of `[0, pad4(outputs))`.
    pub(super) fn launch_shader(
        &self,
        shader: &'static Shader,
        constants: Vec<(&'static str, u32)>,
        extent: Extent,
        columns: &Range<usize>,
    ) -> Launch {
        let (height, width) = self.output_size();
        let columns4 = columns.len() / 4;
        let params = params(&[
            size(self.product_rows()),
            size(pad4(self.inputs) / 4),
            size(columns4),
            self.activation.code(),
            size(self.height),
            size(self.width),
            size(height),
            size(width),
            size(self.window.height),
            size(self.window.width),
            size(self.window.stride),
            size(self.window.padding),
            u32::from(self.residual),
            size(columns.start / 4),
            size(pad4(self.outputs) / 4),
            size(self.products),
        ]);
        let grid = fold(self.products * extent.workgroups(self.product_rows(), columns4));
        Launch { shader, constants, params, grid }
    }

    /// The weights in blocks of columns that take `largest` bytes at most: each output is still one sum in the same order.
    pub(super) fn blocks(&self, operand: usize, largest: u64) -> Option<Vec<Block>> {
        let rows = self.products * self.taps() * pad4(self.inputs);
        let columns = (largest / (self.weights.bytes() * rows as u64)) as usize;
        (operand == WEIGHT).then(|| Block::of_columns(rows, pad4(self.outputs), columns))?
    }
}

/// The weights' place among the operands.
const WEIGHT: usize = 1;

impl Kernel for Gemm {
    fn name(&self) -> &'static str {
        "gemm"
    }

    fn shape(&self) -> Vec<usize> {
        let Window { height: window, stride, padding, .. } = self.window;
        match (window, stride, padding) {
            (1, 1, 0) if self.products > 1 => vec![self.products, self.product_rows(), self.inputs, self.outputs],
            (1, 1, 0) => vec![self.rows(), self.inputs, self.outputs],
            _ => {
                let [images, inputs, outputs] = [self.images, self.inputs, self.outputs];
                vec![images, self.height, self.width, inputs, outputs, window, stride, padding]
            }
        }
    }

    fn reads(&self) -> Vec<Operand> {
        let [inputs, outputs] = [pad4(self.inputs), pad4(self.outputs)];
        vec![
            Operand::f32(self.images * self.height * self.width * inputs),
            Operand { element: self.weights, len: self.products * self.taps() * inputs * outputs },
            Operand::f32(outputs),
            Operand::f32(if self.residual { self.rows() * outputs } else { outputs }),
        ]
    }

    fn output(&self) -> Operand {
        Operand::f32(self.rows() * pad4(self.outputs))
    }

    fn flops(&self) -> u64 {
        2 * (self.rows() * self.taps() * pad4(self.inputs) * pad4(self.outputs)) as u64
    }

    fn launch(&self, profile: Profile) -> Launch {
        self.launch_columns(self.tile(profile), &self.columns())
    }

    fn winograd(&self, profile: Profile) -> Option<Winograd> {
        Winograd::of(self, profile)
    }

    fn in_f16(&self) -> Option<Arc<dyn Kernel>> {
        Some(Arc::new(Self { weights: Element::F16, ..self.clone() }))
    }

    fn cooperative(&self, matrices: Matrices) -> Option<Arc<dyn Kernel>> {
        (self.weights == Element::F16).then(|| Arc::new(CooperativeGemm { gemm: self.clone(), matrices }) as _)
    }

    fn needs_matrices(&self) -> bool {
        self.on_matrices
    }

    fn tuned(&self, target: Target) -> Option<Arc<dyn Kernel>> {
        let tuned = Self { least_workgroups: target.least_workgroups, ..self.clone() };
        let matrices = target.matrices.filter(|_| self.on_matrices);
        let cooperative = matrices.and_then(|matrices| tuned.cooperative(matrices));
        Some(cooperative.unwrap_or_else(|| Arc::new(tuned)))
    }

    /// One for each tile.
    fn variants(&self) -> Vec<Variant> {
        let of = |tile: &Tile| {
            let launch = self.launch_columns(tile, &self.columns());
            let name = self.suffix(&launch).expect("a GEMM's shader is named by its tile");
            Variant { name, profiles: vec![tile.profile], launch }
        };
        TILES.iter().map(of).collect()
    }

    fn split(&self, profile: Profile, operand: usize, largest: u64) -> Option<Vec<(Block, Launch)>> {
        let (blocks, tile) = (self.blocks(operand, largest)?, self.tile(profile));
        Some(blocks.into_iter().map(|block| (block.clone(), self.launch_columns(tile, &block.columns))).collect())
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let [input, bias, residual] = [reads[0].f32(), reads[2].f32(), reads[3].f32()];
        let weight = reads[1].floats();
        let [inputs, outputs] = [pad4(self.inputs), pad4(self.outputs)];
        let (height, width) = self.output_size();
        let mut output = Vec::with_capacity(self.output().len);
        let mut sums = vec![0.0; outputs];
        let rows = positions(self.images, height, width).enumerate();
        for (row, (image, y, x)) in rows {
            let weight = &weight[row / self.product_rows() * self.taps() * inputs * outputs..];
            sums.fill(0.0);
            for (tap, iy, ix) in self.window.taps(y, x, self.height, self.width) {
                let pixel = &input[((image * self.height + iy) * self.width + ix) * inputs..][..inputs];
                for (i, &value) in pixel.iter().enumerate() {
                    let weights = &weight[(tap * inputs + i) * outputs..][..outputs];
                    for (sum, &weight) in sums.iter_mut().zip(weights) {
                        *sum += f64::from(value) * f64::from(weight);
                    }
                }
            }
            for (o, &sum) in sums.iter().enumerate() {
                let add = if self.residual { f64::from(residual[output.len()]) } else { 0.0 };
                output.push(self.activation.apply(sum + f64::from(bias[o]) + add));
            }
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_follows_from_one_images_rows() {
        let layer = |images, edge, inputs, outputs, least_workgroups| {
            let kernel =
                Gemm { images, height: edge, width: edge, least_workgroups, ..Gemm::product(1, inputs, outputs) };
            kernel.launch(Profile::Hardware).shader.label
        };
        for images in [1, 64] {
            assert_eq!(layer(images, 56, 64, 256, 32), "gemm_tiled_8x2", "{images} images");
            assert_eq!(layer(images, 7, 512, 512, 32), "gemm_tiled_8x1", "{images} images");
            assert_eq!(layer(images, 7, 512, 512, 8), "gemm_tiled_8x2", "{images} images, tuned");
        }
    }
}
