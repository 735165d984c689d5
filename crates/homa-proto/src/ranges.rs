//! Sets of byte ranges, many of them in one bounded table: the gaps of messages being received and
//! the parts of sent messages to send again. No bytes.

use core::ops::Range;

use crate::chunks::Full;
use crate::slab::{NONE, Slab, Vacant};

#[derive(Clone, Copy)]
struct Node {
    start: u32,
    end: u32,
    next: u32,
}

impl Vacant for Node {
    type Alignment = u32;

    const VACANT: Self = Self {
        start: 0,
        end: 0,
        next: NONE,
    };
}

/// The ranges of all sets.
pub(crate) struct Ranges {
    nodes: Slab<Node>,
    /// Most ranges of one set.
    limit: u16,
}

/// Disjoint ranges in ascending order; they lie in a [`Ranges`], to which they must be given back
/// by [`Ranges::clear`].
#[derive(Debug)]
pub(crate) struct RangeSet {
    head: u32,
    count: u16,
}

impl RangeSet {
    pub(crate) const EMPTY: Self = Self {
        head: NONE,
        count: 0,
    };

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Ranges {
    /// Room for `total` ranges, `limit` of them in one set.
    pub(crate) fn new(total: u32, limit: u16) -> Self {
        Self {
            nodes: Slab::new(total),
            limit,
        }
    }

    /// Ranges in use, over all sets.
    pub(crate) fn len(&self) -> u32 {
        self.nodes.len()
    }

    pub(crate) fn iter<'a>(&'a self, set: &RangeSet) -> impl Iterator<Item = Range<u32>> + use<'a> {
        let mut at = set.head;
        core::iter::from_fn(move || {
            let node = *self.nodes.get(at)?;
            at = node.next;
            Some(node.start..node.end)
        })
    }

    /// Whether taking `part` out would leave a range more than there were.
    pub(crate) fn would_split(&self, set: &RangeSet, part: &Range<u32>) -> bool {
        self.iter(set)
            .take_while(|range| range.start < part.start)
            .any(|range| part.end < range.end)
    }

    /// Whether another range may be added to the set.
    pub(crate) fn has_room(&self, set: &RangeSet) -> bool {
        set.count < self.limit && self.nodes.has_room()
    }

    fn insert_behind(
        &mut self,
        set: &mut RangeSet,
        before: u32,
        range: Range<u32>,
    ) -> Result<(), Full> {
        if !self.has_room(set) {
            return Err(Full);
        }
        let next = self.nodes.get(before).map_or(set.head, |node| node.next);
        let index = self.nodes.insert(Node {
            start: range.start,
            end: range.end,
            next,
        })?;
        self.set_next(set, before, index);
        set.count += 1;
        Ok(())
    }

    fn remove_behind(&mut self, set: &mut RangeSet, before: u32) {
        let index = self.nodes.get(before).map_or(set.head, |node| node.next);
        if index == NONE {
            return;
        }
        let next = self.nodes.remove(index).next;
        self.set_next(set, before, next);
        set.count -= 1;
    }

    /// Has the range behind `before`, which is the first one if that is `NONE`, be `next`.
    fn set_next(&mut self, set: &mut RangeSet, before: u32, next: u32) {
        if before == NONE {
            set.head = next;
        } else {
            self.nodes[before].next = next;
        }
    }

    /// Adds `range`, joined with what it touches.
    pub(crate) fn add(&mut self, set: &mut RangeSet, mut range: Range<u32>) -> Result<(), Full> {
        let mut before = NONE;
        let mut at = set.head;
        while let Some(node) = self.nodes.get(at).copied() {
            if node.end < range.start {
                (before, at) = (at, node.next);
                continue;
            }
            if range.end < node.start {
                break;
            }
            range = range.start.min(node.start)..range.end.max(node.end);
            self.remove_behind(set, before);
            at = node.next;
        }
        self.insert_behind(set, before, range)
    }

    /// Takes `range` out of the set. It must lie within one range of the set; taken from its
    /// middle it needs room for one more.
    pub(crate) fn take(&mut self, set: &mut RangeSet, range: Range<u32>) -> Result<(), Full> {
        let mut before = NONE;
        let mut at = set.head;
        while let Some(node) = self.nodes.get(at).copied() {
            if range.end <= node.end && node.start <= range.start {
                return self.cut(set, before, at, range);
            }
            (before, at) = (at, node.next);
        }
        debug_assert!(false, "only what is in the set is taken out");
        Ok(())
    }

    fn cut(
        &mut self,
        set: &mut RangeSet,
        before: u32,
        at: u32,
        range: Range<u32>,
    ) -> Result<(), Full> {
        let node = self.nodes[at];
        if node.start == range.start && node.end == range.end {
            self.remove_behind(set, before);
        } else if node.start == range.start {
            self.nodes[at].start = range.end;
        } else if node.end == range.end {
            self.nodes[at].end = range.start;
        } else {
            self.insert_behind(set, at, range.end..node.end)?;
            self.nodes[at].end = range.start;
        }
        Ok(())
    }

    /// The first range of the set.
    pub(crate) fn first(&self, set: &RangeSet) -> Option<Range<u32>> {
        self.nodes.get(set.head).map(|node| node.start..node.end)
    }

    /// Empties the set.
    #[inline]
    pub(crate) fn clear(&mut self, set: &mut RangeSet) {
        while !set.is_empty() {
            self.remove_behind(set, NONE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn ranges_agree_with_a_bitmap_whatever_is_added_or_taken() {
        let mut ranges = Ranges::new(64, 64);
        let mut set = RangeSet::EMPTY;
        let mut model = [false; 100];
        let mut random = 11_u64;
        for _ in 0..50_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let start = (random >> 40) as u32 % 99;
            let end = start + 1 + (random >> 50) as u32 % (100 - start).min(12);
            let part = &mut model[start as usize..end as usize];
            if random >> 63 == 0 {
                assert!(ranges.add(&mut set, start..end).is_ok());
                part.fill(true);
            } else if part.iter().all(|&bit| bit) {
                assert!(ranges.take(&mut set, start..end).is_ok());
                part.fill(false);
            }
            let bits: Vec<u32> = ranges.iter(&set).flatten().collect();
            assert!(
                bits.iter()
                    .copied()
                    .eq((0..100).filter(|&i| model[i as usize]))
            );
        }
        ranges.clear(&mut set);
        assert!(ranges.len() == 0 && set.is_empty());
    }

    #[test]
    fn a_set_at_its_limit_refuses_another_range_and_keeps_its_own() {
        let mut ranges = Ranges::new(10, 2);
        let mut set = RangeSet::EMPTY;
        assert!(ranges.add(&mut set, 0..10).is_ok());
        assert!(ranges.take(&mut set, 2..3).is_ok());
        assert_eq!(ranges.take(&mut set, 5..6), Err(Full));
        assert_eq!(ranges.iter(&set).collect::<Vec<_>>(), [0..2, 3..10]);
    }
}
