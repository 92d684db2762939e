//! Convolutions of 3×3 with stride 1 in the basis of Winograd's F(2×2, 3×3) (Lavin and Gray 2016, arXiv 1509.09308):
//! `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A` for every 2×2 outputs, which takes 16 products where the sum over the window takes 36
//! (`shaders/winograd_input.wgsl`, `shaders/winograd_output.wgsl`, and between them a [`Gemm`] of 16 products).

use std::ops::Range;

use super::{
    Activation, Data, Element, Gemm, Kernel, Launch, Operand, Profile, Shader, fold, pad4, params, shader, size,
};

static INPUT: Shader = shader!("winograd_input", reads: 1);
static OUTPUT: Shader = shader!("winograd_output", reads: 3);

/// The products of a tile.
pub(crate) const PRODUCTS: usize = 16;

/// Bᵀ, which takes four pixels to the basis.
const INPUT_BASIS: [[f64; 4]; 4] =
    [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]];

/// G, which takes three weights there.
const WEIGHT_BASIS: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// Aᵀ, which brings two outputs back.
const OUTPUT_BASIS: [[f64; 4]; 2] = [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]];

/// The tiles of an image under which the basis gains nothing: 16 products of few rows leave most of the GEMM's tiles empty.
const LEAST_TILES: usize = 16;

/// The channels under which taking pixels to the basis and back costs what it saves.
const LEAST_CHANNELS: usize = 32;

/// The bytes of an image in the basis past which a convolution is left as it is.
const MOST_IMAGE_BYTES: u64 = 64 << 20;

/// The bytes up to which images are taken to the basis together.
const CHUNK_BYTES: u64 = 16 << 20;

/// A convolution that may be done in Winograd's basis.
#[derive(Debug, Clone)]
pub struct Winograd {
    /// The convolution.
    pub(crate) conv: Gemm,
    /// Images that are taken to the basis together.
    pub(crate) chunk: usize,
}

impl Winograd {
    /// `conv` in the basis, if it can be done there and if that was measured to be faster on the profile.
    ///
    /// One image's shape decides, so that a result doesn't depend on the batch.
    pub(super) fn of(conv: &Gemm, profile: Profile) -> Option<Self> {
        let (height, width) = conv.output_size();
        let tiles = height.div_ceil(2) * width.div_ceil(2);
        let channels = [pad4(conv.inputs), pad4(conv.outputs)];
        let bytes = (4 * PRODUCTS * tiles * channels[0].max(channels[1])) as u64;
        let is_possible = conv.window.height == 3
            && conv.window.width == 3
            && conv.window.stride == 1
            && conv.weights == Element::F32
            && matches!(conv.activation, Activation::Identity | Activation::Relu);
        let is_faster = profile == Profile::SoftwareSubgroups
            && tiles >= LEAST_TILES
            && channels.iter().all(|&channels| channels >= LEAST_CHANNELS);
        let chunk = (CHUNK_BYTES / bytes.max(1)).max(1) as usize;
        (is_possible && is_faster && bytes <= MOST_IMAGE_BYTES).then(|| Self { conv: conv.clone(), chunk })
    }

    /// The ranges of images that are taken to the basis together.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        let (images, chunk) = (self.conv.images, self.chunk);
        (0..images).step_by(chunk).map(move |first| first..images.min(first + chunk))
    }

    /// Pixels of the images to the basis, the products there, and the way back.
    pub(crate) fn kernels(&self, images: Range<usize>) -> (WinogradInput, Gemm, WinogradOutput) {
        let &Gemm { images: all, height, width, inputs, outputs, window, activation, residual, .. } = &self.conv;
        let input =
            WinogradInput { all, images: images.clone(), height, width, channels: inputs, padding: window.padding };
        let rows = PRODUCTS * input.tiles();
        let products = Gemm { products: PRODUCTS, ..Gemm::product(rows, inputs, outputs) };
        let (height, width) = self.conv.output_size();
        let relu = activation == Activation::Relu;
        (input, products, WinogradOutput { all, images, height, width, channels: outputs, relu, residual })
    }
}

/// Packed weights `[9 · inputs, outputs]` in the basis, `[16 · inputs, outputs]`: `G g Gᵀ`.
pub(crate) fn winograd_weights(packed: &[f32]) -> Vec<f32> {
    use rayon::prelude::*;
    let plane = packed.len() / 9;
    let mut weights = vec![0.0; PRODUCTS * plane];
    weights.par_chunks_mut(plane.max(1)).enumerate().for_each(|(product, values)| {
        let [down, across] = [WEIGHT_BASIS[product / 4], WEIGHT_BASIS[product % 4]];
        for (tap, weights) in packed.chunks_exact(plane.max(1)).enumerate() {
            let factor = down[tap / 3] * across[tap % 3];
            if factor != 0.0 {
                values.iter_mut().zip(weights).for_each(|(value, weight)| *value += factor * weight);
            }
        }
    });
    weights
}

/// The tiles of some images: 2×2 outputs each.
struct Tiling {
    images: Range<usize>,
    /// Tiles of an image, down and across.
    down: usize,
    across: usize,
}

impl Tiling {
    fn new(images: &Range<usize>, height: usize, width: usize) -> Self {
        Self { images: images.clone(), down: height.div_ceil(2), across: width.div_ceil(2) }
    }

    fn tiles(&self) -> usize {
        self.images.len() * self.down * self.across
    }

    /// A launch with `rows` workgroups of 8 lanes, which lie along the channels, for each row of tiles. The parameters are the padded
    /// channels, those that are the kernel's own, and the tiles.
    fn launch(&self, shader: &'static Shader, channels: usize, own: &[u32], rows: usize) -> Launch {
        let channels = pad4(channels);
        let tile_rows = self.images.len() * self.down;
        let tiles = [self.down, self.across, self.images.start, tile_rows].map(size);
        let params = params(&[&[size(channels)], own, &tiles].concat());
        Launch { shader, constants: Vec::new(), params, grid: fold(rows * tile_rows * channels.div_ceil(8)) }
    }
}

/// Pixels in the basis: 16 matrices `[tiles, channels]`, tiles of 4×4 pixels being two apart.
#[derive(Debug, Clone)]
pub struct WinogradInput {
    /// Images that are bound.
    pub all: usize,
    /// Those that are taken to the basis.
    pub images: Range<usize>,
    /// Input height.
    pub height: usize,
    /// Input width.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Zeros added on every side.
    pub padding: usize,
}

impl WinogradInput {
    fn tiling(&self) -> Tiling {
        let outputs = |extent: usize| extent + 2 * self.padding - 2;
        Tiling::new(&self.images, outputs(self.height), outputs(self.width))
    }

    /// Tiles of the images.
    pub fn tiles(&self) -> usize {
        self.tiling().tiles()
    }
}

impl Kernel for WinogradInput {
    fn name(&self) -> &'static str {
        "winograd_input"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.images.len(), self.height, self.width, self.channels, self.padding]
    }

    fn reads(&self) -> Vec<Operand> {
        vec![Operand::f32(self.all * self.height * self.width * pad4(self.channels))]
    }

    fn output(&self) -> Operand {
        Operand::f32(PRODUCTS * self.tiles() * pad4(self.channels))
    }

    /// Two of the four columns of a tile are its neighbour's: 8 additions for the others and 16 across.
    fn flops(&self) -> u64 {
        (24 * self.tiles() * pad4(self.channels)) as u64
    }

    fn launch(&self, _: Profile) -> Launch {
        let own = [self.height, self.width, self.padding].map(size);
        self.tiling().launch(&INPUT, self.channels, &own, 4)
    }

    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let input = reads[0].f32();
        let channels = pad4(self.channels);
        let Tiling { down, across, .. } = self.tiling();
        let mut output = vec![0.0; self.output().len];
        let matrix = self.tiles() * channels;
        let tiles = super::gemm::positions(self.images.len(), down, across).enumerate();
        for (tile, (image, ty, tx)) in tiles {
            for (product, pixel) in (0..PRODUCTS).flat_map(|product| (0..16).map(move |pixel| (product, pixel))) {
                let factor = INPUT_BASIS[product / 4][pixel / 4] * INPUT_BASIS[product % 4][pixel % 4];
                let y = (2 * ty + pixel / 4).checked_sub(self.padding).filter(|&y| y < self.height);
                let x = (2 * tx + pixel % 4).checked_sub(self.padding).filter(|&x| x < self.width);
                let (Some(y), Some(x)) = (y, x) else { continue };
                let row = ((self.images.start + image) * self.height + y) * self.width + x;
                for channel in 0..channels {
                    output[product * matrix + tile * channels + channel] +=
                        factor * f64::from(input[row * channels + channel]);
                }
            }
        }
        output
    }
}

/// Outputs of the convolution from the products of its tiles: `[ReLU](Aᵀ m A + bias [+ residual])`.
#[derive(Debug, Clone)]
pub struct WinogradOutput {
    /// Images of the output.
    pub all: usize,
    /// Those that are written.
    pub images: Range<usize>,
    /// Output height.
    pub height: usize,
    /// Output width.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Whether the result is `max(x, 0)`.
    pub relu: bool,
    /// Whether the third operand is added. Without it that operand is the bias once more.
    pub residual: bool,
}

impl WinogradOutput {
    fn tiling(&self) -> Tiling {
        Tiling::new(&self.images, self.height, self.width)
    }
}

impl Kernel for WinogradOutput {
    fn name(&self) -> &'static str {
        "winograd_output"
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.images.len(), self.height, self.width, self.channels]
    }

    fn reads(&self) -> Vec<Operand> {
        let channels = pad4(self.channels);
        vec![
            Operand::f32(PRODUCTS * self.tiling().tiles() * channels),
            Operand::f32(channels),
            Operand::f32(if self.residual { self.output().len } else { channels }),
        ]
    }

    fn output(&self) -> Operand {
        Operand::f32(self.all * self.height * self.width * pad4(self.channels))
    }

    fn flops(&self) -> u64 {
        (28 * self.tiling().tiles() * pad4(self.channels)) as u64
    }

    fn launch(&self, _: Profile) -> Launch {
        let own = [size(self.height), size(self.width), u32::from(self.relu), u32::from(self.residual)];
        self.tiling().launch(&OUTPUT, self.channels, &own, 2)
    }

    /// What isn't written is 0.
    fn reference(&self, reads: &[Data<'_>]) -> Vec<f64> {
        let [input, bias, residual] = [reads[0].f32(), reads[1].f32(), reads[2].f32()];
        let channels = pad4(self.channels);
        let Tiling { down, across, .. } = self.tiling();
        let matrix = self.tiling().tiles() * channels;
        let mut output = vec![0.0; self.output().len];
        for (image, y, x) in super::gemm::positions(self.images.len(), self.height, self.width) {
            let tile = (image * down + y / 2) * across + x / 2;
            let row = ((self.images.start + image) * self.height + y) * self.width + x;
            for channel in 0..channels {
                let product = |product: usize| {
                    let factor = OUTPUT_BASIS[y % 2][product / 4] * OUTPUT_BASIS[x % 2][product % 4];
                    factor * f64::from(input[product * matrix + tile * channels + channel])
                };
                let index = row * channels + channel;
                let added = if self.residual { f64::from(residual[index]) } else { 0.0 };
                let sum = (0..PRODUCTS).map(product).sum::<f64>() + f64::from(bias[channel]) + added;
                output[index] = if self.relu { sum.max(0.0) } else { sum };
            }
        }
        output
    }
}
