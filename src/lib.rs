//! heatlens debugs vision models with words, on any GPU.

pub mod error;
pub mod progress;
pub mod tensor;

pub use error::{Error, ErrorKind, Result};
pub use progress::{Observer, Silent};
pub use tensor::Tensor;
