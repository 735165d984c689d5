//! What the fabric knows of a packet: to whom, at which level, and how long it is on the wire.

use core::net::Ipv4Addr;

use crate::network::star;

/// Ethernet's header and checksum, preamble and the gap between frames.
const FRAME_BYTES: u32 = 14 + 4 + 8 + 12;

/// Bytes of a response.
const CHECKSUM_BYTES: usize = 4;

/// The longest packet, in bytes.
pub(super) const PACKET_MAX_BYTES: usize = 1500;

/// The shortest frame on the wire.
pub(super) const FRAME_MIN_BYTES: u32 = 84;

/// What an IP header says to a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// The host that the packet goes to.
    pub(super) to: u8,
    /// Its level, 7 is best: the class selector.
    pub(super) level: u8,
}

impl Label {
    /// Reads an IP packet. `None` if it is none of IPv4 to a host of the lab: the kernel sends
    /// others by itself, which no network carries.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<20>()?;
        if header[0] >> 4 != 4 {
            return None;
        }
        let to = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
        Some(Self {
            to: star::host_at(to)?,
            level: header[1] >> 5,
        })
    }
}

/// Marks an IP packet as one that met a queue, if its sender asked for that.
pub(super) fn mark(packet: &mut [u8]) {
    let Some(header) = packet.first_chunk_mut::<20>() else {
        return;
    };
    if !matches!(header[1] & 3, 1 | 2) {
        return;
    }
    let before = u16::from_be_bytes([header[0], header[1]]);
    header[1] |= 3;
    let after = u16::from_be_bytes([header[0], header[1]]);
    // RFC 1624: the checksum changes by what a word of the header changes.
    let checksum = u16::from_be_bytes([header[10], header[11]]);
    let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    [header[10], header[11]] = (!(sum as u16)).to_be_bytes();
}

/// Bytes that an IP packet takes on the wire.
pub(super) const fn wire_bytes(packet_bytes: usize) -> u32 {
    let frame = packet_bytes as u32 + FRAME_BYTES;
    if frame < FRAME_MIN_BYTES {
        FRAME_MIN_BYTES
    } else {
        frame
    }
}

/// Headers of IP, UDP and Homa's DATA.
const HEADERS_BYTES: usize = 20 + 8 + 56;

/// Payload of a full packet.
pub(super) const SEGMENT_BYTES: u32 = (PACKET_MAX_BYTES - HEADERS_BYTES) as u32;

/// Bytes that a message takes on the wire as Homa sends it, with the response that confirms it.
pub(super) fn message_wire_bytes(length: usize) -> u32 {
    let payload_max = SEGMENT_BYTES as usize;
    let (full, rest) = (length / payload_max, length % payload_max);
    let last = if rest == 0 {
        0
    } else {
        wire_bytes(rest + HEADERS_BYTES)
    };
    full as u32 * wire_bytes(PACKET_MAX_BYTES) + last + wire_bytes(HEADERS_BYTES + CHECKSUM_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_address_and_class_selector() {
        let mut packet = [0; 40];
        (packet[0], packet[1]) = (0x45, 0xe3);
        packet[16..20].copy_from_slice(&star::address(5).octets());
        assert_eq!(Label::read(&packet), Some(Label { to: 5, level: 7 }));
        packet[16] = 224;
        assert_eq!(Label::read(&packet), None);
        packet[0] = 0x60;
        assert_eq!(Label::read(&packet), None);
        assert_eq!(Label::read(&packet[..19]), None);
    }

    /// The sum of a header's words, which is all ones if its checksum is right.
    fn sum(header: &[u8]) -> u32 {
        let words = header.chunks(2);
        let sum: u32 = words
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum();
        (sum & 0xffff) + (sum >> 16)
    }

    #[test]
    fn only_who_asks_for_it_is_marked_and_the_checksum_stays_right() {
        for (before, after) in [(0xe0, 0xe0), (0xe2, 0xe3), (0x01, 0x03), (0x03, 0x03)] {
            let mut packet = [
                0x45, before, 5, 220, 7, 7, 0x40, 0, 64, 6, 0, 0, 10, 214, 0, 1, 10, 214, 0, 2,
            ];
            let checksum = !(sum(&packet) as u16);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            assert_eq!(sum(&packet), 0xffff);
            mark(&mut packet);
            assert_eq!((packet[1], sum(&packet)), (after, 0xffff));
        }
    }

    #[test]
    fn short_packets_are_padded_on_the_wire() {
        assert_eq!((wire_bytes(1), wire_bytes(1500)), (84, 1538));
        // A response is 126 bytes on the wire.
        assert_eq!(message_wire_bytes(1416), 1538 + 126);
        assert_eq!(message_wire_bytes(1417), 1538 + 123 + 126);
    }
}
