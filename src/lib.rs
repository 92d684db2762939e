//! heatlens debugs vision models with words, on any GPU.
//!
//! A classifier's features are mapped into CLIP's space by a linear [`Aligner`], and every image is asked which concept is
//! stronger than which. The answers, counted over sets of images, are heatmaps. A [`Bundle`] holds those of a
//! classifier: their differences say in which concepts it fails, and whether the encoder or the head is to blame. A
//! [`Filter`] compares the map of a new image with them and rejects what looks like past failures.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use heatlens::dataset::{Dataset, DatasetOptions};
//! use heatlens::models::{Classifier, Clip};
//! use heatlens::semantics::{AlignOptions, BuildInputs, BuildOptions, Concepts, LocalizeOptions, Templates};
//! use heatlens::{Aligner, Bundle, Device, Silent};
//!
//! # fn main() -> heatlens::Result<()> {
//! let device = Device::best()?;
//! let [classifier_path, clip_path, images_path] = ["resnet18", "clip", "photos/build"].map(Path::new);
//! let (classifier, clip) = (Classifier::open(classifier_path, &Silent)?, Clip::open(clip_path)?);
//! let classes = ["cat", "dog", "ship"].map(str::to_owned);
//! let labelled = |path: &Path| Dataset::open(path, Some(&classes), &DatasetOptions::default());
//!
//! let fitted_on = labelled("photos/align".as_ref())?;
//! let aligner = Aligner::fit(&device, &classifier, &clip, &fitted_on, &AlignOptions::default(), &Silent)?;
//! let inputs = BuildInputs {
//!     classifier: &classifier,
//!     classifier_path,
//!     clip: &clip,
//!     clip_path,
//!     aligner: &aligner,
//!     concepts: &Concepts::from_file("concepts.txt")?,
//!     classes: &classes,
//!     templates: &Templates::default(),
//!     images: &labelled(images_path)?,
//!     images_path,
//! };
//! let bundle = Bundle::build(&device, &inputs, &BuildOptions::default(), &Silent, "bundle".as_ref())?;
//! let faults = bundle.localize(&device, &LocalizeOptions::default(), &Silent)?;
//! println!("{} in the encoder, {} in the head", faults.totals.encoder, faults.totals.head);
//! # Ok(())
//! # }
//! ```
//!
//! Every forward pass, score, count and distance is computed by WGSL compute shaders on a [`Device`]. The API is synchronous;
//! devices, filters and compiled plans are `Send + Sync`; long calls tell an [`Observer`] how far they are, and it may
//! cancel them.

// Tests may unwrap; integration tests, examples and benches are crates of their own.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod bench;
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

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
