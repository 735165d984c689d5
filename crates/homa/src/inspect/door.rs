//! Where other processes ask a host what it does. It decides who may ask: processes of the same user,
//! and root.
//!
//! # Design
//!
//! *An abstract Unix socket.* It leaves no file behind when a process is killed, needs no directory
//! that belongs to the user and to nobody else, and is found by a look at `/proc/net/unix`. It has no
//! permissions; the kernel tells instead who is at the other end, and everybody but the same user and
//! root is turned away unheard. These two may look into the process anyway (ptrace).
//!
//! *Shut unless the application or its environment opens it.* A library should not make doors that
//! nobody asked for, nor a thread.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::io::{self, BufWriter, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;

use rustix::net::{Shutdown, shutdown, sockopt::socket_peercred};
use rustix::process::{Uid, geteuid};

use super::tell;
use crate::shared::Shared;

/// How the names of the abstract sockets begin at which hosts can be asked; process id and a number
/// follow, with a slash between them. The answer comes without a question: lines, then the end.
pub const NAME_PREFIX: &str = "homa/inspect/";

/// The variable in the environment that opens the door of every host of a program: `HOMA_INSPECT=1`.
const VARIABLE: &str = "HOMA_INSPECT";

/// Names tried. Processes of other PID namespaces may have the same ones.
const TRIES: u32 = 64;

/// Who does not read for so long is left.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells where hosts of this process listen apart.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A door and its thread; dropping it shuts it.
pub(crate) struct Door(UnixListener);

impl Door {
    /// Opens the door of a host, if `asked` or the environment says so.
    ///
    /// # Errors
    ///
    /// The system refuses a descriptor or a thread.
    pub(crate) fn asked_for(asked: bool, shared: &Arc<Shared>) -> io::Result<Option<Self>> {
        let asked = asked || std::env::var_os(VARIABLE).is_some_and(|value| value == "1");
        asked.then(|| Self::open(shared)).transpose()
    }

    fn open(shared: &Arc<Shared>) -> io::Result<Self> {
        let listener = listen()?;
        let door = Self(listener.try_clone()?);
        let shared = Arc::clone(shared);
        thread::Builder::new()
            .name("homa-inspect".to_owned())
            .spawn(move || {
                while let Ok((visitor, _)) = listener.accept() {
                    // One that leaves before the end has heard enough.
                    let _ = answer(visitor, &shared);
                }
            })?;
        Ok(door)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // The thread's `accept` fails from now on.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

fn listen() -> io::Result<UnixListener> {
    let mut last = None;
    for _ in 0..TRIES {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME_PREFIX}{}/{number}", std::process::id());
        match UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// Whether a process of the user `visitor` may ask one of the user `host`.
fn may_ask(visitor: Uid, host: Uid) -> bool {
    visitor.is_root() || visitor == host
}

fn answer(visitor: UnixStream, shared: &Shared) -> io::Result<()> {
    if !may_ask(socket_peercred(&visitor)?.uid, geteuid()) {
        return Ok(());
    }
    visitor.set_write_timeout(Some(PATIENCE))?;
    let mut out = BufWriter::new(visitor);
    tell(shared, &mut out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_user_and_root_may_ask_and_nobody_else() {
        let [root, ours, other] = [0, 1_000, 1_001].map(Uid::from_raw);
        assert!(may_ask(ours, ours) && may_ask(root, ours));
        assert!(!may_ask(other, ours) && !may_ask(ours, root));
    }

    #[test]
    fn a_door_is_there_only_where_it_was_asked_for_and_goes_with_its_host() {
        let listed = |name: &str| {
            let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
            sockets.contains(&format!("@{name}"))
        };
        let own = format!("{NAME_PREFIX}{}/", std::process::id());
        let closed = crate::Host::builder().build().unwrap();
        assert!(!listed(&own));
        let host = crate::Host::builder().inspectable(true).build().unwrap();
        assert!(listed(&own));
        drop((closed, host));
        // The thread lets its socket go once it is woken.
        while listed(&own) {
            thread::yield_now();
        }
    }
}
