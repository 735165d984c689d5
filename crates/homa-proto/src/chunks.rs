//! A growable array whose entries never move and whose growth may fail. It decides nothing.
//!
//! *Design*: chunks of a few pages at most, so that growing costs one small allocation however long
//! the array is; a kernel can provide that, and no packet ever waits for a table to be copied.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

/// A table is at its limit, or there is no memory for its next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// An array on the heap, made there and not on a stack, which a kernel has little of.
pub(crate) fn boxed<T, const N: usize>(fill: impl FnMut() -> T) -> Result<Box<[T; N]>, Full> {
    let mut entries = Vec::new();
    entries.try_reserve_exact(N).map_err(|_| Full)?;
    entries.resize_with(N, fill);
    entries.into_boxed_slice().try_into().map_err(|_| Full)
}

/// Entries `0..len`, all of them valid, in chunks of `N`, a power of two: a position in a chunk then
/// needs no check.
pub(crate) struct Chunks<T, const N: usize = 128> {
    chunks: Vec<Box<[T; N]>>,
}

impl<T, const N: usize> Chunks<T, N> {
    pub(crate) const fn new() -> Self {
        const { assert!(N.is_power_of_two()) }
        Self { chunks: Vec::new() }
    }

    /// Number of entries.
    pub(crate) const fn len(&self) -> usize {
        self.chunks.len() * N
    }

    /// Adds a chunk of entries made by `fill`.
    pub(crate) fn grow(&mut self, fill: impl FnMut() -> T) -> Result<(), Full> {
        let chunk = boxed(fill)?;
        self.chunks.try_reserve(1).map_err(|_| Full)?;
        self.chunks.push(chunk);
        Ok(())
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        Some(&self.chunks.get(index / N)?[index % N])
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let index = index as usize;
        Some(&mut self.chunks.get_mut(index / N)?[index % N])
    }
}

impl<T: Copy, const N: usize> Chunks<T, N> {
    /// Makes entries `0..=index` valid; new ones are copies of `fill`.
    pub(crate) fn ensure(&mut self, index: u32, fill: T) -> Result<(), Full> {
        while index as usize >= self.len() {
            self.grow(|| fill)?;
        }
        Ok(())
    }
}

impl<T, const N: usize> Index<u32> for Chunks<T, N> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        let index = index as usize;
        &self.chunks[index / N][index % N]
    }
}

impl<T, const N: usize> IndexMut<u32> for Chunks<T, N> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        let index = index as usize;
        &mut self.chunks[index / N][index % N]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_over_many_chunks_keep_what_is_written() {
        let mut chunks: Chunks<u32> = Chunks::new();
        assert_eq!(chunks.ensure(5_000, 7), Ok(()));
        (0..5_000).for_each(|index| chunks[index] = index);
        assert_eq!(chunks.ensure(5_000, 8), Ok(()));
        assert!((0..5_000).all(|index| chunks[index] == index));
        assert_eq!(chunks[5_000], 7);
    }
}
