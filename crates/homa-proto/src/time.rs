//! Time as the engine sees it: nanoseconds handed in by the host. It decides nothing and reads no
//! clock.

use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment, in nanoseconds since an origin of the host's choosing.
///
/// The host's clock must be monotonic; an `Instant` that lies before an earlier one is treated as
/// the earlier one wherever a difference is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the host's clock.
    pub const ZERO: Self = Self(0);

    /// Later than any other.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// The moment `nanoseconds` after the origin.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment `nanoseconds` later; saturates after 584 years.
    pub(crate) const fn after(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }

    /// Nanoseconds from `earlier` to `self`; 0 if `earlier` is later.
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates after 584 years.
    fn add(self, rhs: Duration) -> Self {
        self.after(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Zero if `rhs` is later.
    fn sub(self, rhs: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(rhs))
    }
}

/// A moment in four bytes, in steps of 1,024 ns, of which 73 minutes are told apart. For tables where
/// memory counts and for what matters for seconds: now and then something long past looks recent, and
/// whatever is limited to once in a while waits for once more. It is made of bytes, so that it leaves
/// no gaps between others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp([u8; 4]);

impl Stamp {
    /// Nanoseconds of a step, as a power of two.
    const SHIFT: u32 = 10;

    /// The stamp of a moment.
    #[inline]
    pub(crate) const fn of(moment: Instant) -> Self {
        Self(((moment.0 >> Self::SHIFT) as u32).to_ne_bytes())
    }

    /// One that is as long before a moment as can be told.
    pub(crate) const fn long_before(moment: Instant) -> Self {
        Self((Self::of(moment).steps() ^ 1 << 31).to_ne_bytes())
    }

    /// Nanoseconds from it to `now`.
    #[inline]
    pub(crate) const fn nanos_until(self, now: Instant) -> u64 {
        (Self::of(now).steps().wrapping_sub(self.steps()) as u64) << Self::SHIFT
    }

    /// The moment that it stands for, at most a step earlier, by one at most 73 minutes later.
    pub(crate) const fn moment(self, later: Instant) -> Instant {
        let steps = later.0 >> Self::SHIFT;
        let age = Self::of(later).steps().wrapping_sub(self.steps());
        Instant(steps.saturating_sub(age as u64) << Self::SHIFT)
    }

    #[inline]
    const fn steps(self) -> u32 {
        u32::from_ne_bytes(self.0)
    }
}

/// Nanoseconds of a duration of less than 584 years, as all of [`Config`](crate::Config) are, which
/// needs no look at what does not fit.
#[inline]
pub(crate) const fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_tells_for_73_minutes_how_long_ago_it_was() {
        for now in [0, 1_000_000_000, u64::MAX >> 1] {
            let stamp = Stamp::of(Instant::from_nanos(now));
            for age in [0, 5_000_000, 2_000_000_000, 4_390_000_000_000] {
                let told = stamp.nanos_until(Instant::from_nanos(now + age));
                assert!(told.abs_diff(age) <= 1_024, "{told} of {age}");
            }
            let later = Instant::from_nanos(now + 4_390_000_000_000);
            assert!(now - stamp.moment(later).as_nanos() < 1_024);
            let now = Instant::from_nanos(now);
            assert!(Stamp::long_before(now).nanos_until(now) > 2_000_000_000_000);
        }
    }

    #[test]
    fn moments_differ_by_durations_and_stop_at_the_ends_of_time() {
        let (early, late) = (Instant::from_nanos(2_000), Instant::from_nanos(5_000));
        assert_eq!(late - early, Duration::from_nanos(3_000));
        assert_eq!(early - late, Duration::ZERO);
        assert_eq!(early + Duration::from_nanos(3_000), late);
        assert_eq!((late + Duration::MAX).as_nanos(), u64::MAX);
        assert_eq!(nanos(Duration::from_millis(1_500)), 1_500_000_000);
    }
}
