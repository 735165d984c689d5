//! Acks that peers are owed, until a packet to them takes some along: a queue for each peer, the
//! oldest first, all in one table. It does not decide when an ACK packet is due.

use crate::chunks::{Chunks, Full};
use crate::slab::NONE;
use crate::wire::{Ack, Acks, RpcId};

/// Acks owed to a peer, at most, before an ACK packet takes them: what that holds. Each keeps a
/// response at the server.
pub(crate) const MOST: u32 = Acks::CAPACITY as u32;
/// The same for acks of short responses. They come many at a time, and as many requests, which take
/// the acks along, follow as soon as the application has looked at them. An ACK packet costs as
/// much as a dozen short packets of one burst.
pub(crate) const SHORT_MOST: u32 = 128;

/// The acks owed to one peer.
#[derive(Debug)]
pub(crate) struct Debt {
    /// The oldest and the latest of them, if there are any.
    first: u32,
    last: u32,
    count: u32,
}

/// An ack in a queue, or a place for one among those that are free; 16 bytes.
#[derive(Clone, Copy)]
struct Entry {
    client_id: RpcId,
    server_port: u16,
    /// The entry behind this one.
    next: u32,
}

impl Entry {
    const VACANT: Self = Self {
        client_id: Ack::NONE.client_id,
        server_port: Ack::NONE.server_port,
        next: NONE,
    };
}

/// The acks owed to all.
pub(crate) struct Owed {
    entries: Chunks<Entry>,
    /// The first of the places that are free.
    free: u32,
    /// Places that were ever used, and how many may be.
    used: u32,
    limit: u32,
}

impl Debt {
    pub(crate) const NONE: Self = Self {
        first: NONE,
        last: NONE,
        count: 0,
    };

    /// How many there are.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }
}

impl Owed {
    /// At most `limit` to all peers together.
    pub(crate) const fn new(limit: u32) -> Self {
        Self {
            entries: Chunks::new(),
            free: NONE,
            used: 0,
            limit,
        }
    }

    /// Acks that there is memory for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Makes room for `more` acks than there ever were, as far as the limit goes.
    pub(crate) fn reserve(&mut self, more: u32) -> Result<(), Full> {
        match self.used.saturating_add(more).min(self.limit) {
            0 => Ok(()),
            count => self.entries.ensure(count - 1, Entry::VACANT),
        }
    }

    /// Adds a place that was never used to those that are free.
    #[inline(never)]
    fn free_another(&mut self) -> Result<(), Full> {
        if self.used == self.limit {
            return Err(Full);
        }
        self.entries.ensure(self.used, Entry::VACANT)?;
        self.free = self.used;
        self.used += 1;
        Ok(())
    }

    /// Remembers an ack if fewer than `most` are owed to that peer; `false`: it must be said now.
    #[inline(always)]
    pub(crate) fn push(&mut self, debt: &mut Debt, ack: Ack, most: u32) -> bool {
        if debt.count >= most {
            return false;
        }
        if self.free == NONE && self.free_another().is_err() {
            return false;
        }
        let index = self.free;
        let Ack {
            client_id,
            server_port,
        } = ack;
        let taken = Entry {
            client_id,
            server_port,
            next: NONE,
        };
        self.free = core::mem::replace(&mut self.entries[index], taken).next;
        if debt.count == 0 {
            debt.first = index;
        } else {
            self.entries[debt.last].next = index;
        }
        debt.last = index;
        debt.count += 1;
        true
    }

    /// The oldest ack, to ride on a DATA packet.
    #[inline]
    pub(crate) fn pop(&mut self, debt: &mut Debt) -> Option<Ack> {
        if debt.count == 0 {
            return None;
        }
        let index = debt.first;
        let entry = &mut self.entries[index];
        debt.first = core::mem::replace(&mut entry.next, self.free);
        debt.count -= 1;
        self.free = index;
        Some(Ack {
            client_id: entry.client_id,
            server_port: entry.server_port,
        })
    }

    /// The peer is forgotten.
    pub(crate) fn forget(&mut self, debt: &mut Debt) {
        while self.pop(debt).is_some() {}
    }

    /// As many as an ACK packet takes.
    pub(crate) fn pop_packet(&mut self, debt: &mut Debt) -> Acks {
        let mut acks = Acks::EMPTY;
        for _ in 0..Acks::CAPACITY {
            let Some(ack) = self.pop(debt) else {
                break;
            };
            acks.push(ack);
        }
        acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(id: u64) -> Ack {
        Ack {
            client_id: RpcId::new(id),
            server_port: 7,
        }
    }

    #[test]
    fn acks_leave_in_the_order_in_which_they_came_each_for_its_peer() {
        let mut owed = Owed::new(100);
        let (mut one, mut other) = (Debt::NONE, Debt::NONE);
        for id in 0..8 {
            assert!(owed.push(&mut one, ack(2 * id + 2), 8));
            assert!(owed.push(&mut other, ack(2 * id + 100), 8));
        }
        assert!(!owed.push(&mut one, ack(90), 8), "that many are enough");
        assert_eq!(owed.pop(&mut one), Some(ack(2)));
        let packet = owed.pop_packet(&mut one);
        assert!(packet.iter().eq((1..6).map(|id| ack(2 * id + 2))));
        assert!(owed.push(&mut one, ack(50), 8));
        assert_eq!(owed.pop_packet(&mut one).iter().count(), 3);
        assert_eq!(owed.pop(&mut one), None);
        assert!(owed.push(&mut one, ack(52), 8));
        assert_eq!(owed.pop(&mut one), Some(ack(52)));
        assert_eq!(owed.pop(&mut other), Some(ack(100)));
    }

    #[test]
    fn a_full_table_has_acks_said_at_once() {
        let mut owed = Owed::new(500);
        let mut debt = Debt::NONE;
        let taken = (0..).take_while(|&id| owed.push(&mut debt, ack(2 * id + 2), u32::MAX));
        assert_eq!(taken.count(), 500);
        assert!(owed.pop(&mut debt).is_some());
        assert!(owed.push(&mut debt, ack(2), u32::MAX));
    }
}
