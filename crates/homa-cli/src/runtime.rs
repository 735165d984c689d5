//! The tokio runtime of commands that use one.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// A runtime on the calling thread: what one socket is served best by.
///
/// # Errors
/// The process has too many files open.
pub(crate) fn current_thread() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
