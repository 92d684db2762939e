//! Kernels on a device against their f64 references: what the tests assert and `heatlens doctor` prints.

use super::device::Device;
use super::executable::Input;
use crate::error::Result;
use crate::kernels::Element;
use crate::kernels::cases::{Case, Values};
use crate::plan::Plan;

/// The largest error of a kernel's floats, relative to the largest magnitude of its reference.
const TOLERANCE: f64 = 2e-6;

/// What came out of one case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelCheck {
    /// The largest error over the largest magnitude of the reference; infinite where a value is no number.
    pub error: f64,
    /// The largest error that passes: 0 for kernels that give integers.
    pub tolerance: f64,
}

impl KernelCheck {
    /// Whether the kernel computes what its reference does.
    pub fn passes(self) -> bool {
        self.error <= self.tolerance
    }
}

impl Device {
    /// Runs a case into buffers filled with NaN and compares the result with the f64 reference.
    ///
    /// # Errors
    /// As [`Device::compile`] and [`Executable::run`](super::Executable::run).
    pub fn check(&self, case: &Case) -> Result<KernelCheck> {
        let executable = self.compile(&Plan::of_kernel(case.kernel.clone()))?;
        executable.poison();
        let names: Vec<String> = (0..case.reads.len()).map(|i| i.to_string()).collect();
        let inputs: Vec<(&str, Input<'_>)> = names
            .iter()
            .zip(&case.reads)
            .map(|(name, values)| match values {
                Values::F32(values) => (name.as_str(), Input::F32(values)),
                Values::F16(values) => (name.as_str(), Input::F16(values)),
                Values::U32(values) => (name.as_str(), Input::U32(values)),
            })
            .collect();
        let outputs = executable.run(&inputs)?;
        let (found, tolerance): (Vec<f64>, f64) = match case.kernel.output().element {
            Element::F32 => (outputs.tensor("output").data().iter().map(|&v| v.into()).collect(), TOLERANCE),
            Element::F16 | Element::U32 => (outputs.integers("output").iter().map(|&v| v.into()).collect(), 0.0),
        };
        let expected = case.expected();
        assert_eq!(found.len(), expected.len(), "{}: {}", case.kernel.name(), case.label);
        let largest = expected.iter().fold(1e-30, |largest: f64, v| largest.max(v.abs()));
        let error = found.iter().zip(&expected).fold(0.0, |worst: f64, (found, expected)| {
            let error = (found - expected).abs() / largest;
            if error.is_nan() { f64::INFINITY } else { worst.max(error) }
        });
        Ok(KernelCheck { error, tolerance })
    }
}
