//! Lists through an array of links: O(1) to append, pop and remove, no allocation but the array's
//! growth. An entry is in at most one list of a `Links`, and a `Queue` is a list for those that
//! never need to remove.

use crate::chunks::{Chunks, Full};
use crate::slab::NONE;

/// Marks an entry that is in no list.
const ABSENT: u32 = NONE - 1;

#[derive(Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
}

/// The links of all entries that may be in lists.
pub(crate) struct Links(Chunks<Link>);

/// One list; its entries' links lie in a [`Links`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub(crate) const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
    };

    pub(crate) fn first(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }
}

impl Links {
    pub(crate) const fn new() -> Self {
        Self(Chunks::new())
    }

    /// Makes room for entry `index`.
    pub(crate) fn ensure(&mut self, index: u32) -> Result<(), Full> {
        let absent = Link {
            prev: ABSENT,
            next: ABSENT,
        };
        self.0.ensure(index, absent)
    }

    #[inline]
    pub(crate) fn contains(&self, index: u32) -> bool {
        self.0[index].next != ABSENT
    }

    /// The entry behind `index`, which must be in a list.
    pub(crate) fn next(&self, index: u32) -> Option<u32> {
        let next = self.0[index].next;
        (next != NONE && next != ABSENT).then_some(next)
    }

    #[inline]
    pub(crate) fn push_back(&mut self, list: &mut List, index: u32) {
        debug_assert!(!self.contains(index), "an entry is in one list at a time");
        self.0[index] = Link {
            prev: list.tail,
            next: NONE,
        };
        if list.tail == NONE {
            list.head = index;
        } else {
            self.0[list.tail].next = index;
        }
        list.tail = index;
    }

    /// Removes `index` from `list`, which must hold it.
    #[inline]
    pub(crate) fn remove(&mut self, list: &mut List, index: u32) {
        let Link { prev, next } = self.0[index];
        debug_assert!(next != ABSENT, "only what is in a list can be removed");
        if prev == NONE {
            list.head = next;
        } else {
            self.0[prev].next = next;
        }
        if next == NONE {
            list.tail = prev;
        } else {
            self.0[next].prev = prev;
        }
        self.0[index] = Link {
            prev: ABSENT,
            next: ABSENT,
        };
    }
}

/// A queue with links of its own: first in, first out.
pub(crate) struct Fifo {
    links: Links,
    list: List,
}

impl Fifo {
    pub(crate) const fn new() -> Self {
        Self {
            links: Links::new(),
            list: List::EMPTY,
        }
    }

    pub(crate) fn ensure(&mut self, index: u32) -> Result<(), Full> {
        self.links.ensure(index)
    }

    /// Appends `index` unless it waits already.
    pub(crate) fn push(&mut self, index: u32) {
        if !self.links.contains(index) {
            self.links.push_back(&mut self.list, index);
        }
    }

    pub(crate) fn first(&self) -> Option<u32> {
        self.list.first()
    }

    pub(crate) fn next(&self, index: u32) -> Option<u32> {
        self.links.next(index)
    }

    pub(crate) fn pop(&mut self) -> Option<u32> {
        let index = self.list.first()?;
        self.links.remove(&mut self.list, index);
        Some(index)
    }

    /// Takes `index` out if it waits.
    pub(crate) fn remove(&mut self, index: u32) {
        if self.links.contains(index) {
            self.links.remove(&mut self.list, index);
        }
    }
}

/// First in, first out, and nothing else: half the links of a [`Fifo`].
pub(crate) struct Queue {
    next: Chunks<u32>,
    list: List,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Self {
            next: Chunks::new(),
            list: List::EMPTY,
        }
    }

    pub(crate) fn ensure(&mut self, index: u32) -> Result<(), Full> {
        self.next.ensure(index, ABSENT)
    }

    /// Appends `index` unless it waits already; returns whether it did not.
    #[inline]
    pub(crate) fn push(&mut self, index: u32) -> bool {
        if self.next[index] != ABSENT {
            return false;
        }
        self.next[index] = NONE;
        if self.list.head == NONE {
            self.list.head = index;
        } else {
            self.next[self.list.tail] = index;
        }
        self.list.tail = index;
        true
    }

    pub(crate) fn first(&self) -> Option<u32> {
        self.list.first()
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let index = self.list.first()?;
        self.list.head = core::mem::replace(&mut self.next[index], ABSENT);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;

    #[test]
    fn a_fifo_agrees_with_a_deque_whatever_is_removed() {
        let mut fifo = Fifo::new();
        fifo.ensure(999).unwrap();
        let mut model = VecDeque::new();
        let mut random = 1_u32;
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let index = (random >> 8) % 1000;
            match random >> 30 {
                0 | 1 => {
                    if !model.contains(&index) {
                        model.push_back(index);
                    }
                    fifo.push(index);
                }
                2 => assert_eq!(fifo.pop(), model.pop_front()),
                _ => {
                    model.retain(|&i| i != index);
                    fifo.remove(index);
                }
            }
        }
        let rest: Vec<u32> = core::iter::from_fn(|| fifo.pop()).collect();
        assert_eq!(rest, Vec::from(model));
    }

    #[test]
    fn a_queue_gives_back_in_order_and_holds_nothing_twice() {
        let mut queue = Queue::new();
        queue.ensure(9).unwrap();
        for round in 0..3 {
            let pushed = [round, 5, 9, 5, round].map(|index| queue.push(index));
            assert_eq!(pushed, [true, true, true, false, false]);
            assert_eq!(queue.pop(), Some(round));
            queue.push(round);
            let rest: Vec<u32> = core::iter::from_fn(|| queue.pop()).collect();
            assert_eq!(rest, [5, 9, round]);
        }
    }
}
