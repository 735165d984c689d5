//! Which congestion control the TCP connections use that Homa is compared with.

use std::net::TcpStream;

use rustix::net::sockopt;

/// The default of most systems. Where the system prefers another (bbr on loopback is several times
/// slower in bulk), the comparison would flatter Homa.
const WANTED: &str = "cubic";

/// Chooses the wanted one; where it is not to be had, the system's own stays, and reports tell.
pub(crate) fn choose(stream: &TcpStream) {
    let _ = sockopt::set_tcp_congestion(stream, WANTED);
}

/// The one in force.
pub(crate) fn in_force(stream: &TcpStream) -> String {
    sockopt::tcp_congestion(stream).unwrap_or_else(|_| "unknown".to_owned())
}
