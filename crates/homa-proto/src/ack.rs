//! Acks: which RPCs a server may forget. They are matched by id, source host and server port,
//! because they ride on other RPCs' and other sockets' packets.

use crate::address::Address;
use crate::engine::Engine;
use crate::inbound::Storage;
use crate::rpc::{Pending, ServerRpc, State};
use crate::time::Instant;
use crate::wire::{Ack, Acks, Common};

impl Engine {
    /// An ACK packet: the RPC that it names, and up to five more.
    pub(crate) fn handle_acks(
        &mut self,
        now: Instant,
        common: &Common,
        acks: &Acks,
        from: &Address,
    ) {
        let named = Ack {
            client_id: common.sender_id,
            server_port: common.dest_port,
        };
        self.handle_ack(now, named, from);
        for ack in acks.iter() {
            self.handle_ack(now, ack, from);
        }
    }

    /// One ack: the client has the whole response, or wants none.
    pub(crate) fn handle_ack(&mut self, now: Instant, ack: Ack, from: &Address) {
        let id = ack.client_id.flipped();
        let found = self
            .rpcs
            .find_acked(&self.peers, id, from.ip, ack.server_port);
        let Some(index) = found.filter(|_| !id.is_client()) else {
            self.counters.acks_unmatched += 1;
            return;
        };
        let rpc = &self.rpcs[index];
        match &rpc.state {
            State::Server(ServerRpc::AwaitingAck(_)) => {
                if let Some(waited) = rpc.progress.undisturbed(now) {
                    self.peers[rpc.peer].patience.ack.sample(waited);
                }
                self.counters.acks_received += 1;
                self.end_server(now, index, true);
            }
            // The client wants no more: it cannot have the whole response.
            State::Server(ServerRpc::Sending(_) | ServerRpc::Refused(_)) => {
                self.counters.acks_received += 1;
                self.end_server(now, index, false);
            }
            // Before the application answered nobody can have the response.
            _ => self.counters.acks_unmatched += 1,
        }
    }

    /// The server asks whether it may forget an RPC that is still alive here.
    pub(crate) fn handle_need_ack(&mut self, now: Instant, index: u32) {
        self.counters.need_acks_received += 1;
        let rpc = &mut self.rpcs[index];
        let State::Client(client) = &rpc.state else {
            self.counters.dropped_out_of_place += 1;
            return;
        };
        // Not news that ends the silence, since no byte came, but the server has the request.
        rpc.progress.set_alive();
        // What is missing because we did not grant it or have no room for it is not lost.
        let waits_for_us = client
            .response
            .as_ref()
            .is_some_and(|response| response.storage == Storage::Stalled || !response.is_owed());
        if waits_for_us {
            self.want(index, Pending::BUSY);
        } else if self.rpcs[index].progress.may_ask_early(now) {
            self.rpcs[index].progress.asked_early(now);
            self.want(index, Pending::ASK);
        }
    }
}
