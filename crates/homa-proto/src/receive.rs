//! Arriving DATA: whose bytes they are, where they belong, and what follows from them. Decides
//! which requests are taken.
//!
//! *Design*: placement has two phases. What may fail (tables, budget, room for a gap) is looked at
//! first; the host stores the bytes and commits, which cannot fail, or refuses, after which the
//! message stands as if the packet never came.

use core::ops::Range;

use crate::address::Path;
use crate::api::{Failure, RpcKey};
use crate::chunks::Full;
use crate::complete::Received;
use crate::control::swap;
use crate::engine::Engine;
use crate::grant;
use crate::inbound::{Novelty, Storage};
use crate::owed;
use crate::peer::Echo;
use crate::rpc::{ServerRpc, State};
use crate::time::Instant;
use crate::tombstone::Known;
use crate::wire::{
    Body, Common, Cutoffs, DATA_HEADER_BYTES, Data, DataHeader, RpcId, RpcUnknown, UnknownReason,
};

/// Where the payload of a DATA packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The RPC whose message it is part of.
    pub rpc: RpcKey,
    /// Its first byte in the message.
    pub offset: u32,
    /// Its bytes, at least 1.
    pub length: u32,
    /// Where it begins in the packet: behind the header and what of the payload is there already. It
    /// may end before the packet does, for the same reason.
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
    rpc: RpcKey,
    /// Where the payload that is new begins in the packet.
    header_bytes: usize,
    message: Received,
    piece: Piece,
    /// The payload is all of a message of which nothing was known: it needs no account of what is
    /// there and what is missing.
    is_whole: bool,
}

/// Bytes of a message that are new.
#[derive(Clone, Copy)]
struct Piece {
    start: u32,
    end: u32,
    /// Nothing of the message was stored yet.
    is_first: bool,
}

impl Placement<'_> {
    /// Where the payload belongs.
    #[inline]
    pub fn place(&self) -> Place {
        Place {
            rpc: self.rpc,
            offset: self.piece.start,
            length: self.piece.end - self.piece.start,
            header_bytes: self.header_bytes,
            message_length: self.message.length,
            new: self.piece.is_first,
        }
    }

    /// The payload is stored.
    #[inline(always)]
    pub fn commit(self) {
        let engine = self.engine;
        engine.counters.data_received += 1;
        if self.is_whole {
            engine.budget.charge(self.message.length);
            engine.complete(self.now, self.rpc.index, self.message);
        } else {
            let bytes = self.piece.start..self.piece.end;
            engine.store(self.now, self.rpc.index, bytes);
        }
    }

    /// The payload could not be stored. If it was to be the message's first, the message waits as
    /// if the receive budget were used up; else the packet comes again.
    pub fn refuse(self) {
        let (engine, index) = (self.engine, self.rpc.index);
        engine.counters.placements_refused += 1;
        if self.is_whole {
            engine.rpcs.begin_inbound(index, self.message.length);
        }
        let Some(inbound) = engine.rpcs.inbound(index) else {
            return;
        };
        if self.is_whole {
            inbound.learn(self.message.unscheduled, self.message.is_lossy);
        }
        let length = inbound.length;
        match inbound.storage {
            Storage::Reserved => engine.budget.give_back(u64::from(length)),
            Storage::None => {}
            Storage::Made | Storage::Stalled | Storage::Parked => return,
        }
        engine.stall(self.now, index, length);
    }
}

impl Engine {
    /// DATA arrived in `segments` packets that [follow](crate::wire::follows) each other: `header` is
    /// that of the first, `packet_length` counts it and the payload of all. As
    /// [`handle_packet`](Self::handle_packet), which would be called for each; where some of the bytes are
    /// there already the answer is about the first that are missing, and calling again tells of the next.
    pub fn handle_segments(
        &mut self,
        now: Instant,
        path: Path,
        header: &DataHeader,
        packet_length: u32,
        segments: u32,
    ) -> Option<Placement<'_>> {
        let others = u64::from(segments.saturating_sub(1));
        self.counters.packets_received += others;
        let placement = self.handle_packet(now, path, header, packet_length)?;
        placement.engine.counters.data_received += others;
        Some(placement)
    }

    /// DATA of a response: its id says where our RPC lies. Returns that, and whether nothing was known
    /// of the message.
    #[inline(always)]
    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        path: &Path,
        common: &Common,
        data: &Data,
        packet_length: u32,
    ) -> Option<(RpcKey, bool)> {
        if let Some(ack) = data.ack {
            self.handle_ack_of_response(now, ack, path.peer);
        }
        let Some((key, rpc)) = self.rpcs.find_ours(common.sender_id.flipped()) else {
            self.counters.dropped_no_rpc += 1;
            return None;
        };
        let (peer, is_first) = (rpc.peer, rpc.awaits_response());
        let entry = &mut self.peers[peer];
        if entry.address != path.peer {
            self.counters.dropped_no_rpc += 1;
            return None;
        }
        if !rpc.is_on(path, common) {
            self.counters.dropped_wrong_peer += 1;
            return None;
        }
        let version = data.cutoff_version;
        let is_usual = entry.heed(now, packet_length, version, self.published.revision);
        if is_first {
            rpc.response_begins(now, entry, data, &self.config);
            if rpc.is_aside {
                self.send.remove(key.index);
                self.resending.remove(key.index);
            }
        }
        if !is_usual {
            self.greet(now, peer, *path, *common, version);
        }
        Some((key, is_first))
    }

    /// The same for a request. `accepts`: whether its socket takes new ones.
    #[inline(always)]
    pub(crate) fn handle_request(
        &mut self,
        now: Instant,
        path: &Path,
        common: &Common,
        data: &Data,
        packet_length: u32,
        accepts: bool,
    ) -> Option<(RpcKey, bool)> {
        let id = common.sender_id.flipped();
        let is_part = data.payload_length < data.message_length;
        let index = match self.find_again(path, id, is_part && data.ack.is_none()) {
            Some(index) => index,
            None => {
                let peer = self.peers.find(&path.peer);
                let and_latest = peer.map(|peer| (peer, self.peers[peer].latest_block));
                if let Some(ack) = data.ack {
                    self.handle_ack(now, ack, &path.peer, and_latest);
                }
                let (block, known) = match and_latest {
                    Some(peer) => self.tombstones.find(&self.peers, peer, id),
                    None => (None, Known::Never),
                };
                // Tombstones do not look at all bits of an id.
                let Some(index) = known.live().filter(|&index| self.rpcs[index].id == id) else {
                    self.may_admit(now, path, common, data, accepts)?;
                    let request = (peer, block, known);
                    let key = self.admit(now, path, request, common, data, packet_length)?;
                    return Some((key, true));
                };
                if is_part {
                    self.rpcs.expect_again(id, index);
                }
                index
            }
        };
        let (key, rpc) = self.rpcs.keyed(index);
        if !rpc.is_on(path, common) {
            self.counters.dropped_wrong_peer += 1;
            return None;
        }
        // A host that neither stored nor refused what came first has it come again.
        let is_legal = data.message_length <= self.config.max_message_bytes;
        let is_first = rpc.receives() && !rpc.has_inbound && is_legal;
        let (peer, version) = (rpc.peer, data.cutoff_version);
        let entry = &mut self.peers[peer];
        if !entry.heed(now, packet_length, version, self.published.revision) {
            self.greet(now, peer, *path, *common, version);
        }
        Some((key, is_first))
    }

    /// The request that a packet is one of many of, if one before came lately.
    #[inline]
    fn find_again(&self, path: &Path, id: RpcId, is_one_of_many: bool) -> Option<u32> {
        if !is_one_of_many {
            return None;
        }
        let index = self.rpcs.find_again(id)?;
        let peer = &self.peers[self.rpcs[index].peer];
        (peer.address == path.peer).then_some(index)
    }

    /// What the version that DATA echoes says of its sender; one that has not got ours is told.
    #[cold]
    fn greet(&mut self, now: Instant, peer: u32, path: Path, common: Common, version: u16) -> Echo {
        let echo = self.vet(now, peer, version);
        if version != self.peers[peer].our_version(self.published.revision) {
            self.tell_cutoffs(now, peer, &path, &common);
        }
        echo
    }

    /// Reads the version that DATA echoes; what waited for it as a proof goes on.
    fn vet(&mut self, now: Instant, peer: u32, version: u16) -> Echo {
        let was_proven = self.peers[peer].is_proven();
        let echo = self.peers[peer].vet(now, version);
        if !was_proven && self.peers[peer].is_proven() {
            self.release_unproven(now, peer);
        }
        echo
    }

    /// Sends our cutoffs and their version, unless it was just done.
    fn tell_cutoffs(&mut self, now: Instant, peer: u32, path: &Path, common: &Common) {
        let peer = &mut self.peers[peer];
        if !peer.may_tell_cutoffs(now) || !peer.allow(crate::wire::CUTOFFS_HEADER_BYTES as u32) {
            return;
        }
        let body = Body::Cutoffs(Cutoffs {
            cutoffs: self.published.cutoffs,
            version: peer.our_version(self.published.revision),
        });
        self.post(*path, swap(common, common.sender_id.flipped(), body));
    }

    /// A packet of a request that does not live here: takes the request, or says why not. Where its peer
    /// is known, `block` is where others of it with ids beside its own are remembered.
    #[inline(always)]
    fn admit(
        &mut self,
        now: Instant,
        path: &Path,
        (peer, block, known): (Option<u32>, Option<u32>, Known),
        common: &Common,
        data: &Data,
        packet_length: u32,
    ) -> Option<RpcKey> {
        let peer = peer.or_else(|| self.peers.make(now, &path.peer).ok());
        let Some(peer) = peer else {
            self.counters.requests_refused += 1;
            return None;
        };
        let version = data.cutoff_version;
        let entry = &mut self.peers[peer];
        let is_crowded = entry.server_rpcs >= self.config.max_server_rpcs_per_peer
            || self.rpcs.servers() >= self.config.max_server_rpcs;
        let is_usual = entry.heed(now, packet_length, version, self.published.revision);
        if !is_usual && self.greet(now, peer, *path, *common, version) == Echo::EarlierLife {
            self.counters.dropped_earlier_life += 1;
            return None;
        }
        if known != Known::Never {
            self.counters.dropped_tombstone += 1;
            return None;
        }
        let id = common.sender_id.flipped();
        let made = block.map_or_else(|| self.tombstones.make(&mut self.peers, peer, id), Ok);
        let Ok(tombstone) = made else {
            self.counters.requests_refused += 1;
            return None;
        };
        let vacancy = if is_crowded {
            Err(Full)
        } else {
            self.vacancy()
        };
        let Ok(index) = vacancy else {
            let entry = &mut self.peers[peer];
            self.tombstones.refuse(now, entry, tombstone, id);
            self.turn_away(*path, *common, peer);
            return None;
        };
        self.tombstones.begin(tombstone, id, index);
        let entry = self.peers.join(&mut self.rpcs.of_peers, peer, index, false);
        entry.latest_block = tombstone;
        let (key, place) = self.rpcs.occupy(index, false);
        let ports = [common.dest_port, common.source_port];
        place.begin(now, id, (path, ports), peer);
        place.state = State::Server(ServerRpc::Receiving);
        place.incast = data.incast;
        place.tombstone = tombstone;
        if place.timer.is_beyond(now, self.least_silence.of_bytes) {
            // Whoever keeps the payload waiting is asked for it.
            self.watch(now, index);
        }
        Some(key)
    }

    /// The checks that need no state of the peer.
    #[inline(always)]
    fn may_admit(
        &mut self,
        now: Instant,
        path: &Path,
        common: &Common,
        data: &Data,
        accepts: bool,
    ) -> Option<()> {
        if !accepts {
            self.counters.dropped_not_server += 1;
            return None;
        }
        if data.message_length > self.config.max_message_bytes {
            self.refuse_too_long(*path, *common);
            return None;
        }
        if self.quiet_until.is_some_and(|end| now < end) {
            self.counters.dropped_quiet_start += 1;
            return None;
        }
        Some(())
    }

    /// Every copy of the request will be too long: nothing needs to be remembered for this to stay true.
    #[cold]
    fn refuse_too_long(&mut self, path: Path, common: Common) {
        self.counters.dropped_too_long += 1;
        let body = Body::RpcUnknown(RpcUnknown {
            reason: Some(UnknownReason::Overloaded),
        });
        self.post(path, swap(&common, common.sender_id.flipped(), body));
    }

    /// A request that finds no room. It was remembered as accepted, so that no copy of it runs
    /// after its client was told that it did not.
    #[cold]
    fn turn_away(&mut self, path: Path, common: Common, peer: u32) {
        self.counters.requests_refused += 1;
        let body = Body::RpcUnknown(RpcUnknown {
            reason: Some(UnknownReason::Overloaded),
        });
        self.post_unknown(path, peer, swap(&common, common.sender_id.flipped(), body));
    }

    /// Looks whether the bytes of DATA can be stored. Where it is all of a message of which nothing was
    /// known (`is_first`), which is the usual case, there is nothing to keep account of.
    #[inline(always)]
    pub(crate) fn plan(
        &mut self,
        now: Instant,
        rpc: RpcKey,
        is_first: bool,
        data: &Data,
    ) -> Option<Placement<'_>> {
        let message = Received::of(data, self.rules.promised_max);
        let length = message.length;
        let is_whole = is_first
            && data.payload_length == length
            && length <= self.config.max_message_bytes
            && self.budget.admits(length);
        let piece = match is_whole {
            true => Piece {
                start: 0,
                end: length,
                is_first,
            },
            false => self.plan_part(now, rpc.index, is_first, message, data)?,
        };
        Some(Placement {
            engine: self,
            now,
            rpc,
            header_bytes: DATA_HEADER_BYTES + (piece.start - data.offset) as usize,
            message,
            piece,
            is_whole,
        })
    }

    /// The response is longer than a message may be.
    #[cold]
    fn end_too_long(&mut self, now: Instant, index: u32) {
        self.counters.dropped_too_long += 1;
        let peer = self.rpcs[index].peer;
        self.owe_ack(peer, index, owed::MOST);
        self.fail(now, index, Failure::ResponseTooLong);
    }

    /// Learns what DATA says of its message, and looks which of its bytes are new and can be stored.
    #[inline(never)]
    fn plan_part(
        &mut self,
        now: Instant,
        index: u32,
        is_first: bool,
        message: Received,
        data: &Data,
    ) -> Option<Piece> {
        if is_first {
            if message.length > self.config.max_message_bytes {
                self.end_too_long(now, index);
                return None;
            }
            self.rpcs.begin_inbound(index, message.length);
        }
        let bytes = data.offset..data.end();
        let Some(inbound) = self.rpcs.inbound(index) else {
            self.counters.dropped_duplicate += 1;
            return None;
        };
        if inbound.length != message.length {
            self.counters.dropped_contradiction += 1;
            return None;
        }
        let is_part = bytes.end - bytes.start < message.length;
        let goes_on = inbound.learn(message.unscheduled, message.is_lossy) && is_part;
        let novelty = inbound.novelty(&self.ranges, bytes.clone());
        let (storage, length) = (inbound.storage, inbound.length);
        if goes_on {
            // It is the sender's turn again, and nobody looked until now.
            self.watch(now, index);
        }
        let has_room = match storage {
            Storage::Made | Storage::Reserved => true,
            Storage::None => self.find_room(now, index, length),
            Storage::Stalled | Storage::Parked => false,
        };
        if !has_room {
            self.counters.dropped_stalled += 1;
            return None;
        }
        let new = match novelty {
            Novelty::New(new) => new,
            Novelty::Duplicate => {
                self.counters.dropped_duplicate += 1;
                return None;
            }
            Novelty::NoRoom => {
                self.counters.dropped_gap_limit += 1;
                return None;
            }
        };
        self.counters.data_trimmed += u64::from(new != bytes);
        Some(Piece {
            start: new.start,
            end: new.end,
            is_first: storage != Storage::Made,
        })
    }

    /// The host stored bytes of a message.
    #[inline(never)]
    fn store(&mut self, now: Instant, index: u32, bytes: Range<u32>) {
        let peer = self.rpcs[index].peer;
        let Some(inbound) = self.rpcs.inbound(index) else {
            return;
        };
        if inbound.storage == Storage::None {
            self.budget.charge(inbound.length);
            if !self.peers[peer].is_proven() {
                inbound.is_doubted = true;
                self.budget.doubt(inbound.length);
            }
        }
        inbound.storage = Storage::Made;
        inbound.insert(&mut self.ranges, bytes);
        if inbound.is_complete() {
            if core::mem::take(&mut inbound.is_doubted) {
                self.budget.believe(inbound.length);
            }
            let message = Received {
                length: inbound.length,
                unscheduled: inbound.unscheduled,
                is_lossy: inbound.lossy,
            };
            self.complete(now, index, message);
            return;
        }
        let rpc = &mut self.rpcs[index];
        let makes_room = rpc.lands(&mut self.peers[peer]);
        if rpc.progress.advance(now) {
            // The timer may be far away.
            self.watch(now, index);
        }
        self.rejoin(now, index);
        if makes_room {
            self.let_go(now, peer);
        }
    }

    /// Tells the granter how far a message is; it may have had no memory for it before.
    pub(crate) fn rejoin(&mut self, now: Instant, index: u32) {
        let ip = self.peers[self.rpcs[index].peer].address.ip;
        if let Some(inbound) = self.rpcs.inbound(index)
            && inbound.storage == Storage::Made
        {
            let progress = grant::Progress {
                length: inbound.length,
                received: inbound.received,
                granted: inbound.granted,
            };
            self.rpcs[index].is_aside = true;
            self.granter.update(now, &self.rules, index, ip, progress);
        }
    }
}
