//! Who waits for what, and how each is woken. It decides nothing about who drives the engine.
//!
//! Everything that waits is a [`Waker`]: a task's own, or one that unparks a thread. So the tables
//! need not know whether an application blocks or awaits.

use core::task::Waker;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};
use std::task::Wake;

use homa_net::wait::Wakeup;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, MutexGuard, thread_local};

/// Names an entry of a [`WaitList`]; held by whoever waits.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<u64>);

impl Ticket {
    /// Whether it was used and not given back.
    pub(crate) const fn is_entered(&self) -> bool {
        self.0.is_some()
    }
}

/// Waiters in order of arrival.
#[derive(Default)]
pub(crate) struct WaitList {
    entries: VecDeque<(u64, Waker)>,
    next: u64,
}

impl WaitList {
    /// Enters `waker`, or replaces the one entered with `ticket` before.
    pub(crate) fn enter(&mut self, ticket: &mut Ticket, waker: &Waker) {
        if let Some(entry) = self.find(ticket) {
            self.entries[entry].1.clone_from(waker);
            return;
        }
        self.entries.push_back((self.next, waker.clone()));
        *ticket = Ticket(Some(self.next));
        self.next += 1;
    }

    /// Takes the entry back. Returns `true` if it had been woken: whoever leaves without using
    /// that must wake the next one.
    pub(crate) fn leave(&mut self, ticket: &mut Ticket) -> bool {
        if !ticket.is_entered() {
            return false;
        }
        let entry = self.find(ticket);
        *ticket = Ticket::default();
        if let Some(entry) = entry {
            self.entries.remove(entry);
        }
        entry.is_none()
    }

    /// The waiter who came first, no longer on the list.
    pub(crate) fn pop(&mut self) -> Option<Waker> {
        self.entries.pop_front().map(|(_, waker)| waker)
    }

    /// Wakes everyone on the list: mostly nobody.
    #[inline]
    pub(crate) fn wake_all(&mut self, woken: &mut Woken) {
        if !self.entries.is_empty() {
            self.wake_some(woken);
        }
    }

    #[cold]
    fn wake_some(&mut self, woken: &mut Woken) {
        woken
            .wakers
            .extend(self.entries.drain(..).map(|(_, waker)| waker));
    }

    fn find(&self, ticket: &Ticket) -> Option<usize> {
        let number = ticket.0?;
        // Numbers rise along the list.
        self.entries
            .binary_search_by_key(&number, |entry| entry.0)
            .ok()
    }
}

/// Wakers fired by what happened to the state; they are called once its lock is released.
#[derive(Default)]
pub(crate) struct Woken {
    wakers: Vec<Waker>,
}

impl Woken {
    pub(crate) fn push(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.wakers.push(waker);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<Waker> {
        self.wakers.pop()
    }
}

/// Runs `wait` with a waker that unparks this thread. Each thread makes its waker once.
pub(crate) fn with_thread_waker<T>(wait: impl FnOnce(&Waker) -> T) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
        fn wake_by_ref(self: &Arc<Self>) {
            self.0.unpark();
        }
    }
    thread_local!(static WAKER: Waker = Arc::new(Unpark(thread::current())).into());
    WAKER.with(wait)
}

/// How the three who may sleep on the sockets are woken before a packet or their deadline does it.
pub(crate) struct Alarm {
    /// The blocked thread that drives the engine.
    pub(crate) waiter: Wakeup,
    /// The background thread.
    pub(crate) background: Wakeup,
    /// The task of an asynchronous runtime.
    pub(crate) task: TaskBell,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            waiter: Wakeup::new()?,
            background: Wakeup::new()?,
            task: TaskBell::default(),
        })
    }

    /// Wakes whoever sleeps, for callers that cannot know who it is.
    pub(crate) fn ring_all(&self) {
        self.waiter.wake();
        self.background.wake();
        self.task.ring();
    }
}

/// Wakes the driving task; a ring while nobody listens is kept.
#[derive(Default)]
pub(crate) struct TaskBell {
    rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl TaskBell {
    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        let waker = self.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether it rang since the last asking; if not, `waker` is called when it does.
    #[cfg(feature = "tokio")]
    pub(crate) fn listen(&self, waker: &Waker) -> bool {
        *self.lock() = Some(waker.clone());
        self.rung.swap(false, Ordering::AcqRel)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn waiters_are_woken_in_order_of_arrival_and_may_leave_in_any() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut list = WaitList::default();
        let mut tickets: [Ticket; 3] = Default::default();
        for ticket in &mut tickets {
            list.enter(ticket, &waker);
        }
        list.enter(&mut tickets[1], &waker);
        assert_eq!(list.entries.len(), 3);

        assert!(!list.leave(&mut tickets[1]), "it had not been woken");
        list.pop().unwrap().wake();
        assert!(list.leave(&mut tickets[0]), "it had been woken");
        assert!(!list.leave(&mut tickets[0]), "it left before");
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(list.pop().is_some());
        assert!(list.pop().is_none());
    }
}
