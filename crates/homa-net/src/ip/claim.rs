//! Who owns a port, and who answers for the ports of nobody: names of abstract Unix sockets, which
//! belong to the network namespace and go with the process that has them.
//!
//! An owner listens at its name and accepts nobody. Whoever wants to know whether a port has an owner
//! connects; the connection then ends when the owner does.

use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use crate::sys::{self, SocketName};

/// Something that one process of the network namespace can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Office {
    /// The Homa port.
    Port(u16),
    /// Answering for ports that nobody has.
    Guard,
}

impl Office {
    fn name(self) -> String {
        match self {
            Self::Port(port) => format!("homa.ip146.port.{port}"),
            Self::Guard => "homa.ip146.guard".to_owned(),
        }
    }

    /// Takes it, or says `AddrInUse`.
    pub(super) fn claim(self) -> io::Result<Claim> {
        let name = SocketAddr::from_abstract_name(self.name())?;
        let listener = UnixListener::bind_addr(&name)?;
        Ok(Claim {
            _listener: listener,
        })
    }

    /// A connection that lasts as long as its present owner has it; `None` if it is free.
    ///
    /// It does not wait: `WouldBlock` says that thousands asked this owner, who accepts nobody.
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
    _listener: UnixListener,
}

#[cfg(test)]
mod tests {
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
}
