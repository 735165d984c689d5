//! The network between the hosts' cards: cables and switches, put together by a topology. Decides
//! nothing that its parts do not.

use crate::events::{Event, Queue};
use crate::link::LinkConfig;
use crate::packet::Packets;
use crate::random::mix;
use crate::switch::{BufferConfig, Departure, PortCounters, Switch, SwitchCounters};
use crate::topology::{Spread, Topology};

/// A switch and where its ports lead.
struct Site {
    switch: Switch<u32>,
    ways: Vec<Way>,
}

/// Where a port leads, and the nanoseconds that it takes there behind the cable.
#[derive(Clone, Copy)]
struct Way {
    node: u32,
    delay: u64,
}

impl Site {
    /// Has a packet arrive where its port leads.
    fn depart(&self, port: u32, departure: Departure<u32>, queue: &mut Queue) {
        let Way { node, delay } = self.ways[port as usize];
        let packet = departure.packet;
        queue.push(departure.arrives_at + delay, Event::Arrive { node, packet });
    }

    /// Comes back to a port where packets wait.
    fn come_back(&self, switch: u32, port: u32, queue: &mut Queue) {
        if let Some(at) = self.switch.poll_timeout(port as usize) {
            queue.push(at, Event::PortFree { switch, port });
        }
    }
}

pub(crate) struct Network {
    topology: Topology,
    hosts: u32,
    /// Nanoseconds that each host takes from its card to its engine.
    receive_delays: Vec<u64>,
    sites: Vec<Site>,
    /// Bytes that each packet costs on a link besides the Homa packet.
    overhead_bytes: u32,
    /// Packets that were at switches so far.
    spread: u32,
    /// A packet that finds more bytes waiting at its port is marked.
    mark_above: u64,
}

impl Network {
    pub(crate) fn new(
        topology: Topology,
        buffer: BufferConfig,
        overhead_bytes: u32,
        receive_delays: Vec<u64>,
    ) -> Self {
        let way = |node: u32| Way {
            node,
            delay: receive_delays.get(node as usize).copied().unwrap_or(0),
        };
        let sites = (0..topology.switches()).map(|switch| {
            let ports = topology.ports(switch);
            let links: Vec<LinkConfig> = ports.iter().map(|&(link, _)| link).collect();
            Site {
                switch: Switch::new(links, buffer),
                ways: ports.into_iter().map(|(_, node)| way(node)).collect(),
            }
        });
        let sites = sites.collect();
        Self {
            topology,
            hosts: topology.hosts(),
            receive_delays,
            sites,
            overhead_bytes,
            spread: 0,
            mark_above: u64::MAX,
        }
    }

    /// Has packets marked that find more than so many bytes waiting at their port.
    pub(crate) fn mark_above(&mut self, bytes: u64) {
        self.mark_above = bytes;
    }

    /// Gives the lowest level so many thousandths of every link behind a switch.
    pub(crate) fn reserve(&mut self, permille: u16) {
        let sites = self.sites.iter_mut();
        sites.for_each(|site| site.switch.reserve(permille));
    }

    /// Where a packet that left host `from` arrives first, and when, if the cable brings it there
    /// at `at`.
    pub(crate) fn first_hop(&self, from: u32, at: u64) -> (u32, u64) {
        let node = self.topology.first_hop(from);
        (node, at + self.receive_delay(node))
    }

    fn receive_delay(&self, node: u32) -> u64 {
        self.receive_delays.get(node as usize).copied().unwrap_or(0)
    }

    pub(crate) fn wire_bytes(&self, length: u32) -> u32 {
        length + self.overhead_bytes
    }

    /// A packet is at a switch. Returns whether it found room.
    pub(crate) fn arrive(
        &mut self,
        now: u64,
        node: u32,
        slot: u32,
        packets: &mut Packets,
        queue: &mut Queue,
    ) -> bool {
        let switch = node - self.hosts;
        let packet = packets.label(slot);
        self.spread = self.spread.wrapping_add(1);
        let choice = || match self.topology.spread {
            Spread::PerFlow => packet.flow,
            Spread::PerPacket => mix(u64::from(self.spread)) as u32,
        };
        let port = self.topology.route(switch, packet.to, choice);
        let bytes = self.wire_bytes(packet.length);
        let site = &mut self.sites[switch as usize];
        let waits = site.switch.poll_timeout(port as usize).is_some();
        if waits && site.switch.queued_bytes(port as usize) > self.mark_above {
            packet.marked = true;
        }
        let entered = site
            .switch
            .forward(now, port as usize, packet.priority, bytes, slot);
        match entered {
            Err(_) => return false,
            Ok(Some(departure)) => site.depart(port, departure, queue),
            Ok(None) if waits => {}
            Ok(None) => site.come_back(switch, port, queue),
        }
        true
    }

    /// Has a port send what it can, and come back for the next.
    pub(crate) fn advance(&mut self, now: u64, switch: u32, port: u32, queue: &mut Queue) {
        let site = &mut self.sites[switch as usize];
        if let Some(departure) = site.switch.poll(now, port as usize) {
            site.depart(port, departure, queue);
        }
        site.come_back(switch, port, queue);
    }

    /// Begins to count anew at `now`.
    pub(crate) fn restart_counters(&mut self, now: u64) {
        for site in &mut self.sites {
            site.switch.restart(now);
        }
    }

    /// What the ports that lead to hosts counted together; the largest of what is a maximum.
    pub(crate) fn edge_counters(&self, now: u64) -> PortCounters {
        let mut sum = PortCounters::default();
        for site in &self.sites {
            for (port, _) in self.edge_ports(site) {
                sum.add(&site.switch.port_counters(now, port));
            }
        }
        sum
    }

    /// The ports of a switch that lead to hosts, with the host.
    fn edge_ports<'a>(&'a self, site: &'a Site) -> impl Iterator<Item = (usize, u32)> + 'a {
        let ports = site.ways.iter().map(|way| way.node).enumerate();
        ports.filter(|&(_, node)| node < self.hosts)
    }

    /// Whether nothing is on its way from the last switch to a host, and nothing waits there.
    pub(crate) fn is_edge_idle(&self, now: u64, host: u32) -> bool {
        let node = self.topology.first_hop(host);
        let Some(switch) = node.checked_sub(self.hosts) else {
            return true;
        };
        let port = self.topology.route(switch, host, || 0);
        self.sites[switch as usize]
            .switch
            .is_idle(now, port as usize)
    }

    /// What all switches counted together; the largest of what is a maximum.
    pub(crate) fn counters(&self) -> SwitchCounters {
        let mut sum = SwitchCounters::default();
        for site in &self.sites {
            let counters = site.switch.counters();
            sum.forwarded += counters.forwarded;
            sum.dropped += counters.dropped;
            sum.buffer_max_bytes = sum.buffer_max_bytes.max(counters.buffer_max_bytes);
            sum.port_max_bytes = sum.port_max_bytes.max(counters.port_max_bytes);
        }
        sum
    }
}
