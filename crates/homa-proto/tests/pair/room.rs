//! Room for what arrives: messages that stall without budget, and placements that hosts refuse.

use core::time::Duration;

use homa_proto::wire::{Body, ResendRange, RpcUnknown};
use homa_proto::{Config, Failure};

use crate::limits::with_server;
use crate::world::{Flight, Random, World};

/// Room for one of the longest messages.
fn little_room() -> Config {
    Config {
        receive_budget_bytes: 1_000_000,
        ..Config::default()
    }
}

/// A client that holds a response of all the room it has, while another of 60,000 bytes waits.
fn with_a_stalled_response() -> World {
    let mut world = World::new([little_room(), Config::default()]);
    world.hosts[1].echo = true;
    world.hosts[0].hold = true;
    for length in [1_000_000, 60_000] {
        world.hosts[1].answer = Some(length);
        world.call(0, 1, 100);
        world.run_ms(20);
    }
    world
}

#[test]
fn without_budget_messages_stall_and_are_received_shortest_first() {
    let mut world = with_server(little_room());
    world.hosts[1].hold = true;
    world.call(0, 1, 990_000);
    world.run_ms(10);
    assert_eq!(world.hosts[1].requests_run(), 1);
    for length in [30_000, 200_000, 15_000, 120_000, 20_000] {
        world.call(0, 1, length);
    }
    world.run_ms(20);
    assert_eq!(world.hosts[1].requests_run(), 1);
    assert_eq!(world.counters(1).stalls, 5);
    assert!(world.counters(1).dropped_stalled > 0);
    assert!(world.hosts[1].engine.usage().stalled);
    world.hosts[1].hold = false;
    world.give_back(1);
    world.run_ms(100);
    let lengths: Vec<u32> = world.hosts[1]
        .requests
        .iter()
        .map(|&(_, length)| length)
        .collect();
    assert_eq!(lengths, [990_000, 15_000, 20_000, 30_000, 120_000, 200_000]);
    assert_eq!(world.counters(1).stalls_ended, 5);
    assert_eq!(world.hosts[1].engine.usage().budget_used_bytes, 0);
}

#[test]
fn stalled_messages_wait_as_long_as_it_takes_and_time_nobody_out() {
    let mut world = with_server(little_room());
    world.hosts[1].hold = true;
    world.call(0, 1, 1_000_000);
    world.run_ms(10);
    world.call(0, 1, 50_000);
    world.run_ms(20_000);
    assert_eq!(world.hosts[0].failures(), []);
    world.hosts[1].hold = false;
    world.give_back(1);
    world.run_ms(20);
    assert_eq!(world.hosts[1].requests_run(), 2);
    world.hosts[1].echo = true;
    for (rpc, _) in world.hosts[1].requests.clone() {
        world.reply(1, rpc, 1);
    }
    world.assert_forgotten_later();
}

#[test]
fn a_client_without_budget_stalls_its_response_and_recovers() {
    let mut world = with_a_stalled_response();
    world.run_ms(7_980);
    assert_eq!(world.hosts[0].responses(), 1);
    // The server asks now and then, and is told that the client lives.
    assert!(world.counters(1).need_acks_sent < 30);
    assert!(world.counters(0).busy_sent > 0);
    world.hosts[0].hold = false;
    let asked = |range: fn(&ResendRange) -> bool| {
        move |flight: &Flight, body: &Body| {
            flight.from == 0 && matches!(body, Body::Resend(resend) if range(&resend.range))
        }
    };
    let everything = asked(|range| *range == ResendRange::Everything);
    let some_bytes = asked(|range| *range != ResendRange::Everything);
    let before = (world.count(everything), world.count(some_bytes));
    world.give_back(0);
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 2);
    let after = (world.count(everything), world.count(some_bytes));
    assert_eq!(after, (before.0 + 1, before.1), "of nothing all is wanted");
    world.assert_forgotten_later();
}

#[test]
fn a_client_without_budget_waits_for_room_even_if_its_server_is_gone_meanwhile() {
    let mut world = with_a_stalled_response();
    world.crash(1);
    world.run_ms(20_000);
    assert_eq!(world.hosts[0].endings(), []);
    assert_eq!(world.hosts[0].failures(), []);
    world.hosts[0].hold = false;
    world.give_back(0);
    world.run_ms(2_000);
    assert_eq!(world.hosts[0].failures(), [Failure::TimedOut]);
    world.hosts[0].assert_empty();
}

#[test]
fn a_doubt_about_a_stalled_response_asks_for_no_more_than_a_byte_of_it() {
    let mut world = with_a_stalled_response();
    let last = |(_, flight): &&(_, Flight)| flight.from == 0 && flight.payload.is_some();
    let mut unknown = world.trace.iter().rfind(last).unwrap().1.packet();
    unknown.common.sender_id = unknown.common.sender_id.flipped();
    unknown.body = Body::RpcUnknown(RpcUnknown { reason: None });
    let server = world.hosts[1].address;
    let asked = |range: ResendRange| {
        move |flight: &Flight, body: &Body| {
            flight.from == 0 && matches!(body, Body::Resend(resend) if resend.range == range)
        }
    };
    let (offset, length) = (0, 1);
    let byte = ResendRange::Bytes { offset, length };
    let before = [byte, ResendRange::Everything].map(|range| world.count(asked(range)));
    world.inject(0, server, &unknown, 0);
    let after = [byte, ResendRange::Everything].map(|range| world.count(asked(range)));
    assert_eq!(after, [before[0] + 1, before[1]]);
    world.hosts[0].hold = false;
    world.give_back(0);
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 2);
    world.assert_forgotten_later();
}

#[test]
fn the_client_of_a_stalled_request_may_vanish() {
    let mut world = with_server(little_room());
    world.hosts[1].hold = true;
    world.call(0, 1, 1_000_000);
    world.run_ms(10);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 1);
    world.run_ms(10);
    world.call(0, 1, 50_000);
    world.run_ms(10);
    world.crash(0);
    world.run_ms(7_000);
    world.hosts[1].assert_empty();
}

#[test]
fn refused_placements_are_as_if_the_packet_never_came_and_recover_by_themselves() {
    let mut world = World::echo_pair();
    world.hosts[1].refuse = true;
    for length in [100, 5_000, 100_000] {
        world.call(0, 1, length);
    }
    world.run_ms(300);
    assert_eq!(world.hosts[1].requests_run(), 0);
    assert_eq!(world.hosts[1].engine.usage().budget_used_bytes, 0);
    assert!(world.counters(1).placements_refused >= 3);
    assert_eq!(world.counters(1).data_received, 0);
    world.hosts[1].refuse = false;
    world.run_ms(300);
    assert_eq!(world.hosts[0].responses(), 3);
    world.assert_forgotten_later();
}

#[test]
fn placements_refused_in_the_middle_of_a_message_come_again() {
    for seed in 0..20 {
        let mut world = World::echo_pair();
        let mut random = Random(seed);
        for _ in 0..5 {
            world.call(0, 1, random.length(17));
        }
        for _ in 0..60 {
            for host in 0..2 {
                world.hosts[host].refuse = random.below(2) == 0;
            }
            world.run_for(Duration::from_micros(random.below(400)));
        }
        for host in 0..2 {
            world.hosts[host].refuse = false;
        }
        world.run_ms(500);
        assert_eq!(world.hosts[0].responses(), 5, "seed {seed}");
        world.assert_forgotten_later();
    }
}

#[test]
fn a_budget_given_back_twice_does_no_harm() {
    let mut world = World::echo_pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    world.with(1, |engine, now| engine.give_back(now, 1 << 40));
    assert_eq!(world.hosts[1].engine.usage().budget_used_bytes, 0);
    world.call(0, 1, 100_000);
    world.run_ms(5);
    assert_eq!(world.hosts[0].responses(), 2);
    world.assert_forgotten_later();
}
