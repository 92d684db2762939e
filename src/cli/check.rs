//! `heatlens check`: properties over concepts that a classifier must have.

use std::path::PathBuf;

use heatlens::semantics::{Annotations, CheckOptions, CheckResult, CheckVerdict, Checks, ScoreMode, Space};
use heatlens::{Bundle, Result, report};
use serde::Serialize;

use super::Context;
use super::args::check_output;
use super::output::{Outcome, estimate, or_dash};

/// Check named properties over concepts on the images of a bundle, for use in continuous integration
///
/// A file of checks names for each a scope, a formula over concepts and predictions, and the share of images that must satisfy
/// it. docs/checks.md describes the language.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heatlens check checks.txt bundle
  heatlens check checks.txt bundle --annotations annotations.csv --junit checks.xml

A check:
  check planes-have-wings
    for class plane: wings > horns and not predict(ship)
    at least 95 %

Exit codes:
  1  a check misses its bound, or has fewer images than the bundle's minimum support")]
pub(crate) struct Args {
    /// The file of checks
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// The bundle that `heatlens build` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// What `hasCon` goes by: a CSV file with a column file_name and for each annotated concept one of 0 and 1
    #[arg(long, value_name = "FILE")]
    annotations: Option<PathBuf>,
    /// The space of the scores: classifier or clip
    #[arg(long, value_name = "SPACE", default_value = "classifier")]
    space: Space,
    /// Compare scores as they are (raw) or less each concept's mean (centered)
    #[arg(long, value_name = "MODE", default_value = "raw")]
    scores: ScoreMode,
    /// Pass a check only if its whole 95 % interval keeps the bound
    #[arg(long)]
    strict: bool,
    /// How many of the images against each check are listed
    #[arg(long, value_name = "N", default_value_t = 5)]
    worst: usize,
    /// A file for the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

#[derive(Serialize)]
struct Results {
    passed: usize,
    failed: usize,
    checks: Vec<CheckResult>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Outcome> {
    args.junit.as_deref().map(check_output).transpose()?;
    let checks = Checks::open(&args.spec)?;
    let bundle = Bundle::open(&args.bundle)?;
    let annotations = args.annotations.as_deref().map(Annotations::open).transpose()?;
    let options = CheckOptions {
        space: args.space,
        mode: args.scores,
        annotations: annotations.as_ref(),
        strict: args.strict,
        worst: args.worst,
    };
    let checks = checks.run(&bundle, &options, &context.progress)?;
    if let Some(path) = &args.junit {
        report::write_junit(path, &args.spec.display().to_string(), &checks)?;
    }
    let passed = checks.iter().filter(|check| check.verdict == CheckVerdict::Pass).count();
    let results = Results { passed, failed: checks.len() - passed, checks };
    context.print(&results, || text(&results))?;
    Ok(if results.failed == 0 { Outcome::Done } else { Outcome::GateFailed })
}

fn text(results: &Results) -> String {
    let each: String = results.checks.iter().map(check_text).collect();
    format!("{each}{} passed, {} failed\n", results.passed, results.failed)
}

fn check_text(check: &CheckResult) -> String {
    let CheckResult { name, scope, formula, bound, n, satisfied, .. } = check;
    let verdict = match check.verdict {
        CheckVerdict::Pass => "pass",
        CheckVerdict::Fail => "FAIL",
        CheckVerdict::Unsupported => "FAIL (too few images)",
    };
    let share = or_dash(check.share.as_ref(), estimate);
    let mut text = format!("{verdict}  {name}\n  for {scope}: {formula}\n  {share}, {satisfied} of {n}; {bound}");
    if let Some(vacuous) = check.vacuous.filter(|vacuous| *vacuous > 0) {
        text += &format!("; of {vacuous} the premise doesn't hold");
    }
    if check.unannotated > 0 {
        text += &format!("; {} aren't annotated", check.unannotated);
    }
    if !check.certain && check.verdict != CheckVerdict::Unsupported {
        text += "; the interval spans the bound";
    }
    text.push('\n');
    for image in &check.worst {
        let margin = image.margin.map_or_else(String::new, |margin| format!("{margin:+.4} "));
        text += &format!("    {margin}{} (label {}, predicted {})\n", image.path, image.label, image.prediction);
    }
    text
}
