//! The life of an RPC from call to freed tables, on a wire that loses nothing.

use core::time::Duration;

use homa_proto::wire::Body;
use homa_proto::{CallError, Event, Failure, Instant, ReplyError, RpcKey, SocketId};

use crate::world::World;

#[test]
fn a_small_request_and_its_response_take_one_packet_each() {
    let mut world = World::echo_pair();
    world.call(0, 1, 100);
    world.run_for(Duration::from_micros(10));
    assert_eq!(world.hosts[0].responses(), 1);
    let data = world.count(|_, body| matches!(body, Body::Data(_)));
    assert_eq!(data, 2);
    assert_eq!(world.counters(0).data_sent, 1);
    assert_eq!(world.counters(1).requests_delivered, 1);
    assert_eq!(world.counters(0).rpcs_completed, 1);
    world.assert_forgotten_later();
}

#[test]
fn messages_of_every_size_arrive_whole_both_ways() {
    for length in [
        1, 999, 1_000, 1_400, 1_401, 39_200, 40_000, 40_001, 123_456, 1_000_000,
    ] {
        let mut world = World::echo_pair();
        world.call(0, 1, length);
        world.run_ms(100);
        assert_eq!(world.hosts[0].responses(), 1, "{length} bytes");
        for host in 0..2 {
            let counters = world.counters(host);
            assert_eq!(counters.data_resent, 0, "{length} bytes: nothing was lost");
            assert_eq!(
                counters.data_received,
                u64::from(length.div_ceil(1_400)),
                "{length} bytes"
            );
        }
        world.assert_forgotten_later();
    }
}

#[test]
fn a_short_request_may_have_a_long_response_and_a_long_one_a_short_response() {
    let mut world = World::echo_pair();
    for (request, response) in [(1, 1_000_000), (1_000_000, 1)] {
        world.hosts[1].answer = Some(response);
        world.call(0, 1, request);
        world.run_ms(50);
        let Some((_, Event::Response { length, .. })) = world.hosts[0].events.last() else {
            panic!("no response to {request} bytes");
        };
        assert_eq!(*length, response);
    }
    world.assert_forgotten_later();
}

#[test]
fn thousands_of_rpcs_both_ways_between_three_hosts_run_at_the_same_time() {
    let mut world = World::new((0..3).map(|_| Default::default()));
    for host in 0..3 {
        world.hosts[host].echo = true;
    }
    for i in 0..4_000_u32 {
        let from = i as usize % 3;
        let to = (from + 1 + i as usize / 3 % 2) % 3;
        let call = world.a_call(from, to, 1 + i % 4_000);
        world.enqueue(from, call).unwrap();
    }
    let under_way: u32 = (0..3)
        .map(|host| world.hosts[host].engine.usage().client_rpcs)
        .sum();
    assert_eq!(under_way, 4_000);
    for host in 0..3 {
        world.drain(host);
    }
    world.run_ms(50);
    let responses: usize = world.hosts.iter().map(|host| host.responses()).sum();
    assert_eq!(responses, 4_000);
    world.run_ms(3_000);
    world.assert_empty();
}

#[test]
fn responses_come_in_any_order() {
    let mut world = World::pair();
    let keys: Vec<RpcKey> = (0..10).map(|_| world.call(0, 1, 100)).collect();
    world.run_ms(1);
    for (rpc, _) in world.hosts[1].requests.clone().into_iter().rev() {
        world.reply(1, rpc, 50);
        world.run_ms(1);
    }
    let answered: Vec<RpcKey> = world.hosts[0]
        .events
        .iter()
        .map(|(_, event)| match event {
            Event::Response { rpc, .. } => *rpc,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(answered.iter().eq(keys.iter().rev()));
}

#[test]
fn a_host_is_client_and_server_of_the_same_peer_at_once() {
    let mut world = World::pair();
    for host in 0..2 {
        world.hosts[host].echo = true;
        for _ in 0..100 {
            world.call(host, 1 - host, 5_000);
        }
    }
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 100);
    assert_eq!(world.hosts[1].responses(), 100);
    world.assert_forgotten_later();
}

#[test]
fn a_request_that_its_server_drops_fails_as_dropped_and_leaves_nothing() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[0];
    assert!(world.with(1, |engine, now| engine.drop_request(now, rpc)));
    assert!(!world.with(1, |engine, now| engine.drop_request(now, rpc)));
    world.run_ms(1);
    assert_eq!(world.hosts[0].failures(), [Failure::Dropped]);
    // The client has nothing else to send: it is asked for the ack.
    world.run_ms(20);
    assert_eq!(world.hosts[1].endings(), [false]);
    assert_eq!(world.counters(1).acks_given_up, 0);
    world.assert_forgotten_later();
}

#[test]
fn an_aborted_rpc_fails_at_once_and_ends_at_its_server() {
    let mut world = World::pair();
    let key = world.call(0, 1, 100);
    world.run_ms(1);
    assert!(world.with(0, |engine, now| engine.abort(now, key)));
    assert_eq!(world.hosts[0].failures(), [Failure::Aborted]);
    assert!(!world.with(0, |engine, now| engine.abort(now, key)));
    let (rpc, _) = world.hosts[1].requests[0];
    world.run_ms(1);
    assert_eq!(world.hosts[1].endings(), [false]);
    let reply = world.with(1, |engine, now| engine.reply(now, rpc, 10, 1_400));
    assert_eq!(reply, Err(ReplyError::Gone));
    world.assert_forgotten_later();
}

#[test]
fn an_rpc_aborted_before_anything_of_it_was_sent_tells_nobody() {
    let mut world = World::pair();
    let call = world.a_call(0, 1, 100);
    let key = world.enqueue(0, call).unwrap();
    world.with(0, |engine, now| engine.abort(now, key));
    assert!(world.trace.is_empty());
    world.assert_empty();
}

#[test]
fn a_deadline_ends_an_rpc_within_a_tick_and_tells_the_server() {
    let mut world = World::pair();
    let deadline = world.now + Duration::from_millis(7);
    let call = homa_proto::Call {
        deadline: Some(deadline),
        ..world.a_call(0, 1, 100)
    };
    world.try_call(0, call).unwrap();
    world.run_ms(20);
    let (at, _) = world.hosts[0].events[0];
    assert_eq!(world.hosts[0].failures(), [Failure::DeadlineExceeded]);
    let late = at.nanos_since(deadline);
    assert!(at >= deadline && late <= 262_144, "{late} ns late");
    assert_eq!(world.hosts[1].endings(), [false]);
    world.assert_forgotten_later();
}

#[test]
fn a_deadline_holds_while_the_server_works_and_pings_are_far_apart() {
    let mut world = World::pair();
    let deadline = world.now + Duration::from_millis(3_456);
    let call = homa_proto::Call {
        deadline: Some(deadline),
        ..world.a_call(0, 1, 100)
    };
    world.try_call(0, call).unwrap();
    world.run_ms(4_000);
    let (at, _) = world.hosts[0].events[0];
    assert_eq!(world.hosts[0].failures(), [Failure::DeadlineExceeded]);
    assert!(at >= deadline && at.nanos_since(deadline) <= 262_144);
}

#[test]
fn a_deadline_that_has_passed_fails_the_call_within_a_tick() {
    let mut world = World::pair();
    let call = homa_proto::Call {
        deadline: Some(Instant::ZERO),
        ..world.a_call(0, 1, 100)
    };
    world.enqueue(0, call).unwrap();
    world.run_for(Duration::from_nanos(262_144));
    assert_eq!(world.hosts[0].failures(), [Failure::DeadlineExceeded]);
    world.assert_forgotten_later();
}

#[test]
fn illegal_lengths_are_refused_before_anything_is_sent() {
    let mut world = World::pair();
    for (length, error) in [
        (0, CallError::EmptyMessage),
        (1_000_001, CallError::MessageTooLong),
    ] {
        let call = world.a_call(0, 1, length);
        assert_eq!(world.enqueue(0, call), Err(error));
    }
    world.call(0, 1, 10);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[0];
    for (length, error) in [
        (0, ReplyError::EmptyMessage),
        (1_000_001, ReplyError::MessageTooLong),
    ] {
        let refused = world.with(1, |engine, now| engine.reply(now, rpc, length, 1_400));
        assert_eq!(refused, Err(error));
    }
    // After a refusal the request may still be answered.
    world.reply(1, rpc, 1);
    let twice = world.with(1, |engine, now| engine.reply(now, rpc, 1, 1_400));
    assert_eq!(twice, Err(ReplyError::Gone));
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
}

#[test]
fn keys_of_finished_rpcs_and_keys_that_never_were_do_nothing() {
    let mut world = World::echo_pair();
    let old = world.call(0, 1, 10);
    world.run_ms(1);
    let present = world.call(0, 1, 10);
    assert_eq!(old.index(), present.index());
    for bits in [old.to_bits(), 0, u64::MAX, 12_345, 1 << 40] {
        let key = RpcKey::from_bits(bits);
        assert_eq!(key.to_bits(), bits);
        assert!(!world.with(0, |engine, now| engine.abort(now, key)));
        assert!(!world.with(0, |engine, now| engine.drop_request(now, key)));
        let reply = world.with(0, |engine, now| engine.reply(now, key, 1, 1_400));
        assert_eq!(reply, Err(ReplyError::Gone));
    }
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 2);
}

#[test]
fn keys_of_live_rpcs_count_up_from_nothing_and_survive_as_numbers() {
    let mut world = World::pair();
    let keys: Vec<RpcKey> = (0..100).map(|_| world.call(0, 1, 100)).collect();
    let indices: Vec<usize> = keys.iter().map(|key| key.index()).collect();
    assert!(indices.into_iter().eq(0..100));
    for key in keys {
        assert_eq!(RpcKey::from_bits(key.to_bits()), key);
    }
}

#[test]
fn a_server_cannot_abort_and_a_client_cannot_reply() {
    let mut world = World::pair();
    let client = world.call(0, 1, 10);
    world.run_ms(1);
    let (server, _) = world.hosts[1].requests[0];
    assert!(!world.with(1, |engine, now| engine.abort(now, server)));
    let reply = world.with(0, |engine, now| engine.reply(now, client, 1, 1_400));
    assert_eq!(reply, Err(ReplyError::Gone));
    world.reply(1, server, 1);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
}

#[test]
fn closing_a_client_socket_aborts_its_rpcs_and_tells_their_servers() {
    let mut world = World::pair();
    for _ in 0..5 {
        world.call(0, 1, 100);
    }
    world.run_ms(1);
    let socket = world.hosts[0].socket;
    world.with(0, |engine, now| engine.close_socket(now, socket));
    assert_eq!(world.hosts[0].failures(), [Failure::Aborted; 5]);
    world.run_ms(1);
    assert_eq!(world.hosts[1].endings(), [false; 5]);
    let call = world.a_call(0, 1, 100);
    assert_eq!(world.enqueue(0, call), Err(CallError::NoSocket));
    world.assert_forgotten_later();
}

#[test]
fn closing_a_server_socket_tells_every_client_that_waits() {
    let mut world = World::pair();
    // In service; on its way out, most of it not granted yet; still coming in.
    world.call(0, 1, 100);
    world.call(0, 1, 200);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[1];
    world.reply(1, rpc, 1_000_000);
    world.call(0, 1, 500_000);
    world.run_for(Duration::from_micros(8));
    let socket = world.hosts[1].socket;
    world.with(1, |engine, now| engine.close_socket(now, socket));
    world.run_for(Duration::from_micros(100));
    assert_eq!(world.hosts[0].failures(), [Failure::Dropped; 3]);
    assert_eq!(world.hosts[1].endings(), [false; 3]);
    world.assert_forgotten_later();
}

#[test]
fn a_closed_socket_takes_no_packets_and_its_place_is_used_again() {
    let mut world = World::pair();
    let socket = world.hosts[1].socket;
    world.with(1, |engine, now| engine.close_socket(now, socket));
    world.call(0, 1, 100);
    world.run_ms(3);
    assert_eq!(world.counters(1).dropped_no_socket, 1);
    let again = world.with(1, |engine, _| engine.open_socket(4_000, true).unwrap());
    assert_eq!(again.index(), socket.index());
    world.hosts[1].echo = true;
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 1);
}

#[test]
fn a_socket_takes_requests_only_while_it_accepts_them() {
    let mut world = World::pair();
    let socket = world.hosts[1].socket;
    assert!(world.with(1, |engine, _| engine.accept_requests(socket, false)));
    let rpc = world.call(0, 1, 100);
    world.run_ms(3);
    assert_eq!(world.counters(1).dropped_not_server, 1);
    let id = world.with(0, |engine, _| engine.id_of(rpc));
    assert!(id.is_some_and(|id| id.is_client()));
    assert!(world.with(1, |engine, _| engine.accept_requests(socket, true)));
    world.hosts[1].echo = true;
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.with(0, |engine, _| engine.id_of(rpc)), None);
    let nobody = SocketId::from_index(77);
    assert!(!world.with(1, |engine, _| engine.accept_requests(nobody, true)));
}

#[test]
fn an_ack_for_a_response_that_was_not_sent_whole_does_not_count_as_delivered() {
    let mut world = World::pair();
    world.hosts[0].engine = {
        let config = homa_proto::Config {
            max_message_bytes: 100_000,
            ..Default::default()
        };
        homa_proto::Engine::new(config, homa_proto::Seed([3, 4])).unwrap()
    };
    let socket = world.with(0, |engine, _| engine.open_socket(4_000, false).unwrap());
    world.hosts[0].socket = socket;
    world.call(0, 1, 100);
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 200_000);
    world.run_ms(20);
    assert_eq!(world.hosts[0].failures(), [Failure::ResponseTooLong]);
    assert_eq!(world.counters(0).dropped_too_long, 1);
    assert_eq!(world.hosts[1].endings(), [false]);
    world.assert_forgotten_later();
}
