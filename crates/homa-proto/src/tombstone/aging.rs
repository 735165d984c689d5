//! Tables of what is remembered for a while after it was last needed. Decides when an entry is looked
//! at, and forgets it when it may go; what it means is decided by whoever keeps it.

use core::ops::{Index, IndexMut};

use crate::chunks::Full;
use crate::hash::HashIndex;
use crate::list::{Queue, QueueLink, UNLINKED};
use crate::slab::{Slab, Vacant};
use crate::time::Instant;

/// How long an entry is kept.
#[derive(Clone, Copy)]
pub(super) struct Age {
    /// When it may go, if nothing needs it.
    expires: Instant,
    /// When it is looked at.
    turn: Instant,
    /// Its place in the queue of those that are.
    queued: u32,
    /// By which it is found: half of its hash.
    hash: u32,
}

impl Age {
    pub(super) const NEW: Self = Self {
        expires: Instant::ZERO,
        turn: Instant::ZERO,
        queued: UNLINKED,
        hash: 0,
    };

    /// Its hash, as far as it counts.
    fn hash(&self) -> u64 {
        u64::from(self.hash) << 32
    }
}

/// What is remembered of a peer.
pub(super) trait Aged: Vacant {
    fn age(&self) -> &Age;
    fn age_mut(&mut self) -> &mut Age;
    fn peer(&self) -> u32;
    /// Whether something under way needs it.
    fn is_live(&self) -> bool;
}

struct ByAge;

impl<T: Aged> QueueLink<T> for ByAge {
    #[inline]
    fn of(entry: &mut T) -> &mut u32 {
        &mut entry.age_mut().queued
    }
}

/// A table of entries that are found by hash.
pub(super) struct Aging<T: Aged> {
    slab: Slab<T>,
    index: HashIndex,
    /// Places whose entry nothing needed once, in the order in which they are looked at: an entry that
    /// was needed again since then, or another one at that place, is found out when the turn comes.
    old: Queue<T, ByAge>,
    /// When the first of them is looked at: a question after every packet, to an entry that nobody
    /// else looks at.
    first_turn: Instant,
}

impl<T: Aged> Aging<T> {
    pub(super) fn new(limit: u32) -> Result<Self, Full> {
        Ok(Self {
            slab: Slab::new(limit),
            index: HashIndex::new()?,
            old: Queue::new(),
            first_turn: Instant::ZERO,
        })
    }

    pub(super) const fn len(&self) -> u32 {
        self.slab.len()
    }

    /// Entries that there is memory for.
    pub(super) const fn capacity(&self) -> u32 {
        self.slab.capacity()
    }

    /// Makes room for `more` entries than there are, as far as the limit goes.
    pub(super) fn reserve(&mut self, more: u32) -> Result<(), Full> {
        let count = self.slab.reserve(more)?;
        self.index.reserve(count)
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.slab.get(index)
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<u32> {
        self.index.find(hash, |index| is_it(&self.slab[index]))
    }

    pub(super) fn insert(&mut self, hash: u64, entry: T) -> Result<u32, Full> {
        let index = self.slab.vacancy()?;
        self.index.ensure(index)?;
        let (_, place) = self.slab.occupy(index);
        // The place may still have its turn for what lay there before.
        let age = *place.age();
        *place = entry;
        *place.age_mut() = Age {
            hash: (hash >> 32) as u32,
            ..age
        };
        let slab = &self.slab;
        self.index
            .insert(hash, index, |index| slab[index].age().hash());
        Ok(index)
    }

    pub(super) fn remove(&mut self, index: u32) {
        let hash = self.slab[index].age().hash();
        self.index.remove(hash, index);
        self.slab.remove(index);
    }

    /// Nothing needs an entry any more; it may go at `end`.
    #[inline]
    pub(super) fn keep_until(&mut self, index: u32, end: Instant) {
        self.slab[index].age_mut().expires = end;
        self.queue(index);
    }

    /// Has an entry looked at when it may go, unless it has its turn already.
    #[inline]
    fn queue(&mut self, index: u32) {
        let entry = &mut self.slab[index];
        if !Queue::<_, ByAge>::enter(entry) {
            return;
        }
        let turn = entry.age().expires;
        entry.age_mut().turn = turn;
        self.old.append(&mut self.slab, index);
        if self.old.first() == Some(index) {
            self.first_turn = turn;
        }
    }

    /// The place whose turn comes first.
    fn pop(&mut self) -> Option<u32> {
        let index = self.old.pop(&mut self.slab)?;
        if let Some(first) = self.old.first() {
            self.first_turn = self.slab.lies_at(first).age().turn;
        }
        Some(index)
    }

    /// When the next entry is looked at.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        self.old.first()?;
        Some(self.first_turn)
    }

    /// Looks at the place whose turn has come, and forgets what lies there if it may go; `None`: it is
    /// nobody's turn, else of which peer something was forgotten.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Option<u32>> {
        if self.next_turn()? > now {
            return None;
        }
        let index = self.pop()?;
        let entry = self.slab.used(index).map(|(_, entry)| entry);
        let Some(entry) = entry.filter(|entry| !entry.is_live()) else {
            // It comes back when nothing needs it.
            return Some(None);
        };
        let peer = entry.peer();
        if entry.age().expires > now {
            self.queue(index);
            return Some(None);
        }
        self.remove(index);
        Some(Some(peer))
    }
}

impl<T: Aged> Index<u32> for Aging<T> {
    type Output = T;

    /// For indices that an invariant keeps alive.
    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.slab[index]
    }
}

impl<T: Aged> IndexMut<u32> for Aging<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.slab[index]
    }
}
