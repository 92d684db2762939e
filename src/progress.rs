//! How long calls report where they are, and how a caller stops them.

use crate::error::{Error, ErrorKind, Result};

/// Watches a long call. Every method has a default that does nothing, so [`Silent`] is an empty implementation.
pub trait Observer: Sync {
    /// `done` of `total` steps of `stage` are finished (`total` is 0 where it isn't known).
    fn progress(&self, stage: &str, done: usize, total: usize) {
        let _ = (stage, done, total);
    }

    /// Something the user should know that stops nothing.
    fn notice(&self, message: &str) {
        let _ = message;
    }

    /// Asked between steps: the call ends with [`ErrorKind::Cancelled`] once this is true.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// An observer that says nothing and never cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// Reports progress, or fails if the caller asked to stop.
pub(crate) fn step(observer: &dyn Observer, stage: &str, done: usize, total: usize) -> Result<()> {
    if observer.is_cancelled() {
        return Err(Error::new(ErrorKind::Cancelled, format!("stopped during {stage} at {done} of {total}")));
    }
    observer.progress(stage, done, total);
    Ok(())
}
