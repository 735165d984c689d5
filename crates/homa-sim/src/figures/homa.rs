//! Homa in the figures: the shipped engine on every host of a network, under open-loop load.

use core::net::Ipv6Addr;

use homa_proto::{Call, Event, Path, Place, RpcKey, Seed};

use super::best::best_time;
use super::outcome::{Outcome, Span};
use super::setup::{HOMA_CUT, PORT, SEGMENT_BYTES, Setup, Variant};
use super::traffic::{Arrival, Traffic};
use crate::host::{Context, address};
use crate::packet::{NO_MESSAGE, Packet};
use crate::random::Random;
use crate::workload::Workload;
use crate::world::{Agent, BadWorld, Drop, Seen, World};

/// Nanoseconds between two hosts' introductions by the same host.
const INTRODUCTION_NANOS: u64 = 2_000;

/// A message on its way.
#[derive(Clone, Copy)]
struct Message {
    arrival: Arrival,
    measured: bool,
}

/// The applications of all hosts, and what is measured.
struct Applications<'a> {
    setup: &'a Setup,
    round_trips: bool,
    messages: Vec<Message>,
    free: Vec<u32>,
    /// The message that each host's RPCs carry, by the index of the RPC: arriving and asked.
    arriving: Vec<Vec<u32>>,
    asked: Vec<Vec<u32>>,
    /// Messages measured and not over.
    open: u64,
    /// Nothing is counted before it.
    counts: bool,
    outcome: Outcome,
    stuck: bool,
}

fn set(table: &mut Vec<u32>, rpc: RpcKey, message: u32) {
    let index = rpc.index();
    if table.len() <= index {
        table.resize(index + 1, NO_MESSAGE);
    }
    table[index] = message;
}

impl<'a> Applications<'a> {
    fn new(setup: &'a Setup, round_trips: bool) -> Self {
        let hosts = setup.topology.hosts() as usize;
        Self {
            setup,
            round_trips,
            messages: Vec::new(),
            free: Vec::new(),
            arriving: vec![Vec::new(); hosts],
            asked: vec![Vec::new(); hosts],
            open: 0,
            counts: false,
            outcome: Outcome::new(),
            stuck: false,
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, to: u32, bytes: u32, message: u32) {
        let call = Call {
            path: Path {
                socket: cx.socket(0),
                peer: address(to, PORT),
                local: Ipv6Addr::UNSPECIFIED,
            },
            dest_port: PORT,
            length: bytes,
            segment_bytes: SEGMENT_BYTES,
            deadline: None,
            idempotent: false,
        };
        match cx.call(call, message) {
            Ok(rpc) => set(&mut self.asked[cx.host as usize], rpc, message),
            Err(_) => self.outcome.calls_refused += 1,
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>, arrival: Arrival, measured: bool) {
        let message = Message { arrival, measured };
        let place = match self.free.pop() {
            Some(place) => {
                self.messages[place as usize] = message;
                place
            }
            None => {
                self.messages.push(message);
                (self.messages.len() - 1) as u32
            }
        };
        self.open += u64::from(measured);
        self.send(cx, arrival.to, arrival.bytes, place);
    }

    /// The best possible time of what is measured of a message.
    fn best(&self, arrival: &Arrival) -> f64 {
        let topology = &self.setup.topology;
        let one_way = |from, to| {
            best_time(topology, from, to, arrival.bytes, &HOMA_CUT) + self.setup.receive_nanos()
        };
        let mut time = one_way(arrival.from, arrival.to);
        if self.round_trips {
            time += one_way(arrival.to, arrival.from);
        }
        time as f64
    }

    /// A message is over.
    fn end(&mut self, now: u64, place: u32) {
        let Some(&Message { arrival, measured }) = self.messages.get(place as usize) else {
            return;
        };
        self.free.push(place);
        if measured {
            self.open -= 1;
            let slowdown = (now - arrival.at) as f64 / self.best(&arrival);
            self.outcome.slowdowns.record(arrival.hundredth, slowdown);
        }
    }

    /// Counts what did not end.
    fn give_up(&mut self, now: u64) {
        let mut open = vec![true; self.messages.len()];
        for &place in &self.free {
            open[place as usize] = false;
        }
        for (message, open) in self.messages.iter().zip(open) {
            if open && message.measured {
                let slowdown = (now - message.arrival.at) as f64 / self.best(&message.arrival);
                let hundredth = message.arrival.hundredth;
                self.outcome.slowdowns.record_endless(hundredth, slowdown);
                self.outcome.unfinished += 1;
            }
        }
    }
}

impl Agent for Applications<'_> {
    fn store(&mut self, cx: &mut Seen, place: &Place, packet: &Packet) -> bool {
        if place.new {
            set(
                &mut self.arriving[cx.host as usize],
                place.rpc,
                packet.message,
            );
        }
        if self.counts {
            self.outcome.data_packets += 1;
        }
        true
    }

    fn event(&mut self, cx: &mut Context<'_>, event: Event) {
        let host = cx.host as usize;
        match event {
            Event::Request { rpc, length, .. } => {
                let now = cx.time();
                cx.engine().give_back(now, u64::from(length));
                let message = self.arriving[host][rpc.index()];
                let (bytes, carries) = if self.round_trips && message != NO_MESSAGE {
                    (length, message)
                } else {
                    self.end(cx.now, message);
                    (1, NO_MESSAGE)
                };
                // A client that is gone needs no answer.
                let _ = cx.reply(rpc, bytes, SEGMENT_BYTES, carries);
            }
            Event::Response { rpc, length } => {
                let now = cx.time();
                cx.engine().give_back(now, u64::from(length));
                if self.round_trips {
                    self.end(cx.now, self.asked[host][rpc.index()]);
                }
            }
            Event::Failed { .. } => self.outcome.failures += 1,
            Event::Ended { .. } => {}
        }
    }

    fn arrived(&mut self, _cx: &mut Seen, packet: &Packet) {
        if self.counts {
            let bytes = u64::from(packet.length() + crate::world::PACKET_OVERHEAD_BYTES);
            self.outcome.wire_bytes += bytes;
            if packet.message != NO_MESSAGE {
                self.outcome.message_wire_bytes += bytes;
            }
        }
    }

    fn dropped(&mut self, _now: u64, _packet: &Packet, _why: Drop) {
        self.outcome.drops += u64::from(self.counts);
    }

    fn stuck(&mut self, _now: u64, _host: u32) {
        self.stuck = true;
    }

    fn is_over(&self) -> bool {
        self.stuck
    }
}

/// Runs the engine under load: messages of `workload`, `per_second` of them in the whole network,
/// for the time of `span`. `progress` is told the share of the time that passed.
///
/// # Errors
/// A setup that cannot be.
pub(crate) fn run(
    setup: &Setup,
    variant: &Variant,
    workload: &Workload,
    seed: u64,
    per_second: f64,
    span: Span,
    progress: &dyn Fn(f64),
) -> Result<Outcome, BadWorld> {
    let mut seeds = Random::new(seed, 13);
    let config = variant.config(setup, workload);
    let hosts = setup.topology.hosts();
    let configs = (0..hosts)
        .map(|_| {
            (
                setup.host(config.clone()),
                Seed([seeds.bits(), seeds.bits()]),
            )
        })
        .collect();
    let applications = Applications::new(setup, variant.round_trips);
    let mut world = World::new(setup.topology, setup.buffer, configs, 1, applications)?;
    introduce(&mut world, setup);
    let start = world.now();
    let peers = setup.peers.min(hosts - 1);
    let mut traffic = Traffic::new(workload, seed, (hosts, peers), start, per_second);
    let span = span.from(start);
    let (mut told, mut last) = (start, start);
    loop {
        let arrival = traffic.next();
        if last < span.begins_at && arrival.at >= span.begins_at {
            world.run_until(span.begins_at);
            world.restart_counters();
            world.agent.counts = true;
        }
        if last < span.ends_at && arrival.at >= span.ends_at {
            world.run_until(span.ends_at);
            note(&mut world, &span);
        }
        last = arrival.at;
        if arrival.at >= span.over_at || span.has_ended(arrival.at) && world.agent.open == 0 {
            break;
        }
        world.run_until(arrival.at);
        let measured = span.holds(arrival.at);
        world.with(arrival.from, 0, |applications, cx| {
            applications.begin(cx, arrival, measured);
        });
        if arrival.at - told > 10_000 {
            told = arrival.at;
            progress(span.share(arrival.at));
        }
        if world.agent.stuck {
            break;
        }
    }
    let now = world.now();
    world.agent.give_up(now);
    progress(1.0);
    Ok(world.agent.outcome)
}

/// Every host calls every one that it will send to, as in a network that runs for long: then all
/// know each other's cutoffs.
fn introduce(world: &mut World<Applications<'_>>, setup: &Setup) {
    let hosts = setup.topology.hosts();
    for step in 1..=setup.peers.min(hosts - 1) {
        for from in 0..hosts {
            world.with(from, 0, |applications, cx| {
                applications.send(cx, (from + step) % hosts, 1, NO_MESSAGE);
            });
        }
        world.run_until(world.now() + INTRODUCTION_NANOS);
    }
    world.run_until(world.now() + 3_000_000);
}

/// The measured time is over: what the network counted.
fn note(world: &mut World<Applications<'_>>, span: &Span) {
    world.agent.counts = false;
    let edge = world.edge_counters();
    let switches = world.switch_counters();
    world.agent.outcome.note(span, &edge, &switches);
}
