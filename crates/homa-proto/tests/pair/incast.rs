//! Incast: who marks requests, and what responses to marked requests send unasked. That a thousand
//! of them arrive without loss is shown in the virtual network.

use homa_proto::wire::{Body, Data};
use homa_proto::{Config, HostView, REFERENCE_CUTOFFS};

use crate::world::{Fate, World};

/// A client that marks from the third RPC on, and a server that waits to be told what to answer.
fn world() -> World {
    let client = Config {
        incast_rpcs: 2,
        cutoffs: Some(REFERENCE_CUTOFFS),
        ..Config::default()
    };
    let mut world = World::new([client, Config::default()]);
    // One RPC proves the client's address to the server.
    call(&mut world, 1);
    world.run_ms(1);
    answer_all(&mut world, 1);
    call(&mut world, 1);
    world.run_ms(1);
    answer_all(&mut world, 1);
    world.run_ms(1);
    world.trace.clear();
    world.hosts[0].events.clear();
    world
}

fn call(world: &mut World, length: u32) {
    world.call(0, 1, length);
}

/// DATA that a host sent, in order.
fn data_from(world: &World, host: usize) -> Vec<Data> {
    let data = |flight: &crate::world::Flight| match flight.body() {
        Body::Data(data) if flight.from == host => Some(data),
        _ => None,
    };
    world
        .trace
        .iter()
        .filter_map(|(_, flight)| data(flight))
        .collect()
}

/// The server answers all requests that it has.
fn answer_all(world: &mut World, length: u32) {
    while let Some(&(rpc, _)) = world.hosts[1].requests.first() {
        world.reply(1, rpc, length);
    }
}

#[test]
fn requests_are_marked_while_many_are_under_way() {
    let mut world = world();
    (0..4).for_each(|_| call(&mut world, 3_000));
    let marks: Vec<bool> = data_from(&world, 0)
        .iter()
        .map(|data| data.incast)
        .collect();
    // Of each request three packets.
    assert_eq!(marks, [[false; 6], [true; 6]].concat());
    assert_eq!(world.counters(0).requests_marked, 2);
    world.run_ms(1);
    answer_all(&mut world, 100);
    world.run_ms(1);
    call(&mut world, 100);
    assert_eq!(
        data_from(&world, 0).last().map(|data| data.incast),
        Some(false)
    );
}

#[test]
fn a_response_to_a_marked_request_sends_little_unasked_and_the_rest_under_grants() {
    let mut world = world();
    (0..3).for_each(|_| call(&mut world, 100));
    world.run_ms(1);
    let before = world.trace.len();
    answer_all(&mut world, 10_000);
    world.trace.drain(..before);
    let unasked = |world: &World| data_from(world, 1);
    let sent: u32 = unasked(&world).iter().map(|data| data.payload_length).sum();
    assert_eq!(sent, 2 * 10_000 + 512);
    let last = *unasked(&world).last().expect("three responses");
    assert_eq!(
        (last.payload_length, last.incoming, last.incast),
        (512, 512, false)
    );
    world.run_ms(2);
    assert_eq!(world.hosts[0].response_lengths(), [10_000; 3]);
    assert_eq!(world.counters(1).responses_held_back, 1);
    assert_eq!(world.counters(0).grants_sent, 1);
    // The bytes behind the first ones have the level of their grant.
    let scheduled = world
        .trace
        .iter()
        .rev()
        .find(|(_, flight)| flight.from == 1);
    assert_eq!(scheduled.map(|(_, flight)| flight.priority), Some(0));
    world.assert_forgotten_later();
}

#[test]
fn a_short_response_to_a_marked_request_goes_whole() {
    let mut world = world();
    (0..5).for_each(|_| call(&mut world, 100));
    world.run_ms(1);
    answer_all(&mut world, 512);
    world.run_ms(1);
    assert_eq!(world.hosts[0].response_lengths(), [512; 5]);
    assert_eq!(world.counters(0).grants_sent, 0);
    assert_eq!(data_from(&world, 1).len(), 5);
}

#[test]
fn the_short_first_segment_keeps_its_border_when_it_is_sent_again() {
    let mut world = world();
    (0..3).for_each(|_| call(&mut world, 100));
    world.run_ms(1);
    world.lose(1, |flight, body| {
        flight.from == 1 && matches!(body, Body::Data(data) if data.payload_length == 512)
    });
    answer_all(&mut world, 3_000);
    world.run_ms(20);
    assert_eq!(world.hosts[0].response_lengths(), [3_000; 3]);
    let again: Vec<_> = data_from(&world, 1)
        .into_iter()
        .filter(|data| data.retransmit)
        .map(|data| (data.offset, data.payload_length))
        .collect();
    assert_eq!(again, [(0, 512)]);
}

#[test]
fn a_server_that_does_not_know_the_mark_answers_as_ever() {
    let mut world = world();
    world.on_wire(|_, _| Fate::Drop);
    (0..3).for_each(|_| call(&mut world, 100));
    world.heal();
    let client = world.hosts[0].address;
    for (_, flight) in world.trace.clone() {
        let mut packet = flight.packet();
        if let Body::Data(data) = &mut packet.body {
            data.incast = false;
        }
        world.inject(1, client, &packet, 100);
    }
    answer_all(&mut world, 10_000);
    world.run_ms(1);
    assert_eq!(world.hosts[0].response_lengths(), [10_000; 3]);
    assert_eq!(world.counters(0).grants_sent, 0);
}

#[test]
fn rpcs_of_all_engines_of_a_host_count() {
    let mut world = world();
    (0..2).for_each(|_| call(&mut world, 100));
    let view = HostView::join([&world.hosts[0].engine.report()]);
    world.with(1, |engine, _| engine.set_host_view(&view));
    let limit = Config::default().incast_rpcs;
    for _ in 0..limit {
        world.call(1, 0, 100);
    }
    // Two of the 64 are the other engine's.
    assert_eq!(world.counters(1).requests_marked, 2);
}
