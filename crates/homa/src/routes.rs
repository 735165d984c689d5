//! What the routes to peers carry, and addresses as engine and links write them.
//!
//! It decides how much of a packet is payload.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::collections::HashMap;

use homa_net::Link;

/// Bytes of IP and UDP headers.
const IPV4_UDP_BYTES: u32 = 20 + 8;
const IPV6_UDP_BYTES: u32 = 40 + 8;
/// Bytes of a DATA packet's header.
const DATA_HEADER_BYTES: u32 = 56;
/// Largest payload of a UDP datagram.
const DATAGRAM_MAX_BYTES: u32 = 65_507;
/// What every IPv6 link carries, and practically every IPv4 link: used where no route is known.
const MTU_UNKNOWN: u32 = 1_280;
/// Routes remembered. A peer asked about again costs some microseconds, no more.
const ROUTES_MAX: usize = 4_096;

/// Payload bytes of a packet, by peer.
#[derive(Default)]
pub(crate) struct Routes {
    segments: HashMap<IpAddr, u32>,
    /// The entry that was asked for last: most hosts ask for it again.
    last: Option<(IpAddr, u32)>,
}

impl Routes {
    /// Payload bytes that a DATA packet to `peer` can carry.
    pub(crate) fn segment_bytes(&mut self, link: &dyn Link, peer: IpAddr) -> u32 {
        if let Some((_, bytes)) = self.last.filter(|last| last.0 == peer) {
            return bytes;
        }
        if let Some(&bytes) = self.segments.get(&peer) {
            self.last = Some((peer, bytes));
            return bytes;
        }
        let mtu = link.route_mtu(peer).ok();
        let bytes = segment_bytes(peer, mtu.unwrap_or(MTU_UNKNOWN));
        if mtu.is_some() {
            self.remember(peer, bytes);
        }
        bytes
    }

    /// The network said that packets to `peer` may have `mtu` bytes; 0 if it did not say how many.
    /// Returns the payload bytes that follow from it, 0 likewise.
    pub(crate) fn learn_mtu(&mut self, peer: IpAddr, mtu: u32) -> u32 {
        self.last = None;
        // Below 576 no IPv4 router goes (RFC 791); smaller figures are forged or broken.
        if mtu < 576 {
            self.segments.remove(&peer);
            return 0;
        }
        let bytes = segment_bytes(peer, mtu);
        let known = self.segments.get(&peer).copied().unwrap_or(u32::MAX);
        self.remember(peer, bytes.min(known));
        bytes
    }

    fn remember(&mut self, peer: IpAddr, bytes: u32) {
        if self.segments.len() >= ROUTES_MAX {
            self.segments.clear();
        }
        self.segments.insert(peer, bytes);
    }
}

/// Payload bytes of a DATA packet in an IP packet of `mtu` bytes.
fn segment_bytes(peer: IpAddr, mtu: u32) -> u32 {
    let headers = if peer.is_ipv4() {
        IPV4_UDP_BYTES
    } else {
        IPV6_UDP_BYTES
    };
    mtu.saturating_sub(headers)
        .clamp(2 * DATA_HEADER_BYTES, DATAGRAM_MAX_BYTES)
        - DATA_HEADER_BYTES
}

/// The address in the engine's form; unspecified if the link cannot tell.
pub(crate) fn to_local(address: Option<IpAddr>) -> Ipv6Addr {
    match address {
        Some(IpAddr::V4(v4)) => v4.to_ipv6_mapped(),
        Some(IpAddr::V6(v6)) => v6,
        None => Ipv6Addr::UNSPECIFIED,
    }
}

/// The address in the links' form; `None` leaves the choice to the routing table.
pub(crate) fn from_local(address: Ipv6Addr) -> Option<IpAddr> {
    (!address.is_unspecified()).then(|| address.to_canonical())
}

/// The address that reaches `peer` and that its packets come from: IPv4 addresses in their own
/// form, and "any" as the loopback, which is what the system takes it for.
pub(crate) fn reachable(peer: SocketAddr) -> SocketAddr {
    let ip = match peer.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut address = peer;
    address.set_ip(ip);
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_carries_its_mtu_less_the_headers() {
        let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        assert_eq!(segment_bytes(v4, 1_500), 1_416);
        assert_eq!(segment_bytes(v6, 1_500), 1_396);
        assert_eq!(segment_bytes(v4, 65_536), 65_451);
        assert_eq!(segment_bytes(v6, 65_536), 65_432);
        assert_eq!(segment_bytes(v4, 0), 56);
    }

    #[test]
    fn an_mtu_that_no_router_has_is_not_believed() {
        let mut routes = Routes::default();
        let peer = Ipv4Addr::LOCALHOST.into();
        assert_eq!(routes.learn_mtu(peer, 9_000), 8_916);
        assert_eq!(routes.learn_mtu(peer, 1_500), 1_416);
        assert_eq!(routes.segments[&peer], 1_416);
        assert_eq!(routes.learn_mtu(peer, 60), 0);
        assert!(routes.segments.is_empty());
    }

    #[test]
    fn any_address_stands_for_the_loopback_and_mapped_ones_for_ipv4() {
        let reached = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:7"), "127.0.0.1:7");
        assert_eq!(reached("[::]:7"), "[::1]:7");
        assert_eq!(reached("[::ffff:10.0.0.1]:7"), "10.0.0.1:7");
        assert_eq!(reached("10.0.0.2:7"), "10.0.0.2:7");
    }
}
