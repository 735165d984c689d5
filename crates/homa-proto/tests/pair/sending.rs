//! The order of sending: SRPT, the pacer, what goes past both, announcements, bursts.

use core::time::Duration;

use homa_proto::wire::Body;
use homa_proto::{Config, Instant, REFERENCE_CUTOFFS, Reason};

use crate::world::World;

const GIGABIT: u64 = 1_000_000_000;

/// Host 0 behind a link with a rate, and two servers that answer with a byte.
fn behind_a_link(bits_per_second: u64) -> World {
    let client = Config {
        link_bits_per_second: Some(bits_per_second),
        pacer_fifo_permille: 0,
        ..Config::default()
    };
    let mut world = World::new([client, Config::default(), Config::default()]);
    for server in 1..3 {
        world.hosts[server].echo = true;
        world.hosts[server].answer = Some(1);
    }
    world
}

/// When host 0 sent which bytes of which message: time, number of the message, offset, `incoming`.
fn sent(world: &World) -> Vec<(Instant, u64, u32, u32)> {
    let data = world.trace.iter().filter(|(_, flight)| flight.from == 0);
    data.filter_map(|(at, flight)| {
        let (message, offset, _) = flight.payload?;
        match flight.body() {
            Body::Data(data) => Some((*at, message, offset, data.incoming)),
            _ => None,
        }
    })
    .collect()
}

/// The messages in the order in which their last bytes were sent.
fn order_of_ends(world: &World) -> Vec<u64> {
    let mut order: Vec<u64> = Vec::new();
    for (_, message, _, _) in sent(world).into_iter().rev() {
        if !order.contains(&message) {
            order.push(message);
        }
    }
    order.reverse();
    order
}

fn microseconds(count: u64) -> Duration {
    Duration::from_micros(count)
}

#[test]
fn messages_leave_in_the_order_of_bytes_remaining() {
    let mut world = behind_a_link(10 * GIGABIT);
    for length in [30_000, 8_000, 39_000, 2_000, 16_000] {
        let call = world.a_call(0, 1, length);
        world.enqueue(0, call).unwrap();
    }
    world.drain(0);
    world.run_ms(2);
    assert_eq!(order_of_ends(&world), [4, 2, 5, 1, 3]);
    assert_eq!(world.hosts[0].responses(), 5);
}

#[test]
fn a_shorter_message_goes_before_the_rest_of_a_longer_one() {
    let mut world = behind_a_link(GIGABIT);
    world.call(0, 1, 39_000);
    world.run_for(microseconds(50));
    world.call(0, 2, 12_000);
    world.run_ms(2);
    assert_eq!(order_of_ends(&world), [2, 1]);
    let packets = sent(&world);
    let first = packets
        .iter()
        .position(|&(_, message, _, _)| message == 2)
        .unwrap();
    assert!(
        packets[first..first + 9]
            .iter()
            .all(|&(_, message, _, _)| message == 2)
    );
    let waited = packets[first].0.as_nanos() - 1_000_050_000;
    assert!(waited < 30_000, "longer than two packets take: {waited} ns");
}

#[test]
fn a_message_that_was_longer_goes_first_once_fewer_bytes_of_it_remain() {
    let mut world = behind_a_link(GIGABIT);
    world.call(0, 1, 39_000);
    world.run_for(microseconds(200));
    world.call(0, 2, 20_000);
    world.run_ms(2);
    assert_eq!(order_of_ends(&world), [1, 2]);
}

#[test]
fn an_announced_message_stands_in_the_order_by_what_its_announcement_left() {
    let mut world = behind_a_link(GIGABIT);
    // No GRANT comes in time to correct its place.
    world.latency = Duration::from_millis(2);
    // 40,500 less the 1,400 of the announcement are fewer than 39,900.
    for length in [20_000, 40_500, 39_900] {
        let call = world.a_call(0, 1, length);
        world.enqueue(0, call).unwrap();
    }
    world.drain(0);
    world.run_ms(2);
    let mut messages: Vec<u64> = sent(&world)
        .into_iter()
        .map(|(_, message, ..)| message)
        .collect();
    messages.dedup();
    assert_eq!(messages, [2, 1, 2, 3], "the announcement, then the order");
}

#[test]
fn requests_and_responses_stand_in_one_order() {
    let mut world = behind_a_link(GIGABIT);
    world.call(1, 0, 100);
    world.run_ms(1);
    world.call(0, 2, 39_000);
    let (rpc, _) = world.hosts[0].requests[0];
    world.reply(0, rpc, 10_000);
    world.run_ms(2);
    let order = order_of_ends(&world);
    assert_eq!(order, [3, 2], "the response is the third message of all");
}

#[test]
fn the_pacer_holds_the_rate_of_the_link_within_a_hundredth() {
    for rate in [GIGABIT / 10, GIGABIT, 10 * GIGABIT, 25 * GIGABIT] {
        let mut world = behind_a_link(rate);
        for i in 0..20 {
            world.call(0, 1 + i % 2, 1_000_000);
        }
        let start = world.now;
        let duration =
            Duration::from_millis(5) * u32::try_from(10 * GIGABIT / rate).unwrap().max(1);
        world.run_for(duration);
        assert!(world.hosts[0].responses() < 20);
        let overhead = u64::from(world.hosts[0].engine.config().packet_overhead_bytes);
        let from_0 = world
            .trace
            .iter()
            .filter(|(_, flight)| flight.payload.is_some() && flight.from == 0);
        let bytes: u64 = from_0
            .map(|(_, flight)| u64::from(flight.length) + overhead)
            .sum();
        let allowed = u128::from(rate) * duration.as_nanos() / 8_000_000_000;
        let share = bytes as f64 / allowed as f64;
        assert!(
            (0.99..=1.01).contains(&share),
            "{share} of {rate} since {start:?}"
        );
    }
}

#[test]
fn never_is_more_given_to_the_link_than_it_sends_in_the_backlog() {
    let mut world = behind_a_link(10 * GIGABIT);
    for i in 0..10 {
        world.call(0, 1 + i % 2, 500_000);
    }
    world.run_ms(3);
    // A link that sends a bit a tenth of a nanosecond, and how much waits in front of it.
    let (mut waiting, mut last) = (0_i64, world.trace[0].0);
    for (at, flight) in &world.trace {
        if flight.from == 0 && flight.payload.is_some() {
            waiting = (waiting - at.nanos_since(last) as i64 * 10).max(0);
            waiting += (i64::from(flight.length) + 66) * 8;
            last = *at;
            // One burst may begin while 5 µs wait, and has at most 5 µs itself or one packet.
            assert!(waiting <= 2 * 5_000 * 10 + 66 * 8 * 4, "{waiting} bits");
        }
    }
}

#[test]
fn short_messages_pass_the_pacer_and_all_longer_ones() {
    let mut world = behind_a_link(GIGABIT / 10);
    world.call(0, 1, 500_000);
    world.run_ms(1);
    let (at, count) = (world.now, sent(&world).len());
    world.call(0, 1, 999);
    world.call(0, 2, 1_000);
    let now: Vec<_> = sent(&world)[count..].to_vec();
    assert_eq!(now.len(), 1, "1,000 bytes wait, 999 do not");
    assert_eq!((now[0].0, now[0].1), (at, 2));
    assert!(matches!(
        world.hosts[0].engine.poll_timeout(),
        Some((_, Reason::Pacer))
    ));
}

#[test]
fn the_oldest_message_gets_its_share_of_the_link() {
    for permille in [0, 200] {
        let client = Config {
            link_bits_per_second: Some(10 * GIGABIT),
            pacer_fifo_permille: permille,
            ..Config::default()
        };
        let mut world = World::new([client, Config::default()]);
        world.hosts[1].echo = true;
        world.hosts[1].answer = Some(1);
        world.call(0, 1, 1_000_000);
        for _ in 0..150 {
            // More than the link can send.
            for _ in 0..4 {
                world.call(0, 1, 38_000);
            }
            world.run_for(microseconds(100));
        }
        let packets = sent(&world);
        let oldest = packets
            .iter()
            .filter(|&&(_, message, _, _)| message == 1)
            .count();
        let share = oldest * 1_000 / packets.len();
        let expected = if permille == 0 { 0..30 } else { 45..230 };
        assert!(expected.contains(&share), "{share} of 1,000 at {permille}");
    }
}

#[test]
fn a_long_message_behind_another_is_announced_at_once() {
    let mut world = behind_a_link(10 * GIGABIT);
    world.call(0, 1, 500_000);
    world.run_for(microseconds(10));
    let called = world.now;
    world.call(0, 2, 1_000_000);
    world.run_for(microseconds(300));
    let packets: Vec<_> = sent(&world)
        .into_iter()
        .filter(|&(_, message, _, _)| message == 2)
        .collect();
    let (at, _, offset, incoming) = packets[0];
    assert!(at.nanos_since(called) < 6_000, "{}", at.nanos_since(called));
    assert_eq!((offset, incoming), (0, 1_400));
    assert_eq!(world.counters(0).announcements_sent, 1);
    // Then it waits for its turn.
    let next = packets.get(1).map(|packet| packet.0.nanos_since(called));
    assert!(next.is_none_or(|after| after > 100_000), "{next:?}");
    world.run_ms(5);
    assert_eq!(world.hosts[0].responses(), 2);
}

#[test]
fn an_announced_message_is_granted_by_its_length_from_the_start() {
    let mut world = behind_a_link(10 * GIGABIT);
    world.call(0, 1, 300_000);
    world.call(0, 2, 900_000);
    world.run_for(microseconds(40));
    let granted = world.count(|flight, body| flight.from == 2 && matches!(body, Body::Grant(_)));
    assert!(granted > 0);
}

#[test]
fn a_message_alone_or_without_need_of_grants_is_not_announced() {
    let mut world = behind_a_link(10 * GIGABIT);
    world.call(0, 1, 500_000);
    world.run_ms(5);
    for _ in 0..5 {
        world.call(0, 1, 40_000);
    }
    world.run_ms(5);
    assert_eq!(world.counters(0).announcements_sent, 0);
    assert_eq!(world.hosts[0].responses(), 6);
}

#[test]
fn a_burst_ends_with_the_unscheduled_bytes_where_the_level_changes() {
    for segment in [1_400, 1_000, 333, 64] {
        // Grants arrive while the unscheduled bytes are still leaving. FIFO grants would be of a
        // level above them.
        let client = Config {
            link_bits_per_second: Some(10 * GIGABIT),
            ..Config::default()
        };
        let server = Config {
            fifo_grant_permille: 0,
            cutoffs: Some(REFERENCE_CUTOFFS),
            ..Config::default()
        };
        let mut world = World::new([client, server]);
        world.hosts[0].segment = segment;
        // So that the client knows the cutoffs, by which unscheduled bytes go at level 4.
        world.call(0, 1, 10);
        world.run_ms(1);
        world.trace.clear();
        world.call(0, 1, 300_000);
        world.run_ms(5);
        let unscheduled = 40_000 / segment * segment;
        let granted = world.count(|_, body| matches!(body, Body::Grant(_)));
        assert!(granted > 0 && world.counters(0).data_resent == 0);
        let mut both = [0; 2];
        for (_, flight) in world.trace.iter().filter(|(_, flight)| flight.from == 0) {
            if let Some((_, offset, _)) = flight.payload {
                both[usize::from(flight.priority == 4)] += 1;
                assert_eq!(flight.priority == 4, offset < unscheduled, "{offset}");
            }
        }
        assert_eq!(both[1], unscheduled / segment);
    }
}

#[test]
fn small_messages_to_one_peer_leave_in_one_burst() {
    let mut world = World::echo_pair();
    for _ in 0..100 {
        let call = world.a_call(0, 1, 100);
        world.enqueue(0, call).unwrap();
    }
    world.drain(0);
    // 64 packets are as many as one UDP_SEGMENT send takes.
    assert_eq!(world.counters(0).data_bursts, 2);
    assert_eq!(world.counters(0).data_sent, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 100);
}

#[test]
fn a_burst_of_small_messages_ends_at_a_longer_one_another_peer_or_another_socket() {
    let mut world = World::new((0..3).map(|_| Config::default()));
    let other = world.with(0, |engine, _| engine.open_socket(4_007, false).unwrap());
    let mut bursts = 0;
    for (peer, length, socket) in [
        (1, 100, None),
        (1, 100, None),
        (1, 50, None),
        // Longer than the last, which was shorter than the first.
        (1, 60, None),
        (2, 60, None),
        (2, 60, Some(other)),
    ] {
        let mut call = world.a_call(0, peer, length);
        call.path.socket = socket.unwrap_or(call.path.socket);
        world.enqueue(0, call).unwrap();
        bursts += 1;
    }
    world.drain(0);
    assert_eq!(world.counters(0).data_bursts, bursts - 2);
}

#[test]
fn an_unknown_link_gets_bursts_as_large_as_one_send_takes() {
    let mut world = World::pair();
    world.hosts[0].segment = 1_000;
    world.call(0, 1, 40_000);
    assert_eq!(world.counters(0).data_bursts, 1);
    assert_eq!(world.counters(0).data_sent, 40);
}

#[test]
fn bursts_keep_to_the_configured_bytes_and_packets() {
    let client = Config {
        burst_bytes: 10_000,
        burst_packets: 3,
        ..Config::default()
    };
    let mut world = World::new([client, Config::default()]);
    world.call(0, 1, 14_000);
    assert_eq!(world.counters(0).data_bursts, 4);
    world.hosts[0].segment = 5_000;
    world.call(0, 1, 20_000);
    assert_eq!(
        world.counters(0).data_bursts,
        4 + 4,
        "two would be 10,112 bytes"
    );
}

#[test]
fn joined_segments_are_on_the_wire_what_they_are_one_by_one() {
    let [joined, apart] = [true, false].map(|joins_segments| {
        let config = Config {
            joins_segments,
            ..Config::default()
        };
        let mut world = World::new([config.clone(), config]);
        world.hosts[1].echo = true;
        let mut random = crate::world::Random(9);
        world.on_wire(move |_, _| crate::world::Fate::drop_if(random.below(20) == 0));
        for length in [1, 1_400, 1_401, 39_000, 40_000, 41_000, 250_000, 1_000_000] {
            world.call(0, 1, length);
            world.call(0, 1, length);
            world.run_ms(30);
        }
        world.run_ms(500);
        assert!(world.counters(0).data_resent > 0);
        let sent = |host: usize| {
            let counters = world.counters(host);
            (counters.data_sent, counters.packets_sent)
        };
        let sent = (sent(0), sent(1));
        let trace = world.trace.into_iter();
        let headers: Vec<_> = trace
            .map(|(at, flight)| (at, flight.from, flight.header, flight.payload))
            .collect();
        (sent, headers)
    });
    assert!(apart.1.len() > 3_000);
    assert_eq!(joined, apart);
}

#[test]
fn both_fields_of_a_data_header_carry_the_true_offset() {
    let mut world = World::echo_pair();
    let mut random = crate::world::Random(4);
    world.on_wire(move |_, _| crate::world::Fate::drop_if(random.below(10) == 0));
    world.call(0, 1, 100_000);
    world.run_ms(50);
    let mut seen = 0;
    for (_, flight) in &world.trace {
        let Some((_, offset, _)) = flight.payload else {
            continue;
        };
        let field = |at: usize| {
            let bytes = flight.header[at..at + 4].try_into().unwrap();
            u32::from_be_bytes(bytes)
        };
        assert_eq!((field(4), field(52)), (offset, offset));
        seen += 1;
    }
    assert!(seen > 140);
}

#[test]
fn messages_that_wait_for_grants_leave_the_link_to_others() {
    let mut world = behind_a_link(10 * GIGABIT);
    // The first server grants nothing.
    world.on_wire(|_, flight| crate::world::Fate::drop_if(flight.from == 1));
    world.call(0, 1, 200_000);
    world.call(0, 2, 900_000);
    world.run_ms(2);
    assert_eq!(world.hosts[0].responses(), 1);
}
