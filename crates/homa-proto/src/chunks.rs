//! A growable array whose entries never move and whose growth may fail. It decides nothing.
//!
//! *Design*: chunks of at most a page, so that growing costs one small allocation however long
//! the array is; a kernel can provide that, and no packet ever waits for a table to be copied.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

/// A table is at its limit, or there is no memory for its next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Bytes of a chunk, at most, unless a single entry is larger.
const CHUNK_BYTES: usize = 4096;

/// Entries a chunk, as a power of two, so that an index is split by shift and mask.
pub(crate) const fn shift(entry_bytes: usize) -> u32 {
    match (CHUNK_BYTES / entry_bytes).checked_ilog2() {
        Some(shift) => shift,
        None => 0,
    }
}

/// Entries `0..len`, all of them valid.
pub(crate) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
}

impl<T: Copy> Chunks<T> {
    const SHIFT: u32 = shift(size_of::<T>());
    const MASK: usize = (1 << Self::SHIFT) - 1;

    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    /// Makes entries `0..=index` valid; new ones are copies of `fill`.
    pub(crate) fn ensure(&mut self, index: u32, fill: T) -> Result<(), Full> {
        while index as usize >= self.chunks.len() << Self::SHIFT {
            let mut chunk = Vec::new();
            chunk
                .try_reserve_exact(1 << Self::SHIFT)
                .map_err(|_| Full)?;
            chunk.resize(1 << Self::SHIFT, fill);
            self.chunks.try_reserve(1).map_err(|_| Full)?;
            self.chunks.push(chunk);
        }
        Ok(())
    }
}

impl<T: Copy> Index<u32> for Chunks<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        let index = index as usize;
        &self.chunks[index >> Self::SHIFT][index & Self::MASK]
    }
}

impl<T: Copy> IndexMut<u32> for Chunks<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        let index = index as usize;
        &mut self.chunks[index >> Self::SHIFT][index & Self::MASK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_fills_a_page_as_well_as_a_power_of_two_can_and_holds_at_least_one_entry() {
        let entries = [1, 40, 64, 1_366, 2_048, 4_096, 9_000].map(|bytes| 1 << shift(bytes));
        assert_eq!(entries, [4_096, 64, 64, 2, 2, 1, 1]);
    }

    #[test]
    fn entries_over_many_chunks_keep_what_is_written() {
        let mut chunks = Chunks::new();
        assert_eq!(chunks.ensure(5_000, 7_u32), Ok(()));
        (0..5_000).for_each(|index| chunks[index] = index);
        assert_eq!(chunks.ensure(5_000, 8), Ok(()));
        assert!((0..5_000).all(|index| chunks[index] == index));
        assert_eq!(chunks[5_000], 7);
    }
}
