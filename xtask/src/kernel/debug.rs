//! A kernel of our own that checks what it and its modules do: every access to memory, the order of
//! locks, the lives of timers, work and references, and memory that nobody refers to; and that fails
//! where it is told to. Debian has none.
//!
//! *Design*: the sources come as a Debian package, and the configuration is a fragment in the tree on
//! top of the smallest kernel there is, so that it is built in ten minutes of two processors, and is
//! kept. What comes out lies as an installed kernel does: the guest boots it like the stock ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use super::module::{self, Module};
use super::object::{self, Engine};
use super::{Kernel, at, directory, run, source};
use crate::needs::Need;

/// What building it takes beyond what the module takes.
pub(super) const NEED: Need =
    Need::Packages(&[SOURCES, "flex", "bison", "bc", "libelf-dev", "xz-utils"]);

/// The package of its sources, the name of their archive, and that of the directory in it.
const SOURCES: &str = "linux-source-6.12";

/// What it has beyond the smallest kernel.
const FRAGMENT: &str = "tests/debug.config";

/// The module for that kernel, the engine's accesses to memory checked like the shim's, and where
/// the kernel lies.
pub(super) fn build() -> Result<(Module, PathBuf), String> {
    let place = directory().join("debug");
    fs::create_dir_all(&place).map_err(at(&place))?;
    let system = place.join("system");
    let kernel = kernel(&place, &system)?;
    let engine = object::build(Engine::Checked)?;
    Ok((module::build(kernel, &engine)?, system))
}

/// The kernel as it was built before, if neither its sources nor its configuration changed since.
fn kernel(place: &Path, system: &Path) -> Result<Kernel, String> {
    let fragment = source(FRAGMENT);
    let fragment = fs::read_to_string(&fragment).map_err(at(&fragment))?;
    let version = run(Command::new("dpkg-query").args(["--show", SOURCES]))?;
    let recipe = format!("{version}{fragment}");
    let sources = place.join(SOURCES);
    let built_by = place.join("built-by");
    if fs::read_to_string(&built_by).ok().as_ref() != Some(&recipe) {
        println!("   a kernel that checks what it does is built, for ten minutes or more");
        unpack(place, &version)?;
        configure(&sources, &fragment)?;
        compile(&sources, system)?;
        fs::write(&built_by, recipe).map_err(at(&built_by))?;
    }
    let release = run(make(&sources).arg("kernelrelease"))?;
    Ok(Kernel {
        release: release.trim().to_owned(),
        headers: sources,
        is_stock: false,
    })
}

/// The sources, unless those of this version are there.
fn unpack(place: &Path, version: &str) -> Result<(), String> {
    let unpacked = place.join("unpacked");
    if fs::read_to_string(&unpacked).is_ok_and(|there| there == version) {
        return Ok(());
    }
    let sources = place.join(SOURCES);
    if sources.exists() {
        fs::remove_dir_all(&sources).map_err(at(&sources))?;
    }
    let mut tar = Command::new("tar");
    tar.arg("-xf")
        .arg(format!("/usr/src/{SOURCES}.tar.xz"))
        .arg("-C")
        .arg(place);
    run(&mut tar)?;
    fs::write(&unpacked, version).map_err(at(&unpacked))
}

fn make(sources: &Path) -> Command {
    let mut make = Command::new("make");
    make.arg("-s").arg("-C").arg(sources);
    make
}

/// The smallest configuration and the fragment; every line of it must have been heeded.
fn configure(sources: &Path, fragment: &str) -> Result<(), String> {
    run(make(sources).arg("tinyconfig"))?;
    let merged = sources.join(".config");
    let smallest = fs::read_to_string(&merged).map_err(at(&merged))?;
    // Where a line stands twice, the last one is what counts.
    fs::write(&merged, smallest + fragment).map_err(at(&merged))?;
    run(make(sources).arg("olddefconfig"))?;
    let heeded = fs::read_to_string(&merged).map_err(at(&merged))?;
    match not_heeded(fragment, &heeded).next() {
        Some(line) => Err(format!("the kernel's configuration did not heed: {line}")),
        None => Ok(()),
    }
}

/// The settings of a fragment that a configuration lacks.
fn not_heeded<'a>(fragment: &'a str, heeded: &'a str) -> impl Iterator<Item = &'a str> {
    let settings = fragment.lines().filter(|line| line.contains("CONFIG_"));
    settings.filter(|setting| !heeded.lines().any(|line| line == *setting))
}

/// Compiles it, and lays image and modules where an installed kernel has them.
fn compile(sources: &Path, system: &Path) -> Result<(), String> {
    let jobs = available_parallelism().map_or(1, usize::from);
    run(make(sources).args([&format!("-j{jobs}"), "bzImage", "modules"]))?;
    let mut install = make(sources);
    install
        .arg(format!("INSTALL_MOD_PATH={}", system.display()))
        .args(["INSTALL_MOD_STRIP=1", "modules_install"]);
    run(&mut install)?;
    let release = run(make(sources).arg("kernelrelease"))?;
    let boot = system.join("boot");
    fs::create_dir_all(&boot).map_err(at(&boot))?;
    let image = boot.join(format!("vmlinuz-{}", release.trim()));
    let compiled = sources.join("arch/x86/boot/bzImage");
    fs::copy(&compiled, &image).map(drop).map_err(at(&compiled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_was_not_heeded_is_told() {
        let fragment = "# Words.\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\n";
        let heeded = "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=m\n";
        let missed: Vec<&str> = not_heeded(fragment, heeded).collect();
        assert_eq!(missed, ["# CONFIG_B is not set"]);
    }
}
