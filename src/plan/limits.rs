//! What a device lets a plan have, and which batch fits it.

use super::{Plan, Shape, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Profile;

/// What a device lets a plan have, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest value. Parameters may be larger where their kernels take them in parts.
    pub binding: u64,
    /// The largest buffer.
    pub buffer: u64,
    /// All parameters, values and results together; none where nobody knows.
    pub memory: Option<u64>,
}

/// The bytes that a plan takes on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Its distinct parameters.
    pub parameters: u64,
    /// Its inputs, intermediate values and results, as [`Plan::slots`] places them.
    pub values: u64,
    /// The inputs once more, for uploading them.
    pub staging: u64,
    /// The results once more, for reading them back.
    pub readback: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.parameters + self.values + self.staging + self.readback
    }
}

impl Plan {
    /// The bytes that the plan takes on a device.
    pub fn memory(&self) -> Memory {
        Memory {
            parameters: self.stored().map(Stored::bytes).sum(),
            values: self.slots().total_bytes(),
            staging: self.inputs.iter().map(|(_, var)| self.bytes_of(var.0)).sum(),
            readback: self.outputs.iter().map(|(_, var)| self.bytes_of(var.0)).sum(),
        }
    }

    /// Checks the plan against a device's limits.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] naming what is too large, its bytes and the limit.
    pub fn check(&self, limits: &Limits) -> Result<()> {
        let inputs = self.inputs.iter().map(|(name, var)| (format!("the input `{name}`"), var));
        let results = self.dispatches.iter().map(|d| (format!("the result of {}", d.kernel.name()), &d.output));
        for (what, var) in inputs.chain(results) {
            let Shape { images, height, width, channels } = self.shape(*var);
            let what = format!("{what} ({images}×{height}×{width}×{channels})");
            fits(&what, self.bytes_of(var.0), limits.binding, "can be bound at once")?;
        }
        for dispatch in &self.dispatches {
            for (operand, source) in dispatch.reads.iter().enumerate() {
                let Some(stored) = source.stored() else { continue };
                let has_parts = || dispatch.kernel.split(Profile::Hardware, operand, limits.binding).is_some();
                if stored.bytes() > limits.binding && !has_parts() {
                    let what =
                        format!("tensor {}, which {} needs whole,", stored.parameter().name(), dispatch.kernel.name());
                    fits(&what, stored.bytes(), limits.binding, "can be bound at once")?;
                }
            }
        }
        let memory = self.memory();
        fits("uploading the inputs", memory.staging, limits.buffer, "fit a buffer")?;
        fits("reading the results back", memory.readback, limits.buffer, "fit a buffer")?;
        let Memory { parameters, values, staging, readback } = memory;
        let transfers = staging + readback;
        let what = format!("a run ({parameters} bytes of weights, {values} of values, {transfers} of transfers)");
        fits(&what, memory.total(), limits.memory.unwrap_or(u64::MAX), "of memory may be used")
    }

    /// Records for `asked` rows at a time, or, where that is none, for as many up to `usual` as the limits let through.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if the batch asked for doesn't fit, naming the largest that does, or if not even one row does.
    pub fn fitting(
        asked: Option<usize>,
        usual: usize,
        limits: &Limits,
        record: impl Fn(usize) -> Self,
    ) -> Result<Self> {
        let wanted = asked.unwrap_or(usual).max(1);
        let plan = record(wanted);
        let Err(error) = plan.check(limits) else { return Ok(plan) };
        // The largest batch known to fit, and the smallest known not to.
        let (mut fitting, mut failing) = (0, (wanted, None));
        while failing.0 - fitting > 1 {
            let middle = fitting + (failing.0 - fitting) / 2;
            match record(middle).check(limits) {
                Ok(()) => fitting = middle,
                Err(error) => failing = (middle, Some(error)),
            }
        }
        match (fitting, asked) {
            (0, _) => Err(failing.1.unwrap_or(error).at("even a batch of 1 doesn't fit").hint(
                "use an adapter with larger limits (heatlens doctor lists them), or more --memory if that is the limit",
            )),
            (fitting, None) => Ok(record(fitting)),
            (fitting, Some(_)) => Err(error
                .at(format!("a batch of {wanted} doesn't fit"))
                .hint(format!("the largest that does is --batch {fitting}, which --batch auto finds by itself"))),
        }
    }
}

fn fits(what: &str, bytes: u64, limit: u64, may: &str) -> Result<()> {
    if bytes <= limit {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Limit, format!("{what} takes {bytes} bytes, and at most {limit} {may}")))
}
