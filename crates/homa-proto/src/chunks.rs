//! A growable array whose entries never move and whose growth may fail. It decides nothing.
//!
//! *Design*: chunks of at most a page, so that growing costs one small allocation however long
//! the array is; a kernel can provide that, and no packet ever waits for a table to be copied.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

/// A table is at its limit, or there is no memory for its next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Bytes of a chunk, at most.
const CHUNK_BYTES: usize = 4096;

/// Entries `0..len`, all of them valid.
pub(crate) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
}

impl<T: Copy> Chunks<T> {
    /// Entries a chunk, as a power of two.
    const SHIFT: u32 = {
        let size = if size_of::<T>() == 0 {
            1
        } else {
            size_of::<T>()
        };
        let fit = CHUNK_BYTES / size;
        if fit < 2 { 0 } else { fit.ilog2() }
    };
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
