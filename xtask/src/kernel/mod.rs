//! The kernel module: built for the Debian kernels whose headers are here, and tried in each of them,
//! booted in an emulated machine.

mod archive;
mod bench;
mod calls;
mod debug;
mod guest;
mod lint;
mod machine;
mod module;
mod neighbour;
mod object;
mod own;
mod package;
mod uml;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::needs::Need;
use crate::paths;
use guest::Mission;
use object::Engine;

/// What building takes.
const BUILD_PACKAGES: &[&str] = &[
    "rustc-web",
    "rust-web-src",
    "cargo-web",
    "make",
    "gcc",
    "binutils",
    "linux-headers-amd64",
    "linux-headers-6.12-amd64",
];

/// What tests are compiled with.
const TEST_PROGRAMS: Need = Need::Packages(&["libc6-dev"]);

/// What building and testing take.
pub(crate) const TEST_NEEDS: &[Need] = &[
    Need::Packages(BUILD_PACKAGES),
    Need::Packages(&["qemu-system-x86"]),
    TEST_PROGRAMS,
];

/// `cargo xtask kernel`: the module for every kernel.
pub(crate) fn build() -> Result<(), String> {
    Need::Packages(BUILD_PACKAGES).meet()?;
    for module in build_all()? {
        println!(
            "   {}: {} ({} bytes)",
            module.kernel.release,
            module.stripped.display(),
            module.bytes
        );
    }
    Ok(())
}

/// `cargo xtask kernel-lint`: what sparse, for every kernel, and checkpatch say of the module's C.
pub(crate) fn lint() -> Result<(), String> {
    for module in build_all()? {
        lint::sparse(&module)?;
        println!("   {}: sparse", module.kernel.release);
    }
    lint::checkpatch()
}

/// What that takes.
pub(crate) const LINT_NEEDS: &[Need] =
    &[Need::Packages(BUILD_PACKAGES), Need::Packages(&["sparse"])];

/// Builds the module and tries it in every kernel.
pub(crate) fn test() -> Result<(), String> {
    try_in_every_kernel(Mission::Tests)
}

/// Builds the module and measures it in every kernel.
pub(crate) fn bench() -> Result<(), String> {
    meet(TEST_NEEDS)?;
    in_every_kernel(bench::run)
}

/// `cargo xtask kernel-package`: the Debian package, built and tried.
pub(crate) fn package() -> Result<(), String> {
    let object = object::build(Engine::Shipped)?;
    package::check_reproducible(&object)?;
    let package = package::build(&object)?;
    for kernel in kernels()? {
        println!("   {}", package::try_for(&package, &kernel)?);
    }
    println!("   {}", package.display());
    Ok(())
}

/// What packaging takes.
pub(crate) const PACKAGE_NEEDS: &[Need] = &[
    Need::Packages(BUILD_PACKAGES),
    Need::Packages(&["dkms", "dpkg"]),
];

/// `cargo xtask kernel-test --soak MINUTES`: traffic for so long in every kernel, one after another.
pub(crate) fn soak(minutes: u32) -> Result<(), String> {
    prepare(TEST_NEEDS)?;
    try_in_every_kernel(Mission::Soak(minutes))
}

/// `cargo xtask kernel-debug`: the tests, and calls of chance, in a kernel that checks what it does.
pub(crate) fn debug(seed: u32) -> Result<(), String> {
    prepare(TEST_NEEDS)?;
    own::NEED.meet()?;
    let programs = guest::compile()?;
    let (module, system) = debug::KERNEL.build()?;
    for mission in [Mission::Tests, Mission::Fuzz { seed }] {
        println!("   {}", guest::run(&module, &programs, &system, mission)?);
    }
    Ok(())
}

/// What User-Mode Linux takes.
const USER_MODE_NEEDS: &[Need] = &[Need::Packages(BUILD_PACKAGES), TEST_PROGRAMS, own::NEED];

/// `cargo xtask kernel-uml`: the tests in a kernel that is a program of this system.
pub(crate) fn user_mode() -> Result<(), String> {
    prepare(USER_MODE_NEEDS)?;
    let programs = guest::compile_wide()?;
    let (module, system) = uml::KERNEL.build()?;
    println!(
        "   {}",
        guest::run(&module, &programs, &system, Mission::Tests)?
    );
    Ok(())
}

/// `cargo xtask kernel-uml --bench`: figures in time.
pub(crate) fn user_mode_bench() -> Result<(), String> {
    meet(USER_MODE_NEEDS)?;
    let programs = guest::compile_wide()?;
    let (module, system) = uml::KERNEL.build()?;
    println!("   {}", bench::run(&module, &programs, &system)?);
    Ok(())
}

fn meet(needs: &[Need]) -> Result<(), String> {
    needs.iter().try_for_each(Need::meet)
}

/// What the step `kernel` of `cargo xtask test` has done when it comes to [`test()`].
fn prepare(needs: &[Need]) -> Result<(), String> {
    meet(needs)?;
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--package", "homa-cli", "--quiet"])
        .current_dir(paths::ROOT);
    run(&mut cargo).map(drop)
}

fn try_in_every_kernel(mission: Mission) -> Result<(), String> {
    in_every_kernel(|module, programs, system| guest::run(module, programs, system, mission))
}

fn in_every_kernel(
    work: impl Fn(&module::Module, &guest::Programs, &Path) -> Result<String, String>,
) -> Result<(), String> {
    let programs = guest::compile()?;
    let mut tried = 0;
    for module in build_all()? {
        let release = &module.kernel.release;
        match guest::system_of(release)? {
            Some(system) => {
                println!("   {}", work(&module, &programs, &system)?);
                tried += 1;
            }
            None => println!(
                "   {release}: left out; `apt-get install linux-image-{release}` adds the kernel"
            ),
        }
    }
    if tried == 0 {
        return Err("none of these kernels is here to be booted".to_owned());
    }
    Ok(())
}

fn build_all() -> Result<Vec<module::Module>, String> {
    let object = object::build(Engine::Shipped)?;
    let kernels = kernels()?;
    kernels
        .into_iter()
        .map(|kernel| module::build(kernel, &object))
        .collect()
}

/// A kernel that the module is built for.
struct Kernel {
    /// What `uname -r` says.
    release: String,
    headers: PathBuf,
    kind: Kind,
}

/// What a kernel is, and where it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One that people run: for those the module has to be small.
    Stock,
    /// One of ours that checks what it does.
    Checking,
    /// One of ours that is a program of this system.
    UserMode,
}

impl Kind {
    /// What make has to be told of the machine that it is for.
    fn architecture(self) -> Option<&'static str> {
        (self == Self::UserMode).then_some("ARCH=um")
    }
}

/// Names the one series that is wanted, as 6.12; without it all are.
const WANTED: &str = "HOMA_KERNEL";

/// The newest kernel of each series whose headers are here.
fn kernels() -> Result<Vec<Kernel>, String> {
    let wanted = env::var(WANTED).ok();
    let mut kernels = all_kernels()?;
    if let Some(wanted) = &wanted {
        kernels.retain(|kernel| numbers(&kernel.release)[..2] == numbers(wanted)[..2]);
    }
    match wanted {
        Some(wanted) if kernels.is_empty() => Err(format!(
            "there are no headers of a kernel {wanted} in /usr/src, which {WANTED} asks for"
        )),
        _ => Ok(kernels),
    }
}

fn all_kernels() -> Result<Vec<Kernel>, String> {
    let mut found: Vec<Kernel> = Vec::new();
    let entries = fs::read_dir("/usr/src").map_err(|error| format!("/usr/src: {error}"))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(release) = name.strip_prefix("linux-headers-") else {
            continue;
        };
        let special = ["-cloud-", "-rt-"]
            .iter()
            .any(|kind| release.contains(kind));
        if special || !release.ends_with("-amd64") {
            continue;
        }
        let kernel = Kernel {
            release: release.to_owned(),
            headers: entry.path(),
            kind: Kind::Stock,
        };
        let series = |kernel: &Kernel| numbers(&kernel.release)[..2].to_vec();
        match found.iter_mut().find(|old| series(old) == series(&kernel)) {
            Some(old) if numbers(&old.release) < numbers(&kernel.release) => *old = kernel,
            Some(_) => {}
            None => found.push(kernel),
        }
    }
    found.sort_by_key(|kernel| numbers(&kernel.release));
    if found.is_empty() {
        return Err("there are no kernel headers in /usr/src".to_owned());
    }
    Ok(found)
}

/// The numbers in a release, at least two, so that 6.12 comes after 6.1.
fn numbers(release: &str) -> Vec<u32> {
    let digits = release.split(|letter: char| !letter.is_ascii_digit());
    let mut numbers: Vec<u32> = digits.filter_map(|part| part.parse().ok()).collect();
    numbers.resize(numbers.len().max(2), 0);
    numbers
}

/// Where all of it is built.
fn directory() -> PathBuf {
    paths::kernel()
}

/// A file or directory of the tree.
fn source(path: &str) -> PathBuf {
    Path::new(paths::ROOT).join("kernel").join(path)
}

/// Runs a command and gives its output, both streams; what it said is the error if it fails.
fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{program} did not start: {error}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(format!("{program} ended with {}:\n{said}", output.status))
    }
}

/// An error with the file that it is about.
fn at(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_their_numbers() {
        assert!(numbers("6.1.0-56-amd64") < numbers("6.12.117+deb12-amd64"));
        assert!(numbers("6.1.0-9-amd64") < numbers("6.1.0-56-amd64"));
        assert_eq!(numbers("rc").len(), 2);
    }
}
