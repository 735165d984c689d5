//! The trial of one mutant: is it noticed, by what, or does it not even compile?

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use super::tree::Tree;

/// The tests in the order in which they run, each built only if those before it saw nothing: the
/// first kill most.
const STAGES: [Stage; 4] = [
    Stage {
        concerns: ENGINE,
        target: &["--package", "homa-proto", "--test", "pair"],
        kills: Verdict::KilledByTests,
    },
    Stage {
        concerns: "crates/homa-proto/src/wire",
        target: &["--package", "homa-proto", "--test", "wire"],
        kills: Verdict::KilledByTests,
    },
    Stage {
        concerns: ENGINE,
        target: &["--package", "homa-proto", "--lib"],
        kills: Verdict::KilledByTests,
    },
    Stage {
        concerns: ENGINE,
        target: &["--package", "homa-sim", "--test", "swarm"],
        kills: Verdict::KilledBySwarm,
    },
];

/// Seconds of processor time after which a stage hangs: ten times what the longest takes on
/// unchanged code. Time by the clock would depend on what else the machine does.
const HANGS_AFTER_S: u32 = 30;

/// KiB of memory a stage may use, so that a mutant without end does not take the machine with it.
const MEMORY_KIB: u32 = 4 << 20;

/// The signal that ends a process which used up its processor time (signal(7)).
const SIGXCPU: i32 = 24;

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
    kills: Verdict,
}

/// What became of a mutant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One of the engine's own tests failed.
    KilledByTests,
    /// Only the swarm failed.
    KilledBySwarm,
    /// The tests hang: they used ten times the processor time they need.
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

/// Runs the tests up to the first that fails. Nothing, if none does.
fn test(tree: &Tree, stage: &Stage, program: &str) -> Result<Option<Trial>, String> {
    let limits = format!("ulimit -S -t {HANGS_AFTER_S}; ulimit -v {MEMORY_KIB}; exec \"$0\"");
    let mut child = Command::new("sh")
        .args(["-c", &limits, program])
        .env("RUST_TEST_THREADS", "1")
        .current_dir(&tree.path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("sh did not start: {error}"))?;
    let output = child.stdout.take().expect("the output is piped");
    let failed = BufReader::new(output)
        .lines()
        .map_while(Result::ok)
        .find_map(|line| failed_test(&line));
    if let Some(by) = failed {
        // It fails only for a process that has ended already, and `wait` then still collects it.
        let _ = child.kill();
        let _ = child.wait();
        let verdict = stage.kills;
        return Ok(Some(Trial { verdict, by }));
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let verdict = match status.signal() {
        _ if status.success() => return Ok(None),
        Some(SIGXCPU) => Verdict::Hangs,
        _ => stage.kills,
    };
    let by = format!("{status} of {}", stage.target.join(" "));
    Ok(Some(Trial { verdict, by }))
}

fn failed_test(line: &str) -> Option<String> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    Some(name.to_owned())
}
