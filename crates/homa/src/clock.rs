//! The only place that reads a clock. It decides nothing.

use core::time::Duration;

use homa_proto::Instant;

/// Monotonic time since the clock was made, in the engine's form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            origin: std::time::Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    /// Time from now to `deadline`; zero if it has passed.
    pub(crate) fn until(&self, deadline: Instant) -> Duration {
        deadline - self.now()
    }
}
