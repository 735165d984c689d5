//! The only place that reads a clock. It decides nothing.

use core::time::Duration;

use homa_proto::Instant;
use rustix::time::Timespec;
#[cfg(not(homa_model))]
use rustix::time::{ClockId, clock_gettime};

/// Monotonic time since the clock was made, in the engine's form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin_nanos: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            origin_nanos: nanos(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(nanos() - self.origin_nanos)
    }

    /// A moment as the system's monotonic clock tells it.
    pub(crate) fn system_time(&self, at: Instant) -> Timespec {
        let nanos = self.origin_nanos.saturating_add(at.as_nanos());
        Timespec {
            tv_sec: (nanos / 1_000_000_000) as _,
            tv_nsec: (nanos % 1_000_000_000) as _,
        }
    }

    /// Time from now to `deadline`; zero if it has passed.
    pub(crate) fn until(&self, deadline: Instant) -> Duration {
        deadline - self.now()
    }
}

/// The system's monotonic clock. The standard library's type for it takes several times as long to
/// subtract as to read.
#[cfg(not(homa_model))]
fn nanos() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

/// A clock that goes on by a nanosecond a look, so that no deadline ever comes; centuries ahead of
/// the system's, so that no timer set by it rings.
#[cfg(homa_model)]
fn nanos() -> u64 {
    use core::sync::atomic::{AtomicU64, Ordering};

    static LOOKS: AtomicU64 = AtomicU64::new(1 << 63);
    LOOKS.fetch_add(1, Ordering::Relaxed)
}
