//! Arbitrary values survive the wire; arbitrary bytes are understood or refused for a true reason.

use homa_proto::wire::{
    Ack, Acks, Body, Common, Cutoffs, Data, Form, Grant, MAX_HEADER_BYTES, Malformed, OffsetForm,
    Packet, Priority, Resend, ResendRange, RpcId, RpcUnknown, UnknownReason,
};
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::golden::goldens;
use crate::law;

fn priority() -> impl Strategy<Value = Priority> {
    (0..=7_u8).prop_map(|level| Priority::new(level).expect("at most 7"))
}

fn ack() -> impl Strategy<Value = Ack> {
    (1..=u64::MAX / 2, any::<u16>()).prop_map(|(half, server_port)| Ack {
        client_id: RpcId::new(2 * half),
        server_port,
    })
}

/// The three lengths of DATA: message, offset, payload. The packet's own length fits into 32 bits.
fn lengths() -> impl Strategy<Value = (u32, u32, u32)> {
    (1..=u32::MAX)
        .prop_flat_map(|message| (Just(message), 0..message))
        .prop_flat_map(|(message, offset)| {
            let room = (message - offset).min(u32::MAX - 56);
            (Just(message), Just(offset), 1..=room)
        })
}

fn data() -> impl Strategy<Value = Data> {
    let flags = (any::<bool>(), any::<bool>());
    (
        lengths(),
        any::<u32>(),
        option::of(ack()),
        any::<u16>(),
        flags,
    )
        .prop_map(
            |((message_length, offset, payload_length), incoming, ack, cutoff_version, flags)| {
                Data {
                    message_length,
                    incoming: incoming.min(message_length),
                    ack,
                    cutoff_version,
                    retransmit: flags.0,
                    incast: flags.1,
                    offset,
                    payload_length,
                }
            },
        )
}

fn range() -> impl Strategy<Value = ResendRange> {
    let bytes =
        (any::<u32>(), 1..=0x7fff_ffff_u32).prop_map(|(offset, length)| ResendRange::Bytes {
            offset: offset.min(u32::MAX - length),
            length,
        });
    prop_oneof![Just(ResendRange::Everything), bytes]
}

fn unknown() -> impl Strategy<Value = RpcUnknown> {
    use UnknownReason::{Aborted, Dropped, Overloaded};
    option::of(prop_oneof![Just(Dropped), Just(Overloaded), Just(Aborted)])
        .prop_map(|reason| RpcUnknown { reason })
}

fn acks() -> impl Strategy<Value = Acks> {
    prop::collection::vec(ack(), 0..=Acks::CAPACITY).prop_map(|list| {
        let mut acks = Acks::EMPTY;
        assert!(list.into_iter().all(|ack| acks.push(ack)));
        acks
    })
}

fn body() -> impl Strategy<Value = Body> {
    let grant =
        (any::<u32>(), priority()).prop_map(|(offset, priority)| Grant { offset, priority });
    let resend =
        (range(), option::of(priority())).prop_map(|(range, priority)| Resend { range, priority });
    let cutoffs =
        any::<([u32; 8], u16)>().prop_map(|(cutoffs, version)| Cutoffs { cutoffs, version });
    prop_oneof![
        data().prop_map(Body::Data),
        grant.prop_map(Body::Grant),
        resend.prop_map(Body::Resend),
        unknown().prop_map(Body::RpcUnknown),
        Just(Body::Busy),
        cutoffs.prop_map(Body::Cutoffs),
        Just(Body::Freeze),
        Just(Body::NeedAck),
        acks().prop_map(Body::Ack),
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    (any::<(u16, u16, u64)>(), body()).prop_map(|((source_port, dest_port, id), body)| Packet {
        common: Common {
            source_port,
            dest_port,
            sender_id: RpcId::new(id),
        },
        body,
    })
}

fn form() -> impl Strategy<Value = Form> {
    let offset = prop_oneof![
        Just(OffsetForm::Both),
        Just(OffsetForm::SequenceOnly),
        any::<u32>().prop_map(|sequence| OffsetForm::SegmentOnly { sequence }),
    ];
    (any::<u16>(), offset, any::<bool>(), any::<bool>()).prop_map(
        |(checksum, offset, marker, multi_segment)| Form {
            checksum,
            offset,
            marker,
            multi_segment,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4096,
        rng_seed: RngSeed::Fixed(0x0486_0146),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_value_survives_the_wire_in_every_form(packet in packet(), form in form()) {
        law::check_round_trip(&packet, form);
    }
}

/// A small generator (splitmix64): a debug build has a few microseconds for each packet.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of any magnitude, often near 0 or near 2³² − 1.
    fn word(&mut self) -> u32 {
        let word = (self.next() >> 32) as u32 >> self.below(32);
        if self.below(2) == 0 { word } else { !word }
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from(self.next() % bound).expect("below a usize")
    }
}

/// How many packets were let pass and how many refused, by reason.
#[derive(Default, Debug)]
struct Tally {
    legal: u32,
    refused: [u32; Malformed::COUNT],
}

impl Tally {
    fn count(&mut self, answer: Result<Packet, Malformed>) {
        match answer {
            Ok(_) => self.legal += 1,
            Err(reason) => self.refused[reason.index()] += 1,
        }
    }

    /// Every answer was given, none by a packet or two.
    fn assert_all_seen(&self) {
        assert!(
            self.legal > 100 && self.refused.iter().all(|&count| count > 100),
            "{self:?}"
        );
    }
}

#[test]
fn a_million_random_packets_are_parsed_or_refused_for_a_true_reason() {
    let mut random = Random(1);
    let mut tally = Tally::default();
    let mut packet = [0; 128];
    for _ in 0..1_000_000 {
        for bytes in packet.chunks_mut(8) {
            bytes.copy_from_slice(&random.next().to_be_bytes());
        }
        // Or nearly all would be of unknown types, beyond their message, above priority 7.
        packet[11] = 0x0f + packet[11] % 11;
        for field in [28, 32, 52] {
            packet[field..field + 4].copy_from_slice(&random.word().to_be_bytes());
        }
        packet[36] %= 9;
        let length = random.below(packet.len() + 1);
        tally.count(law::check(&packet[..length]));
    }
    tally.assert_all_seen();
}

#[test]
fn a_million_mutated_packets_are_parsed_or_refused_for_a_true_reason() {
    let mut random = Random(2);
    let mut tally = Tally::default();
    let goldens: Vec<Vec<u8>> = goldens().into_iter().map(|golden| golden.bytes).collect();
    let mut packet = Vec::new();
    for _ in 0..1_000_000 {
        packet.clear();
        packet.extend_from_slice(&goldens[random.below(goldens.len())]);
        for _ in 0..=random.below(4) {
            mutate(&mut packet, &mut random);
        }
        tally.count(law::check(&packet));
    }
    tally.assert_all_seen();
}

/// Values that sit on the borders of fields.
const BORDERS: [u8; 6] = [0, 1, 7, 8, 0x7f, 0xff];

fn mutate(packet: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(packet.len().max(1));
    match random.below(6) {
        0 => packet.truncate(at),
        1 => packet.resize(packet.len() + random.below(8), 0xff),
        2 => {
            let word = [BORDERS[random.below(BORDERS.len())]; 4];
            let place = at & !3;
            if let Some(field) = packet.get_mut(place..place + 4) {
                field.copy_from_slice(&word);
            }
        }
        3 => {
            let bit = 1 << random.below(8);
            packet
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte ^= bit);
        }
        4 => {
            let border = BORDERS[random.below(BORDERS.len())];
            packet
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte = border);
        }
        _ => packet
            .iter_mut()
            .skip(11)
            .take(1)
            .for_each(|byte| *byte = at as u8),
    }
}

#[test]
fn any_length_beside_any_header_is_parsed_or_refused() {
    let mut random = Random(3);
    let goldens: Vec<Vec<u8>> = goldens().into_iter().map(|golden| golden.bytes).collect();
    for _ in 0..100_000 {
        let mut header = goldens[random.below(goldens.len())].clone();
        mutate(&mut header, &mut random);
        header.truncate(MAX_HEADER_BYTES);
        let length = random.word();
        if let Ok(packet) = Packet::parse(&header, length) {
            law::check_round_trip(&packet, Form::default());
        }
    }
}
