//! What every handle of a host shares: the state behind its lock, and the parts beside it.
//!
//! It decides what happens after a panic: whoever held the lock then may have left the state half
//! changed, so the host is unusable, and everybody who waits is woken to find that out.

use core::ops::{Deref, DerefMut, Range};
use core::task::Waker;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::{Arc, TryLockError};

use crate::counters::{Counters, HostCounters};
use crate::error::{BindError, CallError, RecvError, ReplyError};
use crate::messages::Outbound;
use crate::state::{Parts, State};
use crate::stock::Stock;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard, thread};
use crate::waiting::Ticket;

/// A host's inside.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Threads that want the lock: whoever takes turn after turn lets them in.
    contenders: AtomicU32,
    pub(crate) parts: Arc<Parts>,
    /// Readable when any link has something to do.
    pub(crate) readiness: OwnedFd,
    /// Longest message in bytes.
    pub(crate) message_max: u32,
}

impl Shared {
    pub(crate) fn new(state: State, parts: Arc<Parts>, readiness: OwnedFd) -> Self {
        Self {
            message_max: state.engine.config().max_message_bytes,
            state: Mutex::new(state),
            contenders: AtomicU32::new(0),
            parts,
            readiness,
        }
    }

    /// The state, alone.
    ///
    /// # Errors
    ///
    /// A thread panicked while it had the state.
    pub(crate) fn lock(&self) -> Result<Guard<'_>, Broken> {
        match self.state.try_lock() {
            Ok(state) => Ok(Guard { state: Some(state) }),
            Err(TryLockError::WouldBlock) => self.wait_for_lock(),
            Err(TryLockError::Poisoned(_)) => Err(Broken),
        }
    }

    #[cold]
    fn wait_for_lock(&self) -> Result<Guard<'_>, Broken> {
        self.contenders.fetch_add(1, Ordering::Relaxed);
        let state = self.state.lock();
        self.contenders.fetch_sub(1, Ordering::Relaxed);
        match state {
            Ok(state) => Ok(Guard { state: Some(state) }),
            Err(_) => Err(Broken),
        }
    }

    /// Takes room in the send budget for a message of `bytes`, or has `waker` called when there may
    /// be some.
    pub(crate) fn room(
        &self,
        state: &mut State,
        bytes: usize,
        ticket: &mut Ticket,
        waker: Option<&Waker>,
    ) -> Option<()> {
        if self.parts.budget.reserve(bytes).is_ok() {
            return Some(());
        }
        if let Some(waker) = waker {
            state.senders.enter(ticket, waker);
        }
        None
    }

    /// Takes back what [`room`](Self::room) entered.
    pub(crate) fn leave_senders(&self, ticket: &mut Ticket) {
        if let Ok(mut state) = self.lock() {
            state.senders.leave(ticket);
        }
    }

    /// An outbound message that has its room in the send budget, copied if it is long and must be;
    /// `None` without memory, and then the room is free again.
    pub(crate) fn outgoing<'a>(&self, message: impl Into<Source<'a>>) -> Option<Outgoing<'a>> {
        let message = message.into();
        let length = message.len();
        let copy = match message {
            Source::Shared(bytes) => {
                let whole = 0..length;
                return Some(Outgoing::Ready(Outbound::Shared(bytes, whole)));
            }
            Source::Part(bytes, part) => {
                let part = there(&bytes, &part);
                return Some(Outgoing::Ready(Outbound::Shared(bytes, part)));
            }
            Source::Copied(message) if Stock::has(length) => {
                return Some(Outgoing::Short(message));
            }
            Source::Copied(message) => self.parts.pool.copy(message),
            Source::Gathered(pieces) => self.parts.pool.gather(pieces),
        };
        if copy.is_none() {
            self.give_up_room(length);
        }
        copy.map(|copy| Outgoing::Ready(Outbound::Pooled(copy)))
    }

    /// Gives room in the send budget back, of a message that found no memory.
    #[cold]
    fn give_up_room(&self, bytes: usize) {
        self.parts.budget.release(bytes);
        if let Ok(mut state) = self.lock() {
            let State { senders, woken, .. } = &mut *state;
            senders.wake_all(woken);
        }
    }

    /// What engine, links and host counted.
    ///
    /// # Errors
    ///
    /// A thread panicked while it had the state.
    pub(crate) fn counters(&self) -> Result<Counters, Broken> {
        let state = self.lock()?;
        let recorder = self.parts.recorder.as_ref();
        Ok(Counters {
            engine: state.engine.counters().clone(),
            links: state.links.counters(),
            host: HostCounters {
                capture_lost: recorder.map_or(0, |recorder| recorder.lost()),
                ..state.counters
            },
        })
    }

    /// Lets other threads have the lock, if any wants it.
    pub(crate) fn let_others_in(&self) {
        if self.contenders.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        } else {
            core::hint::spin_loop();
        }
    }
}

/// The bytes of a message to be sent, as an application hands them over.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// They are copied, and free again at once.
    Copied(&'a [u8]),
    /// They lie in several pieces, which follow each other in the message; copied likewise.
    Gathered(&'a [IoSlice<'a>]),
    /// They are sent from where they lie, and given back when the message is over: for long ones, of
    /// which a copy costs about as much as half of sending them.
    Shared(Arc<[u8]>),
    /// The same of those in a range; what of it lies behind their end is left out.
    Part(Arc<[u8]>, Range<usize>),
}

/// What there is of `part`.
fn there(bytes: &[u8], part: &Range<usize>) -> Range<usize> {
    let end = part.end.min(bytes.len());
    part.start.min(end)..end
}

impl Source<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Copied(bytes) => bytes.len(),
            Self::Gathered(pieces) => pieces.iter().map(|piece| piece.len()).sum(),
            Self::Shared(bytes) => bytes.len(),
            Self::Part(bytes, part) => there(bytes, part).len(),
        }
    }
}

impl<'a> From<&'a [u8]> for Source<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Copied(bytes)
    }
}

impl<'a> From<&'a [IoSlice<'a>]> for Source<'a> {
    fn from(pieces: &'a [IoSlice<'a>]) -> Self {
        Self::Gathered(pieces)
    }
}

impl From<Arc<[u8]>> for Source<'_> {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self::Shared(bytes)
    }
}

/// An outbound message on its way to the state.
pub(crate) enum Outgoing<'a> {
    /// To be copied where the buffers are at hand.
    Short(&'a [u8]),
    Ready(Outbound),
}

/// A thread panicked while it had the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken;

impl From<Broken> for CallError {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl From<Broken> for ReplyError {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl From<Broken> for RecvError {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl From<Broken> for BindError {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

/// The state while this thread has it. Dropping it releases the lock and then calls the wakers
/// that were fired, so that nobody wakes just to wait for the lock.
pub(crate) struct Guard<'a> {
    /// `None` only while being dropped.
    state: Option<MutexGuard<'a, State>>,
}

impl Deref for Guard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state.as_ref().expect("present until dropped")
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state.as_mut().expect("present until dropped")
    }
}

/// Wakers called after the lock's release; more than these are called before it.
const WAKERS_OUTSIDE: usize = 8;

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let Some(mut state) = self.state.take() else {
            return;
        };
        if thread::panicking() {
            give_up(&mut state);
        }
        if !state.woken.is_empty() {
            call_wakers(state);
        }
    }
}

fn call_wakers(mut state: MutexGuard<'_, State>) {
    let mut outside: [Option<Waker>; WAKERS_OUTSIDE] = Default::default();
    for slot in &mut outside {
        *slot = state.woken.pop();
        if slot.is_none() {
            break;
        }
    }
    while let Some(waker) = state.woken.pop() {
        waker.wake();
    }
    drop(state);
    outside.into_iter().flatten().for_each(Waker::wake);
}

/// After a panic: everyone who waits shall find the host broken.
fn give_up(state: &mut State) {
    state.closed = true;
    let State {
        parties,
        senders,
        woken,
        ..
    } = state;
    parties.wake_everyone(woken);
    senders.wake_all(woken);
    state.ring_all();
}
