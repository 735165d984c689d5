//! What the kernel's own judges say of the C that runs in it: sparse, about kinds of pointers, byte
//! orders and locks, and checkpatch, strictly, about style.
//!
//! sparse is a Debian package. checkpatch comes with the kernel's sources, 150 MB, or lies where
//! `CHECKPATCH` says; without it that part is left out.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::module::{Module, quiet};
use super::own::{SOURCES, archive, untar};
use super::{at, directory, run, source};

/// Rules that are not for us: a module outside of the kernel asks for its version and has macros that
/// are nothing in some, kernel-doc says what locks protect, programs have no `BIT()`, C names
/// `_Static_assert` so, and `BUG()` stands where nothing can follow.
const NOT_FOR_US: &str = "LINUX_VERSION_CODE,CONSTANT_COMPARISON,MACRO_ARG_UNUSED,\
                          UNCOMMENTED_DEFINITION,BIT_MACRO,CAMELCASE,AVOID_BUG";

/// What of the sources checkpatch is.
const SCRIPT: &str = "scripts/checkpatch.pl";
const ITS_WORDS: [&str; 2] = ["scripts/spelling.txt", "scripts/const_structs.checkpatch"];

/// Has sparse read every file of a module that is built; a complaint is an error.
pub(super) fn sparse(module: &Module) -> Result<(), String> {
    let release = &module.kernel.release;
    quiet(&run(module.make().args(["C=2", "W=1"]))?)
        .map_err(|why| format!("{release}, sparse asked: {why}"))
}

/// Has checkpatch read every file; a complaint is an error.
pub(super) fn checkpatch() -> Result<(), String> {
    let Some(script) = script()? else {
        println!(
            "   checkpatch is left out; `apt-get install {SOURCES}` adds it, or CHECKPATCH=FILE names it"
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
    let mut perl = Command::new("perl");
    perl.arg(&script)
        .args(["--no-tree", "--strict", "--terse", "--no-summary", "--file"])
        .args(["--ignore", NOT_FOR_US])
        .args(&files)
        // It leaves what it found out in the directory where it runs.
        .current_dir(directory());
    run(&mut perl)?;
    println!("   checkpatch --strict: {} files", files.len());
    Ok(())
}

fn script() -> Result<Option<PathBuf>, String> {
    if let Some(path) = env::var_os("CHECKPATCH") {
        return Ok(Some(path.into()));
    }
    let place = directory().join("checkpatch");
    let script = place.join(SOURCES).join(SCRIPT);
    if !script.exists() && archive().exists() {
        fs::create_dir_all(&place).map_err(at(&place))?;
        let files = ITS_WORDS.iter().chain([&SCRIPT]);
        run(untar(&place)
            .arg("--occurrence=1")
            .args(files.map(|file| format!("{SOURCES}/{file}"))))?;
    }
    Ok(script.exists().then_some(script))
}
