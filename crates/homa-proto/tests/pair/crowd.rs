//! Many RPCs with one peer at the same time.

use core::time::Duration;

use homa_proto::{Call, Config, Event, Failure};

use crate::world::{Fate, World};

/// Lets every packet to the server wait behind those before it, `each` for one; more than `room`
/// of them overflow its buffer.
fn slow_server(world: &mut World, each: Duration, room: u32) {
    let mut busy = world.now;
    world.on_wire(move |now, flight| {
        if flight.to != 1 {
            return Fate::Deliver;
        }
        let queue = busy.max(now) - now;
        if queue > each * room {
            return Fate::Drop;
        }
        busy = now + queue + each;
        Fate::Delay(queue + each)
    });
}

#[test]
fn thousands_of_rpcs_in_a_peers_queue_are_not_asked_about_one_by_one() {
    let mut world = World::pair();
    world.hosts[1].echo = true;
    // 5,000 requests take 30 ms, six times the resend interval.
    slow_server(&mut world, Duration::from_micros(6), 100_000);
    for _ in 0..5_000 {
        world.call(0, 1, 100);
    }
    world.run_ms(100);
    assert_eq!(world.hosts[0].responses(), 5_000);
    let asked = world.counters(0).resends_sent + world.counters(1).need_acks_sent;
    assert!(asked < 2_000, "{asked} questions for 5,000 RPCs");
    world.run_ms(5_000);
    world.assert_empty();
}

#[test]
fn requests_beyond_what_a_servers_buffer_holds_wait_at_home() {
    let mut world = World::pair();
    world.hosts[1].echo = true;
    slow_server(&mut world, Duration::from_micros(6), 500);
    for _ in 0..5_000 {
        world.call(0, 1, 100);
    }
    // Ten times the buffer, in little more than twice the time that the server needs for it.
    world.run_ms(80);
    assert_eq!(world.hosts[0].responses(), 5_000);
    let lost = world.counters(0).restarts;
    assert!(
        lost < 2_000,
        "{lost} of 5,000 requests were lost at the server's buffer"
    );
    assert!(world.counters(0).requests_waited > 4_000);
    world.run_ms(5_000);
    world.assert_empty();
}

#[test]
fn requests_that_wait_at_home_go_shortest_first() {
    let unmarked = Config {
        incast_rpcs: u32::MAX,
        ..Config::default()
    };
    let mut world = World::new([unmarked.clone(), unmarked]);
    world.hosts[1].echo = true;
    for length in (1..=100).rev() {
        world.call(0, 1, length * 1_000);
    }
    let sent = world.counters(0).data_sent;
    world.run_ms(100);
    assert_eq!(world.hosts[0].responses(), 100);
    assert!(
        sent < 400,
        "six or so are on their way at first, not {sent} packets"
    );
    // The longest were called first and are on their way from the start; of the others several
    // are on their way at a time and may overtake each other by a little.
    let lengths = world.hosts[0].response_lengths();
    let waited: Vec<u32> = lengths
        .into_iter()
        .filter(|&length| length < 90_000)
        .collect();
    assert!(
        waited.windows(2).all(|pair| pair[0] < pair[1] + 3_000),
        "{waited:?}"
    );
}

#[test]
fn requests_that_wait_at_home_for_a_server_that_is_gone_fail_with_the_others() {
    for length in [100, 40_000] {
        let mut world = World::pair();
        world.keep_trace = false;
        world.crash(1);
        for _ in 0..5_000 {
            world.call(0, 1, length);
        }
        assert!(world.counters(0).requests_waited > 4_000);
        world.run_ms(1_500);
        assert_eq!(world.hosts[0].failures().len(), 5_000, "{length} bytes");
        world.hosts[0].assert_empty();
    }
}

#[test]
fn a_long_request_does_not_wait_at_home_for_ever_behind_new_short_ones() {
    let mut world = World::pair();
    world.keep_trace = false;
    world.hosts[1].echo = true;
    slow_server(&mut world, Duration::from_micros(6), 500);
    for _ in 0..1_000 {
        world.call(0, 1, 100);
    }
    let long = world.call(0, 1, 39_000);
    // More than the server takes, so that there is always a shorter one.
    for _ in 0..100 {
        for _ in 0..300 {
            world.call(0, 1, 100);
        }
        world.run_ms(1);
    }
    let done = world.hosts[0]
        .events
        .iter()
        .any(|(_, event)| matches!(event, Event::Response { rpc, .. } if *rpc == long));
    assert!(done);
}

#[test]
fn a_request_that_waits_to_go_to_a_second_life_may_have_run_in_the_first() {
    let client = Config {
        link_bits_per_second: Some(1_000_000),
        ..Config::default()
    };
    let mut world = World::new([client, Config::default(), Config::default()]);
    let call = Call {
        idempotent: true,
        ..world.a_call(0, 1, 1_200)
    };
    let key = world.try_call(0, call).unwrap();
    world.run_ms(30);
    assert_eq!(world.hosts[1].requests_run(), 1);
    // Short messages pass the pacer and keep the link busy for seconds.
    for _ in 0..300 {
        world.call(0, 2, 900);
    }
    world.restart(1);
    world.run_ms(60);
    assert_eq!(world.counters(0).restarts, 1);
    world.crash(1);
    // Others find that the server is gone.
    for _ in 0..60 {
        world.call(0, 1, 10);
        world.run_ms(50);
    }
    let failed = world.hosts[0]
        .events
        .iter()
        .find_map(|(_, event)| match event {
            Event::Failed { rpc, failure } if *rpc == key => Some(*failure),
            _ => None,
        });
    assert_eq!(failed, Some(Failure::TimedOut));
}
