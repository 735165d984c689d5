//! The receive budget: bytes of messages being received or held by the application. Decides which
//! message may have a buffer; those that may not wait, shortest first.
//!
//! *Design*: a first packet can be forged, and announce a million bytes that never come. So messages
//! that are not whole, of peers that did not prove their address, hold a small share of the budget
//! together. Those beyond it wait in a queue of their own, where they are in nobody's way.

use crate::chunks::Full;
use crate::engine::Engine;
use crate::heap::{Heap, Nodes};
use crate::inbound::Storage;
use crate::progress::Progress;
use crate::rpc::Pending;
use crate::time::Instant;

/// Part of the budget for messages of peers that did not prove their address: an eighth.
const DOUBTED_PART: u64 = 8;

pub(crate) struct Budget {
    limit: u64,
    used: u64,
    /// Bytes of those used that messages of peers without proof hold until they are whole.
    doubted: u64,
    /// Messages that wait, and those that wait for a proof or for room in the share of those without.
    stalled: Heap,
    parked: Heap,
    nodes: Nodes,
    stalls: u64,
}

/// Which of the messages that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Those whose peers are where they say.
    Stalled,
    /// The others.
    Parked,
}

impl Budget {
    pub(crate) const fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            doubted: 0,
            stalled: Heap::EMPTY,
            parked: Heap::EMPTY,
            nodes: Nodes::new(),
            stalls: 0,
        }
    }

    pub(crate) fn ensure(&mut self, rpc: u32) -> Result<(), Full> {
        self.nodes.ensure(rpc)
    }

    pub(crate) const fn used(&self) -> u64 {
        self.used
    }

    fn fits(&self, length: u32) -> bool {
        self.used + u64::from(length) <= self.limit
    }

    /// Whether a message may have its buffer now: it fits and no shorter one waits.
    #[inline]
    pub(crate) fn admits(&self, length: u32) -> bool {
        let shortest = self.stalled.first().map(|rpc| self.nodes.key(rpc).0);
        self.fits(length) && shortest.is_none_or(|shortest| length < shortest)
    }

    /// Whether a message may have its buffer as far as it is one of a peer without proof: there is
    /// room in their share, or none of them has any.
    pub(crate) fn admits_doubted(&self, length: u32) -> bool {
        let sum = self.doubted + u64::from(length);
        self.doubted == 0 || sum <= self.limit / DOUBTED_PART
    }

    pub(crate) fn charge(&mut self, length: u32) {
        self.used += u64::from(length);
    }

    /// What was charged for a message counts in the share of peers without proof, too.
    pub(crate) fn doubt(&mut self, length: u32) {
        self.doubted += u64::from(length);
    }

    /// And no longer: it is whole or over, or its peer is where it says.
    pub(crate) fn believe(&mut self, length: u32) {
        self.doubted -= u64::from(length);
    }

    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    fn heap(&mut self, wait: Wait) -> (&mut Heap, &mut Nodes) {
        let heap = match wait {
            Wait::Stalled => &mut self.stalled,
            Wait::Parked => &mut self.parked,
        };
        (heap, &mut self.nodes)
    }

    /// The message waits.
    pub(crate) fn stall(&mut self, rpc: u32, length: u32, wait: Wait) {
        self.stalls += 1;
        let key = (length, self.stalls);
        let (heap, nodes) = self.heap(wait);
        nodes.set(heap, rpc, key);
    }

    /// The message no longer waits, if it did.
    pub(crate) fn remove(&mut self, rpc: u32, wait: Wait) {
        let (heap, nodes) = self.heap(wait);
        nodes.remove(heap, rpc);
    }

    /// The shortest waiting message, if it fits now; it is charged and waits no longer.
    pub(crate) fn next(&mut self) -> Option<(u32, Wait)> {
        let (rpc, length, wait) = self.next_of(Wait::Stalled).or_else(|| {
            self.next_of(Wait::Parked)
                .filter(|&(_, length, _)| self.admits_doubted(length))
        })?;
        self.remove(rpc, wait);
        self.charge(length);
        if wait == Wait::Parked {
            self.doubt(length);
        }
        Some((rpc, wait))
    }

    /// The shortest of those that wait for the same, if it fits, and its length.
    fn next_of(&self, wait: Wait) -> Option<(u32, u32, Wait)> {
        let heap = match wait {
            Wait::Stalled => &self.stalled,
            Wait::Parked => &self.parked,
        };
        let rpc = heap.first()?;
        let length = self.nodes.key(rpc).0;
        self.fits(length).then_some((rpc, length, wait))
    }

    pub(crate) fn has_stalled(&self) -> bool {
        self.stalled.first().is_some() || self.parked.first().is_some()
    }
}

/// Messages that wait.
impl Engine {
    /// Whether the budget has room for a message of which nothing was stored; if not, it waits.
    pub(crate) fn find_room(&mut self, now: Instant, index: u32, length: u32) -> bool {
        let is_proven = self.peers[self.rpcs[index].peer].is_proven();
        let has_room =
            self.budget.admits(length) && (is_proven || self.budget.admits_doubted(length));
        if !has_room {
            self.stall(now, index, length);
        }
        has_room
    }

    /// The message waits for room in the budget. One of a peer that did not prove its address is to
    /// do so: the answer to a question for one byte is a proof.
    pub(crate) fn stall(&mut self, now: Instant, index: u32, length: u32) {
        let rpc = &mut self.rpcs[index];
        rpc.is_aside = true;
        let is_proven = self.peers[rpc.peer].is_proven();
        let Some(inbound) = self.rpcs.inbound(index) else {
            return;
        };
        if core::mem::take(&mut inbound.is_doubted) {
            self.budget.believe(length);
        }
        inbound.storage = match is_proven {
            true => Storage::Stalled,
            false => Storage::Parked,
        };
        self.counters.stalls += 1;
        self.budget.stall(index, length, inbound.wait());
        if !is_proven {
            self.want(index, Pending::PROVE);
            self.watch(now, index);
        }
    }

    /// The peer of an RPC proved its address: its message counts as others do.
    pub(crate) fn believe(&mut self, index: u32) {
        let Some(inbound) = self.rpcs.inbound(index) else {
            return;
        };
        let length = inbound.length;
        if core::mem::take(&mut inbound.is_doubted) {
            self.budget.believe(length);
        }
        if inbound.storage == Storage::Parked {
            inbound.storage = Storage::Stalled;
            self.budget.remove(index, Wait::Parked);
            self.budget.stall(index, length, Wait::Stalled);
        }
    }

    /// Gives room in the budget to the messages that wait, shortest first, and has them sent
    /// again.
    pub(crate) fn wake_stalled(&mut self, now: Instant) {
        while let Some((index, wait)) = self.budget.next() {
            self.counters.stalls_ended += 1;
            if let Some(inbound) = self.rpcs.inbound(index) {
                inbound.storage = Storage::Reserved;
                inbound.is_doubted = wait == Wait::Parked;
            }
            self.rpcs[index].progress = Progress::new(now);
            self.want(index, Pending::ASK);
            self.watch(now, index);
        }
    }
}
