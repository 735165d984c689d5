//! The Debian package: the module's sources for DKMS, the engine as an object with its checksum, the
//! header and manual pages. Whoever installs it needs gcc and a kernel's headers, and no Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::object::{self, Engine};
use super::{Kernel, at, directory, run, source};
use crate::paths;

/// What replaces `@VERSION@`: that of `kernel/core`.
const VERSION: &str = "0.1.0";

/// What the engine is built from, and what its manifests refer to.
const SOURCES: [&str; 4] = ["Cargo.toml", "crates", "xtask", "kernel"];

/// Builds the engine again from a copy of the sources elsewhere: it must be the same object.
pub(super) fn check_reproducible(object: &Path) -> Result<(), String> {
    let elsewhere = directory().join("built elsewhere");
    renew(&elsewhere)?;
    let mut copy = Command::new("cp");
    copy.arg("-r").arg("-t").arg(&elsewhere);
    copy.args(SOURCES.map(|name| Path::new(paths::ROOT).join(name)));
    run(&mut copy)?;
    let again = object::build_from(&elsewhere, &elsewhere.join("target"), Engine::Shipped)?;
    let (first, second) = (sum_of(object)?, sum_of(&again)?);
    if first != second {
        return Err(format!(
            "the engine's object depends on where it is built: {} and {} differ",
            object.display(),
            again.display()
        ));
    }
    println!("   the engine built in two places: sha256 {first}");
    fs::remove_dir_all(&elsewhere).map_err(at(&elsewhere))
}

/// Puts the package together.
pub(super) fn build(object: &Path) -> Result<PathBuf, String> {
    let tree = directory().join("package");
    renew(&tree)?;
    let module = tree.join(format!("usr/src/homa-{VERSION}"));
    for from in ["shim", "include"] {
        for entry in files_of(&source(from))? {
            place(&entry, &module.join(name_of(&entry)))?;
        }
    }
    place(object, &module.join("homa_engine_core.prebuilt"))?;
    let sum = format!("{}  homa_engine_core.prebuilt\n", sum_of(object)?);
    write(&module.join("homa_engine_core.sha256"), sum.as_bytes())?;
    fill_in("dkms.conf", &module.join("dkms.conf"))?;
    place(&source("include/homa.h"), &tree.join("usr/include/homa.h"))?;
    for page in files_of(&source("package/man"))? {
        let section = page.extension().unwrap_or_default().to_string_lossy();
        let to = tree.join(format!("usr/share/man/man{section}/{}.gz", name_of(&page)));
        write(
            &to,
            &run_raw(Command::new("gzip").args(["-9nc"]).arg(&page))?,
        )?;
    }
    let notes = tree.join("usr/share/doc/homa-dkms");
    let document = Path::new(paths::ROOT).join("docs/kernel.md");
    place(&document, &notes.join("kernel.md"))?;
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        place(&Path::new(paths::ROOT).join(name), &notes.join(name))?;
    }
    place(&source("package/copyright"), &notes.join("copyright"))?;
    for (name, mode) in [("control", "644"), ("postinst", "755"), ("prerm", "755")] {
        let to = tree.join("DEBIAN").join(name);
        fill_in(name, &to)?;
        run(Command::new("chmod").arg(mode).arg(&to))?;
    }
    let package = directory().join(format!("homa-dkms_{VERSION}_amd64.deb"));
    let mut deb = Command::new("dpkg-deb");
    deb.args(["--root-owner-group", "--build"])
        .args([&tree, &package])
        .env("SOURCE_DATE_EPOCH", time_of_commit());
    run(&mut deb)?;
    Ok(package)
}

/// Builds the module for a kernel as the package's user would, by DKMS in directories of its own.
pub(super) fn try_for(package: &Path, kernel: &Kernel) -> Result<String, String> {
    let system = directory().join(format!("tried-{}", kernel.release));
    renew(&system)?;
    run(Command::new("dpkg-deb").arg("-x").args([package, &system]))?;
    let sources = system.join("usr/src");
    run(Command::new("sha256sum")
        .args(["--check", "--quiet", "homa_engine_core.sha256"])
        .current_dir(sources.join(format!("homa-{VERSION}"))))?;
    let state = system.join("var");
    fs::create_dir_all(&state).map_err(at(&state))?;
    let mut dkms = Command::new("dkms");
    dkms.args(["build", "-m", "homa", "-v", VERSION, "-k", &kernel.release])
        .arg("--dkmstree")
        .arg(&state)
        .arg("--sourcetree")
        .arg(&sources)
        .arg("--kernelsourcedir")
        .arg(&kernel.headers);
    run(&mut dkms)?;
    let module = state.join(format!("homa/{VERSION}/{}/x86_64/module", kernel.release));
    match files_of(&module)?.first() {
        Some(file) => Ok(format!("{}: DKMS made {}", kernel.release, name_of(file))),
        None => Err(format!("{}: DKMS made no module", kernel.release)),
    }
}

/// A directory that is there and empty.
fn renew(place: &Path) -> Result<(), String> {
    if place.exists() {
        fs::remove_dir_all(place).map_err(at(place))?;
    }
    fs::create_dir_all(place).map_err(at(place))
}

fn files_of(place: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(place).map_err(at(place))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn place(from: &Path, to: &Path) -> Result<(), String> {
    write(to, &fs::read(from).map_err(at(from))?)
}

fn write(to: &Path, content: &[u8]) -> Result<(), String> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    fs::write(to, content).map_err(at(to))
}

/// A file of `kernel/package` with the version in it.
fn fill_in(name: &str, to: &Path) -> Result<(), String> {
    let from = source("package").join(name);
    let text = fs::read_to_string(&from).map_err(at(&from))?;
    write(to, text.replace("@VERSION@", VERSION).as_bytes())
}

fn sum_of(file: &Path) -> Result<String, String> {
    let said = run(Command::new("sha256sum").arg("--binary").arg(file))?;
    let sum = said.split_whitespace().next().unwrap_or_default();
    Ok(sum.to_owned())
}

/// What a command writes, which need not be text.
fn run_raw(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Seconds since 1970 of the commit at hand, so that the same commit makes the same package.
fn time_of_commit() -> String {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"])
        .current_dir(paths::ROOT);
    run(&mut git).map_or_else(|_| "0".to_owned(), |said| said.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_has_the_version_of_the_engine_and_of_the_module() {
        let manifest = fs::read_to_string(source("core/Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("version = {VERSION:?}")));
        let module = fs::read_to_string(source("shim/homa_module.c")).unwrap();
        assert!(module.contains(&format!("MODULE_VERSION({VERSION:?})")));
    }
}
