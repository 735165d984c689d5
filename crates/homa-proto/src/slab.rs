//! A bounded table with dense indices and generations. It decides where an entry lies, nothing
//! about what it means.

use crate::chunks::{Chunks, Full};

/// "No entry", in links between entries.
pub(crate) const NONE: u32 = u32::MAX;

/// What fills a place that is not in use. An `Option` would say the same, but be looked at with every
/// access, although whoever holds an index knows that there is an entry.
pub(crate) trait Vacant {
    const VACANT: Self;

    /// A type by which places are aligned: [`Line`], where they fill lines of the cache that way and no
    /// look needs one line more than another.
    type Alignment;
}

/// Aligned as lines of the cache are.
#[repr(align(64))]
pub(crate) struct Line;

#[repr(C)]
struct Slot<T: Vacant> {
    alignment: [T::Alignment; 0],
    /// Odd: the place is in use.
    generation: u32,
    /// Next free slot, when this one is free.
    next: u32,
    value: T,
}

impl<T: Vacant> Slot<T> {
    const fn is_used(&self) -> bool {
        self.generation & 1 == 1
    }
}

/// Entries that keep their index, and their place in memory, until they are removed; in chunks of
/// `N`.
pub(crate) struct Slab<T: Vacant, const N: usize = 32> {
    slots: Chunks<Slot<T>, N>,
    free: u32,
    used: u32,
    len: u32,
    limit: u32,
}

impl<T: Vacant, const N: usize> Slab<T, N> {
    /// A table of at most `limit` entries.
    pub(crate) const fn new(limit: u32) -> Self {
        Self {
            slots: Chunks::new(),
            free: NONE,
            used: 0,
            len: 0,
            limit,
        }
    }

    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// Whether another entry may be inserted, memory permitting.
    pub(crate) const fn has_room(&self) -> bool {
        self.len < self.limit
    }

    /// How many may be.
    pub(crate) const fn room(&self) -> u32 {
        self.limit - self.len
    }

    /// Bytes between two entries.
    #[cfg(test)]
    pub(crate) const fn stride() -> usize {
        size_of::<Slot<T>>()
    }

    /// Entries that it has memory for.
    pub(crate) const fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    /// One above the largest index ever used.
    pub(crate) const fn end_index(&self) -> u32 {
        self.used
    }

    /// Removes the entry at `index`, which an invariant keeps alive, and shows what it was; its
    /// index may be given out again, its generation is not.
    #[inline]
    pub(crate) fn remove(&mut self, index: u32) -> &mut T {
        let slot = &mut self.slots[index];
        debug_assert!(slot.is_used(), "an entry is removed once");
        slot.generation = slot.generation.wrapping_add(1);
        slot.next = self.free;
        self.free = index;
        self.len -= 1;
        &mut slot.value
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let slot = self.slots.get(index)?;
        slot.is_used().then_some(&slot.value)
    }

    /// The entry at `index`, if there is one, and its generation.
    pub(crate) fn entry_at(&self, index: u32) -> Option<(u32, &T)> {
        let slot = self.slots.get(index).filter(|slot| slot.is_used())?;
        Some((slot.generation, &slot.value))
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn used(&mut self, index: u32) -> Option<(u32, &mut T)> {
        let slot = self.slots.get_mut(index)?;
        slot.is_used().then_some((slot.generation, &mut slot.value))
    }

    /// The entry at `index`, which an invariant keeps alive, and its generation.
    #[inline]
    pub(crate) fn entry(&mut self, index: u32) -> (u32, &mut T) {
        let slot = &mut self.slots[index];
        debug_assert!(slot.is_used(), "links lead to live entries");
        (slot.generation, &mut slot.value)
    }

    /// What lies at `index`, be it in use or not.
    #[inline]
    pub(crate) fn lies_at(&self, index: u32) -> &T {
        &self.slots[index].value
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn at(&mut self, index: u32) -> &mut T {
        &mut self.slots[index].value
    }

    /// What lies at `index`, be it in use or not, and its generation.
    #[inline]
    pub(crate) fn place(&mut self, index: u32) -> (u32, &mut T) {
        let slot = &mut self.slots[index];
        (slot.generation, &mut slot.value)
    }

    /// Whether there is an entry at `index` and it has this generation.
    pub(crate) fn is_named(&self, index: u32, generation: u32) -> bool {
        let slot = self.slots.get(index);
        slot.is_some_and(|slot| slot.is_used() && slot.generation == generation)
    }

    /// The entry at `index`, if there is one and it has this generation.
    #[inline]
    pub(crate) fn named(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        let slot = self.slots.get_mut(index)?;
        (slot.is_used() && slot.generation == generation).then_some(&mut slot.value)
    }
}

impl<T: Vacant, const N: usize> Slab<T, N> {
    /// The index that [`insert`](Self::insert) will give out next: the one freed last, so that
    /// memory stays warm.
    #[inline]
    pub(crate) fn vacancy(&mut self) -> Result<u32, Full> {
        if self.len == self.limit {
            return Err(Full);
        }
        if self.free != NONE {
            return Ok(self.free);
        }
        if self.used == self.capacity() {
            self.grow()?;
        }
        Ok(self.used)
    }

    /// Gets memory for `more` entries than there are, as far as the limit goes; the indices of so many
    /// are below what is returned.
    pub(crate) fn reserve(&mut self, more: u32) -> Result<u32, Full> {
        let wanted = self.len + more.min(self.room());
        while self.capacity() < wanted {
            self.grow()?;
        }
        Ok(wanted.max(self.used))
    }

    #[cold]
    fn grow(&mut self) -> Result<(), Full> {
        self.slots.grow(|| Slot {
            alignment: [],
            generation: 0,
            next: NONE,
            value: T::VACANT,
        })
    }

    /// Stores `value` and returns its index.
    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> Result<u32, Full> {
        let index = self.vacancy()?;
        *self.occupy(index).1 = value;
        Ok(index)
    }

    /// Takes the place at [`vacancy`](Self::vacancy), under a new generation; whoever does fills it.
    #[inline(always)]
    pub(crate) fn occupy(&mut self, index: u32) -> (u32, &mut T) {
        let slot = &mut self.slots[index];
        debug_assert!(!slot.is_used(), "a vacancy is free");
        if index == self.free {
            self.free = slot.next;
        } else {
            self.used += 1;
        }
        self.len += 1;
        slot.generation = slot.generation.wrapping_add(1);
        (slot.generation, &mut slot.value)
    }
}

impl<T: Vacant, const N: usize> core::ops::Index<u32> for Slab<T, N> {
    type Output = T;

    /// For indices that an invariant keeps alive.
    #[inline]
    fn index(&self, index: u32) -> &T {
        let slot = &self.slots[index];
        debug_assert!(slot.is_used(), "links lead to live entries");
        &slot.value
    }
}

impl<T: Vacant, const N: usize> core::ops::IndexMut<u32> for Slab<T, N> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        let slot = &mut self.slots[index];
        debug_assert!(slot.is_used(), "links lead to live entries");
        &mut slot.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Vacant for u32 {
        type Alignment = Self;
        const VACANT: Self = 0;
    }

    #[test]
    fn a_removed_entry_gives_its_index_back_under_a_new_generation() {
        let mut slab: Slab<u32> = Slab::new(2);
        let first = slab.insert(7).unwrap();
        let (generation, _) = slab.entry(first);
        assert_eq!(slab.named(first, generation), Some(&mut 7));
        slab.remove(first);
        let (free, _) = slab.place(first);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.named(first, generation), None);
        assert_eq!(slab.named(first, free), None);
        let second = slab.insert(8).unwrap();
        assert_eq!(first, second);
        assert_eq!(slab.named(second, generation), None);
    }

    #[test]
    fn a_full_slab_refuses_and_keeps_what_it_has() {
        let mut slab: Slab<u32> = Slab::new(300);
        for i in 0..300 {
            assert_eq!(slab.insert(i), Ok(i));
        }
        assert_eq!(slab.insert(300), Err(Full));
        assert!((0..300).all(|i| slab[i] == i));
    }
}
