//! How fast it is: kernels and networks, beside what the adapter can do at best, files to embeddings, the runtime filter and
//! the aggregation of heatmaps.
//!
//! ```no_run
//! use heatlens::bench::{KernelOptions, Subject, kernels};
//! use heatlens::{Device, Silent};
//!
//! let device = Device::best()?;
//! let subjects = [Subject::new("gemm", &[512, 512, 512])?];
//! let measured = kernels(&device, &subjects, &KernelOptions::new(&device), &Silent)?;
//! for row in &measured.rows {
//!     println!("{} {} {}: {:.1} GFLOP/s", row.kernel, row.shape, row.variant, row.gflops);
//! }
//! # Ok::<(), heatlens::Error>(())
//! ```
//!
//! Everything that a run measures is measured in turns, one repetition of each after the other, the peaks included: on a
//! machine that does other things as well, times drift but their ratios hold. A time is the median of the repetitions, and
//! its spread half of their interquartile range.

mod aggregation;
mod filter;
mod kernels;
mod models;
mod peak;
mod pipeline;
mod sample;
mod subjects;

pub use aggregation::{AggregationOptions, AggregationRow, aggregation};
pub use filter::{FilterOptions, FilterRow, filter};
pub use kernels::{KernelOptions, KernelRow, Measured, Replacement, Variants, kernels};
pub use models::{ModelOptions, ModelRow, model};
pub use peak::{Peak, peak};
pub use pipeline::{PipelineOptions, PipelineRow, pipeline};
pub use sample::Sample;
pub use subjects::{Subject, subjects};
