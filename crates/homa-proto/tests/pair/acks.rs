//! Acks: on DATA, in packets of their own, asked for, and what they end.

use homa_proto::wire::{Body, Common, Packet, RpcId};
use homa_proto::{Config, Event};

use crate::world::{Fate, World};

/// Ids that host 0 acknowledged on its DATA, in order.
fn on_data(world: &World) -> Vec<RpcId> {
    let flights = world.trace.iter().map(|(_, flight)| flight);
    flights
        .filter_map(|flight| match flight.body() {
            Body::Data(data) if flight.from == 0 => Some(data.ack?.client_id),
            _ => None,
        })
        .collect()
}

/// Ids of the requests that host 0 sent, in order.
fn requests(world: &World) -> Vec<RpcId> {
    let mut ids: Vec<RpcId> = Vec::new();
    for (_, flight) in &world.trace {
        let id = flight.packet().common.sender_id;
        if flight.from == 0 && flight.payload.is_some() && !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

#[test]
fn the_ack_of_a_response_rides_on_the_next_request_to_its_server() {
    let mut world = World::echo_pair();
    for _ in 0..10 {
        world.call(0, 1, 100);
        world.run_for(core::time::Duration::from_micros(100));
    }
    let ids = requests(&world);
    assert_eq!(on_data(&world), ids[..9]);
    assert_eq!(world.counters(1).acks_received, 9);
    assert_eq!(
        world.counters(0).acks_sent + world.counters(1).need_acks_sent,
        0
    );
    assert_eq!(world.hosts[1].engine.usage().server_rpcs, 1);
    world.assert_forgotten_later();
}

#[test]
fn each_packet_of_a_long_request_takes_an_ack_of_its_own_oldest_first() {
    let mut world = World::echo_pair();
    for _ in 0..4 {
        world.call(0, 1, 100);
    }
    world.run_for(core::time::Duration::from_micros(100));
    world.call(0, 1, 5_600);
    let ids = requests(&world);
    let acked = on_data(&world);
    assert_eq!(acked, ids[..4]);
    world.run_ms(1);
    assert_eq!(world.counters(1).acks_received, 4);
}

/// How many acks each ACK packet had beside the one that it is about, when host 0 has got `count`
/// responses of `length` bytes and says nothing more.
fn ack_packets(count: usize, length: u32) -> (World, Vec<usize>) {
    let mut world = World::echo_pair();
    for _ in 0..count {
        world.call(0, 1, length);
    }
    world.run_for(core::time::Duration::from_micros(300));
    let acks = world
        .trace
        .iter()
        .filter_map(|(_, flight)| match flight.body() {
            Body::Ack(acks) => Some(acks.len()),
            _ => None,
        });
    let packets = acks.collect();
    (world, packets)
}

#[test]
fn the_sixth_ack_that_finds_no_request_leaves_in_a_packet_with_the_other_five() {
    let (world, packets) = ack_packets(6, 1_200);
    assert_eq!(packets, [5]);
    assert_eq!(world.counters(1).acks_received, 6);
    assert_eq!(world.hosts[1].endings(), [true; 6]);
}

#[test]
fn acks_of_short_responses_wait_for_requests_in_greater_number() {
    let (mut world, packets) = ack_packets(128, 100);
    assert_eq!(packets, []);
    assert_eq!(world.hosts[1].engine.usage().server_rpcs, 128);
    for _ in 0..128 {
        world.call(0, 1, 100);
    }
    world.run_for(core::time::Duration::from_micros(300));
    assert_eq!(world.counters(1).acks_received, 128);
    let (world, packets) = ack_packets(129, 100);
    assert_eq!(packets, [5]);
    assert_eq!(world.counters(1).acks_received, 6);
}

#[test]
fn a_client_with_nothing_more_to_say_is_asked_once_and_answers_for_all() {
    let mut world = World::echo_pair();
    for _ in 0..5 {
        world.call(0, 1, 100);
    }
    world.run_ms(10);
    assert_eq!(world.hosts[1].endings(), [true; 5]);
    assert!(world.counters(1).need_acks_sent <= 5);
    // The first answer carries all; the others name RPCs that are over.
    assert_eq!(world.counters(1).acks_received, 5);
    world.assert_forgotten_later();
}

#[test]
fn a_lost_ack_is_made_up_for_by_the_answer_to_a_question() {
    let mut world = World::echo_pair();
    world.call(0, 1, 100);
    world.run_for(core::time::Duration::from_micros(100));
    let first = requests(&world)[0];
    // The request that carries it is lost, and sent again without it.
    world.lose(1, |flight, _| flight.from == 0 && flight.payload.is_some());
    world.call(0, 1, 100);
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 2);
    assert_eq!(on_data(&world), [first]);
    assert_eq!(world.hosts[1].endings(), [true; 2]);
    world.assert_forgotten_later();
}

#[test]
fn an_ack_for_another_socket_of_the_server_counts() {
    let mut world = World::pair();
    let other = core::net::SocketAddr::from(([10, 0, 0, 2], 4_001));
    let second = world.add_host_at(other, Config::default());
    world.hosts[1].echo = true;
    world.hosts[second].echo = true;
    // Over UDP another port is another peer: its acks do not mix.
    world.call(0, 1, 100);
    world.run_for(core::time::Duration::from_micros(100));
    world.call(0, second, 100);
    world.run_ms(1);
    assert_eq!(on_data(&world), []);
    world.run_ms(10);
    assert_eq!(world.hosts[1].endings(), [true]);
    assert_eq!(world.hosts[second].endings(), [true]);
}

#[test]
fn an_ack_before_the_application_answered_ends_nothing() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    let mut ack = world.trace[0].1.packet();
    ack.body = Body::Ack(homa_proto::wire::Acks::EMPTY);
    let client = world.hosts[0].address;
    world.inject(1, client, &ack, 0);
    assert_eq!(world.counters(1).acks_unmatched, 1);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100);
    world.run_ms(1);
    assert!(matches!(
        world.hosts[0].events.last(),
        Some((_, Event::Response { .. }))
    ));
}

#[test]
fn questions_for_acks_that_cross_the_acks_do_no_harm() {
    let mut world = World::echo_pair();
    world.on_wire(|_, flight| match flight.body() {
        Body::NeedAck => Fate::Delay(core::time::Duration::from_millis(3)),
        _ => Fate::Deliver,
    });
    for _ in 0..50 {
        world.call(0, 1, 100);
        world.run_ms(1);
    }
    world.run_ms(50);
    assert_eq!(world.hosts[0].responses(), 50);
    assert_eq!(world.hosts[1].endings(), [true; 50]);
    assert_eq!(world.counters(1).requests_delivered, 50);
}

#[test]
fn an_ack_that_came_to_another_engine_of_the_host_is_handed_over() {
    let mut world = World::echo_pair();
    let neighbour = world.add_host(Config::default());
    world.call(0, 1, 100);
    world.run_for(core::time::Duration::from_micros(100));
    let named = world.trace[0].1.packet();
    let client = world.hosts[0].address;
    let ack = Packet {
        common: Common {
            dest_port: named.common.dest_port,
            ..named.common
        },
        body: Body::Ack(homa_proto::wire::Acks::EMPTY),
    };
    world.inject(neighbour, client, &ack, 0);
    let strayed = world.hosts[neighbour].engine.poll_foreign_ack().unwrap();
    assert_eq!(strayed.client_id, named.common.sender_id);
    assert_eq!(world.hosts[neighbour].engine.poll_foreign_ack(), None);
    let now = world.now;
    world.hosts[1].engine.handle_foreign_ack(now, &strayed);
    assert_eq!(world.counters(1).foreign_acks_received, 1);
    // A second copy ends nothing and is not handed on.
    world.hosts[1].engine.handle_foreign_ack(now, &strayed);
    assert_eq!(world.hosts[1].engine.poll_foreign_ack(), None);
    let event = world.hosts[1].engine.poll_event();
    let ended = matches!(
        event,
        Some(Event::Ended {
            delivered: true,
            ..
        })
    );
    assert!(ended, "{event:?}");
}

#[test]
fn a_question_for_an_ack_has_missing_bytes_sent_again_before_the_client_would_ask() {
    let mut world = World::echo_pair();
    world.lose(1, |flight, _| {
        flight.from == 1 && flight.payload.is_some_and(|(_, offset, _)| offset == 4_200)
    });
    world.call(0, 1, 5_600);
    world.run_ms(4);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.counters(1).need_acks_sent, 1);
    assert_eq!(world.counters(1).busy_received, 0);
}
