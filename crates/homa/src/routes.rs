//! What the routes to peers carry, and addresses as engine and links write them.
//!
//! It decides how much of a packet is payload.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::HashMap;

use homa_net::{Framing, Link};
use homa_proto::Instant;

/// Bytes of IP headers.
const IPV4_BYTES: u32 = 20;
const IPV6_BYTES: u32 = 40;
/// Bytes of a DATA packet's header.
const DATA_HEADER_BYTES: u32 = 56;
/// Largest payload of a UDP datagram.
const DATAGRAM_MAX_BYTES: u32 = 65_507;
/// What every IPv6 link carries, and practically every IPv4 link: used where no route is known.
const MTU_UNKNOWN: u32 = 1_280;
/// Routes remembered. A peer asked about again costs some microseconds, no more.
const ROUTES_MAX: usize = 4_096;
/// A route is asked for again after ten minutes, as RFC 1191 has it: what was found may be less than
/// the way takes by then, and nothing tells.
const LIFETIME: Duration = Duration::from_mins(10);

/// What is known of the way to each peer.
#[derive(Default)]
pub(crate) struct Routes {
    routes: HashMap<IpAddr, Route>,
    /// Payload bytes of the peer that was asked for last, and until when they count: most hosts ask
    /// for it again.
    last: Option<(IpAddr, u32, Instant)>,
}

#[derive(Clone, Copy)]
struct Route {
    /// Bytes of the largest IP packet.
    mtu: u32,
    framing: Framing,
    /// When it is forgotten.
    until: Instant,
}

impl Routes {
    /// Payload bytes that a DATA packet to `peer` can carry.
    pub(crate) fn segment_bytes(&mut self, now: Instant, link: &dyn Link, peer: IpAddr) -> u32 {
        let is_last = |last: &(IpAddr, u32, Instant)| last.0 == peer && now < last.2;
        if let Some((_, bytes, _)) = self.last.filter(is_last) {
            return bytes;
        }
        let known = self.routes.get(&peer).filter(|route| now < route.until);
        let route = match known {
            Some(route) => *route,
            None => {
                let mtu = link.route_mtu(peer).ok();
                let route = Route {
                    mtu: mtu.unwrap_or(MTU_UNKNOWN),
                    framing: link.framing(),
                    until: now + LIFETIME,
                };
                if mtu.is_none() {
                    return route.segment_bytes(peer);
                }
                self.remember(peer, route);
                route
            }
        };
        let bytes = route.segment_bytes(peer);
        self.last = Some((peer, bytes, route.until));
        bytes
    }

    /// The network said that packets to `peer` may have `mtu` bytes; 0 if it did not say how many.
    /// Returns the payload bytes that follow from it, 0 likewise.
    pub(crate) fn learn_mtu(&mut self, now: Instant, peer: IpAddr, mtu: u32) -> u32 {
        self.last = None;
        // Below 576 no IPv4 router goes (RFC 791); smaller figures are forged or broken.
        if mtu < 576 {
            self.routes.remove(&peer);
            return 0;
        }
        let known = self.routes.get(&peer).copied();
        let route = Route {
            mtu: known.map_or(mtu, |route| route.mtu.min(mtu)),
            framing: known.map_or_else(Framing::default, |route| route.framing),
            until: now + LIFETIME,
        };
        self.remember(peer, route);
        Route { mtu, ..route }.segment_bytes(peer)
    }

    fn remember(&mut self, peer: IpAddr, route: Route) {
        if self.routes.len() >= ROUTES_MAX {
            self.routes.clear();
        }
        self.routes.insert(peer, route);
    }
}

impl Route {
    /// Payload bytes of a DATA packet.
    fn segment_bytes(self, peer: IpAddr) -> u32 {
        let ip = if peer.is_ipv4() {
            IPV4_BYTES
        } else {
            IPV6_BYTES
        };
        self.mtu
            .saturating_sub(ip + self.framing.header_bytes())
            .clamp(2 * DATA_HEADER_BYTES, DATAGRAM_MAX_BYTES)
            - DATA_HEADER_BYTES
    }
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
    if let SocketAddr::V4(v4) = peer
        && !v4.ip().is_unspecified()
    {
        return peer;
    }
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
    use homa_net::memory;

    use super::*;

    fn segment_bytes(peer: IpAddr, mtu: u32, framing: Framing) -> u32 {
        let until = Instant::default();
        let route = Route {
            mtu,
            framing,
            until,
        };
        route.segment_bytes(peer)
    }

    #[test]
    fn a_packet_carries_its_mtu_less_the_headers() {
        let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        let udp = Framing::Udp;
        assert_eq!(segment_bytes(v4, 1_500, udp), 1_416);
        assert_eq!(segment_bytes(v6, 1_500, udp), 1_396);
        assert_eq!(segment_bytes(v4, 65_536, udp), 65_451);
        assert_eq!(segment_bytes(v6, 65_536, udp), 65_432);
        assert_eq!(segment_bytes(v4, 0, udp), 56);
    }

    #[test]
    fn directly_on_ip_a_packet_carries_what_the_reference_puts_into_one() {
        let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        assert_eq!(segment_bytes(v4, 1_500, Framing::Ip), 1_424);
        assert_eq!(segment_bytes(v6, 1_500, Framing::Ip), 1_404);
        assert_eq!(segment_bytes(v4, 9_000, Framing::Ip), 8_924);
        assert_eq!(segment_bytes(v4, 1_500, Framing::Tunnel), 1_416);
    }

    #[test]
    fn an_mtu_that_no_router_has_is_not_believed() {
        let (mut routes, now) = (Routes::default(), Instant::default());
        let peer = Ipv4Addr::LOCALHOST.into();
        assert_eq!(routes.learn_mtu(now, peer, 9_000), 8_916);
        assert_eq!(routes.learn_mtu(now, peer, 1_500), 1_416);
        assert_eq!(routes.routes[&peer].mtu, 1_500);
        assert_eq!(routes.learn_mtu(now, peer, 60), 0);
        assert!(routes.routes.is_empty());
    }

    #[test]
    fn what_was_found_less_is_tried_again_after_ten_minutes() {
        let (mut routes, start) = (Routes::default(), Instant::default());
        let (link, _) = memory::pair(&memory::Config::default()).unwrap();
        let peer = memory::Config::default().addresses.1.ip();
        let route = routes.segment_bytes(start, &link, peer);
        routes.learn_mtu(start, peer, 1_280);
        let learned = routes.segment_bytes(start, &link, peer);
        assert!(learned < route);
        let late = start + LIFETIME;
        let early = start + (LIFETIME - Duration::from_nanos(1));
        assert_eq!(routes.segment_bytes(early, &link, peer), learned);
        assert_eq!(routes.segment_bytes(late, &link, peer), route);
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
