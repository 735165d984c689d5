//! Network namespaces without names.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};

/// A network namespace. It is gone when this is dropped and no process is in it.
#[derive(Debug)]
pub(crate) struct Namespace {
    handle: OwnedFd,
}

impl Namespace {
    /// A namespace with nothing in it but a loopback device that is down.
    ///
    /// # Errors
    /// `PermissionDenied` without the right; see [`gain_right`].
    pub(crate) fn make() -> io::Result<Self> {
        let made = on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(Self {
                handle: File::open("/proc/thread-self/ns/net")?.into(),
            })
        });
        made?
    }

    /// Does something inside: sockets made there, and processes and threads started there, belong
    /// to the namespace.
    ///
    /// # Errors
    /// The kernel refuses a thread.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_own_thread(|| {
            // Who could make it may enter it.
            setns(&self.handle, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })?
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Sees to it that this process may make network namespaces: as it is, or else as root of a user
/// namespace of its own, which changes no right outside.
///
/// # Errors
/// `PermissionDenied` where neither is allowed; `InvalidInput` if the process has several threads.
pub(crate) fn gain_right() -> io::Result<()> {
    match Namespace::make() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => enter_user_namespace(),
        made => made.map(drop),
    }
}

fn enter_user_namespace() -> io::Result<()> {
    let (user, group) = (geteuid(), getegid());
    match unshare(CloneFlags::CLONE_NEWUSER) {
        // The limit on user namespaces is 0: another way of forbidding them.
        Err(Errno::ENOSPC) => return Err(Errno::EPERM.into()),
        done => done?,
    }
    // Without this nobody but root may map groups.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Namespaces are changed on threads that end with it, so that no other thread is affected.
fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, work)?;
        thread
            .join()
            .map_err(|_| io::Error::other("a thread in a network namespace panicked"))
    })
}
