//! What is under way at a client or a server, and how far that is with closing.

use core::task::Waker;

use crate::waiting::{Ticket, WaitList, Woken};

/// How far a client or a server is with closing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Takes new work.
    #[default]
    Open,
    /// Takes none, and finishes what it has.
    Draining,
    /// Over.
    Closed,
}

/// The phase, and what must end before the next.
#[derive(Default)]
pub(crate) struct Closing {
    phase: Phase,
    /// RPCs under way; of a server those whose request was handed over or queued.
    live: u32,
    /// Who waits until there is none.
    drainers: WaitList,
}

impl Closing {
    /// Whether it takes new work.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether it is over.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Moves on; whoever waits for the end has waited long enough once it is closed.
    pub(crate) fn advance(&mut self, phase: Phase, woken: &mut Woken) {
        self.phase = self.phase.max(phase);
        if self.is_closed() {
            self.drainers.wake_all(woken);
        }
    }

    /// An RPC is under way.
    pub(crate) fn begin_one(&mut self) {
        self.live += 1;
    }

    /// An RPC is over.
    pub(crate) fn finish_one(&mut self, woken: &mut Woken) {
        debug_assert!(self.live > 0, "every RPC ends once");
        self.live = self.live.saturating_sub(1);
        if self.live == 0 {
            self.drainers.wake_all(woken);
        }
    }

    /// Whether nothing is under way any more, or has `waker` called when that may be.
    pub(crate) fn drained(&mut self, ticket: &mut Ticket, waker: Option<&Waker>) -> Option<()> {
        if self.live == 0 || self.is_closed() {
            return Some(());
        }
        if let Some(waker) = waker {
            self.drainers.enter(ticket, waker);
        }
        None
    }

    /// Wakes whoever waits, to find out that the host is broken.
    pub(crate) fn wake_drainers(&mut self, woken: &mut Woken) {
        self.drainers.wake_all(woken);
    }
}
