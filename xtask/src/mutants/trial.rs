//! The trial of one mutant: is it noticed, by what, or does it not even compile?

use core::time::Duration;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use super::tree::Tree;

/// The tests in the order in which they run, each built only if those before it saw nothing: the
/// first kill most.
const STAGES: [Stage; 4] = [
    Stage {
        concerns: ENGINE,
        target: &["--package", "homa-proto", "--test", "pair"],
        test_cpu_max_s: 4,
        kills: Verdict::KilledByTests,
    },
    Stage {
        concerns: "crates/homa-proto/src/wire",
        target: &["--package", "homa-proto", "--test", "wire"],
        test_cpu_max_s: 4,
        kills: Verdict::KilledByTests,
    },
    Stage {
        concerns: ENGINE,
        target: &["--package", "homa-proto", "--lib"],
        test_cpu_max_s: 4,
        kills: Verdict::KilledByTests,
    },
    Stage {
        concerns: ENGINE,
        target: &["--package", "homa-sim", "--test", "swarm"],
        test_cpu_max_s: 40,
        kills: Verdict::KilledBySwarm,
    },
];

/// KiB of memory a stage may use, so that a mutant without end does not take the machine with it.
const MEMORY_KIB: u32 = 4 << 20;

/// Optimised, the tests run ten times as fast. Without optimisation across the parts of a crate it
/// takes half a second of processor time to build a mutant instead of two.
const PROFILE: [(&str, &str); 3] = [
    ("CARGO_PROFILE_DEV_DEBUG", "0"),
    ("CARGO_PROFILE_DEV_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_DEV_LTO", "off"),
];

const ENGINE: &str = "crates/homa-proto/src/";

struct Stage {
    /// Starts the paths of the files that it has to do with.
    concerns: &'static str,
    target: &'static [&'static str],
    /// Seconds of processor time after which a test hangs: ten times what the longest takes on
    /// unchanged code. Time by the clock would depend on what else the machine does.
    test_cpu_max_s: u64,
    kills: Verdict,
}

/// What became of a mutant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One of the engine's own tests failed.
    KilledByTests,
    /// Only the swarm failed.
    KilledBySwarm,
    /// A test hangs: it used ten times the processor time that the longest needs.
    Hangs,
    /// Nothing was noticed.
    Survived,
    /// It is not a program.
    Unviable,
}

impl Verdict {
    pub(crate) const ALL: [Self; 5] = [
        Self::KilledByTests,
        Self::KilledBySwarm,
        Self::Hangs,
        Self::Survived,
        Self::Unviable,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::KilledByTests => "tests",
            Self::KilledBySwarm => "swarm",
            Self::Hangs => "hangs",
            Self::Survived => "SURVIVED",
            Self::Unviable => "unviable",
        }
    }

    pub(crate) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.word() == word)
    }
}

/// A verdict, and the test that led to it where there is one.
pub(crate) struct Trial {
    pub(crate) verdict: Verdict,
    pub(crate) by: String,
}

/// Tests what is in the tree, stage by stage: a mutant of that file, or without one the unchanged
/// code.
pub(crate) fn judge(tree: &Tree, file: Option<&str>) -> Result<Trial, String> {
    let concerned = |stage: &&Stage| file.is_none_or(|file| file.starts_with(stage.concerns));
    for stage in STAGES.iter().filter(concerned) {
        let Some(program) = build(tree, stage)? else {
            return Ok(Trial {
                verdict: Verdict::Unviable,
                by: String::new(),
            });
        };
        if let Some(trial) = test(tree, stage, &program)? {
            return Ok(trial);
        }
    }
    Ok(Trial {
        verdict: Verdict::Survived,
        by: String::new(),
    })
}

/// The path of the test program, unless the mutant does not compile.
fn build(tree: &Tree, stage: &Stage) -> Result<Option<String>, String> {
    let output = Command::new("cargo")
        .args(["test", "--no-run", "--quiet", "--message-format", "json"])
        .args(stage.target)
        .arg("--target-dir")
        .arg(tree.path.join("target"))
        .envs(PROFILE)
        .current_dir(&tree.path)
        .output()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    if !output.status.success() {
        return Ok(None);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let program = messages
        .rsplit_once("\"executable\":\"")
        .and_then(|(_, rest)| rest.split('"').next())
        .ok_or("cargo built a test and did not say where it is")?;
    Ok(Some(program.to_owned()))
}

/// Runs the tests up to the first that fails or hangs. Nothing, if none does.
fn test(tree: &Tree, stage: &Stage, program: &str) -> Result<Option<Trial>, String> {
    let limit = format!("ulimit -v {MEMORY_KIB}; exec \"$0\"");
    let mut child = Command::new("sh")
        .args(["-c", &limit, program])
        .env("RUST_TEST_THREADS", "1")
        .current_dir(&tree.path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("sh did not start: {error}"))?;
    let output = child.stdout.take().expect("the output is piped");
    let end = watch(output, child.id(), stage.test_cpu_max_s);
    // It fails only for a process that has ended already.
    let _ = if end.is_some() { child.kill() } else { Ok(()) };
    let status = child.wait().map_err(|error| error.to_string())?;
    Ok(match end {
        Some(End::Failed(by)) => Some((stage.kills, by)),
        Some(End::Hangs(by)) => Some((Verdict::Hangs, by)),
        None if status.success() => None,
        // It took the process with it.
        None => Some((stage.kills, status.to_string())),
    }
    .map(|(verdict, by)| Trial { verdict, by }))
}

/// Why a test program is ended.
enum End {
    Failed(String),
    Hangs(String),
}

/// Follows the output of a test program, line by line, until it ends or a test fails or hangs.
fn watch(output: ChildStdout, process: u32, test_cpu_max_s: u64) -> Option<End> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        // Nobody listens any more once a test has failed.
        let _ = lines.map(|line| sender.send(line)).find(Result::is_err);
    });
    let (mut last, mut since) = (String::from("the start"), 0);
    loop {
        match lines.recv_timeout(Duration::from_millis(500)) {
            Ok(line) => {
                if let Some(name) = failed_test(&line) {
                    return Some(End::Failed(name));
                }
                (last, since) = (line, cpu_s(process));
            }
            Err(RecvTimeoutError::Timeout) if cpu_s(process) > since + test_cpu_max_s => {
                return Some(End::Hangs(format!("the test after `{last}`")));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn failed_test(line: &str) -> Option<String> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    Some(name.to_owned())
}

/// Seconds of processor time that a process has used: fields 14 and 15 of its line in /proc, in
/// hundredths, behind the name in parentheses. 0 if it has ended.
fn cpu_s(process: u32) -> u64 {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let numbers = line.rsplit(')').next().unwrap_or_default();
    let used = numbers.split_whitespace().skip(11).take(2);
    used.filter_map(|number| number.parse::<u64>().ok())
        .sum::<u64>()
        / 100
}
