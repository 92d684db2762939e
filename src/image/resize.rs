//! Pillow's resize, bit for bit.
//!
//! Pillow resamples 8-bit images separably, along rows and along columns, and rounds to u8 between the two passes. When it shrinks, the filter is stretched by the scale, which is what "antialiased" means. Coefficients
//! are worked out in f64, normalised to sum to 1 and then rounded to 22-bit fixed point. Networks were trained and
//! measured behind exactly this function, so the rounding is part of the model (Pillow, `src/libImaging/Resample.c`).

use std::f64::consts::PI;
use std::ops::Range;

use serde::Serialize;

use super::Rgb8;

/// Bits after the point of a coefficient: 32 less 8 for the pixel and 2 for the overshoot of a sum.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const CHANNELS: usize = 3;

/// How pixels are combined when an image changes its size. The names are Pillow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The pixel whose centre is nearest; nothing is averaged.
    Nearest,
    /// The mean of the pixels covered.
    Box,
    /// A triangle of radius 1.
    Bilinear,
    /// A Hamming-windowed sinc of radius 1.
    Hamming,
    /// A cubic of radius 2 with a = −0.5.
    Bicubic,
    /// A Lanczos-windowed sinc of radius 3.
    Lanczos,
}

impl Filter {
    /// The filter that configuration files call `name` (`bilinear`, `bicubic`, `lanczos`, ...).
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "nearest" => Self::Nearest,
            "box" => Self::Box,
            "bilinear" => Self::Bilinear,
            "hamming" => Self::Hamming,
            "bicubic" => Self::Bicubic,
            "lanczos" => Self::Lanczos,
            _ => return None,
        })
    }

    /// The filter of Pillow's number `code`, which Hugging Face stores as `resample`.
    pub fn from_code(code: u64) -> Option<Self> {
        Some(match code {
            0 => Self::Nearest,
            1 => Self::Lanczos,
            2 => Self::Bilinear,
            3 => Self::Bicubic,
            4 => Self::Box,
            5 => Self::Hamming,
            _ => return None,
        })
    }

    /// The filter's name in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Box => "box",
            Self::Bilinear => "bilinear",
            Self::Hamming => "hamming",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }

    /// Half the filter's width at scale 1, in source pixels.
    fn support(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// The filter's weight at distance `x`, before normalisation.
    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        match self {
            // Half open, so that a pixel on the border of two cells belongs to one of them.
            Self::Nearest | Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Hamming => match x.abs() {
                0.0 => 1.0,
                x if x >= 1.0 => 0.0,
                x => {
                    let x = x * PI;
                    // Pillow's two constants are floats.
                    x.sin() / x * (f64::from(0.54f32) + f64::from(0.46f32) * x.cos())
                }
            },
            Self::Bicubic => match x.abs() {
                x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
                x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
                _ => 0.0,
            },
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// A rectangle of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// `image` at `width` × `height`, equal in every bit to `Image.resize((width, height), filter)` of Pillow 13 on RGB.
///
/// # Panics
/// If `image` or the wanted size is empty.
pub fn resize(image: &Rgb8, width: usize, height: usize, filter: Filter) -> Rgb8 {
    resize_window(image, width, height, Window { left: 0, top: 0, width, height }, filter)
}

/// The part `window` of `image` resized to `width` × `height`; only what that part needs is worked out, so a crop from
/// a very long strip costs no more than the crop.
pub(super) fn resize_window(image: &Rgb8, width: usize, height: usize, window: Window, filter: Filter) -> Rgb8 {
    assert!(image.width > 0 && image.height > 0 && width > 0 && height > 0, "an empty image can't be resized");
    assert!(window.left + window.width <= width && window.top + window.height <= height, "the window leaves the image");
    if filter == Filter::Nearest {
        return nearest(image, width, height, window);
    }
    let mut columns = Taps::new(image.width, width, window.left, window.width, filter);
    let mut rows = Taps::new(image.height, height, window.top, window.height, filter);
    let (across, down) = (columns.span(), rows.span());
    if vertical_first((image.width, image.height), (width, height)) {
        columns.shift(across.start);
        horizontal(&vertical(image, across, &rows), 0..window.height, &columns)
    } else {
        rows.shift(down.start);
        vertical(&horizontal(image, down, &columns), 0..window.width, &rows)
    }
}

/// Which pass Pillow does first shows in the last bit. Since version 13 it's the vertical one where that saves work: where
/// more than twice as many rows as columns are lost. (Earlier versions always begin with the horizontal one.)
fn vertical_first((from_width, from_height): (usize, usize), (width, height): (usize, usize)) -> bool {
    let rows_lost = from_height as i64 - height as i64;
    let columns_lost = from_width as i64 - width as i64;
    rows_lost > 0 && rows_lost > columns_lost * 2
}

/// Which source pixels make each pixel of one axis, and with which weights.
struct Taps {
    /// First source pixel and number of source pixels, one pair for each pixel wanted.
    bounds: Vec<(usize, usize)>,
    /// Fixed-point weights, `stride` for each pixel wanted, zero beyond the number of source pixels.
    weights: Vec<i32>,
    stride: usize,
}

impl Taps {
    /// Pixels `first..first + count` of an axis of `source` pixels resized to `target` (`precompute_coeffs`).
    fn new(source: usize, target: usize, first: usize, count: usize, filter: Filter) -> Self {
        let scale = source as f64 / target as f64;
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let stride = support.ceil() as usize * 2 + 1;
        let mut bounds = Vec::with_capacity(count);
        let mut weights = vec![0; count * stride];
        let mut exact = vec![0.0; stride];
        for (pixel, weights) in (first..first + count).zip(weights.chunks_exact_mut(stride)) {
            let center = (pixel as f64 + 0.5) * scale;
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(source);
            let exact = &mut exact[..end - start];
            let mut sum = 0.0;
            for (offset, weight) in exact.iter_mut().enumerate() {
                *weight = filter.weight(((offset + start) as f64 - center + 0.5) * (1.0 / stretch));
                sum += *weight;
            }
            for (weight, exact) in weights.iter_mut().zip(exact.iter()) {
                let normalized = if sum == 0.0 { *exact } else { exact / sum };
                *weight = (normalized * f64::from(1 << PRECISION_BITS) + 0.5f64.copysign(normalized)) as i32;
            }
            bounds.push((start, end - start));
        }
        Self { bounds, weights, stride }
    }

    /// The source pixels from the first that is needed to the last.
    fn span(&self) -> Range<usize> {
        let start = self.bounds.iter().map(|&(start, _)| start).min().unwrap_or(0);
        let end = self.bounds.iter().map(|&(start, count)| start + count).max().unwrap_or(0);
        start..end
    }

    /// Counts source pixels from `origin` instead of 0.
    fn shift(&mut self, origin: usize) {
        for (start, _) in &mut self.bounds {
            *start -= origin;
        }
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let taps = self.bounds.iter().zip(self.weights.chunks_exact(self.stride));
        taps.map(|(&(start, count), weights)| (start, &weights[..count]))
    }
}

/// A fixed-point sum that already holds its rounding half, as a pixel.
fn clip8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// The rows `needed` of `image`, with new columns.
fn horizontal(image: &Rgb8, needed: Range<usize>, columns: &Taps) -> Rgb8 {
    let (width, height) = (columns.bounds.len(), needed.len());
    let mut data = vec![0; width * height * CHANNELS];
    let source = image.data.chunks_exact(image.width * CHANNELS).skip(needed.start);
    for (row, out) in source.zip(data.chunks_exact_mut(width * CHANNELS)) {
        for ((start, weights), out) in columns.iter().zip(out.as_chunks_mut::<CHANNELS>().0) {
            let pixels = &row[start * CHANNELS..(start + weights.len()) * CHANNELS];
            let mut sum = [HALF; CHANNELS];
            for (pixel, &weight) in pixels.as_chunks::<CHANNELS>().0.iter().zip(weights) {
                for (sum, &value) in sum.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            *out = sum.map(clip8);
        }
    }
    Rgb8 { width, height, data }
}

/// The columns `needed` of `image`, with new rows.
fn vertical(image: &Rgb8, needed: Range<usize>, rows: &Taps) -> Rgb8 {
    let (width, height) = (needed.len(), rows.bounds.len());
    let (from, length) = (needed.start * CHANNELS, width * CHANNELS);
    let mut data = vec![0; length * height];
    let mut sums = vec![0; length];
    for ((start, weights), out) in rows.iter().zip(data.chunks_exact_mut(length)) {
        sums.fill(HALF);
        let source = image.data.chunks_exact(image.width * CHANNELS).skip(start);
        for (row, &weight) in source.zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(&row[from..from + length]) {
                *sum += i32::from(value) * weight;
            }
        }
        for (out, &sum) in out.iter_mut().zip(&sums) {
            *out = clip8(sum);
        }
    }
    Rgb8 { width, height, data }
}

/// Pillow's nearest neighbour, which walks the source by adding the scale up (`ImagingScaleAffine`).
fn nearest(image: &Rgb8, width: usize, height: usize, window: Window) -> Rgb8 {
    let columns = nearest_sources(image.width, width, window.left, window.width);
    let rows = nearest_sources(image.height, height, window.top, window.height);
    let mut data = Vec::with_capacity(window.width * window.height * CHANNELS);
    for row in rows {
        for &column in &columns {
            let at = (row * image.width + column) * CHANNELS;
            data.extend_from_slice(&image.data[at..at + CHANNELS]);
        }
    }
    Rgb8 { width: window.width, height: window.height, data }
}

fn nearest_sources(source: usize, target: usize, first: usize, count: usize) -> Vec<usize> {
    let scale = source as f64 / target as f64;
    let positions = std::iter::successors(Some(scale * 0.5), |position| Some(position + scale));
    positions.skip(first).take(count).map(|position| (position as usize).min(source - 1)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filters() -> impl Strategy<Value = Filter> {
        use Filter::*;
        prop::sample::select(vec![Nearest, Box, Bilinear, Hamming, Bicubic, Lanczos])
    }

    proptest! {
        #[test]
        fn a_window_is_a_part_of_the_whole(
            from in (1..40usize, 1..90usize),
            to in (1..40usize, 1..40usize),
            corners in prop::array::uniform4(0..1000usize),
            filter in filters(),
            seed in any::<u8>(),
        ) {
            let data = (0..from.0 * from.1 * 3).map(|i| ((i * i) >> 3) as u8 ^ seed.wrapping_mul(i as u8)).collect();
            let image = Rgb8 { width: from.0, height: from.1, data };
            let (left, top) = (corners[0] % to.0, corners[1] % to.1);
            let window = Window { left, top, width: 1 + corners[2] % (to.0 - left), height: 1 + corners[3] % (to.1 - top) };
            let part = resize_window(&image, to.0, to.1, window, filter);
            let whole = resize(&image, to.0, to.1, filter);
            let rows = whole.data.chunks_exact(to.0 * 3).skip(top).take(window.height);
            let cut: Vec<u8> = rows.flat_map(|row| &row[left * 3..(left + window.width) * 3]).copied().collect();
            prop_assert_eq!(part.data, cut);
        }

        #[test]
        fn one_colour_stays_that_colour(
            from in (1..50usize, 1..50usize), to in (1..50usize, 1..50usize), filter in filters(), colour in any::<[u8; 3]>(),
        ) {
            let image = Rgb8 { width: from.0, height: from.1, data: colour.repeat(from.0 * from.1) };
            prop_assert_eq!(resize(&image, to.0, to.1, filter).data, colour.repeat(to.0 * to.1));
        }
    }
}
