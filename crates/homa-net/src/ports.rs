//! Where a link has no ports of its own, it goes by those that the packet begins with.

use core::net::SocketAddr;

/// Source and destination port of a packet.
pub(crate) fn of(packet: &[u8]) -> Option<(u16, u16)> {
    let &[s0, s1, d0, d1] = packet.first_chunk()?;
    Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
}

/// The address with another port; a link-local address keeps its scope.
pub(crate) fn at(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}
