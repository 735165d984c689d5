//! Which congestion control the TCP connections use that Homa is compared with.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

/// A congestion control of the kernel.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Congestion {
    /// The default of most systems. Where the system prefers another (bbr on loopback is several
    /// times slower in bulk), the comparison would flatter Homa.
    #[default]
    Cubic,
    Bbr,
}

impl Congestion {
    /// What the kernel calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }

    /// Makes a connection use it, or all that a listener will accept.
    ///
    /// # Errors
    /// The kernel does not have it, or does not let this user choose it.
    pub(crate) fn set(self, socket: &impl AsFd) -> io::Result<()> {
        Ok(sockopt::set_tcp_congestion(socket, self.name())?)
    }

    /// Has the connection use it; where it is not to be had, the system's own stays, and reports
    /// tell.
    pub(crate) fn choose(self, stream: &TcpStream) {
        let _ = self.set(stream);
    }

    /// Whether a connection may use it here, in the namespace of this thread.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn try_here(self) -> io::Result<()> {
        self.set(&TcpListener::bind("127.0.0.1:0")?)
    }
}

/// The one in force.
pub(crate) fn in_force(stream: &TcpStream) -> String {
    sockopt::tcp_congestion(stream).unwrap_or_else(|_| "unknown".to_owned())
}
