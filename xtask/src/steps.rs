//! The table of steps: what each one checks, needs and runs.

use core::fmt;
use std::process::Command;

use crate::needs::Need;

/// One thing to check.
pub(crate) struct Step {
    /// How to ask for it: `cargo xtask test NAME`.
    pub(crate) name: &'static str,
    /// What passing means.
    pub(crate) checks: &'static str,
    /// Without one of these the step is left out.
    pub(crate) needs: &'static [Need],
    /// Run in order; the first that fails ends the step.
    pub(crate) commands: &'static [Line],
}

/// A command line, with what it adds to the environment.
pub(crate) struct Line {
    environment: &'static [(&'static str, &'static str)],
    words: &'static [&'static str],
}

/// Cheap steps first, so that a slip is told within seconds.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        checks: "the code is formatted",
        needs: &[Need::Cargo {
            subcommand: "fmt",
            install: "rustup component add rustfmt",
        }],
        commands: &[line(&["cargo", "fmt", "--all", "--check"])],
    },
    Step {
        name: "clippy",
        checks: "no lint fires, tests included",
        needs: &[Need::Cargo {
            subcommand: "clippy",
            install: "rustup component add clippy",
        }],
        commands: &[line(&[
            "cargo",
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ])],
    },
    Step {
        name: "doc",
        checks: "the documentation builds without a warning",
        needs: &[],
        commands: &[Line {
            environment: &[("RUSTDOCFLAGS", "-D warnings")],
            words: &["cargo", "doc", "--workspace", "--no-deps", "--quiet"],
        }],
    },
    Step {
        name: "test",
        checks: "unit, integration and documentation tests",
        needs: &[],
        commands: &[line(&["cargo", "test", "--workspace", "--quiet"])],
    },
];

const fn line(words: &'static [&'static str]) -> Line {
    Line {
        environment: &[],
        words,
    }
}

impl Line {
    /// Runs the command to its end, its output going where ours goes.
    pub(crate) fn run(&self) -> Result<(), String> {
        let (program, arguments) = self.words.split_first().expect("a line has a program");
        let status = Command::new(program)
            .args(arguments)
            .envs(self.environment.iter().copied())
            .status()
            .map_err(|error| format!("{program} did not start: {error}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("`{self}` ended with {status}"))
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.environment {
            write!(f, "{name}='{value}' ")?;
        }
        f.write_str(&self.words.join(" "))
    }
}
