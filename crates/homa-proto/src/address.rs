//! Who sends and who receives, as the engine needs to tell them apart. It decides nothing about
//! how an address is reached.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A peer's address: IPv4 addresses are kept in their IPv6-mapped form.
///
/// `port` is the UDP port or, where IP carries Homa itself, the Homa port: two programs of one host
/// are two peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// IPv6 address, or an IPv4 address in mapped form.
    pub ip: Ipv6Addr,
    /// Scope of a link-local IPv6 address; 0 for all others.
    pub scope: u32,
    /// UDP port, or Homa port.
    pub port: u16,
}

impl Address {
    /// The address in the form that socket calls take: mapped addresses as IPv4.
    pub fn to_socket_addr(self) -> SocketAddr {
        // As a number: byte by byte it takes four times the instructions.
        let bits = self.ip.to_bits();
        if bits >> 32 == 0xffff {
            let v4 = Ipv4Addr::from_bits(bits as u32);
            SocketAddr::V4(SocketAddrV4::new(v4, self.port))
        } else {
            SocketAddr::V6(SocketAddrV6::new(self.ip, self.port, 0, self.scope))
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        let (ip, scope) = match addr {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        Self {
            ip,
            scope,
            port: addr.port(),
        }
    }
}

/// One of the engine's sockets: a port of ours, with or without permission to accept requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub(crate) u16);

impl SocketId {
    /// Small and dense, so that a host can keep an array beside the engine's.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The socket of an [`index`](Self::index), for hosts that pass it through a foreign interface.
    /// Any number is safe: one that names no socket is refused where it is used.
    pub const fn from_index(index: u16) -> Self {
        Self(index)
    }
}

/// Both ends of a packet's way: which socket of ours, which address of ours, which peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Our socket.
    pub socket: SocketId,
    /// The other end.
    pub peer: Address,
    /// Our address: where the packet was sent to, so that the answer leaves from there.
    /// Unspecified (`::`) leaves the choice to the routing table.
    pub local: Ipv6Addr,
}
