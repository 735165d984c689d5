//! The world: hosts, the network between them, and the time. Moves time from event to event and
//! hands packets round; what applications do, and what is looked at, is the agent's. How packets
//! get from an engine to the network is decided in `outgoing`.

mod outgoing;

use homa_proto::{Burst, ConfigError, Engine, Instant, Path, Seed, Unreachable};

use crate::agent::{Agent, Drop, Seen};
use crate::events::{Event, Queue};
use crate::fault::Faults;
use crate::host::{Context, Host, HostConfig, address, context};
use crate::network::Network;
use crate::packet::{Packet, Packets};
use crate::switch::{BufferConfig, PortCounters, SwitchCounters};
use crate::topology::{BadTopology, Topology};

/// UDP, IP and Ethernet with its gap: what a packet costs on a link besides the Homa packet.
pub const PACKET_OVERHEAD_BYTES: u32 = 66;

/// Deadlines that one host may have at one moment: more means that it makes no progress.
const DEADLINES_AT_ONCE: u32 = 10_000;

/// Hosts, a network and the time.
pub struct World<A> {
    now: u64,
    queue: Queue,
    packets: Packets,
    network: Network,
    hosts: Vec<Host>,
    faults: Option<Faults>,
    /// Taken out while its packets are sent; boxed, since that is for every packet.
    burst: Option<Box<Burst>>,
    delivered: u64,
    /// The applications and the onlookers.
    pub agent: A,
}

/// Why there is no world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadWorld {
    /// The topology cannot be.
    Topology(BadTopology),
    /// An engine refused its configuration.
    Config(ConfigError),
    /// There are not as many hosts as the topology has.
    Hosts,
}

impl core::fmt::Display for BadWorld {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Topology(bad) => bad.fmt(f),
            Self::Config(bad) => bad.fmt(f),
            Self::Hosts => f.write_str("there are not as many hosts as the topology has"),
        }
    }
}

impl core::error::Error for BadWorld {}

impl<A: Agent> World<A> {
    /// A world at time `start`, in nanoseconds.
    ///
    /// # Errors
    /// Parts that cannot be, or do not fit each other.
    pub fn new(
        topology: Topology,
        buffer: BufferConfig,
        hosts: Vec<(HostConfig, Seed)>,
        start: u64,
        agent: A,
    ) -> Result<Self, BadWorld> {
        topology.check().map_err(BadWorld::Topology)?;
        if hosts.len() != topology.hosts() as usize {
            return Err(BadWorld::Hosts);
        }
        let delays = hosts.iter().map(|(host, _)| host.receive_delay).collect();
        let hosts: Result<Vec<Host>, ConfigError> = hosts
            .into_iter()
            .map(|(config, seed)| Host::new(config, seed))
            .collect();
        let burst = Burst::new().map_err(|_| BadWorld::Config(ConfigError::OutOfMemory))?;
        Ok(Self {
            now: start,
            queue: Queue::new(),
            packets: Packets::default(),
            network: Network::new(topology, buffer, PACKET_OVERHEAD_BYTES, delays),
            hosts: hosts.map_err(BadWorld::Config)?,
            faults: None,
            burst: Some(Box::new(burst)),
            delivered: 0,
            agent,
        })
    }

    /// Nanoseconds since the origin of time.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Puts faults between the hosts' cards and the network.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = Some(faults);
    }

    /// Gives the lowest level `permille` thousandths of every link behind a switch.
    pub(crate) fn reserve(&mut self, permille: u16) {
        self.network.reserve(permille);
    }

    /// The faults, to be changed.
    pub fn faults(&mut self) -> Option<&mut Faults> {
        self.faults.as_mut()
    }

    /// Number of hosts.
    pub fn hosts(&self) -> u32 {
        self.hosts.len() as u32
    }

    /// A host's engines.
    pub fn engines(&self, host: u32) -> impl Iterator<Item = &Engine> {
        self.hosts[host as usize]
            .cores
            .iter()
            .map(|core| &core.engine)
    }

    /// Packets handed to engines so far.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// What the switches counted.
    pub fn switch_counters(&self) -> SwitchCounters {
        self.network.counters()
    }

    /// What the switches' ports that lead to hosts counted.
    pub fn edge_counters(&self) -> PortCounters {
        self.network.edge_counters(self.now)
    }

    /// Has the switches count anew.
    pub fn restart_counters(&mut self) {
        self.network.restart_counters(self.now);
    }

    /// Whether nothing is on its way from the last switch to a host.
    pub fn is_edge_idle(&self, host: u32) -> bool {
        self.network.is_edge_idle(self.now, host)
    }

    /// Whether no packet is on its way and nothing is to happen.
    pub fn is_quiet(&self) -> bool {
        self.queue.len() == 0
    }

    /// Packets on their way.
    pub fn in_flight(&self) -> usize {
        self.packets.len()
    }

    /// Whether a host is up.
    pub fn is_up(&self, host: u32) -> bool {
        self.hosts[host as usize].up
    }

    /// Has the agent do something at a host, then drains the host.
    pub fn with<R>(
        &mut self,
        host: u32,
        engine: usize,
        act: impl FnOnce(&mut A, &mut Context<'_>) -> R,
    ) -> R {
        let it = &mut self.hosts[host as usize];
        let mut cx = context(self.now, host, engine, it, &mut self.queue);
        let result = act(&mut self.agent, &mut cx);
        self.drain(host);
        result
    }

    /// The host does nothing until `until`; what arrives waits.
    pub fn pause(&mut self, host: u32, until: u64) {
        let it = &mut self.hosts[host as usize];
        it.paused_until = it.paused_until.max(until);
        self.queue.push(until, Event::Wake { host });
    }

    /// The host is gone, with all that it knew.
    pub fn crash(&mut self, host: u32) {
        let it = &mut self.hosts[host as usize];
        it.up = false;
        it.paused_until = 0;
        for packet in core::mem::take(&mut it.inbox) {
            self.packets.take(packet);
        }
    }

    /// The host starts anew.
    ///
    /// # Errors
    /// When an engine refuses its configuration, which it took before.
    pub fn restart(&mut self, host: u32, seed: Seed) -> Result<(), ConfigError> {
        let it = &mut self.hosts[host as usize];
        *it = Host::new(it.config.clone(), seed)?;
        Ok(())
    }

    /// A host that is down goes on where it was, as if its memory had been kept.
    pub(crate) fn revive(&mut self, host: u32) {
        self.hosts[host as usize].up = true;
        self.schedule(host);
    }

    /// Sends a packet from a host's card that none of its engines made.
    pub fn inject(&mut self, packet: Packet) {
        self.launch(packet);
    }

    /// Lets time pass to `until`, or until nothing is to happen any more, or the agent has enough.
    pub fn run_until(&mut self, until: u64) {
        while !self.agent.is_over() {
            let Some((at, event)) = self.queue.pop(until) else {
                break;
            };
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = self.now.max(until.min(self.queue.next().unwrap_or(until)));
    }

    /// When something happens next.
    pub fn next(&self) -> Option<u64> {
        self.queue.next()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { node, packet } => match self.hosts.get(node as usize) {
                Some(_) => self.arrive(node, packet),
                None => self.switch(node, packet),
            },
            Event::PortFree { switch, port } => {
                self.network
                    .advance(self.now, switch, port, &mut self.queue);
            }
            Event::Wake { host } => self.wake(host),
            Event::Timer {
                host,
                engine,
                token,
            } => self.timer(host, engine, token),
            Event::Unreachable { host, packet } => self.unreachable(host, packet),
        }
    }

    fn switch(&mut self, node: u32, slot: u32) {
        let taken = self
            .network
            .arrive(self.now, node, slot, &mut self.packets, &mut self.queue);
        if !taken {
            let packet = self.packets.take(slot);
            self.agent.dropped(self.now, &packet, Drop::Buffer);
        }
    }

    /// A packet is at its host.
    fn arrive(&mut self, host: u32, slot: u32) {
        if self.take_in(host, slot) {
            self.drain(host);
        }
    }

    /// Hands a packet to its host, unless that sleeps or is gone; whether it was handed over.
    fn take_in(&mut self, host: u32, slot: u32) -> bool {
        let it = &mut self.hosts[host as usize];
        if it.up && it.paused_until > self.now {
            it.inbox.push(slot);
            return false;
        }
        let mut packet = self.packets.take(slot);
        if packet.damaged && self.agent.checks_sums() {
            self.agent.dropped(self.now, &packet, Drop::Damaged);
            return false;
        }
        if !it.up {
            self.agent.dropped(self.now, &packet, Drop::NoHost);
            if self.faults.as_ref().is_some_and(Faults::tells_of_the_dead) {
                self.tell_unreachable(&packet);
            }
            return false;
        }
        let taken = self.agent.arriving(self.now, &mut packet);
        if taken {
            self.receive(host, &packet);
        }
        taken
    }

    /// Hands a packet to its engine, and its payload to the agent.
    fn receive(&mut self, host: u32, packet: &Packet) {
        let it = &mut self.hosts[host as usize];
        let (source, dest) = ports(packet.header());
        let Some(socket) = it.socket(dest) else {
            self.agent.dropped(self.now, packet, Drop::NoSocket);
            self.tell_unreachable(packet);
            return;
        };
        let engine = it.steer(sender_id(packet.header()), packet.from);
        let engine = self.agent.steer(packet, engine, it.cores.len());
        let path = Path {
            socket,
            peer: address(packet.from, source),
            local: address(host, dest).ip,
        };
        let mut seen = Seen {
            now: self.now,
            host,
            engine,
            usage: None,
        };
        self.delivered += 1;
        let now = Instant::from_nanos(self.now);
        let core = &mut it.cores[engine].engine;
        if let Some(placement) = core.handle_packet(now, path, packet.header(), packet.length()) {
            if self.agent.store(&mut seen, &placement.place(), packet) {
                placement.commit();
            } else {
                placement.refuse();
            }
        }
        seen.usage = A::WATCHES.then(|| core.usage());
        it.hand_over(now, engine);
        self.agent.arrived(&mut seen, packet);
    }

    /// The network tells the sender of a packet that it did not arrive.
    fn tell_unreachable(&mut self, packet: &Packet) {
        let host = packet.from;
        let delay = self.hosts[host as usize].config.link.delay;
        let slot = self.packets.insert(packet);
        self.queue
            .push(self.now + delay, Event::Unreachable { host, packet: slot });
    }

    fn unreachable(&mut self, host: u32, slot: u32) {
        let packet = self.packets.take(slot);
        if !self.hosts[host as usize].up {
            return;
        }
        let limit = self.faults.as_ref().and_then(|it| it.limit_of(&packet));
        let (_, dest) = ports(packet.header());
        let has_port = self.hosts[packet.to as usize].socket(dest).is_some();
        let it = &mut self.hosts[host as usize];
        let what = match limit {
            Some(bytes) if packet.length() > bytes => Unreachable::TooBig {
                segment_bytes: bytes.saturating_sub(56),
            },
            _ if has_port => Unreachable::Host,
            _ => Unreachable::Port,
        };
        let engine = it.steer(sender_id(packet.header()) ^ 1, packet.to);
        it.cores[engine].engine.handle_unreachable(
            Instant::from_nanos(self.now),
            address(packet.to, dest),
            packet.header(),
            what,
        );
        self.drain(host);
    }

    fn timer(&mut self, host: u32, engine: u8, token: u32) {
        let it = &mut self.hosts[host as usize];
        if !it.up {
            return;
        }
        if it.paused_until > self.now {
            let again = Event::Timer {
                host,
                engine,
                token,
            };
            self.queue.push(it.paused_until, again);
            return;
        }
        let mut cx = context(self.now, host, engine.into(), it, &mut self.queue);
        self.agent.timer(&mut cx, token);
        self.drain(host);
    }

    fn wake(&mut self, host: u32) {
        let it = &mut self.hosts[host as usize];
        if it.wake <= self.now {
            it.wake = u64::MAX;
        }
        if !it.up || it.paused_until > self.now {
            return;
        }
        // What came meanwhile is taken in one go, as from a socket's buffer.
        let waiting = core::mem::take(&mut it.inbox);
        for &packet in &waiting {
            self.take_in(host, packet);
        }
        if !waiting.is_empty() {
            self.drain(host);
        }
        let it = &mut self.hosts[host as usize];
        let Some(deadline) = it.deadline else {
            return;
        };
        if self.agent.deadline(host, deadline) > self.now {
            self.wake_at(host, deadline);
            return;
        }
        if it.served.0 != self.now {
            it.served = (self.now, 0);
        }
        it.served.1 += 1;
        if it.served.1 > DEADLINES_AT_ONCE {
            self.agent.stuck(self.now, host);
            return;
        }
        it.handle_timeout(Instant::from_nanos(self.now));
        self.drain(host);
    }

    /// Has the host woken at its deadline.
    fn schedule(&mut self, host: u32) {
        let it = &mut self.hosts[host as usize];
        if !it.up {
            return;
        }
        it.deadline = it.next_deadline();
        if let Some(deadline) = it.deadline {
            self.wake_at(host, deadline);
        }
    }

    fn wake_at(&mut self, host: u32, deadline: u64) {
        let at = self.agent.deadline(host, deadline);
        let it = &mut self.hosts[host as usize];
        let at = at.max(self.now).max(it.paused_until);
        if at < it.wake {
            it.wake = at;
            self.queue.push(at, Event::Wake { host });
        }
    }
}

/// Source and destination port of a Homa header.
pub(crate) fn ports(header: &[u8]) -> (u16, u16) {
    match header {
        &[s0, s1, d0, d1, ..] => (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])),
        _ => (0, 0),
    }
}

/// The sender's number of the RPC.
pub(crate) fn sender_id(header: &[u8]) -> u64 {
    let bytes = header.get(20..28).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_be_bytes)
}
