//! The messages that hold places, best first.
//!
//! *Design*: ordered when something changes, by a rank that lies beside. A decision asks for the order
//! far more often than it changes, and sorting what lies in as many entries took a fourth of it.

use alloc::boxed::Box;

use super::SLOTS;
use crate::chunks::{Full, boxed};
use crate::slab::NONE;

/// Boxed since an engine is made on the stack, of which a kernel has little.
pub(super) struct Actives {
    ranks: Box<[u64; SLOTS]>,
    rpcs: Box<[u32; SLOTS]>,
    count: usize,
}

impl Actives {
    pub(super) fn new() -> Result<Self, Full> {
        Ok(Self {
            ranks: boxed(|| 0)?,
            rpcs: boxed(|| NONE)?,
            count: 0,
        })
    }

    /// All of them, best first.
    pub(super) fn rpcs(&self) -> &[u32] {
        &self.rpcs[..self.count]
    }

    /// The best rank, if there is any.
    pub(super) fn best(&self) -> Option<u64> {
        self.ranks[..self.count].first().copied()
    }

    /// A message gets a place; there are less than [`SLOTS`].
    pub(super) fn insert(&mut self, rpc: u32, rank: u64) {
        let mut slot = self.count;
        self.count += 1;
        while slot > 0 && self.ranks[slot - 1] > rank {
            self.ranks[slot] = self.ranks[slot - 1];
            self.rpcs[slot] = self.rpcs[slot - 1];
            slot -= 1;
        }
        self.ranks[slot] = rank;
        self.rpcs[slot] = rpc;
    }

    /// A message loses its place, if it has one.
    pub(super) fn remove(&mut self, rpc: u32) {
        let Some(slot) = self.rpcs().iter().position(|&active| active == rpc) else {
            return;
        };
        self.ranks.copy_within(slot + 1..self.count, slot);
        self.rpcs.copy_within(slot + 1..self.count, slot);
        self.count -= 1;
    }

    /// The rank of a message that holds a place changed.
    pub(super) fn set(&mut self, rpc: u32, rank: u64) {
        let Some(mut slot) = self.rpcs().iter().position(|&active| active == rpc) else {
            return;
        };
        // Mostly it stays where it is: it got better by a packet.
        while slot > 0 && self.ranks[slot - 1] > rank {
            self.ranks[slot] = self.ranks[slot - 1];
            self.rpcs.swap(slot, slot - 1);
            slot -= 1;
        }
        while slot + 1 < self.count && self.ranks[slot + 1] < rank {
            self.ranks[slot] = self.ranks[slot + 1];
            self.rpcs.swap(slot, slot + 1);
            slot += 1;
        }
        self.ranks[slot] = rank;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_hold_places_stand_in_the_order_of_their_ranks() {
        let mut actives = Actives::new().unwrap();
        for (rpc, rank) in [(1, 50), (2, 20), (3, 40), (4, 10)] {
            actives.insert(rpc, rank);
        }
        assert_eq!(actives.rpcs(), [4, 2, 3, 1]);
        actives.set(1, 15);
        assert_eq!(actives.rpcs(), [4, 1, 2, 3]);
        actives.set(4, 30);
        assert_eq!(actives.rpcs(), [1, 2, 4, 3]);
        actives.remove(2);
        actives.remove(9);
        actives.set(9, 1);
        assert_eq!((actives.rpcs(), actives.best()), (&[1, 4, 3][..], Some(15)));
    }
}
