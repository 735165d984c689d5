//! What threads meet at: locks, atomics, parking, sleeping on descriptors. The standard library's and
//! the system's, or, compiled with `--cfg homa_model`, those of a model checker that tries schedules
//! (`model`). It decides nothing.

#[cfg(not(homa_model))]
pub(crate) use core::sync::atomic;
#[cfg(not(homa_model))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard},
    thread, thread_local,
};

#[cfg(not(homa_model))]
pub(crate) use homa_net::wait::wait;

#[cfg(homa_model)]
pub(crate) use modelled::{thread, wait};
#[cfg(homa_model)]
pub(crate) use shuttle::{
    sync::{Mutex, MutexGuard, atomic},
    thread_local,
};

#[cfg(homa_model)]
mod modelled {
    use core::time::Duration;
    use std::io;

    use homa_net::wait::Watch;

    /// Threads of the model, in which no time passes.
    pub(crate) mod thread {
        use core::time::Duration;

        pub(crate) use shuttle::thread::{Builder, Thread, current, panicking, park, yield_now};

        /// Returns sooner or later, as with any timeout.
        pub(crate) fn park_timeout(_: Duration) {
            yield_now();
        }
    }

    /// Looks again and again while the others run, since a sleep in the system would stop them all.
    /// No timeout ends it: a wake-up that is forgotten is not made good by the next deadline.
    pub(crate) fn wait(watches: &mut [Watch<'_>], timeout: Option<Duration>) -> io::Result<usize> {
        loop {
            let count = homa_net::wait::wait(watches, Some(Duration::ZERO))?;
            if count > 0 || timeout == Some(Duration::ZERO) {
                return Ok(count);
            }
            thread::yield_now();
        }
    }
}
