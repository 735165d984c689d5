//! Homa in the figures: the shipped engine on every host of a network, under open-loop load.

use homa_proto::{Event, Place, RpcKey, Seed};

use super::course::{Carrier, Ledger};
use super::outcome::Span;
use super::setup::{CutoffChoice, HOMA_CUT, PORT, SEGMENT_BYTES, Setup, Variant};
use super::traffic::Arrival;
use crate::agent::{Agent, Drop, Seen};
use crate::host::Context;
use crate::packet::{NO_MESSAGE, Packet};
use crate::random::Random;
use crate::workload::Workload;
use crate::world::{BadWorld, PACKET_OVERHEAD_BYTES, World};

/// Nanoseconds between two hosts' introductions by the same host.
const INTRODUCTION_NANOS: u64 = 2_000;

/// Largest number of pairs of hosts that meet a second time.
const PAIRS_MAX: u64 = 100_000;

/// The applications of all hosts, and what is measured.
pub(crate) struct Applications {
    round_trips: bool,
    /// Whether hosts learn what others have to be told.
    learns: bool,
    hosts: u32,
    peers: u32,
    /// The message that each host's RPCs carry, by the index of the RPC: arriving and asked.
    arriving: Vec<Vec<u32>>,
    asked: Vec<Vec<u32>>,
    ledger: Ledger,
    stuck: bool,
}

fn set(table: &mut Vec<u32>, rpc: RpcKey, message: u32) {
    let index = rpc.index();
    if table.len() <= index {
        table.resize(index + 1, NO_MESSAGE);
    }
    table[index] = message;
}

impl Applications {
    fn new(setup: &Setup, variant: &Variant) -> Self {
        let hosts = setup.topology.hosts() as usize;
        let round_trips = variant.round_trips;
        Self {
            round_trips,
            learns: variant.cutoffs == CutoffChoice::Shipped,
            hosts: setup.topology.hosts(),
            peers: setup.ends().1,
            arriving: vec![Vec::new(); hosts],
            asked: vec![Vec::new(); hosts],
            ledger: Ledger::new(setup, HOMA_CUT, round_trips),
            stuck: false,
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, to: u32, bytes: u32, message: u32) {
        let call = cx.request(to, PORT, bytes, SEGMENT_BYTES);
        match cx.call(call, message) {
            Ok(rpc) => set(&mut self.asked[cx.host as usize], rpc, message),
            Err(_) => self.ledger.outcome.calls_refused += 1,
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>, arrival: Arrival, measured: bool) {
        let place = self.ledger.begin(arrival, measured);
        self.send(cx, arrival.to, arrival.bytes, place);
    }
}

impl Agent for Applications {
    const WATCHES: bool = false;

    fn store(&mut self, cx: &mut Seen, place: &Place, packet: &Packet) -> bool {
        if place.new {
            set(
                &mut self.arriving[cx.host as usize],
                place.rpc,
                packet.message,
            );
        }
        if packet.message != NO_MESSAGE {
            self.ledger.flow.arrived_bytes += u64::from(packet.payload_bytes);
        }
        self.ledger.outcome.data_packets += u64::from(self.ledger.counts);
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
                    self.ledger.end(cx.now, message);
                    (1, NO_MESSAGE)
                };
                // A client that is gone needs no answer.
                let _ = cx.reply(rpc, bytes, SEGMENT_BYTES, carries);
            }
            Event::Response { rpc, length } => {
                let now = cx.time();
                cx.engine().give_back(now, u64::from(length));
                if self.round_trips {
                    self.ledger.end(cx.now, self.asked[host][rpc.index()]);
                }
            }
            Event::Failed { .. } => self.ledger.outcome.failures += 1,
            Event::Ended { .. } => {}
        }
    }

    /// The host calls the one that comes `step` after it, and then the next ones.
    fn timer(&mut self, cx: &mut Context<'_>, step: u32) {
        let to = (cx.host + step) % self.hosts;
        self.send(cx, to, 1, NO_MESSAGE);
        if step < self.peers {
            cx.after(INTRODUCTION_NANOS, step + 1);
        }
    }

    fn arrived(&mut self, _cx: &mut Seen, packet: &Packet) {
        let bytes = u64::from(packet.length() + PACKET_OVERHEAD_BYTES);
        self.ledger.flow.wire_bytes += bytes;
        if self.ledger.counts {
            self.ledger.outcome.wire_bytes += bytes;
            if packet.message != NO_MESSAGE {
                self.ledger.outcome.message_wire_bytes += bytes;
            }
        }
    }

    fn dropped(&mut self, _now: u64, _packet: &Packet, _why: Drop) {
        self.ledger.outcome.drops += u64::from(self.ledger.counts);
    }

    fn stuck(&mut self, _now: u64, _host: u32) {
        self.stuck = true;
    }

    fn is_over(&self) -> bool {
        self.stuck
    }
}

/// Hosts with the shipped engine, all of which know each other.
///
/// # Errors
/// A setup that cannot be.
pub(crate) fn world(
    setup: &Setup,
    variant: &Variant,
    workload: &Workload,
    seed: u64,
) -> Result<World<Applications>, BadWorld> {
    let mut seeds = Random::new(seed, 13);
    let config = variant.config(setup, workload);
    let configs = (0..setup.topology.hosts())
        .map(|_| {
            (
                setup.host(config.clone()),
                Seed([seeds.bits(), seeds.bits()]),
            )
        })
        .collect();
    let applications = Applications::new(setup, variant);
    let mut world = World::new(setup.topology, setup.buffer, configs, 1, applications)?;
    introduce(&mut world, setup);
    Ok(world)
}

impl Carrier for World<Applications> {
    fn run_until(&mut self, at: u64) {
        Self::run_until(self, at);
    }

    fn begin(&mut self, arrival: Arrival, measured: bool) {
        self.with(arrival.from, 0, |applications, cx| {
            applications.begin(cx, arrival, measured);
        });
    }

    fn ledger(&mut self) -> &mut Ledger {
        &mut self.agent.ledger
    }

    /// Hosts that were given their cutoffs said so when they were introduced.
    fn telling_nanos(&self) -> Option<u64> {
        let Applications { hosts, peers, .. } = self.agent;
        let few = u64::from(hosts) * u64::from(peers) <= PAIRS_MAX;
        (few && self.agent.learns).then_some(u64::from(peers) * INTRODUCTION_NANOS)
    }

    fn tell_all(&mut self) {
        for host in 0..self.agent.hosts {
            self.with(host, 0, |_, cx| cx.after(0, 1));
        }
    }

    fn start_counting(&mut self) {
        self.restart_counters();
    }

    fn stop_counting(&mut self, span: &Span) {
        let edge = self.edge_counters();
        let switches = self.switch_counters();
        self.agent.ledger.outcome.note(span, &edge, &switches);
    }

    fn is_wasting(&self, host: u32) -> bool {
        let withholds = self.engines(host).any(|engine| engine.usage().withholds);
        withholds && self.is_edge_idle(host)
    }

    fn is_stuck(&self) -> bool {
        self.agent.stuck
    }
}

/// Every host calls every one that it will send to, as in a network that runs for long: then all
/// know each other's cutoffs.
fn introduce(world: &mut World<Applications>, setup: &Setup) {
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
