//! The receive budget: bytes of messages being received or held by the application. Decides which
//! message may have a buffer; those that may not wait, shortest first.

use crate::chunks::Full;
use crate::heap::{Heap, Nodes};

pub(crate) struct Budget {
    limit: u64,
    used: u64,
    stalled: Heap,
    nodes: Nodes,
    stalls: u64,
}

impl Budget {
    pub(crate) const fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            stalled: Heap::EMPTY,
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
    pub(crate) fn admits(&self, length: u32) -> bool {
        let shortest = self.stalled.first().map(|rpc| self.nodes.key(rpc).0);
        self.fits(length) && shortest.is_none_or(|shortest| u64::from(length) < shortest)
    }

    pub(crate) fn charge(&mut self, length: u32) {
        self.used += u64::from(length);
    }

    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// The message waits.
    pub(crate) fn stall(&mut self, rpc: u32, length: u32) {
        self.stalls += 1;
        let key = (u64::from(length), self.stalls);
        self.nodes.set(&mut self.stalled, rpc, key);
    }

    /// The message no longer waits.
    pub(crate) fn remove(&mut self, rpc: u32) {
        self.nodes.remove(&mut self.stalled, rpc);
    }

    /// The shortest waiting message, if it fits now; it is charged and waits no longer.
    pub(crate) fn next(&mut self) -> Option<u32> {
        let rpc = self.stalled.first()?;
        let length = u32::try_from(self.nodes.key(rpc).0).unwrap_or(u32::MAX);
        if !self.fits(length) {
            return None;
        }
        self.remove(rpc);
        self.charge(length);
        Some(rpc)
    }

    pub(crate) fn has_stalled(&self) -> bool {
        self.stalled.first().is_some()
    }
}
