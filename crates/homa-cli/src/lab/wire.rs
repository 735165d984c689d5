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
const FRAME_MIN_BYTES: u32 = 84;

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

/// Bytes that an IP packet takes on the wire.
pub(super) fn wire_bytes(packet_bytes: usize) -> u32 {
    (packet_bytes as u32 + FRAME_BYTES).max(FRAME_MIN_BYTES)
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

    #[test]
    fn short_packets_are_padded_on_the_wire() {
        assert_eq!((wire_bytes(1), wire_bytes(1500)), (84, 1538));
        // A response is 126 bytes on the wire.
        assert_eq!(message_wire_bytes(1416), 1538 + 126);
        assert_eq!(message_wire_bytes(1417), 1538 + 123 + 126);
    }
}
