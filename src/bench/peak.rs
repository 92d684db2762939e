//! What the adapter can do at best, measured beside everything that is compared with it.

use serde::Serialize;

use super::sample::Sample;
use crate::error::Result;
use crate::gpu::{Clock, Device, Executable};
use crate::kernels::shapes::Shaped;
use crate::plan::Plan;
use crate::progress::Observer;

/// The adapter's rates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Peak {
    /// 10⁹ operations a second, a multiply-add counted as two.
    pub fma_gflops: f64,
    /// 10⁹ bytes a second, those read and those written.
    pub copy_gbps: f64,
}

/// A kernel that is ready to be timed.
pub(super) struct Timed {
    executable: Executable,
    clock: Clock,
    repeats: usize,
    /// Operations of one time.
    pub(super) flops: u64,
    /// Bytes of one time.
    pub(super) bytes: u64,
}

/// Seconds that one measurement takes at least, for kernels that are shorter are repeated.
const SHORTEST: f64 = 0.01;
/// Repetitions in one measurement at most.
const MOST_REPEATS: f64 = 1000.0;

impl Timed {
    /// Warms up, and finds out how often the dispatches must run for a measurement that is long enough.
    pub(super) fn new(executable: Executable, flops: u64, bytes: u64, clock: Clock) -> Result<Self> {
        executable.time(1, clock)?;
        let once = executable.time(1, clock)?;
        let repeats = (SHORTEST / once).ceil().clamp(1.0, MOST_REPEATS) as usize;
        Ok(Self { executable, clock, repeats, flops, bytes })
    }

    /// The seconds of one time.
    pub(super) fn seconds(&self) -> Result<f64> {
        self.executable.time(self.repeats, self.clock)
    }
}

/// The two kernels that the rates come from.
pub(super) struct Peaks {
    pub(super) fma: Timed,
    pub(super) copy: Timed,
}

impl Peaks {
    /// Ready to be timed on `device`.
    pub(super) fn new(device: &Device, clock: Clock) -> Result<Self> {
        // Lanes enough to fill the adapter, values enough to fill no cache.
        let (lanes, rounds, vectors) =
            if device.profile().is_software() { (1 << 12, 256, 1 << 22) } else { (1 << 20, 128, 1 << 24) };
        let bindable = (device.limits().binding / 16) as usize;
        let timed = |kernel: &str, sizes: &[usize]| {
            let shaped = Shaped::new(kernel, sizes)?;
            let executable = device.compile(&Plan::of_kernel(shaped.kernel.clone()))?;
            executable.load_case(&shaped.case())?;
            Timed::new(executable, shaped.kernel.flops(), shaped.kernel.bytes(), clock)
        };
        Ok(Self { fma: timed("fma_peak", &[lanes, rounds])?, copy: timed("copy_peak", &[vectors.min(bindable)])? })
    }

    /// The rates at measured times.
    pub(super) fn at(&self, fma: &Sample, copy: &Sample) -> Peak {
        Peak {
            fma_gflops: self.fma.flops as f64 / fma.median * 1e-9,
            copy_gbps: self.copy.bytes as f64 / copy.median * 1e-9,
        }
    }
}

/// Measures the adapter's rates.
///
/// # Errors
/// Those of the device and the observer.
pub fn peak(device: &Device, clock: Clock, repetitions: usize, observer: &dyn Observer) -> Result<(Peak, [Sample; 2])> {
    let peaks = Peaks::new(device, clock)?;
    let samples = super::sample::in_turns(repetitions, &[&|| peaks.fma.seconds(), &|| peaks.copy.seconds()], observer)?;
    Ok((peaks.at(&samples[0], &samples[1]), [samples[0], samples[1]]))
}
