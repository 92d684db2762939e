//! Weights and pictures from a formula, for tests and benches of real-size networks without weight files.
//!
//! ```
//! let weight = heatlens::weights::formula::tensor("conv1.weight", &[64, 3, 7, 7]);
//! assert_eq!(weight.shape(), [64, 3, 7, 7]);
//! ```
//!
//! Each weight follows from its tensor's name and shape and its index alone: `u` in [-1, 1) with 24 bits from a hash, then
//! `offset + scale · u` by the tensor's role, in f64, rounded once to f32. The reference programs of `tests/reference` hold
//! the same formula in Python, with the same bits; names are those of the ecosystem's own files.

use rayon::prelude::*;

use crate::Tensor;

/// Values computed by one task: large enough that rayon's bookkeeping vanishes.
const CHUNK: usize = 1 << 16;

/// The FNV-1a hash (64 bits) of a name.
pub fn seed(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The word number `index` of the splitmix64 stream that starts at `seed` (Steele, Lea and Flood, 2014).
pub fn word(seed: u64, index: usize) -> u64 {
    let z = seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The tensor of this name and shape.
pub fn tensor(name: &str, shape: &[usize]) -> Tensor {
    let Role { offset, scale, paired } = Role::of(name, shape);
    let seed = seed(name);
    let value = |index: usize| {
        let u = (word(seed, index) >> 40) as f64 * 2f64.powi(-23) - 1.0;
        (offset + scale * u) as f32
    };
    let channels = shape.get(1).copied().unwrap_or(1);
    let taps: usize = shape.iter().skip(2).product();
    let mut values = Tensor::zeros(shape);
    values.data_mut().par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, part)| {
        for (index, slot) in (chunk * CHUNK..).zip(part) {
            let second = paired && (index / taps % channels) % 2 == 1;
            *slot = if second { -value(index - taps) } else { value(index) };
        }
    });
    values
}

/// How a tensor's values are made from numbers in [-1, 1).
struct Role {
    offset: f64,
    scale: f64,
    /// In pairs of input channels the second weight is minus the first. Rectified activations are positive, and without
    /// this their mean would drown what tells one input from another within a few layers.
    paired: bool,
}

impl Role {
    fn of(name: &str, shape: &[usize]) -> Self {
        let around = |offset, scale| Self { offset, scale, paired: false };
        let leaf = name.rsplit('.').next().unwrap_or(name);
        let embeddings = [
            "class_embedding",
            "position_embedding",
            "positional_embedding",
            "token_embedding",
            "cls_token",
            "pos_embed",
        ];
        match shape {
            _ if leaf == "running_var" => around(1.0, 0.3),
            _ if leaf == "running_mean" || leaf.ends_with("bias") => around(0.0, 0.1),
            _ if leaf == "logit_scale" => around(4.0, 0.5),
            _ if embeddings.iter().any(|embedding| name.contains(embedding)) => around(0.0, 1.0),
            // Stored as [in, out], unlike every other matrix.
            [fan_in, _] if ["proj", "text_projection"].contains(&leaf) => around(0.0, he(*fan_in)),
            [_, channels, taps @ ..] => {
                let fan_in = channels * taps.iter().product::<usize>();
                Self { offset: 0.0, scale: he(fan_in), paired: channels % 2 == 0 }
            }
            _ => around(1.0, 0.1),
        }
    }
}

/// He's scale for uniform weights: rectified activations keep their size from layer to layer (He et al., 2015).
fn he(fan_in: usize) -> f64 {
    (6.0 / fan_in as f64).sqrt()
}

/// An RGB picture [height, width, 3] of bytes: a colour, soft patches and a fine texture, by whole numbers only.
pub fn picture(name: &str, height: usize, width: usize) -> Vec<u8> {
    let layer = |part: &str| seed(&format!("{name}/{part}"));
    let colour = |index| word(layer("colour"), index);
    let patches = Noise::new(layer("patches"), width, height.max(width) / (2 + colour(3) % 4) as usize);
    let texture = Noise::new(layer("texture"), width, (3 + colour(4) % 10) as usize);
    let mut pixels = Vec::with_capacity(height * width * 3);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for channel in 0..3 {
            let base = (colour(channel) >> 56) as usize;
            let mixed = 80 * base + 112 * patches.at(y, x, channel) + 64 * texture.at(y, x, channel);
            pixels.push((mixed >> 8) as u8);
        }
    }
    pixels
}

/// Random bytes on a grid of `cell` pixels with straight lines between them.
struct Noise {
    seed: u64,
    columns: usize,
    cell: usize,
}

impl Noise {
    fn new(seed: u64, width: usize, cell: usize) -> Self {
        Self { seed, columns: width / cell + 2, cell }
    }

    fn at(&self, y: usize, x: usize, channel: usize) -> usize {
        let Self { seed, columns, cell } = *self;
        let corner = |row: usize, column: usize| (word(seed, (row * columns + column) * 3 + channel) >> 56) as usize;
        let (row, v) = (y / cell, y % cell);
        let (column, u) = (x / cell, x % cell);
        let across = |row| corner(row, column) * (cell - u) + corner(row, column + 1) * u;
        (across(row) * (cell - v) + across(row + 1) * v) / (cell * cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Golden {
        tensors: Vec<GoldenTensor>,
        pictures: Vec<GoldenPicture>,
    }

    #[derive(Deserialize)]
    struct GoldenTensor {
        name: String,
        shape: Vec<usize>,
        first: Vec<u32>,
        last: u32,
        checksum: String,
    }

    #[derive(Deserialize)]
    struct GoldenPicture {
        name: String,
        height: usize,
        width: usize,
        first: [u8; 3],
        last: [u8; 3],
        checksum: String,
    }

    fn golden() -> Golden {
        serde_json::from_str(include_str!("../../tests/goldens/formula.json")).unwrap()
    }

    fn checksum(words: impl Iterator<Item = u64>) -> String {
        let terms = words.enumerate().map(|(index, word)| word.wrapping_mul(2 * index as u64 + 1));
        terms.fold(0, u64::wrapping_add).to_string()
    }

    #[test]
    fn tensors_equal_pythons_bit_for_bit() {
        for expected in golden().tensors {
            let bits: Vec<u32> = tensor(&expected.name, &expected.shape).data().iter().map(|x| x.to_bits()).collect();
            assert_eq!(bits[..expected.first.len()], expected.first, "{}", expected.name);
            assert_eq!(bits.last(), Some(&expected.last), "{}", expected.name);
            assert_eq!(checksum(bits.iter().map(|&word| word.into())), expected.checksum, "{}", expected.name);
        }
    }

    #[test]
    fn pictures_equal_pythons_byte_for_byte() {
        for expected in golden().pictures {
            let pixels = picture(&expected.name, expected.height, expected.width);
            assert_eq!(pixels[..3], expected.first, "{}", expected.name);
            assert_eq!(pixels[pixels.len() - 3..], expected.last, "{}", expected.name);
            assert_eq!(checksum(pixels.iter().map(|&byte| byte.into())), expected.checksum, "{}", expected.name);
        }
    }

    #[test]
    fn pairs_of_input_channels_cancel_and_values_differ() {
        let weight = tensor("layer1.0.conv2.weight", &[6, 10, 3, 3]);
        for pair in weight.data().chunks(18) {
            let (first, second) = pair.split_at(9);
            assert!(first.iter().zip(second).all(|(a, b)| *a == -*b && *a != 0.0));
        }
        assert_ne!(weight.data()[..9], weight.data()[18..27]);
        assert_ne!(weight, tensor("layer1.1.conv2.weight", &[6, 10, 3, 3]));
    }
}
