//! Files that a command writes when its work is done.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;

/// A file to be written at the end. It is opened at the beginning, so that a wrong name is told
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
    pub(crate) fn write_json(self, what: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(what).map_err(Failure::work("JSON"))?;
        self.write((json + "\n").as_bytes())
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The disk is full, or broken.
    pub(crate) fn write(mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file
            .write_all(bytes)
            .map_err(Failure::work(self.path.display()))
    }
}
