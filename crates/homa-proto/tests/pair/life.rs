//! The life of an RPC, without and with loss.

use core::time::Duration;

use homa_proto::Failure;

use crate::world::{Fate, World};

fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn a_small_request_and_its_response_take_one_packet_each() {
    let mut world = World::pair();
    world.hosts[1].echo = true;
    world.call(0, 1, 100);
    world.run_for(Duration::from_micros(10));
    assert_eq!(world.hosts[0].responses(), 1);
    let data = world.count(|_, body| matches!(body, homa_proto::wire::Body::Data(_)));
    assert_eq!(data, 2);
    world.run_for(Duration::from_secs(2));
    world.assert_empty();
}

#[test]
fn messages_of_every_size_arrive_whole_both_ways() {
    for length in [
        1, 999, 1_000, 1_400, 1_401, 39_200, 40_000, 40_001, 123_456, 1_000_000,
    ] {
        let mut world = World::pair();
        world.hosts[1].echo = true;
        world.call(0, 1, length);
        world.run_for(Duration::from_millis(100));
        assert_eq!(world.hosts[0].responses(), 1, "{length} bytes");
        world.run_for(Duration::from_secs(2));
        world.assert_empty();
        let resent = world
            .hosts
            .iter()
            .map(|host| host.engine.counters().data_resent);
        assert_eq!(resent.sum::<u64>(), 0, "{length} bytes: nothing was lost");
    }
}

#[test]
fn with_loss_reordering_and_duplication_every_rpc_completes_once() {
    for seed in 1..=10 {
        let mut world = World::pair();
        world.hosts[1].echo = true;
        let mut state = seed;
        world.on_wire(move |_, _| match random(&mut state) % 10 {
            0 => Fate::Drop,
            1 => Fate::Delay(Duration::from_micros(random(&mut state) % 3_000)),
            2 => Fate::Duplicate(Duration::from_micros(random(&mut state) % 100_000)),
            _ => Fate::Deliver,
        });
        let mut state = seed;
        for _ in 0..200 {
            let length = 1 + (random(&mut state) as u32) % (1 << (random(&mut state) % 19));
            world.call(0, 1, length);
        }
        world.run_for(Duration::from_secs(20));
        assert_eq!(
            world.hosts[0].responses(),
            200,
            "{:?}",
            world.hosts[0].failures()
        );
        world.run_for(Duration::from_secs(20));
        world.assert_empty();
    }
}

#[test]
fn a_vanished_server_times_out_after_a_tenth_of_a_second() {
    let mut world = World::pair();
    world.on_wire(|_, _| Fate::Drop);
    world.call(0, 1, 100);
    world.run_for(Duration::from_millis(99));
    assert_eq!(world.hosts[0].failures(), []);
    world.run_for(Duration::from_millis(7));
    assert_eq!(world.hosts[0].failures(), [Failure::TimedOut]);
    world.assert_empty();
}
