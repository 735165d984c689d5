//! Who drives the engine: at most one thread has the seat, polls the sockets and keeps the
//! engine's deadlines.
//!
//! It decides who that is and who must be woken. The driving itself is in `driver` and `runtime`.
//!
//! # Design
//!
//! *The thread that waits for a message drives*, so that a round trip on an idle host needs no
//! hand-off between threads. When it has its message it leaves the seat to another waiting thread.
//!
//! *The background thread takes a seat that nobody had for a whole tick.* Waking it each time a
//! thread leaves would cost a system call per message, and a thread that leaves is usually back
//! within microseconds. It looks now and then while others come and go, and sleeps without a tick
//! when they stop, so that an idle process uses no CPU.
//!
//! *A waiting thread takes the seat from the background thread without waking it.* The background
//! thread then sleeps on in its system call; the next packet ends it. If the thread leaves before
//! that, the sleeper has the seat again.
//!
//! *The task of an asynchronous runtime needs no seat.* It shares the turns with whoever else
//! takes one, and replaces the background thread.

use core::task::Waker;

use homa_proto::Instant;

use crate::sync::thread::Thread;
use crate::waiting::{Alarm, Ticket, WaitList};

/// Who has the seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Holder {
    #[default]
    Nobody,
    /// A thread that waits for a message.
    Waiter,
    /// The background thread.
    Background,
}

/// The seat and those who may want it.
#[derive(Default)]
pub(crate) struct Seat {
    holder: Holder,
    /// Times that the seat was taken or left: shows the background thread whether it was in use.
    changes: u64,
    /// Until when the thread in the seat sleeps, while it does.
    waiter_sleep: Option<Instant>,
    /// Until when the background thread sleeps on the sockets, while it does.
    background_sleep: Option<Instant>,
    /// Until when the task of a runtime sleeps, while it does.
    task_sleep: Option<Instant>,
    /// Whether a runtime's task drives.
    task: bool,
    /// The background thread, while it sleeps without a tick.
    parked: Option<Thread>,
    /// Threads that wait for a message while another has the seat.
    threads: WaitList,
}

/// "No deadline", as a moment to sleep until.
pub(crate) const NEVER: Instant = Instant::from_nanos(u64::MAX);

impl Seat {
    /// Gives the seat to a waiting thread, unless another has it.
    pub(crate) fn take(&mut self) -> bool {
        if self.holder == Holder::Waiter {
            return false;
        }
        self.holder = Holder::Waiter;
        self.changes += 1;
        true
    }

    /// A thread will sleep until the seat may be free for it.
    pub(crate) fn queue(&mut self, ticket: &mut Ticket, waker: &Waker) {
        self.threads.enter(ticket, waker);
    }

    /// A waiting thread has what it came for. Returns the thread that should take the seat next.
    pub(crate) fn leave(&mut self, ticket: &mut Ticket, seated: bool) -> Option<Waker> {
        self.threads.leave(ticket);
        if seated {
            self.holder = Holder::Nobody;
            self.changes += 1;
        }
        if self.holder != Holder::Nobody {
            return None;
        }
        let next = self.threads.pop();
        if next.is_none() {
            self.leave_to_background();
        }
        next
    }

    fn leave_to_background(&mut self) {
        if self.task {
            return;
        }
        if self.background_sleep.is_some() {
            self.holder = Holder::Background;
        } else if let Some(thread) = self.parked.take() {
            thread.unpark();
        }
    }

    /// The thread in the seat falls asleep, or woke.
    pub(crate) fn set_waiter_sleep(&mut self, until: Option<Instant>) {
        self.waiter_sleep = until;
    }

    /// Offers the seat to the background thread; `seen` is what it saw at its last look.
    pub(crate) fn offer_to_background(&mut self, seen: &mut u64) -> Offer {
        self.background_sleep = None;
        if self.task {
            if self.holder == Holder::Background {
                self.holder = Holder::Nobody;
            }
            return Offer::NotNeeded;
        }
        if self.holder == Holder::Background {
            return Offer::Yours;
        }
        let unchanged = *seen == self.changes;
        *seen = self.changes;
        match (self.holder, unchanged) {
            (Holder::Nobody, true) => {
                self.holder = Holder::Background;
                Offer::Yours
            }
            (_, true) => Offer::InUseThroughout,
            (_, false) => Offer::InUse,
        }
    }

    /// The background thread falls asleep on the sockets.
    pub(crate) fn set_background_sleep(&mut self, until: Instant) {
        self.background_sleep = Some(until);
    }

    /// The background thread falls asleep without a tick until the seat becomes free.
    pub(crate) fn park(&mut self, thread: Thread) {
        self.parked = Some(thread);
    }

    /// A runtime's task drives from now on; `false` if another one does.
    #[cfg(feature = "tokio")]
    pub(crate) fn attach_task(&mut self) -> bool {
        !core::mem::replace(&mut self.task, true)
    }

    /// The runtime's task ended.
    #[cfg(feature = "tokio")]
    pub(crate) fn detach_task(&mut self) {
        self.task = false;
        self.task_sleep = None;
        if self.holder == Holder::Nobody {
            self.leave_to_background();
        }
    }

    /// Whether a runtime's task drives.
    pub(crate) fn has_task(&self) -> bool {
        self.task
    }

    /// The runtime's task falls asleep, or woke.
    #[cfg(feature = "tokio")]
    pub(crate) fn set_task_sleep(&mut self, until: Option<Instant>) {
        self.task_sleep = until;
    }

    /// Whether there is anyone to alert.
    pub(crate) fn is_anyone_asleep(&self) -> bool {
        self.waiter_sleep.is_some() || self.background_sleep.is_some() || self.task_sleep.is_some()
    }

    /// Wakes those who sleep past `deadline`, and the thread in the seat if `woken`: one of the
    /// wakers just fired may be its own, and no waker reaches it in its system call.
    pub(crate) fn alert(&self, deadline: Option<Instant>, woken: bool, alarm: &Alarm) {
        let late = |sleep: Option<Instant>| match (sleep, deadline) {
            (Some(until), Some(deadline)) => deadline < until,
            _ => false,
        };
        if late(self.waiter_sleep) || (woken && self.waiter_sleep.is_some()) {
            alarm.waiter.wake();
        }
        if self.holder == Holder::Background && late(self.background_sleep) {
            alarm.background.wake();
        }
        if late(self.task_sleep) {
            alarm.task.ring();
        }
    }

    /// Sees to it that what is held is sent even if nobody takes a turn soon.
    pub(crate) fn mind_what_is_held(&mut self, alarm: &Alarm) {
        if self.task {
            alarm.task.ring();
        } else if self.background_sleep.is_some() {
            alarm.background.wake();
        } else if let Some(thread) = self.parked.take() {
            thread.unpark();
        }
    }

    /// Every thread that waits for the seat; used when there will be no more turns.
    pub(crate) fn evict(&mut self) -> impl Iterator<Item = Waker> {
        if let Some(thread) = self.parked.take() {
            thread.unpark();
        }
        core::iter::from_fn(|| self.threads.pop())
    }
}

/// What the background thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Drive.
    Yours,
    /// Look again after a tick: threads come and go.
    InUse,
    /// Look again after a tick, and if that stays so, sleep: one thread sits there.
    InUseThroughout,
    /// Sleep: a runtime's task drives.
    NotNeeded,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waker() -> Waker {
        Waker::noop().clone()
    }

    #[test]
    fn one_thread_has_the_seat_and_leaves_it_to_the_next() {
        let mut seat = Seat::default();
        let (mut first, mut second) = (Ticket::default(), Ticket::default());
        assert!(seat.take());
        assert!(!seat.take());
        seat.queue(&mut second, &waker());
        assert!(seat.leave(&mut first, true).is_some());
        assert!(seat.take());
        assert!(seat.leave(&mut second, true).is_none());
    }

    #[test]
    fn the_background_thread_takes_a_seat_that_was_free_for_a_tick() {
        let mut seat = Seat::default();
        let mut ticket = Ticket::default();
        let mut seen = 0;
        assert!(seat.take());
        assert_eq!(seat.offer_to_background(&mut seen), Offer::InUse);
        assert_eq!(seat.offer_to_background(&mut seen), Offer::InUseThroughout);
        seat.leave(&mut ticket, true);
        assert_eq!(seat.offer_to_background(&mut seen), Offer::InUse);
        assert_eq!(seat.offer_to_background(&mut seen), Offer::Yours);
        assert_eq!(seat.offer_to_background(&mut seen), Offer::Yours);
    }

    #[test]
    fn a_sleeping_background_thread_gets_the_seat_back() {
        let mut seat = Seat::default();
        let mut ticket = Ticket::default();
        let mut seen = 0;
        assert_eq!(seat.offer_to_background(&mut seen), Offer::Yours);
        seat.set_background_sleep(NEVER);
        assert!(seat.take());
        seat.leave(&mut ticket, true);
        assert_eq!(seat.holder, Holder::Background);
        assert!(seat.take());
        assert_eq!(
            seat.offer_to_background(&mut seen),
            Offer::InUse,
            "it woke, and lost the seat"
        );
    }

    #[test]
    fn only_who_sleeps_past_a_deadline_is_woken_for_it() {
        let alarm = Alarm::new().unwrap();
        let mut seat = Seat::default();
        let at = |nanos| Some(Instant::from_nanos(nanos));
        assert!(seat.take());
        seat.alert(at(5), true, &alarm);
        assert!(!alarm.waiter.drain(), "it is awake");
        seat.set_waiter_sleep(at(10));
        seat.alert(at(11), false, &alarm);
        assert!(!alarm.waiter.drain());
        seat.alert(at(9), false, &alarm);
        assert!(alarm.waiter.drain());
        seat.alert(None, true, &alarm);
        assert!(alarm.waiter.drain());
    }

    #[test]
    fn a_task_replaces_the_background_thread() {
        let mut seat = Seat::default();
        let mut seen = 0;
        assert_eq!(seat.offer_to_background(&mut seen), Offer::Yours);
        assert!(seat.attach_task());
        assert!(!seat.attach_task());
        assert_eq!(seat.offer_to_background(&mut seen), Offer::NotNeeded);
        seat.park(crate::sync::thread::current());
        seat.detach_task();
        assert!(seat.parked.is_none(), "it was woken");
        assert_eq!(seat.offer_to_background(&mut seen), Offer::Yours);
    }
}
