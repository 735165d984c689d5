//! Apparent defects of the reference module, one test each, that shows ours free of them. Those that
//! only a kernel or raw IP can have are listed in docs/protocol.md.

use core::time::Duration;

use homa_proto::wire::{Body, Common, Data, OffsetForm, Packet, Priority, RpcId};
use homa_proto::{Config, Failure, REFERENCE_CUTOFFS};

use crate::world::{Fate, World};

/// A DATA packet of a message, from the server of host 0's first RPC.
fn response(world: &World, message_length: u32, payload_length: u32) -> Packet {
    let request = world.trace[0].1.packet();
    Packet {
        common: Common {
            source_port: request.common.dest_port,
            dest_port: request.common.source_port,
            sender_id: request.common.sender_id.flipped(),
        },
        body: Body::Data(Data {
            message_length,
            incoming: payload_length,
            ack: None,
            cutoff_version: 0,
            retransmit: false,
            incast: false,
            offset: 0,
            payload_length,
        }),
    }
}

/// A server asks a client that is short of buffers for its ack, and gets a RESEND of all that was
/// granted, each millisecond, and answers it with bytes that are dropped.
#[test]
fn a_stalled_client_that_is_asked_for_its_ack_does_not_ask_for_bytes_it_has_no_room_for() {
    let client = Config {
        receive_budget_bytes: 1_000_000,
        ..Config::default()
    };
    let mut world = World::new([client, Config::default()]);
    world.hosts[0].hold = true;
    world.hosts[1].echo = true;
    world.hosts[1].answer = Some(1_000_000);
    world.call(0, 1, 100);
    world.run_ms(20);
    world.hosts[1].answer = Some(30_000);
    world.call(0, 1, 100);
    world.run_ms(2);
    let before = world.counters(0).clone();
    world.run_ms(3_000);
    let after = world.counters(0);
    let asked = after.need_acks_received - before.need_acks_received;
    assert!((5..30).contains(&asked), "{asked}");
    assert_eq!(after.busy_sent - before.busy_sent, asked);
    assert_eq!(after.resends_sent, before.resends_sent);
    assert_eq!(world.counters(1).data_resent, 0);
}

/// A server never times out while it sends: a response that waits for grants of a client that is
/// gone stays for ever.
#[test]
fn a_response_that_waits_for_the_grants_of_a_vanished_client_ends() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    world.on_wire(|_, flight| Fate::drop_if(matches!(flight.body(), Body::Grant(_))));
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 1_000_000);
    world.run_for(Duration::from_micros(30));
    world.crash(0);
    world.run_ms(1_200);
    assert_eq!(world.hosts[1].endings(), [false]);
    world.hosts[1].assert_empty();
}

/// The same where the client's host lives and only its process restarted.
#[test]
fn a_response_that_waits_for_the_grants_of_a_client_that_restarted_ends() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    world.on_wire(|_, flight| Fate::drop_if(matches!(flight.body(), Body::Grant(_))));
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 1_000_000);
    world.run_for(Duration::from_micros(30));
    world.restart(0);
    world.run_ms(50);
    assert_eq!(world.hosts[1].endings(), [false]);
    world.assert_empty();
}

/// The size of a message in the active set is taken when it enters and not refreshed as its bytes
/// arrive, so that ranks are those of long ago.
#[test]
fn the_rank_of_a_granted_message_follows_the_bytes_that_arrived() {
    let link = Config {
        link_bits_per_second: Some(10_000_000_000),
        ..Config::default()
    };
    let server = Config {
        fifo_grant_permille: 0,
        overcommitment: 2,
        ..Config::default()
    };
    let mut world = World::new([link.clone(), link, server]);
    world.call(0, 2, 1_000_000);
    world.run_for(Duration::from_micros(400));
    // By now fewer bytes of the first are missing than the second has at all.
    world.call(1, 2, 600_000);
    world.run_for(Duration::from_micros(150));
    let latest = |to: usize| {
        let grants = world
            .trace
            .iter()
            .rev()
            .filter(|(_, flight)| flight.to == to);
        grants
            .filter_map(|(_, flight)| match flight.body() {
                Body::Grant(grant) => Some(grant.priority),
                _ => None,
            })
            .next()
            .unwrap()
    };
    assert!(latest(0) > latest(1), "{:?} {:?}", latest(0), latest(1));
}

/// With fewer than seven levels, and before CUTOFFS arrived, the search for the level of an
/// unscheduled packet may run below level 0.
#[test]
fn with_few_levels_and_unknown_cutoffs_unscheduled_packets_have_a_level_that_exists() {
    for priorities in 1..7 {
        let client = Config {
            priorities,
            ..Config::default()
        };
        let mut world = World::new([client, Config::default()]);
        for length in [1, 10_000, 1_000_000] {
            world.call(0, 1, length);
        }
        for (_, flight) in &world.trace {
            assert_eq!(flight.priority, priorities - 1);
        }
    }
}

/// The pacer's rate is 0 until something is configured at run time, so nothing is ever held back.
#[test]
fn a_configured_rate_holds_from_the_first_burst_on() {
    let client = Config {
        link_bits_per_second: Some(100_000_000),
        ..Config::default()
    };
    let mut world = World::new([client, Config::default()]);
    world.call(0, 1, 39_000);
    assert_eq!(world.counters(0).data_sent, 1);
    world.run_ms(1);
    // 1,522 bytes take 122 µs.
    assert!((8..=10).contains(&world.counters(0).data_sent));
}

/// Without buffers the DATA of a response is dropped and its RPC hangs, whatever the application
/// does.
#[test]
fn a_response_that_cannot_be_stored_leaves_the_application_in_charge() {
    let mut world = World::echo_pair();
    world.hosts[0].refuse = true;
    let aborted = world.call(0, 1, 100);
    let call = homa_proto::Call {
        deadline: Some(world.now + Duration::from_millis(50)),
        ..world.a_call(0, 1, 100)
    };
    world.try_call(0, call).unwrap();
    world.call(0, 1, 100);
    world.run_ms(60);
    assert!(world.with(0, |engine, now| engine.abort(now, aborted)));
    assert_eq!(
        world.hosts[0].failures(),
        [Failure::DeadlineExceeded, Failure::Aborted]
    );
    world.hosts[0].refuse = false;
    world.run_ms(60);
    assert_eq!(world.hosts[0].responses(), 1);
    world.assert_forgotten_later();
}

/// Once a server's RPC exists, its control packets are matched by id and address of the client, not
/// by port.
#[test]
fn control_packets_for_a_servers_rpc_from_another_port_are_dropped() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 500_000);
    let sent = world.counters(1).data_sent;
    let request = world.trace[0].1.packet();
    let grant = homa_proto::wire::Grant {
        offset: 500_000,
        priority: Priority::HIGHEST,
    };
    let mut forged = Packet {
        body: Body::Grant(grant),
        ..request
    };
    // Another port in the header, and another port of the host.
    forged.common.source_port += 1;
    let client = world.hosts[0].address;
    world.inject(1, client, &forged, 0);
    assert_eq!(world.counters(1).dropped_wrong_peer, 1);
    let mut other = client;
    other.port += 1;
    forged.common.source_port = request.common.source_port;
    world.inject(1, other, &forged, 0);
    assert_eq!(world.counters(1).dropped_out_of_place, 1);
    assert_eq!(world.counters(1).data_sent, sent);
}

/// Client RPCs are found by id alone: whoever knows it may send the response.
#[test]
fn a_response_from_another_address_is_dropped() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    let forged = response(&world, 50, 50);
    let stranger = core::net::SocketAddr::from(([192, 0, 2, 9], 4_000)).into();
    world.inject(0, stranger, &forged, 50);
    assert_eq!(world.counters(0).dropped_no_rpc, 1);
    assert_eq!(world.hosts[0].responses(), 0);
}

/// Only the GRO hook reads the offset from the sequence field; a packet that goes around it, on
/// loopback for instance, is taken for one beyond the message's end.
#[test]
fn an_offset_in_the_sequence_field_alone_is_found_in_every_packet() {
    let mut world = World::pair();
    world.call(0, 1, 20_000);
    let flights: Vec<_> = world
        .trace
        .iter()
        .map(|(_, flight)| flight.clone())
        .collect();
    let mut other = world.hosts[0].address;
    other.port += 1;
    for flight in flights.into_iter().rev() {
        let form = homa_proto::wire::Form {
            offset: OffsetForm::SequenceOnly,
            ..Default::default()
        };
        let mut header = [0; 90];
        let bytes = flight.packet().emit_as(form, &mut header);
        assert_eq!(header[52..56], [0xff; 4]);
        world.inject_bytes(1, other, &header[..bytes], flight.length);
    }
    assert_eq!(world.hosts[1].requests_run(), 1);
}

/// Priorities in GRANT and RESEND index an array unchecked.
#[test]
fn a_priority_that_does_not_exist_is_dropped_and_counted() {
    let mut world = World::pair();
    world.call(0, 1, 100_000);
    let server = world.hosts[1].address;
    let id = world.trace[0].1.packet().common.sender_id.flipped();
    let grant = Packet {
        common: Common {
            source_port: 4_000,
            dest_port: 4_000,
            sender_id: id,
        },
        body: Body::Grant(homa_proto::wire::Grant {
            offset: 100_000,
            priority: Priority::HIGHEST,
        }),
    };
    let mut header = [0; 90];
    let bytes = grant.emit(&mut header);
    for level in [8, 9, 64, 255] {
        header[32] = level;
        world.inject_bytes(0, server, &header[..bytes], bytes as u32);
    }
    assert_eq!(world.counters(0).malformed.iter().sum::<u64>(), 4);
    assert_eq!(world.counters(0).grants_received, 0);
}

/// The level of a packet is written into the socket just before it is sent, where another sender
/// may overwrite it.
#[test]
fn each_burst_says_its_own_level_however_messages_of_one_socket_mix() {
    let config = Config {
        cutoffs: Some(REFERENCE_CUTOFFS),
        ..Config::default()
    };
    let mut world = World::new([config.clone(), config]);
    world.hosts[1].echo = true;
    world.call(0, 1, 10);
    world.run_ms(1);
    let before = world.trace.len();
    for length in [100, 2_000, 10_000, 30_000, 100, 2_000, 10_000, 30_000] {
        let call = world.a_call(0, 1, length);
        world.enqueue(0, call).unwrap();
    }
    world.drain(0);
    for (_, flight) in &world.trace[before..] {
        let Body::Data(data) = flight.body() else {
            continue;
        };
        let level = match data.message_length {
            100 => 7,
            2_000 => 6,
            10_000 => 5,
            _ => 4,
        };
        assert_eq!(flight.priority, level);
    }
}

/// A response longer than 1,000,000 bytes leaves its client stuck.
#[test]
fn a_response_longer_than_the_limit_fails_its_rpc() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    let server = world.hosts[1].address;
    let long = response(&world, 1_000_001, 1_000);
    world.inject(0, server, &long, 1_000);
    assert_eq!(world.hosts[0].failures(), [Failure::ResponseTooLong]);
    assert_eq!(world.counters(0).dropped_too_long, 1);
    world.hosts[0].assert_empty();
}

/// A message of no bytes is accepted and is never complete.
#[test]
fn a_message_without_bytes_is_refused_at_both_ends() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    let mut header = [0; 90];
    let packet = response(&world, 1, 1);
    let bytes = packet.emit(&mut header);
    header[28..32].fill(0);
    let server = world.hosts[1].address;
    world.inject_bytes(0, server, &header[..bytes], bytes as u32);
    let mut request = packet;
    request.common.sender_id = RpcId::new(8);
    let bytes = request.emit(&mut header);
    header[28..32].fill(0);
    let client = world.hosts[0].address;
    world.inject_bytes(1, client, &header[..bytes], bytes as u32);
    for host in 0..2 {
        assert_eq!(world.counters(host).malformed.iter().sum::<u64>(), 1);
    }
    assert_eq!(world.hosts[1].engine.usage().server_rpcs, 0);
    world.hosts[1].echo = true;
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
}
