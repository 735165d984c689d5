//! Two engines and a stranger, driven by bytes: whatever they say, the laws below hold. The fuzzer
//! and the tests share this file; it knows nothing of the rest of the harness.
//!
//! Each byte chooses what happens next: calls, answers, packets delivered, lost, doubled, damaged
//! or made up, time, deadlines. Limits are small, so that they are reached. At the end either every
//! packet arrives or none does, and in both cases every table becomes empty.

use core::net::{Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use homa_proto::wire::MAX_HEADER_BYTES;
use homa_proto::{
    Address, Burst, Call, Config, Counters, Engine, Event, Instant, Path, RpcKey, Seed, SocketId,
    Unreachable,
};

/// Steps of one game, and packets on the wire, at most.
const STEPS: usize = 4_096;
const WIRE: usize = 512;

const LONGEST: u32 = 100_000;
const PORT: u16 = 4_000;

/// The bytes that drive the game.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// 0 once the script is over.
    fn number(&mut self, bytes: u32) -> u64 {
        (0..bytes).fold(0, |sum, _| sum << 8 | u64::from(self.byte().unwrap_or(0)))
    }

    /// A length of 1 byte to a little more than is allowed, evenly over the magnitudes.
    fn length(&mut self) -> u32 {
        let magnitude = self.number(1) % 18;
        1 + (self.number(3) % (1 << magnitude)) as u32
    }
}

#[derive(Clone)]
struct Packet {
    from: usize,
    header: Vec<u8>,
    length: u32,
}

/// What a host holds of a message that it receives.
struct Held {
    length: u32,
    received: u32,
}

struct Host {
    engine: Engine,
    address: Address,
    socket: SocketId,
    is_open: bool,
    calls: Vec<RpcKey>,
    requests: VecDeque<RpcKey>,
    held: BTreeMap<u64, Held>,
    /// Bytes of messages that the application has not freed.
    owed: u64,
    /// When requests of a client ended; `None`: they have not.
    ran: BTreeMap<(Address, u64), Option<Instant>>,
    ids: BTreeMap<u64, (Address, u64)>,
}

/// The whole game.
pub(crate) struct Game {
    now: Instant,
    hosts: [Host; 2],
    wire: VecDeque<Packet>,
    burst: Burst,
    heal: bool,
}

/// Plays the game that `script` describes; panics if a law is broken.
pub(crate) fn play(script: &[u8]) {
    let mut script = Script(script);
    let mut game = Game::new(&mut script);
    for _ in 0..STEPS {
        let Some(step) = script.byte() else {
            break;
        };
        game.step(step, &mut script);
        game.check();
    }
    game.end();
}

fn config(script: &mut Script<'_>) -> Config {
    let (knobs, quiet) = (script.number(1), script.number(1));
    Config {
        max_message_bytes: LONGEST,
        receive_budget_bytes: u64::from(LONGEST) + 50_000 * (knobs & 1),
        max_client_rpcs: 8,
        max_server_rpcs: 6,
        max_server_rpcs_per_peer: 5,
        max_peers: 2 + (knobs >> 1 & 1) as u32,
        max_gaps: 6,
        max_gaps_per_message: 4,
        max_tombstone_blocks: 3 + 20 * (knobs >> 1 & 1) as u32,
        unscheduled_bytes: 5_000,
        incast_rpcs: 4,
        max_incoming_bytes: 20_000,
        overcommitment: if knobs & 4 == 0 { 1 } else { 3 },
        priorities: 1 + (knobs >> 3 & 7) as u8,
        link_bits_per_second: (knobs & 64 != 0).then_some(1_000_000_000),
        quiet_start: Duration::from_millis(quiet / 32),
        fifo_grant_permille: if knobs & 128 == 0 { 50 } else { 500 },
        ..Config::default()
    }
}

impl Host {
    fn new(config: Config, number: u8, life: u64) -> Self {
        let mut engine =
            Engine::new(config, Seed([u64::from(number), life])).expect("a valid configuration");
        let socket = engine.open_socket(PORT, true).expect("the first socket");
        Self {
            engine,
            address: address(number),
            socket,
            is_open: true,
            calls: Vec::new(),
            requests: VecDeque::new(),
            held: BTreeMap::new(),
            owed: 0,
            ran: BTreeMap::new(),
            ids: BTreeMap::new(),
        }
    }

    fn take(&mut self, now: Instant, event: Event) {
        let over = match event {
            Event::Request {
                rpc,
                id,
                peer,
                length,
            } => {
                self.take_whole(rpc, length);
                let before = self.ran.insert((peer, id.get()), None);
                let forgotten = |end: Instant| now.nanos_since(end) >= 1_000_000_000;
                assert!(
                    before.is_none_or(|end| end.is_some_and(forgotten)),
                    "a request runs twice"
                );
                self.ids.insert(rpc.to_bits(), (peer, id.get()));
                self.requests.push_back(rpc);
                return;
            }
            Event::Response { rpc, length } => {
                self.take_whole(rpc, length);
                rpc
            }
            Event::Failed { rpc, .. } | Event::Ended { rpc, .. } => rpc,
        };
        if let Some(held) = self.held.remove(&over.to_bits()) {
            self.owed += u64::from(held.length);
        }
        if let Some(ran) = self.ids.remove(&over.to_bits()) {
            self.ran.insert(ran, Some(now));
        }
        self.calls.retain(|&key| key != over);
        self.requests.retain(|&key| key != over);
    }

    fn take_whole(&self, rpc: RpcKey, length: u32) {
        let held = &self.held[&rpc.to_bits()];
        assert_eq!((held.length, held.received), (length, length));
    }

    /// A packet comes in; `store`: whether there is memory for its payload.
    fn receive(&mut self, now: Instant, from: Address, packet: &Packet, store: bool) {
        let path = Path {
            socket: self.socket,
            peer: from,
            local: Ipv6Addr::UNSPECIFIED,
        };
        let before = sum(self.engine.counters());
        let placement = self
            .engine
            .handle_packet(now, path, &packet.header, packet.length);
        if let Some(placement) = placement {
            let place = placement.place();
            if store {
                placement.commit();
                let end = place
                    .offset
                    .checked_add(place.length)
                    .expect("a place lies in its message");
                assert!(place.length > 0 && end <= place.message_length);
                assert!(place.message_length <= LONGEST && place.rpc.index() < 14);
                assert!(place.header_bytes as u32 + place.length <= packet.length);
                let known = self.held.contains_key(&place.rpc.to_bits());
                assert_eq!(place.new, !known);
                let held = self.held.entry(place.rpc.to_bits()).or_insert(Held {
                    length: place.message_length,
                    received: 0,
                });
                held.received += place.length;
                assert!(held.length == place.message_length && held.received <= held.length);
            } else {
                placement.refuse();
            }
        }
        let after = sum(self.engine.counters());
        assert!(after > before, "a packet that no counter knows");
    }
}

/// Of all that is counted about packets but their number.
fn sum(counters: &Counters) -> u64 {
    let named = counters
        .iter()
        .filter(|(name, _)| *name != "packets_received");
    named.map(|(_, count)| count).sum::<u64>() + counters.malformed.iter().sum::<u64>()
}

fn address(number: u8) -> Address {
    SocketAddr::from(([10, 0, 0, number], PORT)).into()
}

impl Game {
    fn new(script: &mut Script<'_>) -> Self {
        let hosts = [
            Host::new(config(script), 1, 0),
            Host::new(config(script), 2, 0),
        ];
        Self {
            now: Instant::from_nanos(script.number(1) << 30),
            hosts,
            wire: VecDeque::new(),
            burst: Burst::new().expect("there is memory"),
            heal: script.number(1).is_multiple_of(2),
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let host = usize::from(step >> 7);
        let now = self.now;
        match step & 31 {
            0..=3 => self.call(host, script),
            4..=6 => self.answer(host, script.length(), step & 32 != 0),
            7..=12 => self.deliver(script.number(1) as usize, step & 96 != 0),
            13 => drop(self.wire.pop_front()),
            14 => {
                if let Some(packet) = self.pick(script.number(1) as usize) {
                    self.wire.push_back(packet);
                }
            }
            15 | 16 => self.damage(script),
            17 | 18 => self.make_up(host, script),
            19 => self.now = now + Duration::from_micros(script.number(1)),
            20 => self.now = now + Duration::from_millis(script.number(1)),
            21 => self.now = now + Duration::from_millis(100 * script.number(1)),
            22..=24 => self.deadline(host),
            25 => {
                let calls = &self.hosts[host].calls;
                if let Some(&key) = calls.get(script.number(1) as usize % calls.len().max(1)) {
                    assert!(self.hosts[host].engine.abort(now, key));
                }
            }
            26 => {
                let key = RpcKey::from_bits(script.number(8));
                let engine = &mut self.hosts[host].engine;
                engine.abort(now, key);
            }
            27 | 28 => self.give_back(host),
            29 => self.reopen(host, script.number(1)),
            30 => self.unreachable(host, script),
            _ if step & 32 == 0 => self.drain(host),
            _ => {
                // It crashes and comes back.
                let config = self.hosts[host].engine.config().clone();
                self.hosts[host] = Host::new(config, 1 + host as u8, now.as_nanos());
            }
        }
        self.drain(host);
    }

    fn call(&mut self, from: usize, script: &mut Script<'_>) {
        let flags = script.number(1);
        let host = &mut self.hosts[from];
        let call = Call {
            path: Path {
                socket: host.socket,
                peer: address(if flags & 7 == 0 { 9 } else { 2 - from as u8 }),
                local: Ipv6Addr::UNSPECIFIED,
            },
            dest_port: if flags & 0x38 == 0 { 5 } else { PORT },
            length: script.length(),
            segment_bytes: [64, 300, 1_300, 5_000][flags as usize >> 6],
            deadline: (flags & 0x70 == 0).then(|| self.now + Duration::from_millis(50)),
            idempotent: flags & 0x80 != 0,
        };
        if let Ok(key) = host.engine.call(self.now, call) {
            host.calls.push(key);
        }
    }

    fn answer(&mut self, host: usize, length: u32, refuse: bool) {
        let host = &mut self.hosts[host];
        let Some(key) = host.requests.pop_front() else {
            return;
        };
        if refuse {
            assert!(host.engine.drop_request(self.now, key));
        } else if host.engine.reply(self.now, key, length, 500).is_err() {
            assert!(length > LONGEST);
            host.requests.push_back(key);
        }
    }

    /// The `n`th packet on the wire, counted round and round; it stays there.
    fn pick(&self, n: usize) -> Option<Packet> {
        self.wire.get(n % self.wire.len().max(1)).cloned()
    }

    fn deliver(&mut self, n: usize, store: bool) {
        let n = n % self.wire.len().max(1);
        if let Some(packet) = self.wire.remove(n) {
            self.arrive(&packet, store);
        }
    }

    fn arrive(&mut self, packet: &Packet, store: bool) {
        let to = 1 - packet.from;
        let from = self.hosts[packet.from].address;
        self.hosts[to].receive(self.now, from, packet, store);
        self.drain(to);
    }

    /// A packet of the wire arrives with a few bytes changed.
    fn damage(&mut self, script: &mut Script<'_>) {
        let Some(mut packet) = self.pick(script.number(1) as usize) else {
            return;
        };
        for _ in 0..=script.number(1) % 4 {
            let place = script.number(1) as usize % packet.header.len();
            packet.header[place] ^= script.number(1) as u8;
        }
        packet.length = packet.length.wrapping_add(script.number(1) as u32 % 3);
        self.arrive(&packet, true);
    }

    /// A packet that nobody sent arrives from one of the hosts or from a stranger.
    fn make_up(&mut self, to: usize, script: &mut Script<'_>) {
        let flags = script.number(1);
        let mut header: Vec<u8> = (0..MAX_HEADER_BYTES)
            .map(|_| script.number(1) as u8)
            .collect();
        header[11] = 0x10 + flags as u8 % 10;
        if flags & 0x10 != 0 {
            header[2..4].copy_from_slice(&PORT.to_be_bytes());
            // Small ids, lengths and offsets meet each other.
            header[20..27].fill(0);
            header[28..30].fill(0);
            header[52..54].fill(0);
        }
        let packet = Packet {
            from: 1 - to,
            header,
            length: 28 + script.number(2) as u32 % 1_500,
        };
        if flags & 0x20 == 0 {
            self.arrive(&packet, true);
        } else {
            self.hosts[to].receive(self.now, address(7 + flags as u8 % 3), &packet, true);
            self.drain(to);
        }
    }

    fn deadline(&mut self, host: usize) {
        let engine = &mut self.hosts[host].engine;
        if let Some((at, _)) = engine.poll_timeout() {
            self.now = self.now.max(at);
            engine.handle_timeout(self.now);
        }
    }

    fn give_back(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        let bytes = core::mem::take(&mut host.owed);
        host.engine.give_back(self.now, bytes);
    }

    fn reopen(&mut self, host: usize, flags: u64) {
        let host = &mut self.hosts[host];
        if !host.is_open {
            host.socket = host
                .engine
                .open_socket(PORT, flags % 4 != 1)
                .expect("one socket at a time");
            host.is_open = true;
        } else if flags.is_multiple_of(4) {
            host.engine.close_socket(self.now, host.socket);
            host.is_open = false;
        }
    }

    fn unreachable(&mut self, host: usize, script: &mut Script<'_>) {
        let what = match script.number(1) % 3 {
            0 => Unreachable::Port,
            1 => Unreachable::Host,
            _ => Unreachable::TooBig {
                segment_bytes: script.number(2) as u32,
            },
        };
        let offending = self.pick(script.number(1) as usize);
        let length = script.number(1) as usize;
        let bytes = offending.map_or(Vec::new(), |packet| packet.header);
        let to = self.hosts[1 - host].address;
        let bytes = &bytes[..length.min(bytes.len())];
        let engine = &mut self.hosts[host].engine;
        engine.handle_unreachable(self.now, to, bytes, what);
    }

    /// Takes out all that an engine has to say. Packets to strangers are lost.
    fn drain(&mut self, number: usize) {
        loop {
            let host = &mut self.hosts[number];
            while host.engine.poll_transmit(self.now, &mut self.burst) {
                let to = self.burst.path().peer;
                let size = self.burst.segment_bytes();
                assert!(!self.burst.is_empty());
                for packet in self.burst.packets() {
                    assert!(packet.length() <= size);
                    if to == address(2 - number as u8) && self.wire.len() < WIRE {
                        self.wire.push_back(Packet {
                            from: number,
                            header: packet.header.to_vec(),
                            length: packet.length() as u32,
                        });
                    }
                }
            }
            let Some(event) = host.engine.poll_event() else {
                return;
            };
            host.take(self.now, event);
        }
    }

    /// Tables never exceed their limits, and nothing is lost from the books.
    fn check(&self) {
        for host in &self.hosts {
            let (usage, config) = (host.engine.usage(), host.engine.config());
            assert!(usage.client_rpcs <= config.max_client_rpcs);
            assert!(usage.server_rpcs <= config.max_server_rpcs);
            assert!(usage.peers <= config.max_peers);
            assert!(usage.ranges <= config.max_gaps);
            assert!(usage.tombstone_blocks <= config.max_tombstone_blocks);
            assert!(usage.budget_used_bytes <= config.receive_budget_bytes);
            assert!(usage.active_messages <= usize::from(config.overcommitment));
            let held: u64 = host.held.values().map(|held| u64::from(held.length)).sum();
            assert!(held + host.owed <= usage.budget_used_bytes);
        }
    }

    /// Everything ends: with every packet arriving and every request answered, or with none.
    fn end(&mut self) {
        let horizon = self.now + Duration::from_secs(600);
        for step in 0.. {
            assert!(step < 200_000, "it goes on for ever");
            for host in 0..2 {
                self.give_back(host);
                self.answer(host, 1, false);
                self.drain(host);
            }
            match self.wire.pop_front() {
                Some(packet) if self.heal => self.arrive(&packet, true),
                Some(_) => {}
                None if self.hosts.iter().any(|host| !host.requests.is_empty()) => {}
                None => {
                    let due = |host: &Host| host.engine.poll_timeout().map(|(at, _)| at);
                    let (a, b) = (due(&self.hosts[0]), due(&self.hosts[1]));
                    let host = usize::from(a.is_none() || b.is_some() && b < a);
                    if a.min(b).or(a).or(b).is_none_or(|at| at > horizon) {
                        break;
                    }
                    self.deadline(host);
                }
            }
            self.check();
        }
        for host in &self.hosts {
            let usage = host.engine.usage();
            let entries = usage.client_rpcs + usage.server_rpcs + usage.peers + usage.ranges;
            assert_eq!(entries + usage.tombstone_blocks, 0, "{usage:?}");
            assert_eq!(
                usage.budget_used_bytes + usage.incoming_bytes,
                0,
                "{usage:?}"
            );
            assert!(!usage.stalled && usage.active_messages == 0, "{usage:?}");
            assert!(host.held.is_empty() && host.calls.is_empty());
            assert_eq!(host.engine.poll_timeout(), None);
        }
    }
}
