//! Where things are, whatever directory xtask was started in.

use std::env;
use std::path::{Path, PathBuf};

/// The workspace.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The optimised `homa`.
pub(crate) fn homa() -> PathBuf {
    target().join("release/homa")
}

/// The `homa` that tests run where speed does not matter.
pub(crate) fn homa_for_tests() -> PathBuf {
    target().join("debug/homa")
}

/// Where mutants are built, and what is known of them.
pub(crate) fn mutants() -> PathBuf {
    target().join("mutants")
}

/// Where the kernel module and what tests it are built.
pub(crate) fn kernel() -> PathBuf {
    target().join("kernel")
}

/// The target directory that this program is in.
fn target() -> PathBuf {
    let this = env::current_exe().unwrap_or_default();
    let profile = this.parent();
    profile
        .and_then(Path::parent)
        .map_or_else(PathBuf::new, Path::to_owned)
}
