//! The kernel's own judge of style, over the C that runs in it and the header that programs include.
//!
//! It comes with the kernel's sources (`apt-get install linux-source`, unpacked in /usr/src), or lies
//! where `CHECKPATCH` says; without it the check is left out.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{at, directory, run, source};

/// Rules that are not for us: a module outside of the kernel asks for its version, kernel-doc says
/// what locks protect, programs have no `BIT()`, C names `_Static_assert` so, and `BUG()` stands where
/// nothing can follow.
const NOT_FOR_US: &str = "LINUX_VERSION_CODE,CONSTANT_COMPARISON,UNCOMMENTED_DEFINITION,BIT_MACRO,\
                          CAMELCASE,AVOID_BUG";

/// Checks every file; a complaint is an error.
pub(super) fn check() -> Result<(), String> {
    let Some(script) = script() else {
        println!(
            "   checkpatch is left out; CHECKPATCH=FILE names the script of a kernel's sources"
        );
        return Ok(());
    };
    let mut files = Vec::new();
    for place in [source("shim"), source("include")] {
        for entry in fs::read_dir(&place).map_err(at(&place))?.flatten() {
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|kind| kind == "c" || kind == "h")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    fs::create_dir_all(directory()).map_err(at(&directory()))?;
    let mut perl = Command::new("perl");
    perl.arg(&script)
        .args(["--no-tree", "--strict", "--terse", "--no-summary", "--file"])
        .args(["--ignore", NOT_FOR_US])
        .args(&files)
        // It leaves what it found out in the directory where it runs.
        .current_dir(directory());
    run(&mut perl).map(drop)
}

fn script() -> Option<PathBuf> {
    if let Some(path) = env::var_os("CHECKPATCH") {
        return Some(path.into());
    }
    let sources = fs::read_dir("/usr/src").ok()?;
    sources
        .flatten()
        .map(|entry| entry.path().join("scripts/checkpatch.pl"))
        .find(|path| path.exists())
}
