//! Writes packets as pcapng, as if they had been captured on an Ethernet: headers are there,
//! payload, which never existed, is cut off.

use crate::packet::Packet;
use crate::world::ports;

const ETHERNET: u16 = 1;
const ETHERNET_BYTES: usize = 14;
const IP_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const BELOW_HOMA: usize = ETHERNET_BYTES + IP_BYTES + UDP_BYTES;

/// A capture in memory.
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
        let mut section = Vec::new();
        section.extend(0x1a2b_3c4d_u32.to_le_bytes());
        section.extend(1_u16.to_le_bytes());
        section.extend(0_u16.to_le_bytes());
        section.extend(u64::MAX.to_le_bytes());
        capture.block(0x0a0d_0d0a, &section);
        let mut interface = Vec::new();
        interface.extend(ETHERNET.to_le_bytes());
        interface.extend([0; 2]);
        interface.extend(0_u32.to_le_bytes());
        // Option 9: times are in units of 10⁻⁹ s.
        interface.extend([9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        capture.block(1, &interface);
        capture
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let padding = body.len().next_multiple_of(4) - body.len();
        let length = (12 + body.len() + padding) as u32;
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(body);
        self.bytes.extend(&[0; 3][..padding]);
        self.bytes.extend(length.to_le_bytes());
    }

    /// Adds a packet that was sent at `at` nanoseconds.
    pub(crate) fn packet(&mut self, at: u64, packet: &Packet) {
        let homa = packet.header();
        let captured = (BELOW_HOMA + homa.len()) as u32;
        let original = captured + packet.payload_bytes;
        let mut body = Vec::with_capacity(160);
        body.extend(0_u32.to_le_bytes());
        body.extend(((at >> 32) as u32).to_le_bytes());
        body.extend((at as u32).to_le_bytes());
        body.extend(captured.to_le_bytes());
        body.extend(original.to_le_bytes());
        body.extend(ethernet(packet));
        body.extend(ip(packet));
        body.extend(udp(packet));
        body.extend(homa);
        self.block(6, &body);
    }

    /// The file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn ethernet(packet: &Packet) -> [u8; ETHERNET_BYTES] {
    let (to, from) = (
        (packet.to + 1).to_be_bytes(),
        (packet.from + 1).to_be_bytes(),
    );
    let mut bytes = [0; ETHERNET_BYTES];
    bytes[0] = 2; // locally administered
    bytes[2..6].copy_from_slice(&to);
    bytes[6] = 2;
    bytes[8..12].copy_from_slice(&from);
    bytes[12..].copy_from_slice(&[8, 0]);
    bytes
}

fn ip(packet: &Packet) -> [u8; IP_BYTES] {
    let length = (IP_BYTES + UDP_BYTES) as u32 + packet.length();
    let mut bytes = [0; IP_BYTES];
    bytes[0] = 0x45;
    // The class selector of the level.
    bytes[1] = packet.priority << 5;
    bytes[2..4].copy_from_slice(&(length.min(0xffff) as u16).to_be_bytes());
    bytes[8] = 64;
    bytes[9] = 17;
    for (place, host) in [(12, packet.from), (16, packet.to)] {
        let number = 0x0a00_0000 | (host.wrapping_add(1) & 0x00ff_ffff);
        bytes[place..place + 4].copy_from_slice(&number.to_be_bytes());
    }
    let mut sum: u32 = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    bytes
}

fn udp(packet: &Packet) -> [u8; UDP_BYTES] {
    let (source, dest) = ports(packet.header());
    let length = UDP_BYTES as u32 + packet.length();
    let mut bytes = [0; UDP_BYTES];
    bytes[..2].copy_from_slice(&source.to_be_bytes());
    bytes[2..4].copy_from_slice(&dest.to_be_bytes());
    bytes[4..6].copy_from_slice(&(length.min(0xffff) as u16).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use homa_proto::wire::Priority;

    #[test]
    fn blocks_are_whole_and_say_how_long_they_are_at_both_ends() {
        let mut capture = Capture::new();
        let mut packet = Packet::new(&[7; 33], 1, 2, Priority::HIGHEST);
        packet.payload_bytes = 100;
        capture.packet(5_000_000_001, &packet);
        let bytes = capture.into_bytes();
        let word = |place: usize| u32::from_le_bytes(bytes[place..place + 4].try_into().unwrap());
        let (mut place, mut kinds) = (0, Vec::new());
        while place < bytes.len() {
            let length = word(place + 4) as usize;
            assert_eq!(word(place + length - 4) as usize, length);
            kinds.push(word(place));
            place += length;
        }
        assert_eq!((place, kinds), (bytes.len(), vec![0x0a0d_0d0a, 1, 6]));
    }
}
