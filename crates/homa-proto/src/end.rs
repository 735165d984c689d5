//! How RPCs end: what they hold is given back, and the application is told. Decides nothing about
//! when.

use crate::api::Failure;
use crate::engine::Engine;
use crate::inbound::Storage;
use crate::peer::Peer;
use crate::rpc::{Outcome, Parting, Rpcs};
use crate::time::Instant;
use crate::tombstone::Tombstones;

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
        let entry = &mut self.peers[peer];
        if part(
            now,
            index,
            &parting,
            entry,
            &mut self.rpcs,
            &mut self.tombstones,
        ) {
            self.peers.rest(now, peer);
        }
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
        let rpc = &mut self.rpcs[index];
        if let Some(outbound) = rpc.outbound() {
            self.ranges.clear(&mut outbound.resend);
        }
        let Some(inbound) = rpc.inbound() else {
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
}

/// Tells whoever knows of an RPC that it has ended: its tombstone, its peer and its application.
/// Returns whether nothing needs the peer any more.
#[inline(always)]
pub(crate) fn part(
    now: Instant,
    index: u32,
    parting: &Parting,
    peer: &mut Peer,
    rpcs: &mut Rpcs,
    tombstones: &mut Tombstones,
) -> bool {
    let is_ours = parting.id.is_client();
    if !is_ours {
        tombstones.end(now, peer, parting.tombstone, parting.id, parting.ran);
    }
    peer.leave(&mut rpcs.of_peers, index, is_ours);
    if parting.is_news {
        rpcs.tell(index);
    }
    !peer.is_needed()
}
