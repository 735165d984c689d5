//! Packets whose every byte is known: written out from the layout, parsed and emitted.

use homa_proto::wire::{
    Ack, Acks, Body, Common, Cutoffs, Data, Form, Grant, MAX_HEADER_BYTES, OffsetForm, Packet,
    Priority, Resend, ResendRange, RpcId, RpcUnknown, UnknownReason,
};

use crate::law;

/// A packet in bytes, as a value, and the form that turns one into the other.
pub(crate) struct Golden {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) packet: Packet,
    pub(crate) form: Form,
}

/// The client's port and id are written as in packets to the server.
const TO_SERVER: (u16, u16) = (32768, 99);
const TO_CLIENT: (u16, u16) = (99, 32768);

fn golden(
    name: &'static str,
    (source_port, dest_port): (u16, u16),
    id: u64,
    body: Body,
    form: Form,
    hex: &str,
) -> Golden {
    let common = Common {
        source_port,
        dest_port,
        sender_id: RpcId::new(id),
    };
    Golden {
        name,
        bytes: bytes(hex),
        packet: Packet { common, body },
        form,
    }
}

/// Bytes from hexadecimal digits; blanks are for the eye.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| str::from_utf8(pair).expect("ASCII"));
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).expect("two hexadecimal digits"))
        .collect()
}

fn checksum(checksum: u16) -> Form {
    Form {
        checksum,
        ..Form::default()
    }
}

fn ack(client_id: u64, server_port: u16) -> Ack {
    Ack {
        client_id: RpcId::new(client_id),
        server_port,
    }
}

/// A first DATA packet that carries its whole message.
fn whole(message_length: u32) -> Data {
    Data {
        message_length,
        incoming: message_length,
        ack: None,
        cutoff_version: 0,
        retransmit: false,
        incast: false,
        offset: 0,
        payload_length: message_length,
    }
}

pub(crate) fn goldens() -> Vec<Golden> {
    let mut all = data();
    all.extend(grant_and_resend());
    all.extend(short());
    all.extend(lists());
    all
}

fn data() -> Vec<Golden> {
    let acking = Data {
        ack: Some(ack(2, 99)),
        cutoff_version: 1,
        ..whole(5)
    };
    let late = Data {
        message_length: 100_000,
        incoming: 40_000,
        retransmit: true,
        incast: true,
        offset: 0x1_0304,
        payload_length: 3,
        ..whole(1)
    };
    let cut_up = Form {
        checksum: 0xabcd,
        offset: OffsetForm::SegmentOnly { sequence: 0x1000 },
        multi_segment: true,
        ..Form::default()
    };
    vec![
        golden(
            "data_offset_in_both_fields",
            TO_SERVER,
            2,
            Body::Data(whole(5)),
            checksum(0x8de3),
            "80000063 00000000 00000010 e0060000 8de3b97d 0000000000000002
             00000005 00000005 0000000000000000 0000 0000 00 000000 00000000 68656c6c6f",
        ),
        golden(
            "data_offset_in_sequence_with_ack",
            TO_SERVER,
            4,
            Body::Data(acking),
            Form {
                offset: OffsetForm::SequenceOnly,
                ..checksum(0x8371)
            },
            "80000063 00000000 00000010 e0060000 8371b97d 0000000000000004
             00000005 00000005 0000000000000002 0063 0001 00 000000 ffffffff 776f726c64",
        ),
        golden(
            "data_offset_in_segment_of_a_cut_up_packet",
            TO_CLIENT,
            0x8877_6655_4433_2211,
            Body::Data(late),
            cut_up,
            "00638000 00001000 00000010 d0060000 abcdb97d 8877665544332211
             000186a0 00009c40 0000000000000000 0000 0000 01 010000 00010304 010203",
        ),
        golden(
            "data_of_a_stripped_build",
            TO_CLIENT,
            3,
            Body::Data(Data {
                incoming: 0,
                ..whole(1)
            }),
            Form {
                marker: false,
                ..Form::default()
            },
            "00638000 00000000 00000010 e0000000 00000000 0000000000000003
             00000001 00000000 0000000000000000 0000 0000 00 000000 00000000 21",
        ),
    ]
}

fn grant_and_resend() -> Vec<Golden> {
    let grant = Grant {
        offset: 50_000,
        priority: Priority::new(3).expect("at most 7"),
    };
    let everything = Resend {
        range: ResendRange::Everything,
        priority: Some(Priority::HIGHEST),
    };
    let bytes = ResendRange::Bytes {
        offset: 7120,
        length: 2848,
    };
    vec![
        golden(
            "grant",
            TO_CLIENT,
            7,
            Body::Grant(grant),
            checksum(0x9b85),
            "00638000 00000000 00000011 50060000 9b85b97d 0000000000000007 0000c350 03",
        ),
        golden(
            "resend_everything",
            TO_SERVER,
            2,
            Body::Resend(everything),
            checksum(0x5ad6),
            "80000063 00000000 00000012 50060000 5ad6b97d 0000000000000002 00000000 ffffffff 07",
        ),
        golden(
            "resend_bytes_without_priority",
            TO_SERVER,
            2,
            Body::Resend(Resend {
                range: bytes,
                priority: None,
            }),
            Form {
                marker: false,
                ..Form::default()
            },
            "80000063 00000000 00000012 50000000 00000000 0000000000000002 00001bd0 00000b20",
        ),
    ]
}

fn short() -> Vec<Golden> {
    let without = Body::RpcUnknown(RpcUnknown { reason: None });
    let with = Body::RpcUnknown(RpcUnknown {
        reason: Some(UnknownReason::Overloaded),
    });
    vec![
        golden(
            "rpc_unknown",
            TO_CLIENT,
            3,
            without,
            checksum(0x61dd),
            "00638000 00000000 00000013 50060000 61ddb97d 0000000000000003",
        ),
        golden(
            "rpc_unknown_with_reason",
            TO_CLIENT,
            3,
            with,
            Form::default(),
            "00638000 00000000 00000013 50060000 0000b97d 0000000000000003 02",
        ),
        golden(
            "busy",
            TO_CLIENT,
            3,
            Body::Busy,
            checksum(0x61dc),
            "00638000 00000000 00000014 50060000 61dcb97d 0000000000000003",
        ),
        golden(
            "freeze",
            TO_CLIENT,
            3,
            Body::Freeze,
            Form::default(),
            "00638000 00000000 00000016 50060000 0000b97d 0000000000000003",
        ),
        golden(
            "need_ack",
            TO_CLIENT,
            3,
            Body::NeedAck,
            checksum(0x61d9),
            "00638000 00000000 00000017 50060000 61d9b97d 0000000000000003",
        ),
    ]
}

fn lists() -> Vec<Golden> {
    let cutoffs = [0, 0, 0, 0, 1_000_000, 15_000, 2800, 200];
    let mut one = Acks::EMPTY;
    assert!(one.push(ack(4, 99)));
    let mut full = Acks::EMPTY;
    assert!((1..=5).all(|n| full.push(ack(2 * n, 99))));
    vec![
        golden(
            "cutoffs",
            TO_CLIENT,
            3,
            Body::Cutoffs(Cutoffs {
                cutoffs,
                version: 1,
            }),
            Form::default(),
            "00638000 00000000 00000015 50060000 0000b97d 0000000000000003
             00000000 00000000 00000000 00000000 000f4240 00003a98 00000af0 000000c8 0001",
        ),
        golden(
            "ack_with_one_more",
            TO_SERVER,
            2,
            Body::Ack(one),
            Form::default(),
            "80000063 00000000 00000018 50060000 0000b97d 0000000000000002 0001
             0000000000000004 0063 0000000000000000 0000 0000000000000000 0000
             0000000000000000 0000 0000000000000000 0000",
        ),
        golden(
            "ack_with_five_more",
            TO_SERVER,
            12,
            Body::Ack(full),
            Form::default(),
            "80000063 00000000 00000018 50060000 0000b97d 000000000000000c 0005
             0000000000000002 0063 0000000000000004 0063 0000000000000006 0063
             0000000000000008 0063 000000000000000a 0063",
        ),
    ]
}

#[test]
fn every_golden_packet_parses_to_its_value() {
    for Golden {
        name,
        bytes,
        packet,
        ..
    } in goldens()
    {
        assert_eq!(law::check(&bytes), Ok(packet), "{name}");
    }
}

#[test]
fn every_golden_value_emits_its_bytes() {
    for Golden {
        name,
        bytes,
        packet,
        form,
    } in goldens()
    {
        let mut buffer = [0xff; MAX_HEADER_BYTES];
        let length = packet.emit_as(form, &mut buffer);
        assert_eq!(buffer[..length], bytes[..length], "{name}");
        let payload = match packet.body {
            Body::Data(data) => data.payload_length as usize,
            _ => 0,
        };
        assert_eq!(length + payload, bytes.len(), "{name}");
    }
}

#[test]
fn our_own_form_has_the_offset_in_both_fields_the_marker_and_no_checksum() {
    for Golden { name, packet, .. } in goldens() {
        let mut buffer = [0xff; MAX_HEADER_BYTES];
        packet.emit(&mut buffer);
        assert_eq!(buffer[8..11], [0, 0, 0], "{name}");
        assert_eq!(buffer[13..20], [0x06, 0, 0, 0, 0, 0xb9, 0x7d], "{name}");
        let (sequence, words) = match packet.body {
            Body::Data(data) => {
                assert_eq!(law::word(&buffer, 52), data.offset, "{name}");
                (data.offset, 0xe0)
            }
            _ => (0, 0x50),
        };
        assert_eq!(
            (law::word(&buffer, 4), buffer[12]),
            (sequence, words),
            "{name}"
        );
    }
}

#[test]
fn an_ack_packet_has_room_for_five() {
    let mut acks = Acks::EMPTY;
    assert!(acks.is_empty());
    let pushed: Vec<bool> = (1..=6).map(|n| acks.push(ack(2 * n, 99))).collect();
    assert_eq!(pushed, [true, true, true, true, true, false]);
    let ids: Vec<u64> = acks.iter().map(|ack| ack.client_id.get()).collect();
    assert_eq!((ids, acks.len()), (vec![2, 4, 6, 8, 10], 5));
}

#[test]
fn the_lowest_bit_of_an_id_tells_its_end() {
    let client = RpcId::new(6);
    assert!(client.is_client() && !client.flipped().is_client());
    assert_eq!(
        (client.flipped().get(), client.flipped().flipped()),
        (7, client)
    );
}

#[test]
fn there_are_eight_priorities() {
    let levels: Vec<u8> = (0..=u8::MAX)
        .filter_map(Priority::new)
        .map(Priority::get)
        .collect();
    assert_eq!(levels, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(levels.len(), Priority::levels());
    assert_eq!((Priority::LOWEST.get(), Priority::HIGHEST.get()), (0, 7));
}
