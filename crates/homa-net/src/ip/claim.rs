//! Who owns a port, and who answers for the ports of nobody: names of abstract Unix sockets, which
//! belong to the network namespace and go with the process that has them.
//!
//! An owner listens at its name and accepts nobody. Whoever wants to know whether a port has an owner
//! connects; the connection then ends when the owner does. An owner that goes orderly gives the name
//! back first and then waits until all who are connected have taken note: from then on its port is
//! answered for.

use core::net::IpAddr;
use core::time::Duration;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use crate::sys::{self, SocketName};
use crate::wait::{Watch, wait};

/// How long the end of a claim waits for one who is connected: a thousand times what a thread takes
/// that has a processor.
const NOTED_MAX: Duration = Duration::from_millis(100);

/// Something that one process of the network namespace can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Office {
    /// The Homa port.
    Port(u16),
    /// Answering for ports that nobody has, for packets to an address that may be that of all.
    Guard(IpAddr),
}

impl Office {
    /// At most 25 bytes, see [`SocketName::abstract_unix`].
    fn name(self) -> Vec<u8> {
        match self {
            Self::Port(port) => format!("homa.ip146.port.{port}").into_bytes(),
            Self::Guard(IpAddr::V4(at)) => [&b"ip146.at."[..], &at.octets()].concat(),
            Self::Guard(IpAddr::V6(at)) => [&b"ip146.at."[..], &at.octets()].concat(),
        }
    }

    /// Takes it, or says `AddrInUse`.
    pub(super) fn claim(self) -> io::Result<Claim> {
        let name = SocketAddr::from_abstract_name(self.name())?;
        let listener = UnixListener::bind_addr(&name)?;
        listener.set_nonblocking(true)?;
        Ok(Claim {
            listener: Some(listener),
        })
    }

    /// A connection that lasts as long as its present owner has it; `None` if it is free.
    ///
    /// Whoever drops it has taken note that the owner goes. It does not wait: `WouldBlock` says that
    /// thousands asked this owner, who accepts nobody.
    pub(super) fn owner(self) -> io::Result<Option<UnixStream>> {
        let name = SocketName::abstract_unix(&self.name()).ok_or(io::ErrorKind::InvalidInput)?;
        let socket = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
        match sys::connect(socket.as_fd(), &name).map_err(io::Error::from) {
            Ok(()) => Ok(Some(socket.into())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// An office, held until dropped.
#[derive(Debug)]
pub(super) struct Claim {
    /// `None` only while being dropped.
    listener: Option<UnixListener>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(listener) = self.listener.take() else {
            return;
        };
        let asked: Vec<UnixStream> = core::iter::from_fn(|| listener.accept().ok())
            .map(|(stream, _)| stream)
            .collect();
        drop(listener);
        for stream in asked {
            // It ends at the other side as well; an error says that it has already.
            if stream.shutdown(Shutdown::Write).is_ok() {
                let _ = wait(&mut [Watch::readable(stream.as_fd())], Some(NOTED_MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, Ordering};
    use std::io::Read;

    use super::*;

    #[test]
    fn an_office_has_one_holder_and_who_asks_learns_of_its_end() {
        let office = Office::Port(7);
        let claim = office.claim().unwrap();
        assert_eq!(office.claim().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let mut owner = office.owner().unwrap().expect("it is held");
        assert_eq!(
            owner.read(&mut [0; 1]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(claim);
        assert!(!matches!(owner.read(&mut [0; 1]), Ok(1..)), "it ended");
        assert!(office.owner().unwrap().is_none());
        assert!(office.claim().is_ok());
    }

    #[test]
    fn each_address_has_an_office_of_its_own() {
        let at = |text: &str| Office::Guard(text.parse().unwrap());
        let addresses = ["127.9.8.7", "127.9.8.8", "fd00::9:8:7", "fd00::9:8:8"];
        let claims = addresses.map(|text| at(text).claim().unwrap());
        for text in addresses {
            assert!(at(text).owner().unwrap().is_some());
        }
        drop(claims);
        for text in addresses {
            assert!(at(text).owner().unwrap().is_none());
        }
    }

    #[test]
    fn a_claim_ends_when_all_who_are_connected_have_taken_note() {
        let office = Office::Port(8);
        let claim = office.claim().unwrap();
        let mut owner = office.owner().unwrap().expect("it is held");
        owner.set_nonblocking(false).unwrap();
        let noted = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(!matches!(owner.read(&mut [0; 1]), Ok(1..)), "it goes");
                // Or whoever looks now would find the owner again.
                assert!(office.owner().unwrap().is_none(), "the name is free");
                noted.store(true, Ordering::SeqCst);
                drop(owner);
            });
            drop(claim);
            assert!(noted.load(Ordering::SeqCst));
        });
    }
}
