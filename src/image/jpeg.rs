//! JPEG files, decoded as libjpeg-turbo does it.
//!
//! Decoders may differ by a level in the inverse DCT and by more where they interpolate colour. Pillow, torchvision and so
//! the models' own training use libjpeg-turbo, and MozJPEG's decoder is the same code.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mozjpeg::{ColorSpace, Decompress};

use super::Rgb8;

/// The pixels of the grey or colour JPEG file `bytes`, bit for bit those of libjpeg-turbo, or why there are none. A file of
/// four inks has none: libjpeg doesn't convert those to RGB.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Rgb8>, String> {
    let decode = || -> std::io::Result<Option<Rgb8>> {
        let file = Decompress::new_mem(bytes)?;
        if matches!(file.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK) {
            return Ok(None);
        }
        let mut started = file.rgb()?;
        let (width, height) = (started.width(), started.height());
        let data = started.read_scanlines()?;
        started.finish()?;
        Ok(Some(Rgb8 { width, height, data }))
    };
    // The library reports fatal errors by unwinding; nothing outlives the closure that could be left half-changed.
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(cause) => Err(cause.downcast_ref::<String>().map_or("its data is malformed", String::as_str).to_owned()),
    }
}

/// Whether the scans of the JPEG file `bytes` are followed by an end marker. Without one Pillow calls the file truncated;
/// the decoder used here fills up with grey.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let [0xff, marker, after @ ..] = rest {
        // Any number of 0xff may stand before a marker.
        if *marker == 0xff {
            rest = &rest[1..];
            continue;
        }
        let [high, low, ..] = after else { return false };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(next) = after.get(length..).filter(|_| length >= 2) else { return false };
        if *marker == 0xda {
            // In the scans 0xff stands before a marker, or else 0 follows it.
            return next.windows(2).any(|pair| pair == [0xff, 0xd9]);
        }
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn a_file_is_complete_with_an_end_marker_after_its_scans() {
        // A thumbnail within another segment has an end marker of its own.
        let thumbnail = [0xff, 0xe1, 0, 6, 0xff, 0xd9, 0, 0];
        let scan = [0xff, 0xff, 0xda, 0, 2, 0x12, 0xff, 0x00, 0xff, 0xd0];
        let whole = [&[0xff, 0xd8][..], &thumbnail, &scan, &[0xff, 0xd9]].concat();
        assert!(is_complete(&whole));
        for length in 0..whole.len() {
            assert!(!is_complete(&whole[..length]), "cut at {length}");
        }
        assert!(!is_complete(&[0xff, 0xd8, 0xff, 0xda, 0, 1, 0xff, 0xd9]));
    }
}
