//! From a frame to the Homa packet in it: Ethernet and its kin, IP, and what may be between IP and
//! Homa.
//!
//! It decides which packets claim to be Homa's. Fragments of IP packets are not put together.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The protocol numbers that matter here.
const TCP: u8 = 6;
const UDP: u8 = 17;
const HOMA: u8 = 146;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Tags of virtual networks.
const ETHERTYPES_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// The UDP port, both ends, of the reference's tunnel.
pub(crate) const TUNNEL_PORT: u16 = 54_321;

/// What carries a Homa packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// IP protocol 146.
    Ip,
    /// A UDP datagram of its own ports.
    Udp,
    /// A UDP datagram from 54321 to 54321.
    Tunnel,
    /// IP protocol 6, marked by TCP flags and urgent pointer.
    Tcp,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ip => "ip",
            Self::Udp => "udp",
            Self::Tunnel => "tunnel",
            Self::Tcp => "tcp",
        })
    }
}

/// A Homa packet and how it was carried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried<'a> {
    pub(crate) carrier: Carrier,
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    /// The whole byte of the IP header.
    pub(crate) traffic_class: u8,
    /// What was captured of the Homa packet.
    pub(crate) bytes: &'a [u8],
    /// Its length on the wire, in bytes.
    pub(crate) length: u32,
}

/// What is in a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Contents<'a> {
    Homa(Carried<'a>),
    /// Another protocol's.
    Other,
    /// Frames of this type carry no IP that we can find.
    UnknownLink,
}

/// Finds the Homa packet in a frame of `length` bytes, of which `frame` was captured.
pub(crate) fn contents(link_type: i32, frame: &[u8], length: u32) -> Contents<'_> {
    let Some(skip) = link_header(link_type, frame) else {
        return Contents::UnknownLink;
    };
    let carried = skip.and_then(|skip| {
        let rest = length.checked_sub(u32::try_from(skip).ok()?)?;
        ip(frame.get(skip..)?, rest)
    });
    carried.map_or(Contents::Other, Contents::Homa)
}

/// Bytes before the IP header: `None` for an unknown type of link, `Some(None)` for a frame that
/// carries no IP.
fn link_header(link_type: i32, frame: &[u8]) -> Option<Option<usize>> {
    let ethertype = |at| match word16(frame, at) {
        Some(ETHERTYPE_IPV4 | ETHERTYPE_IPV6) => Some(at + 2),
        _ => None,
    };
    Some(match link_type {
        // Null and loop: four bytes with an address family whose value depends on the system.
        0 | 108 => Some(4),
        // Ethernet.
        1 => {
            let mut at = 12;
            while word16(frame, at).is_some_and(|tag| ETHERTYPES_VLAN.contains(&tag)) {
                at += 4;
            }
            ethertype(at)
        }
        // Raw IP: three numbers for it, and one for each version.
        12 | 14 | 101 | 228 | 229 => Some(0),
        // Linux "cooked" captures, versions 1 and 2.
        113 => ethertype(14),
        276 => ethertype(0).map(|_| 20),
        _ => return None,
    })
}

fn ip(packet: &[u8], length: u32) -> Option<Carried<'_>> {
    match packet.first()? >> 4 {
        4 => ipv4(packet, length),
        6 => ipv6(packet, length),
        _ => None,
    }
}

fn ipv4(packet: &[u8], length: u32) -> Option<Carried<'_>> {
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let header = packet.get(..header_bytes)?;
    let fragment = word16(header, 6)? & 0x3fff;
    if header_bytes < 20 || fragment != 0 {
        return None;
    }
    // 0 stands in packets that were captured before the hardware cut them.
    let total = match word16(header, 2)? {
        0 => length,
        total => u32::from(total),
    };
    let address = |at| Some(Ipv4Addr::from(array::<4>(header, at)?));
    let carried = Carried {
        carrier: Carrier::Ip,
        from: address(12)?.into(),
        to: address(16)?.into(),
        traffic_class: header[1],
        bytes: cut(packet, total).get(header_bytes..)?,
        length: total.checked_sub(header_bytes as u32)?,
    };
    carried_by(header[9], carried)
}

fn ipv6(packet: &[u8], length: u32) -> Option<Carried<'_>> {
    let header = packet.get(..40)?;
    let payload = match word16(header, 4)? {
        0 => length.checked_sub(40)?,
        payload => u32::from(payload),
    };
    let address = |at| Some(Ipv6Addr::from(array::<16>(header, at)?));
    let mut carried = Carried {
        carrier: Carrier::Ip,
        from: address(8)?.into(),
        to: address(24)?.into(),
        traffic_class: header[0] << 4 | header[1] >> 4,
        bytes: cut(&packet[40..], payload),
        length: payload,
    };
    let mut next = header[6];
    // Options for routers, routes, options for the destination: each says its length.
    while matches!(next, 0 | 43 | 60) {
        next = *carried.bytes.first()?;
        let bytes = (usize::from(*carried.bytes.get(1)?) + 1) * 8;
        carried = behind(carried, bytes)?;
    }
    carried_by(next, carried)
}

/// The packet if it claims to be Homa's.
fn carried_by(protocol: u8, carried: Carried<'_>) -> Option<Carried<'_>> {
    match protocol {
        HOMA => Some(carried),
        TCP => is_marked(carried.bytes).then_some(Carried {
            carrier: Carrier::Tcp,
            ..carried
        }),
        UDP => udp(carried),
        _ => None,
    }
}

/// A datagram of the tunnel, or one that is marked, or that repeats its ports as a Homa packet does.
fn udp(carried: Carried<'_>) -> Option<Carried<'_>> {
    let ports = array::<4>(carried.bytes, 0)?;
    let length = u32::from(word16(carried.bytes, 4)?);
    let inner = behind(carried, 8)?;
    // 0 stands in packets that were captured before the hardware cut them.
    let length = match length.checked_sub(8) {
        Some(length) => length.min(inner.length),
        None => inner.length,
    };
    let inner = Carried {
        bytes: cut(inner.bytes, length),
        length,
        ..inner
    };
    let [p0, p1] = TUNNEL_PORT.to_be_bytes();
    if ports == [p0, p1, p0, p1] {
        return Some(Carried {
            carrier: Carrier::Tunnel,
            ..inner
        });
    }
    (is_marked(inner.bytes) || array::<4>(inner.bytes, 0) == Some(ports)).then_some(Carried {
        carrier: Carrier::Udp,
        ..inner
    })
}

/// Whether SYN and RST together and the urgent pointer mark a packet as Homa's.
fn is_marked(homa: &[u8]) -> bool {
    homa.get(13) == Some(&0x06) && word16(homa, 18) == Some(0xb97d)
}

fn behind(carried: Carried<'_>, bytes: usize) -> Option<Carried<'_>> {
    Some(Carried {
        bytes: carried.bytes.get(bytes..)?,
        length: carried.length.checked_sub(u32::try_from(bytes).ok()?)?,
        ..carried
    })
}

/// Without what the network appended, such as Ethernet's padding.
fn cut(bytes: &[u8], length: u32) -> &[u8] {
    bytes.get(..length as usize).unwrap_or(bytes)
}

fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet, header bytes 20, that carries `payload`.
    fn ipv4_packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0xe0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(payload);
        let total = packet.len() as u16;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet
    }

    fn datagram(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let length = 8 + payload.len() as u16;
        let mut bytes: Vec<u8> = [from, to, length, 0].map(u16::to_be_bytes).concat();
        bytes.extend(payload);
        bytes
    }

    fn marked() -> [u8; 28] {
        let mut homa = [0; 28];
        homa[13] = 0x06;
        homa[18..20].copy_from_slice(&[0xb9, 0x7d]);
        homa
    }

    fn carrier(protocol: u8, payload: &[u8]) -> Option<Carrier> {
        let packet = ipv4_packet(protocol, payload);
        match contents(101, &packet, packet.len() as u32) {
            Contents::Homa(carried) => Some(carried.carrier),
            _ => None,
        }
    }

    #[test]
    fn a_carrier_is_told_by_protocol_ports_and_marker() {
        assert_eq!(carrier(HOMA, &[1; 28]), Some(Carrier::Ip));
        assert_eq!(carrier(TCP, &marked()), Some(Carrier::Tcp));
        assert_eq!(carrier(TCP, &[0; 28]), None);
        assert_eq!(carrier(UDP, &datagram(1, 2, &marked())), Some(Carrier::Udp));
        assert_eq!(
            carrier(UDP, &datagram(1, 2, &[0, 1, 0, 2])),
            Some(Carrier::Udp)
        );
        assert_eq!(carrier(UDP, &datagram(1, 2, &[0; 28])), None);
        let tunnel = datagram(TUNNEL_PORT, TUNNEL_PORT, &[0; 28]);
        assert_eq!(carrier(UDP, &tunnel), Some(Carrier::Tunnel));
        assert_eq!(carrier(1, &[0; 28]), None);
    }

    #[test]
    fn every_kind_of_link_leads_to_the_same_packet() {
        let ip = ipv4_packet(HOMA, &[7; 30]);
        let headers: [(i32, Vec<u8>); 6] = [
            (0, vec![2, 0, 0, 0]),
            (1, [&[9; 12][..], &[8, 0]].concat()),
            (1, [&[9; 12][..], &[0x81, 0, 0, 5, 8, 0]].concat()),
            (101, vec![]),
            (113, [&[9; 14][..], &[8, 0]].concat()),
            (276, [&[8, 0][..], &[9; 18]].concat()),
        ];
        for (link_type, header) in headers {
            let frame = [&header[..], &ip, &[0; 6]].concat();
            let Contents::Homa(carried) = contents(link_type, &frame, frame.len() as u32) else {
                panic!("link type {link_type}");
            };
            assert_eq!((carried.bytes, carried.length), (&[7; 30][..], 30));
            assert_eq!(carried.traffic_class, 0xe0);
        }
        assert!(matches!(contents(189, &ip, 50), Contents::UnknownLink));
    }

    #[test]
    fn ipv6_extension_headers_are_stepped_over_and_fragments_left_alone() {
        let mut packet = vec![0x6e, 0, 0, 0, 0, 38, 60, 64];
        packet.extend([1; 16]);
        packet.extend([2; 16]);
        packet.extend([HOMA, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend([7; 30]);
        let Contents::Homa(carried) = contents(229, &packet, 78) else {
            panic!("an extension header hides nothing");
        };
        assert_eq!((carried.bytes, carried.traffic_class), (&[7; 30][..], 0xe0));
        packet[6] = 44;
        assert!(matches!(contents(229, &packet, 78), Contents::Other));
    }

    #[test]
    fn a_frame_cut_anywhere_is_no_trouble() {
        let whole = ipv4_packet(UDP, &datagram(5, 6, &marked()));
        for length in 0..whole.len() {
            contents(101, &whole[..length], whole.len() as u32);
            contents(101, &whole[..length], length as u32);
        }
    }
}
