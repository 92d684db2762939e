//! `heatlens bench`: how fast it is on this adapter.

mod aggregation;
mod filter;
mod kernels;
mod listing;
mod models;
mod peak;
mod pipeline;

use std::num::NonZeroUsize;

use clap::{Subcommand, ValueEnum};
use heatlens::gpu::Clock;
use heatlens::models::Architecture;
use heatlens::{Device, Error, ErrorKind, Result};

use super::Context;
use super::output::Outcome;
use listing::Format;

/// Measure kernels and networks, beside what the adapter can do at best, the way from files to embeddings, filter and aggregation
///
/// All rows of a run are measured in turns, so that their ratios hold on a machine that does other things as well. A time is the
/// median of the repetitions after a warm-up, ± half of their interquartile range.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens bench peak
  heatlens bench kernels --filter resnet18
  heatlens bench models --arch resnet50 --batch 4
  heatlens bench pipeline --images photos/")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Aggregation(aggregation::Args),
    Filter(filter::Args),
    Kernels(kernels::Args),
    Models(models::Args),
    Peak(peak::Args),
    Pipeline(pipeline::Args),
}

/// What every subcommand takes.
#[derive(Debug, clap::Args)]
struct Common {
    /// Repetitions of each measurement
    #[arg(long, value_name = "N", default_value = "10")]
    repeat: NonZeroUsize,
    /// How the results are printed; --json is -o json
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    format: Option<Format>,
}

/// Which network is measured.
#[derive(Debug, clap::Args)]
struct NetworkArgs {
    /// resnet18 or resnet50; in `models` and `pipeline` also CLIP's image towers vit-b-32 and vit-b-16, in `models` its text
    /// tower vit-b-32-text
    #[arg(long, value_name = "NAME", default_value = "resnet18")]
    arch: Architecture,
    /// Height and width of the pictures that it takes; prompts have none [default: 224]
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
}

/// What takes the time of kernels.
#[derive(Debug, clap::Args)]
struct ClockArg {
    /// The adapter's timestamps or the host's clock [default: gpu where the adapter has timestamps]
    #[arg(long, value_name = "CLOCK", value_enum)]
    clock: Option<ClockName>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ClockName {
    /// Timestamps at the beginning and end of a compute pass
    Gpu,
    /// Submission to completion, seen from the host
    Wall,
}

impl Common {
    fn repetitions(&self) -> usize {
        self.repeat.get()
    }

    fn format(&self, context: &Context) -> Result<Format> {
        match (self.format, context.global.json) {
            (None | Some(Format::Json), true) => Ok(Format::Json),
            (Some(format), true) => {
                let message = format!("--json and -o {} ask for two formats", format.name());
                Err(Error::new(ErrorKind::Usage, message))
            }
            (format, false) => Ok(format.unwrap_or(Format::Table)),
        }
    }
}

impl ClockArg {
    /// The clock that is asked for, or the best there is.
    fn clock(&self, device: &Device) -> Result<Clock> {
        match (self.clock, device.clock()) {
            (Some(ClockName::Gpu), Clock::Wall) => {
                let message = format!("{} has no timestamps", device.summary());
                Err(Error::new(ErrorKind::Device, message).hint("leave --clock gpu out"))
            }
            (Some(ClockName::Wall), _) => Ok(Clock::Wall),
            (_, best) => Ok(best),
        }
    }
}

/// A clock in words.
fn describe(clock: Clock) -> &'static str {
    match clock {
        Clock::Gpu => "GPU timestamps",
        Clock::Wall => "the host's clock",
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    match &args.what {
        What::Aggregation(args) => aggregation::run(args, context),
        What::Filter(args) => filter::run(args, context),
        What::Kernels(args) => kernels::run(args, context),
        What::Models(args) => models::run(args, context),
        What::Peak(args) => peak::run(args, context),
        What::Pipeline(args) => pipeline::run(args, context),
    }
}
