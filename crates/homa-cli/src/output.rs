//! Files that a command writes when its work is done.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;

/// A file to be written at the end, or again and again. It is opened at the beginning, so that a wrong name is told
/// before the work and not after it.
pub(crate) struct OutputFile {
    path: PathBuf,
    file: File,
}

impl OutputFile {
    /// Opens the file, empty, if one was asked for.
    ///
    /// # Errors
    /// It cannot be opened for writing.
    pub(crate) fn create(path: Option<&Path>) -> Result<Option<Self>, Failure> {
        path.map(|path| {
            let file = File::create(path).map_err(Failure::work(path.display()))?;
            Ok(Self {
                path: path.to_owned(),
                file,
            })
        })
        .transpose()
    }

    /// Writes figures or findings as JSON, for people to read, too.
    ///
    /// # Errors
    /// The disk is full, or broken.
    pub(crate) fn write_json(mut self, what: &impl Serialize) -> Result<(), Failure> {
        self.rewrite_json(what)
    }

    /// The same, in place of what was written before.
    ///
    /// # Errors
    /// As [`write_json`](Self::write_json).
    pub(crate) fn rewrite_json(&mut self, what: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(what).map_err(Failure::work("JSON"))?;
        self.rewrite((json + "\n").as_bytes())
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The disk is full, or broken.
    pub(crate) fn write(mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.rewrite(bytes)
    }

    /// The same, in place of what was written before.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn rewrite(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let emptied = self.file.rewind().and_then(|()| self.file.set_len(0));
        let written = emptied.and_then(|()| self.file.write_all(bytes));
        written.map_err(Failure::work(self.path.display()))
    }
}
