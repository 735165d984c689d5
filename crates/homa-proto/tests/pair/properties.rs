//! Laws that hold whatever is said and done: random games, hostile packets, a swarm of hosts, and
//! the corpus of the fuzzer.

use core::cell::Cell;
use core::time::Duration;
use std::rc::Rc;
use std::{fs, path};

use homa_proto::wire::Body;
use homa_proto::{Call, Config, Counters, Event};

use crate::play::play;
use crate::world::{Fate, Flight, Random, World};

/// Rounds of each test; a release build plays the millions that a debug build has no time for.
const GAMES: u64 = if cfg!(debug_assertions) { 300 } else { 20_000 };
const HOSTILE_PACKETS: u64 = if cfg!(debug_assertions) {
    100_000
} else {
    3_000_000
};
const SWARMS: u64 = if cfg!(debug_assertions) { 10 } else { 500 };

#[test]
fn random_games_break_no_law() {
    for seed in 0..GAMES {
        let mut random = Random(seed);
        let length = random.below(4_000) as usize;
        let script: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        play(&script);
    }
}

#[test]
fn the_corpus_of_the_fuzzer_breaks_no_law() {
    let folder = path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/endpoint");
    let scripts: Vec<Vec<u8>> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(scripts.len() >= 10);
    for script in scripts {
        play(&script);
    }
}

/// All that is counted about packets that came in.
fn known_effects(counters: &Counters) -> u64 {
    let of_arrivals = |name: &str| {
        name.ends_with("_received") && name != "packets_received"
            || name.starts_with("dropped_")
            || ["requests_refused", "acks_unmatched", "grants_stale", "cutoffs_ignored"]
                .contains(&name)
            // What a stray RESEND is answered with.
            || name == "unknown_sent"
    };
    let named = counters.iter().filter(|(name, _)| of_arrivals(name));
    named.map(|(_, count)| count).sum::<u64>() + counters.malformed.iter().sum::<u64>()
}

/// A client and a server with RPCs in every state, and every packet that brought them there.
fn busy_pair() -> (World, Vec<Flight>) {
    let small = Config {
        max_client_rpcs: 50,
        max_server_rpcs: 40,
        max_server_rpcs_per_peer: 30,
        max_peers: 20,
        max_gaps: 60,
        max_gaps_per_message: 20,
        max_tombstone_blocks: 500,
        receive_budget_bytes: 2_000_000,
        ..Config::default()
    };
    let mut world = World::new([small.clone(), small]);
    let mut random = Random(99);
    world.on_wire(move |_, _| Fate::drop_if(random.below(4) == 0));
    let mut random = Random(98);
    for host in [0, 1] {
        for _ in 0..15 {
            world.call(host, 1 - host, random.length(18));
        }
    }
    world.run_ms(30);
    for host in [0, 1] {
        for (rpc, _) in world.hosts[host].requests.clone().into_iter().step_by(2) {
            world.reply(host, rpc, random.length(18));
        }
    }
    world.run_ms(30);
    let flights = world.trace.drain(..).map(|(_, flight)| flight).collect();
    world.keep_trace = false;
    (world, flights)
}

#[test]
fn random_and_damaged_packets_grow_no_table_and_each_is_counted() {
    let (mut world, flights) = busy_pair();
    let mut random = Random(7);
    for i in 0..HOSTILE_PACKETS {
        let flight = &flights[random.below(flights.len() as u64) as usize];
        let mut header = flight.header.clone();
        for _ in 0..random.below(4) {
            let place = random.below(header.len() as u64) as usize;
            header[place] ^= 1 << random.below(8);
        }
        if random.below(20) == 0 {
            header.fill_with(|| random.next() as u8);
            header[11] = 0x10 + random.below(9) as u8;
        }
        let length = flight.length + (random.below(3) * random.below(3)) as u32;
        let (to, mut from) = (flight.to, world.hosts[flight.from].address);
        from.port ^= (random.below(10) == 0) as u16 * (1 + random.below(40) as u16);
        let before = known_effects(world.counters(to));
        world.inject_bytes(to, from, &header, length);
        assert!(known_effects(world.counters(to)) > before, "{header:02x?}");
        if i % 20 == 0 {
            world.run_for(Duration::from_micros(random.below(100)));
            for (rpc, _) in world.hosts[to].requests.clone() {
                if random.below(200) == 0 {
                    world.reply(to, rpc, random.length(17));
                }
            }
            if random.below(4) == 0 {
                let call = world.a_call(1 - to, to, random.length(15));
                // Without room it is refused, and that is all.
                let _ = world.try_call(1 - to, call);
            }
        }
        for host in &world.hosts {
            let (usage, config) = (host.engine.usage(), host.engine.config());
            assert!(usage.ranges <= config.max_gaps && usage.peers <= config.max_peers);
            assert!(usage.tombstone_blocks <= config.max_tombstone_blocks);
            assert!(usage.budget_used_bytes <= config.receive_budget_bytes);
        }
    }
    world.crash(0);
    // Made-up answers let the round trip look like 300 ms, and silence is judged by twenty of them.
    world.run_ms(20_000);
    world.hosts[1].assert_empty();
    world.assert_forgotten_later();
}

#[test]
fn in_a_swarm_with_faults_every_rpc_ends_once_and_tables_become_empty() {
    for seed in 0..SWARMS {
        swarm(&mut Random(seed));
    }
}

fn swarm(random: &mut Random) {
    let budget = Config {
        receive_budget_bytes: 1_200_000,
        incast_rpcs: 5,
        link_bits_per_second: (random.below(2) == 0).then_some(2_000_000_000),
        ..Config::default()
    };
    let mut world = World::new([budget.clone(), budget.clone(), budget]);
    world.keep_trace = false;
    let mut faults = Random(random.next());
    world.on_wire(move |_, _| match faults.below(20) {
        0 | 1 => Fate::Drop,
        2 => Fate::Delay(Duration::from_micros(faults.below(20_000))),
        3 => Fate::Duplicate(Duration::from_micros(faults.below(500_000))),
        _ => Fate::Deliver,
    });
    let mut calls = [0; 3];
    for _ in 0..400 {
        let host = random.below(3) as usize;
        swarm_step(&mut world, random, host, &mut calls);
        world.run_for(Duration::from_micros(random.below(400)));
    }
    world.heal();
    for host in 0..3 {
        world.hosts[host].echo = true;
        (world.hosts[host].hold, world.hosts[host].refuse) = (false, false);
        world.give_back(host);
        for (rpc, _) in world.hosts[host].requests.clone() {
            world.reply(host, rpc, 100);
        }
    }
    world.run_ms(20_000);
    for (host, calls) in world.hosts.iter().zip(calls) {
        assert_eq!(host.responses() + host.failures().len(), calls);
        host.assert_empty();
    }
    world.assert_forgotten_later();
}

fn swarm_step(world: &mut World, random: &mut Random, host: usize, calls: &mut [usize]) {
    let requests = &world.hosts[host].requests;
    let request = requests.get(random.below(requests.len().max(1) as u64) as usize);
    match (random.below(40), request.copied()) {
        (0, _) => {
            let began = world.hosts[host].outbound.keys().next().copied();
            let key = homa_proto::RpcKey::from_bits(began.unwrap_or(0));
            world.with(host, |engine, now| engine.abort(now, key));
        }
        (1, Some((rpc, _))) => {
            world.hosts[host]
                .requests
                .retain(|&(other, _)| other != rpc);
            world.with(host, |engine, now| engine.drop_request(now, rpc));
        }
        (2, _) => world.hosts[host].hold = !world.hosts[host].hold,
        (3, _) => world.give_back(host),
        (4, _) => world.hosts[host].refuse = true,
        (5..8, _) => world.hosts[host].refuse = false,
        (8..22, Some((rpc, _))) => world.reply(host, rpc, random.length(18)),
        _ => {
            let call = Call {
                idempotent: random.below(2) == 0,
                ..world.a_call(
                    host,
                    (host + 1 + random.below(2) as usize) % 3,
                    random.length(18),
                )
            };
            world.try_call(host, call).expect("the call is taken");
            calls[host] += 1;
        }
    }
    assert!(!matches!(
        world.hosts[host].events.last(),
        Some((
            _,
            Event::Failed {
                failure: homa_proto::Failure::Refused,
                ..
            }
        ))
    ));
}

#[test]
fn what_an_engine_counts_is_what_was_on_the_wire() {
    let mut world = World::echo_pair();
    world.hosts[0].echo = true;
    let arrived = Rc::new(Cell::new([0_u64; 2]));
    let (counts, mut random) = (Rc::clone(&arrived), Random(5));
    world.on_wire(move |_, flight| {
        let lost = random.below(10) == 0;
        let mut count = counts.get();
        count[flight.to] += u64::from(!lost);
        counts.set(count);
        Fate::drop_if(lost)
    });
    for number in 0..60 {
        let host = number % 2;
        world.call(host, 1 - host, 1 + (number as u32 * 9_001) % 150_000);
    }
    world.run_ms(2_000);
    for host in 0..2 {
        let counters = world.counters(host);
        let sent = |which: fn(&Body) -> bool| {
            world.count(|flight, body| flight.from == host && which(body)) as u64
        };
        assert_eq!(counters.packets_received, arrived.get()[host]);
        assert_eq!(counters.packets_sent, sent(|_| true));
        let (first, again) = (counters.data_sent, counters.data_resent);
        assert_eq!(
            first,
            sent(|body| matches!(body, Body::Data(data) if !data.retransmit))
        );
        assert_eq!(
            again,
            sent(|body| matches!(body, Body::Data(data) if data.retransmit))
        );
        assert_eq!(
            counters.grants_sent,
            sent(|body| matches!(body, Body::Grant(_)))
        );
        assert_eq!(
            counters.resends_sent,
            sent(|body| matches!(body, Body::Resend(_)))
        );
        assert_eq!(counters.busy_sent, sent(|body| matches!(body, Body::Busy)));
        assert_eq!(
            counters.unknown_sent,
            sent(|body| matches!(body, Body::RpcUnknown(_)))
        );
        assert_eq!(
            counters.cutoffs_sent,
            sent(|body| matches!(body, Body::Cutoffs(_)))
        );
        assert_eq!(
            counters.need_acks_sent,
            sent(|body| matches!(body, Body::NeedAck))
        );
        assert_eq!(
            counters.acks_sent,
            sent(|body| matches!(body, Body::Ack(_)))
        );
        assert_eq!(counters.rpcs_completed, 30);
        assert_eq!(counters.requests_delivered, 30);
    }
    world.assert_forgotten_later();
    assert_eq!(
        [0, 1].map(|host| world.counters(host).peers_forgotten),
        [1, 1]
    );
}
