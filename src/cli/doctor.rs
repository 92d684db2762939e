//! `heatlens doctor`: what there is to compute on, and whether it computes right.

use std::collections::BTreeMap;
use std::path::Path;

use heatlens::gpu::{AdapterSummary, MatrixTest, Tuning, adapters};
use heatlens::kernels::{Profile, cases};
use heatlens::semantics::usual_batch;
use heatlens::{Device, Error, ErrorKind, Observer, Result};
use serde::Serialize;

use super::Context;
use super::output::{Align, Outcome, table};

/// List adapters, test every kernel on the one in use, and say which models it takes in smaller batches
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens doctor                        what there is, and whether it computes right
  heatlens doctor --adapter llvmpipe     the same on the adapter of that name
  heatlens doctor --cooperative-matrix   its cooperative matrices as well
  heatlens doctor --json                 for scripts

The exit code is 0 if an adapter was found and every kernel passed, otherwise 2.")]
pub(crate) struct Args {}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Findings<'a> {
    adapters: &'a [AdapterSummary],
    /// The number of the adapter that was tested.
    tested: usize,
    profile: String,
    /// How tiles are chosen on hardware.
    tiles: Option<Tuning>,
    /// Where text embeddings and pipelines are kept.
    cache: Option<&'a Path>,
    /// How the cooperative matrices in use were tested; none without --cooperative-matrix.
    cooperative_matrix: Option<&'a MatrixTest>,
    kernels: Vec<KernelFindings>,
    warnings: Vec<String>,
}

/// All cases of one kernel.
#[derive(Debug, Serialize)]
struct KernelFindings {
    kernel: &'static str,
    cases: usize,
    /// The largest error of all cases, relative to the largest magnitude of the reference.
    worst: f64,
    tolerance: f64,
    passes: bool,
    /// The cases that fail, each with what is special about it and its error (or why it doesn't run).
    failures: Vec<String>,
}

pub(crate) fn run(_: &Args, context: &Context) -> Result<Outcome> {
    let device = context.device()?;
    let adapters = adapters();
    let findings = Findings {
        adapters: &adapters,
        tested: device.summary().index,
        profile: device.profile().name().to_owned(),
        tiles: (device.profile() == Profile::Hardware).then(|| device.tuning()),
        cache: device.cache(),
        cooperative_matrix: device.matrix_test(),
        kernels: check_kernels(device, &context.progress)?,
        warnings: size_warnings(device),
    };
    context.print(&findings, || text(&findings))?;
    let failing: Vec<&str> = findings.kernels.iter().filter(|k| !k.passes).map(|k| k.kernel).collect();
    if failing.is_empty() {
        return Ok(Outcome::Done);
    }
    let message = format!("{}: {} kernel(s) fail: {}", device.summary(), failing.len(), failing.join(", "));
    Err(Error::new(ErrorKind::Device, message).hint("update the driver, or choose another adapter with --adapter"))
}

/// Runs all cases of every kernel; a case that doesn't run fails.
fn check_kernels(device: &Device, observer: &dyn Observer) -> Result<Vec<KernelFindings>> {
    let cases = [cases::all(), device.matrices().map(cases::cooperative).unwrap_or_default()].concat();
    let mut kernels: BTreeMap<&'static str, KernelFindings> = BTreeMap::new();
    for (done, case) in cases.iter().enumerate() {
        if observer.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "stopped while kernels were tested"));
        }
        observer.progress("testing kernels", done, cases.len());
        let kernel = case.kernel.name();
        let outcome = device.check(case);
        let failure = match &outcome {
            Ok(check) if check.passes() => None,
            Ok(check) => Some(format!("{}: error {:.1e}", case.label, check.error)),
            Err(error) => Some(format!("{}: {error}", case.label)),
        };
        let (error, tolerance) = outcome.map_or((f64::INFINITY, 0.0), |check| (check.error, check.tolerance));
        let entry = kernels.entry(kernel).or_insert(KernelFindings {
            kernel,
            cases: 0,
            worst: 0.0,
            tolerance,
            passes: true,
            failures: Vec::new(),
        });
        entry.cases += 1;
        entry.worst = entry.worst.max(error);
        entry.tolerance = entry.tolerance.max(tolerance);
        entry.passes &= failure.is_none();
        entry.failures.extend(failure);
    }
    Ok(kernels.into_values().collect())
}

/// The largest values of well-known models for one image: `(model, value, bytes)`. Weights don't count: those that are too
/// large to be bound are cut.
const LARGEST: [(&str, &str, u64); 5] = [
    ("ResNet-50", "112×112×64", 4 * 112 * 112 * 64),
    ("CLIP RN50x64", "224×224×128", 4 * 224 * 224 * 128),
    ("CLIP ViT-B/32", "50×3072", 4 * 50 * 3072),
    ("CLIP ViT-L/14", "257×4096", 4 * 257 * 4096),
    ("CLIP ViT-H/14", "257×5120", 4 * 257 * 5120),
];

/// A sentence for each well-known model of which the adapter takes fewer images at a time than other commands would have it
/// take.
fn size_warnings(device: &Device) -> Vec<String> {
    let (limit, usual) = (device.limits().binding, usual_batch(device) as u64);
    let warn = |(model, value, bytes): &(&str, &str, u64)| {
        let images = limit / bytes;
        (images < usual).then(|| {
            format!(
                "{model} takes at most {images} images at a time: a value of {value} is {} an image, and {} binds at most {}",
                mib(*bytes),
                device.summary().name,
                mib(limit)
            )
        })
    };
    LARGEST.iter().filter_map(warn).collect()
}

fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

fn text(findings: &Findings<'_>) -> String {
    let mut text = String::new();
    for adapter in findings.adapters {
        let used = if adapter.index == findings.tested { "  <- in use" } else { "" };
        let features = if adapter.features.is_empty() { "none".to_owned() } else { adapter.features.join(", ") };
        let matrices = &adapter.cooperative_matrices;
        let matrices = if matrices.is_empty() { "none".to_owned() } else { matrices.join("; ") };
        let AdapterSummary { index, name, backend, driver, driver_info, kind, shader_compiler, .. } = adapter;
        text += &format!(
            "adapter {index}: {name}{used}\n  backend   {backend}\n  kind      {kind}\n  driver    {driver} {driver_info}\n\
             \x20 shaders   {shader_compiler}\n  features  {features}\n  matrices  {matrices}\n  limits    {} a buffer, {} a binding, {} KiB of \
             workgroup memory, {} lanes a workgroup\n",
            mib(adapter.max_buffer_bytes),
            mib(adapter.max_binding_bytes),
            adapter.workgroup_bytes / 1024,
            adapter.workgroup_lanes
        );
    }
    let cache = findings.cache.map_or_else(|| "none".to_owned(), |folder| folder.display().to_string());
    text += &format!("cache: {cache}\n");
    if let Some(Tuning { least_workgroups, origin }) = findings.tiles {
        text += &format!("tiles: 64×64 from {least_workgroups} workgroups an image on, {}\n", origin.name());
    }
    if let Some(test) = findings.cooperative_matrix {
        text += &format!("cooperative matrices: {test}\n");
    }
    let rows: Vec<[String; 5]> = findings
        .kernels
        .iter()
        .map(|kernel| {
            [
                kernel.kernel.to_owned(),
                kernel.cases.to_string(),
                format!("{:.1e}", kernel.worst),
                format!("{:.0e}", kernel.tolerance),
                if kernel.passes { "pass" } else { "FAIL" }.to_owned(),
            ]
        })
        .collect();
    let header = [
        ("kernel", Align::Left),
        ("cases", Align::Right),
        ("worst", Align::Right),
        ("limit", Align::Right),
        ("", Align::Left),
    ];
    text +=
        &format!("\nkernels on adapter {} ({} profile) against f64 references\n", findings.tested, findings.profile);
    text += &table(header, &rows);
    for kernel in findings.kernels.iter().filter(|kernel| !kernel.passes) {
        text += &format!("\n{} fails {} of {} cases\n", kernel.kernel, kernel.failures.len(), kernel.cases);
        text.extend(kernel.failures.iter().map(|failure| format!("  {failure}\n")));
    }
    for warning in &findings.warnings {
        text += &format!("warning: {warning}\n");
    }
    text
}
