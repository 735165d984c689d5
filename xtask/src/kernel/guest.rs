//! A machine that boots a kernel with one program, which loads the module and runs the tests of
//! `kernel/tests`, or traffic for minutes.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::archive::Archive;
use super::machine::Machine;
use super::module::Module;
use super::neighbour;
use super::{Kernel, Kind, at, directory, source};
use crate::needs::Need;
use crate::paths;

/// Seconds that a guest may take beyond the minutes of a soak. It took 40 on an idle machine.
pub(super) const GUEST_SECONDS: u32 = 170;

/// What compiling programs of 32 bits takes.
const NARROW_NEED: Need = Need::Packages(&["gcc-multilib", "libc6-dev-i386"]);

/// Tables of tests that programs of 32 bits run, too.
const NARROW_TABLES: [&str; 4] = ["calls.c", "surface.c", "exposure.c", "ways.c"];

/// How many times longer a test may take in a kernel that checks what it does.
const PATIENCE: u32 = 8;

/// Seconds that such a guest may take, which needs ten minutes of a processor, and may get few.
const CHECKED_SECONDS: u32 = 3600;

/// Seconds of calls of chance.
const FUZZ_SECONDS: u32 = 120;

/// The fuzzer's packets.
const CORPUS: &str = "fuzz/corpus/packet";

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

/// What a guest runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mission {
    /// Every test once.
    Tests,
    /// Calls of chance, which `seed` chooses, while allocations fail.
    Fuzz { seed: u32 },
    /// Mixed traffic with losses, for so many minutes.
    Soak(u32),
}

impl Mission {
    /// What a kernel of this kind and its first program are told, and the seconds that it may take.
    fn order(self, kind: Kind) -> (String, u32) {
        // What kernels do not know of themselves stands in the environment of the first program.
        let (words, more) = match self {
            Self::Tests => (String::new(), 0),
            Self::Fuzz { seed } => (format!("fuzz={FUZZ_SECONDS} seed={seed}"), FUZZ_SECONDS),
            Self::Soak(minutes) => (format!("soak={minutes}"), 60 * minutes),
        };
        // Each kind of object has slabs of its own, so that what is left behind is seen.
        match kind {
            Kind::Stock | Kind::UserMode => (format!("slab_nomerge {words}"), GUEST_SECONDS + more),
            Kind::Checking => (
                format!("slab_nomerge patience={PATIENCE} {words}"),
                CHECKED_SECONDS + more,
            ),
        }
    }

    /// The machine that it takes. Shadows and histories of objects are memory, too.
    fn machine(self, kind: Kind) -> Machine {
        match (kind, self) {
            (Kind::Stock, _) => Machine::Parallel(768),
            (Kind::Checking, Self::Tests) => Machine::Steady(2048),
            (Kind::Checking, _) => Machine::Parallel(2048),
            (Kind::UserMode, _) => Machine::Process,
        }
    }

    /// Whether another machine takes part, where one can be had.
    fn has_neighbour(self, kind: Kind) -> bool {
        if (self, kind) != (Self::Tests, Kind::Stock) {
            return false;
        }
        let met = neighbour::NEEDS.iter().try_for_each(Need::meet);
        if let Err(why) = &met {
            println!("   what takes another machine is left out: {why}");
        }
        met.is_ok()
    }

    /// What its log is called.
    fn name(self) -> &'static str {
        match self {
            Self::Fuzz { .. } => "fuzz",
            _ => "guest",
        }
    }
}

/// The programs of a guest.
pub(super) struct Programs {
    /// The first one.
    init: PathBuf,
    /// The same compiled for 32 bits, where that can be done.
    narrow: Option<PathBuf>,
}

/// The one test of a soak.
const SOAK: &str = "minutes of traffic leave the memory as it was";

/// The one test of a fuzzer's run.
const FUZZ: &str = "calls of chance do no harm";

/// What a kernel is asked in the end that knows of memory that nobody refers to.
const LEAKS: [&str; 2] = [
    "nothing leaks while the module is there",
    "no memory is left without an owner",
];

/// Compiles them.
pub(super) fn compile() -> Result<Programs, String> {
    let narrow = match NARROW_NEED.meet() {
        Ok(()) => Some(compile_to("init32", &["-m32", "-Wno-psabi"])?),
        Err(why) => {
            println!("   programs of 32 bits are left out: {why}");
            None
        }
    };
    let init = compile_to("init", &[])?;
    Ok(Programs { init, narrow })
}

/// Compiles them for a kernel that runs no programs of 32 bits.
pub(super) fn compile_wide() -> Result<Programs, String> {
    let init = compile_to("init", &[])?;
    Ok(Programs { init, narrow: None })
}

fn compile_to(name: &str, options: &[&str]) -> Result<PathBuf, String> {
    fs::create_dir_all(directory()).map_err(at(&directory()))?;
    let program = directory().join(name);
    let mut gcc = Command::new("gcc");
    gcc.args([
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unused-parameter",
    ])
    .args(options)
    .args(["-D_GNU_SOURCE", "-static", "-pthread", "-I"])
    .arg(source("include"))
    .arg("-o")
    .arg(&program)
    .args(sources()?);
    super::run(&mut gcc)?;
    Ok(program)
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
pub(super) fn run(
    module: &Module,
    programs: &Programs,
    system: &Path,
    mission: Mission,
) -> Result<String, String> {
    let Kernel { release, kind, .. } = &module.kernel;
    let began = Instant::now();
    let guest = Guest {
        module,
        programs,
        system,
        homa: &paths::homa_for_tests(),
        neighbour: mission.has_neighbour(*kind),
    };
    let (words, seconds) = mission.order(*kind);
    let (said, log) = guest.boot(mission.machine(*kind), mission.name(), &words, seconds)?;
    let seconds = began.elapsed().as_secs();
    let tests = expected(mission, *kind, programs.narrow.is_some(), guest.neighbour)?;
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
    /// Its first programs.
    pub(super) programs: &'a Programs,
    /// Where its kernel lies.
    pub(super) system: &'a Path,
    /// The program `homa`.
    pub(super) homa: &'a Path,
    /// Whether there is another machine for it to talk to.
    pub(super) neighbour: bool,
}

impl Guest<'_> {
    /// Everything that the guest says until it switches itself off, and the file that has it too, from
    /// its first line on, called after `name`. `words` tell kernel and first program what is wanted.
    pub(super) fn boot(
        &self,
        machine: Machine,
        name: &str,
        words: &str,
        seconds: u32,
    ) -> Result<(String, PathBuf), String> {
        let release = &self.module.kernel.release;
        let archive = directory().join(format!("guest-{release}.cpio"));
        fs::write(&archive, self.pack()?).map_err(at(&archive))?;
        let image = self.system.join(format!("boot/vmlinuz-{release}"));
        let mut machine = if self.neighbour {
            let words = format!("{words} {}", neighbour::WORD);
            let place = directory().join("neighbour");
            fs::create_dir_all(&place).map_err(at(&place))?;
            let alone = machine.boot(&image, &archive, &words, seconds);
            neighbour::beside(&alone, self.homa, &place)
        } else {
            machine.boot(&image, &archive, words, seconds)
        };
        let log = directory().join(format!("{name}-{release}.log"));
        let said = File::create(&log).map_err(at(&log))?;
        let complaints = said.try_clone().map_err(at(&log))?;
        if seconds > GUEST_SECONDS {
            println!("   {} tells meanwhile how far it is", log.display());
        }
        machine
            .stdout(said)
            .stderr(complaints)
            .status()
            .map_err(|error| format!("the machine did not start: {error}"))?;
        let said = fs::read(&log).map_err(at(&log))?;
        let said = String::from_utf8_lossy(&said).replace('\r', "");
        fs::write(&log, &said).map_err(at(&log))?;
        Ok((said, log))
    }

    fn pack(&self) -> Result<Vec<u8>, String> {
        let mut archive = Archive::default();
        let read = |path: &Path| fs::read(path).map_err(at(path));
        archive.directory("dev");
        archive.console("dev/console");
        archive.file("init", &read(&self.programs.init)?);
        if let Some(narrow) = &self.programs.narrow {
            archive.file("init32", &read(narrow)?);
        }
        archive.file("homa.ko", &read(&self.module.stripped)?);
        archive.file("taker.ko", &read(&self.module.taker)?);
        pack_corpus(&mut archive)?;
        pack_homa(&mut archive, self.homa)?;
        let release = &self.module.kernel.release;
        let modules = self.system.join(format!("lib/modules/{release}/kernel"));
        let driver = self.neighbour.then_some(neighbour::DRIVER);
        for name in MODULES.into_iter().chain(driver) {
            let plain = modules.join(name);
            let packed = modules.join(format!("{name}.xz"));
            let path = if plain.exists() { plain } else { packed };
            let short = path.file_name().unwrap_or_default().to_string_lossy();
            archive.file(&short, &read(&path)?);
        }
        Ok(archive.finish())
    }
}

/// The fuzzer's packets.
fn pack_corpus(archive: &mut Archive) -> Result<(), String> {
    archive.directory("corpus");
    let corpus = Path::new(paths::ROOT).join(CORPUS);
    for entry in fs::read_dir(&corpus).map_err(at(&corpus))?.flatten() {
        let name = format!("corpus/{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        archive.file(&name, &fs::read(&path).map_err(at(&path))?);
    }
    Ok(())
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

/// The names of the tests of a mission, by the tables in the sources.
fn expected(
    mission: Mission,
    kind: Kind,
    narrow: bool,
    neighbour: bool,
) -> Result<BTreeSet<String>, String> {
    let mut names: BTreeSet<String> = ALWAYS.iter().map(ToString::to_string).collect();
    if kind == Kind::Checking {
        names.extend(LEAKS.map(str::to_owned));
    }
    let only = match mission {
        Mission::Tests => None,
        Mission::Soak(_) => Some(SOAK),
        Mission::Fuzz { .. } => Some(FUZZ),
    };
    if let Some(name) = only {
        names.insert(name.to_owned());
        return Ok(names);
    }
    for path in sources()? {
        if path.ends_with(neighbour::TESTS) && !neighbour {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(at(&path))?;
        let runs_again = narrow && NARROW_TABLES.iter().any(|table| path.ends_with(table));
        for name in text.lines().filter_map(test_in) {
            names.insert(name.to_owned());
            if runs_again {
                names.insert(format!("32-bit {name}"));
            }
        }
    }
    Ok(names)
}

/// The name of the test that a line of a table holds.
fn test_in(line: &str) -> Option<&str> {
    line.trim().strip_prefix("TEST(")?.strip_suffix("),")
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
        let expected = expected(Mission::Tests, Kind::Stock, true, true).unwrap();
        for name in [
            "all_lengths_survive_losses",
            "options_are_checked",
            "32-bit options_are_checked",
            "servers_of_another_machine_answer",
            "the module loads",
        ] {
            assert!(expected.contains(name), "{name}");
        }
        assert!(!expected.contains("name"));
    }
}
