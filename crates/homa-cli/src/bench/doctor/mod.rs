//! `homa bench doctor`: what spoils a measurement on this machine, and what to do about it.

mod checks;
mod load;

use core::fmt;
use std::io::{self, Write};

use serde::Serialize;

use super::args::Doctor;
use crate::failure::Failure;
use crate::output::OutputFile;

/// What one check found.
#[derive(Debug, PartialEq, Serialize)]
struct Finding {
    subject: &'static str,
    verdict: Verdict,
    /// What is.
    what: String,
    /// What to do; empty if nothing is to be done.
    advice: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Fine,
    /// Measurements are true, but of something else than one may think.
    Note,
    /// Measurements are wrong, or rejected.
    Spoils,
}

impl Finding {
    fn fine(subject: &'static str, what: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Fine, what, "")
    }

    fn new(
        subject: &'static str,
        verdict: Verdict,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            subject,
            verdict,
            what: what.into(),
            advice: advice.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Fine => "fine",
            Verdict::Note => "note",
            Verdict::Spoils => "SPOILS",
        };
        write!(f, "{mark:8}{:20}{}", self.subject, self.what)?;
        if self.advice.is_empty() {
            return Ok(());
        }
        write!(f, "\n{:28}→ {}", "", self.advice)
    }
}

/// Looks at everything, prints it, and writes the file that was asked for.
///
/// # Errors
/// The file cannot be written.
pub(super) fn run(arguments: &Doctor) -> Result<(), Failure> {
    let json_file = OutputFile::create(arguments.json.as_deref())?;
    let mut findings = checks::all();
    findings.extend(load::all());
    let mut output = io::stdout();
    for finding in &findings {
        writeln!(output, "{finding}").map_err(Failure::work("cannot print"))?;
    }
    if let Some(file) = json_file {
        file.write_json(&findings)?;
    }
    Ok(())
}
