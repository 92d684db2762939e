//! What becomes of a picture on its way to a network, stage by stage, with hashes that other programs can compare.

use std::fmt::Write as _;
use std::io::Cursor;

use image::{ImageDecoder, ImageReader};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::preprocess::Preprocess;
use super::resize::resize;
use super::{DecodeOptions, Rgb8, decode_bytes};
use crate::error::Result;

/// Pixels past which a resized picture isn't made whole only to be hashed; the crop from it is made in any case.
const MOST_PIXELS: usize = 1 << 27;

/// One step from a picture's file to a network's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Its short name: `file`, `decode`, `orient`, `resize`, `crop` or `normalize`.
    pub name: &'static str,
    /// What it did.
    pub what: String,
    /// Width and height behind it; none for the file itself.
    pub size: Option<[usize; 2]>,
    /// The SHA-256 of the bytes behind it, in hexadecimal: of the file's, of RGB pixels (three bytes each, row by row), or,
    /// behind `normalize`, of little-endian f32 values in the order `[3, height, width]`. None where the picture would be
    /// too large to make whole.
    pub sha256: Option<String>,
}

impl Preprocess {
    /// The stages of the picture whose file's contents are `bytes`; errors call it `name`.
    ///
    /// The hashes are those of Pillow's `Image.open(..).convert("RGB").tobytes()` behind `decode`, of the same behind the
    /// library's resize and crop, and of `tensor.numpy().tobytes()` of the tensor that it gives the network.
    ///
    /// # Errors
    /// Those of [`decode_bytes`].
    pub fn explain(&self, bytes: &[u8], name: &str, options: &DecodeOptions) -> Result<Vec<Stage>> {
        let decoded = decode_bytes(bytes, name, &DecodeOptions { exif: false })?;
        let mut stages = vec![
            Stage { name: "file", what: kind(bytes), size: None, sha256: Some(sha256(bytes)) },
            stage("decode", "to 8-bit RGB".to_owned(), &decoded.image),
        ];
        let image = if decoded.orientation_ignored && options.exif {
            let upright = decode_bytes(bytes, name, options)?.image;
            stages.push(stage("orient", "turned as its EXIF orientation says".to_owned(), &upright));
            upright
        } else {
            if decoded.orientation_ignored {
                stages.push(stage("orient", "its EXIF orientation isn't followed".to_owned(), &decoded.image));
            }
            decoded.image
        };
        let (width, height) = self.resize.size(image.width, image.height);
        let what = self.resize.describe(self.filter);
        stages.push(match width.saturating_mul(height) <= MOST_PIXELS {
            true => stage("resize", what, &resize(&image, width, height, self.filter)),
            false => Stage { name: "resize", what, size: Some([width, height]), sha256: None },
        });
        let pixels = self.apply(&image);
        stages.push(stage("crop", format!("the centre {}×{}", self.width, self.height), &pixels));
        let values: Vec<u8> = self.normalized(&pixels).flat_map(f32::to_le_bytes).collect();
        let what = format!("mean {:?}, std {:?}", self.mean, self.std);
        let size = Some([self.width, self.height]);
        stages.push(Stage { name: "normalize", what, size, sha256: Some(sha256(&values)) });
        Ok(stages)
    }

    /// The last step on the host: `(value · scale − mean) / std` in the order `[3, height, width]`, rounded to f32 as the
    /// ecosystems' transforms round it. (They divide by 255 where the GPU multiplies by 1/255: a last bit.)
    pub fn normalized<'a>(&'a self, pixels: &'a Rgb8) -> impl Iterator<Item = f32> + 'a {
        let scaled = |value: u8| match self.scale == 1.0 / 255.0 {
            true => f32::from(value) / 255.0,
            false => (f64::from(value) * f64::from(self.scale)) as f32,
        };
        (0..3).flat_map(move |channel| {
            let values = pixels.data.iter().skip(channel).step_by(3);
            values.map(move |&value| (scaled(value) - self.mean[channel]) / self.std[channel])
        })
    }
}

fn stage(name: &'static str, what: String, image: &Rgb8) -> Stage {
    Stage { name, what, size: Some([image.width, image.height]), sha256: Some(sha256(&image.data)) }
}

/// The format and the kind of pixels of a file that decodes, such as `Jpeg, Rgb8`.
fn kind(bytes: &[u8]) -> String {
    let Ok(reader) = ImageReader::new(Cursor::new(bytes)).with_guessed_format() else { return String::new() };
    let format = reader.format().map(|format| format!("{format:?}")).unwrap_or_default();
    let color = reader.into_decoder().map(|decoder| format!(", {:?}", decoder.original_color_type()));
    format + &color.unwrap_or_default()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
