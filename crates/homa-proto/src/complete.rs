//! What follows from the last byte of a message: cutoffs are learned, a request goes to its
//! application, a response ends its RPC and is acknowledged. Decides when an ack may wait for a packet
//! that takes it along.

use crate::engine::Engine;
use crate::learner::Arrival;
use crate::list::Queue;
use crate::owed;
use crate::rpc::{ByEvent, Outcome, ServerRpc, State};
use crate::time::Instant;
use crate::wire::{Body, Data, Packet};

/// What matters of a message once all of it is there, and what one packet says of it.
#[derive(Clone, Copy)]
pub(crate) struct Received {
    pub(crate) length: u32,
    /// Bytes of it that were said to come unasked.
    pub(crate) unscheduled: u32,
    /// Whether a packet of it had to be sent again.
    pub(crate) is_lossy: bool,
}

impl Received {
    /// What DATA says, as far as it is believed: we would not send more than `most` bytes unasked.
    #[inline]
    pub(crate) fn of(data: &Data, most: u32) -> Self {
        Self {
            length: data.message_length,
            unscheduled: data.incoming.min(most),
            is_lossy: data.retransmit,
        }
    }
}

impl Engine {
    /// The last byte of a message arrived.
    #[inline(always)]
    pub(crate) fn complete(&mut self, now: Instant, index: u32, message: Received) {
        let rpc = &mut self.rpcs[index];
        let (peer, length) = (rpc.peer, message.length);
        let (entry, owed) = self.peers.with_owed(peer);
        if rpc.is_aside {
            self.granter.leave(&self.rules, index);
        }
        let is_whole_again = !message.is_lossy && entry.recover();
        let makes_room = rpc.lands(entry);
        let arrival = Arrival {
            length,
            unscheduled: message.unscheduled,
            host: entry.host_hash(),
        };
        let has_learned = match &mut self.learner {
            Some(learner) if entry.is_proven() => learner.count(now, arrival),
            _ => false,
        };
        if rpc.is_client() {
            self.counters.rpcs_completed += 1;
            if !rpc.progress.was_retried() {
                entry.sending.recover();
            }
            let most = match length <= self.config.short_message_bytes {
                true => owed::SHORT_MOST,
                false => owed::MOST,
            };
            let may_wait = owed.push(&mut entry.debt, rpc.ack(), most);
            let outcome = Outcome::Response(length);
            if rpc.is_aside || !may_wait {
                self.end_with_ack(now, index, outcome, may_wait);
            } else {
                let parting = rpc.end(outcome);
                self.part(now, index, peer, &parting);
            }
        } else {
            self.counters.requests_delivered += 1;
            rpc.progress.advance(now);
            // The timer is that of a request on its way, which is the earlier one.
            rpc.state = State::Server(ServerRpc::InService(length));
            let is_news = Queue::<_, ByEvent>::enter(rpc);
            if let Some(limit) = self.config.service_deadline {
                self.rpcs.set_deadline(index, now + limit);
                self.timers
                    .set_at_latest(&mut self.rpcs.slab, index, now + limit);
            }
            if is_news {
                self.rpcs.tell(index);
            }
        }
        if is_whole_again {
            self.peers.granted_all();
        }
        if has_learned {
            self.learn(now);
        }
        if makes_room {
            self.let_go(now, peer);
        }
    }

    /// Ends an RPC of ours; the ack is said before if it may not wait.
    #[cold]
    fn end_with_ack(&mut self, now: Instant, index: u32, outcome: Outcome, may_wait: bool) {
        if !may_wait {
            self.send_acks(self.rpcs[index].peer, index);
        }
        self.finish(now, index, outcome);
    }

    /// The server of a client RPC may forget it: said with the next DATA, or at once when it is owed
    /// `most` acks already.
    pub(crate) fn owe_ack(&mut self, peer: u32, index: u32, most: u32) {
        let ack = self.rpcs[index].ack();
        let (entry, owed) = self.peers.with_owed(peer);
        if !owed.push(&mut entry.debt, ack, most) {
            self.send_acks(peer, index);
        }
    }

    /// Sends the acks that a peer is owed for longest, and that of the RPC.
    #[cold]
    fn send_acks(&mut self, peer: u32, index: u32) {
        let packet = Packet {
            common: self.rpcs[index].common(),
            body: Body::Ack(self.peers.take_acks(peer)),
        };
        let path = self.path_of(index);
        self.post(path, packet);
    }
}
