//! Arriving DATA: whose bytes they are, where they belong, and what follows from them. Decides
//! which requests are taken.
//!
//! *Design*: placement has two phases. What may fail (tables, budget, room for a gap) is looked at
//! first; the host stores the bytes and commits, which cannot fail, or refuses, after which the
//! message stands as if the packet never came.

use core::ops::Range;

use crate::address::Path;
use crate::api::{Event, Failure, RpcKey};
use crate::engine::{Engine, swap};
use crate::grant;
use crate::inbound::{Inbound, Novelty, Storage};
use crate::peer::Echo;
use crate::progress::{News, Progress};
use crate::rpc::{Pending, Rpc, ServerRpc, State};
use crate::time::Instant;
use crate::tombstone::Verdict;
use crate::wire::{Ack, Body, Common, Cutoffs, DATA_HEADER_BYTES, Data, RpcUnknown, UnknownReason};

/// Where the payload of a DATA packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The RPC whose message it is part of.
    pub rpc: RpcKey,
    /// Its first byte in the message.
    pub offset: u32,
    /// Its bytes, at least 1.
    pub length: u32,
    /// Where it begins in the packet.
    pub header_bytes: usize,
    /// Bytes of the whole message.
    pub message_length: u32,
    /// Nothing of the message was stored yet: the host makes its buffer.
    pub new: bool,
}

/// Payload that waits to be stored: the host commits or refuses.
#[must_use = "payload is either stored and committed, or refused"]
pub struct Placement<'a> {
    engine: &'a mut Engine,
    now: Instant,
    index: u32,
    offset: u32,
    length: u32,
}

impl Placement<'_> {
    /// Where the payload belongs.
    pub fn place(&self) -> Place {
        let (message_length, storage) = match inbound_of(&self.engine.rpcs[self.index].state) {
            Some(inbound) => (inbound.length, inbound.storage),
            None => (self.length, Storage::None),
        };
        Place {
            rpc: self.engine.rpcs.key_of(self.index),
            offset: self.offset,
            length: self.length,
            header_bytes: DATA_HEADER_BYTES,
            message_length,
            new: storage != Storage::Made,
        }
    }

    /// The payload is stored.
    pub fn commit(self) {
        let bytes = self.offset..self.offset + self.length;
        self.engine.store(self.now, self.index, bytes);
    }

    /// The payload could not be stored. If it was to be the message's first, the message waits as
    /// if the receive budget were used up; else the packet comes again.
    pub fn refuse(self) {
        self.engine.counters.placements_refused += 1;
        let Some(inbound) = self.engine.rpcs[self.index].inbound() else {
            return;
        };
        let length = inbound.length;
        match inbound.storage {
            Storage::Reserved => self.engine.budget.give_back(u64::from(length)),
            Storage::None => {}
            Storage::Made | Storage::Stalled => return,
        }
        self.engine.stall(self.index, length);
    }
}

fn inbound_of(state: &State) -> Option<&Inbound> {
    match state {
        State::Client(client) => client.response.as_ref(),
        State::Server(ServerRpc::Receiving(request)) => Some(request),
        _ => None,
    }
}

impl Engine {
    /// A DATA packet arrived.
    pub(crate) fn handle_data(
        &mut self,
        now: Instant,
        path: Path,
        peer: Option<u32>,
        common: &Common,
        data: &Data,
        packet_length: u32,
    ) -> Option<Placement<'_>> {
        let Ok(found) = self.find_checked(&path, peer, common) else {
            self.counters.dropped_wrong_peer += 1;
            return None;
        };
        let index = match found {
            Some(index) => {
                self.heed(
                    now,
                    index,
                    &path,
                    common,
                    data.cutoff_version,
                    packet_length,
                );
                index
            }
            None if common.sender_id.flipped().is_client() => {
                self.counters.dropped_no_rpc += 1;
                return None;
            }
            None => self.admit(now, path, common, data, packet_length)?,
        };
        self.begin_message(now, index, data)?;
        self.make_room(index)?;
        self.plan(now, index, data)
    }

    /// A packet of a known RPC: its peer lives, and what it echoes tells what it knows.
    fn heed(
        &mut self,
        now: Instant,
        index: u32,
        path: &Path,
        common: &Common,
        version: u16,
        packet_length: u32,
    ) {
        let peer = self.rpcs[index].peer;
        let ours = self.peers[peer].our_version(self.revision);
        self.peers[peer].hear(now, packet_length);
        if version == ours && self.peers[peer].is_proven() {
            return;
        }
        self.vet(now, peer, version);
        if version != ours {
            self.tell_cutoffs(now, peer, path, common);
        }
    }

    /// Reads the version that DATA echoes; what waited for it as a proof goes on.
    fn vet(&mut self, now: Instant, peer: u32, version: u16) -> Echo {
        let was_proven = self.peers[peer].is_proven();
        let echo = self.peers[peer].vet(now, version);
        if !was_proven && self.peers[peer].is_proven() {
            self.release_unproven(peer);
        }
        echo
    }

    /// Sends our cutoffs and their version, unless it was just done.
    fn tell_cutoffs(&mut self, now: Instant, peer: u32, path: &Path, common: &Common) {
        let peer = &mut self.peers[peer];
        if !peer.may_tell_cutoffs(now) || !peer.allow(crate::wire::CUTOFFS_HEADER_BYTES as u32) {
            return;
        }
        let mut cutoffs = self.config.cutoffs;
        // Levels that our network does not have are for no message.
        cutoffs[usize::from(self.config.priorities)..].fill(0);
        cutoffs[0] = i32::MAX as u32;
        let body = Body::Cutoffs(Cutoffs {
            cutoffs,
            version: peer.our_version(self.revision),
        });
        self.post(*path, swap(common, common.sender_id.flipped(), body));
    }

    /// A packet of a request that we do not know: takes the request, or says why not.
    fn admit(
        &mut self,
        now: Instant,
        path: Path,
        common: &Common,
        data: &Data,
        packet_length: u32,
    ) -> Option<u32> {
        self.may_admit(now, &path, common, data)?;
        let Ok(peer) = self.peers.find_or_make(now, &path.peer) else {
            self.counters.requests_refused += 1;
            return None;
        };
        self.peers[peer].hear(now, packet_length);
        let echo = self.vet(now, peer, data.cutoff_version);
        if data.cutoff_version != self.peers[peer].our_version(self.revision) {
            self.tell_cutoffs(now, peer, &path, common);
        }
        if echo == Echo::EarlierLife {
            self.counters.dropped_earlier_life += 1;
            return None;
        }
        let id = common.sender_id.flipped();
        let tombstone = match self.tombstones.accept(&mut self.peers, peer, id) {
            Ok(block) => block,
            Err(Verdict::Seen) => {
                self.counters.dropped_tombstone += 1;
                return None;
            }
            Err(Verdict::Full) => {
                self.counters.requests_refused += 1;
                return None;
            }
        };
        let rpc = Rpc {
            id,
            peer,
            socket: path.socket,
            local: path.local,
            local_port: common.dest_port,
            remote_port: common.source_port,
            state: State::Server(ServerRpc::Receiving(Inbound::new(data.message_length))),
            pending: Pending::default(),
            progress: Progress::new(now),
            deadline: None,
            in_flight: 0,
            tombstone,
            is_due: false,
            is_aside: false,
        };
        let crowded = self.rpcs.servers() >= self.config.max_server_rpcs
            || self.peers[peer].server_rpcs >= self.config.max_server_rpcs_per_peer;
        let inserted = if crowded {
            None
        } else {
            self.insert_rpc(rpc).ok()
        };
        match inserted {
            Some(index) => self.watch(now, index),
            None => {
                self.tombstones.end(now, &self.config, tombstone, id, true);
                self.turn_away(path, common, peer);
            }
        }
        inserted
    }

    /// The checks that need no state of the peer.
    fn may_admit(&mut self, now: Instant, path: &Path, common: &Common, data: &Data) -> Option<()> {
        let socket = self
            .sockets
            .get(path.socket.index())
            .and_then(Option::as_ref);
        if !socket.is_some_and(|socket| socket.accepts_requests) {
            self.counters.dropped_not_server += 1;
            return None;
        }
        if data.message_length > self.config.max_message_bytes {
            self.counters.dropped_too_long += 1;
            // Every copy of it will be: nothing needs to be remembered for this to stay true.
            let body = Body::RpcUnknown(RpcUnknown {
                reason: Some(UnknownReason::Overloaded),
            });
            self.post(*path, swap(common, common.sender_id.flipped(), body));
            return None;
        }
        let started = self.started.unwrap_or(now);
        if now < started + self.config.quiet_start {
            self.counters.dropped_quiet_start += 1;
            return None;
        }
        Some(())
    }

    /// A request that finds no room. It was remembered as accepted, so that no copy of it runs
    /// after its client was told that it did not.
    fn turn_away(&mut self, path: Path, common: &Common, peer: u32) {
        self.counters.requests_refused += 1;
        let body = Body::RpcUnknown(RpcUnknown {
            reason: Some(UnknownReason::Overloaded),
        });
        self.post_unknown(path, peer, swap(common, common.sender_id.flipped(), body));
    }

    /// Finds or begins the message that DATA is part of, and learns from its header.
    fn begin_message(&mut self, now: Instant, index: u32, data: &Data) -> Option<()> {
        let unscheduled = self.config.unscheduled_bytes;
        let rpc = &mut self.rpcs[index];
        if let State::Client(client) = &mut rpc.state
            && client.response.is_none()
        {
            if data.message_length > self.config.max_message_bytes {
                self.counters.dropped_too_long += 1;
                let peer = rpc.peer;
                self.owe_ack(peer, index);
                self.fail(now, index, Failure::ResponseTooLong);
                return None;
            }
            client.response = Some(Inbound::new(data.message_length));
            if data.retransmit {
                // Either buffer may have overflowed, and both hold less if less is asked at once.
                let peer = &mut self.peers[rpc.peer];
                let interval = peer.patience.for_bytes(&self.config);
                peer.flight.cut(now, interval);
            }
            if let Some(waited) = rpc.progress.undisturbed(now) {
                self.peers[rpc.peer].patience.response.sample(waited);
            }
            // A response is an ack of the request.
            rpc.is_due = false;
            if rpc.is_aside {
                self.send.remove(index);
                self.resending.remove(index);
            }
        }
        let Some(inbound) = self.rpcs[index].inbound() else {
            self.counters.dropped_duplicate += 1;
            return None;
        };
        if inbound.length != data.message_length {
            self.counters.dropped_contradiction += 1;
            return None;
        }
        // More than we would send unasked ourselves is not believed.
        let promised = data.incoming.min(unscheduled);
        let was_owed = inbound.is_owed();
        inbound.granted = inbound.granted.max(promised);
        inbound.lossy |= data.retransmit;
        if inbound.is_owed() && !was_owed {
            // An announced message goes on: it is the sender's turn, and nobody looked until now.
            self.watch(now, index);
        }
        Some(())
    }

    /// Sees to it that the message may have a buffer; if not, it waits.
    fn make_room(&mut self, index: u32) -> Option<()> {
        let inbound = self.rpcs[index].inbound()?;
        let length = inbound.length;
        match inbound.storage {
            Storage::Made | Storage::Reserved => return Some(()),
            Storage::None if self.budget.admits(length) => return Some(()),
            Storage::None => self.stall(index, length),
            Storage::Stalled => {}
        }
        self.counters.dropped_stalled += 1;
        None
    }

    /// The message waits for room in the budget.
    fn stall(&mut self, index: u32, length: u32) {
        self.rpcs[index].is_aside = true;
        if let Some(inbound) = self.rpcs[index].inbound() {
            inbound.storage = Storage::Stalled;
            self.counters.stalls += 1;
            self.budget.stall(index, length);
        }
    }

    /// Gives room in the budget to the messages that wait, shortest first, and has them sent
    /// again.
    pub(crate) fn wake_stalled(&mut self, now: Instant) {
        while let Some(index) = self.budget.next() {
            self.counters.stalls_ended += 1;
            if let Some(inbound) = self.rpcs[index].inbound() {
                inbound.storage = Storage::Reserved;
            }
            self.rpcs[index].progress = Progress::new(now);
            self.want(index, Pending::ASK);
            self.watch(now, index);
        }
    }

    fn plan(&mut self, now: Instant, index: u32, data: &Data) -> Option<Placement<'_>> {
        let bytes = data.offset..data.end();
        let inbound = self.rpcs[index].inbound()?;
        let dropped = match inbound.novelty(&self.ranges, &bytes) {
            Novelty::New => {
                return Some(Placement {
                    engine: self,
                    now,
                    index,
                    offset: data.offset,
                    length: data.payload_length,
                });
            }
            Novelty::Duplicate => &mut self.counters.dropped_duplicate,
            Novelty::Overlap => &mut self.counters.dropped_overlap,
            Novelty::NoRoom => &mut self.counters.dropped_gap_limit,
        };
        *dropped += 1;
        None
    }

    /// The host stored bytes of a message.
    fn store(&mut self, now: Instant, index: u32, bytes: Range<u32>) {
        self.counters.data_received += 1;
        self.note(now, index, News::Progress);
        let rpc = &mut self.rpcs[index];
        let peer = rpc.peer;
        let Some(inbound) = rpc.inbound() else {
            return;
        };
        if inbound.storage == Storage::None {
            self.budget.charge(inbound.length);
        }
        inbound.storage = Storage::Made;
        inbound.insert(&mut self.ranges, bytes);
        let progress = grant::Progress {
            length: inbound.length,
            received: inbound.received,
            granted: inbound.granted,
        };
        if inbound.is_complete() {
            self.complete(now, index);
        } else {
            rpc.is_aside = true;
            let ip = self.peers[peer].address.ip;
            self.granter.update(&self.rules, index, ip, progress);
        }
    }

    /// Tells the granter of a message once more: it may have had no memory for it.
    pub(crate) fn rejoin(&mut self, index: u32) {
        let ip = self.peers[self.rpcs[index].peer].address.ip;
        if let Some(inbound) = self.rpcs[index].inbound()
            && inbound.storage == Storage::Made
        {
            let progress = grant::Progress {
                length: inbound.length,
                received: inbound.received,
                granted: inbound.granted,
            };
            self.granter.update(&self.rules, index, ip, progress);
        }
    }

    /// The last byte of a message arrived.
    fn complete(&mut self, now: Instant, index: u32) {
        let rpc = &mut self.rpcs[index];
        if rpc.is_aside {
            self.granter.leave(&self.rules, index);
        }
        let peer = rpc.peer;
        let Some(inbound) = rpc.inbound() else {
            return;
        };
        let length = inbound.length;
        if !inbound.lossy {
            self.peers[peer].granting.recover();
        }
        if self.rpcs[index].is_client() {
            self.counters.rpcs_completed += 1;
            if !self.rpcs[index].progress.was_retried() {
                self.peers[peer].sending.recover();
            }
            self.owe_ack(peer, index);
            let rpc = self.rpcs.key_of(index);
            self.finish(now, index, Event::Response { rpc, length });
        } else {
            self.rpcs[index].state = State::Server(ServerRpc::InService(length));
            self.deliver_request(index);
            self.watch(now, index);
        }
    }

    /// The server of a client RPC may forget it: said with the next DATA, or at once when too many
    /// are owed.
    pub(crate) fn owe_ack(&mut self, peer: u32, index: u32) {
        let rpc = &self.rpcs[index];
        let ack = Ack {
            client_id: rpc.id,
            server_port: rpc.remote_port,
        };
        if self.peers[peer].owe_ack(ack) {
            return;
        }
        let acks = self.peers[peer].take_acks();
        let packet = crate::wire::Packet {
            common: self.rpcs[index].common(),
            body: Body::Ack(acks),
        };
        let path = self.path_of(index);
        self.post(path, packet);
    }
}
