//! Who may speak for an RPC, what an address gets that proved nothing, and how ids begin.

use core::time::Duration;
use std::collections::BTreeSet;

use homa_proto::wire::{
    Ack, Acks, Body, Common, Cutoffs, Data, Grant, Packet, Priority, Resend, ResendRange, RpcId,
    RpcUnknown, UnknownReason,
};
use homa_proto::{Address, Config, Event, Failure};

use crate::world::{Fate, Flight, Random, World};

/// A request of one packet as any host may send it.
fn request(id: u64, length: u32, version: u16) -> Packet {
    Packet {
        common: Common {
            source_port: 9_999,
            dest_port: 4_000,
            sender_id: RpcId::new(id),
        },
        body: Body::Data(Data {
            message_length: length,
            incoming: length,
            ack: None,
            cutoff_version: version,
            retransmit: false,
            incast: false,
            offset: 0,
            payload_length: length.min(1_000),
        }),
    }
}

fn stranger() -> Address {
    core::net::SocketAddr::from(([192, 0, 2, 7], 9_999)).into()
}

/// Bytes that host 0 sent to addresses that no host has.
fn bytes_to_strangers(world: &World) -> u64 {
    let flights = world.trace.iter().map(|(_, flight)| flight);
    flights
        .filter(|flight| flight.to == usize::MAX)
        .map(|flight| u64::from(flight.length))
        .sum()
}

/// One body of each type that means an RPC, to be said by somebody whom it does not concern.
fn bodies() -> Vec<Body> {
    let top = Priority::HIGHEST;
    let everything = Resend {
        range: ResendRange::Everything,
        priority: Some(top),
    };
    vec![
        request(2, 100, 0).body,
        Body::Grant(Grant {
            offset: 1_000_000,
            priority: top,
        }),
        Body::Resend(everything),
        Body::RpcUnknown(RpcUnknown {
            reason: Some(UnknownReason::Dropped),
        }),
        Body::Busy,
        Body::Cutoffs(Cutoffs {
            cutoffs: [7; 8],
            version: 0xffff,
        }),
        Body::NeedAck,
        Body::Ack(Acks::EMPTY),
    ]
}

#[test]
fn packets_from_wrong_ports_are_dropped_and_counted_at_both_ends() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    let id = world.trace[0].1.packet().common.sender_id;
    for (host, sender_id) in [(0, id.flipped()), (1, id)] {
        let from = world.hosts[1 - host].address;
        for (source_port, dest_port) in [(4_000, 4_001), (4_001, 4_000)] {
            for body in bodies() {
                let common = Common {
                    source_port,
                    dest_port,
                    sender_id,
                };
                // Acks are matched by id, address and server port only.
                if !matches!(body, Body::Ack(_)) {
                    world.inject(host, from, &Packet { common, body }, 0);
                }
            }
        }
        // DATA without payload is malformed; the other six types were dropped twice each.
        assert_eq!(world.counters(host).dropped_wrong_peer, 12);
    }
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
}

#[test]
fn packets_from_wrong_addresses_change_nothing() {
    let mut world = World::pair();
    world.call(0, 1, 100_000);
    world.run_for(Duration::from_micros(6));
    let id = world.trace[0].1.packet().common.sender_id;
    let mut other_port = world.hosts[1].address;
    other_port.port += 1;
    for from in [stranger(), other_port] {
        for (host, sender_id) in [(0, id.flipped()), (1, id)] {
            let before = world.hosts[host].engine.usage();
            for body in bodies() {
                let common = Common {
                    source_port: 4_000,
                    dest_port: 4_000,
                    sender_id,
                };
                // A server's ack is matched by host: one from another port of it is believed.
                let believed = matches!(body, Body::Ack(_)) && from == other_port;
                if !believed {
                    world.inject(host, from, &Packet { common, body }, 0);
                }
            }
            assert_eq!(world.hosts[host].engine.usage(), before);
        }
    }
    assert_eq!(world.hosts[0].failures(), []);
    world.hosts[1].echo = true;
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 1);
}

#[test]
fn an_ack_from_another_host_ends_nothing() {
    let mut world = World::pair();
    world.on_wire(|_, flight| Fate::drop_if(matches!(flight.body(), Body::NeedAck)));
    world.call(0, 1, 100);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100);
    let id = world.trace[0].1.packet().common.sender_id;
    let mut acks = Acks::EMPTY;
    for server_port in [4_000, 4_001] {
        acks.push(Ack {
            client_id: id,
            server_port,
        });
    }
    let packet = |common_id| Packet {
        common: Common {
            source_port: 1,
            dest_port: 1,
            sender_id: common_id,
        },
        body: Body::Ack(acks),
    };
    world.inject(1, stranger(), &packet(RpcId::new(2)), 0);
    assert_eq!(world.counters(1).acks_unmatched, 3);
    assert_eq!(world.hosts[1].endings(), []);
    // From the client's host it counts, whatever the port it came from.
    let mut client = world.hosts[0].address;
    client.port = 77;
    world.inject(1, client, &packet(RpcId::new(2)), 0);
    assert_eq!(world.counters(1).acks_received, 1);
    assert_eq!(world.hosts[1].endings(), [true]);
}

#[test]
fn an_address_without_proof_gets_three_bytes_for_each_one_it_sent() {
    let mut world = World::pair();
    world.inject(1, stranger(), &request(2, 100, 0), 100);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 500_000);
    world.run_ms(5_000);
    assert!(bytes_to_strangers(&world) <= 3 * 156);
    assert!(world.counters(1).held_back_unproven > 0);
    assert_eq!(world.hosts[1].endings(), [false]);
    world.assert_forgotten_later();
}

#[test]
fn a_held_back_response_asks_at_once_for_a_proof() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests.remove(0);
    world.hosts[1].outbound.insert(rpc.to_bits(), 0);
    // Without a wait for a timer: the question leaves as soon as the reply is made.
    world
        .with(1, |engine, now| engine.reply(now, rpc, 100_000, 1_400))
        .unwrap();
    let proofs = world.count(|flight, body| flight.from == 1 && matches!(body, Body::Resend(_)));
    assert_eq!(proofs, 1);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.counters(0).shares_halved, 0);
    world.assert_forgotten_later();
}

#[test]
fn a_client_of_the_reference_echoes_and_is_proven() {
    // It knows CUTOFFS, but answers RESEND(0, 1) with its first segment only.
    let mut world = World::pair();
    world.inject(1, stranger(), &request(2, 500, 0), 500);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 10_000);
    let bodies: Vec<Body> = world
        .trace
        .iter()
        .map(|(_, flight)| flight.body())
        .collect();
    let version = bodies.iter().find_map(|body| match body {
        Body::Cutoffs(cutoffs) => Some(cutoffs.version),
        _ => None,
    });
    let asked = bodies.iter().any(|body| match body {
        Body::Resend(resend) => matches!(
            resend.range,
            ResendRange::Bytes {
                offset: 0,
                length: 1
            }
        ),
        _ => false,
    });
    assert!(asked);
    world.inject(1, stranger(), &request(2, 500, version.unwrap()), 500);
    let data = world.count(|flight, body| flight.from == 1 && matches!(body, Body::Data(_)));
    assert_eq!(data, 10_000_usize.div_ceil(1_400));
}

#[test]
fn a_resend_that_is_held_back_asks_for_a_proof() {
    let mut world = World::pair();
    let mut lost = 0;
    world.on_wire(move |_, flight| {
        let response = flight.from == 1 && flight.payload.is_some();
        lost += u32::from(response);
        Fate::drop_if(response && lost <= 2)
    });
    // Enough credit to send the response once, not twice.
    world.call(0, 1, 1_000);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 2_800);
    world.run_ms(30);
    let asked = |flight: &Flight, body: &Body| flight.from == 0 && matches!(body, Body::Resend(_));
    assert_eq!(
        world.count(asked),
        1,
        "the proof releases what was asked for"
    );
    assert_eq!(world.hosts[0].responses(), 1);
    world.assert_forgotten_later();
}

#[test]
fn a_proof_is_given_though_there_is_no_room_to_remember_what_is_wanted_again() {
    let client = Config {
        max_gaps: 1,
        ..Config::default()
    };
    let mut world = World::new([client, Config::default()]);
    // The gap takes all room, and the bytes that fill it wait for the proof.
    world.lose(1, |flight, _| {
        flight.from == 1 && flight.payload.is_some_and(|(_, offset, _)| offset == 1_400)
    });
    world.hosts[1].echo = true;
    world.hosts[1].answer = Some(60_000);
    world.call(0, 1, 3_000);
    world.run_ms(50);
    assert_eq!(world.hosts[0].responses(), 1);
    world.assert_forgotten_later();
}

#[test]
fn wrong_guesses_of_a_proof_are_limited() {
    let mut world = World::pair();
    world.inject(1, stranger(), &request(2, 100, 0), 100);
    let version = world
        .trace
        .iter()
        .find_map(|(_, flight)| match flight.body() {
            Body::Cutoffs(cutoffs) => Some(cutoffs.version),
            _ => None,
        });
    let version = version.unwrap();
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 50_000);
    let data = |world: &World| world.count(|_, body| matches!(body, Body::Data(_)));
    assert_eq!(data(&world), 0);
    // The address is forged: whoever sends this does not see the version.
    let mut guess = 0_u16;
    for _ in 0..4_000 {
        guess = guess.wrapping_add(16);
        let same = guess & 0xfff0 == version & 0xfff0;
        if !same {
            world.inject(1, stranger(), &request(2, 100, guess), 100);
        }
    }
    world.inject(1, stranger(), &request(2, 100, version), 100);
    assert!(data(&world) < 20, "proven after 4,000 guesses");
    // After a pause the right version counts again.
    world.run_ms(50);
    world.inject(1, stranger(), &request(4, 100, version), 100);
    world.run_ms(1_100);
    world.inject(1, stranger(), &request(6, 100, version), 100);
    let (rpc, _) = *world.hosts[1].requests.last().unwrap();
    world.reply(1, rpc, 39_000);
    assert!(data(&world) > 27);
}

/// A hostile packet: any type, ids of live RPCs or made up, any numbers.
fn hostile(random: &mut Random, ids: &[u64]) -> (Packet, u32) {
    let id = match random.below(3) {
        0 => 2 + 2 * random.below(1 << 40),
        1 => 3 + 2 * random.below(1 << 40),
        _ => ids[random.below(ids.len() as u64) as usize],
    };
    let mut payload = 0;
    let top = Priority::new(random.below(8) as u8).expect("below 8");
    let body = match random.below(10) {
        0 | 1 => {
            payload = 1 + random.below(100) as u32;
            Body::Data(Data {
                message_length: payload,
                incoming: payload,
                ack: None,
                cutoff_version: 0,
                retransmit: random.below(2) == 0,
                incast: false,
                offset: 0,
                payload_length: payload,
            })
        }
        2 => Body::Grant(Grant {
            offset: random.next() as u32,
            priority: top,
        }),
        3 | 4 => Body::Resend(Resend {
            range: ResendRange::Everything,
            priority: Some(top),
        }),
        5 => Body::Resend(Resend {
            range: ResendRange::Bytes {
                offset: random.below(100_000) as u32,
                length: 1 + random.below(100_000) as u32,
            },
            priority: Some(top),
        }),
        6 => Body::Busy,
        7 => Body::NeedAck,
        8 => Body::Ack(Acks::EMPTY),
        _ => Body::Cutoffs(Cutoffs {
            cutoffs: [0; 8],
            version: random.next() as u16,
        }),
    };
    let common = Common {
        source_port: 9_999,
        dest_port: 4_000,
        sender_id: RpcId::new(id),
    };
    (Packet { common, body }, payload)
}

#[test]
fn whatever_an_address_sends_without_proof_it_gets_at_most_three_times_as_much() {
    for seed in 0..40 {
        let limits = Config {
            max_server_rpcs: if seed % 2 == 0 { 20 } else { 1_000 },
            ..Config::default()
        };
        let mut world = World::new([limits]);
        world.hosts[0].echo = seed % 3 == 0;
        // Small segments use credit up to the last bytes.
        world.hosts[0].segment = if seed % 4 < 2 { 64 } else { 1_400 };
        let mut random = Random(seed);
        let mut ids = vec![2];
        let mut received = 0;
        for _ in 0..500 {
            let (packet, payload) = hostile(&mut random, &ids);
            let mut header = [0; 90];
            received += packet.emit(&mut header) as u64 + u64::from(payload);
            world.inject(0, stranger(), &packet, payload);
            ids.push(packet.common.sender_id.get());
            if let Some(&(rpc, _)) = world.hosts[0].requests.first() {
                if random.below(3) == 0 {
                    world.with(0, |engine, now| engine.drop_request(now, rpc));
                    world.hosts[0].requests.remove(0);
                } else {
                    world.reply(0, rpc, random.length(19));
                }
            }
            world.run_for(Duration::from_micros(random.below(4_000)));
            let sent = bytes_to_strangers(&world);
            assert!(sent <= 3 * received, "seed {seed}: {sent} for {received}");
        }
        let socket = world.hosts[0].socket;
        world.with(0, |engine, now| engine.close_socket(now, socket));
        let sent = bytes_to_strangers(&world);
        assert!(sent <= 3 * received, "seed {seed}: {sent} for {received}");
        world.assert_forgotten_later();
    }
}

#[test]
fn ids_begin_at_random_by_the_seed_and_do_not_repeat_when_a_peer_is_made_again() {
    let mut firsts = BTreeSet::new();
    for _ in 0..20 {
        let mut world = World::pair();
        world.now = world.now + Duration::from_nanos(firsts.len() as u64);
        world.restart(0);
        world.hosts[1].echo = true;
        let mut ids = BTreeSet::new();
        for _ in 0..3 {
            for _ in 0..50 {
                world.call(0, 1, 10);
                world.run_for(Duration::from_micros(100));
            }
            // Long enough for both ends to forget each other.
            world.run_ms(130_000);
            assert_eq!(world.hosts[0].engine.usage().peers, 0);
        }
        for (_, flight) in &world.trace {
            if flight.from == 0 && flight.payload.is_some() {
                ids.insert(flight.packet().common.sender_id.get());
            }
        }
        assert_eq!(ids.len(), 150);
        assert!(ids.iter().all(|id| id % 2 == 0 && id >> 56 == 0));
        firsts.insert(world.trace[0].1.packet().common.sender_id.get());
    }
    assert_eq!(firsts.len(), 20);
}

#[test]
fn the_number_of_the_engine_stands_on_top_of_its_ids() {
    let client = Config {
        engine: 0xa5,
        ..Config::default()
    };
    let mut world = World::new([client, Config::default()]);
    world.hosts[1].echo = true;
    world.call(0, 1, 10);
    world.run_ms(1);
    assert_eq!(world.trace[0].1.packet().common.sender_id.get() >> 56, 0xa5);
    assert_eq!(world.hosts[0].responses(), 1);
}

#[test]
fn two_programs_of_one_host_are_two_peers() {
    let mut world = World::pair();
    world.hosts[1].echo = true;
    let third = world.add_host_at(
        core::net::SocketAddr::from(([10, 0, 0, 1], 4_001)),
        Config::default(),
    );
    world.call(0, 1, 100);
    world.call(third, 1, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.hosts[third].responses(), 1);
    assert_eq!(world.hosts[1].engine.usage().peers, 2);
    let peers: BTreeSet<Address> = world.hosts[1]
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Request { peer, .. } => Some(*peer),
            _ => None,
        })
        .collect();
    assert_eq!(peers.len(), 2);
}

#[test]
fn a_forged_rpc_unknown_fails_no_rpc_of_a_client() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    let server = world.hosts[1].address;
    let mut random = Random(1);
    for _ in 0..10_000 {
        let packet = Packet {
            common: Common {
                source_port: 4_000,
                dest_port: 4_000,
                sender_id: RpcId::new(random.next() | 1),
            },
            body: Body::RpcUnknown(RpcUnknown {
                reason: Some(UnknownReason::Dropped),
            }),
        };
        world.inject(0, server, &packet, 0);
    }
    let none: [Failure; 0] = [];
    assert_eq!(world.hosts[0].failures(), none);
    assert_eq!(world.counters(0).dropped_out_of_place, 10_000);
}

#[test]
fn refusals_count_against_what_an_unproven_address_may_get() {
    let limits = Config {
        max_server_rpcs: 1,
        ..Config::default()
    };
    let mut world = World::new([limits]);
    world.hosts[0].segment = 64;
    for id in 1..=100 {
        world.inject(0, stranger(), &request(2 * id, 1, 0), 1);
    }
    let (rpc, _) = world.hosts[0].requests[0];
    world.reply(0, rpc, 1_000_000);
    assert_eq!(world.counters(0).requests_refused, 99);
    let sent = bytes_to_strangers(&world);
    assert!(
        (3 * 57 * 100 - 120..=3 * 57 * 100).contains(&sent),
        "{sent}"
    );
    let socket = world.hosts[0].socket;
    world.with(0, |engine, now| engine.close_socket(now, socket));
    assert!(bytes_to_strangers(&world) <= 3 * 57 * 100);
}

#[test]
fn a_call_to_a_peer_releases_what_waits_for_a_proof_of_its_address() {
    let mut world = World::pair();
    // The client answers nothing, so the server's response waits for a proof.
    world.on_wire(|_, flight| Fate::drop_if(flight.from == 1));
    world.call(0, 1, 100);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100_000);
    world.heal();
    world.hosts[0].echo = true;
    world.call(1, 0, 100);
    world.run_ms(4);
    assert_eq!(world.hosts[1].responses(), 1);
    assert_eq!(world.hosts[0].responses(), 1);
    world.assert_forgotten_later();
}

#[test]
fn a_proof_that_rides_on_another_request_releases_what_waits() {
    let mut world = World::pair();
    world.on_wire(|_, flight| Fate::drop_if(matches!(flight.body(), Body::Resend(_))));
    world.call(0, 1, 100);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100_000);
    // By now the client knows the version to echo.
    world.call(0, 1, 100);
    world.run_ms(4);
    assert_eq!(world.hosts[0].responses(), 1);
}
