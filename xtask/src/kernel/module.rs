//! The shim compiled for one kernel, and joined with the engine's object.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Kernel, Kind, at, directory, run, source};

/// A module that is built.
pub(super) struct Module {
    pub(super) kernel: Kernel,
    /// Where it was made.
    place: PathBuf,
    /// Without debugging information.
    pub(super) stripped: PathBuf,
    pub(super) bytes: u64,
    /// The module of a test that has Homa's protocol.
    pub(super) taker: PathBuf,
}

impl Module {
    /// Makes it again, where more is asked of that than a module.
    pub(super) fn make(&self) -> Command {
        make(&self.kernel, &self.place)
    }
}

/// Where a module for a stock kernel, without debugging information, has to stay below, in bytes.
const BYTES_MAX: u64 = 500_000;

/// Under this name the module's Makefile expects the engine.
const CORE: &str = "homa_engine_core.prebuilt";

/// What the build says although all is well: BTF takes a kernel with all its symbols.
const HARMLESS: &str = "Skipping BTF generation";

/// Builds the module for a kernel. A warning of whatever tool is an error.
pub(super) fn build(kernel: Kernel, object: &Path) -> Result<Module, String> {
    let place = directory().join(&kernel.release);
    copy_sources(&[source("shim"), source("include")], &place)?;
    let core = place.join(CORE);
    copy_if_new(object, &core)?;
    quiet(&run(make(&kernel, &place).arg("W=1"))?)?;
    let stripped = place.join("stripped/homa.ko");
    fs::create_dir_all(place.join("stripped")).map_err(at(&place))?;
    // Names that no relocation needs go, too, and types, and compilers; who wants them in a trace loads what was not
    // stripped.
    run(Command::new("strip")
        .args(["--strip-unneeded", "--remove-section=.BTF"])
        .args(["--remove-section=.comment", "-o"])
        .arg(&stripped)
        .arg(place.join("homa.ko")))?;
    let bytes = fs::metadata(&stripped).map_err(at(&stripped))?.len();
    if kernel.kind == Kind::Stock && bytes >= BYTES_MAX {
        return Err(format!(
            "the module has {bytes} bytes, and may have {BYTES_MAX}"
        ));
    }
    let taker = build_taker(&kernel, &place.join("taker"))?;
    Ok(Module {
        kernel,
        place,
        stripped,
        bytes,
        taker,
    })
}

fn make(kernel: &Kernel, place: &Path) -> Command {
    let mut make = Command::new("make");
    make.arg("-s")
        .arg("-C")
        .arg(place)
        .arg(format!("KERNEL={}", kernel.headers.display()))
        .args(kernel.kind.architecture());
    make
}

/// The module of a test that loads while Homa does not.
fn build_taker(kernel: &Kernel, place: &Path) -> Result<PathBuf, String> {
    copy_sources(&[source("tests/taker")], place)?;
    let mut make = Command::new("make");
    make.args(["-s", "-C"])
        .arg(&kernel.headers)
        .arg(format!("M={}", place.display()))
        .args(kernel.kind.architecture())
        .arg("modules");
    quiet(&run(&mut make)?)?;
    let module = place.join("taker.ko");
    run(Command::new("strip").arg("--strip-unneeded").arg(&module))?;
    Ok(module)
}

/// Copies the files of directories.
fn copy_sources(directories: &[PathBuf], place: &Path) -> Result<(), String> {
    fs::create_dir_all(place).map_err(at(place))?;
    for directory in directories {
        for entry in fs::read_dir(directory).map_err(at(directory))?.flatten() {
            copy_if_new(&entry.path(), &place.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Copies what changed, so that only that is compiled again.
fn copy_if_new(from: &Path, to: &Path) -> Result<(), String> {
    let new = fs::read(from).map_err(at(from))?;
    if fs::read(to).ok().as_ref() != Some(&new) {
        fs::write(to, new).map_err(at(to))?;
    }
    Ok(())
}

/// That the kernel's build had nothing to say.
pub(super) fn quiet(said: &str) -> Result<(), String> {
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
