//! Senders that are not where they say: what their packets may cost, and that others pay nothing.

use core::time::Duration;

use homa_proto::Config;

use crate::limits::{data, stranger, with_server};
use crate::world::World;

/// Of which peers without a proof of their address may hold an eighth.
const BUDGET: u64 = 8_000_000;
const SHARE: u64 = BUDGET / 8;

fn server() -> Config {
    Config {
        receive_budget_bytes: BUDGET,
        ..Config::default()
    }
}

#[test]
fn forged_first_packets_hold_an_eighth_of_the_budget_and_are_in_nobodys_way() {
    let mut world = with_server(server());
    world.hosts[1].echo = true;
    for number in 1..=50 {
        world.inject(1, stranger(number), &data(2, 400_000, 0, 1_000), 1_000);
        let used = world.hosts[1].engine.usage().budget_used_bytes;
        assert!(used <= SHARE, "{used} after {number}");
    }
    assert_eq!(world.counters(1).stalls, 48);
    // Shorter and longer than what waits.
    for length in [1_000_000, 10_000] {
        world.call(0, 1, length);
    }
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 2);
    // Whoever is asked for a proof and gives none is forgotten.
    world.run_for(Duration::from_secs(20));
    let usage = world.hosts[1].engine.usage();
    assert_eq!((usage.server_rpcs, usage.budget_used_bytes), (0, 0));
    world.assert_forgotten_later();
}

#[test]
fn a_first_message_longer_than_that_share_needs_no_proof() {
    let mut world = with_server(Config {
        receive_budget_bytes: 1_000_000,
        ..Config::default()
    });
    world.hosts[1].echo = true;
    world.call(0, 1, 900_000);
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.counters(1).stalls, 0);
}

#[test]
fn a_message_beyond_that_share_goes_on_with_the_proof_it_is_asked_for() {
    let mut world = World::new([Config::default(), server()]);
    world.hosts[1].echo = true;
    // Somebody who never was there holds most of the share.
    world.inject(1, stranger(1), &data(2, 900_000, 0, 1_000), 1_000);
    world.call(0, 1, 500_000);
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.counters(1).stalls, 1);
    assert_eq!(world.counters(1).stalls_ended, 1);
}

#[test]
fn a_peer_that_spreads_its_ids_leaves_tombstones_to_others() {
    let mut world = with_server(Config {
        max_tombstone_blocks: 20,
        ..Config::default()
    });
    world.hosts[1].echo = true;
    // Each of these ids needs a block of its own.
    for number in 1..=30 {
        world.inject(1, stranger(1), &data(1_000 * number, 100, 0, 100), 100);
    }
    assert_eq!(world.hosts[1].engine.usage().tombstone_blocks, 10);
    assert_eq!(world.counters(1).requests_refused, 20);
    world.call(0, 1, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
    world.assert_forgotten_later();
}
