//! Bytes that go unasked to peers whose distance is measured.

use core::time::Duration;

use homa_proto::wire::Body;
use homa_proto::{Config, PeerView};

use crate::world::{Fate, Random, World};

const GIGABIT: u64 = 1_000_000_000;
const FAR: Duration = Duration::from_micros(40);

/// A host that follows the distance of its peers on a link of this rate.
fn following(link_bits_per_second: u64) -> Config {
    Config {
        link_bits_per_second: Some(link_bits_per_second),
        unscheduled_max_bytes: Some(160_000),
        ..Config::default()
    }
}

/// A client (host 0) and a server for each of `delays`, which packets from and to it take beyond the
/// wire's 5 µs.
fn star(client: Config, delays: &'static [Duration]) -> World {
    let servers = delays.iter().map(|_| Config::default());
    let mut world = World::new([client].into_iter().chain(servers));
    for server in 1..=delays.len() {
        world.hosts[server].answer = Some(1);
        world.hosts[server].echo = true;
    }
    world.on_wire(|_, flight| Fate::Delay(delays[flight.from.max(flight.to) - 1]));
    world
}

/// Makes a call and waits until its response is there.
fn call_and_wait(world: &mut World, server: usize, length: u32) {
    let before = world.hosts[0].responses();
    world.call(0, server, length);
    while world.hosts[0].responses() == before {
        world.run_for(Duration::from_micros(2));
    }
}

/// The server as the client sees it.
fn view(world: &World, server: usize) -> PeerView {
    let engine = &world.hosts[0].engine;
    let mut views = (0..engine.peer_places()).filter_map(|place| engine.peer_at(place));
    let address = world.hosts[server].address;
    views
        .find(|it| it.address == address)
        .expect("it was called")
}

/// End of the unscheduled bytes of the last message to the server.
fn last_unasked(world: &World, server: usize) -> u32 {
    let sent = world.trace.iter().rev().map(|(_, flight)| flight);
    let mut ends = sent.filter_map(|flight| match flight.body() {
        Body::Data(data) if flight.to == server => Some(data.incoming),
        _ => None,
    });
    ends.next().expect("DATA was sent")
}

#[test]
fn what_goes_unasked_follows_the_distance_of_each_peer() {
    let mut world = star(following(10 * GIGABIT), &[Duration::ZERO, FAR]);
    for server in [1, 2] {
        assert_eq!(world.hosts[0].engine.peer_places(), server as u32 - 1);
        for _ in 0..7 {
            call_and_wait(&mut world, server, 300_000);
            assert_eq!(view(&world, server).grant_time, None);
            assert_eq!(last_unasked(&world, server), 39_200);
        }
        (0..80).for_each(|_| call_and_wait(&mut world, server, 300_000));
    }
    // 10 µs and 90 µs there and back, in which the link carries 12,500 and 112,500 bytes.
    for (server, micros, bytes) in [(1, 10, 12_500), (2, 90, 112_500)] {
        let view = view(&world, server);
        assert_eq!(view.grant_time, Some(Duration::from_micros(micros)));
        assert!((bytes..bytes * 11 / 10).contains(&view.unscheduled_bytes));
        let whole = view.unscheduled_bytes - view.unscheduled_bytes % 1_400;
        assert_eq!(last_unasked(&world, server), whole);
        // What one packet holds goes as ever, and so does what fits.
        call_and_wait(&mut world, server, 1_400);
        assert_eq!(last_unasked(&world, server), 1_400);
    }
}

#[test]
fn where_the_rate_is_unknown_or_nobody_asked_for_it_nothing_follows() {
    let unknown = Config {
        link_bits_per_second: None,
        ..following(GIGABIT)
    };
    let fixed = Config {
        unscheduled_max_bytes: None,
        ..following(GIGABIT)
    };
    for config in [unknown, fixed] {
        let mut world = star(config, &[FAR]);
        (0..80).for_each(|_| call_and_wait(&mut world, 1, 300_000));
        assert_eq!(view(&world, 1).grant_time, None);
        assert_eq!(last_unasked(&world, 1), 39_200);
    }
}

#[test]
fn what_is_lost_tells_no_distance_and_takes_its_share() {
    let mut world = star(following(10 * GIGABIT), &[Duration::ZERO]);
    (0..80).for_each(|_| call_and_wait(&mut world, 1, 300_000));
    let (before, mut random) = (view(&world, 1), Random(1));
    world.on_wire(move |_, _| Fate::drop_if(random.below(20) == 0));
    (0..20).for_each(|_| call_and_wait(&mut world, 1, 300_000));
    assert_eq!(view(&world, 1).grant_time, before.grant_time);
    assert!(view(&world, 1).unscheduled_bytes < before.unscheduled_bytes);
}

/// How long a client takes for messages of all lengths, one after the other, on a wire that delays
/// each packet by chance.
fn time_of(client: Config, latency: Duration) -> Duration {
    let mut world = World::new([client, Config::default()]);
    world.keep_trace = false;
    world.latency = latency;
    world.hosts[1].answer = Some(1);
    world.hosts[1].echo = true;
    let (mut delays, mut lengths) = (Random(2), Random(3));
    let spread = latency.as_nanos() as u64;
    world.on_wire(move |_, _| Fate::Delay(Duration::from_nanos(delays.below(spread))));
    let begun = world.now;
    for _ in 0..400 {
        let length = lengths.length(18);
        call_and_wait(&mut world, 1, length);
    }
    world.now - begun
}

#[test]
fn nobody_is_slower_by_more_than_a_tenth_for_a_distance_that_was_measured() {
    for rate in [1, 10, 25] {
        for micros in [2, 10, 50] {
            let (following, latency) = (following(rate * GIGABIT), Duration::from_micros(micros));
            let fixed = Config {
                unscheduled_max_bytes: None,
                ..following.clone()
            };
            let (measured, usual) = (time_of(following, latency), time_of(fixed, latency));
            assert!(
                measured.as_nanos() * 9 <= usual.as_nanos() * 10,
                "{measured:?} instead of {usual:?} at {rate} Gbit/s and {latency:?}"
            );
        }
    }
}
