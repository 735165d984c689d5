//! An emulated machine of two processors that boots a stock kernel with one program, which loads the
//! module and runs the tests of `kernel/tests`.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::archive::Archive;
use super::module::Module;
use super::{at, directory, source};
use crate::paths;

/// Seconds that a guest may take. It took 25 on an idle machine.
const GUEST_SECONDS: &str = "170";

/// Modules of the kernel that ours and the tests need.
const MODULES: [&str; 4] = [
    "drivers/net/veth.ko",
    "net/sched/sch_netem.ko",
    "net/ipv4/udp_tunnel.ko",
    "net/ipv6/ip6_udp_tunnel.ko",
];

/// Tests that the first program reports beside those in its tables.
const ALWAYS: [&str; 3] = [
    "the module loads",
    "the module unloads",
    "the log holds no complaint",
];

/// Compiles the program that is the guest.
pub(super) fn compile() -> Result<PathBuf, String> {
    let init = directory().join("init");
    fs::create_dir_all(directory()).map_err(at(&init))?;
    let mut gcc = Command::new("gcc");
    gcc.args([
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unused-parameter",
    ])
    .args(["-D_GNU_SOURCE", "-static", "-I"])
    .arg(source("include"))
    .arg("-o")
    .arg(&init)
    .args(sources()?);
    super::run(&mut gcc)?;
    Ok(init)
}

fn sources() -> Result<Vec<PathBuf>, String> {
    let tests = source("tests");
    let entries = fs::read_dir(&tests).map_err(at(&tests))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "c"))
        .collect())
}

/// Boots the module's kernel, which lies in `system`; says what passed.
pub(super) fn run(module: &Module, init: &Path, system: &Path) -> Result<String, String> {
    let release = &module.kernel.release;
    let began = Instant::now();
    let guest = Guest {
        module,
        init,
        system,
        homa: &paths::homa_for_tests(),
    };
    let (said, log) = guest.boot(&PARALLEL, "test")?;
    let seconds = began.elapsed().as_secs();
    let tests = expected()?;
    judge(&said, &tests).map_err(|why| format!("{release}: {why}; see {}", log.display()))?;
    let version = value_of(&said, "kernel").unwrap_or(release);
    let count = tests.len();
    let figures = said.lines().filter_map(|line| line.strip_prefix("figure "));
    let figures: String = figures.map(|figure| format!("; {figure}")).collect();
    Ok(format!(
        "{version}: {count} guest tests passed in {seconds} s{figures}"
    ))
}

/// Where a kernel's image and modules lie: in this system, or unpacked from its package, which is
/// fetched where CI says that the machine is for the taking. `None`: nowhere.
pub(super) fn system_of(release: &str) -> Result<Option<PathBuf>, String> {
    let image = format!("boot/vmlinuz-{release}");
    if Path::new("/").join(&image).exists() {
        return Ok(Some(PathBuf::from("/")));
    }
    let place = directory().join(format!("system-{release}"));
    if place.join(&image).exists() {
        return Ok(Some(place));
    }
    if env::var_os("CI").is_none() {
        return Ok(None);
    }
    let package = format!("linux-image-{release}");
    // Unpacked, not installed: a machine should not start another kernel for a test's sake.
    fs::create_dir_all(&place).map_err(at(&place))?;
    super::run(
        Command::new("apt-get")
            .args(["download", &package])
            .current_dir(&place),
    )?;
    let deb = fs::read_dir(&place)
        .map_err(at(&place))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|kind| kind == "deb"))
        .ok_or_else(|| format!("apt-get brought no {package}"))?;
    super::run(Command::new("dpkg").arg("-x").args([&deb, &place]))?;
    fs::remove_file(&deb).map_err(at(&deb))?;
    Ok(Some(place))
}

/// What a machine is made of.
pub(super) struct Guest<'a> {
    pub(super) module: &'a Module,
    /// Its first program.
    pub(super) init: &'a Path,
    /// Where its kernel lies.
    pub(super) system: &'a Path,
    /// The program `homa`.
    pub(super) homa: &'a Path,
}

/// A machine of two processors, as fast as it can be.
const PARALLEL: [&str; 6] = ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"];

impl Guest<'_> {
    /// Everything that the guest says until it switches itself off, and the file that has it too. `word`
    /// tells the first program what is wanted.
    pub(super) fn boot(&self, machine: &[&str], word: &str) -> Result<(String, PathBuf), String> {
        let release = &self.module.kernel.release;
        let archive = directory().join(format!("guest-{release}.cpio"));
        fs::write(&archive, self.pack()?).map_err(at(&archive))?;
        let mut emulator = Command::new("timeout");
        emulator
            .args([GUEST_SECONDS, "qemu-system-x86_64"])
            .args(machine)
            .args(["-m", "768", "-nodefaults", "-serial", "stdio"])
            .args(["-display", "none", "-no-reboot", "-kernel"])
            .arg(self.system.join(format!("boot/vmlinuz-{release}")))
            .arg("-initrd")
            .arg(&archive)
            .args([
                "-append",
                &format!("console=ttyS0 panic=-1 oops=panic quiet {word}"),
            ])
            .stdin(Stdio::null());
        let output = emulator
            .output()
            .map_err(|error| format!("qemu-system-x86_64 did not start: {error}"))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).replace('\r', "");
        let log = directory().join(format!("guest-{release}.log"));
        fs::write(&log, &said).map_err(at(&log))?;
        Ok((said, log))
    }

    fn pack(&self) -> Result<Vec<u8>, String> {
        let mut archive = Archive::default();
        let read = |path: &Path| fs::read(path).map_err(at(path));
        archive.directory("dev");
        archive.console("dev/console");
        archive.file("init", &read(self.init)?);
        archive.file("homa.ko", &read(&self.module.stripped)?);
        pack_homa(&mut archive, self.homa)?;
        let release = &self.module.kernel.release;
        let modules = self.system.join(format!("lib/modules/{release}/kernel"));
        for name in MODULES {
            let plain = modules.join(name);
            let packed = modules.join(format!("{name}.xz"));
            let path = if plain.exists() { plain } else { packed };
            let short = path.file_name().unwrap_or_default().to_string_lossy();
            archive.file(&short, &read(&path)?);
        }
        Ok(archive.finish())
    }
}

/// The program `homa`, and what it loads when it starts.
fn pack_homa(archive: &mut Archive, program: &Path) -> Result<(), String> {
    let stripped = directory().join("homa");
    super::run(Command::new("strip").arg("-o").args([&stripped, program]))?;
    archive.file("homa", &fs::read(&stripped).map_err(at(&stripped))?);
    let libraries = super::run(Command::new("ldd").arg(program))?;
    let paths = libraries.split_whitespace().map(Path::new);
    for path in paths.filter(|path| path.is_absolute()) {
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for directory in above.iter().rev().skip(1) {
            archive.directory(&inside(directory));
        }
        archive.file(&inside(path), &fs::read(path).map_err(at(path))?);
    }
    Ok(())
}

/// A path as archives name it.
fn inside(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// The names of all tests, by the tables in the sources.
fn expected() -> Result<BTreeSet<String>, String> {
    let mut names: BTreeSet<String> = ALWAYS.iter().map(ToString::to_string).collect();
    for path in sources()? {
        let text = fs::read_to_string(&path).map_err(at(&path))?;
        let entries = text.lines().filter_map(|line| {
            let name = line.trim().strip_prefix("TEST(")?;
            name.strip_suffix("),").map(str::to_owned)
        });
        names.extend(entries);
    }
    Ok(names)
}

/// Whether every test ran and passed, and no other failed.
fn judge(said: &str, expected: &BTreeSet<String>) -> Result<(), String> {
    let lines = said.lines().filter_map(|line| line.strip_prefix("test "));
    let passed: BTreeSet<String> = lines
        .clone()
        .filter_map(|line| line.strip_suffix(" ok"))
        .map(str::to_owned)
        .collect();
    let failed: Vec<&str> = lines.filter(|line| line.contains(" FAILED")).collect();
    if !failed.is_empty() {
        return Err(failed.join("; "));
    }
    match expected.difference(&passed).next() {
        Some(missing) => Err(format!("the test \"{missing}\" did not run to its end")),
        None => Ok(()),
    }
}

/// What stands behind `key` at the beginning of a line.
fn value_of<'a>(said: &'a str, key: &str) -> Option<&'a str> {
    said.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_test_that_failed_or_did_not_run_is_told() {
        let both = names(&["a b", "c"]);
        assert_eq!(judge("test a b ok\ntest c ok\n", &both), Ok(()));
        assert!(judge("test a b ok\n", &both).is_err_and(|why| why.contains('c')));
        let failed = judge("test a b ok\ntest c ok\ntest d FAILED: x\n", &both);
        assert_eq!(failed, Err("d FAILED: x".to_owned()));
    }

    #[test]
    fn every_table_of_the_guest_is_found() {
        let expected = expected().unwrap();
        for name in [
            "all_lengths_survive_losses",
            "options_are_checked",
            "the module loads",
        ] {
            assert!(expected.contains(name), "{name}");
        }
        assert!(!expected.contains("name"));
    }
}
