//! `heatlens show`: one map, in the terminal or as a file.

use std::io::IsTerminal;
use std::path::PathBuf;

use heatlens::report::{self, MapRequest, terminal};
use heatlens::semantics::{Fraction, MapKind, ScoreMode, Space};
use heatlens::{Bundle, Result};

use super::Context;
use super::args::check_output;
use super::output::Outcome;

/// Columns of a terminal that doesn't say how wide it is.
const WIDTH: usize = 120;

/// Print a map with its concepts' names, or write it as a picture or a table
///
/// A cell is the share of a set's images in which the row's concept scores above the column's; a differential cell is how much
/// that share differs between two sets.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens show bundle --set differential --class ship
  heatlens show bundle --set missed --confusion ship:car -o ship-car.png
  heatlens show bundle --set correct --image ship/0001.jpg --binarised")]
pub(crate) struct Args {
    /// The bundle that `heatlens build` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Which map: correct, missed, false-alarm, ground-truth, output-label, differential, loss or adversarial
    #[arg(long, value_name = "SET")]
    set: MapKind,
    /// The class
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// One confusion: its ground truth and its prediction
    #[arg(long, value_name = "GT:PRED", value_parser = confusion)]
    confusion: Option<(String, String)>,
    /// One image, by its path or as much of its end as is unique
    #[arg(long, value_name = "PATH")]
    image: Option<String>,
    /// Cells above TAU become 1, those below 0, and those at it are marked
    #[arg(long, value_name = "TAU", num_args = 0..=1, default_missing_value = "0.5")]
    binarised: Option<Fraction>,
    /// The space of the scores: classifier or clip
    #[arg(long, value_name = "SPACE", default_value = "classifier")]
    space: Space,
    /// Compare scores as they are (raw) or less each concept's mean (centered)
    #[arg(long, value_name = "MODE", default_value = "raw")]
    scores: ScoreMode,
    /// A file to write instead: .png, .csv, .npy or .json
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    file: Option<PathBuf>,
}

fn confusion(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once(':').filter(|(truth, prediction)| !truth.is_empty() && !prediction.is_empty());
    let (truth, prediction) = parts.ok_or("expected GT:PRED, such as ship:car")?;
    Ok((truth.to_owned(), prediction.to_owned()))
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    args.file.as_deref().map(check_output).transpose()?;
    let bundle = Bundle::open(&args.bundle)?;
    let request = MapRequest {
        kind: args.set,
        class: args.class.clone(),
        confusion: args.confusion.clone(),
        image: args.image.clone(),
        binarised: args.binarised,
        space: args.space,
        mode: args.scores,
    };
    let map = report::view(&bundle, context.device()?, &request)?;
    if let Some(file) = &args.file {
        report::write_map(file, &map)?;
        let written = serde_json::json!({"file": file, "title": map.title, "supported": map.supported});
        context.print(&written, || format!("{} written to {}\n", map.title, file.display()))?;
        return Ok(Outcome::Done);
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let style = terminal::Style { width: columns.unwrap_or(WIDTH), color: std::io::stdout().is_terminal() };
    context.print(&map, || terminal::render(&map, style))?;
    Ok(Outcome::Done)
}
