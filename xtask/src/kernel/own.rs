//! Kernels of our own, where Debian has none of the kind: compiled from Debian's sources, and kept.
//!
//! *Design*: the configuration is fragments in the tree on top of the smallest kernel there is, so that
//! one takes minutes. What comes out lies as an installed kernel does, and the guest boots it like the
//! stock ones. Each has sources of its own: they are configured and compiled where they lie.

use core::time::Duration;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::available_parallelism;
use std::time::Instant;

use super::module::{self, Module};
use super::object::{self, Engine};
use super::{Kernel, Kind, at, directory, run, source};
use crate::needs::Need;

/// What building one takes beyond what the module takes.
pub(super) const NEED: Need =
    Need::Packages(&[SOURCES, "flex", "bison", "bc", "libelf-dev", "xz-utils"]);

/// The package of its sources, the name of their archive, and that of the directory in it.
pub(super) const SOURCES: &str = "linux-source-6.12";

/// A kernel to be built.
pub(super) struct Recipe {
    /// What it is, for who waits.
    pub(super) title: &'static str,
    /// Its directory.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The file that is booted; its name is what make is asked for.
    pub(super) image: &'static str,
    /// What it has beyond the smallest kernel, in `kernel/tests`.
    pub(super) fragments: &'static [&'static str],
    /// The engine of its module.
    pub(super) engine: Engine,
    /// So many lines make says meanwhile, about.
    pub(super) steps: u32,
}

impl Recipe {
    /// The module for that kernel, and where the kernel lies.
    pub(super) fn build(&self) -> Result<(Module, PathBuf), String> {
        let place = directory().join(self.name);
        fs::create_dir_all(&place).map_err(at(&place))?;
        let system = place.join("system");
        let kernel = self.kernel(&place, &system)?;
        let engine = object::build(self.engine)?;
        Ok((module::build(kernel, &engine)?, system))
    }

    /// The kernel as it was built before, if neither its sources nor its configuration changed since.
    fn kernel(&self, place: &Path, system: &Path) -> Result<Kernel, String> {
        let fragment = self.fragment()?;
        let version = run(Command::new("dpkg-query").args(["--show", SOURCES]))?;
        let recipe = format!("{version}{fragment}");
        let sources = place.join(SOURCES);
        let built_by = place.join("built-by");
        if fs::read_to_string(&built_by).ok().as_ref() != Some(&recipe) {
            println!("   {} is built and kept", self.title);
            unpack(place, &version)?;
            self.configure(&sources, &fragment)?;
            self.compile(&sources, system, &place.join("build.log"))?;
            fs::write(&built_by, recipe).map_err(at(&built_by))?;
        }
        Ok(Kernel {
            release: self.release(&sources)?,
            headers: sources,
            kind: self.kind,
        })
    }

    fn fragment(&self) -> Result<String, String> {
        let read = |name: &&str| {
            let path = source("tests").join(name);
            fs::read_to_string(&path).map_err(at(&path))
        };
        self.fragments.iter().map(read).collect()
    }

    fn make(&self, sources: &Path) -> Command {
        let mut make = Command::new("make");
        make.arg("-C").arg(sources).args(self.kind.architecture());
        make
    }

    fn release(&self, sources: &Path) -> Result<String, String> {
        let said = run(self.make(sources).args(["-s", "kernelrelease"]))?;
        Ok(said.trim().to_owned())
    }

    /// The smallest configuration and the fragments; every line of them must have been heeded.
    fn configure(&self, sources: &Path, fragment: &str) -> Result<(), String> {
        run(self.make(sources).args(["-s", "tinyconfig"]))?;
        let merged = sources.join(".config");
        let smallest = fs::read_to_string(&merged).map_err(at(&merged))?;
        // Where a line stands twice, the last one is what counts.
        fs::write(&merged, smallest + fragment).map_err(at(&merged))?;
        run(self.make(sources).args(["-s", "olddefconfig"]))?;
        let heeded = fs::read_to_string(&merged).map_err(at(&merged))?;
        match not_heeded(fragment, &heeded).next() {
            Some(line) => Err(format!("the kernel's configuration did not heed: {line}")),
            None => Ok(()),
        }
    }

    /// Compiles it, and lays image and modules where an installed kernel has them.
    fn compile(&self, sources: &Path, system: &Path, log: &Path) -> Result<(), String> {
        let jobs = available_parallelism().map_or(1, usize::from);
        let (_, target) = self.image.rsplit_once('/').unwrap_or(("", self.image));
        let mut make = self.make(sources);
        make.args([&format!("-j{jobs}"), target, "modules"]);
        tell_steps(&mut make, self.steps, log)?;
        let mut install = self.make(sources);
        install
            .arg("-s")
            .arg(format!("INSTALL_MOD_PATH={}", system.display()))
            .args(["INSTALL_MOD_STRIP=1", "modules_install"]);
        run(&mut install)?;
        let boot = system.join("boot");
        fs::create_dir_all(&boot).map_err(at(&boot))?;
        let image = boot.join(format!("vmlinuz-{}", self.release(sources)?));
        let compiled = sources.join(self.image);
        fs::copy(&compiled, &image).map(drop).map_err(at(&compiled))
    }
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
    println!("   its sources are unpacked, 1.5 GB");
    run(&mut untar(place))?;
    fs::write(&unpacked, version).map_err(at(&unpacked))
}

/// Unpacks the sources in `place`, or those that are named in addition.
pub(super) fn untar(place: &Path) -> Command {
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(archive()).arg("-C").arg(place);
    tar
}

/// Where the package lays them.
pub(super) fn archive() -> PathBuf {
    PathBuf::from(format!("/usr/src/{SOURCES}.tar.xz"))
}

/// The settings of a fragment that a configuration lacks.
fn not_heeded<'a>(fragment: &'a str, heeded: &'a str) -> impl Iterator<Item = &'a str> {
    let settings = fragment.lines().filter(|line| line.contains("CONFIG_"));
    settings.filter(|setting| !heeded.lines().any(|line| line == *setting))
}

/// Runs make, which says a line for each thing that it makes; tells now and then how far it is and how
/// long it will take. `log` has what else it says.
fn tell_steps(make: &mut Command, steps: u32, log: &Path) -> Result<(), String> {
    let errors = File::create(log).map_err(at(log))?;
    let began = Instant::now();
    let mut child = make
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("make did not start: {error}"))?;
    let mut told = 0;
    let output = child.stdout.take().map(BufReader::new);
    for (line, count) in output.into_iter().flat_map(BufRead::lines).zip(1_u32..) {
        line.map_err(|error| error.to_string())?;
        let percent = (count * 100 / steps).min(99);
        if percent >= told + 10 {
            told = percent;
            let minutes = left(began.elapsed(), percent).as_secs().div_ceil(60);
            println!("   {percent:2} %, {minutes} min left");
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(log).map_err(at(log))?;
    Err(format!("make ended with {status}:\n{said}"))
}

/// How long the rest takes.
fn left(elapsed: Duration, percent: u32) -> Duration {
    elapsed * (100 - percent) / percent
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

    #[test]
    fn the_rest_takes_as_long_as_its_share() {
        assert_eq!(left(Duration::from_secs(60), 25), Duration::from_secs(180));
    }
}
