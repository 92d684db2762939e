//! The one room that names wgpu: adapters, devices and compiled plans.
//!
//! ```no_run
//! # fn main() -> heatlens::Result<()> {
//! use heatlens::gpu::{Device, Input};
//! use heatlens::layers::{Activation, Linear};
//! use heatlens::{Plan, Tensor};
//!
//! let device = Device::best()?;
//! let head = Linear::new("fc", &Tensor::new([2, 4], vec![1.0; 8]), None);
//! let mut plan = Plan::new(3);
//! let features = plan.input("features", 1, 4);
//! let logits = plan.linear(features, &head, Activation::Identity);
//! plan.output("logits", logits);
//! let executable = device.compile(&plan)?;
//! let outputs = executable.run(&[("features", Input::F32(&[0.5; 12]))])?;
//! assert_eq!(outputs.tensor("logits").shape(), [3, 2]);
//! # Ok(())
//! # }
//! ```

mod adapter;
mod check;
mod device;
mod executable;
mod matrices;
mod outputs;
mod pipeline;
mod timing;
mod tuning;

pub use adapter::{AdapterChoice, AdapterSummary, DeviceOptions, MEMORY_SHARE, Power, adapters};
pub use check::{Difference, KernelCheck};
pub use device::Device;
pub(crate) use executable::FLOPS_PER_SUBMISSION;
pub use executable::{Executable, Input, Run};
pub use matrices::MatrixTest;
pub use outputs::Outputs;
pub use timing::Clock;
pub use tuning::{Tuning, TuningOrigin};
pub use wgpu;
