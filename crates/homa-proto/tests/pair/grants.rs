//! Grants: what is sent unasked, who is granted, how far and at which level, and the levels of all
//! packets.

use core::net::SocketAddr;
use core::time::Duration;

use homa_proto::wire::{Body, Common, Data, Packet, RpcId};
use homa_proto::{Config, Event, REFERENCE_CUTOFFS};

use crate::world::{Fate, Flight, World};

/// A host whose link has a rate, so that messages take time.
fn slow_link() -> Config {
    Config {
        link_bits_per_second: Some(10_000_000_000),
        ..Config::default()
    }
}

fn without_fifo() -> Config {
    Config {
        fifo_grant_permille: 0,
        ..Config::default()
    }
}

/// Many clients with links of 10 Gb/s and one server, the last host.
fn incast(clients: usize, server: Config) -> World {
    let mut world = World::new((0..clients).map(|_| slow_link()).chain([server]));
    world.hosts[clients].answer = Some(1);
    world.hosts[clients].echo = true;
    world
}

/// Offset, level and receiver of each GRANT so far.
fn grants(world: &World) -> Vec<(u32, u8, usize)> {
    let flights = world.trace.iter().map(|(_, flight)| flight);
    flights
        .filter_map(|flight| match flight.body() {
            Body::Grant(grant) => Some((grant.offset, grant.priority.get(), flight.to)),
            _ => None,
        })
        .collect()
}

/// Offset and level of each DATA packet that host 0 sent.
fn levels(world: &World) -> Vec<(u32, u8)> {
    let flights = world.trace.iter().map(|(_, flight)| flight);
    flights
        .filter(|flight| flight.from == 0)
        .filter_map(|flight| Some((flight.payload?.1, flight.priority)))
        .collect()
}

#[test]
fn unscheduled_bytes_go_unasked_and_no_more_than_they() {
    let mut world = World::pair();
    world.on_wire(|_, flight| Fate::drop_if(flight.from == 1));
    world.call(0, 1, 1_000_000);
    world.run_ms(4);
    let end = levels(&world).iter().map(|&(offset, _)| offset).max();
    assert_eq!(end, Some(39_200 - 1_400));
    let incoming =
        world.count(|_, body| matches!(body, Body::Data(data) if data.incoming == 39_200));
    assert_eq!(incoming, 28);
}

#[test]
fn a_message_that_fits_into_the_unscheduled_bytes_needs_no_grant() {
    let mut world = World::echo_pair();
    world.call(0, 1, 40_000);
    world.run_ms(2);
    assert_eq!(world.hosts[0].responses(), 1);
    assert!(grants(&world).is_empty());
}

#[test]
fn a_segment_goes_when_its_first_byte_is_granted() {
    let exact = Config {
        window_bytes: Some(41_000),
        ..without_fifo()
    };
    let mut world = World::new([Config::default(), exact]);
    world.hosts[1].answer = Some(1);
    world.hosts[1].echo = true;
    world.call(0, 1, 80_000);
    world.run_ms(3);
    // No grant ends where a segment does, and none waits for the rest of one.
    assert!(
        grants(&world)
            .iter()
            .any(|(offset, _, _)| offset % 1_400 != 0)
    );
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.counters(1).resends_sent, 0);
}

#[test]
fn what_is_outstanding_stays_within_its_bounds_whatever_many_senders_want() {
    let roomy = Config {
        // For all, though none has proved its address when it begins.
        receive_budget_bytes: 8 * 90 * 400_000,
        ..Config::default()
    };
    let mut world = incast(30, roomy);
    for client in 0..30 {
        for _ in 0..3 {
            world.call(client, 30, 400_000);
        }
    }
    let mut most = (0, 0);
    while world
        .hosts
        .iter()
        .map(|host| host.responses())
        .sum::<usize>()
        < 90
    {
        world.run_for(Duration::from_micros(20));
        let usage = world.hosts[30].engine.usage();
        most.0 = most.0.max(usage.incoming_bytes);
        most.1 = most.1.max(usage.active_messages);
    }
    // What is sent unasked and FIFO grants come on top of what is granted by rank.
    let unasked = 90 * 1_400 + 30 * 40_000;
    assert!(most.0 <= 400_000 + 150_000 + unasked, "{most:?}");
    assert_eq!(most.1, 8);
    assert_eq!(world.counters(30).resends_sent, 0);
    world.assert_forgotten_later();
}

#[test]
fn with_overcommitment_one_messages_are_granted_one_after_the_other_shortest_first() {
    let one = Config {
        overcommitment: 1,
        window_bytes: Some(50_000),
        ..without_fifo()
    };
    let mut world = incast(4, one);
    for (client, length) in [400_000, 200_000, 300_000, 100_000].into_iter().enumerate() {
        world.call(client, 4, length);
    }
    world.run_ms(30);
    let order: Vec<usize> = grants(&world).into_iter().map(|(_, _, to)| to).collect();
    let mut firsts = order.clone();
    firsts.dedup();
    // The first that is heard of may get a grant before the others are known.
    assert!(firsts.ends_with(&[3, 1, 2, 0]), "{firsts:?}");
    let lengths: Vec<u32> = world.hosts[4]
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Request { length, .. } => Some(*length),
            _ => None,
        })
        .collect();
    assert_eq!(lengths, [100_000, 200_000, 300_000, 400_000]);
}

#[test]
fn several_programs_of_one_host_count_as_one_sender() {
    let two = Config {
        overcommitment: 2,
        ..without_fifo()
    };
    let mut world = World::new([two]);
    for program in 0..5 {
        world.add_host_at(
            SocketAddr::from(([10, 9, 9, 9], 5_000 + program)),
            slow_link(),
        );
    }
    let other = world.add_host_at(SocketAddr::from(([10, 9, 9, 8], 5_000)), slow_link());
    for program in 1..=5 {
        world.call(program, 0, 300_000);
    }
    world.call(other, 0, 900_000);
    world.run_for(Duration::from_micros(120));
    // The single host keeps one of the two places though five shorter messages want it.
    let to_other = grants(&world)
        .iter()
        .filter(|(_, _, to)| *to == other)
        .count();
    assert!(to_other > 1);
    let programs = grants(&world).into_iter().filter(|(_, _, to)| *to != other);
    let mut granted: Vec<usize> = programs.map(|(_, _, to)| to).collect();
    granted.sort_unstable();
    granted.dedup();
    assert!(granted.len() <= 2, "{granted:?}");
}

#[test]
fn a_newcomer_with_fewer_bytes_missing_is_granted_at_a_better_level() {
    let mut world = incast(2, without_fifo());
    world.call(0, 2, 1_000_000);
    world.run_for(Duration::from_micros(200));
    world.call(1, 2, 200_000);
    world.run_for(Duration::from_micros(100));
    let long = grants(&world).iter().rfind(|(_, _, to)| *to == 0).copied();
    let short = grants(&world).iter().rfind(|(_, _, to)| *to == 1).copied();
    let (long, short) = (long.unwrap(), short.unwrap());
    assert!(short.1 > long.1, "{short:?} {long:?}");
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses() + world.hosts[1].responses(), 2);
}

#[test]
fn scheduled_packets_go_at_the_level_of_the_latest_grant() {
    let mut world = incast(2, without_fifo());
    world.call(0, 2, 500_000);
    world.call(1, 2, 600_000);
    world.run_ms(10);
    let mut level = 0;
    let mut differ = 0;
    for (_, flight) in &world.trace {
        match flight.body() {
            // It arrives 5 µs later; nothing else arrives in between that changes the level.
            Body::Grant(grant) if flight.to == 0 => level = grant.priority.get(),
            Body::Data(data) if flight.from == 0 && data.offset >= 39_200 => {
                differ += u32::from(flight.priority != level);
                assert!(flight.priority <= 3, "below the unscheduled levels");
            }
            _ => {}
        }
    }
    assert!(differ < 20, "{differ} packets");
}

#[test]
fn the_oldest_message_makes_progress_beside_ever_new_shorter_ones() {
    for permille in [0, 100] {
        let server = Config {
            overcommitment: 1,
            window_bytes: Some(20_000),
            fifo_grant_permille: permille,
            link_bits_per_second: Some(10_000_000_000),
            ..Config::default()
        };
        let mut world = incast(3, server);
        world.call(0, 3, 1_000_000);
        world.run_for(Duration::from_micros(50));
        for _ in 0..200 {
            world.call(1, 3, 100_000);
            world.call(2, 3, 100_000);
            world.run_for(Duration::from_micros(100));
        }
        // One tenth of 10 Gb/s is a megabyte in 8 ms.
        let expected = usize::from(permille > 0);
        assert_eq!(world.hosts[0].responses(), expected);
        assert_eq!(world.counters(3).fifo_grants_sent > 0, permille > 0);
        // They go at the second-highest level.
        let fifo = |&(_, level, to): &(u32, u8, usize)| (level, to) == (6, 0);
        assert_eq!(grants(&world).iter().any(fifo), permille > 0);
    }
}

#[test]
fn a_message_that_falls_silent_gives_its_place_and_bytes_to_another() {
    let one = Config {
        overcommitment: 1,
        ..without_fifo()
    };
    let mut world = incast(2, one);
    world.call(0, 2, 300_000);
    world.run_for(Duration::from_micros(100));
    world.crash(0);
    world.call(1, 2, 900_000);
    world.run_ms(15);
    assert_eq!(world.hosts[1].responses(), 1);
    assert!(world.counters(2).grants_parked > 0);
    world.run_ms(2_000);
    world.hosts[2].assert_empty();
}

#[test]
fn a_window_bounds_what_one_message_has_outstanding() {
    let window = Config {
        window_bytes: Some(20_000),
        unscheduled_bytes: 5_000,
        ..without_fifo()
    };
    let mut world = World::new([
        Config {
            unscheduled_bytes: 5_000,
            ..slow_link()
        },
        window,
    ]);
    world.hosts[1].answer = Some(1);
    world.hosts[1].echo = true;
    world.call(0, 1, 400_000);
    let mut most = 0;
    while world.hosts[0].responses() == 0 {
        world.run_for(Duration::from_micros(1));
        most = most.max(world.hosts[1].engine.usage().incoming_bytes);
    }
    assert!((18_000..=20_000).contains(&most), "{most}");
}

#[test]
fn a_sender_that_promises_too_much_is_believed_as_far_as_we_would_go() {
    let mut world = World::pair();
    let packet = Packet {
        common: Common {
            source_port: 4_000,
            dest_port: 4_000,
            sender_id: RpcId::new(2),
        },
        body: Body::Data(Data {
            message_length: 1_000_000,
            incoming: 1_000_000,
            ack: None,
            cutoff_version: 0,
            retransmit: false,
            incast: false,
            offset: 0,
            payload_length: 1_000,
        }),
    };
    let client = world.hosts[0].address;
    world.inject(1, client, &packet, 1_000);
    let grants: Vec<u32> = grants(&world)
        .into_iter()
        .map(|(offset, _, _)| offset)
        .collect();
    // The window counts from what was received, not from what was promised.
    assert_eq!(grants.first(), Some(&201_000));
}

#[test]
fn a_late_grant_changes_the_level_but_not_the_limit() {
    let mut world = World::pair();
    world.on_wire(|_, flight| Fate::drop_if(matches!(flight.body(), Body::Grant(_))));
    world.call(0, 1, 500_000);
    world.run_for(Duration::from_micros(50));
    let flights: Vec<Flight> = world
        .trace
        .iter()
        .map(|(_, flight)| flight.clone())
        .collect();
    let grant = flights
        .iter()
        .find(|flight| matches!(flight.body(), Body::Grant(_)))
        .unwrap();
    let mut stale = grant.packet();
    let server = world.hosts[1].address;
    world.inject(0, server, &stale, 0);
    let sent = levels(&world).len();
    if let Body::Grant(grant) = &mut stale.body {
        grant.offset = 10;
    }
    world.inject(0, server, &stale, 0);
    assert_eq!(levels(&world).len(), sent);
    assert_eq!(world.counters(0).grants_stale, 1);
    assert_eq!(world.counters(0).grants_received, 1);
}

#[test]
fn cutoffs_are_told_once_and_set_the_level_of_unscheduled_packets() {
    let fixed = Config {
        cutoffs: Some(REFERENCE_CUTOFFS),
        ..Config::default()
    };
    let mut world = World::new([Config::default(), fixed]);
    world.hosts[1].echo = true;
    world.hosts[1].answer = Some(1);
    for (length, level) in [
        // Nothing is known yet.
        (100, 6),
        (1, 7),
        (200, 7),
        (201, 6),
        (2_800, 6),
        (2_801, 5),
        (15_000, 5),
        (15_001, 4),
        (300_000, 4),
    ] {
        let before = world.trace.len();
        world.call(0, 1, length);
        let (_, flight) = &world.trace[before];
        assert_eq!(flight.priority, level, "{length} bytes");
        world.run_ms(10);
    }
    assert_eq!(world.counters(1).cutoffs_sent, 1);
    assert_eq!(world.counters(0).cutoffs_received, 1);
    assert_eq!(world.hosts[0].responses(), 9);
}

#[test]
fn cutoffs_of_the_peer_and_not_our_own_set_the_level() {
    let other = Config {
        cutoffs: Some([0, 0, 0, 0, 0, 1_000_000, 500, 50]),
        ..Config::default()
    };
    let mut world = World::new([Config::default(), other]);
    world.hosts[1].echo = true;
    world.call(0, 1, 10);
    world.run_ms(1);
    let before = world.trace.len();
    world.call(0, 1, 100);
    assert_eq!(world.trace[before].1.priority, 6);
    world.run_ms(1);
    // The server knows the client's, by which 100 bytes go at the top.
    let response = world
        .trace
        .iter()
        .rfind(|(_, flight)| flight.from == 1 && flight.payload.is_some());
    assert_eq!(response.unwrap().1.priority, 7);
}

#[test]
fn with_any_number_of_levels_control_packets_take_the_top_and_none_leaves_the_range() {
    for priorities in 1..=8 {
        let config = Config {
            priorities,
            ..Config::default()
        };
        let mut world = World::new([config.clone(), config]);
        world.hosts[1].echo = true;
        world.lose(3, |_, body| matches!(body, Body::Data(_)));
        for length in [10, 1_000, 10_000, 500_000, 900_000, 700_000] {
            world.call(0, 1, length);
        }
        world.run_ms(100);
        assert_eq!(world.hosts[0].responses(), 6);
        for (_, flight) in &world.trace {
            let body = flight.body();
            assert!(flight.priority < priorities, "{body:?}");
            match body {
                Body::Data(_) => {}
                _ => assert_eq!(flight.priority, priorities - 1, "{body:?}"),
            }
            match body {
                Body::Grant(grant) => assert!(grant.priority.get() < priorities),
                Body::Resend(resend) => assert!(resend.priority.unwrap().get() < priorities),
                Body::Cutoffs(cutoffs) => {
                    let absent = &cutoffs.cutoffs[usize::from(priorities)..];
                    assert!(absent.iter().all(|&cutoff| cutoff == 0), "{cutoffs:?}");
                    assert_eq!(cutoffs.cutoffs[0], i32::MAX as u32);
                }
                _ => {}
            }
        }
        world.assert_forgotten_later();
    }
}

#[test]
fn a_peer_with_fewer_levels_is_sent_nothing_above_them() {
    let few = Config {
        priorities: 3,
        cutoffs: Some([0, 1_000_000, 1_000, 0, 0, 0, 0, 0]),
        ..Config::default()
    };
    let mut world = World::new([Config::default(), few]);
    world.hosts[1].echo = true;
    world.call(0, 1, 10);
    world.run_ms(1);
    let before = world.trace.len();
    world.call(0, 1, 100);
    world.call(0, 1, 500_000);
    world.run_ms(10);
    let data = world.trace[before..]
        .iter()
        .filter(|(_, flight)| flight.from == 0 && flight.payload.is_some());
    for (_, flight) in data {
        assert!(flight.priority < 3);
    }
}

#[test]
fn what_an_announced_message_loses_is_asked_for_in_time() {
    let one = Config {
        overcommitment: 1,
        ..without_fifo()
    };
    let link = |bits_per_second| Config {
        link_bits_per_second: Some(bits_per_second),
        ..Config::default()
    };
    let mut world = World::new([
        link(1_000_000_000),
        Config::default(),
        one,
        link(50_000_000),
    ]);
    world.hosts[1].echo = true;
    // The second server grants a shorter message for a long time.
    world.call(3, 2, 900_000);
    world.run_ms(1);
    world.call(0, 1, 990_000);
    world.call(0, 2, 1_000_000);
    world.run_ms(7);
    // Announced, and otherwise not begun.
    let to_second =
        |flight: &Flight| flight.from == 0 && flight.to == 2 && flight.payload.is_some();
    assert_eq!(world.count(|flight, _| to_second(flight)), 1);
    world.lose(1, move |flight, _| to_second(flight));
    // What is granted of the shorter message goes ahead of it: its bytes may be late, at first.
    world.run_ms(12);
    assert!(world.counters(2).asks_put_off > 0);
    assert_eq!(world.counters(2).resends_sent, 0);
    world.run_ms(35);
    let resent = |body: &Body| matches!(body, Body::Data(data) if data.retransmit);
    assert_eq!(
        world.count(|flight, body| to_second(flight) && resent(body)),
        1
    );
}
