//! The shim compiled for one kernel, and joined with the engine's object.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Kernel, at, directory, run, source};

/// A module that is built.
pub(super) struct Module {
    pub(super) kernel: Kernel,
    /// Without debugging information.
    pub(super) stripped: PathBuf,
    pub(super) bytes: u64,
}

/// Where a module without debugging information has to stay below, in bytes.
const BYTES_MAX: u64 = 500_000;

/// What the kernel's build does for objects that it compiles itself.
const OBJTOOL: [&str; 10] = [
    "--hacks=jump_label",
    "--hacks=noinstr",
    "--orc",
    "--retpoline",
    "--rethunk",
    "--sls",
    "--static-call",
    "--uaccess",
    "--module",
    "--link",
];

/// What the build says although all is well: BTF takes a kernel with all its symbols.
const HARMLESS: &str = "Skipping BTF generation";

/// Builds the module for a kernel. A warning of whatever tool is an error.
pub(super) fn build(kernel: Kernel, object: &Path) -> Result<Module, String> {
    let place = directory().join(&kernel.release);
    copy_sources(&place)?;
    let engine = place.join("homa_engine_core.o");
    fs::copy(object, &engine).map_err(at(&engine))?;
    // The build wants to know how it was made; it was not.
    let recipe = place.join(".homa_engine_core.o.cmd");
    fs::write(&recipe, "").map_err(at(&recipe))?;
    let config = fs::read_to_string(kernel.headers.join(".config")).unwrap_or_default();
    if !config.contains("\nCONFIG_X86_KERNEL_IBT=y\n") {
        // Such a kernel checks objects one by one as it makes them, and did not make this one.
        let objtool = kernel.headers.join("tools/objtool/objtool");
        quiet(&run(Command::new(objtool).args(OBJTOOL).arg(&engine))?)?;
    }
    let mut make = Command::new("make");
    make.args(["-s", "W=1", "-C"])
        .arg(&kernel.headers)
        .arg(format!("M={}", place.display()))
        .arg("modules");
    quiet(&run(&mut make)?)?;
    let stripped = place.join("stripped/homa.ko");
    fs::create_dir_all(place.join("stripped")).map_err(at(&place))?;
    // Names that no relocation needs go, too; who wants them in a trace loads what was not stripped.
    run(Command::new("strip")
        .args(["--strip-unneeded", "-o"])
        .arg(&stripped)
        .arg(place.join("homa.ko")))?;
    let bytes = fs::metadata(&stripped).map_err(at(&stripped))?.len();
    if bytes >= BYTES_MAX {
        return Err(format!(
            "the module has {bytes} bytes, and may have {BYTES_MAX}"
        ));
    }
    Ok(Module {
        kernel,
        stripped,
        bytes,
    })
}

/// Copies what changed, so that only that is compiled again.
fn copy_sources(place: &Path) -> Result<(), String> {
    fs::create_dir_all(place).map_err(at(place))?;
    for directory in [source("shim"), source("include")] {
        for entry in fs::read_dir(&directory).map_err(at(&directory))?.flatten() {
            let (from, to) = (entry.path(), place.join(entry.file_name()));
            let new = fs::read(&from).map_err(at(&from))?;
            if fs::read(&to).ok().as_ref() != Some(&new) {
                fs::write(&to, new).map_err(at(&to))?;
            }
        }
    }
    Ok(())
}

fn quiet(said: &str) -> Result<(), String> {
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| !line.is_empty() && !line.contains(HARMLESS))
        .collect();
    if complaints.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "the kernel's build says:\n{}",
            complaints.join("\n")
        ))
    }
}
