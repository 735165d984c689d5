//! Packets that the reference module put on a wire: every one parses, and what we emit for it is
//! the same to the byte.

use std::collections::BTreeMap;

use homa_proto::wire::{Body, DATA_HEADER_BYTES, MAX_HEADER_BYTES, Packet};
use pcap_parser::PcapCapture;

use crate::law;

/// One Homa packet as it was captured: without Ethernet and IP headers.
struct Captured {
    native: bool,
    bytes: Vec<u8>,
}

/// IP protocol numbers.
const TCP: u8 = 6;
const HOMA: u8 = 146;

const ETHERNET_HEADER_BYTES: usize = 14;
/// Bytes of an IPv4 packet on the captured network; a longer one was captured before segmentation.
const MTU: usize = 1500;
const IPV4_HEADER_BYTES: usize = 20;

/// Bytes that segmentation copies in front of each piece; the segment field follows with the piece.
const REPLICATED_BYTES: usize = 52;

/// The Homa packets of a capture; super-packets of several segments are cut into them.
fn packets(file: &[u8]) -> Vec<Captured> {
    let capture = PcapCapture::from_file(file).expect("a capture file");
    capture
        .blocks
        .iter()
        .flat_map(|block| homa_packets(block.data))
        .collect()
}

fn homa_packets(frame: &[u8]) -> Vec<Captured> {
    let ip = &frame[ETHERNET_HEADER_BYTES..];
    assert_eq!(
        (frame[12..14].to_vec(), ip[0]),
        (vec![0x08, 0x00], 0x45),
        "plain IPv4"
    );
    let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let homa = &ip[IPV4_HEADER_BYTES..length];
    match ip[9] {
        HOMA if length > MTU => segments(homa)
            .map(|bytes| Captured {
                native: true,
                bytes,
            })
            .collect(),
        HOMA => vec![Captured {
            native: true,
            bytes: homa.to_vec(),
        }],
        TCP => vec![Captured {
            native: false,
            bytes: homa.to_vec(),
        }],
        protocol => panic!("protocol {protocol}"),
    }
}

/// Cuts a native super-packet as segmentation hardware would: a header that all share, then pieces
/// of equal length (the last may be shorter), each led by its segment field.
fn segments(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let (shared, pieces) = packet.split_at(REPLICATED_BYTES);
    let first = law::word(pieces, 0);
    let piece_length = (5..pieces.len() - 4)
        .find(|&at| u32::try_from(at - 4).is_ok_and(|data| law::word(pieces, at) == first + data))
        .expect("a second segment");
    pieces
        .chunks(piece_length)
        .map(move |piece| [shared, piece].concat())
}

/// Emits a native packet as its sender did and compares the header.
fn assert_emits_the_same(packet: &Packet, bytes: &[u8]) {
    let mut buffer = [0; MAX_HEADER_BYTES];
    let length = packet.emit_as(law::form_of(bytes), &mut buffer);
    assert_eq!(buffer[..length], bytes[..length]);
    let payload = match packet.body {
        Body::Data(data) => data.payload_length as usize,
        _ => 0,
    };
    assert_eq!(length + payload, bytes.len());
}

/// Parses and re-emits every packet of a capture and checks that the DATA of each message covers
/// it. Returns how many packets there are of each type code.
fn replay(file: &[u8]) -> BTreeMap<u8, usize> {
    let mut counts = BTreeMap::new();
    let mut messages: BTreeMap<u64, Vec<bool>> = BTreeMap::new();
    for Captured { native, bytes } in packets(file) {
        let packet = law::check(&bytes).expect("a captured packet is legal");
        if native {
            assert_emits_the_same(&packet, &bytes);
        }
        if let Body::Data(data) = packet.body {
            let message = messages
                .entry(packet.common.sender_id.get())
                .or_insert_with(|| vec![false; data.message_length as usize]);
            assert_eq!(message.len(), data.message_length as usize);
            message[data.offset as usize..data.end() as usize].fill(true);
        }
        *counts.entry(bytes[11]).or_default() += 1;
    }
    for (id, message) in messages {
        assert!(
            message.iter().all(|&sent| sent),
            "bytes of RPC {id} are in no packet"
        );
    }
    counts
}

const DATA: u8 = 0x10;
const GRANT: u8 = 0x11;
const RESEND: u8 = 0x12;
const BUSY: u8 = 0x14;
const NEED_ACK: u8 = 0x17;
const ACK: u8 = 0x18;

#[test]
fn a_short_rpc_parses_and_re_emits() {
    let counts = replay(include_bytes!("../captures/short_rpc_100B.pcap"));
    assert_eq!(counts, BTreeMap::from([(DATA, 2), (NEED_ACK, 1)]));
}

#[test]
fn a_granted_rpc_parses_and_re_emits() {
    let counts = replay(include_bytes!("../captures/rpc_100KB.pcap"));
    let expected = [
        (DATA, 144),
        (GRANT, 143),
        (RESEND, 1),
        (BUSY, 1),
        (NEED_ACK, 1),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
}

#[test]
fn an_rpc_with_a_small_grant_window_parses_and_re_emits() {
    let counts = replay(include_bytes!("../captures/rpc_100KB_window20000.pcap"));
    assert_eq!(
        counts,
        BTreeMap::from([(DATA, 144), (GRANT, 36), (NEED_ACK, 1)])
    );
}

#[test]
fn an_rpc_with_losses_parses_and_re_emits() {
    let counts = replay(include_bytes!("../captures/rpc_100KB_rxdrops.pcap"));
    let expected = [
        (DATA, 161),
        (GRANT, 143),
        (RESEND, 11),
        (BUSY, 1),
        (NEED_ACK, 1),
        (ACK, 1),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
}

#[test]
fn hijacked_packets_parse_and_super_packets_re_emit_segment_by_segment() {
    let file = include_bytes!("../captures/rpc_100KB_hijack_gso.pcap");
    let counts = replay(file);
    let expected = [
        (DATA, 147),
        (GRANT, 74),
        (RESEND, 2),
        (NEED_ACK, 2),
        (ACK, 1),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
    let longest = packets(file)
        .iter()
        .filter(|packet| packet.native)
        .map(|p| p.bytes.len())
        .max();
    assert_eq!(longest, Some(MTU - IPV4_HEADER_BYTES));
    assert!(
        packets(file)
            .iter()
            .any(|packet| packet.bytes.len() > DATA_HEADER_BYTES + MTU)
    );
}
