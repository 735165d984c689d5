//! What the network says about packets that did not arrive, and what the codec says about those
//! that did.

use core::net::SocketAddr;

use homa_proto::wire::{
    Body, Common, Form, Grant, Malformed, OffsetForm, Packet, Priority, Resend, ResendRange, RpcId,
};
use homa_proto::{Address, Failure, Unreachable};

use crate::world::{Fate, Random, World};

/// Tells host 0 that a packet of its did not arrive: the first one it sent, or an unknown one.
fn tell(world: &mut World, named: bool, what: Unreachable) {
    let header = world.trace[0].1.header.clone();
    let offending = if named { &header[..28] } else { &[] };
    let server = world.hosts[1].address;
    world.with(0, |engine, now| {
        engine.handle_unreachable(now, server, offending, what);
    });
}

#[test]
fn a_request_whose_own_packet_found_no_port_was_refused() {
    for (what, failure) in [
        (Unreachable::Port, Failure::Refused),
        (Unreachable::Host, Failure::Unreachable),
    ] {
        let mut world = World::pair();
        world.on_wire(|_, _| Fate::Drop);
        for length in [100, 200_000] {
            world.call(0, 1, length);
        }
        tell(&mut world, true, what);
        // Of the other request nothing is said.
        assert_eq!(world.hosts[0].failures(), [failure]);
        world.run_ms(200);
        assert_eq!(world.hosts[0].failures(), [failure, Failure::TimedOut]);
        world.assert_forgotten_later();
    }
}

#[test]
fn after_a_sign_of_life_or_a_second_attempt_nobody_knows_whether_a_request_ran() {
    // The server works on it; then its process ends.
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(7);
    assert_eq!(world.counters(0).busy_received, 1);
    tell(&mut world, true, Unreachable::Port);
    assert_eq!(world.hosts[0].failures(), [Failure::OutcomeUnknown]);
    // It ran, its response was lost, the process ended, and the question meets no port.
    let mut world = World::echo_pair();
    world.on_wire(|_, flight| Fate::drop_if(flight.from == 1));
    world.call(0, 1, 100);
    world.run_ms(6);
    assert_eq!(world.hosts[1].requests_run(), 1);
    tell(&mut world, true, Unreachable::Port);
    assert_eq!(world.hosts[0].failures(), [Failure::OutcomeUnknown]);
}

#[test]
fn a_question_that_comes_back_proves_nothing_of_the_request_before_it() {
    // The response finds no buffer here, so that nothing is known of the server.
    let mut world = World::echo_pair();
    world.hosts[0].refuse = true;
    world.call(0, 1, 100);
    world.run_ms(6);
    assert_eq!(world.hosts[1].requests_run(), 1);
    let mut resend = world.trace[0].1.header.clone();
    // The type, in the common header.
    resend[11] = 0x12;
    let server = world.hosts[1].address;
    world.with(0, |engine, now| {
        engine.handle_unreachable(now, server, &resend[..28], Unreachable::Host);
    });
    assert_eq!(world.hosts[0].failures(), [Failure::OutcomeUnknown]);
}

#[test]
fn an_error_that_names_no_packet_means_all_rpcs_but_proves_little() {
    let mut world = World::pair();
    for _ in 0..3 {
        world.call(0, 1, 100);
    }
    // One was called, but nothing of it was sent.
    let call = world.a_call(0, 1, 100);
    world.enqueue(0, call).unwrap();
    tell(&mut world, false, Unreachable::Port);
    let mut failures = world.hosts[0].failures();
    assert_eq!(failures.pop(), Some(Failure::Refused));
    assert_eq!(failures, [Failure::OutcomeUnknown; 3]);
}

#[test]
fn an_error_about_a_response_ends_the_servers_rpc() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[0];
    world.crash(0);
    world.reply(1, rpc, 100);
    let response = world.trace.last().unwrap().1.header.clone();
    let client = world.hosts[0].address;
    world.with(1, |engine, now| {
        engine.handle_unreachable(now, client, &response, Unreachable::Port);
    });
    assert_eq!(world.hosts[1].endings(), [false]);
    assert_eq!(world.counters(1).server_timeouts, 1);
    world.hosts[1].assert_empty();
}

#[test]
fn errors_about_unknown_peers_and_packets_mean_nothing() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    let header = world.trace[0].1.header.clone();
    let stranger: Address = SocketAddr::from(([192, 0, 2, 1], 1)).into();
    world.with(0, |engine, now| {
        engine.handle_unreachable(now, stranger, &header, Unreachable::Port);
    });
    // The id is none of ours, or the host's next port is meant.
    let mut other = header.clone();
    other[27] ^= 2;
    let mut near = world.hosts[1].address;
    let server = near;
    near.port += 1;
    for (to, bytes) in [(server, &other), (near, &header)] {
        world.with(0, |engine, now| {
            engine.handle_unreachable(now, to, bytes, Unreachable::Host);
        });
    }
    assert_eq!(world.hosts[0].failures(), []);
    world.hosts[1].echo = true;
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
}

/// A packet about RPC 3 of nobody.
fn about_nothing(body: Body) -> Packet {
    Packet {
        common: Common {
            source_port: 4_000,
            dest_port: 4_000,
            sender_id: RpcId::new(3),
        },
        body,
    }
}

#[test]
fn each_refusal_of_the_codec_has_its_counter_in_the_engine() {
    let mut world = World::pair();
    let from = world.hosts[0].address;
    let mut header = [0; 90];
    let grant = Grant {
        offset: 1,
        priority: Priority::LOWEST,
    };
    let bytes = about_nothing(Body::Grant(grant)).emit(&mut header);
    let mut expected = [0; Malformed::COUNT];
    let mut refuse = |world: &mut World, header: &[u8], length: u32, why: Malformed| {
        world.inject_bytes(1, from, header, length);
        expected[why.index()] += 1;
        assert_eq!(world.counters(1).malformed, expected, "{why}");
    };
    refuse(&mut world, &header[..27], 27, Malformed::Truncated);
    refuse(&mut world, &[], 0, Malformed::Truncated);
    refuse(&mut world, &header[..bytes - 1], 32, Malformed::Truncated);
    for code in (0..0x10).chain(0x19..=0xff) {
        let mut unknown = header;
        unknown[11] = code;
        refuse(&mut world, &unknown, 90, Malformed::UnknownType(code));
    }
    for level in 8..=255 {
        let mut above = header;
        above[32] = level;
        refuse(&mut world, &above[..33], 33, Malformed::Priority(level));
        above[11] = 0x12;
        above[35] = 1;
        above[36] = level;
        refuse(&mut world, &above[..37], 37, Malformed::Priority(level));
    }
    let received = world.counters(1).packets_received;
    assert_eq!(received, expected.iter().sum::<u64>());
    assert_eq!(world.counters(1).dropped_out_of_place, 0);
}

#[test]
fn old_and_stripped_forms_of_grant_and_resend_have_their_effect() {
    let mut world = World::pair();
    world.on_wire(|_, flight| Fate::drop_if(flight.from == 1));
    world.call(0, 1, 500_000);
    let server = world.hosts[1].address;
    let id = world.trace[0].1.packet().common.sender_id.flipped();
    let packet = |body| Packet {
        common: Common {
            sender_id: id,
            ..about_nothing(Body::Busy).common
        },
        body,
    };
    // GRANT of 34 bytes, as until July 2025.
    let mut header = [0; 90];
    let grant = Grant {
        offset: 60_000,
        priority: Priority::LOWEST,
    };
    packet(Body::Grant(grant)).emit(&mut header);
    world.inject_bytes(0, server, &header[..34], 34);
    assert_eq!(world.counters(0).grants_received, 1);
    assert_eq!(world.counters(0).data_sent, 60_000_u64.div_ceil(1_400));
    // RESEND of 36 bytes, without priority: the answer goes at the top.
    let resend = Resend {
        range: ResendRange::Bytes {
            offset: 2_000,
            length: 10,
        },
        priority: None,
    };
    let length = packet(Body::Resend(resend)).emit(&mut header);
    assert_eq!(length, 36);
    world.inject_bytes(0, server, &header[..36], 36);
    assert_eq!(world.counters(0).data_resent, 1);
    let (_, flight) = world.trace.last().unwrap();
    assert_eq!((flight.payload.unwrap().1, flight.priority), (1_400, 7));
}

#[test]
fn freeze_is_counted_and_nothing_else() {
    let mut world = World::echo_pair();
    let from = world.hosts[0].address;
    world.inject(1, from, &about_nothing(Body::Freeze), 0);
    assert_eq!(world.counters(1).freezes_received, 1);
    world.call(0, 1, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
}

#[test]
fn both_encodings_of_the_offset_arrive_at_the_same_place() {
    for seed in 0..4 {
        let mut world = World::pair();
        world.call(0, 1, 30_000);
        let flights: Vec<_> = world
            .trace
            .iter()
            .map(|(_, flight)| flight.clone())
            .collect();
        // Host 1 gets the same packets again, as other senders write them, from another port.
        let mut random = Random(seed);
        let mut other = world.hosts[0].address;
        other.port += 1;
        for flight in flights {
            let offset = match random.below(3) {
                0 => OffsetForm::Both,
                1 => OffsetForm::SequenceOnly,
                _ => OffsetForm::SegmentOnly {
                    sequence: random.next() as u32,
                },
            };
            let form = Form {
                offset,
                checksum: random.next() as u16,
                marker: random.below(2) == 0,
                multi_segment: random.below(2) == 0,
            };
            let mut header = [0; 90];
            let bytes = flight.packet().emit_as(form, &mut header);
            world.inject_bytes(1, other, &header[..bytes], flight.length);
        }
        // The host checks that no byte comes twice; both requests are whole.
        world.run_ms(1);
        assert_eq!(world.hosts[1].requests_run(), 2);
        assert_eq!(world.counters(1).data_trimmed, 0);
    }
}
