//! Whether what an application just said goes to the network at once, or together with what it is
//! about to say.
//!
//! # Design
//!
//! A system call for each short message costs several times what all else about it does, so
//! messages of one moment should share one. An application seldom says that more is to come, but
//! mostly it shows: it has more requests or completions to take and takes them quickly, or it is
//! one of many tasks and whoever drives the engine comes next. Only then something is held, at most
//! [`HELD_MAX`] messages, and whoever drives next sends it. A lone message is never held.
//!
//! An application that was quick and suddenly is not leaves what is held to the background thread,
//! which looks every four milliseconds once there was something.

use core::time::Duration;

use homa_proto::Instant;

/// Most messages held: half of what one segmented send takes, so that the other side has something
/// to do while the rest is said.
const HELD_MAX: u32 = 32;
/// Typical time between two words of an application that counts as quick. One system call takes
/// about as long.
const QUICK: Duration = Duration::from_micros(10);
/// A pause counts as at most so much, so that a long one is forgotten after a dozen words.
const PAUSE_MAX: Duration = Duration::from_micros(40);

/// Messages that the engine knows and was not yet asked for.
#[derive(Debug)]
pub(crate) struct Hold {
    count: u32,
    /// Moving average of the time between two words.
    pace_nanos: u64,
    last: Instant,
}

impl Hold {
    pub(crate) const fn new() -> Self {
        Self {
            count: 0,
            pace_nanos: PAUSE_MAX.as_nanos() as u64,
            last: Instant::ZERO,
        }
    }

    /// Whether something is held.
    pub(crate) const fn is_on(&self) -> bool {
        self.count > 0
    }

    /// Everything was sent.
    pub(crate) const fn release(&mut self) {
        self.count = 0;
    }

    /// The application spoke. Returns whether to hold that: `queued` says that it has more to take
    /// and answer.
    pub(crate) fn hears(&mut self, now: Instant, queued: bool) -> bool {
        let pause = now.nanos_since(self.last).min(PAUSE_MAX.as_nanos() as u64);
        self.pace_nanos = self.pace_nanos - self.pace_nanos / 8 + pause / 8;
        self.last = now;
        let quick = u128::from(self.pace_nanos) < QUICK.as_nanos();
        queued && quick && self.add()
    }

    /// Holds one more message, unless there are enough.
    pub(crate) const fn add(&mut self) -> bool {
        let more = self.count < HELD_MAX;
        if more {
            self.count += 1;
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::ZERO + Duration::from_micros(micros)
    }

    #[test]
    fn only_a_quick_application_with_more_to_take_is_held_back_and_not_for_long() {
        let mut hold = Hold::new();
        assert!((0..100).all(|i| !hold.hears(at(100 * i), true)), "slow");
        assert!(
            (10_000..10_100).all(|i| !hold.hears(at(i), false)),
            "nothing queued"
        );
        let held = (10_100..10_200)
            .filter(|&i| hold.hears(at(i), true))
            .count();
        assert_eq!(held, HELD_MAX as usize);
        assert!(hold.is_on());
        hold.release();
        assert!(hold.hears(at(10_201), true));
    }

    #[test]
    fn an_application_that_has_become_slow_is_no_longer_held_back() {
        let mut hold = Hold::new();
        (0..100).for_each(|i| {
            hold.hears(at(i), true);
            hold.release();
        });
        let held = (1..100).filter(|&i| hold.hears(at(100 + 100 * i), true));
        assert!(held.count() < 5);
    }
}
