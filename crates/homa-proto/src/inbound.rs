//! A message being received: which bytes are there, how far its sender may go. Decides whether a
//! packet's bytes are new; who is granted is decided in `grant`.

use core::ops::Range;

use crate::ranges::{RangeSet, Ranges};

/// Whether the host has a buffer for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// No packet was placed yet.
    None,
    /// Room in the budget is set aside; the first placement makes the buffer.
    Reserved,
    /// It waits for room in the budget; what arrives is dropped.
    Stalled,
    /// The host has a buffer.
    Made,
}

/// What a packet's bytes are to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    New,
    /// All of them are there.
    Duplicate,
    /// Some of them are there.
    Overlap,
    /// They would open a gap more than the limits allow.
    NoRoom,
}

/// A message that this host receives.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) length: u32,
    /// Bytes that are there.
    pub(crate) received: u32,
    /// Highest byte that is there, plus one.
    pub(crate) end: u32,
    /// What is missing below `end`.
    gaps: RangeSet,
    /// End of what the sender may send; only grows.
    pub(crate) granted: u32,
    /// End of what it said to send unasked.
    pub(crate) unscheduled: u32,
    pub(crate) storage: Storage,
    /// Whether a packet of it had to be sent again.
    pub(crate) lossy: bool,
}

impl Inbound {
    #[inline]
    pub(crate) fn new(length: u32) -> Self {
        Self {
            length,
            received: 0,
            end: 0,
            gaps: RangeSet::EMPTY,
            granted: 0,
            unscheduled: 0,
            storage: Storage::None,
            lossy: false,
        }
    }

    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        self.received == self.length
    }

    /// Bytes that are there from the start on, without a gap.
    pub(crate) fn whole(&self, ranges: &Ranges) -> u32 {
        let gap = ranges.first(&self.gaps);
        gap.map_or(self.end, |gap| gap.start)
    }

    /// Whether bytes are missing that the sender may send.
    #[inline]
    pub(crate) fn is_owed(&self) -> bool {
        self.received < self.granted
    }

    /// A packet of the message came, by whose header the sender sends the first `promised` bytes
    /// unasked. Returns whether it is the sender's turn again, which it was not before.
    #[inline]
    pub(crate) fn learn(&mut self, promised: u32, retransmit: bool) -> bool {
        self.lossy |= retransmit;
        self.unscheduled = self.unscheduled.max(promised);
        let was_owed = self.is_owed();
        self.granted = self.granted.max(promised);
        !was_owed && self.is_owed()
    }

    #[inline]
    pub(crate) fn novelty(&self, ranges: &Ranges, bytes: &Range<u32>) -> Novelty {
        if bytes.start == self.end {
            return Novelty::New;
        }
        self.novelty_out_of_order(ranges, bytes)
    }

    fn novelty_out_of_order(&self, ranges: &Ranges, bytes: &Range<u32>) -> Novelty {
        if bytes.start >= self.end {
            let opens_gap = bytes.start > self.end;
            return match !opens_gap || ranges.has_room(&self.gaps) {
                true => Novelty::New,
                false => Novelty::NoRoom,
            };
        }
        if bytes.end <= self.end && ranges.covers(&self.gaps, bytes) {
            let splits = ranges.would_split(&self.gaps, bytes);
            return match !splits || ranges.has_room(&self.gaps) {
                true => Novelty::New,
                false => Novelty::NoRoom,
            };
        }
        let outside = bytes.end > self.end;
        match outside || ranges.touches(&self.gaps, bytes) {
            true => Novelty::Overlap,
            false => Novelty::Duplicate,
        }
    }

    /// Takes bytes that are new.
    #[inline]
    pub(crate) fn insert(&mut self, ranges: &mut Ranges, bytes: Range<u32>) {
        let count = bytes.end - bytes.start;
        let stored = if bytes.start < self.end {
            ranges.take(&mut self.gaps, bytes.clone())
        } else if bytes.start > self.end {
            ranges.add(&mut self.gaps, self.end..bytes.start)
        } else {
            Ok(())
        };
        debug_assert!(stored.is_ok(), "novelty() looked for room");
        if stored.is_ok() {
            self.end = self.end.max(bytes.end);
            self.received += count;
            self.granted = self.granted.max(self.end);
        }
    }

    /// What is missing of what the sender may send: every gap, then the rest.
    pub(crate) fn missing<'a>(
        &self,
        ranges: &'a Ranges,
    ) -> impl Iterator<Item = Range<u32>> + use<'a> {
        let rest = self.end..self.granted;
        ranges
            .iter(&self.gaps)
            .chain((!rest.is_empty()).then_some(rest))
    }

    /// Gives the ranges back.
    pub(crate) fn clear(&mut self, ranges: &mut Ranges) {
        ranges.clear(&mut self.gaps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn bytes_in_any_order_are_counted_once_and_their_gaps_known() {
        let mut ranges = Ranges::new(10, 10);
        let mut inbound = Inbound::new(10_000);
        inbound.granted = 8_000;
        for bytes in [0..1_000, 4_000..5_000, 2_000..3_000] {
            assert_eq!(inbound.novelty(&ranges, &bytes), Novelty::New);
            inbound.insert(&mut ranges, bytes);
        }
        assert_eq!(inbound.received, 3_000);
        let missing: Vec<_> = inbound.missing(&ranges).collect();
        assert_eq!(missing, [1_000..2_000, 3_000..4_000, 5_000..8_000]);
        assert_eq!(
            inbound.novelty(&ranges, &(2_000..3_000)),
            Novelty::Duplicate
        );
        assert_eq!(inbound.novelty(&ranges, &(2_500..3_500)), Novelty::Overlap);
        assert_eq!(inbound.novelty(&ranges, &(4_500..5_500)), Novelty::Overlap);
        assert_eq!(inbound.novelty(&ranges, &(1_200..1_300)), Novelty::New);
        inbound.clear(&mut ranges);
        assert_eq!(ranges.len(), 0);
    }

    #[test]
    fn a_gap_more_than_there_is_room_for_is_refused() {
        let mut ranges = Ranges::new(10, 1);
        let mut inbound = Inbound::new(10_000);
        inbound.insert(&mut ranges, 1_000..2_000);
        assert_eq!(inbound.novelty(&ranges, &(3_000..4_000)), Novelty::NoRoom);
        assert_eq!(inbound.novelty(&ranges, &(500..600)), Novelty::NoRoom);
        assert_eq!(inbound.novelty(&ranges, &(0..1_000)), Novelty::New);
        assert_eq!(inbound.novelty(&ranges, &(2_000..3_000)), Novelty::New);
    }
}
