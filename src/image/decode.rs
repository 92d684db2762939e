//! Picture files to RGB as Pillow's `Image.open(..).convert("RGB")` gives it.

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::Rgb8;
use super::jpeg;
use crate::error::{Error, ErrorKind, Result};

/// How files are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecodeOptions {
    /// Turn the picture as its EXIF orientation says. Off by default, as in the loaders of torchvision, timm and
    /// open_clip. (TIFF's orientation tag is always followed, because Pillow always follows it.)
    pub exif: bool,
}

/// A decoded picture and what is worth telling about the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The pixels.
    pub image: Rgb8,
    /// The file has an EXIF orientation other than upright that was not followed.
    pub orientation_ignored: bool,
    /// The file has 16 bits per channel, which were reduced to 8 as Pillow does it: the high byte of colour, but grey
    /// clipped at 255.
    pub deep: bool,
}

/// Decodes the file at `path`.
///
/// # Errors
/// [`ErrorKind::Io`] if it can't be read, [`ErrorKind::Image`] if it isn't a picture that can be decoded.
pub fn decode_file(path: &Path, options: &DecodeOptions) -> Result<Decoded> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    decode_bytes(&bytes, &path.display().to_string(), options)
}

/// Decodes the contents of a file, which errors call `name`. The format (PNG, JPEG, WebP, BMP, GIF or TIFF) is told by the
/// contents alone; of an animation the first frame is taken.
///
/// Pixels equal Pillow's, those of JPEG included. Lossy WebP and CMYK in JPEG may differ by a few levels, because decoders
/// round the inverse DCT and interpolate colour in their own ways, and CMYK in TIFF by one. TIFF with a palette or in
/// floating point isn't supported, nor are pictures that take more than 512 MiB.
///
/// # Errors
/// [`ErrorKind::Image`] if it isn't a picture that can be decoded.
pub fn decode_bytes(bytes: &[u8], name: &str, options: &DecodeOptions) -> Result<Decoded> {
    let failed = || Error::new(ErrorKind::Image, format!("{name}: not a picture that decodes"));
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| failed().caused_by(e))?;
    let format = reader.format();
    if format == Some(ImageFormat::Jpeg) && !jpeg::is_complete(bytes) {
        return Err(failed().caused_by("the file is truncated"));
    }
    let mut decoder = reader.into_decoder().map_err(|e| failed().caused_by(e))?;
    let orientation = decoder.orientation().map_err(|e| failed().caused_by(e))?;
    // A file of a few bytes may claim a size that no memory holds.
    Limits::default().reserve(decoder.total_bytes()).map_err(|e| failed().caused_by(e))?;
    let jpeg = if format == Some(ImageFormat::Jpeg) { jpeg::decode(bytes) } else { Ok(None) };
    let mut picture = match jpeg.map_err(|e| failed().caused_by(e))? {
        Some(Rgb8 { width, height, data }) => {
            let pixels = RgbImage::from_raw(width as u32, height as u32, data);
            DynamicImage::ImageRgb8(pixels.ok_or_else(|| failed().caused_by("its data is cut short"))?)
        }
        None => DynamicImage::from_decoder(decoder).map_err(|e| failed().caused_by(e))?,
    };
    let followed = options.exif || format == Some(ImageFormat::Tiff);
    if followed {
        picture.apply_orientation(orientation);
    }
    let deep = matches!(
        picture,
        DynamicImage::ImageLuma16(_)
            | DynamicImage::ImageLumaA16(_)
            | DynamicImage::ImageRgb16(_)
            | DynamicImage::ImageRgba16(_)
    );
    let image = to_rgb8(picture);
    if image.data.is_empty() {
        return Err(Error::new(ErrorKind::Image, format!("{name}: the picture has no pixels")));
    }
    Ok(Decoded { image, orientation_ignored: !followed && orientation != Orientation::NoTransforms, deep })
}

/// Pillow's `convert("RGB")`: grey is repeated, alpha is dropped, 16-bit colour keeps its high byte, 16-bit grey is
/// clipped at 255.
fn to_rgb8(picture: DynamicImage) -> Rgb8 {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let data = match picture {
        DynamicImage::ImageRgb8(pixels) => pixels.into_raw(),
        DynamicImage::ImageLuma8(pixels) => pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
        DynamicImage::ImageLumaA8(pixels) => pixels.pixels().flat_map(|pixel| [pixel.0[0]; 3]).collect(),
        DynamicImage::ImageRgba8(pixels) => pixels.pixels().flat_map(|pixel| first3(pixel.0)).collect(),
        DynamicImage::ImageLuma16(pixels) => pixels.iter().flat_map(|&grey| [grey.min(255) as u8; 3]).collect(),
        DynamicImage::ImageLumaA16(pixels) => pixels.pixels().flat_map(|pixel| [high_byte(pixel.0[0]); 3]).collect(),
        DynamicImage::ImageRgb16(pixels) => pixels.iter().map(|&value| high_byte(value)).collect(),
        DynamicImage::ImageRgba16(pixels) => pixels.pixels().flat_map(|pixel| first3(pixel.0).map(high_byte)).collect(),
        // Floating point in three channels, which Pillow doesn't open.
        other => other.into_rgb8().into_raw(),
    };
    Rgb8 { width, height, data }
}

fn first3<T>([r, g, b, _]: [T; 4]) -> [T; 3] {
    [r, g, b]
}

fn high_byte(value: u16) -> u8 {
    (value >> 8) as u8
}
