//! What a step may need beyond Rust itself, how to find out whether it is there, and what to tell
//! the reader when it is not.

use std::process::{Command, Stdio};

/// Something that a machine may lack.
pub(crate) enum Need {
    /// A subcommand of cargo, with the command that installs it.
    Cargo {
        subcommand: &'static str,
        install: &'static str,
    },
}

impl Need {
    /// Finds the thing, or says why the step has to be left out.
    pub(crate) fn meet(&self) -> Result<(), String> {
        match self {
            Self::Cargo {
                subcommand,
                install,
            } => {
                if answers(Command::new("cargo").args([subcommand, "--version"])) {
                    return Ok(());
                }
                Err(format!(
                    "cargo {subcommand} is missing; `{install}` adds it"
                ))
            }
        }
    }
}

/// Whether a command starts and succeeds; its output is of no interest.
fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
