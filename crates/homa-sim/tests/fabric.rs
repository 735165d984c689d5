//! The network by itself, against arithmetic: rates, shares, priorities, buffers, times. Engines
//! are there, and never see a packet.

use homa_proto::wire::Priority;
use homa_proto::{Config, Event, Place, Seed};
use homa_sim::figures::{Effort, Point, Protocol, Setup, Variant, run};
use homa_sim::{Agent, BufferConfig, Context, Drop, HostConfig, Packet, Seen, Workload, World};

/// A full packet and the smallest one, as they are on a cable.
const FULL: u32 = 1_538;
const SMALL: u32 = 100;

/// Tenths of a nanosecond that a full packet takes at 10 Gbit/s.
const FULL_TENTHS: u64 = 12_304;

/// Writes down what arrives, and keeps it from the engines.
#[derive(Default)]
struct Witness {
    arrived: Vec<(u64, Packet)>,
    dropped: Vec<(u32, Drop)>,
}

impl Agent for Witness {
    fn store(&mut self, _: &mut Seen, _: &Place, _: &Packet) -> bool {
        unreachable!("no engine gets a packet")
    }
    fn event(&mut self, _: &mut Context<'_>, _: Event) {}
    fn arriving(&mut self, now: u64, packet: &mut Packet) -> bool {
        self.arrived.push((now, *packet));
        false
    }
    fn dropped(&mut self, _: u64, packet: &Packet, why: Drop) {
        self.dropped.push((packet.to, why));
    }
    fn stuck(&mut self, _: u64, _: u32) {
        unreachable!("nothing runs")
    }
}

fn network(setup: &Setup) -> World<Witness> {
    let host = HostConfig {
        engines: vec![Config::default()],
        sockets: Vec::new(),
        link: setup.topology.edge,
        queue_max_bytes: 1 << 30,
        send_delay: 0,
        receive_delay: 0,
    };
    let hosts = vec![(host, Seed([1, 2])); setup.topology.hosts() as usize];
    World::new(setup.topology, setup.buffer, hosts, 0, Witness::default()).expect("the parts fit")
}

fn paper() -> World<Witness> {
    network(&Setup::paper())
}

fn packet(from: u32, to: u32, wire_bytes: u32, level: u8) -> Packet {
    let header = [0; 28];
    let mut packet = Packet::new(&header, from, to, Priority::new(level).expect("0 to 7"));
    packet.payload_bytes = wire_bytes - homa_sim::PACKET_OVERHEAD_BYTES - 28;
    packet
}

fn run_dry(world: &mut World<Witness>) {
    world.run_until(u64::MAX - 1);
}

#[test]
fn store_and_forward_and_delays_add_up_to_the_nanosecond() {
    let mut world = paper();
    world.inject(packet(0, 1, SMALL, 7));
    world.inject(packet(2, 143, SMALL, 7));
    world.inject(packet(4, 20, FULL, 7));
    run_dry(&mut world);
    let times: Vec<u64> = world.agent.arrived.iter().map(|it| it.0).collect();
    // In a rack: two links of 10 Gbit/s; else two of 40 between them. A hop costs 250 ns.
    let small = [
        80 + 250 + 80 + 250,
        80 + 250 + 20 + 250 + 20 + 250 + 80 + 250,
    ];
    // 1,230.4 ns at the edge and 307.6 in the core, each rounded up where a packet waits for it.
    let full = 1_231 + 250 + 308 + 250 + 308 + 250 + 1_231 + 250;
    assert_eq!(times, [small[0], small[1], full]);
}

#[test]
fn one_flow_gets_exactly_the_line_rate() {
    let mut world = paper();
    (0..10_000).for_each(|_| world.inject(packet(0, 1, FULL, 0)));
    run_dry(&mut world);
    let last = world.agent.arrived.last().unwrap().0;
    assert_eq!(world.agent.arrived.len(), 10_000);
    assert_eq!(last, 10_001 * FULL_TENTHS / 10 + 1 + 500);
}

#[test]
fn flows_into_one_host_share_its_link_evenly_and_leave_none_of_it_idle() {
    let mut world = paper();
    // Of its own rack: nothing between them and its switch disturbs their order.
    let senders: Vec<u32> = (0..10).collect();
    for _ in 0..200 {
        for &from in &senders {
            world.inject(packet(from, 15, FULL, 0));
        }
    }
    run_dry(&mut world);
    let arrived = &world.agent.arrived;
    for (round, chunk) in arrived.chunks(10).enumerate() {
        let mut from: Vec<u32> = chunk.iter().map(|it| it.1.from).collect();
        from.sort_unstable();
        from.dedup();
        assert_eq!(from.len(), 10, "round {round}: {from:?}");
    }
    let (first, last) = (arrived[0].0, arrived[1_999].0);
    assert!((last - first).abs_diff(1_999 * FULL_TENTHS / 10) <= 1);
}

#[test]
fn the_core_carries_what_four_hosts_send_at_full_rate() {
    let mut world = paper();
    for _ in 0..500 {
        for host in 0..16 {
            world.inject(packet(host, 16 + host, FULL, 0));
        }
    }
    run_dry(&mut world);
    // Four links of 40 Gbit/s for sixteen of 10: packets that choose one by chance wait now and
    // then, and the last is hardly later than if it were alone.
    let last = world.agent.arrived.last().unwrap().0;
    let alone = 501 * FULL_TENTHS / 10;
    assert!((alone..alone + 60_000).contains(&last), "{last}");
}

#[test]
fn a_better_priority_waits_for_one_packet_at_most() {
    let mut world = paper();
    for _ in 0..100 {
        for from in 1..9 {
            world.inject(packet(from, 0, FULL, 3));
        }
    }
    world.run_until(30_000);
    let sent = world.now();
    world.inject(packet(15, 0, SMALL, 4));
    run_dry(&mut world);
    let found = world.agent.arrived.iter().find(|it| it.1.from == 15);
    let time = found.unwrap().0 - sent;
    let alone = 80 + 250 + 80 + 250;
    assert!((alone..=alone + 1_231).contains(&time), "{time}");
    assert_eq!(world.agent.arrived.len(), 801);
}

#[test]
fn one_port_may_take_half_of_the_buffer_and_all_ports_together_all_of_it() {
    let buffer = BufferConfig {
        bytes: 64 * u64::from(FULL),
        alpha_eighths: 8,
    };
    let setup = Setup {
        buffer,
        ..Setup::paper()
    };
    let crowd = |receivers: &[u32]| {
        let mut world = network(&setup);
        for _ in 0..40 {
            for (place, &to) in receivers.iter().enumerate() {
                for sender in 0..4 {
                    world.inject(packet(8 + sender + 2 * place as u32, to, FULL, 0));
                }
            }
        }
        run_dry(&mut world);
        world.switch_counters().buffer_max_bytes / u64::from(FULL)
    };
    // A queue may hold as much as it leaves free.
    assert_eq!(crowd(&[0]), 32);
    assert!(crowd(&[0, 1, 2]) >= 44);
}

#[test]
fn in_an_idle_network_messages_take_the_best_possible_time() {
    let setup = Setup::of("leaf-spine:3x4x2".parse().unwrap());
    let point = Point {
        workload: Workload::named("w3").unwrap(),
        load: 0.01,
        protocol: Protocol::Homa,
        variant: Variant::plain(),
    };
    let effort = Effort {
        seeds: 1,
        shorter: 1,
        threads: 1,
    };
    let rows = run(&setup, &[point], effort, &|_| ()).unwrap();
    let p50 = rows[0].p50_slowdown_all.unwrap();
    assert!((1.0..=1.02).contains(&p50), "{p50}");
    assert_eq!((rows[0].drops, rows[0].failures), (0, 0));
}
