//! Results on standard output, and the one place that prints errors.

use std::error::Error as _;
use std::io::{self, Write};
use std::process::ExitCode;

use heatlens::semantics::statistics::Estimate;
use heatlens::{Error, ErrorKind, Result};
use serde::Serialize;

use super::config::Config;

/// How a command ends if it doesn't fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All went well: exit code 0.
    Done,
    /// The check that `--gate` asks for failed: exit code 1.
    GateFailed,
    /// Some inputs failed and said so in their own line of the results: exit code 2.
    SomeFailed,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::GateFailed => Self::from(1),
            Outcome::SomeFailed => Self::from(2),
        }
    }
}

/// The exit code after an interrupt, as shells have it (128 + SIGINT).
const INTERRUPTED: u8 = 130;

/// Prints an error, its causes and its hint; the program's only errors are printed here.
pub(crate) fn fail(error: &Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    let interrupted = error.kind() == ErrorKind::Cancelled;
    let hint = error.hint_text().or(interrupted.then_some("nothing was written"));
    let hint = hint.map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "error: {error}{hint}");
    ExitCode::from(if interrupted { INTERRUPTED } else { 2 })
}

/// Prints what clap says to arguments that don't fit, or the help or version that they ask for.
pub(crate) fn fail_usage(error: &clap::Error, config: Option<&Config>) -> ExitCode {
    // As for other errors, nobody may be there to tell.
    let _ = error.print();
    if let Some(place) = config.and_then(|config| config.origin(error)) {
        let _ = writeln!(io::stderr(), "  hint: the value is set in {place}");
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// Whether the reader of standard output has had enough (`heatlens … | head`), which is no error.
fn is_broken_pipe(error: &Error) -> bool {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    io.is_some_and(|source| source.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints `text` as it is.
///
/// # Errors
/// [`ErrorKind::Io`] if standard output can't be written.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(failed)
}

/// Prints `value` as indented JSON.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value).map_err(|e| failed(e.into()))?))
}

/// Prints `value` as one line of JSON.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_json_line(value: &impl Serialize) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string(value).map_err(|e| failed(e.into()))?))
}

fn failed(source: io::Error) -> Error {
    Error::io("standard output", source)
}

/// A share in percent, with one decimal.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A share and its interval in percent.
pub(crate) fn estimate(share: &Estimate) -> String {
    format!("{} [{}, {}]", percent(share.value), percent(share.low), percent(share.high))
}

/// A figure and its interval, with three decimals.
pub(crate) fn figure(found: &Estimate) -> String {
    let Estimate { value, low, high } = found;
    format!("{value:.3} [{low:.3}, {high:.3}]")
}

/// What `write` makes of an estimate; a dash where there is none.
pub(crate) fn or_dash(found: Option<&Estimate>, write: fn(&Estimate) -> String) -> String {
    found.map_or_else(|| "–".to_owned(), write)
}

/// Where the text of a table's column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Lines up `rows` under `header`, two blanks between columns; the last column isn't padded.
pub(crate) fn table<const N: usize>(header: [(&str, Align); N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].as_str()).chain([header[column].0]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let names = header.map(|(name, _)| name.to_owned());
    let mut text = String::new();
    for row in std::iter::once(&names).chain(rows) {
        let cells = row.iter().zip(widths).zip(header).map(|((cell, width), (_, align))| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a", "12"], ["naïve", "3"]].map(|row| row.map(str::to_owned));
        let text = table([("name", Align::Left), ("n", Align::Right)], &rows);
        assert_eq!(text, "name    n\na      12\nnaïve   3\n");
    }

    #[test]
    fn a_broken_pipe_is_told_from_other_failures() {
        let error = |kind: io::ErrorKind| Error::io("standard output", kind.into());
        assert!(is_broken_pipe(&error(io::ErrorKind::BrokenPipe)));
        assert!(!is_broken_pipe(&error(io::ErrorKind::StorageFull)));
        assert!(!is_broken_pipe(&Error::new(ErrorKind::Data, "no cause")));
    }
}
