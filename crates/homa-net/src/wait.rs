//! Waiting for links, and waking who waits.
//!
//! It decides nothing and reads no clock: the host says on what and for how long.

use core::time::Duration;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::sys;

/// The most descriptors of one [`wait`].
pub const WATCHES_MAX: usize = 64;

/// One descriptor to wait on. It always waits for something to read and for errors.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// The descriptor: [`Link::fd`](crate::Link::fd) or [`Wakeup::fd`].
    pub fd: BorrowedFd<'a>,
    /// Whether to wait for room to write too. Only with something to send, or every wait ends at
    /// once.
    pub for_room: bool,
    /// What [`wait`] found.
    pub ready: Ready,
}

impl<'a> Watch<'a> {
    /// Waits for something to read.
    #[must_use]
    pub fn readable(fd: BorrowedFd<'a>) -> Self {
        Self {
            fd,
            for_room: false,
            ready: Ready::default(),
        }
    }

    /// Waits for something to read or room to write.
    #[must_use]
    pub fn readable_or_writable(fd: BorrowedFd<'a>) -> Self {
        Self {
            for_room: true,
            ..Self::readable(fd)
        }
    }
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// There is something to receive.
    pub readable: bool,
    /// There is room to send.
    pub writable: bool,
    /// A report waits: call [`Link::receive`](crate::Link::receive), then
    /// [`Link::poll_errors`](crate::Link::poll_errors).
    pub error: bool,
}

/// Waits until a descriptor is ready or `timeout` is over (`None`: however long it takes); notes
/// in each watch what it is ready for and returns how many are. A signal ends it early, with 0.
///
/// The timeout counts in nanoseconds; the kernel adds up to the thread's timer slack, 50 µs unless
/// changed.
///
/// # Errors
///
/// What the operating system says (out of memory).
///
/// # Panics
///
/// With more than [`WATCHES_MAX`] watches.
pub fn wait(watches: &mut [Watch<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    assert!(
        watches.len() <= WATCHES_MAX,
        "at most {WATCHES_MAX} watches"
    );
    let mut polled = [EMPTY; WATCHES_MAX];
    let polled = &mut polled[..watches.len()];
    for (entry, watch) in polled.iter_mut().zip(&mut *watches) {
        entry.fd = watch.fd.as_raw_fd();
        entry.events = libc::POLLIN | if watch.for_room { libc::POLLOUT } else { 0 };
        watch.ready = Ready::default();
    }
    let count = match sys::poll(polled, timeout) {
        Err(errno) if errno.0 == libc::EINTR => return Ok(0),
        result => result?,
    };
    for (entry, watch) in polled.iter().zip(watches) {
        let any = |events| entry.revents & events != 0;
        watch.ready = Ready {
            readable: any(libc::POLLIN),
            writable: any(libc::POLLOUT),
            error: any(libc::POLLERR | libc::POLLHUP | libc::POLLNVAL),
        };
    }
    Ok(count)
}

const EMPTY: libc::pollfd = libc::pollfd {
    fd: -1,
    events: 0,
    revents: 0,
};

/// Wakes a thread that waits, from any other thread. Share it by reference or in an `Arc`.
///
/// It stays woken until drained, so that a wake between two waits is not lost.
#[derive(Debug)]
pub struct Wakeup {
    counter: File,
}

impl Wakeup {
    /// A wake-up that nobody has used yet.
    ///
    /// # Errors
    ///
    /// Too many open files.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            counter: sys::event_counter()?.into(),
        })
    }

    /// Ends the present or the next wait on [`fd`](Self::fd).
    pub fn wake(&self) {
        // The only error an eventfd can give here is that its counter is at its maximum: woken.
        let _ = (&self.counter).write(&1_u64.to_ne_bytes());
    }

    /// Takes back every wake so far; returns whether there was one.
    pub fn drain(&self) -> bool {
        (&self.counter).read(&mut [0; 8]).is_ok()
    }

    /// What to wait on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.counter.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_between_two_waits_is_not_lost_and_ends_one_wait_only() {
        let wakeup = Wakeup::new().unwrap();
        wakeup.wake();
        wakeup.wake();
        let mut watches = [Watch::readable(wakeup.fd())];
        assert_eq!(wait(&mut watches, Some(Duration::ZERO)).unwrap(), 1);
        assert!(watches[0].ready.readable);
        assert!(wakeup.drain());
        assert!(!wakeup.drain());
        assert_eq!(wait(&mut watches, Some(Duration::ZERO)).unwrap(), 0);
        assert_eq!(watches[0].ready, Ready::default());
    }

    #[test]
    fn another_thread_ends_a_wait() {
        let wakeup = Wakeup::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| wakeup.wake());
            let mut watches = [Watch::readable(wakeup.fd())];
            assert_eq!(
                wait(&mut watches, Some(Duration::from_secs(10))).unwrap(),
                1
            );
        });
    }

    #[test]
    fn a_wait_without_watches_lasts_as_long_as_asked() {
        let start = std::time::Instant::now();
        assert_eq!(wait(&mut [], Some(Duration::from_micros(300))).unwrap(), 0);
        assert!(start.elapsed() >= Duration::from_micros(300));
    }

    #[test]
    fn only_a_watch_that_asks_for_room_is_told_of_it() {
        let wakeup = Wakeup::new().unwrap();
        let mut watches = [
            Watch::readable(wakeup.fd()),
            Watch::readable_or_writable(wakeup.fd()),
        ];
        assert_eq!(wait(&mut watches, Some(Duration::ZERO)).unwrap(), 1);
        assert!(!watches[0].ready.writable);
        assert!(watches[1].ready.writable);
    }
}
