//! Waits for sockets: spins a little, then sleeps.

use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long to look again and again before going to sleep, where there is a processor for each side.
/// Waking up takes tens of microseconds on many machines; Homa's waiting threads spin as long, so
/// that neither protocol has an advantage.
pub(crate) const SPIN: Duration = Duration::from_micros(50);

const EVENTS_MAX_COUNT: usize = 64;

/// A set of sockets, each with a key that says which one it is.
pub(crate) struct Poller {
    epoll: OwnedFd,
    spin: Duration,
}

/// A socket on which something can be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) key: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl Poller {
    /// An empty set that is looked at again and again for `spin` before going to sleep.
    ///
    /// # Errors
    /// The process has too many files open.
    pub(crate) fn new(spin: Duration) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            spin,
        })
    }

    /// Adds a socket, to be told when it can be read.
    ///
    /// # Errors
    /// The kernel is out of memory for it.
    pub(crate) fn add(&self, socket: impl AsFd, key: usize) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(key as u64),
            EventFlags::IN,
        )?)
    }

    /// Says whether to be told as well when the socket can be written.
    ///
    /// # Errors
    /// The socket is not in the set.
    pub(crate) fn watch_output(
        &self,
        socket: impl AsFd,
        key: usize,
        wanted: bool,
    ) -> io::Result<()> {
        let flags = if wanted {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        };
        Ok(epoll::modify(
            &self.epoll,
            socket,
            EventData::new_u64(key as u64),
            flags,
        )?)
    }

    /// Waits until something can be done, at most until `until` (`None`: for as long as it takes),
    /// and puts it into `ready`, which is empty when the time is over.
    ///
    /// # Errors
    /// The kernel refuses to wait, which it does for no reason that we know.
    pub(crate) fn wait(&self, until: Option<Instant>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let started = Instant::now();
        loop {
            self.look(ready)?;
            let now = Instant::now();
            if !ready.is_empty() || until.is_some_and(|until| now >= until) {
                return Ok(());
            }
            if now.duration_since(started) >= self.spin {
                self.sleep(until.map(|until| until.duration_since(now)))?;
            }
        }
    }

    fn look(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        }; EVENTS_MAX_COUNT];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let count = match epoll::wait(&self.epoll, &mut events[..], Some(&now)) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            // A copy, because the kernel's layout is packed.
            let (flags, data) = (event.flags, event.data);
            // Errors and hang-ups are told by the read that follows.
            let readable = flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR);
            let writable = flags.contains(EventFlags::OUT);
            ready.push(Ready {
                key: data.u64() as usize,
                readable,
                writable,
            });
        }
        Ok(())
    }

    /// Sleeps on the set itself with ppoll, whose time-out is finer than the millisecond of
    /// `epoll_wait`, and which kernels before 5.11 have too.
    fn sleep(&self, longest: Option<Duration>) -> io::Result<()> {
        let longest = longest.map(|duration| Timespec {
            tv_sec: duration.as_secs() as i64,
            tv_nsec: duration.subsec_nanos().into(),
        });
        match poll(
            &mut [PollFd::new(&self.epoll, PollFlags::IN)],
            longest.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
