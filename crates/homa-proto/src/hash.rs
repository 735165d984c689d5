//! Keyed hashing and an index from hashes to table entries.
//!
//! A peer chooses ids and addresses, so every hash is keyed. What others get to see is made by
//! SipHash-1-3, whose outputs tell nothing about others; where an entry lies in a table nobody sees,
//! and there a multiplication is enough. The index grows one bucket at a time (linear hashing), so
//! that no packet waits for a table to be rehashed.

use crate::chunks::{Chunks, Full};
use crate::slab::NONE;

/// A SipHash key.
#[derive(Clone, Copy)]
pub(crate) struct Key(pub(crate) [u64; 2]);

impl Key {
    /// SipHash-1-3 of a sequence of words (the length is that of the type, so it needs no
    /// padding rule).
    pub(crate) fn hash<const N: usize>(&self, words: [u64; N]) -> u64 {
        let [k0, k1] = self.0;
        let mut v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        for word in words {
            v[3] ^= word;
            round(&mut v);
            v[0] ^= word;
        }
        v[2] ^= 0xff;
        for _ in 0..3 {
            round(&mut v);
        }
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

/// The key of a table's hash.
#[derive(Clone, Copy)]
pub(crate) struct TableKey([u64; 2]);

impl TableKey {
    /// A table's key, made of one that is used for nothing else.
    pub(crate) fn new(key: Key) -> Self {
        // An even factor would lose bits.
        Self([key.hash([0]), key.hash([1]) | 1])
    }

    /// Both halves of the product of two words, each hidden by a secret, two by two; of the last by
    /// itself the secret factor is the other.
    #[inline]
    pub(crate) fn hash<const N: usize>(self, words: [u64; N]) -> u64 {
        let Self([start, factor]) = self;
        let (pairs, last) = words.as_chunks();
        let state = pairs.iter().fold(start, |state, &[one, other]| {
            multiply(state ^ one, factor ^ other)
        });
        last.iter()
            .fold(state, |state, word| multiply(state ^ word, factor))
    }
}

#[inline]
fn multiply(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

/// Finds table indices by hash. Entries are chained through an array parallel to the table; their
/// hashes are told by whoever has the table, when they are asked for.
pub(crate) struct HashIndex {
    heads: Chunks<u32>,
    /// For each entry the one behind it in its bucket.
    next: Chunks<u32>,
    /// Buckets in use; grows by one whenever there are as many entries.
    buckets: u32,
    /// One below the smallest power of two that holds all buckets.
    mask: u32,
    len: u32,
}

impl HashIndex {
    pub(crate) fn new() -> Result<Self, Full> {
        let mut heads = Chunks::new();
        heads.ensure(0, NONE)?;
        Ok(Self {
            heads,
            next: Chunks::new(),
            buckets: 1,
            mask: 0,
            len: 0,
        })
    }

    /// Makes room for entry `index`.
    pub(crate) fn ensure(&mut self, index: u32) -> Result<(), Full> {
        self.next.ensure(index, NONE)
    }

    /// Makes room for entries below `count`, and for as many buckets.
    pub(crate) fn reserve(&mut self, count: u32) -> Result<(), Full> {
        if let Some(last) = count.checked_sub(1) {
            self.ensure(last)?;
        }
        self.heads.ensure(count, NONE)
    }

    /// The bucket of `hash`: by the smallest power of two that holds all buckets, halved for
    /// those that do not exist yet.
    #[inline]
    fn bucket(&self, hash: u32) -> u32 {
        let wide = hash & self.mask;
        if wide < self.buckets {
            wide
        } else {
            wide & (self.mask >> 1)
        }
    }

    /// The entry for which `is_it` holds, among those of this hash and some others: mostly the first
    /// that is looked at, so that comparing the hashes ahead would only cost a look more.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut index = self.heads[self.bucket(fold(hash))];
        while index != NONE && !is_it(index) {
            index = self.next[index];
        }
        (index != NONE).then_some(index)
    }

    /// Adds `index`, for which there must be room. `hash_of` tells the hashes of all that are in.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, index: u32, hash_of: impl Fn(u32) -> u64) {
        // Without memory for another bucket chains get longer, and that is all.
        if self.len >= self.buckets && self.heads.ensure(self.buckets, NONE).is_ok() {
            self.split(hash_of);
        }
        self.link(hash, index);
        self.len += 1;
    }

    #[inline]
    fn link(&mut self, hash: u64, index: u32) {
        let bucket = self.bucket(fold(hash));
        self.next[index] = self.heads[bucket];
        self.heads[bucket] = index;
    }

    /// Adds a bucket and moves into it what belongs there, all from one other bucket.
    fn split(&mut self, hash_of: impl Fn(u32) -> u64) {
        let new = self.buckets;
        self.mask = (new + 1).next_power_of_two() - 1;
        let old = new & (self.mask >> 1);
        self.heads[new] = NONE;
        self.buckets += 1;
        let mut index = core::mem::replace(&mut self.heads[old], NONE);
        while index != NONE {
            let next = self.next[index];
            self.link(hash_of(index), index);
            index = next;
        }
    }

    /// Takes `index` out, which has this hash.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u64, index: u32) {
        let next = self.next[index];
        let bucket = self.bucket(fold(hash));
        if self.heads[bucket] == index {
            self.heads[bucket] = next;
        } else {
            let mut before = self.heads[bucket];
            while self.next[before] != index {
                before = self.next[before];
            }
            self.next[before] = next;
        }
        self.len -= 1;
    }
}

fn fold(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_index_finds_what_is_in_it_and_nothing_else_while_it_grows() {
        let key = TableKey::new(Key([1, 2]));
        let mut index = HashIndex::new().unwrap();
        index.ensure(9_999).unwrap();
        let hashes: Vec<u64> = (0..10_000).map(|i| key.hash([i])).collect();
        for i in 0..10_000_u32 {
            index.insert(hashes[i as usize], i, |i| hashes[i as usize]);
            if i % 3 == 0 {
                index.remove(hashes[i as usize], i);
            }
        }
        for i in 0..10_000_u32 {
            let found = index.find(hashes[i as usize], |at| at == i);
            assert_eq!(found.is_some(), i % 3 != 0, "{i}");
        }
        assert_eq!(index.buckets.next_power_of_two(), 8_192);
    }

    #[test]
    fn the_hash_is_siphash_1_3_of_the_words_as_bytes() {
        // Vectors of the reference implementation: its padding, the length of the message in the
        // top byte, is given here as one more word.
        let key = Key([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        assert_eq!(key.hash([0]), 0xabac_0158_050f_c4dc);
        let words = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908, 16 << 56];
        assert_eq!(key.hash(words), 0xcc4f_dd1a_7d90_8b66);
    }

    #[test]
    fn another_key_gives_another_hash() {
        let (one, other) = (Key([1, 2]), Key([1, 3]));
        assert_ne!(one.hash([5]), other.hash([5]));
        assert_ne!(TableKey::new(one).hash([5]), TableKey::new(other).hash([5]));
    }
    #[test]
    fn every_bit_of_every_word_counts_in_the_hash_of_a_table() {
        let key = TableKey::new(Key([1, 2]));
        for place in 0..2 {
            for bit in 0..64 {
                let mut words = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
                let before = key.hash(words);
                words[place] ^= 1 << bit;
                assert_ne!(key.hash(words), before, "bit {bit} of word {place}");
            }
        }
    }
    #[test]
    fn every_bit_of_a_tables_hash_is_set_for_half_of_the_words() {
        let key = TableKey::new(Key([1, 2]));
        for bit in 0..64 {
            let set = (0..10_000).filter(|&word| key.hash([word]) >> bit & 1 == 1);
            let count = set.count();
            assert!((4_500..5_500).contains(&count), "bit {bit}: {count}");
        }
    }
}
