//! Packets that the reference module put on a wire: every one parses, and what we emit for it is
//! the same to the byte.

use std::collections::BTreeMap;

use homa_proto::wire::{Body, DATA_HEADER_BYTES, MAX_HEADER_BYTES, Packet};

use crate::captured::{Captured, IPV4_HEADER_BYTES, MTU, packets};
use crate::law;

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
    for Captured { native, bytes, .. } in packets(file) {
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
