//! Running other programs.

use std::process::Command;

/// Runs a command and gives what it wrote to standard output.
///
/// # Errors
/// It does not start, fails, which is told in its own words, or writes what is no text.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?} did not start: {error}"))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}", told.trim()));
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}
