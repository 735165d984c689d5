//! A bounded table with dense indices and generations. It decides where an entry lies, nothing
//! about what it means.

use crate::chunks::{Chunks, Full};

/// "No entry", in links between entries.
pub(crate) const NONE: u32 = u32::MAX;

struct Slot<T> {
    generation: u32,
    /// Next free slot, when this one is free.
    next: u32,
    value: Option<T>,
}

/// Entries that keep their index, and their place in memory, until they are removed; in chunks of
/// `N`.
pub(crate) struct Slab<T, const N: usize = 32> {
    slots: Chunks<Slot<T>, N>,
    free: u32,
    used: u32,
    len: u32,
    limit: u32,
}

impl<T, const N: usize> Slab<T, N> {
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

    /// One above the largest index ever used.
    pub(crate) const fn end_index(&self) -> u32 {
        self.used
    }

    /// The index that [`insert`](Self::insert) will give out next: the one freed last, so that
    /// memory stays warm.
    pub(crate) fn vacancy(&mut self) -> Result<u32, Full> {
        if self.len == self.limit {
            return Err(Full);
        }
        if self.free != NONE {
            return Ok(self.free);
        }
        if self.used as usize == self.slots.len() {
            self.slots.grow(|| Slot {
                generation: 0,
                next: NONE,
                value: None,
            })?;
        }
        Ok(self.used)
    }

    /// Stores `value` and returns its index.
    pub(crate) fn insert(&mut self, value: T) -> Result<u32, Full> {
        let index = self.vacancy()?;
        let slot = &mut self.slots[index];
        slot.value = Some(value);
        if index == self.free {
            self.free = slot.next;
        } else {
            self.used += 1;
        }
        self.len += 1;
        Ok(index)
    }

    /// Removes an entry; its index may be given out again, its generation is not.
    pub(crate) fn remove(&mut self, index: u32) {
        let free = self.free;
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if slot.value.is_none() {
            return;
        }
        slot.value = None;
        slot.generation = slot.generation.wrapping_add(1);
        slot.next = free;
        self.free = index;
        self.len -= 1;
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index)?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index)?.value.as_mut()
    }

    /// The entry at `index`, which an invariant keeps alive, and its generation.
    #[inline]
    pub(crate) fn entry(&mut self, index: u32) -> (u32, &mut T) {
        let slot = &mut self.slots[index];
        let value = slot.value.as_mut();
        (slot.generation, value.expect("links lead to live entries"))
    }

    /// Generation of the entry at `index`, if there is one.
    pub(crate) fn generation(&self, index: u32) -> Option<u32> {
        let slot = self.slots.get(index)?;
        slot.value.as_ref().map(|_| slot.generation)
    }
}

impl<T, const N: usize> core::ops::Index<u32> for Slab<T, N> {
    type Output = T;

    /// For indices that an invariant keeps alive.
    #[inline]
    fn index(&self, index: u32) -> &T {
        let value = self.slots[index].value.as_ref();
        value.expect("links lead to live entries")
    }
}

impl<T, const N: usize> core::ops::IndexMut<u32> for Slab<T, N> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        let value = self.slots[index].value.as_mut();
        value.expect("links lead to live entries")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_entry_gives_its_index_back_under_a_new_generation() {
        let mut slab: Slab<_> = Slab::new(2);
        let first = slab.insert('a').unwrap();
        let generation = slab.generation(first);
        slab.remove(first);
        assert_eq!(slab.generation(first), None);
        let second = slab.insert('b').unwrap();
        assert_eq!(first, second);
        assert_ne!(generation, slab.generation(second));
    }

    #[test]
    fn a_full_slab_refuses_and_keeps_what_it_has() {
        let mut slab: Slab<_> = Slab::new(300);
        for i in 0..300 {
            assert_eq!(slab.insert(i), Ok(i));
        }
        assert_eq!(slab.insert(300), Err(Full));
        assert!((0..300).all(|i| slab[i] == i));
    }
}
