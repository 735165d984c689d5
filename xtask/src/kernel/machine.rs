//! What a guest runs on: an emulated machine, or this system, of which a kernel can be a program.

use std::path::Path;
use std::process::{Command, Stdio};

/// What is there to run a guest on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    /// Emulated, with two processors that are as fast as they can be, and so many megabytes.
    Parallel(u32),
    /// The same with a clock that counts instructions, a nanosecond each: however little of this
    /// machine the emulator gets, nobody in there is late. The processors take turns.
    Steady(u32),
    /// Emulated, with one processor and a clock that counts instructions, a nanosecond each. It copies
    /// memory by words: with the instructions for strings of bytes, each byte would count.
    Counting,
    /// No machine but a process of this system, User-Mode Linux: one processor, its clock is ours.
    Process,
}

/// An idle processor is at its next timer at once.
const COUNTING: &str =
    "-accel tcg,thread=single -icount shift=0,sleep=off -cpu max,-erms,-fsrm -smp 1";
const STEADY: &str = "-accel tcg,thread=single -icount shift=0,sleep=off -cpu max -smp 2";
const PARALLEL: &str = "-accel tcg,thread=multi -cpu max -smp 2";

/// Megabytes of machines that need no more than others.
const MEGABYTES: u32 = 768;

/// What every kernel is told: an error of its own ends it. Its own memory is not charged to control groups,
/// only that of sockets: when charging begins the kernel writes over its code where it frees memory, and the
/// emulator's other processor has been seen to execute that half done.
const WORDS: &str = "panic=-1 oops=panic quiet cgroup.memory=nokmem";

impl Machine {
    /// Boots `image` with the first file system `archive`, for at most `seconds`; `words` are for the
    /// kernel and its first program. What it says is the command's output.
    pub(super) fn boot(self, image: &Path, archive: &Path, words: &str, seconds: u32) -> Command {
        let mut command = Command::new("timeout");
        command
            .arg(format!("--kill-after={SECONDS_TO_END}"))
            .arg(seconds.to_string())
            .stdin(Stdio::null());
        match self {
            Self::Parallel(megabytes) => emulate(&mut command, PARALLEL, megabytes),
            Self::Steady(megabytes) => emulate(&mut command, STEADY, megabytes),
            Self::Counting => emulate(&mut command, COUNTING, MEGABYTES),
            Self::Process => {
                command
                    .arg(image)
                    .arg(format!("initrd={}", archive.display()))
                    .arg(format!("mem={MEGABYTES}M"))
                    // To restart it would begin anew; the first program is told to switch it off.
                    .args(["con=null", "con0=null,fd:1", "end=off"])
                    .args(WORDS.split(' ').chain(words.split_whitespace()));
                return command;
            }
        }
        command
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(archive)
            .arg("-append")
            .arg(format!("console=ttyS0 no_timer_check {WORDS} {words}"));
        command
    }
}

/// A guest that does not end when it is asked to is ended after so many seconds.
const SECONDS_TO_END: u32 = 10;

fn emulate(command: &mut Command, machine: &str, megabytes: u32) {
    command
        .arg("qemu-system-x86_64")
        .args(machine.split(' '))
        .args(["-m", &megabytes.to_string()])
        .args([
            "-nodefaults",
            "-serial",
            "stdio",
            "-display",
            "none",
            "-no-reboot",
        ]);
}
