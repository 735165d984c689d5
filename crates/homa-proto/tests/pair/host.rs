//! An engine with the least host around it: it keeps no payload, only which bytes of which message
//! came, and notices what an engine must never do.

use core::net::Ipv6Addr;
use std::collections::BTreeMap;

use homa_proto::wire::{Body, DATA_HEADER_BYTES, Packet, ResendRange};
use homa_proto::{Address, Config, Engine, Event, Failure, Instant, Path, RpcKey, Seed, SocketId};

use crate::world::{Flight, SEGMENT};

/// Number of messages that no engine sent.
const MADE_UP: u64 = u64::MAX;

/// A message being received: which of its bytes came, by the message number they are from.
#[derive(Default)]
struct Received {
    message: Option<u64>,
    length: u32,
    bytes: Vec<bool>,
    count: u32,
}

/// One engine and what its host knows.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) address: Address,
    pub(crate) socket: SocketId,
    /// Number of the message that an RPC sends, by key.
    pub(crate) outbound: BTreeMap<u64, u64>,
    inbound: BTreeMap<u64, Received>,
    /// Events in the order in which they came, with their time.
    pub(crate) events: Vec<(Instant, Event)>,
    /// Requests that wait for an answer.
    pub(crate) requests: Vec<(RpcKey, u32)>,
    /// Answers every request at once.
    pub(crate) echo: bool,
    /// Bytes of those answers; `None`: as many as the request has.
    pub(crate) answer: Option<u32>,
    /// Bytes of payload in its packets.
    pub(crate) segment: u32,
    /// Refuses to store anything.
    pub(crate) refuse: bool,
    /// Keeps the budget of messages it received.
    pub(crate) hold: bool,
    pub(crate) held_bytes: u64,
    /// Crashed: nothing leaves it, nothing reaches it.
    pub(crate) down: bool,
    /// Calls of `handle_timeout`.
    pub(crate) timeouts: u64,
    /// Requests delivered in this life, and when they ended: none may be delivered twice while a
    /// copy of it can be under way.
    ran: BTreeMap<(Address, u64), Option<Instant>>,
    /// Of live RPCs.
    ids: BTreeMap<u64, (Address, u64)>,
    requests_run: usize,
    /// How far peers allowed it to send, by peer and our id.
    allowed: BTreeMap<(Address, u64), u32>,
}

impl Host {
    pub(crate) fn new(config: Config, address: Address, seed: u64) -> Self {
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
            answer: None,
            segment: SEGMENT,
            refuse: false,
            hold: false,
            held_bytes: 0,
            down: false,
            timeouts: 0,
            ran: BTreeMap::new(),
            ids: BTreeMap::new(),
            requests_run: 0,
            allowed: BTreeMap::new(),
        }
    }

    /// A packet comes in.
    pub(crate) fn receive(&mut self, now: Instant, from: Address, flight: &Flight) {
        self.note_permission(from, flight);
        let path = Path {
            socket: self.socket,
            peer: from,
            local: Ipv6Addr::UNSPECIFIED,
        };
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
        let made_up = (MADE_UP, place.offset, place.length);
        let (message, offset, length) = flight.payload.unwrap_or(made_up);
        let end = place.offset + place.length;
        let skipped = (place.header_bytes - DATA_HEADER_BYTES) as u32;
        assert!(
            place.offset == offset + skipped && end <= offset + length || flight.payload.is_none(),
            "bytes end up elsewhere"
        );
        let (offset, length) = (place.offset, place.length);
        let received = self.inbound.entry(place.rpc.to_bits()).or_default();
        assert_eq!(place.new, received.message.is_none());
        if place.new {
            received.length = place.message_length;
            received.bytes = vec![false; place.message_length as usize];
        }
        let known = *received.message.get_or_insert(message);
        assert!(
            known == message || known == MADE_UP || message == MADE_UP,
            "of another message"
        );
        for byte in &mut received.bytes[offset as usize..(offset + length) as usize] {
            assert!(!*byte, "a byte is delivered twice");
            *byte = true;
        }
        received.count += length;
    }

    /// Notes how far a GRANT or RESEND lets this host send.
    fn note_permission(&mut self, from: Address, flight: &Flight) {
        let Ok(packet) = Packet::parse(&flight.header, flight.length) else {
            return;
        };
        let end = match packet.body {
            Body::Grant(grant) => grant.offset,
            Body::Resend(resend) => match resend.range {
                ResendRange::Bytes { offset, length } => offset.saturating_add(length),
                ResendRange::Everything => return,
            },
            _ => return,
        };
        let ours = packet.common.sender_id.flipped().get();
        let allowed = self.allowed.entry((from, ours)).or_default();
        *allowed = end.max(*allowed);
    }

    /// No segment is sent for the first time that does not begin with an allowed byte.
    pub(crate) fn check_permission(&self, to: Address, flight: &Flight) {
        let packet = flight.packet();
        let Body::Data(data) = packet.body else {
            return;
        };
        let config = self.engine.config();
        let most = config.unscheduled_max_bytes.unwrap_or(0);
        let unscheduled = config.unscheduled_bytes.max(most);
        let allowed = self.allowed.get(&(to, packet.common.sender_id.get()));
        let end = allowed.copied().unwrap_or(0).max(unscheduled);
        assert!(
            data.retransmit || data.offset < end || data.offset == 0,
            "byte {} is sent, granted were {end}",
            data.offset
        );
    }

    /// Takes note of an event.
    pub(crate) fn note(&mut self, now: Instant, event: Event) {
        self.events.push((now, event));
        match event {
            Event::Request {
                rpc,
                id,
                peer,
                length,
            } => {
                let before = self.ran.insert((peer, id.get()), None);
                let lifetime = self.engine.config().packet_lifetime;
                let forgotten = |end: Instant| now >= end + lifetime;
                assert!(
                    before.is_none_or(|end| end.is_some_and(forgotten)),
                    "a request runs twice"
                );
                self.ids.insert(rpc.to_bits(), (peer, id.get()));
                self.requests_run += 1;
                self.take_whole(rpc, length);
                self.free_inbound(now, rpc);
                self.requests.push((rpc, length));
            }
            Event::Response { rpc, length } => {
                self.take_whole(rpc, length);
                self.free_inbound(now, rpc);
                self.outbound.remove(&rpc.to_bits());
            }
            Event::Failed { rpc, .. } | Event::Ended { rpc, .. } => {
                if let Some(ran) = self.ids.remove(&rpc.to_bits()) {
                    self.ran.insert(ran, Some(now));
                }
                self.requests.retain(|&(waiting, _)| waiting != rpc);
                self.free_inbound(now, rpc);
                self.outbound.remove(&rpc.to_bits());
            }
        }
    }

    fn take_whole(&mut self, rpc: RpcKey, length: u32) {
        let Some(received) = self.inbound.get(&rpc.to_bits()) else {
            panic!("a message of which no byte came");
        };
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

    /// Gives all the budget back that it held.
    pub(crate) fn give_back(&mut self, now: Instant) {
        let bytes = core::mem::take(&mut self.held_bytes);
        self.engine.give_back(now, bytes);
    }

    /// Client RPCs that ended well.
    pub(crate) fn responses(&self) -> usize {
        self.events
            .iter()
            .filter(|(_, event)| matches!(event, Event::Response { .. }))
            .count()
    }

    /// Lengths of the responses in the order in which they came.
    pub(crate) fn response_lengths(&self) -> Vec<u32> {
        let length = |(_, event): &(Instant, Event)| match event {
            Event::Response { length, .. } => Some(*length),
            _ => None,
        };
        self.events.iter().filter_map(length).collect()
    }

    /// Requests that the application got.
    pub(crate) fn requests_run(&self) -> usize {
        self.requests_run
    }

    /// Causes of client RPCs that failed.
    pub(crate) fn failures(&self) -> Vec<Failure> {
        let failure = |(_, event): &(Instant, Event)| match event {
            Event::Failed { failure, .. } => Some(*failure),
            _ => None,
        };
        self.events.iter().filter_map(failure).collect()
    }

    /// How server RPCs ended: whether their response was delivered.
    pub(crate) fn endings(&self) -> Vec<bool> {
        let ending = |(_, event): &(Instant, Event)| match event {
            Event::Ended { delivered, .. } => Some(*delivered),
            _ => None,
        };
        self.events.iter().filter_map(ending).collect()
    }

    /// No RPC, range or budget is left.
    pub(crate) fn assert_empty(&self) {
        let usage = self.engine.usage();
        assert_eq!(usage.client_rpcs, 0, "{}: {usage:?}", self.address.ip);
        assert_eq!(usage.server_rpcs, 0, "{}: {usage:?}", self.address.ip);
        assert_eq!(usage.ranges, 0, "{}: {usage:?}", self.address.ip);
        assert_eq!(usage.incoming_bytes, 0, "{}: {usage:?}", self.address.ip);
        assert_eq!(usage.active_messages, 0, "{}: {usage:?}", self.address.ip);
        assert!(!usage.stalled, "{}: {usage:?}", self.address.ip);
        assert_eq!(
            usage.budget_used_bytes, self.held_bytes,
            "{}: {usage:?}",
            self.address.ip
        );
    }

    /// Every table is as after the start.
    pub(crate) fn assert_forgotten(&self) {
        self.assert_empty();
        let usage = self.engine.usage();
        assert_eq!((usage.tombstone_blocks, usage.peers), (0, 0), "{usage:?}");
        assert_eq!(self.engine.poll_timeout(), None);
    }
}
