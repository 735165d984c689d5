//! Lists through links: O(1) to append, pop and remove, and no allocation. The links of what is often
//! in a list lie in the entries themselves ([`Queue`], [`Chain`]), those of the rest, and those that
//! are changed for others, in an array beside the table ([`Links`], [`Fifo`], [`Group`]). An entry is
//! in at most one list of a kind.

use core::marker::PhantomData;

use crate::chunks::{Chunks, Full};
use crate::slab::{NONE, Slab, Vacant};

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

    #[inline]
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

/// Where the entries of a table keep their link of one kind of [`Queue`].
pub(crate) trait QueueLink<T> {
    fn of(entry: &mut T) -> &mut u32;
}

/// The link of an entry that is in no queue of its kind.
pub(crate) const UNLINKED: u32 = ABSENT;

/// First in, first out, and nothing else, through the entries of a table. An entry whose place is
/// given out anew stays in it.
pub(crate) struct Queue<T, L> {
    list: List,
    kind: PhantomData<(fn(T), L)>,
}

impl<T: Vacant, L: QueueLink<T>> Queue<T, L> {
    pub(crate) const fn new() -> Self {
        Self {
            list: List::EMPTY,
            kind: PhantomData,
        }
    }

    /// Appends `index` unless it waits already; returns whether it did not.
    #[inline]
    pub(crate) fn push(&mut self, table: &mut Slab<T>, index: u32) -> bool {
        let is_new = Self::enter(table.at(index));
        if is_new {
            self.append(table, index);
        }
        is_new
    }

    /// The first half of [`push`](Self::push) where the entry is at hand: whether it is to be
    /// appended.
    #[inline]
    pub(crate) fn enter(entry: &mut T) -> bool {
        let link = L::of(entry);
        let is_new = *link == UNLINKED;
        if is_new {
            *link = NONE;
        }
        is_new
    }

    /// The second half: appends an entry that was just entered.
    #[inline]
    pub(crate) fn append(&mut self, table: &mut Slab<T>, index: u32) {
        if self.list.head == NONE {
            self.list.head = index;
        } else {
            *L::of(table.at(self.list.tail)) = index;
        }
        self.list.tail = index;
    }

    #[inline]
    pub(crate) fn first(&self) -> Option<u32> {
        self.list.first()
    }

    #[inline]
    pub(crate) fn pop(&mut self, table: &mut Slab<T>) -> Option<u32> {
        let index = self.list.first()?;
        self.pop_entry(table.at(index));
        Some(index)
    }

    /// The same where the first entry is at hand.
    #[inline]
    pub(crate) fn pop_entry(&mut self, first: &mut T) {
        self.list.head = core::mem::replace(L::of(first), UNLINKED);
    }
}

/// Links of an entry that is in a [`Chain`].
#[derive(Clone, Copy)]
pub(crate) struct ChainLink {
    prev: u32,
    next: u32,
}

impl ChainLink {
    pub(crate) const NONE: Self = Self {
        prev: NONE,
        next: NONE,
    };
}

/// Where the entries of a table keep their links of one kind of [`Chain`].
pub(crate) trait Chained<T> {
    fn of(entry: &mut T) -> &mut ChainLink;
}

/// A list through the entries of a table, from which each can be removed.
pub(crate) struct Chain<L> {
    list: List,
    kind: PhantomData<fn(L)>,
}

impl<L> Chain<L> {
    pub(crate) const EMPTY: Self = Self {
        list: List::EMPTY,
        kind: PhantomData,
    };

    #[inline]
    pub(crate) fn first(&self) -> Option<u32> {
        self.list.first()
    }

    /// Appends an entry, which is not in it; returns its link, to be stored in it.
    #[inline]
    pub(crate) fn append<T: Vacant>(&mut self, table: &mut Slab<T>, index: u32) -> ChainLink
    where
        L: Chained<T>,
    {
        let prev = core::mem::replace(&mut self.list.tail, index);
        if prev == NONE {
            self.list.head = index;
        } else {
            L::of(table.at(prev)).next = index;
        }
        ChainLink { prev, next: NONE }
    }

    /// Removes an entry with this link, which is in it.
    #[inline]
    pub(crate) fn remove<T: Vacant>(&mut self, table: &mut Slab<T>, link: ChainLink)
    where
        L: Chained<T>,
    {
        let ChainLink { prev, next } = link;
        if prev == NONE {
            self.list.head = next;
        } else {
            L::of(table.at(prev)).next = next;
        }
        if next == NONE {
            self.list.tail = prev;
        } else {
            L::of(table.at(next)).prev = prev;
        }
    }
}

/// The neighbours of all entries that may be in a [`Group`]. They lie apart from the entries, which are
/// long: whoever comes or goes changes two others, and eight of these share a line of the cache.
pub(crate) struct Neighbours(Chunks<Link>);

impl Neighbours {
    pub(crate) const fn new() -> Self {
        Self(Chunks::new())
    }

    /// Makes room for entry `index`.
    pub(crate) fn ensure(&mut self, index: u32) -> Result<(), Full> {
        let nobody = Link {
            prev: NONE,
            next: NONE,
        };
        self.0.ensure(index, nobody)
    }
}

/// A list from which each entry can be removed. Neither the first one has a neighbour before it nor
/// the last one behind it, whatever is written there: to come or go alone, as most do, touches no
/// neighbours.
#[derive(Clone, Copy)]
pub(crate) struct Group {
    list: List,
}

impl Group {
    pub(crate) const EMPTY: Self = Self { list: List::EMPTY };

    pub(crate) fn first(&self) -> Option<u32> {
        self.list.first()
    }

    /// The entry behind `index`, which is in it.
    pub(crate) fn next(&self, all: &Neighbours, index: u32) -> Option<u32> {
        (index != self.list.tail).then(|| all.0[index].next)
    }

    /// Appends an entry, which is in no group.
    #[inline(always)]
    pub(crate) fn append(&mut self, all: &mut Neighbours, index: u32) {
        let last = core::mem::replace(&mut self.list.tail, index);
        if last == NONE {
            self.list.head = index;
        } else {
            all.0[last].next = index;
            all.0[index].prev = last;
        }
    }

    /// Removes an entry, which is in it.
    #[inline(always)]
    pub(crate) fn remove(&mut self, all: &mut Neighbours, index: u32) {
        match (index == self.list.head, index == self.list.tail) {
            (true, true) => self.list = List::EMPTY,
            (true, false) => self.list.head = all.0[index].next,
            (false, true) => self.list.tail = all.0[index].prev,
            (false, false) => {
                let Link { prev, next } = all.0[index];
                all.0[prev].next = next;
                all.0[next].prev = prev;
            }
        }
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

    struct Entry {
        queue: u32,
        chain: ChainLink,
    }

    impl Vacant for Entry {
        type Alignment = u32;

        const VACANT: Self = Self {
            queue: UNLINKED,
            chain: ChainLink::NONE,
        };
    }

    struct ByChain;

    impl Chained<Entry> for ByChain {
        fn of(entry: &mut Entry) -> &mut ChainLink {
            &mut entry.chain
        }
    }

    struct ByQueue;

    impl QueueLink<Entry> for ByQueue {
        fn of(entry: &mut Entry) -> &mut u32 {
            &mut entry.queue
        }
    }

    fn table() -> Slab<Entry> {
        let mut table = Slab::new(10);
        (0..10).for_each(|_| assert!(table.insert(Entry::VACANT).is_ok()));
        table
    }

    #[test]
    fn a_queue_gives_back_in_order_and_holds_nothing_twice() {
        let (mut queue, mut table) = (Queue::<_, ByQueue>::new(), table());
        for round in 0..3 {
            let pushed = [round, 5, 9, 5, round].map(|index| queue.push(&mut table, index));
            assert_eq!(pushed, [true, true, true, false, false]);
            assert_eq!(queue.pop(&mut table), Some(round));
            queue.push(&mut table, round);
            let rest: Vec<u32> = core::iter::from_fn(|| queue.pop(&mut table)).collect();
            assert_eq!(rest, [5, 9, round]);
        }
    }

    #[test]
    fn what_is_removed_from_a_chain_leaves_the_others_in_order() {
        let (mut chain, mut table) = (Chain::<ByChain>::EMPTY, table());
        for index in [3, 1, 4, 5, 9, 2, 6] {
            table[index].chain = chain.append(&mut table, index);
        }
        for index in [3, 5, 6] {
            let link = table[index].chain;
            chain.remove(&mut table, link);
        }
        let mut next = chain.first();
        let order = core::iter::from_fn(|| {
            let index = next?;
            next = Some(table[index].chain.next).filter(|&next| next != NONE);
            Some(index)
        });
        assert_eq!(order.collect::<Vec<u32>>(), [1, 4, 9, 2]);
    }

    #[test]
    fn a_group_agrees_with_a_list_whoever_comes_and_goes() {
        let mut all = Neighbours::new();
        all.ensure(99).unwrap();
        let mut groups = [Group::EMPTY; 4];
        let mut model: [Vec<u32>; 4] = Default::default();
        let mut random = 5_u32;
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let index = (random >> 8) % 100;
            let number = (random >> 30) as usize;
            match model.iter().position(|it| it.contains(&index)) {
                Some(number) => {
                    model[number].retain(|&it| it != index);
                    groups[number].remove(&mut all, index);
                }
                None if model[number].len() < 5 => {
                    model[number].push(index);
                    groups[number].append(&mut all, index);
                }
                None => {}
            }
            for (group, model) in groups.iter().zip(&model) {
                let mut next = group.first();
                let order = core::iter::from_fn(|| {
                    let index = next?;
                    next = group.next(&all, index);
                    Some(index)
                });
                assert!(order.eq(model.iter().copied()));
            }
        }
    }
}
