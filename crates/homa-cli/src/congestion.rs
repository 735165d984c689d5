//! Which congestion control the TCP connections use that Homa is compared with.

use std::net::TcpStream;

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

    /// Has the connection use it; where it is not to be had, the system's own stays, and reports
    /// tell.
    pub(crate) fn choose(self, stream: &TcpStream) {
        let _ = sockopt::set_tcp_congestion(stream, self.name());
    }
}

/// The one in force.
pub(crate) fn in_force(stream: &TcpStream) -> String {
    sockopt::tcp_congestion(stream).unwrap_or_else(|_| "unknown".to_owned())
}
