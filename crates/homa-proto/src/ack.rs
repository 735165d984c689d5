//! Acks: which RPCs a server may forget. They are matched by id, source host and server port,
//! because they ride on other RPCs' and other sockets' packets.

use crate::address::Address;
use crate::engine::Engine;
use crate::inbound::Storage;
use crate::rpc::{Outcome, Pending, ServerRpc, State};
use crate::time::Instant;
use crate::wire::{Ack, Acks, Common, RpcId};

/// An ack that names no RPC of the engine to which it came. On a host with several engines it may
/// be another's: acks ride on packets of RPCs that may be anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignAck {
    /// The RPC, by its client's number: with `from` it tells the engine.
    pub client_id: RpcId,
    /// The server's port.
    pub server_port: u16,
    /// The client's address.
    pub from: Address,
}

/// Acks that wait to be handed over; one that finds no room is asked for again.
pub(crate) const FOREIGN_ACKS_MAX: usize = 64;

impl Engine {
    /// The next ack that may belong to another engine of the host. A host with one engine need not
    /// ask.
    pub fn poll_foreign_ack(&mut self) -> Option<ForeignAck> {
        self.foreign_acks.pop()
    }

    /// An ack that came to another engine of the host.
    pub fn handle_foreign_ack(&mut self, now: Instant, ack: &ForeignAck) {
        let own = Ack {
            client_id: ack.client_id,
            server_port: ack.server_port,
        };
        if self.apply_ack(now, own, &ack.from, None) {
            self.counters.foreign_acks_received += 1;
        }
    }

    /// An ACK packet: the RPC that it names, and up to five more.
    pub(crate) fn handle_acks(
        &mut self,
        now: Instant,
        common: &Common,
        acks: &Acks,
        from: &Address,
        peer: Option<u32>,
    ) {
        let named = Ack {
            client_id: common.sender_id,
            server_port: common.dest_port,
        };
        let peer = peer.map(|peer| (peer, self.peers[peer].latest_block));
        self.handle_ack(now, named, from, peer);
        for ack in acks.iter() {
            self.handle_ack(now, ack, from, peer);
        }
    }

    /// One ack: the client has the whole response, or wants none. `peer`: who it came from, if known, and
    /// the block that remembers its latest request.
    #[inline(always)]
    pub(crate) fn handle_ack(
        &mut self,
        now: Instant,
        ack: Ack,
        from: &Address,
        peer: Option<(u32, u32)>,
    ) {
        if !self.apply_ack(now, ack, from, peer) {
            self.pass_ack_on(ack, *from);
        }
    }

    /// An ack names no RPC that waits for it here.
    #[cold]
    fn pass_ack_on(&mut self, ack: Ack, from: Address) {
        self.counters.acks_unmatched += 1;
        if self.foreign_acks.len() < FOREIGN_ACKS_MAX {
            self.foreign_acks.push(ForeignAck {
                client_id: ack.client_id,
                server_port: ack.server_port,
                from,
            });
        }
    }

    /// The same for one that rides on a response: few do, since a server seldom is a client too.
    #[cold]
    pub(crate) fn handle_ack_of_response(&mut self, now: Instant, ack: Ack, from: Address) {
        let peer = self.peers.find(&from);
        let peer = peer.map(|peer| (peer, self.peers[peer].latest_block));
        self.handle_ack(now, ack, &from, peer);
    }

    /// Ends the RPC that an ack names, one of the peer that it came from or of another port of its host;
    /// `false`: none waits for it here.
    #[inline(always)]
    fn apply_ack(
        &mut self,
        now: Instant,
        ack: Ack,
        from: &Address,
        peer: Option<(u32, u32)>,
    ) -> bool {
        let id = ack.client_id.flipped();
        let own = peer.and_then(|peer| self.tombstones.find_live(&self.peers, peer, id));
        match own {
            Some(index) if self.rpcs[index].is_meant_by(ack) => self.end_acked(now, index),
            _ => self.apply_ack_at(now, ack, from),
        }
    }

    #[cold]
    fn apply_ack_at(&mut self, now: Instant, ack: Ack, from: &Address) -> bool {
        let is_it = |index: u32| {
            let rpc = &self.rpcs[index];
            rpc.is_meant_by(ack) && self.peers[rpc.peer].address.ip == from.ip
        };
        let id = ack.client_id.flipped();
        let found = self.tombstones.find_at_host(from.ip, id, is_it);
        found.is_some_and(|index| self.end_acked(now, index))
    }

    /// Ends an RPC whose client needs it no longer, once the application answered: before, nobody can
    /// have the response.
    #[inline(always)]
    fn end_acked(&mut self, now: Instant, index: u32) -> bool {
        let rpc = &mut self.rpcs.slab[index];
        let State::Server(ServerRpc::Sending) = rpc.state else {
            return self.end_refused(now, index);
        };
        // One who wants no more of it cannot have all.
        let delivered = rpc.message.is_gone() || rpc.is_all_sent(&self.rpcs.details[index]);
        let peer = rpc.peer;
        let entry = &mut self.peers[peer];
        if delivered && let Some(waited) = rpc.progress.undisturbed(now) {
            entry.patience.ack.sample(waited);
        }
        let outcome = Outcome::Ended { delivered };
        if rpc.is_entangled() {
            self.finish(now, index, outcome);
        } else {
            let parting = rpc.end(outcome);
            self.part(now, index, peer, &parting);
        }
        self.counters.acks_received += 1;
        true
    }

    /// The same for one that is not answered.
    #[cold]
    fn end_refused(&mut self, now: Instant, index: u32) -> bool {
        let is_refused = matches!(self.rpcs[index].state, State::Server(ServerRpc::Refused(_)));
        if is_refused {
            self.end_server(now, index, false);
            self.counters.acks_received += 1;
        }
        is_refused
    }

    /// The server asks whether it may forget an RPC that is still alive here.
    pub(crate) fn handle_need_ack(&mut self, now: Instant, index: u32) {
        self.counters.need_acks_received += 1;
        let rpc = &mut self.rpcs[index];
        let State::Client(_) = rpc.state else {
            self.counters.dropped_out_of_place += 1;
            return;
        };
        // Not news that ends the silence, since no byte came, but the server has the request.
        rpc.progress.set_alive();
        // What is missing because we did not grant it or have no room for it is not lost.
        let response = self.rpcs.inbound_of(index);
        let waits_for_us = response
            .is_some_and(|response| response.storage == Storage::Stalled || !response.is_owed());
        if waits_for_us {
            self.want(index, Pending::BUSY);
        } else if self.may_ask_early(now, index) {
            self.rpcs[index].progress.asked_early();
            self.rpcs.details[index].last_ask = now;
            self.want(index, Pending::ASK);
        }
    }
}
