//! The one error type of the crate.
//!
//! An [`Error`] carries a [`ErrorKind`] for programs, a sentence for people (which names the file, the tensor or the
//! line, what was found and what was expected) and, where there is one, a hint that says what to do.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong. The variants and their [`code`](ErrorKind::code)s are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file or folder couldn't be read or written.
    Io,
    /// A file isn't of the format it should be (truncated, malformed, another schema version).
    Format,
    /// Weights lack a tensor, or a tensor has the wrong shape or type, or the key layout is unknown.
    Weights,
    /// A model's configuration or the project file is missing or doesn't fit.
    Config,
    /// A picture doesn't decode.
    Image,
    /// A data set, list of classes or list of concepts doesn't fit.
    Data,
    /// No usable adapter, or the device failed.
    Device,
    /// Something would pass a limit of the adapter or of the format.
    Limit,
    /// Two files that should belong together don't (a filter and another classifier, say).
    Mismatch,
    /// Splits that must be disjoint share images.
    Overlap,
    /// Arguments that make no sense together.
    Usage,
    /// The caller asked to stop.
    Cancelled,
}

impl ErrorKind {
    /// A short stable name, for logs and scripts.
    pub fn code(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Format => "format",
            Self::Weights => "weights",
            Self::Config => "config",
            Self::Image => "image",
            Self::Data => "data",
            Self::Device => "device",
            Self::Limit => "limit",
            Self::Mismatch => "mismatch",
            Self::Overlap => "overlap",
            Self::Usage => "usage",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What went wrong, where, and what to do about it.
pub struct Error(Box<Body>);

struct Body {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` whose `message` names what was found and what was expected.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Body { kind, message: message.into(), hint: None, source: None }))
    }

    /// A failed read or write of `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, path.as_ref().display().to_string()).caused_by(source)
    }

    /// The same error with a sentence that says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same error with its cause, which is printed after the message.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with `place: ` (a file's path, say) before its message.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What to do about it, if that can be said.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

/// The kind, the message with its cause, and the hint: a cause's own `Debug` may be a whole shader.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind())?;
        self.hint_text().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
