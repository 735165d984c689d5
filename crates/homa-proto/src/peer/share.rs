//! What loss leaves of a peer's unscheduled bytes and of its window. Decides by how much less there is
//! after a loss, and how it comes back; what counts as one is decided elsewhere.

use crate::time::{Instant, Stamp};

/// Full share of the configured unscheduled bytes and window.
const SHARE_FULL: u16 = 1024;
/// Least share that loss leaves.
const SHARE_LEAST: u16 = SHARE_FULL / 16;

/// Part of the unscheduled bytes and of the window in use, in 1024ths: halved by loss, recovered
/// by what arrives (design: congestion that is not at the last hop).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    part: u16,
    halved: Stamp,
}

impl Share {
    pub(super) const FULL: Self = Self {
        part: SHARE_FULL,
        halved: Stamp::of(Instant::ZERO),
    };

    #[inline]
    pub(crate) fn of(self, bytes: u32) -> u32 {
        let part = u64::from(bytes) * u64::from(self.part) / u64::from(SHARE_FULL);
        u32::try_from(part).unwrap_or(bytes)
    }

    /// Halves the share, at most once in `interval` nanoseconds; returns whether it did.
    pub(crate) fn halve(&mut self, now: Instant, interval: u64) -> bool {
        if self.part == SHARE_LEAST || self.halved.nanos_until(now) < interval {
            return false;
        }
        self.part = (self.part / 2).max(SHARE_LEAST);
        self.halved = Stamp::of(now);
        true
    }

    /// A message arrived without loss. Returns whether the share is whole again, which it was not.
    #[inline]
    pub(crate) fn recover(&mut self) -> bool {
        if self.is_whole() {
            return false;
        }
        self.part = (self.part + SHARE_FULL / 64).min(SHARE_FULL);
        self.is_whole()
    }

    pub(super) const fn is_whole(self) -> bool {
        self.part == SHARE_FULL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_share_is_halved_once_an_interval_down_to_a_sixteenth() {
        let mut share = Share::FULL;
        let mut now = Instant::from_nanos(1_000_000_000);
        assert_eq!(share.of(40_000), 40_000);
        for expected in [20_000, 10_000, 5_000, 2_500] {
            assert!(share.halve(now, 1_000_000));
            assert!(!share.halve(now, 1_000_000));
            assert_eq!(share.of(40_000), expected);
            now = Instant::from_nanos(now.as_nanos() + 1_003_000);
        }
        assert!(!share.halve(now, 1_000_000));
        assert_eq!(share.of(40_000), 2_500);
    }

    #[test]
    fn a_share_recovers_by_a_sixty_fourth_for_each_message_up_to_the_whole() {
        let mut share = Share::FULL;
        assert!(share.halve(Instant::from_nanos(1_000_000_000), 1_000));
        assert!(!share.recover());
        assert_eq!(share.of(64_000), 33_000);
        let is_whole: Vec<bool> = (0..31).map(|_| share.recover()).collect();
        assert_eq!(is_whole.iter().position(|&it| it), Some(30));
        assert_eq!(share.of(64_000), 64_000);
        assert!(!share.recover());
        assert_eq!(share.of(64_000), 64_000);
    }
}
