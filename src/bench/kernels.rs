//! Kernels one by one.

use std::sync::Arc;

use serde::Serialize;

use super::peak::{Peak, Peaks, Timed};
use super::sample::{Sample, in_turns};
use super::subjects::Subject;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Clock, Device, Difference, KernelCheck};
use crate::kernels::cases::Case;
use crate::kernels::{Kernel, Operand, Variant};
use crate::plan::Plan;
use crate::progress::{Observer, step};

/// How kernels are measured.
#[derive(Debug, Clone)]
pub struct KernelOptions {
    /// What times are taken with.
    pub clock: Clock,
    /// Repetitions of each measurement.
    pub repetitions: usize,
    /// Which variants of each kernel.
    pub variants: Variants,
    /// What is run beside each of them.
    pub replacement: Option<Replacement>,
}

/// Somebody's WGSL for a kernel.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// What its rows are called.
    pub name: String,
    /// A device that runs it in the place of the kernel's own shader
    /// ([`DeviceOptions::replaced_shaders`](crate::gpu::DeviceOptions::replaced_shaders)).
    pub device: Device,
}

impl KernelOptions {
    /// Ten repetitions of the adapter's own variants by its best clock.
    pub fn new(device: &Device) -> Self {
        Self { clock: device.clock(), repetitions: 10, variants: Variants::Own, replacement: None }
    }
}

/// Which of a kernel's variants are measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variants {
    /// The one that the adapter's profile runs.
    Own,
    /// All that the adapter can run.
    All,
    /// The one of this name.
    Named(String),
}

impl Variants {
    /// Those of `kernel` that are asked for, each with the kernel that it is one of: `kernel`, or what the device runs in its place.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] naming the variants that the device can run, if none of them has the name.
    pub fn of(&self, kernel: &Arc<dyn Kernel>, device: &Device) -> Result<Vec<(Arc<dyn Kernel>, Variant)>> {
        let cooperative = device.matrices().and_then(|matrices| kernel.cooperative(matrices));
        let in_its_place = cooperative.or_else(|| kernel.tuned(device.target())).unwrap_or_else(|| kernel.clone());
        let own = in_its_place.launch(device.profile());
        let is_chosen = |variant: &Variant| match self {
            Self::All => true,
            Self::Own => variant.launch.pipeline_key() == own.pipeline_key(),
            Self::Named(name) => variant.name == name,
        };
        let mut kernels = vec![kernel.clone()];
        if in_its_place.name() != kernel.name() {
            kernels.insert(0, in_its_place);
        }
        let variants =
            |kernel: Arc<dyn Kernel>| kernel.variants().into_iter().map(move |variant| (kernel.clone(), variant));
        let mut all: Vec<(Arc<dyn Kernel>, Variant)> = kernels.into_iter().flat_map(variants).collect();
        all.retain(|(_, variant)| variant.runs_on(device.profile()));
        let chosen: Vec<_> = all.iter().filter(|(_, variant)| is_chosen(variant)).cloned().collect();
        match self {
            Self::Named(name) if chosen.is_empty() => {
                let names: Vec<&str> = all.iter().map(|(_, variant)| variant.name).collect();
                let message = format!("{} has no variant `{name}` that this adapter runs", kernel.name());
                Err(Error::new(ErrorKind::Usage, message).hint(format!("its variants are {}", names.join(", "))))
            }
            _ => Ok(chosen),
        }
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// The adapter's rates in the same turns.
    pub peak: Peak,
    /// A row for each kernel, shape and variant.
    pub rows: Vec<KernelRow>,
}

/// One kernel at one shape.
#[derive(Debug, Serialize)]
pub struct KernelRow {
    /// The kernel's name.
    pub kernel: &'static str,
    /// Its sizes.
    pub shape: String,
    /// The way it was run.
    pub variant: String,
    /// What has such a layer.
    pub used_by: String,
    /// Microseconds of a dispatch.
    pub median_us: f64,
    /// Half of their interquartile range.
    pub spread_us: f64,
    /// Repetitions.
    pub repetitions: usize,
    /// 10⁹ operations a second; those on channels that pad a row to a multiple of 4 are done as well, and counted.
    pub gflops: f64,
    /// 10⁹ bytes a second if each operand is touched once.
    pub gbps: f64,
    /// `gflops` over the adapter's multiply-add rate.
    pub share_of_fma_peak: f64,
    /// `gbps` over the adapter's copy bandwidth; operands that stay in a cache may take it past 1.
    pub share_of_copy_bandwidth: f64,
    /// The largest error over the largest magnitude of the f64 reference; none where a value is no number.
    pub error: Option<f64>,
    /// The largest that passes.
    pub tolerance: f64,
    /// Whether the result is the reference's.
    pub passes: bool,
    /// Where it isn't.
    pub differs: Option<String>,
}

/// A kernel that was checked and is ready to be timed.
struct Prepared<'a> {
    subject: &'a Subject,
    variant: String,
    check: KernelCheck,
    timed: Timed,
}

/// Checks every subject against its f64 reference and measures it.
///
/// # Errors
/// [`ErrorKind::Usage`] if a kernel has no variant of the name that is asked for, [`ErrorKind::Limit`] if an operand is larger
/// than the adapter can bind; those of the device and the observer. A wrong result is no error: its row says so.
pub fn kernels(
    device: &Device,
    subjects: &[Subject],
    options: &KernelOptions,
    observer: &dyn Observer,
) -> Result<Measured> {
    let peaks = Peaks::new(device, options.clock)?;
    let mut prepared = Vec::new();
    for (done, subject) in subjects.iter().enumerate() {
        step(observer, "preparing kernels", done, subjects.len())?;
        check_size(device, subject)?;
        let case = subject.shaped.case();
        for (kernel, variant) in options.variants.of(&case.kernel, device)? {
            let kernel: Arc<dyn Kernel> = Arc::new(variant.of(kernel));
            let case = Case { kernel: kernel.clone(), ..case.clone() };
            let prepare = |device: &Device, name: &str| {
                let executable = device.compile(&Plan::of_kernel(kernel.clone()))?;
                let check = executable.check(&case)?;
                let timed = Timed::new(executable, kernel.flops(), kernel.bytes(), options.clock)?;
                Ok(Prepared { subject, variant: name.to_owned(), check, timed })
            };
            prepared.push(prepare(device, variant.name)?);
            if let Some(Replacement { name, device }) = &options.replacement {
                let theirs = prepare(device, name).map_err(|e: Error| {
                    let ours = format!("--variant {} --print-shader", variant.name);
                    Error::new(
                        ErrorKind::Usage,
                        format!("{name} can't take the place of {}", variant.launch.shader.label),
                    )
                    .hint(format!("`{ours}` prints that shader, with its bindings and constants"))
                    .caused_by(e)
                });
                prepared.push(theirs?);
            }
        }
    }
    let (fma, copy) = (|| peaks.fma.seconds(), || peaks.copy.seconds());
    let rows: Vec<_> = prepared.iter().map(|prepared| || prepared.timed.seconds()).collect();
    let mut measurements: Vec<&dyn Fn() -> Result<f64>> = vec![&fma, &copy];
    measurements.extend(rows.iter().map(|row| row as &dyn Fn() -> Result<f64>));
    let samples = in_turns(options.repetitions, &measurements, observer)?;
    let peak = peaks.at(&samples[0], &samples[1]);
    let rows = prepared.iter().zip(&samples[2..]).map(|(prepared, sample)| prepared.row(sample, &peak)).collect();
    Ok(Measured { peak, rows })
}

/// Refuses operands that the adapter can't bind, before anything is made for them.
fn check_size(device: &Device, subject: &Subject) -> Result<()> {
    let kernel = &subject.shaped.kernel;
    let largest = kernel.reads().iter().chain([&kernel.output()]).map(Operand::bytes).max().unwrap_or(0);
    if largest <= device.limits().binding {
        return Ok(());
    }
    let (name, shape, limit) = (subject.kernel(), subject.shape(), device.limits().binding);
    let message = format!(
        "{name} {shape}: an operand takes {largest} bytes, and {} binds at most {limit}",
        device.summary().name
    );
    Err(Error::new(ErrorKind::Limit, message).hint("use a smaller --shape or --batch"))
}

impl Prepared<'_> {
    fn row(&self, sample: &Sample, peak: &Peak) -> KernelRow {
        let Self { subject, variant, check, timed } = self;
        let gflops = timed.flops as f64 / sample.median * 1e-9;
        let gbps = timed.bytes as f64 / sample.median * 1e-9;
        KernelRow {
            kernel: subject.kernel(),
            shape: subject.shape(),
            variant: variant.clone(),
            used_by: subject.used_by.clone(),
            median_us: 1e6 * sample.median,
            spread_us: 1e6 * sample.spread,
            repetitions: sample.repetitions,
            gflops,
            gbps,
            share_of_fma_peak: gflops / peak.fma_gflops,
            share_of_copy_bandwidth: gbps / peak.copy_gbps,
            error: check.error.is_finite().then_some(check.error),
            tolerance: check.tolerance,
            passes: check.passes(),
            differs: differs(check),
        }
    }
}

/// Where a result isn't its reference's, in words.
fn differs(check: &KernelCheck) -> Option<String> {
    let Difference { index, found, expected } = check.worst.filter(|_| !check.passes())?;
    let KernelCheck { differing, values, .. } = check;
    Some(format!("{differing} of {values} values differ, most at {index}: {found}, expected {expected}"))
}
