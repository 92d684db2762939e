//! heatlens debugs vision models with words, on any GPU.

// Tests may unwrap; integration tests, examples and benches are crates of their own.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod dataset;
pub mod error;
pub mod files;
pub mod gpu;
pub mod image;
pub mod kernels;
pub mod layers;
pub mod models;
pub mod plan;
pub mod progress;
pub mod report;
pub mod semantics;
pub mod tensor;
pub mod text;
pub mod weights;

pub use error::{Error, ErrorKind, Result};
pub use gpu::Device;
pub use plan::{Plan, Var};
pub use progress::{Observer, Silent};
pub use semantics::{Aligner, Bundle, Filter};
pub use tensor::Tensor;
pub use weights::Weights;
