//! Picture files to the u8 pixels a network is fed: decoding, exact resizing, preprocessing.
//!
//! The reference is what the networks were trained behind: Pillow's `Image.open(..).convert("RGB")`, Pillow's resize
//! and the transforms of torchvision, timm, transformers and open_clip. [`decode_file`] gives an [`Rgb8`];
//! [`Preprocess::apply`] gives the exact u8 pixels of the network's input; subtracting the mean and dividing by the
//! standard deviation is left to the GPU.

mod config;
mod decode;
mod explain;
mod jpeg;
mod preprocess;
mod resize;

pub use config::Torchvision;
pub use decode::{DecodeOptions, Decoded, decode_bytes, decode_file};
pub use explain::Stage;
pub use preprocess::{Preprocess, Resize, Rounding};
pub use resize::{Filter, resize};

/// An 8-bit RGB image: `data` holds `height` rows of `width` pixels of 3 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rgb8 {
    /// Pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// `height * width * 3` bytes, row after row.
    pub data: Vec<u8>,
}
