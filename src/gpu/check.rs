//! Kernels on a device against their f64 references: what the tests assert and `heatlens doctor` prints.

use std::sync::Arc;

use super::device::Device;
use super::executable::{Executable, Input};
use crate::error::Result;
use crate::kernels::cases::{Case, Values};
use crate::kernels::{Element, Kernel};
use crate::plan::Plan;

/// Terms of a sum from which on the tolerance grows with their number, as the bound of its rounding errors does.
const TERMS: f64 = 2048.0;

/// What came out of one case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelCheck {
    /// The largest error over the largest magnitude of the reference; infinite where a value is no number.
    pub error: f64,
    /// The largest error that passes: 0 for kernels that give integers.
    pub tolerance: f64,
    /// The number of values.
    pub values: usize,
    /// How many of them are off by more than the tolerance.
    pub differing: usize,
    /// The value that is farthest off, if any is.
    pub worst: Option<Difference>,
}

/// One value of a kernel's result that isn't its reference's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Its place in the result, padding included.
    pub index: usize,
    /// What the kernel gives.
    pub found: f64,
    /// What the reference gives.
    pub expected: f64,
}

impl KernelCheck {
    /// Whether the kernel computes what its reference does.
    pub fn passes(self) -> bool {
        self.error <= self.tolerance
    }

    fn of(found: &[f64], expected: &[f64], tolerance: f64) -> Self {
        let largest = expected.iter().fold(1e-30, |largest: f64, v| largest.max(v.abs()));
        let mut check = Self { error: 0.0, tolerance, values: found.len(), differing: 0, worst: None };
        for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            let error = (found - expected).abs() / largest;
            let error = if error.is_nan() { f64::INFINITY } else { error };
            check.differing += usize::from(error > tolerance);
            if error > check.error {
                (check.error, check.worst) = (error, Some(Difference { index, found, expected }));
            }
        }
        check
    }
}

impl Device {
    /// Runs a case into buffers filled with NaN and compares the result with the f64 reference: in each of the ways in which the
    /// device's profile may run its kernel, the worst of them.
    ///
    /// # Errors
    /// As [`Device::compile`] and [`Executable::run`].
    pub fn check(&self, case: &Case) -> Result<KernelCheck> {
        let mut worst: Option<KernelCheck> = None;
        for variant in case.kernel.variants().iter().filter(|variant| variant.profiles.contains(&self.profile())) {
            let kernel = Arc::new(variant.of(case.kernel.clone()));
            let check = self.compile(&Plan::of_kernel(kernel))?.check(case)?;
            if worst.is_none_or(|worst| check.error > worst.error) {
                worst = Some(check);
            }
        }
        Ok(worst.expect("every profile runs every kernel"))
    }
}

impl Executable {
    /// Uploads a case's operands for a kernel that was compiled by [`Plan::of_kernel`].
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_case(&self, case: &Case) -> Result<()> {
        self.load(&inputs(case, &names(case)))
    }

    /// Runs a case whose kernel was compiled by [`Plan::of_kernel`] and compares the result with the f64 reference; its
    /// operands stay on the device.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// If another plan than the case's was compiled.
    pub fn check(&self, case: &Case) -> Result<KernelCheck> {
        self.poison();
        let names = names(case);
        let outputs = self.run(&inputs(case, &names))?;
        let (found, tolerance): (Vec<f64>, f64) = match case.kernel.output().element {
            Element::F32 => {
                let values = outputs.tensor("output").into_data();
                (values.into_iter().map(f64::from).collect(), tolerance(&*case.kernel))
            }
            Element::F16 | Element::U32 => (outputs.integers("output").iter().map(|&v| v.into()).collect(), 0.0),
        };
        let expected = case.expected();
        assert_eq!(found.len(), expected.len(), "{}: {}", case.kernel.name(), case.label);
        Ok(KernelCheck::of(&found, &expected, tolerance))
    }
}

/// The names that the operands have as inputs of [`Plan::of_kernel`].
fn names(case: &Case) -> Vec<String> {
    (0..case.reads.len()).map(|i| i.to_string()).collect()
}

fn inputs<'a>(case: &'a Case, names: &'a [String]) -> Vec<(&'a str, Input<'a>)> {
    let input = |values: &'a Values| match values {
        Values::F32(values) => Input::F32(values),
        Values::F16(values) => Input::F16(values),
        Values::U32(values) => Input::U32(values),
    };
    names.iter().zip(&case.reads).map(|(name, values)| (name.as_str(), input(values))).collect()
}

fn tolerance(kernel: &dyn Kernel) -> f64 {
    let terms = kernel.flops() as f64 / (2.0 * kernel.output().len as f64);
    kernel.tolerance() * (terms / TERMS).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farthest_value_is_named_and_those_beyond_the_tolerance_are_counted() {
        let check = KernelCheck::of(&[1.0, 2.5, f64::NAN, 4.0], &[1.0, 2.0, 3.0, 4.0], 0.1);
        assert_eq!((check.error, check.values, check.differing), (f64::INFINITY, 4, 2));
        let worst = check.worst.unwrap();
        assert_eq!((worst.index, worst.expected), (2, 3.0));
        assert!(!check.passes() && worst.found.is_nan());
        let same = KernelCheck::of(&[7.0], &[7.0], 0.0);
        assert!(same.passes() && same.worst.is_none());
    }
}
