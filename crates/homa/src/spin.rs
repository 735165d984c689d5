//! Whether a wait begins with looking at the sockets again and again, or sleeps at once.
//!
//! It decides by how long recent waits lasted: looking pays if what is waited for mostly comes
//! before the bound, and burns a core if not.

use core::time::Duration;

use homa_proto::Instant;

/// One wait in so many looks although recent ones lasted too long, or nothing would ever show that
/// they have become short.
const PROBE_EVERY: u32 = 16;
/// A wait counts as at most so many bounds, so that a long silence is forgotten after some ten
/// short waits.
const LONGEST: u64 = 4;

/// Learns from waits how long to look.
#[derive(Debug)]
pub(crate) struct Spin {
    bound_nanos: u64,
    /// Moving average of how long waits lasted.
    typical_nanos: u64,
    sleeps: u32,
}

impl Spin {
    /// Never looks longer than `bound`.
    pub(crate) fn new(bound: Duration) -> Self {
        Self {
            bound_nanos: u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX / LONGEST),
            typical_nanos: 0,
            sleeps: 0,
        }
    }

    /// Until when to look in a wait that begins at `now`.
    pub(crate) fn begin(&mut self, now: Instant) -> Instant {
        if self.typical_nanos > self.bound_nanos {
            self.sleeps += 1;
            if !self.sleeps.is_multiple_of(PROBE_EVERY) {
                return now;
            }
        }
        now + Duration::from_nanos(self.bound_nanos)
    }

    /// A wait that began at `begun` is over.
    pub(crate) fn end(&mut self, begun: Instant, now: Instant) {
        let longest = self.bound_nanos.saturating_mul(LONGEST);
        let waited = now.nanos_since(begun).min(longest);
        let (typical, eighth) = (self.typical_nanos, self.typical_nanos / 8);
        self.typical_nanos = typical - eighth + waited / 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_micros(50);

    fn waits(spin: &mut Spin, lasting: Duration, count: usize) -> usize {
        let begun = Instant::from_nanos(1);
        let looks = (0..count).filter(|_| {
            let looks = spin.begin(begun) > begun;
            spin.end(begun, begun + lasting);
            looks
        });
        looks.count()
    }

    #[test]
    fn short_waits_look_and_long_ones_sleep_but_for_a_probe_now_and_then() {
        let mut spin = Spin::new(BOUND);
        assert_eq!(waits(&mut spin, BOUND / 10, 100), 100);
        let learning = waits(&mut spin, BOUND * 1_000, 16);
        assert!(learning < 8, "it looked {learning} times in vain");
        assert_eq!(waits(&mut spin, BOUND * 1_000, 160), 10);
        waits(&mut spin, BOUND / 10, 16);
        assert_eq!(waits(&mut spin, BOUND / 10, 100), 100);
    }

    #[test]
    fn one_long_silence_does_not_end_the_looking() {
        let mut spin = Spin::new(BOUND);
        waits(&mut spin, BOUND / 10, 100);
        waits(&mut spin, Duration::from_secs(1), 1);
        assert_eq!(waits(&mut spin, BOUND / 10, 100), 100);
    }

    #[test]
    fn a_bound_of_zero_never_looks_and_one_of_years_always_does() {
        assert_eq!(waits(&mut Spin::new(Duration::ZERO), BOUND, 100), 0);
        let mut ever = Spin::new(Duration::MAX);
        assert_eq!(waits(&mut ever, Duration::from_secs(60), 100), 100);
    }
}
