//! A message being received: which bytes are there, how far its sender may go. Decides whether a
//! packet's bytes are new; who is granted is decided in `grant`.

use core::ops::Range;

use crate::budget::Wait;
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
    /// It waits for a proof of its sender's address, or for room in the share of those without one.
    Parked,
    /// The host has a buffer.
    Made,
}

/// What a packet's bytes are to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    /// These are missing: all of them, or, where others of them are there, the first piece.
    New(Range<u32>),
    /// All of them are there.
    Duplicate,
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
    /// Whether its bytes count in the share of senders without proof of their address.
    pub(crate) is_doubted: bool,
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
            is_doubted: false,
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
    pub(crate) fn novelty(&self, ranges: &Ranges, bytes: Range<u32>) -> Novelty {
        if bytes.start == self.end {
            return Novelty::New(bytes);
        }
        self.novelty_out_of_order(ranges, &bytes)
    }

    fn novelty_out_of_order(&self, ranges: &Ranges, bytes: &Range<u32>) -> Novelty {
        let missing = ranges
            .iter(&self.gaps)
            .chain(core::iter::once(self.end..self.length));
        let new = missing
            .map(|gap| gap.start.max(bytes.start)..gap.end.min(bytes.end))
            .find(|piece| !piece.is_empty());
        let Some(new) = new else {
            return Novelty::Duplicate;
        };
        let opens_gap = new.start > self.end || ranges.would_split(&self.gaps, &new);
        match !opens_gap || ranges.has_room(&self.gaps) {
            true => Novelty::New(new),
            false => Novelty::NoRoom,
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
        self.gaps(ranges).chain((!rest.is_empty()).then_some(rest))
    }

    /// What is missing before bytes that are there.
    pub(crate) fn gaps<'a>(
        &self,
        ranges: &'a Ranges,
    ) -> impl Iterator<Item = Range<u32>> + use<'a> {
        ranges.iter(&self.gaps)
    }

    /// In which queue of the budget it may be.
    pub(crate) fn wait(&self) -> Wait {
        match self.storage {
            Storage::Parked => Wait::Parked,
            _ => Wait::Stalled,
        }
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
            assert_eq!(
                inbound.novelty(&ranges, bytes.clone()),
                Novelty::New(bytes.clone())
            );
            inbound.insert(&mut ranges, bytes);
        }
        assert_eq!(inbound.received, 3_000);
        let missing: Vec<_> = inbound.missing(&ranges).collect();
        assert_eq!(missing, [1_000..2_000, 3_000..4_000, 5_000..8_000]);
        let novelty = |bytes| inbound.novelty(&ranges, bytes);
        assert_eq!(novelty(2_000..3_000), Novelty::Duplicate);
        // Over one end, over both, and into two gaps: the first piece that is missing.
        assert_eq!(novelty(2_500..3_500), Novelty::New(3_000..3_500));
        assert_eq!(novelty(4_500..5_500), Novelty::New(5_000..5_500));
        assert_eq!(novelty(3_500..6_000), Novelty::New(3_500..4_000));
        assert_eq!(novelty(1_500..3_500), Novelty::New(1_500..2_000));
        assert_eq!(novelty(1_200..1_300), Novelty::New(1_200..1_300));
        inbound.clear(&mut ranges);
        assert_eq!(ranges.len(), 0);
    }

    #[test]
    fn a_gap_more_than_there_is_room_for_is_refused() {
        let mut ranges = Ranges::new(10, 1);
        let mut inbound = Inbound::new(10_000);
        inbound.insert(&mut ranges, 1_000..2_000);
        let novelty = |bytes| inbound.novelty(&ranges, bytes);
        assert_eq!(novelty(3_000..4_000), Novelty::NoRoom);
        assert_eq!(novelty(500..600), Novelty::NoRoom);
        assert_eq!(novelty(0..1_000), Novelty::New(0..1_000));
        assert_eq!(novelty(2_000..3_000), Novelty::New(2_000..3_000));
    }
}
