//! Priority queues through an array of nodes: leftist heaps, smallest key first. Any entry can be
//! removed or given a new key in O(log n) amortised; nothing is allocated but the array's growth.
//!
//! *Design*: a binary heap in a vector would have to be grown by copying and needs a second array
//! to find an entry; many heaps can share these nodes (one per sender in the granter).

use crate::chunks::{Chunks, Full};
use crate::slab::NONE;

/// What a heap is ordered by: the first number, then the second (age) among equals.
pub(crate) type Key = (u32, u64);

/// There are five of these for each RPC, so that it counts that a key is not aligned to eight bytes.
#[derive(Clone, Copy)]
struct Node {
    first: u32,
    second: [u32; 2],
    parent: u32,
    left: u32,
    right: u32,
    /// Length of the right spine, itself counted; 0: in no heap.
    rank: u32,
}

const ABSENT: Node = Node {
    first: 0,
    second: [0; 2],
    parent: NONE,
    left: NONE,
    right: NONE,
    rank: 0,
};

impl Node {
    const fn key(&self) -> Key {
        let [high, low] = self.second;
        (self.first, (high as u64) << 32 | low as u64)
    }

    const fn set_key(&mut self, (first, second): Key) {
        self.first = first;
        self.second = [(second >> 32) as u32, second as u32];
    }
}

/// The nodes of all entries that may be in heaps of this kind.
pub(crate) struct Nodes(Chunks<Node>);

/// One heap; its nodes lie in a [`Nodes`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heap {
    root: u32,
}

impl Heap {
    pub(crate) const EMPTY: Self = Self { root: NONE };

    /// The entry with the smallest key.
    pub(crate) fn first(&self) -> Option<u32> {
        (self.root != NONE).then_some(self.root)
    }
}

impl Nodes {
    pub(crate) const fn new() -> Self {
        Self(Chunks::new())
    }

    /// Makes room for entry `index`.
    pub(crate) fn ensure(&mut self, index: u32) -> Result<(), Full> {
        self.0.ensure(index, ABSENT)
    }

    pub(crate) fn contains(&self, index: u32) -> bool {
        self.0[index].rank != 0
    }

    /// Key of an entry that is in a heap.
    pub(crate) fn key(&self, index: u32) -> Key {
        self.0[index].key()
    }

    /// Inserts `index`, or moves it to its new place.
    pub(crate) fn set(&mut self, heap: &mut Heap, index: u32, key: Key) {
        let node = &mut self.0[index];
        if node.rank != 0 {
            let rises = heap.root == index && key < node.key();
            if rises || node.key() == key {
                // Mostly what is served gets nearer to its end, and stays the first.
                node.set_key(key);
                return;
            }
            self.remove(heap, index);
        }
        let node = &mut self.0[index];
        *node = Node { rank: 1, ..ABSENT };
        node.set_key(key);
        heap.root = self.merge(heap.root, index);
        self.0[heap.root].parent = NONE;
    }

    /// Takes `index` out of `heap` if it is in it.
    pub(crate) fn remove(&mut self, heap: &mut Heap, index: u32) {
        if !self.contains(index) {
            return;
        }
        let node = self.0[index];
        let below = self.merge(node.left, node.right);
        self.0[index] = ABSENT;
        if below != NONE {
            self.0[below].parent = node.parent;
        }
        if node.parent == NONE {
            debug_assert_eq!(heap.root, index, "an entry is removed from its own heap");
            heap.root = below;
            return;
        }
        if self.0[node.parent].left == index {
            self.0[node.parent].left = below;
        } else {
            self.0[node.parent].right = below;
        }
        self.repair(node.parent);
    }

    fn rank(&self, index: u32) -> u32 {
        if index == NONE { 0 } else { self.0[index].rank }
    }

    /// Makes the left side of `index` at least as long as the right; returns whether its rank
    /// changed.
    fn settle(&mut self, index: u32) -> bool {
        let node = self.0[index];
        let (left, right) = (self.rank(node.left), self.rank(node.right));
        if left < right {
            self.0[index].left = node.right;
            self.0[index].right = node.left;
        }
        let rank = left.min(right) + 1;
        self.0[index].rank = rank;
        rank != node.rank
    }

    /// Settles from `index` upwards, as far as ranks change.
    fn repair(&mut self, mut index: u32) {
        while index != NONE && self.settle(index) {
            index = self.0[index].parent;
        }
    }

    /// Joins two heaps; returns the root. Walks down the two right spines, each at most log₂ n
    /// long, then back up.
    fn merge(&mut self, a: u32, b: u32) -> u32 {
        if a == NONE || b == NONE {
            return if a == NONE { b } else { a };
        }
        let (root, mut other) = self.order(a, b);
        let mut top = root;
        loop {
            let right = self.0[top].right;
            if right == NONE {
                self.0[top].right = other;
                self.0[other].parent = top;
                break;
            }
            let (first, second) = self.order(right, other);
            self.0[top].right = first;
            self.0[first].parent = top;
            (top, other) = (first, second);
        }
        // On the way down children were exchanged, so every node of the path is settled.
        while top != root {
            self.settle(top);
            top = self.0[top].parent;
        }
        self.settle(root);
        root
    }

    fn order(&self, a: u32, b: u32) -> (u32, u32) {
        if self.0[b].key() < self.0[a].key() {
            (b, a)
        } else {
            (a, b)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    /// Checks order, parents and ranks below `index`; returns its rank.
    fn check(nodes: &Nodes, index: u32, parent: u32) -> u32 {
        if index == NONE {
            return 0;
        }
        let node = nodes.0[index];
        assert_eq!(node.parent, parent);
        assert!(parent == NONE || nodes.0[parent].key() <= node.key());
        let left = check(nodes, node.left, index);
        let right = check(nodes, node.right, index);
        assert!(left >= right);
        assert_eq!(node.rank, right + 1);
        node.rank
    }

    #[test]
    fn keys_are_told_as_they_were_set_and_nodes_have_no_gaps() {
        let mut node = ABSENT;
        node.set_key((7, 0x1_0000_0002));
        assert_eq!(node.key(), (7, 0x1_0000_0002));
        assert_eq!(size_of::<Node>(), 28);
    }

    #[test]
    fn a_heap_agrees_with_a_sorted_set_whatever_is_inserted_changed_or_removed() {
        let mut nodes = Nodes::new();
        nodes.ensure(499).unwrap();
        let mut heap = Heap::EMPTY;
        let mut model = BTreeSet::new();
        let mut random = 7_u64;
        for step in 0..30_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let index = (random >> 33) as u32 % 500;
            let key = ((random >> 50) as u32, u64::from(index));
            if nodes.contains(index) {
                model.remove(&(nodes.key(index), index));
            }
            if random >> 62 == 0 {
                nodes.remove(&mut heap, index);
            } else {
                nodes.set(&mut heap, index, key);
                model.insert((key, index));
            }
            assert_eq!(heap.first(), model.first().map(|&(_, index)| index));
            if step % 100 == 0 {
                check(&nodes, heap.root, NONE);
            }
        }
    }
}
