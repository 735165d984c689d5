//! `cargo xtask kernel-test --bench`: `homa bench --link kernel` in an emulated machine whose clock
//! counts instructions.
//!
//! *Design*: time in an emulated machine is the emulator's. What it can tell exactly is how many
//! instructions the guest ran: with one processor and a clock that advances by a nanosecond for each,
//! the microseconds of a report are thousands of instructions of kernel and programs together, and
//! the same from run to run. They say nothing of caches, of atomic operations that cost more than
//! others, or of two processors at once.

use std::fs;
use std::path::Path;

use super::guest::{GUEST_SECONDS, Guest, Programs};
use super::module::Module;
use super::{at, directory};
use crate::paths;

/// One processor; a nanosecond is an instruction; an idle processor is at its next timer at once. It
/// copies memory by words: with the instructions for strings of bytes, each byte would count.
const COUNTING: [&str; 10] = [
    "-accel",
    "tcg,thread=single",
    "-icount",
    "shift=0,sleep=off",
    "-cpu",
    "max,-erms,-fsrm",
    "-smp",
    "1",
    "-m",
    "768",
];

/// What the guest is told. A kernel tries its ciphers when it boots, in a thread that takes turns with
/// what is measured for seconds.
const ORDER: &str = "bench cryptomgr.notests";

/// Measures with the module's kernel, which lies in `system`; what the guest said, figures in files.
pub(super) fn run(module: &Module, programs: &Programs, system: &Path) -> Result<String, String> {
    let release = &module.kernel.release;
    let guest = Guest {
        module,
        programs,
        system,
        homa: &paths::homa(),
    };
    let (said, log) = guest.boot(&COUNTING, "bench", ORDER, GUEST_SECONDS)?;
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
        "{}\n   a microsecond stands for 1,000 instructions; figures: {}",
        shown.join("\n"),
        files.join(", ")
    ))
}
