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
use crate::learner::Arrival;
use crate::owed;
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
    place: Place,
}

impl Placement<'_> {
    /// Where the payload belongs.
    #[inline]
    pub fn place(&self) -> Place {
        self.place
    }

    /// The payload is stored.
    pub fn commit(self) {
        let Place {
            rpc,
            offset,
            length,
            ..
        } = self.place;
        self.engine
            .store(self.now, rpc.index, offset..offset + length);
    }

    /// The payload could not be stored. If it was to be the message's first, the message waits as
    /// if the receive budget were used up; else the packet comes again.
    pub fn refuse(self) {
        self.engine.counters.placements_refused += 1;
        let index = self.place.rpc.index;
        let Some(inbound) = self.engine.rpcs[index].inbound() else {
            return;
        };
        let length = inbound.length;
        match inbound.storage {
            Storage::Reserved => self.engine.budget.give_back(u64::from(length)),
            Storage::None => {}
            Storage::Made | Storage::Stalled => return,
        }
        self.engine.stall(index, length);
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
            None => self.admit(now, path, peer, common, data, packet_length)?,
        };
        if self.rpcs[index].awaits_response() {
            self.begin_response(now, index, data)?;
        }
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
        let ours = self.peers[peer].our_version(self.published.revision);
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
        let body = Body::Cutoffs(Cutoffs {
            cutoffs: self.published.cutoffs,
            version: peer.our_version(self.published.revision),
        });
        self.post(*path, swap(common, common.sender_id.flipped(), body));
    }

    /// A packet of a request that we do not know: takes the request, or says why not.
    fn admit(
        &mut self,
        now: Instant,
        path: Path,
        peer: Option<u32>,
        common: &Common,
        data: &Data,
        packet_length: u32,
    ) -> Option<u32> {
        self.may_admit(now, &path, common, data)?;
        let known = peer.or_else(|| self.peers.make(now, &path.peer).ok());
        let Some(peer) = known else {
            self.counters.requests_refused += 1;
            return None;
        };
        self.peers[peer].hear(now, packet_length);
        let echo = self.vet(now, peer, data.cutoff_version);
        if data.cutoff_version != self.peers[peer].our_version(self.published.revision) {
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
            incast: data.incast,
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

    /// The first DATA of a response. It is an ack of the request, too.
    fn begin_response(&mut self, now: Instant, index: u32, data: &Data) -> Option<()> {
        let rpc = &mut self.rpcs[index];
        let State::Client(client) = &mut rpc.state else {
            return None;
        };
        if data.message_length > self.config.max_message_bytes {
            self.counters.dropped_too_long += 1;
            let peer = rpc.peer;
            self.owe_ack(peer, index, owed::MOST);
            self.fail(now, index, Failure::ResponseTooLong);
            return None;
        }
        client.response = Some(Inbound::new(data.message_length));
        let peer = &mut self.peers[rpc.peer];
        if data.retransmit {
            // Either buffer may have overflowed, and both hold less if less is asked at once.
            let interval = peer.patience.for_bytes(&self.config);
            peer.flight.cut(now, interval);
        }
        if let Some(waited) = rpc.progress.undisturbed(now) {
            peer.patience.response.sample(waited);
        }
        rpc.is_due = false;
        if rpc.is_aside {
            self.send.remove(index);
            self.resending.remove(index);
        }
        Some(())
    }

    /// Learns from the header of DATA, and looks whether its bytes can be stored.
    fn plan(&mut self, now: Instant, index: u32, data: &Data) -> Option<Placement<'_>> {
        let (key, rpc) = self.rpcs.keyed(index);
        let Some(inbound) = rpc.inbound() else {
            self.counters.dropped_duplicate += 1;
            return None;
        };
        if inbound.length != data.message_length {
            self.counters.dropped_contradiction += 1;
            return None;
        }
        // More than we would send unasked ourselves is not believed.
        let promised = data.incoming.min(self.config.unscheduled_bytes);
        inbound.unscheduled = inbound.unscheduled.max(promised);
        let was_owed = inbound.is_owed();
        inbound.granted = inbound.granted.max(promised);
        inbound.lossy |= data.retransmit;
        let is_part = data.payload_length < inbound.length;
        let goes_on = is_part && inbound.is_owed() && !was_owed;
        let bytes = data.offset..data.end();
        let novelty = inbound.novelty(&self.ranges, &bytes);
        let (storage, length) = (inbound.storage, inbound.length);
        if goes_on {
            // It is the sender's turn again, and nobody looked until now.
            self.watch(now, index);
        }
        let has_room = match storage {
            Storage::Made | Storage::Reserved => true,
            Storage::None => self.budget.admits(length),
            Storage::Stalled => false,
        };
        if !has_room {
            if storage == Storage::None {
                self.stall(index, length);
            }
            self.counters.dropped_stalled += 1;
            return None;
        }
        let dropped = match novelty {
            Novelty::New => {
                let place = Place {
                    rpc: key,
                    offset: data.offset,
                    length: data.payload_length,
                    header_bytes: DATA_HEADER_BYTES,
                    message_length: length,
                    new: storage != Storage::Made,
                };
                return Some(Placement {
                    engine: self,
                    now,
                    place,
                });
            }
            Novelty::Duplicate => &mut self.counters.dropped_duplicate,
            Novelty::Overlap => &mut self.counters.dropped_overlap,
            Novelty::NoRoom => &mut self.counters.dropped_gap_limit,
        };
        *dropped += 1;
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

    /// The host stored bytes of a message.
    fn store(&mut self, now: Instant, index: u32, bytes: Range<u32>) {
        self.counters.data_received += 1;
        self.note(now, index, News::Progress);
        let Some(inbound) = self.rpcs[index].inbound() else {
            return;
        };
        if inbound.storage == Storage::None {
            self.budget.charge(inbound.length);
        }
        inbound.storage = Storage::Made;
        inbound.insert(&mut self.ranges, bytes);
        if inbound.is_complete() {
            self.complete(now, index);
        } else {
            self.rejoin(now, index);
        }
    }

    /// Tells the granter how far a message is; it may have had no memory for it before.
    pub(crate) fn rejoin(&mut self, now: Instant, index: u32) {
        let rpc = &mut self.rpcs[index];
        let ip = self.peers[rpc.peer].address.ip;
        if let Some(inbound) = rpc.inbound()
            && inbound.storage == Storage::Made
        {
            let progress = grant::Progress {
                length: inbound.length,
                received: inbound.received,
                granted: inbound.granted,
            };
            rpc.is_aside = true;
            self.granter.update(now, &self.rules, index, ip, progress);
        }
    }

    /// The last byte of a message arrived.
    fn complete(&mut self, now: Instant, index: u32) {
        let rpc = &mut self.rpcs[index];
        if rpc.is_aside {
            self.granter.leave(&self.rules, index);
        }
        let (peer, is_client) = (rpc.peer, rpc.is_client());
        let retried = rpc.progress.was_retried();
        let Some(inbound) = rpc.inbound() else {
            return;
        };
        let arrival = Arrival {
            length: inbound.length,
            unscheduled: inbound.unscheduled,
            host: self.peers[peer].host_hash(),
        };
        if !inbound.lossy {
            self.peers[peer].granting.recover();
        }
        let length = arrival.length;
        if self.peers[peer].is_proven() {
            self.learn_from(now, arrival);
        }
        if is_client {
            self.counters.rpcs_completed += 1;
            if !retried {
                self.peers[peer].sending.recover();
            }
            let most = match length <= self.config.short_message_bytes {
                true => owed::SHORT_MOST,
                false => owed::MOST,
            };
            self.owe_ack(peer, index, most);
            let (rpc, _) = self.rpcs.keyed(index);
            self.finish(now, index, Event::Response { rpc, length });
        } else {
            // The timer is that of a request on its way, which is the earlier one.
            self.rpcs[index].state = State::Server(ServerRpc::InService(length));
            self.deliver_request(index);
        }
    }

    /// The server of a client RPC may forget it: said with the next DATA, or at once when it is owed
    /// `most` acks already.
    pub(crate) fn owe_ack(&mut self, peer: u32, index: u32, most: u32) {
        let rpc = &self.rpcs[index];
        let ack = Ack {
            client_id: rpc.id,
            server_port: rpc.remote_port,
        };
        if self.peers.owe_ack(peer, ack, most) {
            return;
        }
        let acks = self.peers.take_acks(peer);
        let packet = crate::wire::Packet {
            common: self.rpcs[index].common(),
            body: Body::Ack(acks),
        };
        let path = self.path_of(index);
        self.post(path, packet);
    }
}
