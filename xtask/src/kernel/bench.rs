//! `homa bench --link kernel` in a guest: in instructions (`cargo xtask kernel-test --bench`), or in time
//! (`cargo xtask kernel-uml --bench`).
//!
//! *Design*: time in an emulated machine is the emulator's. What it can tell exactly is how many
//! instructions the guest ran: with one processor and a clock that advances by a nanosecond for each,
//! the microseconds of a report are thousands of instructions of kernel and programs together, and
//! the same from run to run. They say nothing of caches, of atomic operations that cost more than
//! others, or of two processors at once. In User-Mode Linux time is time, of one processor; but there a
//! system call, and a change from one program to another, cost ten times what they cost elsewhere.

use std::fs;
use std::path::Path;

use super::guest::{GUEST_SECONDS, Guest, Programs};
use super::machine::Machine;
use super::module::Module;
use super::{Kernel, Kind, at, directory};
use crate::paths;

/// How an emulated machine measures: short, since each nanosecond takes a while. A kernel tries its
/// ciphers when it boots, in a thread that takes turns with what is measured for seconds.
const IN_INSTRUCTIONS: &str = "bench rounds=3 seconds=0.05 cryptomgr.notests";

/// How User-Mode Linux does.
const IN_TIME: &str = "bench rounds=7 seconds=0.25";

/// Measures with the module's kernel, which lies in `system`; what the guest said, figures in files.
pub(super) fn run(module: &Module, programs: &Programs, system: &Path) -> Result<String, String> {
    let Kernel { release, kind, .. } = &module.kernel;
    let (machine, words, unit) = match kind {
        Kind::Stock | Kind::Checking => (
            Machine::Counting,
            IN_INSTRUCTIONS,
            "a microsecond stands for 1,000 instructions",
        ),
        Kind::UserMode => (Machine::Process, IN_TIME, "microseconds of one processor"),
    };
    let guest = Guest {
        module,
        programs,
        system,
        homa: &paths::homa(),
        neighbour: false,
    };
    let (said, log) = guest.boot(machine, "bench", words, GUEST_SECONDS)?;
    let mut files = Vec::new();
    for what in ["rtt", "bulk"] {
        let figures = said
            .lines()
            .find_map(|line| line.strip_prefix(&format!("bench {what} ")))
            .filter(|figures| figures.starts_with('{'))
            .ok_or_else(|| format!("{release}: no figures of {what}; see {}", log.display()))?;
        let file = directory().join(format!("bench-{what}-{release}.json"));
        fs::write(&file, figures).map_err(at(&file))?;
        files.push(file.display().to_string());
    }
    let shown = said.lines().filter(|line| !line.starts_with("bench "));
    let shown: Vec<&str> = shown.collect();
    Ok(format!(
        "{}\n   {unit}; figures: {}",
        shown.join("\n"),
        files.join(", ")
    ))
}
