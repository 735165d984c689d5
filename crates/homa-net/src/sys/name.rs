//! Socket addresses as the kernel lays them out in memory (`sockaddr_in`, `sockaddr_in6`).
//!
//! Written and read byte by byte, so that no cast of memory is needed.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for a `sockaddr_in6`, the longer of the two.
const CAPACITY: usize = 28;
const V4_LENGTH: usize = 16;
const LINK_LAYER_LENGTH: u32 = 20;

/// A socket address in the kernel's layout; `bytes[..length]` is valid.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct SocketName {
    pub(super) bytes: [u8; CAPACITY],
    pub(super) length: u32,
}

impl SocketName {
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; CAPACITY],
        length: 0,
    };
    pub(super) const CAPACITY: u32 = CAPACITY as u32;

    pub(crate) fn encode(address: SocketAddr) -> Self {
        let mut name = Self::EMPTY;
        match address {
            SocketAddr::V4(v4) => {
                name.bytes[0..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                name.bytes[2..4].copy_from_slice(&v4.port().to_be_bytes());
                name.bytes[4..8].copy_from_slice(&v4.ip().octets());
                name.length = V4_LENGTH as u32;
            }
            SocketAddr::V6(v6) => {
                name.bytes[0..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                name.bytes[2..4].copy_from_slice(&v6.port().to_be_bytes());
                name.bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                name.bytes[8..24].copy_from_slice(&v6.ip().octets());
                name.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                name.length = Self::CAPACITY;
            }
        }
        name
    }

    /// All packets of an interface, as a `sockaddr_ll`: family, protocol (big-endian), index.
    pub(crate) fn interface(index: u32) -> Self {
        let mut name = Self::EMPTY;
        name.bytes[0..2].copy_from_slice(&(libc::AF_PACKET as u16).to_ne_bytes());
        name.bytes[2..4].copy_from_slice(&(libc::ETH_P_ALL as u16).to_be_bytes());
        name.bytes[4..8].copy_from_slice(&index.to_ne_bytes());
        name.length = LINK_LAYER_LENGTH;
        name
    }

    /// An abstract Unix socket, as a `sockaddr_un`: family, a zero, the name. `None` if that is longer
    /// than 25 bytes.
    pub(crate) fn abstract_unix(name: &[u8]) -> Option<Self> {
        let mut this = Self::EMPTY;
        this.bytes[0..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
        let end = 3 + name.len();
        this.bytes.get_mut(3..end)?.copy_from_slice(name);
        this.length = end as u32;
        Some(this)
    }

    /// Whether this `sockaddr_ll` tells of a packet that leaves by the loopback: behind the index
    /// stand the kind of hardware and the kind of packet.
    pub(crate) fn is_leaving_loopback(&self) -> bool {
        let hardware = u16::from_ne_bytes([self.bytes[8], self.bytes[9]]);
        hardware == libc::ARPHRD_LOOPBACK && self.bytes[10] == libc::PACKET_OUTGOING
    }

    /// The address as the kernel would write it.
    #[cfg(test)]
    pub(crate) fn valid_bytes(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }

    pub(crate) fn decode(&self) -> Option<SocketAddr> {
        let length = usize::try_from(self.length).ok()?;
        decode(self.bytes.get(..length)?)
    }
}

/// Reads a `sockaddr_in` or `sockaddr_in6`; longer input is cut, any other family is `None`.
pub(crate) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => {
            let (octets, _) = rest.split_first_chunk::<4>()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(*octets), port).into())
        }
        libc::AF_INET6 => {
            let (flow, rest) = rest.split_first_chunk::<4>()?;
            let (octets, rest) = rest.split_first_chunk::<16>()?;
            let (scope, _) = rest.split_first_chunk::<4>()?;
            let (flow, scope) = (u32::from_ne_bytes(*flow), u32::from_ne_bytes(*scope));
            Some(SocketAddrV6::new(Ipv6Addr::from(*octets), port, flow, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_survive_the_kernel_layout() {
        for text in [
            "127.0.0.1:4000",
            "0.0.0.0:0",
            "255.1.2.3:65535",
            "[::1]:4000",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketName::encode(address).decode(), Some(address));
        }
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0x0102_0304, 5).into();
        assert_eq!(SocketName::encode(scoped).decode(), Some(scoped));
    }

    #[test]
    fn a_name_of_another_family_or_too_short_is_none() {
        assert_eq!(SocketName::EMPTY.decode(), None);
        assert_eq!(decode(&[1, 0, 47, 116, 109, 112, 47, 120]), None);
        let v6 = SocketName::encode("[::1]:1".parse().unwrap());
        assert_eq!(decode(&v6.bytes[..27]), None);
    }
}
