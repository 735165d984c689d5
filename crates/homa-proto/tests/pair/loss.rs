//! Loss: every kind of packet lost, asked for again, and recovered.

use core::time::Duration;
use std::collections::BTreeMap;

use homa_proto::wire::{Body, Data, Packet, ResendRange};
use homa_proto::{Config, Unreachable};

use crate::world::{Fate, Flight, Random, World};

/// Each packet sent again lies within one segment that was sent before.
fn assert_borders_are_kept(world: &World) {
    let mut segments: BTreeMap<(u64, u32), u32> = BTreeMap::new();
    for (_, flight) in &world.trace {
        let (Body::Data(data), Some((message, offset, length))) = (flight.body(), flight.payload)
        else {
            continue;
        };
        assert_eq!(data.offset, offset);
        if data.retransmit {
            let before = segments.range(..=(message, offset)).next_back();
            let (&(original, _), &end) = before.expect("it was sent before");
            assert!(original == message && offset + length <= end);
        } else {
            segments.insert((message, offset), offset + length);
        }
    }
}

#[test]
fn with_loss_reordering_and_duplication_every_rpc_completes_once() {
    for seed in 1..=10 {
        let mut world = World::echo_pair();
        let mut random = Random(seed);
        world.on_wire(move |_, _| match random.below(10) {
            0 => Fate::Drop,
            1 => Fate::Delay(Duration::from_micros(random.below(3_000))),
            2 => Fate::Duplicate(Duration::from_micros(random.below(100_000))),
            _ => Fate::Deliver,
        });
        let mut random = Random(seed);
        for _ in 0..200 {
            let length = random.length(18);
            world.call(0, 1, length);
        }
        world.run_for(Duration::from_secs(20));
        assert_eq!(
            world.hosts[0].responses(),
            200,
            "{:?}",
            world.hosts[0].failures()
        );
        assert_borders_are_kept(&world);
        world.run_for(Duration::from_secs(20));
        world.assert_empty();
    }
}

#[test]
fn sixteen_mebibytes_both_ways_survive_a_tenth_lost() {
    let large = Config {
        max_message_bytes: 16 << 20,
        ..Config::default()
    };
    let mut world = World::new([large.clone(), large]);
    world.keep_trace = false;
    world.hosts[1].echo = true;
    let mut random = Random(3);
    world.on_wire(move |_, _| Fate::drop_if(random.below(10) == 0));
    world.call(0, 1, 16 << 20);
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.hosts[0].responses(), 1);
    world.assert_forgotten_later();
}

#[test]
fn whichever_data_packet_is_lost_it_alone_is_sent_again() {
    for lost in 0..8 {
        let mut world = World::echo_pair();
        let mut data = 0;
        world.on_wire(move |_, flight| {
            let hit = matches!(flight.body(), Body::Data(_)) && data == lost;
            data += usize::from(matches!(flight.body(), Body::Data(_)));
            Fate::drop_if(hit)
        });
        world.call(0, 1, 5_000);
        world.run_ms(11);
        assert_eq!(world.hosts[0].responses(), 1, "packet {lost}");
        let resent = |host: usize| world.counters(host).data_resent;
        assert_eq!(resent(0) + resent(1), 1, "packet {lost}");
        assert_borders_are_kept(&world);
        world.assert_forgotten_later();
    }
}

#[test]
fn every_gap_is_asked_for_by_a_resend_of_its_own() {
    let mut world = World::echo_pair();
    world.hosts[1].answer = Some(10);
    // Segments 2, 4, 5 and the last.
    let lost = [2_800, 5_600, 7_000, 18_200];
    let first = |flight: &Flight| matches!(flight.body(), Body::Data(data) if !data.retransmit);
    world.on_wire(move |_, flight| {
        let offset = flight.payload.map_or(1, |(_, offset, _)| offset);
        Fate::drop_if(flight.from == 0 && first(flight) && lost.contains(&offset))
    });
    world.call(0, 1, 19_000);
    world.run_ms(20);
    let ranges: Vec<ResendRange> = world
        .trace
        .iter()
        .filter_map(|(_, flight)| match flight.body() {
            Body::Resend(resend) if flight.from == 1 => Some(resend.range),
            _ => None,
        })
        .collect();
    let bytes = |offset, length| ResendRange::Bytes { offset, length };
    assert_eq!(
        ranges,
        [bytes(2_800, 1_400), bytes(5_600, 2_800), bytes(18_200, 800)]
    );
    assert_eq!(world.counters(0).data_resent, 4);
    assert_eq!(world.hosts[0].responses(), 1);
}

#[test]
fn missing_bytes_are_asked_for_in_time_however_many_messages_miss_some() {
    let mut world = World::echo_pair();
    world.hosts[1].answer = Some(2_800);
    world.lose(100, |flight, _| {
        flight.from == 1 && flight.payload.is_some_and(|(_, offset, _)| offset == 1_400)
    });
    for _ in 0..100 {
        world.call(0, 1, 100);
    }
    world.run_ms(7);
    assert_eq!(world.hosts[0].responses(), 100);
    assert_eq!(world.counters(0).asks_put_off, 0);
}

#[test]
fn missing_bytes_are_asked_for_beside_more_questions_than_a_silent_peer_gets() {
    let mut world = World::echo_pair();
    let mut lost = false;
    world.on_wire(move |_, flight| match flight.payload {
        _ if flight.from == 0 => Fate::Deliver,
        Some((_, 1_400, _)) if !lost => {
            lost = true;
            Fate::Drop
        }
        Some((_, _, length)) => Fate::drop_if(length == 100),
        None => Fate::Drop,
    });
    world.hosts[1].answer = Some(100);
    for _ in 0..40 {
        world.call(0, 1, 100);
    }
    world.run_for(Duration::from_micros(100));
    world.hosts[1].answer = Some(2_800);
    world.call(0, 1, 100);
    world.run_ms(7);
    assert!(world.counters(0).asks_put_off > 0);
    assert_eq!(world.hosts[0].responses(), 1);
}

#[test]
fn one_packet_of_each_kind_may_be_lost() {
    type Kind = fn(&Body) -> bool;
    let kinds: [(&str, Kind); 7] = [
        ("GRANT", |body| matches!(body, Body::Grant(_))),
        ("RESEND", |body| matches!(body, Body::Resend(_))),
        ("RPC_UNKNOWN", |body| matches!(body, Body::RpcUnknown(_))),
        ("BUSY", |body| matches!(body, Body::Busy)),
        ("CUTOFFS", |body| matches!(body, Body::Cutoffs(_))),
        ("NEED_ACK", |body| matches!(body, Body::NeedAck)),
        ("ACK", |body| matches!(body, Body::Ack(_))),
    ];
    for (name, kind) in kinds {
        for count in 1..4 {
            let mut world = World::pair();
            world.lose(count, move |_, body| kind(body));
            world.call(0, 1, 200_000);
            world.run_ms(60);
            let (rpc, _) = world.hosts[1].requests[0];
            world.reply(1, rpc, 200_000);
            world.run_ms(60);
            assert_eq!(world.hosts[0].responses(), 1, "{count} × {name}");
            world.run_ms(1_000);
            assert_eq!(world.hosts[1].endings(), [true], "{count} × {name}");
            assert_eq!(world.counters(1).acks_given_up, 0, "{count} × {name}");
            world.assert_forgotten_later();
        }
    }
}

#[test]
fn without_a_single_grant_arriving_resends_stand_for_them() {
    let mut world = World::echo_pair();
    world.on_wire(|_, flight| Fate::drop_if(matches!(flight.body(), Body::Grant(_))));
    world.call(0, 1, 500_000);
    world.run_ms(200);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.counters(0).grants_received, 0);
    world.assert_forgotten_later();
}

#[test]
fn loss_halves_what_a_peer_is_sent_unasked_and_success_restores_it() {
    let mut world = World::echo_pair();
    world.hosts[1].answer = Some(1);
    let unasked = |world: &mut World| {
        let before = world.trace.len();
        world.call(0, 1, 100_000);
        let first = &world.trace[before..];
        let bytes = first.iter().filter_map(|(_, flight)| flight.payload);
        let bytes: u32 = bytes.map(|(_, _, length)| length).sum();
        world.run_ms(30);
        bytes
    };
    assert_eq!(unasked(&mut world), 39_200);
    world.lose(1, |_, body| matches!(body, Body::Data(_)));
    unasked(&mut world);
    assert_eq!(world.counters(0).shares_halved, 1);
    assert!((18_200..=21_000).contains(&unasked(&mut world)));
    for _ in 0..40 {
        unasked(&mut world);
    }
    assert_eq!(unasked(&mut world), 39_200);
}

#[test]
fn granted_bytes_that_wait_in_the_network_are_asked_for_but_not_taken_for_lost() {
    let mut world = World::echo_pair();
    world.hosts[1].answer = Some(1);
    world.on_wire(|_, flight| match flight.payload {
        Some((_, offset, _)) if offset >= 39_200 => Fate::Delay(Duration::from_millis(12)),
        _ => Fate::Deliver,
    });
    world.call(0, 1, 200_000);
    world.run_ms(100);
    assert_eq!(world.hosts[0].responses(), 1);
    assert!(world.counters(0).data_resent > 0);
    for host in 0..2 {
        assert_eq!(world.counters(host).shares_halved, 0);
    }
}

/// Whether a packet carries bytes of the first message behind `offset`.
fn follows(flight: &Flight, offset: u32) -> bool {
    flight
        .payload
        .is_some_and(|(message, at, _)| message == 1 && at > offset)
}

#[test]
fn a_gap_in_granted_bytes_halves_the_share_of_whoever_granted_them() {
    let mut world = World::echo_pair();
    world.hosts[1].answer = Some(1);
    world.lose(1, |flight, _| follows(flight, 60_000));
    world.call(0, 1, 200_000);
    world.run_ms(100);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(
        [0, 1].map(|host| world.counters(host).shares_halved),
        [0, 1]
    );
}

#[test]
fn granted_bytes_that_others_of_their_message_overtake_are_late_and_not_lost() {
    let slow = || Config {
        link_bits_per_second: Some(10_000_000_000),
        ..Config::default()
    };
    let receiver = Config {
        fifo_grant_permille: 0,
        ..Config::default()
    };
    let mut world = World::new([slow(), slow(), receiver]);
    world.hosts[2].echo = true;
    world.hosts[2].answer = Some(1);
    // The lowest level has to wait.
    world.on_wire(
        |_, flight| match follows(flight, 39_200) && flight.priority == 0 {
            true => Fate::Delay(Duration::from_millis(12)),
            false => Fate::Deliver,
        },
    );
    world.call(0, 2, 500_000);
    world.run_for(Duration::from_micros(60));
    // Beside a longer message the first one has a better level.
    world.call(1, 2, 900_000);
    world.run_ms(100);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.hosts[1].responses(), 1);
    let overtaking = world.count(|flight, _| follows(flight, 39_200) && flight.priority > 0);
    assert!(overtaking > 100, "{overtaking}");
    assert!(world.counters(0).data_resent > 0);
    for host in 0..3 {
        assert_eq!(world.counters(host).shares_halved, 0);
    }
}

#[test]
fn where_large_packets_never_arrive_messages_complete_in_small_ones() {
    for length in [1_300, 5_000, 60_000, 300_000, 1_000_000] {
        for segment in [1_400, 8_900] {
            let mut world = World::echo_pair();
            for host in 0..2 {
                world.hosts[host].segment = segment;
            }
            let mut random = Random(u64::from(length));
            world.on_wire(move |_, flight| {
                Fate::drop_if(flight.length > 1_300 || random.below(50) == 0)
            });
            world.call(0, 1, length);
            world.run_ms(2_000);
            assert_eq!(world.hosts[0].responses(), 1, "{length} bytes in {segment}");
            assert!(world.counters(0).segments_shrunk > 0);
            assert_borders_are_kept(&world);
            world.assert_forgotten_later();
        }
    }
}

#[test]
fn once_segments_shrank_no_large_packet_of_the_message_is_sent_again() {
    let mut world = World::pair();
    world.hosts[0].segment = 8_900;
    let mut small = 0;
    world.on_wire(move |_, flight| {
        let data = matches!(flight.body(), Body::Data(_));
        small += u32::from(data && flight.length <= 1_300);
        // Some of the small ones are lost as well.
        Fate::drop_if(flight.length > 1_300 || data && small % 7 == 3)
    });
    world.call(0, 1, 200_000);
    world.run_ms(500);
    assert_eq!(world.hosts[1].requests_run(), 1);
    let data = world
        .trace
        .iter()
        .filter(|(_, flight)| flight.payload.is_some());
    let sizes: Vec<bool> = data.map(|(_, flight)| flight.length > 1_300).collect();
    let first_small = sizes.iter().position(|large| !large).unwrap();
    assert!(sizes[first_small..].iter().all(|large| !large));
}

#[test]
fn a_packet_that_the_network_calls_too_big_is_followed_by_smaller_ones() {
    let mut world = World::echo_pair();
    world.hosts[0].segment = 8_900;
    world.hosts[1].answer = Some(1);
    world.on_wire(|_, flight| Fate::drop_if(flight.length > 1_300));
    world.call(0, 1, 20_000);
    let header = world.trace[0].1.header.clone();
    let server = world.hosts[1].address;
    let what = Unreachable::TooBig {
        segment_bytes: 1_400,
    };
    world.with(0, |engine, now| {
        engine.handle_unreachable(now, server, &header, what);
    });
    assert_eq!(world.counters(0).segments_shrunk, 1);
    world.run_ms(12);
    assert_eq!(world.hosts[0].responses(), 1);
}

#[test]
fn resends_go_before_new_bytes() {
    let config = Config {
        link_bits_per_second: Some(1_000_000_000),
        ..Config::default()
    };
    let mut world = World::new([config, Config::default()]);
    world.hosts[1].echo = true;
    world.hosts[1].answer = Some(1);
    world.lose(1, |flight, _| {
        flight.payload.is_some_and(|(_, offset, _)| offset == 1_400)
    });
    world.call(0, 1, 1_000_000);
    for _ in 0..10 {
        world.call(0, 1, 500_000);
    }
    world.run_ms(80);
    let resend = |flight: &Flight| matches!(flight.body(), Body::Data(data) if data.retransmit);
    let at = world
        .trace
        .iter()
        .position(|(_, flight)| resend(flight))
        .unwrap();
    let asked = world.trace[..at]
        .iter()
        .rposition(|(_, flight)| matches!(flight.body(), Body::Resend(_)))
        .unwrap();
    let waited = world.trace[at].0.nanos_since(world.trace[asked].0);
    assert_eq!(waited, 5_000, "it leaves when the RESEND arrives");
}

#[test]
fn of_bytes_that_are_there_in_part_the_missing_ones_are_taken_and_other_lengths_dropped() {
    let mut world = World::pair();
    world.on_wire(|_, _| Fate::Drop);
    world.call(0, 1, 5_000);
    let request = world.trace[0].1.packet();
    let client = world.hosts[0].address;
    let send = |world: &mut World, message_length: u32, offset: u32, payload_length: u32| {
        let Body::Data(data) = request.body else {
            panic!("the first packet is DATA");
        };
        let data = Data {
            message_length,
            offset,
            payload_length,
            ..data
        };
        let packet = Packet {
            body: Body::Data(data),
            ..request
        };
        world.inject(1, client, &packet, payload_length);
    };
    send(&mut world, 5_000, 1_000, 1_000);
    send(&mut world, 5_000, 1_000, 1_000);
    send(&mut world, 5_000, 1_500, 10);
    assert_eq!(world.counters(1).dropped_duplicate, 2);
    send(&mut world, 5_001, 0, 100);
    assert_eq!(world.counters(1).dropped_contradiction, 1);
    // Over its start, over its end, and over all of it, which fills the gap before it.
    for (offset, length) in [(500, 600), (1_900, 200), (0, 2_500)] {
        send(&mut world, 5_000, offset, length);
    }
    assert_eq!(world.counters(1).data_trimmed, 3);
    send(&mut world, 5_000, 2_100, 2_900);
    assert_eq!(world.counters(1).data_received, 5);
    assert_eq!(world.hosts[1].requests_run(), 1);
}
