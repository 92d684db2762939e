//! Progress bars and notices on standard error, and the interrupt that cancels a command.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use heatlens::{Error, ErrorKind, Observer, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Set by the first interrupt; commands look at it between steps.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C ask the running command to stop; a second one ends the program at once.
///
/// # Errors
/// [`ErrorKind::Io`] if the handler can't be set.
pub(crate) fn stop_on_interrupt() -> Result<()> {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Error::new(ErrorKind::Io, "interrupts can't be handled").caused_by(e))
}

/// The observer of every command: a bar for the stage that runs, on a terminal only.
pub(crate) struct Progress {
    quiet: bool,
    bar: Mutex<Option<(String, ProgressBar)>>,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, bar: Mutex::new(None) }
    }

    /// Takes the bar away, so that results start on a clean line.
    pub(crate) fn clear(&self) {
        if let Some((_, bar)) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }

    /// Runs `print` with the bar out of its way.
    pub(crate) fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        match &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((_, bar)) => bar.suspend(print),
            None => print(),
        }
    }

    fn start(&self, stage: &str) -> ProgressBar {
        let shown = !self.quiet && io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target).with_message(stage.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

impl Observer for Progress {
    fn progress(&self, stage: &str, done: usize, total: usize) {
        let mut current = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|(running, _)| running != stage) {
            if let Some((_, finished)) = current.take() {
                finished.finish_and_clear();
            }
            *current = Some((stage.to_owned(), self.start(stage)));
        }
        let Some((_, bar)) = current.as_ref() else { return };
        let template = match total {
            0 => "{spinner} {msg} {pos} ({elapsed})",
            _ => "{spinner} {msg} [{bar:30}] {pos}/{len} ({elapsed}, {eta} left)",
        };
        if bar.length() != Some(total as u64) || bar.position() == 0 {
            bar.set_length(total as u64);
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸ "));
            }
        }
        bar.set_position(done as u64);
    }

    fn notice(&self, message: &str) {
        if self.quiet {
            return;
        }
        self.suspend(|| {
            // A notice that nobody can read stops nothing.
            let _ = writeln!(io::stderr(), "note: {message}");
        });
    }

    fn is_cancelled(&self) -> bool {
        INTERRUPTED.load(Ordering::SeqCst)
    }
}
