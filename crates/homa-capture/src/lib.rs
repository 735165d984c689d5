//! Homa packets as pcapng, for whoever has packets and no network card to capture them at: the
//! simulator, and programs on the library.
//!
//! It writes the blocks of the file and the IP and UDP headers that a packet travels under. It does
//! not look into the packet, and it opens no file: a [`Capture`] is bytes, which the caller keeps or
//! appends somewhere.
//!
//! # Design
//!
//! *Raw IP as the link type* (101), not Ethernet: hosts here have no hardware addresses.
//!
//! *One section with one interface, the same in every capture*, so that several processes may
//! append to one file: whichever section a packet lands in, its interface says the same.

#![forbid(unsafe_code)]

use core::net::{IpAddr, SocketAddr};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// LINKTYPE_RAW: a packet begins with its IPv4 or IPv6 header.
const RAW_IP: u16 = 101;

const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;
const UDP: u8 = 17;
/// The protocol number of Homa.
const HOMA: u8 = 146;
const TTL: u8 = 64;

/// The first bytes of every pcapng file, whatever its byte order.
pub const MAGIC: [u8; 4] = SECTION_HEADER.to_le_bytes();

/// What carries a Homa packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A UDP datagram.
    Udp,
    /// IP itself, as protocol 146; ports are not written.
    Ip,
}

/// Where a packet came from and went to, and under which headers.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The sender; of the same address family as `to`, or it is written as unspecified.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// The whole traffic-class byte of the IP header.
    pub traffic_class: u8,
    /// What is between IP and Homa.
    pub carrier: Carrier,
}

/// The bytes of a pcapng file, or of its latest part.
#[derive(Clone, Debug)]
pub struct Capture {
    bytes: Vec<u8>,
}

impl Default for Capture {
    fn default() -> Self {
        Self::new()
    }
}

impl Capture {
    /// A capture without packets.
    pub fn new() -> Self {
        let mut capture = Self { bytes: Vec::new() };
        let mut section = BYTE_ORDER.to_le_bytes().to_vec();
        section.extend(1_u16.to_le_bytes());
        section.extend(0_u16.to_le_bytes());
        // The section's length is not known in advance.
        section.extend(u64::MAX.to_le_bytes());
        capture.block(SECTION_HEADER, &[&section]);
        let mut interface = RAW_IP.to_le_bytes().to_vec();
        interface.extend([0; 2]);
        // Packets are of any length.
        interface.extend(0_u32.to_le_bytes());
        // Option 9: times are in units of 10⁻⁹ s.
        interface.extend([9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        capture.block(INTERFACE, &[&interface]);
        capture
    }

    /// Adds a Homa packet that was sent or received at `at_ns`, nanoseconds since 1970 or since the
    /// beginning of the virtual time. `captured` are its leading bytes, of `length` in all.
    pub fn packet(&mut self, at_ns: u64, frame: &Frame, captured: &[u8], length: u32) {
        let (headers, headers_length) = headers(frame, length);
        let headers = &headers[..headers_length];
        let kept = (headers.len() + captured.len()) as u32;
        let mut fields = [0; 20];
        let words = [
            0,
            (at_ns >> 32) as u32,
            at_ns as u32,
            kept,
            (headers.len() as u32).saturating_add(length).max(kept),
        ];
        for (place, word) in fields.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        self.block(PACKET, &[&fields, headers, captured]);
    }

    fn block(&mut self, kind: u32, parts: &[&[u8]]) {
        let body: usize = parts.iter().map(|part| part.len()).sum();
        let padded = body.next_multiple_of(4);
        let length = (12 + padded) as u32;
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        parts.iter().for_each(|part| self.bytes.extend(*part));
        self.bytes.extend(&[0; 3][..padded - body]);
        self.bytes.extend(length.to_le_bytes());
    }

    /// What was written since the beginning, or since [`clear`](Self::clear).
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was written, which the caller has put elsewhere; what follows continues it.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The headers of a Homa packet of `length` bytes, and how many bytes they are.
fn headers(frame: &Frame, length: u32) -> ([u8; IPV6_BYTES + UDP_BYTES], usize) {
    let mut bytes = [0; IPV6_BYTES + UDP_BYTES];
    let is_udp = frame.carrier == Carrier::Udp;
    let udp_bytes = if is_udp { UDP_BYTES } else { 0 };
    let payload = length.saturating_add(udp_bytes as u32);
    let ip_bytes = match frame.to.ip() {
        IpAddr::V4(to) => {
            let from = match frame.from.ip() {
                IpAddr::V4(from) => from.octets(),
                IpAddr::V6(_) => [0; 4],
            };
            ipv4(&mut bytes, frame, payload, from, to.octets());
            IPV4_BYTES
        }
        IpAddr::V6(to) => {
            let from = match frame.from.ip() {
                IpAddr::V6(from) => from.octets(),
                IpAddr::V4(_) => [0; 16],
            };
            ipv6(&mut bytes, frame, payload, from, to.octets());
            IPV6_BYTES
        }
    };
    if is_udp {
        let udp = &mut bytes[ip_bytes..ip_bytes + UDP_BYTES];
        udp[..2].copy_from_slice(&frame.from.port().to_be_bytes());
        udp[2..4].copy_from_slice(&frame.to.port().to_be_bytes());
        // The checksum stays 0, "none": the payload may be cut off.
        udp[4..6].copy_from_slice(&short(payload).to_be_bytes());
    }
    (bytes, ip_bytes + udp_bytes)
}

fn ipv4(bytes: &mut [u8], frame: &Frame, payload: u32, from: [u8; 4], to: [u8; 4]) {
    bytes[..2].copy_from_slice(&[0x45, frame.traffic_class]);
    let length = payload.saturating_add(IPV4_BYTES as u32);
    bytes[2..4].copy_from_slice(&short(length).to_be_bytes());
    // Don't fragment.
    bytes[6] = 0x40;
    bytes[8..10].copy_from_slice(&[TTL, protocol(frame.carrier)]);
    bytes[12..16].copy_from_slice(&from);
    bytes[16..20].copy_from_slice(&to);
    let mut sum: u32 = bytes[..IPV4_BYTES]
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

fn ipv6(bytes: &mut [u8], frame: &Frame, payload: u32, from: [u8; 16], to: [u8; 16]) {
    bytes[0] = 0x60 | frame.traffic_class >> 4;
    bytes[1] = frame.traffic_class << 4;
    bytes[4..6].copy_from_slice(&short(payload).to_be_bytes());
    bytes[6..8].copy_from_slice(&[protocol(frame.carrier), TTL]);
    bytes[8..24].copy_from_slice(&from);
    bytes[24..40].copy_from_slice(&to);
}

const fn protocol(carrier: Carrier) -> u8 {
    match carrier {
        Carrier::Udp => UDP,
        Carrier::Ip => HOMA,
    }
}

/// A length as its field holds it; links in memory carry more than IP can say.
fn short(length: u32) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(from: &str, to: &str, carrier: Carrier) -> Frame {
        Frame {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            traffic_class: 0xe0,
            carrier,
        }
    }

    /// Kind and body of every block; panics if one is not whole.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
        let mut blocks = Vec::new();
        while !bytes.is_empty() {
            let length = word(&bytes[4..]) as usize;
            assert_eq!(word(&bytes[length - 4..]) as usize, length);
            blocks.push((word(bytes), &bytes[8..length - 4]));
            bytes = &bytes[length..];
        }
        blocks
    }

    #[test]
    fn blocks_are_whole_and_say_how_long_they_are_at_both_ends() {
        let mut capture = Capture::new();
        let udp = frame("10.0.0.1:4000", "10.0.0.2:4001", Carrier::Udp);
        capture.packet(5_000_000_001, &udp, &[7; 33], 133);
        let kinds: Vec<u32> = blocks(capture.bytes())
            .iter()
            .map(|block| block.0)
            .collect();
        assert_eq!(kinds, [SECTION_HEADER, INTERFACE, PACKET]);
        let (_, packet) = blocks(capture.bytes())[2];
        let (kept, length) = (28 + 33_u32, 28 + 133_u32);
        assert_eq!(packet[12..16], kept.to_le_bytes());
        assert_eq!(packet[16..20], length.to_le_bytes());
    }

    #[test]
    fn a_cleared_capture_goes_on_where_it_was() {
        let mut capture = Capture::new();
        let mut file = capture.bytes().to_vec();
        capture.clear();
        let ip = frame("[fd00::1]:0", "[fd00::2]:0", Carrier::Ip);
        capture.packet(1, &ip, &[1, 2, 3], 3);
        file.extend(capture.bytes());
        assert_eq!(blocks(&file).len(), 3);
    }

    #[test]
    fn an_ipv4_header_sums_up_to_nothing_and_names_protocol_and_class() {
        let ip = frame("10.0.0.1:0", "10.0.0.2:0", Carrier::Ip);
        let (bytes, length) = headers(&ip, 100);
        assert_eq!(length, IPV4_BYTES);
        let sum: u32 = bytes[..length]
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!((bytes[1], bytes[9]), (0xe0, HOMA));
        assert_eq!(bytes[2..4], 120_u16.to_be_bytes());
    }

    #[test]
    fn an_ipv6_header_is_followed_by_that_of_udp() {
        let udp = frame("[fd00::1]:4000", "[fd00::2]:4001", Carrier::Udp);
        let (bytes, length) = headers(&udp, 100);
        assert_eq!(length, IPV6_BYTES + UDP_BYTES);
        assert_eq!(bytes[..2], [0x6e, 0x00]);
        assert_eq!((bytes[6], &bytes[4..6]), (UDP, &108_u16.to_be_bytes()[..]));
        assert_eq!(bytes[40..46], [0x0f, 0xa0, 0x0f, 0xa1, 0, 108]);
    }
}
