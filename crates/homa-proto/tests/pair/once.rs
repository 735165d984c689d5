//! At most once: duplicates, restarts of either end, packets from an earlier life.
//!
//! That no request is delivered twice in one life is checked in every test of the harness; the
//! tests here provoke it.

use core::time::Duration;

use homa_proto::wire::{Body, Common, Packet, RpcUnknown};
use homa_proto::{Call, Config, Failure};

use crate::world::{Fate, Flight, Random, World};

/// The packets of one kind that host `from` sent so far.
fn sent(world: &World, from: usize, which: impl Fn(&Body) -> bool) -> Vec<Flight> {
    let flights = world.trace.iter().map(|(_, flight)| flight);
    flights
        .filter(|flight| flight.from == from && which(&flight.body()))
        .cloned()
        .collect()
}

fn is_data(body: &Body) -> bool {
    matches!(body, Body::Data(_))
}

/// A client and a server that know each other's life.
fn acquainted() -> World {
    let mut world = World::echo_pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.counters(0).cutoffs_received, 1);
    world
}

#[test]
fn late_copies_of_a_finished_request_never_run_within_the_packet_lifetime() {
    let mut world = World::echo_pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    let request = sent(&world, 0, is_data).remove(0);
    // The ack rides on the next request: the first RPC is over at its server.
    world.call(0, 1, 100);
    world.run_ms(1);
    assert_eq!(world.counters(1).acks_received, 1);
    for _ in 0..99 {
        world.put(request.clone(), Duration::ZERO);
        world.run_ms(10);
    }
    assert_eq!(world.counters(1).dropped_tombstone, 99);
    assert_eq!(world.counters(1).requests_delivered, 2);
    world.assert_forgotten_later();
}

#[test]
fn copies_of_every_packet_at_any_later_moment_run_nothing_twice() {
    let mut world = World::echo_pair();
    let mut random = Random(5);
    world.on_wire(move |_, _| Fate::Duplicate(Duration::from_micros(random.below(990_000))));
    let mut random = Random(6);
    for _ in 0..300 {
        world.call(0, 1, random.length(15));
        world.run_for(Duration::from_micros(random.below(3_000)));
    }
    world.run_ms(3_000);
    assert_eq!(world.hosts[0].responses(), 300);
    assert_eq!(world.hosts[1].requests_run(), 300);
    assert!(world.counters(1).dropped_tombstone > 100);
    world.assert_forgotten_later();
}

#[test]
fn a_copy_of_a_request_that_is_in_service_is_dropped() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    let request = sent(&world, 0, is_data).remove(0);
    world.put(request, Duration::ZERO);
    world.run_ms(1);
    assert_eq!(world.counters(1).dropped_duplicate, 1);
    assert_eq!(world.hosts[1].requests.len(), 1);
}

#[test]
fn a_resend_for_a_finished_request_is_not_answered_with_rpc_unknown() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    // The client asks, but the wire holds the question until all is over.
    world.on_wire(|_, flight| match flight.body() {
        Body::Resend(_) => Fate::Delay(Duration::from_millis(300)),
        _ => Fate::Deliver,
    });
    world.run_ms(7);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100);
    world.run_ms(20);
    assert_eq!(world.hosts[1].endings(), [true]);
    world.run_ms(500);
    assert_eq!(world.counters(1).dropped_tombstone, 1);
    assert_eq!(world.counters(1).unknown_sent, 0);
    // Once it is forgotten the question means nothing to the server.
    let resend = sent(&world, 0, |body| matches!(body, Body::Resend(_))).remove(0);
    world.run_ms(2_000);
    world.put(resend, Duration::ZERO);
    world.run_ms(1);
    assert_eq!(world.counters(1).unknown_sent, 1);
}

#[test]
fn a_full_table_of_tombstones_refuses_early_and_forgets_nothing_early() {
    let server = Config {
        max_tombstone_blocks: 1,
        ..Config::default()
    };
    let mut world = World::new([Config::default(), Config::default(), server]);
    world.hosts[2].echo = true;
    world.call(0, 2, 100);
    world.run_ms(5);
    assert_eq!(world.hosts[0].responses(), 1);
    // Another client needs another block.
    world.call(1, 2, 100);
    world.run_ms(900);
    assert!(world.counters(2).requests_refused > 1);
    assert_eq!(world.hosts[1].events.len(), 0);
    let request = sent(&world, 0, is_data).remove(0);
    world.put(request, Duration::ZERO);
    world.run_ms(1);
    assert_eq!(world.counters(2).dropped_tombstone, 1);
    assert_eq!(world.counters(2).requests_delivered, 1);
    // The client that was refused gets its turn when the block is free, or gives up.
    world.run_ms(3_000);
    world.assert_empty();
    // The table has room again.
    world.call(1, 2, 100);
    world.run_ms(5);
    assert_eq!(world.hosts[1].responses(), 1);
    world.assert_forgotten_later();
}

#[test]
fn of_ids_that_follow_each_other_little_is_left() {
    let mut world = World::echo_pair();
    for _ in 0..320 {
        world.call(0, 1, 10);
    }
    world.run_ms(5);
    let blocks = world.hosts[1].engine.usage().tombstone_blocks;
    // One span for those that are over, and a block at either end that has ids left.
    assert!((1..=3).contains(&blocks), "{blocks} blocks for 320 RPCs");
    world.assert_forgotten_later();
}

#[test]
fn a_request_of_the_servers_earlier_life_is_refused_and_its_outcome_unknown() {
    let mut world = acquainted();
    world.restart(1);
    world.call(0, 1, 100);
    world.run_ms(1);
    assert_eq!(world.counters(1).dropped_earlier_life, 1);
    assert_eq!(world.hosts[1].requests_run(), 0);
    assert_eq!(world.hosts[0].failures(), [Failure::OutcomeUnknown]);
    assert_eq!(world.counters(0).peer_restarts, 1);
    assert_eq!(world.counters(0).outcomes_unknown, 1);
    // From here on they know each other.
    world.call(0, 1, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 2);
    world.assert_forgotten_later();
}

#[test]
fn an_idempotent_request_is_sent_again_to_the_servers_new_life() {
    let mut world = acquainted();
    world.restart(1);
    for length in [100, 1_000, 30_000, 200_000] {
        let call = Call {
            idempotent: true,
            ..world.a_call(0, 1, length)
        };
        world.try_call(0, call).unwrap();
    }
    world.run_ms(60);
    assert_eq!(world.hosts[0].failures(), []);
    assert_eq!(world.hosts[0].responses(), 5);
    assert_eq!(world.hosts[1].requests_run(), 4);
    assert!(world.counters(0).restarts > 0);
    world.assert_forgotten_later();
}

#[test]
fn all_that_was_in_flight_at_a_restart_ends_and_the_client_goes_on_at_once() {
    let mut world = acquainted();
    world.hosts[1].echo = false;
    for i in 0..100 {
        world.call(0, 1, 1 + i * 500);
    }
    // What waits at home until there is room on the way was not in flight.
    let waited = world.counters(0).requests_waited as usize;
    assert!((1..99).contains(&waited));
    world.run_for(Duration::from_micros(7));
    world.restart(1);
    world.hosts[1].echo = true;
    world.run_ms(30);
    let unknown = vec![Failure::OutcomeUnknown; 100 - waited];
    assert_eq!(world.hosts[0].failures(), unknown);
    assert_eq!(world.hosts[1].requests_run(), waited);
    for _ in 0..100 {
        world.call(0, 1, 1_000);
    }
    world.run_ms(30);
    assert_eq!(world.hosts[0].responses(), 101 + waited);
    world.assert_forgotten_later();
}

#[test]
fn many_packets_of_an_earlier_life_do_not_lock_their_sender_out() {
    let mut world = acquainted();
    world.restart(1);
    // More than an address may guess wrong; all of them say the same.
    for _ in 0..300 {
        let call = world.a_call(0, 1, 100);
        world.enqueue(0, call).unwrap();
    }
    world.drain(0);
    world.run_ms(1);
    assert_eq!(world.counters(1).dropped_earlier_life, 300);
    assert_eq!(world.hosts[0].failures().len(), 300);
    // A response that no unproven address would get.
    world.hosts[1].answer = Some(200_000);
    world.call(0, 1, 100);
    world.run_ms(4);
    assert_eq!(world.hosts[0].responses(), 2);
    world.assert_forgotten_later();
}

#[test]
fn a_sign_of_life_followed_by_rpc_unknown_means_an_unknown_outcome() {
    // The client never learns the server's life, so only RPC_UNKNOWN can tell it.
    let mut world = World::pair();
    world.on_wire(|_, flight| Fate::drop_if(matches!(flight.body(), Body::Cutoffs(_))));
    world.call(0, 1, 100);
    world.run_ms(12);
    assert!(world.counters(0).busy_received > 0);
    world.restart(1);
    world.run_ms(100);
    assert_eq!(world.hosts[0].failures(), [Failure::OutcomeUnknown]);
    assert_eq!(world.hosts[1].requests_run(), 0);
    world.assert_forgotten_later();
}

#[test]
fn a_need_ack_is_a_sign_of_life() {
    let mut world = World::echo_pair();
    // The response is lost again and again, what asks for its ack is not.
    world.on_wire(|_, flight| {
        let lost = flight.from == 1 && matches!(flight.body(), Body::Data(_) | Body::Cutoffs(_));
        Fate::drop_if(lost)
    });
    world.call(0, 1, 100);
    world.run_ms(4);
    assert!(world.counters(0).need_acks_received > 0);
    world.restart(1);
    world.heal();
    world.run_ms(50);
    assert_eq!(world.hosts[0].failures(), [Failure::OutcomeUnknown]);
    assert_eq!(world.hosts[1].requests_run(), 0);
    world.assert_forgotten_later();
}

#[test]
fn an_idempotent_request_is_sent_again_after_rpc_unknown() {
    let mut world = World::pair();
    world.on_wire(|_, flight| Fate::drop_if(matches!(flight.body(), Body::Cutoffs(_))));
    let call = Call {
        idempotent: true,
        ..world.a_call(0, 1, 100)
    };
    world.try_call(0, call).unwrap();
    world.run_ms(12);
    world.restart(1);
    world.hosts[1].echo = true;
    world.run_ms(100);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.counters(0).restarts, 1);
    world.assert_forgotten_later();
}

#[test]
fn a_request_that_was_lost_whole_is_sent_again_after_rpc_unknown() {
    let mut world = World::echo_pair();
    let mut data = 0;
    world.on_wire(move |_, flight| {
        data += u32::from(is_data(&flight.body()));
        Fate::drop_if(is_data(&flight.body()) && data <= 3)
    });
    world.call(0, 1, 4_000);
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.counters(0).restarts, 1);
    assert_eq!(world.hosts[1].requests_run(), 1);
}

#[test]
fn a_late_rpc_unknown_of_an_earlier_life_does_no_harm() {
    let mut world = acquainted();
    world.hosts[1].echo = false;
    world.call(0, 1, 100);
    world.run_ms(6);
    assert!(world.counters(0).busy_received > 0);
    let request = sent(&world, 0, is_data).pop().unwrap().packet();
    let late = Packet {
        common: Common {
            source_port: 4_000,
            dest_port: 4_000,
            sender_id: request.common.sender_id.flipped(),
        },
        body: Body::RpcUnknown(RpcUnknown { reason: None }),
    };
    let server = world.hosts[1].address;
    for _ in 0..5 {
        world.inject(0, server, &late, 0);
        world.run_ms(10);
    }
    assert_eq!(world.hosts[0].failures(), []);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 2);
    assert_eq!(world.hosts[1].requests_run(), 2);
}

#[test]
fn late_cutoffs_of_an_earlier_life_do_no_harm() {
    let mut world = acquainted();
    let old = sent(&world, 1, |body| matches!(body, Body::Cutoffs(_))).remove(0);
    world.restart(1);
    world.call(0, 1, 100);
    world.run_ms(1);
    assert_eq!(world.counters(0).peer_restarts, 1);
    world.hosts[1].echo = false;
    world.call(0, 1, 100);
    world.run_ms(1);
    // As if they had been about the RPC that is live.
    let mut packet = old.packet();
    let request = sent(&world, 0, is_data).pop().unwrap().packet();
    packet.common.sender_id = request.common.sender_id.flipped();
    let server = world.hosts[1].address;
    world.inject(0, server, &packet, 0);
    assert_eq!(world.counters(0).cutoffs_ignored, 1);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 2);
    assert_eq!(world.counters(1).dropped_earlier_life, 1);
}

#[test]
fn an_rpc_that_no_life_of_the_server_takes_ends() {
    // Every question is answered with RPC_UNKNOWN: the socket accepts no requests.
    let mut world = World::pair();
    let socket = world.hosts[1].socket;
    world.with(1, |engine, now| {
        engine.close_socket(now, socket);
        engine.open_socket(4_000, false).unwrap();
    });
    for idempotent in [false, true] {
        let call = Call {
            idempotent,
            ..world.a_call(0, 1, 100)
        };
        world.try_call(0, call).unwrap();
    }
    world.run_ms(1_100);
    assert_eq!(world.hosts[0].failures(), [Failure::TimedOut; 2]);
    assert!(world.counters(1).dropped_not_server > 0);
    world.assert_forgotten_later();
}

#[test]
fn a_request_that_may_have_been_forgotten_is_not_sent_again() {
    let mut world = World::echo_pair();
    // The server runs it, but the client hears nothing for longer than the server remembers.
    world.on_wire(|_, flight| Fate::drop_if(flight.from == 1));
    let call = Call {
        deadline: None,
        ..world.a_call(0, 1, 100)
    };
    world.try_call(0, call).unwrap();
    world.run_for(Duration::from_micros(20));
    // The client's process is stopped; the server gives up and forgets.
    let stopped = world.hosts[0].engine.poll_timeout();
    assert!(stopped.is_some());
    world.hosts[0].down = true;
    world.run_ms(3_000);
    assert_eq!(world.hosts[1].engine.usage().tombstone_blocks, 0);
    world.hosts[0].down = false;
    world.heal();
    world.run_ms(1_000);
    assert_eq!(world.hosts[1].engine.counters().requests_delivered, 1);
    assert_eq!(world.hosts[0].failures(), [Failure::TimedOut]);
    world.assert_forgotten_later();
}

#[test]
fn a_quiet_start_refuses_what_an_earlier_life_may_have_run() {
    let quiet = Config {
        quiet_start: Duration::from_millis(200),
        ..Config::default()
    };
    let mut world = World::new([Config::default(), quiet]);
    world.hosts[1].echo = true;
    world.call(0, 1, 100);
    world.run_ms(199);
    assert!(world.counters(1).dropped_quiet_start > 0);
    assert_eq!(world.hosts[1].requests_run(), 0);
    // The client asks on and is served when the silence is over.
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 1);
    world.assert_forgotten_later();
}

#[test]
fn a_client_that_restarts_gets_no_response_meant_for_its_earlier_life() {
    let mut world = acquainted();
    world.hosts[1].echo = false;
    world.call(0, 1, 100);
    world.run_ms(1);
    world.restart(0);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 3_000);
    world.run_ms(50);
    assert_eq!(world.counters(0).dropped_no_rpc, 3);
    assert_eq!(world.hosts[0].events.len(), 0);
    // It acknowledges what it does not know, so that the server may forget.
    assert_eq!(world.hosts[1].endings().len(), 2);
    assert_eq!(world.counters(1).acks_given_up, 0);
    world.hosts[1].echo = true;
    world.call(0, 1, 100);
    world.run_ms(10);
    assert_eq!(world.hosts[0].responses(), 1);
}

#[test]
fn fifty_restarts_of_a_busy_server_run_nothing_twice_and_answer_nothing_wrong() {
    let mut world = World::echo_pair();
    world.keep_trace = false;
    let mut random = Random(17);
    let mut calls = 0;
    for _ in 0..50 {
        for _ in 0..40 {
            let call = Call {
                idempotent: random.below(4) == 0,
                ..world.a_call(0, 1, random.length(17))
            };
            world.try_call(0, call).unwrap();
            calls += 1;
            world.run_for(Duration::from_micros(random.below(300)));
        }
        world.restart(1);
    }
    world.run_ms(3_000);
    let failures = world.hosts[0].failures();
    assert_eq!(world.hosts[0].responses() + failures.len(), calls);
    let typed = |failure: &Failure| matches!(failure, Failure::OutcomeUnknown | Failure::TimedOut);
    assert!(failures.iter().all(typed), "{failures:?}");
    assert!(failures.contains(&Failure::OutcomeUnknown));
    assert!(world.hosts[0].responses() > calls / 4);
    assert!(world.counters(0).peer_restarts > 30);
    world.assert_forgotten_later();
}
