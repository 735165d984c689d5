//! The network of transports that are no engines: packets wait for their host's card, go through the
//! switches, and arrive. Decides nothing: what is sent, and what follows from an arrival, is the
//! transport's.

use std::collections::VecDeque;

use super::setup::Setup;
use crate::events::{Event, Queue};
use crate::link::Link;
use crate::network::Network;
use crate::packet::{Packet, Packets};
use crate::switch::{PortCounters, SwitchCounters};
use crate::topology::{Spread, Topology};

/// What a transport has to deal with.
pub(crate) enum Happened {
    /// A packet is at its host.
    Arrived(Packet),
    /// A switch had no room for a packet.
    Dropped(Packet),
    /// A moment came that was asked for.
    Timer(u32),
}

/// A host's network card.
struct Card {
    link: Link,
    /// Packets that wait for it and the one that leaves, with the moments when they arrive at the
    /// first node of their way. Only the first is in the calendar: a card may have thousands.
    leaving: VecDeque<(u64, u32)>,
}

pub(crate) struct Cables {
    pub(crate) now: u64,
    queue: Queue,
    packets: Packets,
    network: Network,
    cards: Vec<Card>,
    hosts: u32,
}

impl Cables {
    /// The network of `setup`, with packets spread as `spread` says. Each costs `overhead_bytes`
    /// on a cable besides its length; a packet that finds more than `mark_above` bytes is marked.
    pub(crate) fn new(
        setup: &Setup,
        start: u64,
        spread: Spread,
        overhead_bytes: u32,
        mark_above: u64,
    ) -> Self {
        let topology = Topology {
            spread,
            ..setup.topology
        };
        let hosts = topology.hosts();
        let delays = vec![setup.receive_nanos(); hosts as usize];
        let mut network = Network::new(topology, setup.buffer, overhead_bytes, delays);
        network.mark_above(mark_above);
        let card = || Card {
            link: Link::new(topology.edge),
            leaving: VecDeque::new(),
        };
        Self {
            now: start,
            queue: Queue::new(),
            packets: Packets::default(),
            network,
            cards: (0..hosts).map(|_| card()).collect(),
            hosts,
        }
    }

    pub(crate) fn hosts(&self) -> u32 {
        self.hosts
    }

    /// Puts a packet behind those that wait for its host's card.
    pub(crate) fn launch(&mut self, packet: Packet) {
        let bytes = self.network.wire_bytes(packet.length());
        let card = &mut self.cards[packet.from as usize];
        let (node, at) = self
            .network
            .first_hop(packet.from, card.link.input(self.now, bytes));
        let packet = self.packets.insert(&packet);
        card.leaving.push_back((at, packet));
        if card.leaving.len() == 1 {
            self.queue.push(at, Event::Arrive { node, packet });
        }
    }

    /// A packet is at a node: if that is the first of its way, the next one of its card follows.
    fn follow(&mut self, node: u32, packet: u32) {
        let from = self.packets.label(packet).from;
        let leaving = &mut self.cards[from as usize].leaving;
        if leaving
            .pop_front_if(|&mut (_, first)| first == packet)
            .is_none()
        {
            return;
        }
        if let Some(&(at, packet)) = leaving.front() {
            self.queue.push(at, Event::Arrive { node, packet });
        }
    }

    /// Has `token` come back after `delay` nanoseconds.
    pub(crate) fn after(&mut self, delay: u64, token: u32) {
        let timer = Event::Timer {
            host: 0,
            engine: 0,
            token,
        };
        self.queue.push(self.now + delay, timer);
    }

    /// Lets time pass until something happens at a host, or until `until`.
    pub(crate) fn next(&mut self, until: u64) -> Option<Happened> {
        while let Some((at, event)) = self.queue.pop(until) {
            self.now = at;
            if let Event::Arrive { node, packet } = event {
                self.follow(node, packet);
            }
            match event {
                Event::Arrive { node, packet } if node < self.hosts => {
                    return Some(Happened::Arrived(self.packets.take(packet)));
                }
                Event::Arrive { node, packet } => {
                    let (packets, queue) = (&mut self.packets, &mut self.queue);
                    if !self.network.arrive(at, node, packet, packets, queue) {
                        return Some(Happened::Dropped(self.packets.take(packet)));
                    }
                }
                Event::PortFree { switch, port } => {
                    self.network.advance(at, switch, port, &mut self.queue);
                }
                Event::Timer { token, .. } => return Some(Happened::Timer(token)),
                Event::Wake { .. } | Event::Unreachable { .. } => {}
            }
        }
        self.now = self.now.max(until);
        None
    }

    /// Has the switches count anew.
    pub(crate) fn restart_counters(&mut self) {
        self.network.restart_counters(self.now);
    }

    /// What the ports to hosts, and all switches, counted.
    pub(crate) fn counters(&self) -> (PortCounters, SwitchCounters) {
        (
            self.network.edge_counters(self.now),
            self.network.counters(),
        )
    }
}
