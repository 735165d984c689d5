//! Engines joined by a wire in virtual time. Everything is deterministic: time moves from event to
//! event, and whatever the wire does to a packet is decided by the test.
//!
//! No payload exists: a packet carries the number of the message it is part of and the true
//! offset, so that a byte that ends up elsewhere is noticed. Laws that hold in every test are
//! checked here and in `host`: bursts are of one size, nothing is sent without permission, no
//! byte comes twice, no request runs twice in one life, no deadline returns for ever.

use core::cmp::Reverse;
use core::net::{Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BinaryHeap};

use homa_proto::wire::{Body, Packet};
use homa_proto::{
    Address, Burst, Call, CallError, Config, Counters, Engine, Event, Instant, Path, RpcKey,
};

pub(crate) use crate::host::Host;

/// Bytes of payload a packet carries in these tests, unless a test says otherwise.
pub(crate) const SEGMENT: u32 = 1_400;

/// Deadlines that one host may have at one moment: more means that it makes no progress.
const DEADLINES_AT_ONCE: u32 = 10_000;

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

    pub(crate) fn body(&self) -> Body {
        self.packet().body
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

impl Fate {
    /// `Drop` if `dropped` holds.
    pub(crate) fn drop_if(dropped: bool) -> Self {
        if dropped { Self::Drop } else { Self::Deliver }
    }
}

/// Repeatable random numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        // SplitMix64: every seed gives a good sequence.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A message length of 1 byte to 2^`magnitudes`, evenly over the magnitudes.
    pub(crate) fn length(&mut self, magnitudes: u64) -> u32 {
        let magnitude = self.below(magnitudes + 1);
        1 + self.below(1 << magnitude) as u32
    }
}

/// Hosts, a wire, and the time.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) hosts: Vec<Host>,
    pub(crate) latency: Duration,
    /// Every packet that was put on the wire, unless `keep_trace` is off.
    pub(crate) trace: Vec<(Instant, Flight)>,
    pub(crate) keep_trace: bool,
    wire: BinaryHeap<Reverse<(Instant, u64)>>,
    flights: BTreeMap<u64, Flight>,
    burst: Burst,
    sent: u64,
    messages: u64,
    /// When a deadline last came, and how many came at that moment.
    deadlines: (Instant, u32),
    fate: Box<Wire>,
}

/// Decides what happens to a packet.
type Wire = dyn FnMut(Instant, &Flight) -> Fate;

/// What a host makes of a packet of segments that were joined, each of `segment_bytes` with its
/// header but the last.
fn cut(joined: &Flight, segment_bytes: u32) -> Vec<Flight> {
    let header_bytes = joined.header.len() as u32;
    let (message, start, length) = joined.payload.expect("only DATA is joined");
    let size = segment_bytes - header_bytes;
    let pieces = (0..length).step_by(size as usize).map(|at| {
        let (offset, length) = (start + at, size.min(length - at));
        let mut piece = joined.clone();
        for field in [4, 52] {
            piece.header[field..field + 4].copy_from_slice(&offset.to_be_bytes());
        }
        piece.length = header_bytes + length;
        piece.payload = Some((message, offset, length));
        piece
    });
    pieces.collect()
}

impl World {
    /// One host for each configuration; all of them accept requests.
    pub(crate) fn new(configs: impl IntoIterator<Item = Config>) -> Self {
        let mut world = Self {
            now: Instant::from_nanos(1_000_000_000),
            hosts: Vec::new(),
            latency: Duration::from_micros(5),
            trace: Vec::new(),
            keep_trace: true,
            wire: BinaryHeap::new(),
            flights: BTreeMap::new(),
            burst: Burst::new().expect("there is memory"),
            sent: 0,
            messages: 0,
            deadlines: (Instant::ZERO, 0),
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

    /// A client (host 0) with the default configuration and a server (host 1) that answers each
    /// request with as many bytes.
    pub(crate) fn echo_pair() -> Self {
        let mut world = Self::pair();
        world.hosts[1].echo = true;
        world
    }

    pub(crate) fn add_host(&mut self, config: Config) -> usize {
        let number = self.hosts.len();
        let ip = [10, 0, (number >> 8) as u8, (number & 255) as u8 + 1];
        self.add_host_at(SocketAddr::from((ip, 4_000)), config)
    }

    /// Another host, or another program of a host that there is.
    pub(crate) fn add_host_at(&mut self, address: SocketAddr, config: Config) -> usize {
        let number = self.hosts.len();
        self.hosts
            .push(Host::new(config, address.into(), number as u64));
        number
    }

    /// The host crashes and comes back with an engine that knows nothing.
    pub(crate) fn restart(&mut self, host: usize) {
        let old = &self.hosts[host];
        let mut new = Host::new(
            old.engine.config().clone(),
            old.address,
            self.now.as_nanos(),
        );
        (new.echo, new.answer, new.segment) = (old.echo, old.answer, old.segment);
        self.hosts[host] = new;
    }

    /// The host is gone: nothing leaves it any more, nothing reaches it.
    pub(crate) fn crash(&mut self, host: usize) {
        self.hosts[host].down = true;
    }

    /// Decides from now on what happens to each packet.
    pub(crate) fn on_wire(&mut self, fate: impl FnMut(Instant, &Flight) -> Fate + 'static) {
        self.fate = Box::new(fate);
    }

    /// From now on the first `count` packets that `which` holds for are lost, and no other.
    pub(crate) fn lose(&mut self, count: usize, which: impl Fn(&Flight, &Body) -> bool + 'static) {
        let mut lost = 0;
        self.on_wire(move |_, flight| {
            let hit = lost < count && which(flight, &flight.body());
            lost += usize::from(hit);
            Fate::drop_if(hit)
        });
    }

    /// From now on every packet arrives.
    pub(crate) fn heal(&mut self) {
        self.on_wire(|_, _| Fate::Deliver);
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
            segment_bytes: self.hosts[from].segment,
            deadline: None,
            idempotent: false,
        }
    }

    /// Makes a call without letting the host do anything about it yet.
    pub(crate) fn enqueue(&mut self, from: usize, call: Call) -> Result<RpcKey, CallError> {
        let key = self.hosts[from].engine.call(self.now, call)?;
        self.messages += 1;
        self.hosts[from]
            .outbound
            .insert(key.to_bits(), self.messages);
        Ok(key)
    }

    pub(crate) fn try_call(&mut self, from: usize, call: Call) -> Result<RpcKey, CallError> {
        let key = self.enqueue(from, call)?;
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
        self.messages += 1;
        let h = &mut self.hosts[host];
        h.outbound.insert(rpc.to_bits(), self.messages);
        h.requests.retain(|&(waiting, _)| waiting != rpc);
        h.engine
            .reply(self.now, rpc, length, h.segment)
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

    /// The host's application frees all that it received and held.
    pub(crate) fn give_back(&mut self, host: usize) {
        self.hosts[host].give_back(self.now);
        self.drain(host);
    }

    /// Sends, delivers events, and echoes, until the host has nothing more to do now.
    pub(crate) fn drain(&mut self, host: usize) {
        loop {
            while self.hosts[host]
                .engine
                .poll_transmit(self.now, &mut self.burst)
            {
                self.check_burst(host);
                self.launch(host);
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

    fn check_burst(&self, host: usize) {
        let burst = &self.burst;
        let config = self.hosts[host].engine.config();
        if let Some(rate) = config.link_bits_per_second {
            let backlog = u128::from(rate) * config.pacer_backlog.as_nanos() / 8_000_000_000;
            assert!(burst.len() == 1 || burst.bytes() as u128 <= backlog);
        }
        assert!(!burst.is_empty() && burst.segments() <= 64);
        if burst.segments() > 1 && burst.len() == 1 {
            assert!(burst.bytes() <= config.burst_bytes as usize);
            return;
        }
        let last = burst.len() - 1;
        for (i, packet) in burst.packets().enumerate() {
            assert!(packet.length() == burst.segment_bytes() || i == last);
            assert!(packet.length() <= burst.segment_bytes());
        }
    }

    fn launch(&mut self, from: usize) {
        let address = self.burst.path().peer;
        let to = self.hosts.iter().position(|host| host.address == address);
        let packets = self.burst.packets().map(|packet| {
            let payload = packet.payload.map(|payload| {
                let message = self.hosts[from].outbound[&payload.rpc.to_bits()];
                (message, payload.offset, payload.length)
            });
            Flight {
                from,
                to: to.unwrap_or(usize::MAX),
                header: packet.header.to_vec(),
                length: packet.length() as u32,
                payload,
                priority: self.burst.priority().get(),
            }
        });
        let mut flights: Vec<Flight> = packets.collect();
        if self.burst.segments() > flights.len() {
            flights = cut(&flights[0], self.burst.segment_bytes() as u32);
            assert_eq!(flights.len(), self.burst.segments());
        }
        for flight in flights {
            self.hosts[from].check_permission(address, &flight);
            if self.keep_trace {
                self.trace.push((self.now, flight.clone()));
            }
            if to.is_none() || self.hosts[from].down {
                continue;
            }
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

    /// Puts a packet on the wire, one that no engine sent for instance.
    pub(crate) fn put(&mut self, flight: Flight, delay: Duration) {
        self.sent += 1;
        self.wire
            .push(Reverse((self.now + self.latency + delay, self.sent)));
        self.flights.insert(self.sent, flight);
    }

    fn deliver(&mut self, host: usize, event: Event) {
        self.hosts[host].note(self.now, event);
        if let Event::Request { rpc, length, .. } = event
            && self.hosts[host].echo
        {
            let length = self.hosts[host].answer.unwrap_or(length);
            self.reply(host, rpc, length);
        }
    }

    fn arrive(&mut self, number: u64) {
        let flight = self.flights.remove(&number).expect("it is on its way");
        if self.hosts[flight.to].down {
            return;
        }
        let from = self.hosts[flight.from].address;
        self.hosts[flight.to].receive(self.now, from, &flight);
        self.drain(flight.to);
    }

    /// Lets `host` receive a packet from `from` now, whoever sent it.
    pub(crate) fn inject(&mut self, host: usize, from: Address, packet: &Packet, payload: u32) {
        let mut header = [0; 90];
        let bytes = packet.emit(&mut header);
        self.inject_bytes(host, from, &header[..bytes], bytes as u32 + payload);
    }

    /// Lets `host` receive any bytes from `from` now.
    pub(crate) fn inject_bytes(&mut self, host: usize, from: Address, header: &[u8], length: u32) {
        let flight = Flight {
            from: usize::MAX,
            to: host,
            header: header.to_vec(),
            length,
            payload: None,
            priority: 0,
        };
        self.hosts[host].receive(self.now, from, &flight);
        self.drain(host);
    }

    /// When something happens next: a packet arrives or a deadline comes.
    fn next(&self) -> Option<Instant> {
        let arrival = self.wire.peek().map(|Reverse((at, _))| *at);
        let deadlines = self.hosts.iter().filter_map(|host| {
            let (at, _) = host.engine.poll_timeout().filter(|_| !host.down)?;
            Some(at.max(self.now))
        });
        [arrival, deadlines.min()].into_iter().flatten().min()
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
                self.expire(host);
            }
        }
        self.now = self.now.max(until);
    }

    fn expire(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        if h.down || h.engine.poll_timeout().is_none_or(|(at, _)| at > self.now) {
            return;
        }
        if self.deadlines.0 != self.now {
            self.deadlines = (self.now, 0);
        }
        self.deadlines.1 += 1;
        assert!(
            self.deadlines.1 < DEADLINES_AT_ONCE,
            "a deadline returns for ever: {:?}",
            h.engine.poll_timeout()
        );
        h.timeouts += 1;
        h.engine.handle_timeout(self.now);
        self.drain(host);
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    pub(crate) fn run_ms(&mut self, milliseconds: u64) {
        self.run_for(Duration::from_millis(milliseconds));
    }

    /// Packets on the wire so far that `which` holds for.
    pub(crate) fn count(&self, mut which: impl FnMut(&Flight, &Body) -> bool) -> usize {
        self.trace
            .iter()
            .filter(|(_, flight)| which(flight, &flight.body()))
            .count()
    }

    pub(crate) fn counters(&self, host: usize) -> &Counters {
        self.hosts[host].engine.counters()
    }

    /// No RPC, range or budget is left anywhere but on hosts that crashed.
    pub(crate) fn assert_empty(&self) {
        for host in self.hosts.iter().filter(|host| !host.down) {
            host.assert_empty();
        }
    }

    /// After long enough without calls every table everywhere is as at the start.
    pub(crate) fn assert_forgotten_later(&mut self) {
        self.heal();
        self.run_for(Duration::from_secs(200));
        for host in self.hosts.iter().filter(|host| !host.down) {
            host.assert_forgotten();
        }
    }
}
