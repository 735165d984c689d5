//! The timer that ends the sleep of a thread on the sockets. It decides nothing.
//!
//! # Design
//!
//! *It stays set from sleep to sleep.* A timeout given to each sleep would be set and taken back each
//! time, and as deadlines mostly lie before the next tick of the system, each of the two would program
//! the processor's timer: in a virtual machine an exit to its host, together as long as all else about
//! a wake-up. Deadlines move on from message to message; a timer that was set for an earlier one wakes
//! once for nothing, every few milliseconds.
//!
//! *Each sleeper has its own.* Of two who sleep the first to wake would set it again before the other has
//! noticed that it rang.

use core::sync::atomic::{AtomicU64, Ordering};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use homa_proto::Instant;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::clock::Clock;
use crate::seat::NEVER;

/// A descriptor that is readable from the moment on that it was set for. One thread at a time uses it.
pub(crate) struct Timer {
    fd: OwnedFd,
    clock: Clock,
    /// What it is set for, in the clock's nanoseconds; that of [`NEVER`]: nothing.
    at_nanos: AtomicU64,
}

impl Timer {
    /// A timer that is set for nothing.
    pub(crate) fn new(clock: Clock) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self {
            fd: timerfd_create(TimerfdClockId::Monotonic, flags)?,
            clock,
            at_nanos: AtomicU64::new(NEVER.as_nanos()),
        })
    }

    fn at(&self) -> Instant {
        Instant::from_nanos(self.at_nanos.load(Ordering::Relaxed))
    }

    /// Sees to it that it rings at `until`, and perhaps once before that; it does not ring now.
    ///
    /// # Errors
    ///
    /// The system does not set it: a sleep needs a timeout of its own.
    pub(crate) fn set(&self, until: Instant) -> io::Result<()> {
        let at = self.at();
        let has_rung = at != NEVER && at <= self.clock.now();
        if until >= at && !has_rung {
            return Ok(());
        }
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let setting = Itimerspec {
            it_interval: zero,
            // Zero sets it for nothing.
            it_value: if until == NEVER {
                zero
            } else {
                self.clock.system_time(until)
            },
        };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &setting)?;
        self.at_nanos.store(until.as_nanos(), Ordering::Relaxed);
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use homa_net::wait::{Watch, wait};

    use super::*;

    fn rings(timer: &Timer, within: Duration) -> bool {
        wait(&mut [Watch::readable(timer.as_fd())], Some(within)).unwrap() == 1
    }

    #[test]
    fn it_rings_at_the_earliest_moment_and_is_silent_when_set_again() {
        let clock = Clock::new();
        let timer = Timer::new(clock).unwrap();
        let hour = clock.now() + Duration::from_hours(1);
        timer.set(hour).unwrap();
        timer.set(clock.now()).unwrap();
        timer.set(hour).unwrap();
        assert!(!rings(&timer, Duration::ZERO), "it was set again");
        timer.set(clock.now() + Duration::from_micros(1)).unwrap();
        assert!(rings(&timer, Duration::from_secs(10)));
        timer.set(NEVER).unwrap();
        assert!(!rings(&timer, Duration::ZERO));
        assert_eq!(timer.at(), NEVER);
    }

    #[test]
    fn a_later_moment_leaves_it_as_it_is() {
        let clock = Clock::new();
        let timer = Timer::new(clock).unwrap();
        let first = clock.now() + Duration::from_hours(1);
        timer.set(first).unwrap();
        timer.set(first + Duration::from_hours(1)).unwrap();
        timer.set(NEVER).unwrap();
        assert_eq!(timer.at(), first);
    }
}
