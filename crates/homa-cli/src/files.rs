//! Files by name, from one directory and nowhere else.
//!
//! The kernel itself keeps a name inside (`openat2` with `RESOLVE_BENEATH`): no check of ours could
//! be outrun by someone who moves a symbolic link at the right moment.

use core::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// Longest name that is looked up, in bytes; Linux takes no longer path.
const NAME_MAX_BYTES: usize = 4096;

/// A directory whose files are served.
pub(crate) struct Directory {
    handle: OwnedFd,
}

/// Why a name leads to no contents.
#[derive(Debug)]
pub(crate) enum NoContents {
    /// The name is not text, has a zero byte, or is too long.
    BadName,
    /// The name leads out of the directory.
    Outside,
    /// It is there, but not a file: a directory, a pipe, a device.
    NotAFile,
    /// A message has at least one byte.
    Empty,
    /// The file is longer than a message may be.
    TooLong {
        /// Bytes that a message may have.
        limit: usize,
    },
    /// The system says no: no such file, or no right to read it.
    System(io::Error),
}

impl fmt::Display for NoContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName => f.write_str("it is no file name"),
            Self::Outside => f.write_str("it leads out of the directory"),
            Self::NotAFile => f.write_str("it is not a file"),
            Self::Empty => f.write_str("the file is empty, and a message is not"),
            Self::TooLong { limit } => write!(f, "the file is longer than {limit} bytes"),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl Directory {
    /// Opens the directory.
    ///
    /// # Errors
    /// There is no such directory, or no right to look into it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            handle: openat(CWD, path, flags, Mode::empty())?,
        })
    }

    /// The contents of the file `name`, at most `limit` bytes. A name may have slashes and may lead
    /// over symbolic links, as long as it stays inside.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn contents(&self, name: &[u8], limit: usize) -> Result<Vec<u8>, NoContents> {
        let name = core::str::from_utf8(name).map_err(|_| NoContents::BadName)?;
        if name.is_empty() || name.len() > NAME_MAX_BYTES || name.contains('\0') {
            return Err(NoContents::BadName);
        }
        // Without NONBLOCK, opening a pipe would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = match openat2(&self.handle, name, flags, Mode::empty(), inside) {
            Ok(file) => File::from(file),
            Err(Errno::XDEV) => return Err(NoContents::Outside),
            Err(error) => return Err(NoContents::System(error.into())),
        };
        if !file.metadata().map_err(NoContents::System)?.is_file() {
            return Err(NoContents::NotAFile);
        }
        read(file, limit)
    }
}

fn read(file: File, limit: usize) -> Result<Vec<u8>, NoContents> {
    let mut contents = Vec::new();
    // One byte more than the limit tells a file that is too long, even one that grows meanwhile.
    let taken = file.take(limit as u64 + 1).read_to_end(&mut contents);
    match taken.map_err(NoContents::System)? {
        0 => Err(NoContents::Empty),
        count if count > limit => Err(NoContents::TooLong { limit }),
        _ => Ok(contents),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A directory `served` with a secret beside it.
    fn served() -> (TempDir, Directory) {
        let top = TempDir::new().unwrap();
        let served = top.path().join("served");
        fs::create_dir_all(served.join("sub")).unwrap();
        fs::write(top.path().join("secret"), "secret").unwrap();
        fs::write(served.join("hello"), "hello").unwrap();
        fs::write(served.join("sub/deep"), "deep").unwrap();
        let directory = Directory::open(&served).unwrap();
        (top, directory)
    }

    fn refusal(directory: &Directory, name: &[u8]) -> String {
        directory.contents(name, 100).unwrap_err().to_string()
    }

    #[test]
    fn files_are_found_by_name() {
        let (_top, directory) = served();
        assert_eq!(directory.contents(b"hello", 100).unwrap(), b"hello");
        assert_eq!(directory.contents(b"sub/deep", 100).unwrap(), b"deep");
        assert_eq!(directory.contents(b"sub/../hello", 100).unwrap(), b"hello");
    }

    #[test]
    fn no_name_leads_out() {
        let (top, directory) = served();
        let secret = top.path().join("secret");
        symlink(&secret, top.path().join("served/link")).unwrap();
        symlink("..", top.path().join("served/up")).unwrap();
        let names = [
            "../secret",
            "sub/../../secret",
            "link",
            "up/secret",
            "/etc/passwd",
        ];
        for name in names.into_iter().chain(secret.to_str()) {
            let why = refusal(&directory, name.as_bytes());
            assert_eq!(why, "it leads out of the directory", "{name}");
        }
    }

    #[test]
    fn links_that_stay_inside_are_followed() {
        let (top, directory) = served();
        symlink("sub/deep", top.path().join("served/link")).unwrap();
        assert_eq!(directory.contents(b"link", 100).unwrap(), b"deep");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let (top, directory) = served();
        let pipe = top.path().join("served/pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(refusal(&directory, b"sub"), "it is not a file");
        assert_eq!(refusal(&directory, b"pipe"), "it is not a file");
        assert_eq!(refusal(&directory, b""), "it is no file name");
        assert_eq!(refusal(&directory, b"a\0b"), "it is no file name");
        assert_eq!(refusal(&directory, b"\xff"), "it is no file name");
        assert_eq!(refusal(&directory, &[b'x'; 5000]), "it is no file name");
        assert!(refusal(&directory, b"none").contains("No such file"));
    }

    #[test]
    fn a_file_must_fit_into_a_message() {
        let (top, directory) = served();
        fs::write(top.path().join("served/empty"), "").unwrap();
        fs::write(top.path().join("served/long"), [b'x'; 101]).unwrap();
        fs::write(top.path().join("served/full"), [b'x'; 100]).unwrap();
        assert_eq!(
            refusal(&directory, b"empty"),
            "the file is empty, and a message is not"
        );
        assert_eq!(
            refusal(&directory, b"long"),
            "the file is longer than 100 bytes"
        );
        assert_eq!(directory.contents(b"full", 100).unwrap().len(), 100);
    }
}
