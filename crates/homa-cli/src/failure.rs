//! Why a command did not do its work, and the exit code that tells scripts so.

use core::fmt;

/// Exit code for wrong usage, bad values among them.
pub(crate) const USAGE_EXIT_CODE: u8 = 2;

/// A command that did not do its work. Each is told in one line.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments cannot be used: the line says what to type instead.
    Usage(String),
    /// The arguments were fine, the work failed.
    Work(String),
}

impl Failure {
    /// For `map_err`: what was tried, and what came of it.
    pub(crate) fn work<E: fmt::Display>(tried: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self::Work(format!("{tried}: {error}"))
    }

    /// The exit code of the process.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE_EXIT_CODE,
            Self::Work(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) | Self::Work(why) => f.write_str(why),
        }
    }
}
