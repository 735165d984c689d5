//! The Homa packets in the captures of `tests/captures`, which were taken from the reference module on an
//! Ethernet with IPv4.
#![allow(dead_code, reason = "each of the tests that include this reads a part")]

use pcap_parser::{LegacyPcapBlock, PcapCapture};

/// One Homa packet as it was captured: without Ethernet and IP headers.
pub(crate) struct Captured {
    /// Nanoseconds since the first packet of the capture.
    pub(crate) at_ns: u64,
    /// Whether it came on IP protocol 146, and not disguised as TCP.
    pub(crate) native: bool,
    pub(crate) bytes: Vec<u8>,
}

/// IP protocol numbers.
const TCP: u8 = 6;
const HOMA: u8 = 146;

const ETHERNET_HEADER_BYTES: usize = 14;
/// Bytes of an IPv4 packet on the captured network; a longer one was captured before segmentation.
pub(crate) const MTU: usize = 1500;
pub(crate) const IPV4_HEADER_BYTES: usize = 20;

/// Bytes that segmentation copies in front of each piece; the segment field follows with the piece.
const REPLICATED_BYTES: usize = 52;

/// The Homa packets of a capture; super-packets of several segments are cut into them.
pub(crate) fn packets(file: &[u8]) -> Vec<Captured> {
    let capture = PcapCapture::from_file(file).expect("a capture file");
    let at_us = |block: &LegacyPcapBlock<'_>| {
        u64::from(block.ts_sec) * 1_000_000 + u64::from(block.ts_usec)
    };
    let start_us = capture.blocks.first().map_or(0, at_us);
    let frames = capture.blocks.iter();
    frames
        .flat_map(|block| homa_packets((at_us(block) - start_us) * 1_000, block.data))
        .collect()
}

fn homa_packets(at_ns: u64, frame: &[u8]) -> Vec<Captured> {
    let ip = &frame[ETHERNET_HEADER_BYTES..];
    assert_eq!(
        (frame[12..14].to_vec(), ip[0]),
        (vec![0x08, 0x00], 0x45),
        "plain IPv4"
    );
    let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let homa = &ip[IPV4_HEADER_BYTES..length];
    let captured = |native, bytes| Captured {
        at_ns,
        native,
        bytes,
    };
    match ip[9] {
        HOMA if length > MTU => segments(homa).map(|bytes| captured(true, bytes)).collect(),
        HOMA => vec![captured(true, homa.to_vec())],
        TCP => vec![captured(false, homa.to_vec())],
        protocol => panic!("protocol {protocol}"),
    }
}

/// Cuts a native super-packet as segmentation hardware would: a header that all share, then pieces
/// of equal length (the last may be shorter), each led by its segment field.
fn segments(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let (shared, pieces) = packet.split_at(REPLICATED_BYTES);
    let first = word(pieces, 0);
    let piece_length = (5..pieces.len() - 4)
        .find(|&at| u32::try_from(at - 4).is_ok_and(|data| word(pieces, at) == first + data))
        .expect("a second segment");
    pieces
        .chunks(piece_length)
        .map(move |piece| [shared, piece].concat())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
