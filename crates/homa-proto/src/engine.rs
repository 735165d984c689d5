//! The engine: one instance of the protocol. Routes packets to the parts that own the state they
//! change, and asks the parts in turn what comes next. No policy. What the application says lies in
//! `application`.

use alloc::vec::Vec;

use crate::ack::{FOREIGN_ACKS_MAX, ForeignAck};
use crate::address::Path;
use crate::api::{Event, OutOfMemory, Reason, RpcKey, Seed, Unreachable, Usage};
use crate::budget::Budget;
use crate::chunks::Full;
use crate::config::{Config, ConfigError};
use crate::control::swap;
use crate::counters::Counters;
use crate::distance::Distances;
use crate::flight::WaitingRequests;
use crate::grant::{Granter, Rules};
use crate::hash::Key;
use crate::learner::{Learner, Published};
use crate::list::Fifo;
use crate::outbox::Outbox;
use crate::pacer::Pacer;
use crate::peer::Peers;
use crate::ranges::Ranges;
use crate::receive::Placement;
use crate::rpc::{Pending, Rpcs, ServerRpc, State};
use crate::srpt::{Precedence, SendQueue};
use crate::time::{Instant, nanos};
use crate::tombstone::{Known, Tombstones};
use crate::turn::LeastSilence;
use crate::wheel::Wheel;
use crate::wire::{Body, Common, Data, Packet, RpcId, RpcUnknown, UnknownReason};
use crate::{Address, wire};

/// A port of ours.
pub(crate) struct Socket {
    pub(crate) port: u16,
    pub(crate) accepts_requests: bool,
}

/// One instance of the protocol, owned by one thread at a time.
///
/// Four kinds of method, told by their names: `handle_*` (the world speaks), plain verbs (the
/// application speaks), `poll_*` (the engine answers) and getters. After any of the first two the
/// host drains [`poll_transmit`](Self::poll_transmit), then [`poll_event`](Self::poll_event), and
/// asks [`poll_timeout`](Self::poll_timeout) when to come back.
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) rules: Rules,
    pub(crate) counters: Counters,
    pub(crate) sockets: Vec<Option<Socket>>,
    pub(crate) peers: Peers,
    pub(crate) rpcs: Rpcs,
    pub(crate) tombstones: Tombstones,
    pub(crate) ranges: Ranges,
    pub(crate) budget: Budget,
    pub(crate) granter: Granter,
    pub(crate) send: SendQueue,
    pub(crate) pacer: Pacer,
    /// How far peers are, where that counts.
    pub(crate) distances: Option<Distances>,
    /// Requests that wait because enough are on their way.
    pub(crate) waiting: WaitingRequests,
    /// RPCs with bytes to send again.
    pub(crate) resending: Fifo,
    /// RPCs with control packets to send.
    pub(crate) control: Fifo,
    pub(crate) outbox: Outbox,
    /// Acks that another engine of the host may wait for.
    pub(crate) foreign_acks: Vec<ForeignAck>,
    pub(crate) timers: Wheel,
    pub(crate) least_silence: LeastSilence,
    /// Entries that the tables parallel to that of RPCs have.
    room: u32,
    /// Messages sent so far, for their age.
    pub(crate) births: u64,
    /// RPCs that the host's other engines have under way as client.
    pub(crate) other_client_rpcs: u32,
    /// The cutoffs that peers are told.
    pub(crate) published: Published,
    /// Learns them, unless they are fixed.
    pub(crate) learner: Option<Learner>,
    /// When the quiet start ends, which counts from the first packet.
    pub(crate) quiet_until: Option<Instant>,
}

impl Engine {
    /// An engine without sockets. `seed` must be unpredictable: ids, proofs of addresses and the
    /// tables' hashes are derived from it.
    ///
    /// # Errors
    /// When the configuration contradicts itself or there is no memory.
    pub fn new(config: Config, seed: Seed) -> Result<Self, ConfigError> {
        config.check()?;
        Self::build(config, seed).map_err(|Full| ConfigError::OutOfMemory)
    }

    fn build(config: Config, seed: Seed) -> Result<Self, Full> {
        let root = Key(seed.0);
        let key = |use_: u64| Key([root.hash([use_, 0]), root.hash([use_, 1])]);
        let rpc_limit = config.max_client_rpcs + config.max_server_rpcs;
        let mut foreign_acks = Vec::new();
        foreign_acks
            .try_reserve_exact(FOREIGN_ACKS_MAX)
            .map_err(|_| Full)?;
        let published = Published::first(&config);
        let learner = match config.cutoffs {
            Some(_) => None,
            None => Some(Learner::new(&config)?),
        };
        Ok(Self {
            rules: Rules::new(&config),
            other_client_rpcs: 0,
            published,
            learner,
            counters: Counters::default(),
            sockets: Vec::new(),
            peers: Peers::new(
                config.max_peers,
                // With fewer, a client of very many servers would answer each with an ACK packet.
                config.max_client_rpcs,
                key(1),
                config.stripped_peers,
            )?,
            rpcs: Rpcs::new(rpc_limit, config.engine)?,
            tombstones: Tombstones::new(
                config.max_tombstone_blocks,
                key(2),
                nanos(config.packet_lifetime),
            )?,
            ranges: Ranges::new(config.max_gaps, config.max_gaps_per_message),
            budget: Budget::new(config.receive_budget_bytes),
            granter: Granter::new(config.max_peers, key(3))?,
            send: SendQueue::new(config.pacer_fifo_permille),
            pacer: Pacer::new(&config),
            distances: Distances::asked_for(&config)?,
            waiting: WaitingRequests::new(),
            resending: Fifo::new(),
            control: Fifo::new(),
            outbox: Outbox::new()?,
            foreign_acks,
            timers: Wheel::new()?,
            least_silence: LeastSilence::new(&config),
            room: 0,
            births: 0,
            quiet_until: None,
            config,
        })
    }

    /// Whether responses to what is asked now should wait for grants: so many others may come at
    /// the same time.
    pub(crate) fn is_incast(&self) -> bool {
        let others = self.other_client_rpcs;
        self.rpcs.clients().saturating_add(others) >= self.config.incast_rpcs
    }

    /// Where the next RPC will lie, with room for it in all tables that are parallel to theirs: they
    /// have as many entries as RPCs were ever under way at a time.
    #[inline]
    pub(crate) fn vacancy(&mut self) -> Result<u32, Full> {
        let index = self.rpcs.vacancy()?;
        if index >= self.room {
            self.make_room_at(index)?;
        }
        Ok(index)
    }

    /// Makes room for `rpcs` RPCs and `peers` peers more than there are, as far as the limits of
    /// [`Config`] go: so many may come before the engine allocates again, but for 640 bytes now and then
    /// where packets are lost. For a host that handles packets where memory is hard to get, and grows
    /// the tables where it is not. Takes some 600 bytes for each RPC and 500 for each peer.
    ///
    /// # Errors
    /// There is not so much memory; what was made room for until then stays.
    pub fn reserve(&mut self, rpcs: u32, peers: u32) -> Result<(), OutOfMemory> {
        self.make_room(rpcs, peers).map_err(|Full| OutOfMemory)
    }

    fn make_room(&mut self, rpcs: u32, peers: u32) -> Result<(), Full> {
        let end = self.rpcs.reserve(rpcs)?;
        if end > self.room {
            self.make_room_at(end - 1)?;
        }
        self.peers.reserve(peers)?;
        self.granter.reserve(peers)?;
        self.peers.reserve_acks(rpcs)?;
        self.tombstones.reserve(rpcs)
    }

    #[cold]
    fn make_room_at(&mut self, index: u32) -> Result<(), Full> {
        self.rpcs.ensure(index)?;
        self.budget.ensure(index)?;
        self.granter.ensure(index)?;
        self.send.ensure(index)?;
        self.waiting.ensure(index)?;
        self.resending.ensure(index)?;
        self.control.ensure(index)?;
        self.room = index + 1;
        Ok(())
    }

    /// Puts a message that has bytes to send where it belongs in the order.
    pub(crate) fn enqueue(&mut self, index: u32) {
        let short = self.config.short_message_bytes;
        let Some(outbound) = self.rpcs.outbound(index) else {
            return;
        };
        if !outbound.is_sendable() {
            return;
        }
        let due_bytes = outbound.due_bytes(short);
        self.rpcs[index].due_bytes = due_bytes;
        self.enqueue_new(index, due_bytes);
    }

    /// The same for a message of which nothing was sent; `due_bytes` as [`Rpc::due_bytes`] says.
    #[inline(always)]
    pub(crate) fn enqueue_new(&mut self, index: u32, due_bytes: u32) {
        if due_bytes > 0 {
            self.send.push_short(&mut self.rpcs.slab, index);
        } else {
            self.enqueue_long(index);
        }
    }

    fn enqueue_long(&mut self, index: u32) {
        self.rpcs[index].is_aside = true;
        let Some(outbound) = self.rpcs.outbound(index) else {
            return;
        };
        let precedence = Precedence {
            remaining: outbound.remaining(),
            birth: outbound.birth,
        };
        self.send.set(index, precedence);
        if outbound.sent == 0 && outbound.length > outbound.unscheduled {
            self.send.announce(index);
        }
    }

    /// Has a control packet of the RPC sent.
    pub(crate) fn want(&mut self, index: u32, what: Pending) {
        let rpc = &mut self.rpcs[index];
        rpc.pending.add(what);
        rpc.is_aside = true;
        self.control.push(index);
    }

    /// Sends a control packet that needs no RPC.
    pub(crate) fn post(&mut self, path: Path, packet: Packet) {
        if self.outbox.push(path, packet) {
            self.counters.count_control(&packet.body);
        } else {
            self.counters.answers_dropped += 1;
        }
    }

    #[inline]
    pub(crate) fn path_of(&self, index: u32) -> Path {
        let rpc = &self.rpcs[index];
        rpc.path(&self.peers[rpc.peer])
    }

    /// Tells the peer of an RPC that it is over here, if it can know of it.
    pub(crate) fn tell_unknown(&mut self, index: u32, reason: UnknownReason) {
        let rpc = &self.rpcs[index];
        if rpc.is_client() && rpc.is_unsent(&self.rpcs.details[index]) {
            return;
        }
        let packet = Packet {
            common: rpc.common(),
            body: Body::RpcUnknown(RpcUnknown {
                reason: Some(reason),
            }),
        };
        let (path, peer) = (self.path_of(index), rpc.peer);
        self.post_unknown(path, peer, packet);
    }

    /// Sends RPC_UNKNOWN with a reason to a known peer, unless it would say too much to an unproven
    /// address.
    pub(crate) fn post_unknown(&mut self, path: Path, peer: u32, packet: Packet) {
        if self.peers[peer].allow(wire::COMMON_HEADER_BYTES as u32 + 1) {
            self.post(path, packet);
        } else {
            self.counters.held_back_unproven += 1;
        }
    }

    // ---- handle_*

    /// A packet arrived. `header` is its first `min(MAX_HEADER_BYTES, packet_length)` bytes,
    /// `packet_length` counts all of it. If it brings bytes of a message, the answer says where
    /// they belong; the host stores them and commits, or refuses.
    ///
    /// Whatever arrives, the worst that happens is a counter.
    // Part of its caller: as a function it takes a hundred instructions more, since the answer goes
    // through memory.
    #[inline(always)]
    pub fn handle_packet(
        &mut self,
        now: Instant,
        path: Path,
        header: &[u8],
        packet_length: u32,
    ) -> Option<Placement<'_>> {
        self.counters.packets_received += 1;
        if self.quiet_until.is_none() {
            self.quiet_until = Some(now.after(nanos(self.config.quiet_start)));
        }
        let socket = self.sockets.get(path.socket.index());
        let accepts = socket.and_then(|it| Some(it.as_ref()?.accepts_requests));
        if !wire::begins_data(header) {
            self.handle_other(now, path, header, packet_length, accepts.is_some());
            return None;
        }
        // Most packets are DATA: read without the detour over a value that may be any packet.
        let (common, data) = match Data::parse_packet(header, packet_length) {
            Ok(parsed) => parsed,
            Err(malformed) => {
                self.counters.malformed[malformed.index()] += 1;
                return None;
            }
        };
        let Some(accepts) = accepts else {
            self.counters.dropped_no_socket += 1;
            return None;
        };
        let (rpc, is_first) = match common.sender_id.is_client() {
            true => self.handle_request(now, &path, &common, &data, packet_length, accepts)?,
            false => self.handle_response(now, &path, &common, &data, packet_length)?,
        };
        self.plan(now, rpc, is_first, &data)
    }

    /// A packet arrived that is not DATA.
    fn handle_other(
        &mut self,
        now: Instant,
        path: Path,
        header: &[u8],
        packet_length: u32,
        may_come: bool,
    ) {
        let Packet { common, body } = match Packet::parse(header, packet_length) {
            Ok(packet) => packet,
            Err(malformed) => {
                self.counters.malformed[malformed.index()] += 1;
                return;
            }
        };
        if !may_come {
            self.counters.dropped_no_socket += 1;
            return;
        }
        match body {
            Body::Freeze => self.counters.freezes_received += 1,
            _ => self.handle_control(now, path, &common, &body, packet_length),
        }
    }

    fn handle_control(
        &mut self,
        now: Instant,
        path: Path,
        common: &Common,
        body: &Body,
        packet_length: u32,
    ) {
        if let Body::Ack(acks) = body {
            let peer = self.peers.find(&path.peer);
            if let Some(peer) = peer {
                self.peers[peer].hear(now, packet_length);
            }
            self.handle_acks(now, common, acks, &path.peer, peer);
            return;
        }
        let Ok(found) = self.find_checked(&path, common) else {
            self.counters.dropped_wrong_peer += 1;
            return;
        };
        let Some(index) = found else {
            self.handle_stray(path, common, body);
            return;
        };
        let peer = self.rpcs[index].peer;
        self.peers[peer].hear(now, packet_length);
        match *body {
            Body::Grant(grant) => self.handle_grant(now, index, grant),
            Body::Resend(resend) => self.handle_resend(now, index, resend),
            Body::RpcUnknown(unknown) => self.handle_unknown(now, index, unknown),
            Body::Busy => self.handle_busy(now, index),
            Body::Cutoffs(cutoffs) => self.handle_cutoffs(now, index, &cutoffs),
            Body::NeedAck => self.handle_need_ack(now, index),
            Body::Data(_) | Body::Freeze | Body::Ack(_) => {}
        }
    }

    /// What became of a request of `peer`.
    #[inline]
    pub(crate) fn look_up(&self, peer: u32, id: RpcId) -> Known {
        let latest = self.peers[peer].latest_block;
        self.tombstones.find(&self.peers, (peer, latest), id).1
    }

    /// The live RPC that whoever is at `from` means by `id`, our view of it.
    #[inline]
    fn find(&self, from: &Address, id: RpcId) -> Option<u32> {
        if id.is_client() {
            // Ours are found by their ids, and know their peers: nothing is searched for.
            let index = self.rpcs.find(id)?;
            let peer = &self.peers[self.rpcs[index].peer];
            return (peer.address == *from).then_some(index);
        }
        let peer = self.peers.find(from)?;
        let latest = self.peers[peer].latest_block;
        let index = self.tombstones.find_live(&self.peers, (peer, latest), id)?;
        // Tombstones do not look at all bits of an id.
        (self.rpcs[index].id == id).then_some(index)
    }

    /// The live RPC that a packet means.
    pub(crate) fn find_checked(
        &self,
        path: &Path,
        common: &Common,
    ) -> Result<Option<u32>, WrongPeer> {
        match self.find(&path.peer, common.sender_id.flipped()) {
            Some(index) if self.rpcs[index].is_on(path, common) => Ok(Some(index)),
            Some(_) => Err(WrongPeer),
            None => Ok(None),
        }
    }

    /// A control packet names no live RPC of ours.
    fn handle_stray(&mut self, path: Path, common: &Common, body: &Body) {
        let peer = self.peers.find(&path.peer);
        let ours = common.sender_id.flipped();
        let answer = match body {
            Body::Resend(_) => {
                // A finished request must not look unknown: its client would send it again.
                let accepted = |peer| self.look_up(peer, ours) != Known::Never;
                if peer.is_some_and(accepted) {
                    self.counters.dropped_tombstone += 1;
                    return;
                }
                Body::RpcUnknown(RpcUnknown { reason: None })
            }
            Body::NeedAck if ours.is_client() => {
                self.counters.need_acks_received += 1;
                let acks = match peer {
                    Some(peer) => self.peers.take_acks(peer),
                    None => wire::Acks::EMPTY,
                };
                Body::Ack(acks)
            }
            Body::Cutoffs(_) => {
                self.counters.cutoffs_ignored += 1;
                return;
            }
            _ => {
                self.counters.dropped_out_of_place += 1;
                return;
            }
        };
        self.post(path, swap(common, ours, answer));
    }

    /// The network says that a packet did not arrive. `offending`: its leading bytes, as far as
    /// known; if they name an RPC, that one is meant, else all with `to`.
    pub fn handle_unreachable(
        &mut self,
        now: Instant,
        to: Address,
        offending: &[u8],
        what: Unreachable,
    ) {
        let Some(peer) = self.peers.find(&to) else {
            return;
        };
        let named = offending
            .get(20..28)
            .and_then(|bytes| bytes.try_into().ok());
        if let Some(id) = named.map(|bytes| RpcId::new(u64::from_be_bytes(bytes))) {
            if let Some(index) = self.find(&to, id) {
                self.undeliverable(now, index, what, wire::begins_data(offending));
            }
            return;
        }
        let mut next = self.peers[peer].rpcs.first();
        while let Some(index) = next {
            next = self.peers[peer].rpcs.next(&self.rpcs.of_peers, index);
            self.undeliverable(now, index, what, false);
        }
    }

    // ---- poll_*

    /// The next event for the application.
    pub fn poll_event(&mut self) -> Option<Event> {
        while let Some(index) = self.rpcs.events.first() {
            let (generation, rpc) = self.rpcs.slab.place(index);
            let key = RpcKey { index, generation };
            self.rpcs.events.pop_entry(rpc);
            match rpc.state {
                State::Over(outcome) => {
                    let is_client = rpc.is_client();
                    self.rpcs.free(index, is_client);
                    return Some(outcome.told_of(key));
                }
                State::Server(ServerRpc::InService(length)) => {
                    return Some(Event::Request {
                        rpc: key,
                        id: rpc.id,
                        peer: self.peers[rpc.peer].address,
                        length,
                    });
                }
                _ => {}
            }
        }
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, and why. A moment in
    /// the past means "at once".
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        // Timers outlive their RPCs, but wake nobody for nothing.
        let timer = self.timers.next_turn().filter(|_| !self.rpcs.is_empty());
        let pacer = self.send.waits_for_pacer().then(|| self.pacer.ready_at());
        let others = [
            (pacer, Reason::Pacer),
            (self.granter.next_silence(&self.rules), Reason::Grants),
            (self.tombstones.next_expiry(), Reason::Tombstones),
            (self.peers.next_expiry(&self.config), Reason::Peers),
        ];
        let mut next = timer.map(|at| (at, Reason::Progress));
        for (at, reason) in others {
            if let Some(at) = at
                && next.is_none_or(|(first, _)| at < first)
            {
                next = Some((at, reason));
            }
        }
        next
    }

    // ---- getters

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The id that an RPC of ours has on the wire, as this end names it; `None` once it is over.
    pub fn id_of(&self, rpc: RpcKey) -> Option<RpcId> {
        let index = self.rpcs.resolve(rpc)?;
        Some(self.rpcs[index].id)
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How full the tables are.
    pub fn usage(&self) -> Usage {
        Usage {
            client_rpcs: self.rpcs.clients(),
            server_rpcs: self.rpcs.servers(),
            peers: self.peers.len(),
            ranges: self.ranges.len(),
            tombstone_blocks: self.tombstones.len(),
            budget_used_bytes: self.budget.used(),
            incoming_bytes: self.granter.incoming(),
            active_messages: self.granter.active_count(),
            withholds: self.granter.has_waiting(),
            stalled: self.budget.has_stalled(),
        }
    }
}

/// A packet names an RPC of ours, but comes from somewhere else or another port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrongPeer;

#[cfg(test)]
mod tests;
