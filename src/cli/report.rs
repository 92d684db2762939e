//! `heatlens report`: everything about a bundle on one page.

use std::path::{Path, PathBuf};

use heatlens::semantics::Evaluation;
use heatlens::{Bundle, Error, ErrorKind, Result, report};

use super::Context;
use super::args::{check_output, name_mismatch};
use super::output::Outcome;

/// Write one self-contained HTML page that needs no network
///
/// Accuracy and confusion, each class's maps with their statistics, the responsible concepts, encoder against head, example
/// images, and, where `heatlens evaluate filter` has measured it on other images, the filter.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens report bundle --evaluation eval.json -o report.html")]
pub(crate) struct Args {
    /// The bundle that `heatlens build` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// What `heatlens evaluate filter -o` wrote; without it the page says that the filter isn't evaluated
    #[arg(long, value_name = "eval.json")]
    evaluation: Option<PathBuf>,
    /// The page to write
    #[arg(short = 'o', long = "output", value_name = "report.html")]
    page: PathBuf,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    let summary = compute(args, context)?;
    let written = serde_json::json!({"page": args.page, "summary": summary});
    context.print(&written, || format!("{}\nwritten to {}\n", summary.join("\n"), args.page.display()))?;
    Ok(Outcome::Done)
}

/// Writes the page; its summary, sentence by sentence.
pub(crate) fn compute(args: &Args, context: &Context) -> Result<Vec<String>> {
    check_output(&args.page)?;
    let bundle = Bundle::open(&args.bundle)?;
    let evaluation = args.evaluation.as_deref().map(read).transpose()?;
    let data = report::of_bundle(&bundle, context.device()?, evaluation.as_ref(), &context.progress)
        .map_err(|e| name_mismatch(e, args.evaluation.as_deref()))?;
    report::write_html(&args.page, &data)?;
    Ok(report::sentences(&data))
}

fn read(path: &Path) -> Result<Evaluation> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_str(&text).map_err(|e| {
        Error::new(ErrorKind::Format, format!("{}: no evaluation", path.display()))
            .caused_by(e)
            .hint("an evaluation is what `heatlens evaluate filter -o eval.json` writes")
    })
}
