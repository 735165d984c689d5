//! Learned cutoffs between engines: who is told, what levels follow, who teaches nothing. How well
//! they fit is shown beside the learner itself.

use core::time::Duration;

use homa_proto::wire::{Body, Common, Cutoffs, Data, Packet, RpcId};
use homa_proto::{Config, HostView, REFERENCE_CUTOFFS, Sample};

use crate::world::{Fate, World};

const UNLIMITED: u32 = i32::MAX as u32;

/// The last CUTOFFS that a host sent.
fn told(world: &World, host: usize) -> Cutoffs {
    let cutoffs = |flight: &crate::world::Flight| match flight.body() {
        Body::Cutoffs(cutoffs) if flight.from == host => Some(cutoffs),
        _ => None,
    };
    let mut packets = world.trace.iter().rev();
    packets
        .find_map(|(_, flight)| cutoffs(flight))
        .expect("some were told")
}

/// Requests of each length in turn, which get an answer of one byte.
fn call_in_turn(world: &mut World, times: usize, lengths: &[u32]) {
    for _ in 0..times {
        for &length in lengths {
            world.call(0, 1, length);
            world.run_for(Duration::from_micros(200));
        }
    }
}

fn answering_pair(config: &Config) -> World {
    let mut world = World::new([config.clone(), config.clone()]);
    world.hosts[1].echo = true;
    world.hosts[1].answer = Some(1);
    world
}

#[test]
fn cutoffs_follow_what_arrives_and_peers_are_told_lazily_with_a_new_revision() {
    let mut world = answering_pair(&Config::default());
    world.call(0, 1, 100);
    world.run_ms(1);
    let first = told(&world, 1);
    assert_eq!(first.cutoffs[1..], [0, 0, 0, 0, 0, 0, UNLIMITED]);
    call_in_turn(&mut world, 20, &[100, 100, 100, 100, 5_000]);
    let learned = told(&world, 1);
    // Seven levels for messages of two lengths: the others are left to scheduled packets.
    assert_eq!(learned.cutoffs[6], UNLIMITED);
    assert!((100..5_000).contains(&learned.cutoffs[7]), "{learned:?}");
    assert_eq!(learned.cutoffs[1..6], [0; 5]);
    assert_eq!(learned.version & 0xfff0, first.version & 0xfff0);
    assert_ne!(learned.version, first.version);
    let counters = world.counters(1);
    assert_eq!(counters.cutoffs_learned + 1, counters.cutoffs_sent);
    assert_eq!(world.counters(0).peer_restarts, 0);
}

#[test]
fn levels_of_scheduled_packets_lie_below_the_learned_ones() {
    let mut world = answering_pair(&Config::default());
    // Nearly all bytes are scheduled, so that one level is for the others.
    call_in_turn(&mut world, 3, &[900_000]);
    world.run_ms(2);
    world.call(0, 1, 100);
    world.run_ms(1);
    assert_eq!(
        told(&world, 1).cutoffs,
        [UNLIMITED, 0, 0, 0, 0, 0, 0, UNLIMITED]
    );
    let before = world.trace.len();
    for _ in 0..8 {
        world.call(0, 1, 900_000);
    }
    world.run_ms(20);
    let granted = |flight: &crate::world::Flight| match flight.body() {
        Body::Grant(grant) => Some(grant.priority.get()),
        _ => None,
    };
    let levels = world.trace[before..]
        .iter()
        .filter_map(|(_, flight)| granted(flight));
    assert_eq!(levels.max(), Some(6));
}

#[test]
fn who_has_not_heard_what_was_learned_sends_unasked_above_all_that_is_granted() {
    let mut world = answering_pair(&Config::default());
    let other = world.add_host_at(
        core::net::SocketAddr::from(([10, 0, 0, 9], 4_000)),
        Config::default(),
    );
    world.call(other, 1, 100);
    world.run_ms(1);
    // Nearly all bytes are scheduled: what goes unasked is to have one level.
    call_in_turn(&mut world, 3, &[900_000]);
    world.run_ms(2);
    let before = world.trace.len();
    (0..8).for_each(|_| {
        world.call(0, 1, 900_000);
    });
    world.call(other, 1, 60_000);
    world.run_ms(20);
    let trace = || world.trace[before..].iter().map(|(_, flight)| flight);
    let granted = |flight: &crate::world::Flight| match flight.body() {
        Body::Grant(grant) => Some(grant.priority.get()),
        _ => None,
    };
    let unasked = |flight: &crate::world::Flight| match flight.body() {
        Body::Data(data) if flight.from == other && data.offset < data.incoming => {
            Some(flight.priority)
        }
        _ => None,
    };
    let granted = trace().filter_map(granted).max();
    let unasked = trace().filter_map(unasked).min();
    assert!(unasked > granted, "{unasked:?}, {granted:?}");
}

#[test]
fn cutoffs_that_the_user_gives_stay() {
    let config = Config {
        cutoffs: Some(REFERENCE_CUTOFFS),
        ..Config::default()
    };
    let mut world = answering_pair(&config);
    call_in_turn(&mut world, 100, &[100, 100, 100, 100, 5_000]);
    assert_eq!(world.counters(1).cutoffs_learned, 0);
    assert_eq!(world.counters(1).cutoffs_sent, 1);
}

#[test]
fn with_any_number_of_levels_the_learned_ones_exist_and_one_is_left() {
    for priorities in 1..=8 {
        let config = Config {
            priorities,
            ..Config::default()
        };
        let mut world = answering_pair(&config);
        call_in_turn(
            &mut world,
            30,
            &[10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000],
        );
        let cutoffs = world.hosts[1].engine.cutoffs();
        let (there, absent) = cutoffs.split_at(usize::from(priorities));
        assert_eq!(there[0], UNLIMITED);
        assert!(absent.iter().all(|&it| it == 0), "{cutoffs:?}");
        if priorities > 1 {
            assert!(there[usize::from(priorities) - 1] > 0, "{cutoffs:?}");
        }
        if priorities > 2 {
            assert!(there[1..].contains(&UNLIMITED), "{cutoffs:?}");
            assert!(world.counters(1).cutoffs_learned > 0, "{cutoffs:?}");
        }
    }
}

#[test]
fn addresses_that_proved_nothing_teach_nothing() {
    let mut world = answering_pair(&Config::default());
    world.on_wire(|_, _| Fate::Drop);
    for number in 0..2_000_u32 {
        let forged =
            core::net::SocketAddr::from(([10, 9, (number >> 8) as u8, number as u8], 4_000));
        let common = Common {
            source_port: 4_000,
            dest_port: world.hosts[1].address.port,
            sender_id: RpcId::new(2),
        };
        let data = Data {
            message_length: 1_400,
            incoming: 1_400,
            ack: None,
            cutoff_version: 0,
            retransmit: false,
            incast: false,
            offset: 0,
            payload_length: 1_400,
        };
        let packet = Packet {
            common,
            body: Body::Data(data),
        };
        world.inject(1, forged.into(), &packet, 1_400);
        world.run_for(Duration::from_micros(10));
    }
    assert_eq!(world.hosts[1].requests_run(), 2_000);
    assert_eq!(world.counters(1).cutoffs_learned, 0);
}

#[test]
fn engines_of_one_host_publish_what_the_first_of_them_learns_from_all() {
    let mut world = answering_pair(&Config::default());
    let second = Config {
        engine: 1,
        ..Config::default()
    };
    let other = world.add_host_at(core::net::SocketAddr::from(([10, 0, 0, 9], 4_000)), second);
    (world.hosts[other].echo, world.hosts[other].answer) = (true, Some(1));
    let follow = |world: &mut World| {
        let view = HostView::join([&world.hosts[1].engine.report()]);
        world.with(other, |engine, _| engine.set_host_view(&view));
    };
    follow(&mut world);
    for _ in 0..100 {
        world.call(0, other, 100);
        world.call(0, other, 5_000);
        world.run_for(Duration::from_micros(200));
    }
    let first = world.hosts[1].engine.cutoffs();
    assert_eq!(world.hosts[other].engine.cutoffs(), first);
    // What the second engine heard reaches the first, which learns for both.
    let mut sample = Sample::new().expect("there is memory");
    world.with(other, |engine, _| engine.take_sample(&mut sample));
    world.with(1, |engine, now| engine.add_sample(now, &sample));
    assert_ne!(world.hosts[1].engine.cutoffs(), first);
    follow(&mut world);
    assert_eq!(
        world.hosts[other].engine.cutoffs(),
        world.hosts[1].engine.cutoffs()
    );
    assert_eq!(world.counters(other).cutoffs_learned, 0);
}
