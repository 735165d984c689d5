//! Engines joined by a wire in virtual time. Everything is deterministic: time moves from event to
//! event, and whatever the wire does to a packet is decided by the test.
//!
//! No payload exists: a packet carries the number of the message it is part of and the true
//! offset, so that a byte that ends up elsewhere is noticed.

use core::cmp::Reverse;
use core::net::{Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BinaryHeap};

use homa_proto::wire::{Body, Packet};
use homa_proto::{
    Address, Burst, Call, CallError, Config, Engine, Event, Instant, Path, Reason, RpcKey, Seed,
    SocketId,
};

/// Bytes of payload a packet carries in these tests.
pub(crate) const SEGMENT: u32 = 1_400;

/// A packet on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) header: Vec<u8>,
    pub(crate) length: u32,
    /// Message number, offset and length of the payload.
    pub(crate) payload: Option<(u64, u32, u32)>,
    pub(crate) priority: u8,
}

impl Flight {
    /// The packet as the codec reads it.
    pub(crate) fn packet(&self) -> Packet {
        Packet::parse(&self.header, self.length).expect("engines send valid packets")
    }
}

/// What the wire does with a packet.
pub(crate) enum Fate {
    Deliver,
    Drop,
    /// Deliver it that much later than the others.
    Delay(Duration),
    /// Deliver it now and once more that much later.
    Duplicate(Duration),
}

/// A message being received: which of its bytes came, by the message number they are from.
#[derive(Default)]
struct Received {
    message: Option<u64>,
    length: u32,
    bytes: Vec<bool>,
    count: u32,
}

/// An engine with the least host around it.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) address: Address,
    pub(crate) socket: SocketId,
    /// Number of the message that an RPC sends, by key.
    outbound: BTreeMap<u64, u64>,
    inbound: BTreeMap<u64, Received>,
    /// Events in the order in which they came, with their time.
    pub(crate) events: Vec<(Instant, Event)>,
    /// Requests that wait for an answer.
    pub(crate) requests: Vec<(RpcKey, u32)>,
    /// Answers every request at once, with as many bytes.
    pub(crate) echo: bool,
    /// Refuses to store anything.
    pub(crate) refuse: bool,
    /// Keeps the budget of messages it received.
    pub(crate) hold: bool,
    pub(crate) held_bytes: u64,
}

/// Hosts, a wire, and the time.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) hosts: Vec<Host>,
    pub(crate) latency: Duration,
    /// Every packet that was put on the wire.
    pub(crate) trace: Vec<(Instant, Flight)>,
    wire: BinaryHeap<Reverse<(Instant, u64)>>,
    flights: BTreeMap<u64, Flight>,
    sent: u64,
    messages: u64,
    fate: Box<Wire>,
}

/// Decides what happens to a packet.
type Wire = dyn FnMut(Instant, &Flight) -> Fate;

impl World {
    /// One host for each configuration; all of them accept requests.
    pub(crate) fn new(configs: impl IntoIterator<Item = Config>) -> Self {
        let mut world = Self {
            now: Instant::from_nanos(1_000_000_000),
            hosts: Vec::new(),
            latency: Duration::from_micros(5),
            trace: Vec::new(),
            wire: BinaryHeap::new(),
            flights: BTreeMap::new(),
            sent: 0,
            messages: 0,
            fate: Box::new(|_, _| Fate::Deliver),
        };
        for config in configs {
            world.add_host(config);
        }
        world
    }

    /// A client (host 0) and a server (host 1) with the default configuration.
    pub(crate) fn pair() -> Self {
        Self::new([Config::default(), Config::default()])
    }

    fn add_host(&mut self, config: Config) {
        let number = self.hosts.len();
        let address = SocketAddr::from(([10, 0, 0, number as u8 + 1], 4_000));
        self.hosts
            .push(Host::new(config, address.into(), number as u64));
    }

    /// The host crashes and comes back with an engine that knows nothing.
    pub(crate) fn restart(&mut self, host: usize) {
        let old = &self.hosts[host];
        let config = old.engine.config().clone();
        let echo = old.echo;
        let seed = self.now.as_nanos();
        self.hosts[host] = Host::new(config, old.address, seed);
        self.hosts[host].echo = echo;
    }

    /// Decides from now on what happens to each packet.
    pub(crate) fn on_wire(&mut self, fate: impl FnMut(Instant, &Flight) -> Fate + 'static) {
        self.fate = Box::new(fate);
    }

    /// The `Call` from one host to another that tests vary.
    pub(crate) fn a_call(&self, from: usize, to: usize, length: u32) -> Call {
        Call {
            path: Path {
                socket: self.hosts[from].socket,
                peer: self.hosts[to].address,
                local: Ipv6Addr::UNSPECIFIED,
            },
            dest_port: self.hosts[to].address.port,
            length,
            segment_bytes: SEGMENT,
            deadline: None,
            idempotent: false,
        }
    }

    pub(crate) fn try_call(&mut self, from: usize, call: Call) -> Result<RpcKey, CallError> {
        let key = self.hosts[from].engine.call(self.now, call)?;
        self.messages += 1;
        self.hosts[from]
            .outbound
            .insert(key.to_bits(), self.messages);
        self.drain(from);
        Ok(key)
    }

    /// A call that must be taken.
    pub(crate) fn call(&mut self, from: usize, to: usize, length: u32) -> RpcKey {
        let call = self.a_call(from, to, length);
        self.try_call(from, call).expect("the call is taken")
    }

    /// Answers a request.
    pub(crate) fn reply(&mut self, host: usize, rpc: RpcKey, length: u32) {
        let now = self.now;
        self.messages += 1;
        self.hosts[host]
            .outbound
            .insert(rpc.to_bits(), self.messages);
        self.hosts[host]
            .engine
            .reply(now, rpc, length, SEGMENT)
            .expect("the reply is taken");
        self.drain(host);
    }

    /// Does something to a host's engine, then drains it.
    pub(crate) fn with<R>(
        &mut self,
        host: usize,
        act: impl FnOnce(&mut Engine, Instant) -> R,
    ) -> R {
        let result = act(&mut self.hosts[host].engine, self.now);
        self.drain(host);
        result
    }

    /// Sends, delivers events, and echoes, until the host has nothing more to do now.
    pub(crate) fn drain(&mut self, host: usize) {
        loop {
            let mut burst = Burst::new().expect("there is memory");
            while self.hosts[host].engine.poll_transmit(self.now, &mut burst) {
                self.check_burst(&burst);
                self.launch(host, &burst);
            }
            let mut any = false;
            while let Some(event) = self.hosts[host].engine.poll_event() {
                any = true;
                self.deliver(host, event);
            }
            if !any {
                return;
            }
        }
    }

    fn check_burst(&self, burst: &Burst) {
        assert!(!burst.is_empty() && burst.len() <= 64);
        let last = burst.len() - 1;
        for (i, packet) in burst.packets().enumerate() {
            assert!(packet.length() == burst.segment_bytes() || i == last);
            assert!(packet.length() <= burst.segment_bytes());
        }
    }

    fn launch(&mut self, from: usize, burst: &Burst) {
        let to = burst.path().peer;
        let to = self.hosts.iter().position(|host| host.address == to);
        for packet in burst.packets() {
            let payload = packet.payload.map(|payload| {
                let message = self.hosts[from].outbound[&payload.rpc.to_bits()];
                (message, payload.offset, payload.length)
            });
            let flight = Flight {
                from,
                to: to.unwrap_or(usize::MAX),
                header: packet.header.to_vec(),
                length: packet.length() as u32,
                payload,
                priority: burst.priority().get(),
            };
            self.trace.push((self.now, flight.clone()));
            if to.is_some() {
                match (self.fate)(self.now, &flight) {
                    Fate::Deliver => self.put(flight, Duration::ZERO),
                    Fate::Drop => {}
                    Fate::Delay(delay) => self.put(flight, delay),
                    Fate::Duplicate(delay) => {
                        self.put(flight.clone(), Duration::ZERO);
                        self.put(flight, delay);
                    }
                }
            }
        }
    }

    /// Puts a packet on the wire, one that no engine sent for instance.
    pub(crate) fn put(&mut self, flight: Flight, delay: Duration) {
        self.sent += 1;
        self.wire
            .push(Reverse((self.now + self.latency + delay, self.sent)));
        self.flights.insert(self.sent, flight);
    }

    fn deliver(&mut self, host: usize, event: Event) {
        let now = self.now;
        let h = &mut self.hosts[host];
        h.events.push((now, event));
        match event {
            Event::Request { rpc, length, .. } => {
                h.take_whole(rpc, length);
                h.free_inbound(now, rpc);
                if h.echo {
                    self.reply(host, rpc, length);
                } else {
                    h.requests.push((rpc, length));
                }
            }
            Event::Response { rpc, length } => {
                h.take_whole(rpc, length);
                h.free_inbound(now, rpc);
                h.outbound.remove(&rpc.to_bits());
            }
            Event::Failed { rpc, .. } | Event::Ended { rpc, .. } => {
                h.requests.retain(|&(waiting, _)| waiting != rpc);
                h.free_inbound(now, rpc);
                h.outbound.remove(&rpc.to_bits());
            }
        }
    }

    fn arrive(&mut self, number: u64) {
        let flight = self.flights.remove(&number).expect("it is on its way");
        let path = Path {
            socket: self.hosts[flight.to].socket,
            peer: self.hosts[flight.from].address,
            local: Ipv6Addr::UNSPECIFIED,
        };
        self.hosts[flight.to].receive(self.now, path, &flight);
        self.drain(flight.to);
    }

    /// Lets `host` receive a packet from `from` now, whoever sent it.
    pub(crate) fn inject(&mut self, host: usize, from: Address, packet: &Packet, length: u32) {
        let mut header = [0; 90];
        let bytes = packet.emit(&mut header);
        let path = Path {
            socket: self.hosts[host].socket,
            peer: from,
            local: Ipv6Addr::UNSPECIFIED,
        };
        let placement =
            self.hosts[host]
                .engine
                .handle_packet(self.now, path, &header[..bytes], length);
        if let Some(placement) = placement {
            placement.commit();
        }
        self.drain(host);
    }

    /// When something happens next: a packet arrives or a deadline comes.
    fn next(&self) -> Option<Instant> {
        let arrival = self.wire.peek().map(|Reverse((at, _))| *at);
        let deadlines = self
            .hosts
            .iter()
            .filter_map(|host| host.engine.poll_timeout());
        let deadline = deadlines.map(|(at, _)| at.max(self.now)).min();
        [arrival, deadline].into_iter().flatten().min()
    }

    /// Goes on until `until`, or until nothing will ever happen again.
    pub(crate) fn run_until(&mut self, until: Instant) {
        while let Some(next) = self.next().filter(|&next| next <= until) {
            self.now = self.now.max(next);
            while let Some(&Reverse((at, number))) = self.wire.peek() {
                if at > self.now {
                    break;
                }
                self.wire.pop();
                self.arrive(number);
            }
            for host in 0..self.hosts.len() {
                let due = |(at, _): (Instant, Reason)| at <= self.now;
                if self.hosts[host].engine.poll_timeout().is_some_and(due) {
                    self.hosts[host].engine.handle_timeout(self.now);
                    self.drain(host);
                }
            }
        }
        self.now = self.now.max(until);
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Packets on the wire so far that `which` holds for.
    pub(crate) fn count(&self, mut which: impl FnMut(&Flight, &Body) -> bool) -> usize {
        self.trace
            .iter()
            .filter(|(_, flight)| which(flight, &flight.packet().body))
            .count()
    }

    /// No RPC, range or budget is left anywhere.
    pub(crate) fn assert_empty(&self) {
        for (number, host) in self.hosts.iter().enumerate() {
            let usage = host.engine.usage();
            assert_eq!(usage.client_rpcs, 0, "host {number}: {usage:?}");
            assert_eq!(usage.server_rpcs, 0, "host {number}: {usage:?}");
            assert_eq!(usage.ranges, 0, "host {number}: {usage:?}");
            assert_eq!(usage.incoming_bytes, 0, "host {number}: {usage:?}");
            assert_eq!(
                usage.budget_used_bytes, host.held_bytes,
                "host {number}: {usage:?}"
            );
        }
    }
}

impl Host {
    fn new(config: Config, address: Address, seed: u64) -> Self {
        let mut engine = Engine::new(config, Seed([seed, 77])).expect("a valid configuration");
        let socket = engine
            .open_socket(address.port, true)
            .expect("the first socket");
        Self {
            engine,
            address,
            socket,
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
            events: Vec::new(),
            requests: Vec::new(),
            echo: false,
            refuse: false,
            hold: false,
            held_bytes: 0,
        }
    }

    fn receive(&mut self, now: Instant, path: Path, flight: &Flight) {
        let Some(placement) = self
            .engine
            .handle_packet(now, path, &flight.header, flight.length)
        else {
            return;
        };
        if self.refuse {
            placement.refuse();
            return;
        }
        let place = placement.place();
        placement.commit();
        let (message, offset, length) = flight.payload.expect("only DATA is placed");
        assert_eq!(
            (place.offset, place.length),
            (offset, length),
            "bytes end up elsewhere"
        );
        let received = self.inbound.entry(place.rpc.to_bits()).or_default();
        assert_eq!(place.new, received.message.is_none());
        if place.new {
            received.length = place.message_length;
            received.bytes = vec![false; place.message_length as usize];
        }
        assert_eq!(
            *received.message.get_or_insert(message),
            message,
            "of another message"
        );
        for byte in &mut received.bytes[offset as usize..(offset + length) as usize] {
            assert!(!*byte, "a byte is delivered twice");
            *byte = true;
        }
        received.count += length;
    }

    fn take_whole(&mut self, rpc: RpcKey, length: u32) {
        let received = &self.inbound[&rpc.to_bits()];
        assert_eq!(
            (received.count, received.length),
            (length, length),
            "bytes are missing"
        );
    }

    fn free_inbound(&mut self, now: Instant, rpc: RpcKey) {
        if let Some(received) = self.inbound.remove(&rpc.to_bits()) {
            if self.hold {
                self.held_bytes += u64::from(received.length);
            } else {
                self.engine.give_back(now, u64::from(received.length));
            }
        }
    }

    /// Events of client RPCs that ended well.
    pub(crate) fn responses(&self) -> usize {
        self.events
            .iter()
            .filter(|(_, event)| matches!(event, Event::Response { .. }))
            .count()
    }

    /// Causes of client RPCs that failed.
    pub(crate) fn failures(&self) -> Vec<homa_proto::Failure> {
        let failure = |(_, event): &(Instant, Event)| match event {
            Event::Failed { failure, .. } => Some(*failure),
            _ => None,
        };
        self.events.iter().filter_map(failure).collect()
    }
}
