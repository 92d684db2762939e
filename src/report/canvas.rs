//! A white canvas with rectangles, lines and text: just enough to draw a map.

use image::{Rgb as Pixel, RgbImage};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::colors::{Rgb, blend};

/// The two sizes of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Font {
    /// Labels.
    Text,
    /// The title.
    Title,
}

impl Font {
    fn raster(self) -> (FontWeight, RasterHeight) {
        match self {
            Self::Text => (FontWeight::Regular, RasterHeight::Size16),
            Self::Title => (FontWeight::Bold, RasterHeight::Size20),
        }
    }

    /// The height of a line in pixels.
    pub(crate) fn height(self) -> u32 {
        self.raster().1.val() as u32
    }

    /// The width of `text` in pixels once drawn.
    pub(crate) fn width(self, text: &str) -> u32 {
        let (weight, height) = self.raster();
        (drawable(text).count() * get_raster_width(weight, height)) as u32
    }
}

/// The characters that are drawn for `text`: the font has Latin letters, and the few signs titles use are spelled out.
fn drawable(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(|character| {
        let spelled = match character {
            '→' => "->",
            '−' | '–' | '—' => "-",
            '…' => "...",
            '’' => "'",
            _ => "",
        };
        spelled.chars().chain(spelled.is_empty().then_some(character))
    })
}

/// `text` cut to at most `limit` characters, with two dots where something is missing.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    match text.chars().count() > limit {
        true => text.chars().take(limit.saturating_sub(2)).chain("..".chars()).collect(),
        false => text.to_owned(),
    }
}

/// Pixels, from the top left.
pub(crate) struct Canvas {
    pixels: RgbImage,
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Canvas {
    /// A white canvas.
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Self { pixels: RgbImage::from_pixel(width, height, Pixel([255; 3])) }
    }

    /// The picture.
    pub(crate) fn into_pixels(self) -> RgbImage {
        self.pixels
    }

    /// Paints one pixel over with `share` of `color`; pixels outside the canvas are left out.
    fn paint(&mut self, x: u32, y: u32, color: Rgb, share: f64) {
        if let Some(pixel) = self.pixels.get_pixel_mut_checked(x, y) {
            pixel.0 = blend(pixel.0, color, share);
        }
    }

    /// Fills `area`.
    pub(crate) fn fill(&mut self, area: Area, color: Rgb) {
        for y in area.y..area.y + area.height {
            for x in area.x..area.x + area.width {
                self.paint(x, y, color, 1.0);
            }
        }
    }

    /// Draws diagonal lines over `area`, aligned across neighbouring areas.
    pub(crate) fn hatch(&mut self, area: Area, color: Rgb) {
        const PERIOD: u32 = 7;
        for y in area.y..area.y + area.height {
            for x in area.x..area.x + area.width {
                // Three shares make a line of about one and a half pixels without stairs.
                let share = [0.75, 0.45, 0.15].get(((x + y) % PERIOD) as usize).copied().unwrap_or(0.0);
                self.paint(x, y, color, share);
            }
        }
    }

    /// Writes one line of text with its top left corner at (`x`, `y`).
    pub(crate) fn text(&mut self, (x, y): (u32, u32), font: Font, text: &str, color: Rgb) {
        self.each_text_pixel(font, text, |canvas, along, down, share| {
            canvas.paint(x + along, y + down, color, share);
        });
    }

    /// Writes one line of text upwards: it begins at the bottom, (`x`, `y`) being its bottom left corner.
    pub(crate) fn text_upwards(&mut self, (x, y): (u32, u32), font: Font, text: &str, color: Rgb) {
        self.each_text_pixel(font, text, |canvas, along, down, share| {
            if let Some(y) = y.checked_sub(along + 1) {
                canvas.paint(x + down, y, color, share);
            }
        });
    }

    /// Calls `paint` with each inked pixel of `text`: how far along and below its top left corner, and how much ink.
    fn each_text_pixel(&mut self, font: Font, text: &str, mut paint: impl FnMut(&mut Self, u32, u32, f64)) {
        let (weight, height) = font.raster();
        let advance = get_raster_width(weight, height) as u32;
        for (at, character) in drawable(text).enumerate() {
            let left = at as u32 * advance;
            match get_raster(character, weight, height) {
                Some(glyph) => {
                    for (down, row) in glyph.rows().enumerate() {
                        for (along, &ink) in row.iter().enumerate().filter(|&(_, &ink)| ink > 0) {
                            paint(self, left + along as u32, down as u32, f64::from(ink) / 255.0);
                        }
                    }
                }
                // A letter that the font lacks shows as an empty box, as in any program.
                None => {
                    let (right, top, bottom) = (advance - 2, 3, font.height() - 3);
                    for along in 0..=right {
                        paint(self, left + along, top, 0.6);
                        paint(self, left + along, bottom, 0.6);
                    }
                    for down in top + 1..bottom {
                        paint(self, left, down, 0.6);
                        paint(self, left + right, down, 0.6);
                    }
                }
            }
        }
    }
}
