//! The command line: arguments in, results and exit codes out.
//!
//! Results go to standard output, progress and notices to standard error. A command is a file of its own with an `Args`,
//! the arguments as clap reads them, and a `run`.

mod align;
mod args;
mod attack;
mod bench;
mod build;
mod calibrate;
mod check;
mod classify;
mod compare;
mod concepts;
mod config;
mod demo;
mod doctor;
mod embed;
mod evaluate;
mod export;
mod filter;
mod inspect;
mod localize;
mod merge;
mod output;
mod progress;
mod report;
mod show;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use heatlens::gpu::DeviceOptions;
use heatlens::kernels::CooperativeGemm;
use heatlens::models::common_plan;
use heatlens::weights::ModelFiles;
use heatlens::{Device, Observer, Result};
use serde::Serialize;

use args::Global;
use config::Config;
use output::Outcome;
use progress::Progress;

/// Debug vision models with words, on any GPU.
///
/// heatlens scores images by concepts that you name, and compares how they are ranked where a classifier is right and where
/// it's wrong: which concepts a class loses, whether the encoder or the head is at fault, and, at run time, which inputs look
/// like past mistakes.
#[derive(Debug, Parser)]
#[command(name = "heatlens", version, max_term_width = 110, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Align(align::Args),
    Build(build::Args),
    Merge(merge::Args),
    Compare(compare::Args),
    Check(check::Args),
    Concepts(concepts::Args),
    Attack(attack::Args),
    Show(show::Args),
    Localize(localize::Args),
    Calibrate(calibrate::Args),
    Filter(filter::Args),
    Evaluate(evaluate::Args),
    Export(export::Args),
    Report(report::Args),
    Inspect(inspect::Args),
    Classify(classify::Args),
    Embed(embed::Args),
    Doctor(doctor::Args),
    Bench(bench::Args),
}

/// What a command needs beside its own arguments.
struct Context {
    global: Global,
    progress: Progress,
    device: OnceLock<Device>,
    /// The folder of the cache; none where there is none.
    cache: Option<PathBuf>,
    /// When the program began.
    started: Instant,
}

impl Context {
    fn new(global: Global, cache: Option<PathBuf>, started: Instant) -> Self {
        Self { progress: Progress::new(global.quiet), global, device: OnceLock::new(), cache, started }
    }

    /// Prints a command's results, as JSON if that was asked for.
    fn print(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        self.progress.clear();
        if self.global.json { output::print_json(value) } else { output::print(&text()) }
    }

    /// The adapter that the arguments ask for, opened when it's first needed.
    fn device(&self) -> Result<&Device> {
        if let Some(device) = self.device.get() {
            return Ok(device);
        }
        let device = Device::open(&DeviceOptions { cache: self.cache.clone(), ..self.global.device_options() })?;
        Ok(self.device.get_or_init(|| device))
    }

    /// The files of a model that is held as was asked for. The adapter is opened as well, so that it can prepare while weights are read.
    ///
    /// # Errors
    /// Those of [`ModelFiles::open`] and [`Device::open`].
    fn files(&self, model: &Path) -> Result<ModelFiles> {
        let precision = self.global.precision().unwrap_or_default();
        let files = ModelFiles::open(model)?.with_precision(precision);
        self.device()?.prepare(&common_plan(precision))?;
        Ok(files)
    }
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    run(std::env::args_os().collect(), Instant::now()).unwrap_or_else(|error| output::fail(&error))
}

fn run(args: Vec<OsString>, started: Instant) -> Result<ExitCode> {
    let config = config::path_in(&args).map(|path| Config::read(&path)).transpose()?;
    let program = config.iter().try_fold(Cli::command(), |program, config| config.apply(program))?;
    let parsed = program.try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    let Cli { global, command } = match parsed {
        Ok(cli) => cli,
        Err(error) => return Ok(output::fail_usage(&error, config.as_ref())),
    };
    progress::stop_on_interrupt()?;
    // What is measured starts from nothing.
    let cache = global.cache().filter(|_| !matches!(command, Command::Bench(_)));
    let context = Context::new(global, cache, started);
    let outcome = match command {
        Command::Demo(args) => demo::run(&args, &context),
        Command::Show(args) => show::run(&args, &context),
        Command::Export(args) => export::run(&args, &context),
        Command::Report(args) => report::run(&args, &context),
        Command::Align(args) => align::run(&args, &context),
        Command::Build(args) => build::run(&args, &context),
        Command::Merge(args) => merge::run(&args, &context),
        Command::Compare(args) => compare::run(&args, &context),
        Command::Check(args) => check::run(&args, &context),
        Command::Concepts(args) => concepts::run(&args, &context),
        Command::Attack(args) => attack::run(&args, &context),
        Command::Localize(args) => localize::run(&args, &context),
        Command::Calibrate(args) => calibrate::run(&args, &context),
        Command::Filter(args) => filter::run(&args, &context),
        Command::Evaluate(args) => evaluate::run(&args, &context),
        Command::Inspect(args) => inspect::run(&args, &context),
        Command::Classify(args) => classify::run(&args, &context),
        Command::Embed(args) => embed::run(&args, &context),
        Command::Doctor(args) => doctor::run(&args, &context),
        Command::Bench(args) => bench::run(&args, &context),
    };
    if let Some(Err(error)) = context.device.get().map(Device::save_pipelines) {
        context.progress.notice(&format!("compiled pipelines weren't kept: {error}"));
    }
    let idle = |device: &&Device| {
        device.matrices().is_some()
            && !device.dispatches().keys().any(|shader| shader.starts_with(CooperativeGemm::NAME))
    };
    if outcome.is_ok() && context.device.get().filter(idle).is_some() {
        let notice = "--cooperative-matrix made no difference: nothing was to be multiplied on them (--precision f16)";
        context.progress.notice(notice);
    }
    context.progress.clear();
    outcome.map(Outcome::into)
}
