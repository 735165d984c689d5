//! Where things are, whatever directory xtask was started in.

use std::env;
use std::path::PathBuf;

/// The workspace.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The optimised `homa`: in the same target directory as this program, which cargo built too.
pub(crate) fn homa() -> PathBuf {
    let this = env::current_exe().unwrap_or_default();
    let target = this
        .parent()
        .and_then(|profile| profile.parent())
        .unwrap_or(&this);
    target.join("release/homa")
}
