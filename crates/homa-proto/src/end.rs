//! How RPCs end: what they hold is given back, and the application is told. Decides nothing about
//! when.

use crate::api::Failure;
use crate::engine::Engine;
use crate::inbound::Storage;
use crate::rpc::{Outcome, Parting};
use crate::time::Instant;

impl Engine {
    /// A client's RPC is over without a response.
    pub(crate) fn fail(&mut self, now: Instant, index: u32, failure: Failure) {
        if failure == Failure::OutcomeUnknown {
            self.counters.outcomes_unknown += 1;
        }
        self.finish(now, index, Outcome::Failed(failure));
    }

    /// A server's RPC is over.
    pub(crate) fn end_server(&mut self, now: Instant, index: u32, delivered: bool) {
        self.finish(now, index, Outcome::Ended { delivered });
    }

    /// An RPC is over: everything it holds is given back, no packet finds it any more, and the
    /// application will be told. Its timer stays, and finds nothing to do.
    pub(crate) fn finish(&mut self, now: Instant, index: u32, outcome: Outcome) {
        let reserved = match self.rpcs[index].is_entangled() {
            true => self.put_away(now, index),
            false => 0,
        };
        let rpc = &mut self.rpcs[index];
        let (peer, parting) = (rpc.peer, rpc.end(outcome));
        self.part(now, index, peer, &parting);
        if reserved > 0 {
            self.budget.give_back(u64::from(reserved));
            self.wake_stalled(now);
        }
    }

    /// Takes an RPC that is over from wherever few ever are; returns the bytes of the budget that are
    /// set aside for it.
    #[cold]
    fn put_away(&mut self, now: Instant, index: u32) -> u32 {
        self.land(now, index, false);
        self.take_from_queues(index);
        if self.rpcs[index].message.is_detailed {
            let outbound = &mut self.rpcs.details[index].outbound;
            self.ranges.clear(&mut outbound.resend);
        }
        let Some(inbound) = self.rpcs.inbound(index) else {
            return 0;
        };
        inbound.clear(&mut self.ranges);
        self.budget.remove(index, inbound.wait());
        if inbound.is_doubted {
            self.budget.believe(inbound.length);
        }
        match inbound.storage {
            Storage::Reserved => inbound.length,
            _ => 0,
        }
    }

    fn take_from_queues(&mut self, index: u32) {
        self.send.remove(index);
        self.resending.remove(index);
        self.control.remove(index);
        self.granter.leave(&self.rules, index);
    }

    /// Tells whoever knows of an RPC that it has ended: its tombstone, its peer and its application.
    #[inline(always)]
    pub(crate) fn part(&mut self, now: Instant, index: u32, peer: u32, parting: &Parting) {
        let is_ours = parting.id.is_client();
        let entry = &mut self.peers[peer];
        if !is_ours {
            self.tombstones
                .end(now, entry, parting.tombstone, parting.id, parting.ran);
        }
        entry.leave(&mut self.rpcs.of_peers, index, is_ours);
        let is_needed = entry.is_needed();
        if parting.is_news {
            self.rpcs.tell(index);
        }
        if !is_needed {
            self.peers.rest(now, peer);
        }
    }
}
