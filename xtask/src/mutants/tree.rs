//! A work tree of its own at one commit, in which mutants come and go.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::deck::Mutant;
use crate::command::output;
use crate::paths;

/// What was committed, checked out beside the build products.
pub(crate) struct Tree {
    pub(crate) path: PathBuf,
    pub(crate) commit: String,
}

impl Tree {
    /// Checks a commit out, in the place of that name. Two runs at a time need two names.
    pub(crate) fn check_out(commit: &str, name: &str) -> Result<Self, String> {
        let words = ["rev-parse", "--short", "--verify", commit];
        let commit = git(PathBuf::from(paths::ROOT), &words)?;
        let commit = commit.trim().to_owned();
        let path = paths::mutants().join(name);
        fs::create_dir_all(paths::mutants()).map_err(|error| error.to_string())?;
        let tree = Self { path, commit };
        if tree.path.join(".git").exists() {
            tree.git(&["checkout", "--quiet", "--force", "--detach", &tree.commit])?;
            tree.restore()?;
        } else {
            let path = tree.path.to_string_lossy();
            // A tree that went away with `target` is still on git's list: hence `--force`.
            let words = [
                "worktree",
                "add",
                "--quiet",
                "--force",
                "--detach",
                &path,
                &tree.commit,
            ];
            git(PathBuf::from(paths::ROOT), &words)?;
        }
        Ok(tree)
    }

    /// All mutants of the engine.
    pub(crate) fn mutants(&self) -> Result<Vec<Mutant>, String> {
        let words = ["mutants", "--list", "--diff", "--package", "homa-proto"];
        let list = output(Command::new("cargo").args(words).current_dir(&self.path))?;
        let entries = list.split("\n\n").filter(|entry| !entry.trim().is_empty());
        let read = entries.map(|entry| {
            Mutant::parse(entry).ok_or_else(|| format!("cargo mutants lists this: {entry}"))
        });
        read.collect()
    }

    /// Does something while a mutant is in the tree.
    pub(crate) fn with<T>(
        &self,
        mutant: &Mutant,
        work: impl FnOnce(&Self) -> Result<T, String>,
    ) -> Result<T, String> {
        self.apply(&mutant.patch)
            .map_err(|why| format!("{}: {why}", mutant.name))?;
        let done = work(self);
        self.restore()?;
        done
    }

    fn apply(&self, patch: &str) -> Result<(), String> {
        let mut child = Command::new("git")
            .args(["apply", "-p0", "-"])
            .current_dir(&self.path)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| format!("git did not start: {error}"))?;
        let mut input = child.stdin.take().expect("the input is piped");
        let written = input.write_all(patch.as_bytes());
        drop(input);
        let status = child.wait().map_err(|error| error.to_string())?;
        if status.success() && written.is_ok() {
            Ok(())
        } else {
            Err(format!("its patch does not apply:\n{patch}"))
        }
    }

    /// Takes the mutant away, and files that tests left behind.
    fn restore(&self) -> Result<(), String> {
        self.git(&["checkout", "--quiet", "--", "."])?;
        self.git(&["clean", "-d", "--force", "--quiet"])
    }

    fn git(&self, words: &[&str]) -> Result<(), String> {
        git(self.path.clone(), words).map(|_| ())
    }
}

fn git(directory: PathBuf, words: &[&str]) -> Result<String, String> {
    output(Command::new("git").args(words).current_dir(directory))
}
