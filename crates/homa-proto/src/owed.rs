//! Acks that peers are owed, until a packet to them takes some along: a queue for each peer, the
//! oldest first, all in one table. It does not decide when an ACK packet is due.

use crate::chunks::Full;
use crate::slab::{NONE, Slab, Vacant};
use crate::wire::{Ack, Acks};

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

struct Entry {
    ack: Ack,
    next: u32,
}

impl Vacant for Entry {
    const VACANT: Self = Self {
        ack: Ack::NONE,
        next: NONE,
    };
}

/// The acks owed to all.
pub(crate) struct Owed {
    entries: Slab<Entry>,
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
            entries: Slab::new(limit),
        }
    }

    /// Acks that there is memory for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> u32 {
        self.entries.capacity()
    }

    /// Makes room for `more` acks, as far as the limit goes.
    pub(crate) fn reserve(&mut self, more: u32) -> Result<(), Full> {
        self.entries.reserve(more).map(drop)
    }

    /// Remembers an ack if fewer than `most` are owed to that peer; `false`: it must be said now.
    #[inline]
    pub(crate) fn push(&mut self, debt: &mut Debt, ack: Ack, most: u32) -> bool {
        if debt.count >= most {
            return false;
        }
        let Ok(index) = self.entries.insert(Entry { ack, next: NONE }) else {
            return false;
        };
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
        let &mut Entry { ack, next } = self.entries.remove(debt.first);
        debt.first = next;
        debt.count -= 1;
        Some(ack)
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
    use crate::wire::RpcId;

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
