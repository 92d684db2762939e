//! What a network's own configuration asks to be done to a picture before the network sees it.

use std::fmt::Write as _;

use serde::Serialize;

use super::Rgb8;
use super::resize::{Filter, Window, resize_window};

/// How large a picture becomes before it is cropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The picture keeps its size.
    Keep,
    /// The shorter edge becomes so many pixels, the longer edge `⌊n · long / short⌋` (torchvision, timm, transformers).
    ShortestEdge(usize),
    /// The smallest size of the same aspect ratio that covers the box, edges rounded half to even (timm, open_clip).
    Cover {
        /// Rows of the box.
        height: usize,
        /// Columns of the box.
        width: usize,
    },
    /// The largest size of the same aspect ratio inside the box, edges rounded half to even (timm's `border`,
    /// open_clip's `longest`).
    Fit {
        /// Rows of the box.
        height: usize,
        /// Columns of the box.
        width: usize,
    },
    /// Exactly this size, whatever becomes of the aspect ratio (`squash`).
    Exact {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
}

impl Resize {
    /// What it does, in words.
    pub(super) fn describe(self, filter: Filter) -> String {
        let filter = filter.name();
        match self {
            Self::Keep => "no resize".to_owned(),
            Self::ShortestEdge(edge) => format!("shortest edge to {edge} ({filter})"),
            Self::Cover { height, width } => format!("cover {width}×{height} ({filter})"),
            Self::Fit { height, width } => format!("fit into {width}×{height} ({filter})"),
            Self::Exact { height, width } => format!("squash to {width}×{height} ({filter})"),
        }
    }

    /// The size (width, height) that a picture of `width` × `height` is given.
    pub(super) fn size(self, width: usize, height: usize) -> (usize, usize) {
        match self {
            Self::Keep => (width, height),
            Self::ShortestEdge(edge) if width <= height => (edge, edge * height / width),
            Self::ShortestEdge(edge) => (edge * width / height, edge),
            Self::Exact { height, width } => (width, height),
            Self::Cover { height: rows, width: columns } => {
                let ratio = (height as f64 / rows as f64).min(width as f64 / columns as f64);
                shrink(width, height, ratio)
            }
            Self::Fit { height: rows, width: columns } => {
                let ratio = (height as f64 / rows as f64).max(width as f64 / columns as f64);
                shrink(width, height, ratio)
            }
        }
    }
}

/// Both edges divided by `ratio`, half to even as Python rounds; never 0, where the reference would fail.
fn shrink(width: usize, height: usize, ratio: f64) -> (usize, usize) {
    let edge = |edge: usize| ((edge as f64 / ratio).round_ties_even() as usize).max(1);
    (edge(width), edge(height))
}

/// Where the centre crop starts when the margin is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// Half to even, and where the picture is too small the larger half of the border after it (torchvision, timm,
    /// open_clip).
    HalfEven,
    /// Down, and where the picture is too small the larger half of the border before it (transformers).
    Floor,
}

impl Rounding {
    /// The offset of a window of `window` pixels centred on `size` pixels; negative where a border is added.
    fn offset(self, size: usize, window: usize) -> isize {
        let margin = size as isize - window as isize;
        match self {
            Self::HalfEven if margin < 0 => margin / 2,
            Self::HalfEven => (margin as f64 / 2.0).round_ties_even() as isize,
            Self::Floor => margin.div_euclid(2),
        }
    }
}

/// The way from a decoded picture to a network's input: resize, centre crop (or border) to a fixed size, then
/// `(value · scale − mean) / std` for each channel.
///
/// [`apply`](Self::apply) does all but the last step, which the GPU does. Serialised, it is the stable form whose hash
/// tells whether two models see the same pixels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preprocess {
    /// How large the picture becomes before the crop.
    pub resize: Resize,
    /// How pixels are combined by the resize.
    pub filter: Filter,
    /// Rows of the result.
    pub height: usize,
    /// Columns of the result.
    pub width: usize,
    /// Where the crop starts when the margin is odd.
    pub rounding: Rounding,
    /// The colour of the border where the resized picture is smaller than the result.
    pub fill: [u8; 3],
    /// What a u8 value is multiplied by (1/255 nearly always).
    pub scale: f32,
    /// The mean of each channel, after `scale`.
    pub mean: [f32; 3],
    /// The standard deviation of each channel, after `scale`.
    pub std: [f32; 3],
}

impl Preprocess {
    /// The network's input: exactly [`height`](Self::height) × [`width`](Self::width) pixels.
    ///
    /// # Panics
    /// If `image` is empty.
    pub fn apply(&self, image: &Rgb8) -> Rgb8 {
        let (width, height) = self.resize.size(image.width, image.height);
        let (left, from_left, columns) = self.overlap(width, self.width);
        let (top, from_top, rows) = self.overlap(height, self.height);
        let window = Window { left, top, width: columns, height: rows };
        let inner = resize_window(image, width, height, window, self.filter);
        if (columns, rows) == (self.width, self.height) {
            return inner;
        }
        let mut framed =
            Rgb8 { width: self.width, height: self.height, data: self.fill.repeat(self.width * self.height) };
        let lines = framed.data.chunks_exact_mut(self.width * 3).skip(from_top);
        for (line, inner) in lines.zip(inner.data.chunks_exact(columns * 3)) {
            line[from_left * 3..(from_left + columns) * 3].copy_from_slice(inner);
        }
        framed
    }

    /// Where an axis of `size` pixels and the centred window of `window` pixels overlap: the first pixel of the axis,
    /// its place in the window, and the number of pixels.
    fn overlap(&self, size: usize, window: usize) -> (usize, usize, usize) {
        let offset = self.rounding.offset(size, window);
        let (from_size, from_window) = (offset.max(0) as usize, (-offset).max(0) as usize);
        (from_size, from_window, (size - from_size).min(window - from_window))
    }

    /// One line that says all of it, for people.
    pub fn describe(&self) -> String {
        let Self { height, width, .. } = self;
        let mut text = self.resize.describe(self.filter);
        // Writing to a String can't fail.
        let _ = match self.resize {
            Resize::Exact { height: h, width: w } if (h, w) == (*height, *width) => Ok(()),
            _ => write!(text, ", centre crop to {width}×{height}"),
        };
        if (f64::from(self.scale) * 255.0 - 1.0).abs() > 1e-6 {
            let _ = write!(text, ", scale {}", self.scale);
        }
        let _ = write!(text, ", mean {:?}, std {:?}", self.mean, self.std);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_margins_go_where_the_ecosystem_puts_them() {
        // torchvision: int(round((size - window) / 2.0)); padding puts (window - size) // 2 first.
        let half_even: Vec<isize> =
            [3, 5, 7, 4, -1, -3, -4].map(|m| Rounding::HalfEven.offset((20 + m) as usize, 20)).into();
        assert_eq!(half_even, [2, 2, 4, 2, 0, -1, -2]);
        // transformers: (size - window) // 2 in Python, signed.
        let floor: Vec<isize> = [3, 5, 7, 4, -1, -3, -4].map(|m| Rounding::Floor.offset((20 + m) as usize, 20)).into();
        assert_eq!(floor, [1, 2, 3, 2, -1, -2, -2]);
    }

    #[test]
    fn a_very_long_strip_is_cropped_without_being_resized_whole() {
        let strip = Rgb8 { width: 1_000_000, height: 1, data: vec![7; 3_000_000] };
        let preprocess = Preprocess {
            resize: Resize::ShortestEdge(224),
            filter: Filter::Bicubic,
            height: 224,
            width: 224,
            rounding: Rounding::HalfEven,
            fill: [0; 3],
            scale: 1.0 / 255.0,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        assert_eq!(preprocess.apply(&strip), Rgb8 { width: 224, height: 224, data: vec![7; 224 * 224 * 3] });
    }
}
