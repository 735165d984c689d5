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
    fn moments_differ_by_durations_and_stop_at_the_ends_of_time() {
        let (early, late) = (Instant::from_nanos(2_000), Instant::from_nanos(5_000));
        assert_eq!(late - early, Duration::from_nanos(3_000));
        assert_eq!(early - late, Duration::ZERO);
        assert_eq!(early + Duration::from_nanos(3_000), late);
        assert_eq!((late + Duration::MAX).as_nanos(), u64::MAX);
        assert_eq!(nanos(Duration::from_millis(1_500)), 1_500_000_000);
    }
}
