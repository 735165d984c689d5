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
        use std::sync::Arc;

        use shuttle::sync::{Condvar, Mutex};
        pub(crate) use shuttle::thread::{Builder, panicking, yield_now};

        /// A thread that is woken by [`unpark`](Self::unpark) alone. The checker's own may wake by
        /// themselves, and so make good what was forgotten.
        #[derive(Clone, Default)]
        pub(crate) struct Thread(Arc<(Mutex<bool>, Condvar)>);

        shuttle::thread_local!(static OWN: Thread = Thread::default());

        impl Thread {
            pub(crate) fn unpark(&self) {
                *self.0.0.lock().expect("no test goes on after a panic") = true;
                self.0.1.notify_one();
            }
        }

        pub(crate) fn current() -> Thread {
            OWN.with(Thread::clone)
        }

        /// Waits for an unpark since the last.
        pub(crate) fn park() {
            let own = current();
            let mut given = own.0.0.lock().expect("no test goes on after a panic");
            while !*given {
                given = own.0.1.wait(given).expect("no test goes on after a panic");
            }
            *given = false;
        }

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
