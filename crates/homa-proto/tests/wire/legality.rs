//! What is refused and why; what is let pass, and how it is read.

use std::collections::BTreeSet;

use homa_proto::wire::{
    Ack, Body, Common, MAX_HEADER_BYTES, Malformed, Packet, Priority, ResendRange, RpcId,
    UnknownReason,
};

use crate::golden::goldens;
use crate::law;

/// A golden packet with some bytes replaced: `(place, bytes)`.
fn altered(name: &str, changes: &[(usize, &[u8])]) -> Vec<u8> {
    let golden = goldens().into_iter().find(|golden| golden.name == name);
    let mut bytes = golden.expect("a golden packet of that name").bytes;
    for (at, change) in changes {
        bytes[*at..at + change.len()].copy_from_slice(change);
    }
    bytes
}

fn body(packet: &[u8]) -> Body {
    law::check(packet).expect("a legal packet").body
}

const REQUEST: &str = "data_offset_in_both_fields";
const MINUS_ONE: &[u8] = &[0xff; 4];

#[test]
fn a_packet_shorter_than_its_header_is_refused() {
    for golden in goldens() {
        let header = match golden.packet.body {
            Body::Data(_) => 56,
            // One byte less is the form without the last field.
            Body::Resend(_) => 36,
            Body::RpcUnknown(_) => 28,
            _ => golden.bytes.len(),
        };
        for length in 0..header {
            let cut = &golden.bytes[..length];
            assert_eq!(
                law::check(cut),
                Err(Malformed::Truncated),
                "{} at {length}",
                golden.name
            );
        }
    }
}

#[test]
fn a_header_that_was_cut_off_is_refused_though_the_packet_is_long_enough() {
    let resend = altered("resend_everything", &[]);
    assert_eq!(Packet::parse(&resend[..36], 37), Err(Malformed::Truncated));
    let request = altered(REQUEST, &[]);
    assert_eq!(Packet::parse(&request[..55], 61), Err(Malformed::Truncated));
}

#[test]
fn bytes_behind_the_packet_are_not_read() {
    let mut padded = altered("resend_bytes_without_priority", &[]);
    padded.resize(46, 0xff);
    let parsed = Packet::parse(&padded, 36).map(|packet| packet.body);
    assert_eq!(parsed, Ok(body(&padded[..36])));
    let short = altered("need_ack", &[]);
    assert_eq!(Packet::parse(&short, 27), Err(Malformed::Truncated));
}

#[test]
fn bytes_behind_the_fields_of_a_control_packet_are_ignored() {
    for golden in goldens() {
        let plain = match golden.packet.body {
            Body::Data(_) | Body::RpcUnknown(_) => continue,
            Body::Resend(resend) if resend.priority.is_none() => continue,
            _ => golden.bytes,
        };
        for extra in [1, 200] {
            let longer = [plain.clone(), vec![0xee; extra]].concat();
            assert_eq!(law::check(&longer), Ok(golden.packet), "{}", golden.name);
        }
    }
}

#[test]
fn type_codes_outside_the_nine_are_unknown() {
    for code in (0..=u8::MAX).filter(|code| !(0x10..=0x18).contains(code)) {
        let mut packet = altered("ack_with_one_more", &[(11, &[code])]);
        assert_eq!(law::check(&packet), Err(Malformed::UnknownType(code)));
        packet.truncate(28);
        assert_eq!(law::check(&packet), Err(Malformed::UnknownType(code)));
    }
}

#[test]
fn fields_that_homa_has_no_use_for_are_ignored() {
    let changes: [(usize, &[u8]); 3] = [(8, &[1, 2, 3]), (12, &[0xff; 8]), (50, &[0xff; 2])];
    let packet = altered(REQUEST, &changes);
    assert_eq!(law::check(&packet), law::check(&altered(REQUEST, &[])));
    let control: [(usize, &[u8]); 3] = [(4, &[1; 4]), (8, &[1, 2, 3]), (12, &[0; 8])];
    let packet = altered("grant", &control);
    assert_eq!(law::check(&packet), law::check(&altered("grant", &[])));
}

#[test]
fn every_id_and_every_port_is_legal() {
    for id in [0, 1, u64::MAX] {
        let ids: [(usize, &[u8]); 2] = [(0, &[0; 4]), (20, &u64::to_be_bytes(id))];
        let common = law::check(&altered("need_ack", &ids)).map(|packet| packet.common);
        let sender_id = RpcId::new(id);
        assert_eq!(
            common,
            Ok(Common {
                source_port: 0,
                dest_port: 0,
                sender_id
            })
        );
    }
}

#[test]
fn a_priority_above_7_is_refused() {
    for level in 8..=u8::MAX {
        let grant = altered("grant", &[(32, &[level])]);
        assert_eq!(law::check(&grant), Err(Malformed::Priority(level)));
        let resend = altered("resend_everything", &[(36, &[level])]);
        assert_eq!(law::check(&resend), Err(Malformed::Priority(level)));
    }
}

#[test]
fn data_of_an_empty_message_is_refused() {
    let packet = altered(REQUEST, &[(28, &[0; 4])]);
    assert_eq!(law::check(&packet), Err(Malformed::EmptyMessage));
}

#[test]
fn data_without_payload_is_refused() {
    let packet = altered(REQUEST, &[]);
    assert_eq!(law::check(&packet[..56]), Err(Malformed::EmptyPayload));
}

#[test]
fn data_that_ends_beyond_its_message_is_refused() {
    // The payload is 5 bytes, the message too.
    for segment in [1_u32, 5, 6, 0x8000_0000, u32::MAX - 5, u32::MAX - 1] {
        let packet = altered(REQUEST, &[(52, &segment.to_be_bytes())]);
        assert_eq!(
            law::check(&packet),
            Err(Malformed::OutsideMessage),
            "{segment}"
        );
        let packet = altered(REQUEST, &[(4, &segment.to_be_bytes()), (52, MINUS_ONE)]);
        assert_eq!(
            law::check(&packet),
            Err(Malformed::OutsideMessage),
            "{segment}"
        );
    }
    let packet = altered(REQUEST, &[(4, MINUS_ONE), (28, MINUS_ONE), (52, MINUS_ONE)]);
    assert_eq!(law::check(&packet), Err(Malformed::OutsideMessage));
}

#[test]
fn data_may_end_where_the_longest_message_ends() {
    let offset = u32::MAX - 5;
    let packet = altered(REQUEST, &[(28, MINUS_ONE), (52, &offset.to_be_bytes())]);
    let Body::Data(data) = body(&packet) else {
        panic!("not DATA")
    };
    assert_eq!((data.offset, data.end()), (offset, u32::MAX));
}

#[test]
fn the_length_of_the_payload_comes_from_the_length_of_the_packet() {
    let packet = altered(REQUEST, &[(28, MINUS_ONE)]);
    for length in [57, 1480, u32::MAX] {
        let parsed = Packet::parse(&packet, length).map(|packet| packet.body);
        let Ok(Body::Data(data)) = parsed else {
            panic!("{parsed:?}")
        };
        assert_eq!(data.payload_length, length - 56);
    }
}

#[test]
fn the_segment_field_wins_over_the_sequence_field() {
    let packet = altered(REQUEST, &[(4, &[0, 0, 0, 9]), (28, &[0, 0, 1, 0])]);
    let Body::Data(data) = body(&packet) else {
        panic!("not DATA")
    };
    assert_eq!(data.offset, 0);
    let packet = altered(
        REQUEST,
        &[(4, &[0, 0, 0, 9]), (28, &[0, 0, 1, 0]), (52, MINUS_ONE)],
    );
    let Body::Data(data) = body(&packet) else {
        panic!("not DATA")
    };
    assert_eq!(data.offset, 9);
}

#[test]
fn incoming_beyond_the_message_means_its_end() {
    let packet = altered(REQUEST, &[(32, MINUS_ONE)]);
    let Body::Data(data) = body(&packet) else {
        panic!("not DATA")
    };
    assert_eq!(data.incoming, 5);
}

#[test]
fn incast_is_one_bit_and_retransmit_one_byte() {
    for (bytes, expected) in [
        ([0x00, 0x01], (false, true)),
        ([0x00, 0xfe], (false, false)),
        ([0x01, 0x00], (true, false)),
        ([0x80, 0xff], (true, true)),
    ] {
        let Body::Data(data) = body(&altered(REQUEST, &[(48, &bytes)])) else {
            panic!("not DATA")
        };
        assert_eq!((data.retransmit, data.incast), expected);
    }
}

#[test]
fn an_ack_that_cannot_be_a_clients_costs_nothing_but_itself() {
    let odd = &u64::to_be_bytes(3);
    let Body::Data(data) = body(&altered(REQUEST, &[(36, odd)])) else {
        panic!("not DATA")
    };
    assert_eq!(data.ack, None);

    let changes: [(usize, &[u8]); 2] = [(30, odd), (50, &[0; 8])];
    let Body::Ack(acks) = body(&altered("ack_with_five_more", &changes)) else {
        panic!("not ACK")
    };
    let kept = [4, 8, 10].map(|id| Ack {
        client_id: RpcId::new(id),
        server_port: 99,
    });
    assert_eq!(acks.iter().collect::<Vec<_>>(), kept);
}

#[test]
fn only_the_counted_acks_are_read_and_more_than_five_are_five() {
    for (count, read) in [(0, 0), (1, 1), (4, 4), (5, 5), (6, 5), (u16::MAX, 5)] {
        let packet = altered("ack_with_five_more", &[(28, &u16::to_be_bytes(count))]);
        let Body::Ack(acks) = body(&packet) else {
            panic!("not ACK")
        };
        assert_eq!((acks.len(), acks.is_empty()), (read, read == 0));
    }
}

#[test]
fn a_grant_of_any_offset_is_legal() {
    for offset in [0, u32::MAX] {
        let Body::Grant(grant) = body(&altered("grant", &[(28, &offset.to_be_bytes())])) else {
            panic!("not GRANT")
        };
        assert_eq!((grant.offset, grant.priority.get()), (offset, 3));
    }
}

#[test]
fn a_resend_with_a_range_that_no_message_has_is_refused() {
    for (offset, length, reason) in [
        (0, 0, Malformed::EmptyRange),
        (u32::MAX, 0, Malformed::EmptyRange),
        (0, -2_i32, Malformed::NegativeRange),
        (0, i32::MIN, Malformed::NegativeRange),
        (u32::MAX, 1, Malformed::RangeOverflow),
        (0x8000_0001, i32::MAX, Malformed::RangeOverflow),
    ] {
        let changes: [(usize, &[u8]); 2] = [
            (28, &u32::to_be_bytes(offset)),
            (32, &i32::to_be_bytes(length)),
        ];
        for name in ["resend_everything", "resend_bytes_without_priority"] {
            assert_eq!(
                law::check(&altered(name, &changes)),
                Err(reason),
                "{offset} {length}"
            );
        }
    }
}

#[test]
fn a_resend_may_end_at_the_last_offset() {
    let changes: [(usize, &[u8]); 2] = [
        (28, &u32::to_be_bytes(0x8000_0000)),
        (32, &i32::to_be_bytes(i32::MAX)),
    ];
    let Body::Resend(resend) = body(&altered("resend_everything", &changes)) else {
        panic!("not RESEND")
    };
    let length = 0x7fff_ffff;
    assert_eq!(
        resend.range,
        ResendRange::Bytes {
            offset: 0x8000_0000,
            length
        }
    );
}

#[test]
fn a_resend_of_everything_may_name_any_offset() {
    let packet = altered("resend_everything", &[(28, &[0xff; 4])]);
    let Body::Resend(resend) = body(&packet) else {
        panic!("not RESEND")
    };
    assert_eq!(resend.range, ResendRange::Everything);
}

#[test]
fn only_a_resend_of_36_bytes_has_no_priority() {
    let mut packet = altered("resend_bytes_without_priority", &[]);
    let Body::Resend(resend) = body(&packet) else {
        panic!("not RESEND")
    };
    assert_eq!(resend.priority, None);
    packet.push(5);
    for _ in 0..2 {
        let Body::Resend(resend) = body(&packet) else {
            panic!("not RESEND")
        };
        assert_eq!(resend.priority, Priority::new(5));
        packet.push(9);
    }
}

#[test]
fn an_unknown_reason_is_no_reason() {
    for (code, reason) in [
        (0, None),
        (1, Some(UnknownReason::Dropped)),
        (2, Some(UnknownReason::Overloaded)),
        (3, Some(UnknownReason::Aborted)),
        (4, None),
        (255, None),
    ] {
        let packet = altered("rpc_unknown_with_reason", &[(28, &[code])]);
        let Body::RpcUnknown(unknown) = body(&packet) else {
            panic!("not RPC_UNKNOWN")
        };
        assert_eq!(unknown.reason, reason);
    }
}

#[test]
fn each_reason_of_refusal_has_its_own_index_name_and_sentence() {
    for (index, reason) in Malformed::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), index);
    }
    let names: BTreeSet<&str> = Malformed::ALL.into_iter().map(Malformed::name).collect();
    assert_eq!(names.len(), Malformed::COUNT);
    let sentences: BTreeSet<String> = Malformed::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(sentences.len(), Malformed::COUNT);
    assert_eq!(
        Malformed::UnknownType(0x19).index(),
        Malformed::UnknownType(0).index()
    );
}

#[test]
fn parsing_reads_no_further_than_the_longest_header() {
    for golden in goldens() {
        let longer = [golden.bytes.clone(), vec![1; 200]].concat();
        let length = u32::try_from(golden.bytes.len()).unwrap();
        let whole = Packet::parse(&longer, length);
        assert_eq!(
            Packet::parse(&longer[..MAX_HEADER_BYTES], length),
            whole,
            "{}",
            golden.name
        );
        assert_eq!(whole, Ok(golden.packet), "{}", golden.name);
    }
}
