//! `heatlens bench kernels`: kernels at the shapes of real layers, or at any shape.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heatlens::bench::{KernelOptions, KernelRow, Measured, Peak, Replacement, Subject, Variants, kernels, subjects};
use heatlens::gpu::{AdapterSummary, Clock, DeviceOptions};
use heatlens::kernels::cases::{self, Case};
use heatlens::kernels::shapes::{forms, known};
use heatlens::kernels::{Kernel, Matrices, MatrixEdge, Variant};
use heatlens::weights::Precision;
use heatlens::{Device, Error, ErrorKind, Result};
use serde::Serialize;

use super::listing::Listing;
use super::{ClockArg, Common, describe};
use crate::cli::Context;
use crate::cli::output::{Align, Outcome, percent, print, table};

/// Measure kernels at the shapes of ResNet's, CLIP's and the method's, or one kernel at any shape
///
/// Without --kernel and --shape: every distinct layer of ResNet-18, ResNet-50 and CLIP's ViT-B/32 and ViT-B/16 on pictures of
/// 224×224 (--batch of them, by default 1), and the kernels of the method. Every row is checked against a reference in f64
/// first; the exit code is 1 if one is wrong.
///
/// GFLOP/s count the padding of channels to multiples of 4, GB/s each operand once. Both are also given as shares of what
/// `heatlens bench peak` measures, in the same turns.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens bench kernels                                        every kernel, as the adapter's profile runs it
  heatlens bench kernels --filter resnet50 --batch 8            what ResNet-50 runs, at 8 pictures
  heatlens bench kernels --kernel gemm --shape 512x512x512 --variant all
  heatlens bench kernels --filter vit-b-16 --precision f16 --cooperative-matrix --variant all
  heatlens bench kernels --kernel gemm --variant direct_8 --print-shader > my_gemm.wgsl
  heatlens bench kernels --kernel gemm --variant direct_8 --shape 512x512x512 --shader my_gemm.wgsl
  heatlens bench kernels --list                                 kernels, how their shapes are written, and their variants")]
pub(super) struct Args {
    /// Only this kernel
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// The kernel's sizes, such as 512x512x512 (--list says what they are)
    #[arg(long, value_name = "SIZES", requires = "kernel", value_parser = sizes, conflicts_with = "filter")]
    shape: Option<Sizes>,
    /// Only this variant, whichever adapter it is meant for, or all [default: the one of the adapter's profile]
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Only rows whose kernel, shape or user contains this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Print the WGSL of the rows' shaders and measure nothing
    #[arg(long, requires = "kernel")]
    print_shader: bool,
    /// Check and measure this WGSL beside the variant that it takes the place of
    ///
    /// It has that variant's bindings, entry point `main`, constants and grid of workgroups (--print-shader shows them), and is
    /// compiled with every run-time check, which the kernel's own shader is proven not to need.
    #[arg(long, value_name = "FILE", requires = "kernel", conflicts_with = "print_shader")]
    shader: Option<PathBuf>,
    /// List kernels, how their shapes are written, and their variants
    #[arg(long, conflicts_with_all = ["kernel", "filter", "variant", "shader"])]
    list: bool,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    clock: ClockArg,
}

/// A shape as it is written on the command line.
#[derive(Debug, Clone)]
struct Sizes(Vec<usize>);

fn sizes(text: &str) -> Result<Sizes, String> {
    let sizes: Result<_, _> = text.split('x').map(str::parse).collect();
    sizes.map(Sizes).map_err(|_| "expected whole numbers with x between them, such as 512x512x512".to_owned())
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Findings<'a> {
    adapter: &'a AdapterSummary,
    clock: Clock,
    peak: Peak,
    rows: &'a [KernelRow],
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    clock: Clock,
    #[serde(flatten)]
    row: &'a KernelRow,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let format = args.common.format(context)?;
    if args.list {
        print(&list())?;
        return Ok(Outcome::Done);
    }
    let variants = match args.variant.as_deref() {
        None => Variants::Own,
        Some("all") => Variants::All,
        Some(name) => Variants::Named(name.to_owned()),
    };
    if let (true, Some(kernel)) = (args.print_shader, &args.kernel) {
        let kernel = of_name(kernel, args.shape.as_ref(), precision(context))?;
        return print_shaders(&kernel, context.device()?, &variants);
    }
    let subjects = chosen(args, context)?;
    let device = context.device()?;
    let replacement =
        args.shader.as_deref().map(|file| replacement(file, &subjects, &variants, context)).transpose()?;
    let clock = args.clock.clock(device)?;
    let options = KernelOptions { clock, repetitions: args.common.repetitions(), variants, replacement };
    let measured = kernels(device, &subjects, &options, &context.progress)?;
    let rows: Vec<Row<'_>> = measured.rows.iter().map(|row| Row { clock: options.clock, row }).collect();
    listing(device, &options, &measured, &rows).print(format, context)?;
    let passes = measured.rows.iter().all(|row| row.passes);
    Ok(if passes { Outcome::Done } else { Outcome::GateFailed })
}

/// The WGSL of a file, on a device of its own that runs it in the place of the subjects' shader.
fn replacement(file: &Path, subjects: &[Subject], variants: &Variants, context: &Context) -> Result<Replacement> {
    let name = file.display().to_string();
    let source = std::fs::read_to_string(file).map_err(|e| Error::io(file, e))?;
    let device = context.device()?;
    let mut shaders = BTreeSet::new();
    for subject in subjects {
        let chosen = variants.of(&subject.shaped.kernel, device)?;
        shaders.extend(chosen.iter().map(|(_, variant)| variant.launch.shader.label));
    }
    if shaders.len() > 1 {
        let shaders: Vec<&str> = shaders.into_iter().collect();
        let message = format!("{name} can't take the place of several shaders: {}", shaders.join(", "));
        return Err(Error::new(ErrorKind::Usage, message).hint("choose one of them by --variant"));
    }
    let replaced_shaders = shaders.into_iter().map(|shader| (shader.to_owned(), source.clone())).collect();
    let device = Device::open(&DeviceOptions { replaced_shaders, ..context.global.device_options() })?;
    Ok(Replacement { name, device })
}

/// How networks' weights are to be held.
fn precision(context: &Context) -> Precision {
    context.global.precision().unwrap_or_default()
}

/// The kernel of this name, at the given shape or at whichever.
fn of_name(name: &str, shape: Option<&Sizes>, precision: Precision) -> Result<Arc<dyn Kernel>> {
    if let Some(shape) = shape {
        return Ok(Subject::new(name, &shape.0)?.in_precision(precision).shaped.kernel);
    }
    known(name)?;
    let found = kernels_there_are().into_iter().find(|case| case.kernel.name() == name);
    let kernel = found.expect("every kernel is in the shape table").kernel;
    let in_f16 = (precision != Precision::F32).then(|| kernel.in_f16()).flatten();
    Ok(in_f16.unwrap_or(kernel))
}

/// What the arguments ask for.
fn chosen(args: &Args, context: &Context) -> Result<Vec<Subject>> {
    args.kernel.as_deref().map_or(Ok(()), known)?;
    match (&args.kernel, &args.shape) {
        (Some(kernel), Some(shape)) => Ok(vec![Subject::new(kernel, &shape.0)?.in_precision(precision(context))]),
        (kernel, _) => {
            let mut subjects = subjects(context.global.batch().unwrap_or(1), precision(context))?;
            subjects.retain(|subject| {
                let text = format!("{} {} {}", subject.kernel(), subject.shape(), subject.used_by).to_lowercase();
                kernel.as_ref().is_none_or(|kernel| subject.kernel() == kernel)
                    && args.filter.as_ref().is_none_or(|filter| text.contains(&filter.to_lowercase()))
            });
            if subjects.is_empty() {
                let message = "no row of the table fits --kernel and --filter";
                return Err(Error::new(ErrorKind::Usage, message).hint("give a --kernel with a --shape"));
            }
            Ok(subjects)
        }
    }
}

/// A case of each kernel, whatever its shape.
fn kernels_there_are() -> Vec<Case> {
    let mut cases = cases::all();
    cases.sort_by_key(|case| case.kernel.name());
    cases.dedup_by_key(|case| case.kernel.name());
    cases
}

fn list() -> String {
    let row = |case: &Case| {
        let kernel = &case.kernel;
        let in_f16 = kernel.in_f16();
        let cooperative = MatrixEdge::ALL.map(|edge| in_f16.as_ref()?.cooperative(Matrices { edge, lanes: 32 }));
        let kernels = [Some(kernel.clone()), in_f16.clone()].into_iter().chain(cooperative).flatten();
        let variants: Vec<&str> = kernels.flat_map(|kernel| kernel.variants()).map(|variant| variant.name).collect();
        [kernel.name().to_owned(), variants.join(", "), forms(kernel.name()).join(" or ")]
    };
    let header = [("kernel", Align::Left), ("variants", Align::Left), ("shape", Align::Left)];
    table(header, &kernels_there_are().iter().map(row).collect::<Vec<_>>())
}

/// Prints the text of each variant's shader behind a line that says how it's run.
fn print_shaders(kernel: &Arc<dyn Kernel>, device: &Device, variants: &Variants) -> Result<Outcome> {
    for (_, Variant { name, launch, .. }) in variants.of(kernel, device)? {
        let constants: Vec<String> = launch.constants.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let constants = if constants.is_empty() { "no constants".to_owned() } else { constants.join(", ") };
        print(&format!("// {} {name}, run with {constants}\n{}", kernel.name(), launch.shader.source))?;
    }
    Ok(Outcome::Done)
}

fn listing<'a>(
    device: &'a Device,
    options: &KernelOptions,
    measured: &'a Measured,
    rows: &'a [Row<'a>],
) -> Listing<'a, 10, Findings<'a>, Row<'a>> {
    let Peak { fma_gflops, copy_gbps } = measured.peak;
    let cells = |row: &KernelRow| {
        let verdict = row.differs.as_ref().map_or_else(|| "ok".to_owned(), |differs| format!("WRONG: {differs}"));
        [
            row.kernel.to_owned(),
            row.shape.clone(),
            row.variant.clone(),
            format!("{:.1} ± {:.1}", row.median_us, row.spread_us),
            format!("{:.2}", row.gflops),
            percent(row.share_of_fma_peak),
            format!("{:.2}", row.gbps),
            percent(row.share_of_copy_bandwidth),
            verdict,
            row.used_by.clone(),
        ]
    };
    let clock = options.clock;
    let (adapter, repetitions) = (device.summary(), options.repetitions);
    Listing {
        adapter,
        notes: vec![
            format!("peak: {fma_gflops:.1} GFLOP/s of multiply-adds, {copy_gbps:.1} GB/s of copying"),
            format!("timed with {}, {repetitions} repetitions in turns", describe(clock)),
        ],
        header: [
            ("kernel", Align::Left),
            ("shape", Align::Left),
            ("variant", Align::Left),
            ("µs", Align::Right),
            ("GFLOP/s", Align::Right),
            ("of FMA", Align::Right),
            ("GB/s", Align::Right),
            ("of copy", Align::Right),
            ("result", Align::Left),
            ("used by", Align::Left),
        ],
        cells: measured.rows.iter().map(cells).collect(),
        whole: Findings { adapter, clock, peak: measured.peak, rows: &measured.rows },
        rows,
    }
}
