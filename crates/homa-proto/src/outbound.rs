//! A message being sent: what was sent, what may be sent, what is to be sent again. Decides where
//! segments begin and end, and what a GRANT or a RESEND changes; which message goes next is decided
//! in `srpt`.

use core::ops::Range;

use crate::engine::Engine;
use crate::flight;
use crate::progress::News;
use crate::ranges::{RangeSet, Ranges};
use crate::rpc::{Brief, Pending, ServerRpc, State};
use crate::time::Instant;
use crate::wire::{Grant, Priority, Resend, ResendRange};

/// Payload of a segment once large ones seem not to arrive (MTU black holes).
const SMALL_SEGMENT_BYTES: u32 = 1_200;

/// Least payload of a segment, whatever a host says.
const LEAST_SEGMENT_BYTES: u32 = 64;

/// Fruitless RESENDs of the same byte after which segments shrink.
const FRUITLESS_RESENDS: u8 = 4;

/// A message that this host sends.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) length: u32,
    /// Payload bytes of a segment; they follow each other from `lead` on.
    segment: u32,
    /// Bytes of a first segment that is shorter than the others; 0: there is none.
    lead: u32,
    /// Large segments seem not to arrive: what is sent from here on is small.
    is_small: bool,
    /// Where segments of `SMALL_SEGMENT_BYTES` begin; the message's length: nowhere.
    shrunk_from: u32,
    /// First byte that was never sent.
    pub(crate) sent: u32,
    /// End of the unscheduled bytes.
    pub(crate) unscheduled: u32,
    /// End of what may be sent; only grows.
    pub(crate) granted: u32,
    /// Level of scheduled packets, by the latest GRANT.
    pub(crate) priority: Priority,
    /// Number of the message among all that this engine sends.
    pub(crate) birth: u64,
    /// What to send again, and at which level.
    pub(crate) resend: RangeSet,
    /// The first segment is wanted again, and there was no room to remember it in `resend`.
    is_first_wanted: bool,
    pub(crate) resend_priority: Priority,
    /// First byte of the last RESEND, and how often it was the same.
    resend_first: u32,
    fruitless: u8,
}

impl Outbound {
    /// A message of which nothing was sent; `unscheduled_limit` bytes of it may go unasked,
    /// rounded down to whole segments but at least one.
    #[inline]
    pub(crate) fn new(length: u32, segment: u32, unscheduled_limit: u32, birth: u64) -> Self {
        let segment = segment.clamp(LEAST_SEGMENT_BYTES, 65_451);
        let unscheduled = if length <= unscheduled_limit {
            length
        } else {
            let whole = unscheduled_limit - unscheduled_limit % segment;
            whole.max(segment).min(length)
        };
        Self {
            length,
            segment,
            lead: 0,
            is_small: false,
            shrunk_from: length,
            sent: 0,
            unscheduled,
            granted: unscheduled,
            priority: Priority::LOWEST,
            birth,
            resend: RangeSet::EMPTY,
            is_first_wanted: false,
            resend_priority: Priority::HIGHEST,
            resend_first: 0,
            fruitless: 0,
        }
    }

    /// The same for a response that many others come with: no more than `limit` bytes go unasked,
    /// even if the first segment must be cut for it.
    #[inline]
    pub(crate) fn cut_to(mut self, limit: u32) -> Self {
        if self.length > limit && limit < self.segment {
            self.lead = limit;
            self.unscheduled = limit;
            self.granted = limit;
        }
        self
    }

    /// What the bytes that go unasked cost the receiver's buffer.
    #[inline]
    pub(crate) fn flight_cost(&self) -> u32 {
        flight::cost(self.unscheduled, self.segment)
    }

    /// Bytes never sent.
    pub(crate) fn remaining(&self) -> u32 {
        self.length - self.sent
    }

    /// Whether there is anything that may be sent for the first time. A segment may go when its
    /// first byte is granted: holding it back would cost a timeout.
    #[inline]
    pub(crate) fn is_sendable(&self) -> bool {
        self.sent < self.granted
    }

    #[inline]
    pub(crate) fn is_all_sent(&self) -> bool {
        self.sent == self.length
    }

    /// What must be known of it if it stands in the queue of short messages: one packet holds it.
    #[inline]
    pub(crate) fn brief(&self) -> Brief {
        Brief::of(self.length, self.segment as u16)
    }

    /// Whether one packet holds all of it.
    #[inline]
    pub(crate) fn fits_one_packet(&self) -> bool {
        self.length <= self.segment && self.lead == 0
    }

    /// Its bytes, if it stands in the queue of short messages: one packet holds it, and it has fewer
    /// of them than `limit`; else 0.
    #[inline]
    pub(crate) fn due_bytes(&self, limit: u32) -> u32 {
        match self.length < limit && self.fits_one_packet() {
            true => self.length,
            false => 0,
        }
    }

    /// The segment that holds byte `offset`, as it is or was sent.
    fn segment_around(&self, offset: u32) -> Range<u32> {
        if offset < self.lead {
            return 0..self.lead;
        }
        let (base, size, end) = if offset < self.shrunk_from {
            (self.lead, self.segment, self.shrunk_from)
        } else {
            (self.shrunk_from, SMALL_SEGMENT_BYTES, self.length)
        };
        let start = base + (offset - base) / size * size;
        start..(start + size).min(end)
    }

    /// The next segment to be sent for the first time.
    pub(crate) fn next_segment(&self) -> Option<Range<u32>> {
        self.is_sendable()
            .then(|| self.sent..self.segment_around(self.sent).end)
    }

    /// The segments to be sent for the first time that follow each other and are of one size, but for
    /// the last one of the message: where they end, at most `most` of them, and that size. Those
    /// before the end of the unscheduled bytes come apart from those behind it.
    pub(crate) fn next_run(&self, most: u32) -> (u32, u32) {
        let first = self.segment_around(self.sent);
        let size = first.end - first.start;
        let end = match self.sent {
            sent if sent < self.lead => first.end,
            sent if sent < self.shrunk_from => self.shrunk_from,
            _ => self.length,
        };
        let granted = match self.sent < self.unscheduled {
            true => self.granted.min(self.unscheduled),
            false => self.granted,
        };
        let count = (granted - self.sent).div_ceil(size).min(most);
        ((self.sent + count * size).min(end), size)
    }

    /// A GRANT arrived; returns whether it raised the limit.
    pub(crate) fn grant(&mut self, offset: u32, priority: Priority) -> bool {
        self.priority = priority;
        let offset = offset.min(self.length);
        let raises = offset > self.granted;
        self.granted = self.granted.max(offset);
        raises
    }

    /// Everything begins anew: the peer never heard of the message. Returns whether segments
    /// shrank because that happened again and again.
    pub(crate) fn restart(&mut self, ranges: &mut Ranges) -> bool {
        let shrank = self.note_resend(0);
        ranges.clear(&mut self.resend);
        self.is_first_wanted = false;
        if self.is_small {
            self.segment = self.segment.min(SMALL_SEGMENT_BYTES);
            self.lead = self.lead.min(SMALL_SEGMENT_BYTES);
            self.shrunk_from = self.length;
        }
        self.sent = 0;
        self.granted = self.unscheduled;
        shrank
    }

    /// Bytes are wanted again: whole segments as they were sent, nothing that never was. Returns
    /// whether there was room to remember it.
    pub(crate) fn want_again(
        &mut self,
        ranges: &mut Ranges,
        wanted: Range<u32>,
        priority: Priority,
    ) -> bool {
        debug_assert!(wanted.start < self.sent);
        let last = wanted.end.min(self.sent) - 1;
        let whole = self.segment_around(wanted.start).start..self.segment_around(last).end;
        self.resend_priority = priority;
        let added = ranges.add(&mut self.resend, whole.start..whole.end.min(self.sent));
        // The proof of our address rides on the first segment: were it to wait for room, and the
        // room for bytes that the peer holds back without a proof, neither would ever come.
        self.is_first_wanted |= added.is_err() && whole.start == 0;
        added.is_ok() || whole.start == 0
    }

    /// Whether bytes that went unasked are among those that are wanted again. For others whoever
    /// granted them answers, who knows what they may have to wait for.
    fn went_unasked(&self, wanted: &Range<u32>) -> bool {
        wanted.start < self.unscheduled
    }

    /// Whether anything is to be sent again.
    pub(crate) fn is_wanted_again(&self) -> bool {
        self.is_first_wanted || !self.resend.is_empty()
    }

    /// The piece that [`next_resend`](Self::next_resend) gave was sent.
    pub(crate) fn sent_again(&mut self, ranges: &mut Ranges, piece: Range<u32>) {
        if self.resend.is_empty() {
            self.is_first_wanted = false;
        } else {
            // The piece begins its range, so taking it out needs no room.
            let taken = ranges.take(&mut self.resend, piece);
            debug_assert!(taken.is_ok());
        }
    }

    /// Notes a RESEND's first byte; returns whether segments shrank because it is asked for
    /// again and again.
    pub(crate) fn note_resend(&mut self, first: u32) -> bool {
        if first != self.resend_first || self.fruitless == 0 {
            self.resend_first = first;
            self.fruitless = 1;
            return false;
        }
        self.fruitless = self.fruitless.saturating_add(1);
        self.fruitless >= FRUITLESS_RESENDS && self.shrink()
    }

    /// Makes what is sent from here on small; what was sent keeps its borders. Returns whether
    /// that changes anything.
    pub(crate) fn shrink(&mut self) -> bool {
        if self.segment <= SMALL_SEGMENT_BYTES || self.is_small {
            return false;
        }
        self.is_small = true;
        self.shrunk_from = self.sent;
        true
    }

    /// The next piece to be sent again: an original segment, or a part of one.
    pub(crate) fn next_resend(&self, ranges: &Ranges) -> Option<Range<u32>> {
        let first = || {
            self.is_first_wanted
                .then(|| 0..self.segment_around(0).end.min(self.sent))
        };
        let wanted = ranges.first(&self.resend).or_else(first)?;
        let segment = self.segment_around(wanted.start);
        let mut end = segment.end.min(wanted.end);
        if self.is_small {
            let piece = (wanted.start - segment.start) / SMALL_SEGMENT_BYTES + 1;
            end = end.min(segment.start + piece * SMALL_SEGMENT_BYTES);
        }
        Some(wanted.start..end)
    }
}

/// What peers say about messages that we send.
impl Engine {
    /// A GRANT: more of a message may be sent.
    pub(crate) fn handle_grant(&mut self, now: Instant, index: u32, grant: Grant) {
        let Some(outbound) = self.rpcs.outbound(index) else {
            self.counters.dropped_out_of_place += 1;
            return;
        };
        let raised = outbound.grant(grant.offset, grant.priority);
        self.measure_distance(now, index);
        if raised {
            self.counters.grants_received += 1;
        } else {
            self.counters.grants_stale += 1;
        }
        self.note(now, index, News::Progress);
        self.go_on(index);
    }

    /// Puts a message that got leave to send more into the order.
    fn go_on(&mut self, index: u32) {
        let rpc = &self.rpcs[index];
        if !rpc.is_client() || rpc.awaits_response() {
            self.enqueue(index);
        }
    }

    /// A RESEND: bytes did not arrive, or the peer wonders what became of us.
    pub(crate) fn handle_resend(&mut self, now: Instant, index: u32, resend: Resend) {
        self.counters.resends_received += 1;
        match &self.rpcs[index].state {
            // The client shows that it still waits; that does not bring its bytes.
            State::Server(ServerRpc::Receiving) => self.want(index, Pending::BUSY),
            State::Server(ServerRpc::InService(_)) => {
                self.note(now, index, News::Alive);
                self.want(index, Pending::BUSY);
            }
            State::Server(ServerRpc::Refused(_)) => self.want(index, Pending::REFUSE),
            _ => {
                self.note(now, index, News::Alive);
                self.send_again(now, index, resend);
            }
        }
    }

    fn send_again(&mut self, now: Instant, index: u32, resend: Resend) {
        let top = self.control_priority();
        let Some(outbound) = self.rpcs.outbound(index) else {
            return;
        };
        let wanted = match resend.range {
            ResendRange::Everything => 0..outbound.sent,
            ResendRange::Bytes { offset, length } => offset..offset.saturating_add(length),
        };
        if wanted.start >= outbound.length {
            // The peer believes in a longer message than ours: no wait will bring it those bytes.
            self.counters.dropped_out_of_place += 1;
            return;
        }
        // Asking for more than was granted stands for a GRANT that was lost.
        let raised = wanted.end > outbound.granted && {
            let priority = outbound.priority;
            outbound.grant(wanted.end, priority)
        };
        if wanted.start >= outbound.sent {
            if raised {
                self.go_on(index);
            } else {
                self.want(index, Pending::BUSY);
            }
            return;
        }
        // One byte is wanted for the proof that rides on it: nothing was lost.
        let lost = wanted != (0..1) || outbound.length == 1;
        if lost && outbound.note_resend(wanted.start) {
            self.counters.segments_shrunk += 1;
        }
        let went_unasked = outbound.went_unasked(&wanted);
        let priority = resend.priority.unwrap_or(top).min(top);
        if outbound.want_again(&mut self.ranges, wanted, priority) {
            self.resend_later(index);
        } else {
            self.counters.resend_ranges_dropped += 1;
        }
        self.rpcs[index].progress.set_resent();
        if lost && went_unasked {
            self.note_loss(now, index);
        }
        if raised {
            self.go_on(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn resent(outbound: &mut Outbound, ranges: &mut Ranges) -> Vec<Range<u32>> {
        core::iter::from_fn(|| {
            let piece = outbound.next_resend(ranges)?;
            ranges.take(&mut outbound.resend, piece.clone()).ok()?;
            Some(piece)
        })
        .collect()
    }

    #[test]
    fn unscheduled_bytes_end_with_a_segment() {
        assert_eq!(Outbound::new(39_000, 1_400, 40_000, 0).unscheduled, 39_000);
        assert_eq!(Outbound::new(100_000, 1_400, 40_000, 0).unscheduled, 39_200);
        assert_eq!(
            Outbound::new(100_000, 60_000, 40_000, 0).unscheduled,
            60_000
        );
    }

    #[test]
    fn what_is_sent_again_keeps_the_borders_it_had() {
        let mut ranges = Ranges::new(10, 10);
        let mut outbound = Outbound::new(10_000, 1_400, 40_000, 0);
        outbound.sent = 7_000;
        assert!(outbound.want_again(&mut ranges, 1_500..3_000, Priority::HIGHEST));
        assert!(outbound.want_again(&mut ranges, 6_999..20_000, Priority::HIGHEST));
        let pieces = resent(&mut outbound, &mut ranges);
        assert_eq!(pieces, [1_400..2_800, 2_800..4_200, 5_600..7_000]);
    }

    #[test]
    fn after_fruitless_resends_pieces_are_small_and_stay_inside_their_segment() {
        let mut ranges = Ranges::new(10, 10);
        let mut outbound = Outbound::new(30_000, 8_900, 40_000, 0);
        outbound.sent = 17_800;
        assert!(!(0..3).any(|_| outbound.note_resend(0)));
        assert!(outbound.note_resend(0));
        assert!(outbound.want_again(&mut ranges, 8_900..17_800, Priority::HIGHEST));
        let pieces = resent(&mut outbound, &mut ranges);
        assert_eq!(pieces.first(), Some(&(8_900..10_100)));
        assert_eq!(pieces.last(), Some(&(17_300..17_800)));
        assert_eq!(outbound.next_segment(), Some(17_800..19_000));
    }
}
