//! What the granter knows of one message.

use crate::slab::NONE;
use crate::time::Instant;
use crate::wire::Priority;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not known to the granter.
    Absent,
    Waiting,
    Active,
    /// Fully granted: without a place, but its bytes are outstanding.
    Granted,
    /// Silent: without a place until it is heard.
    Parked,
}

#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) standing: Standing,
    pub(super) sender: u32,
    pub(super) length: u32,
    pub(super) received: u32,
    pub(super) granted: u32,
    pub(super) birth: u32,
    /// Level of the latest grant, at first that of what goes unasked; and what was granted when it
    /// rose last: bytes before that may be on their way on a lower one still.
    pub(super) level: Priority,
    pub(super) raised_at: u32,
    /// Since when bytes are outstanding and none has come.
    pub(super) silent_since: Instant,
    /// Silent for so long that they are not on their way.
    pub(super) is_silent: bool,
}

pub(super) const ABSENT: Entry = Entry {
    standing: Standing::Absent,
    sender: NONE,
    length: 0,
    received: 0,
    granted: 0,
    birth: 0,
    level: Priority::HIGHEST,
    raised_at: 0,
    silent_since: Instant::ZERO,
    is_silent: false,
};

impl Entry {
    pub(super) const fn remaining(&self) -> u32 {
        self.length - self.received
    }

    pub(super) const fn outstanding(&self) -> u32 {
        self.granted.saturating_sub(self.received)
    }

    /// What the message counts against `max_incoming_bytes`.
    pub(super) const fn charged(&self) -> u64 {
        match self.standing {
            Standing::Waiting | Standing::Active | Standing::Granted if !self.is_silent => {
                self.outstanding() as u64
            }
            _ => 0,
        }
    }

    /// The same as [`rank`](Self::rank) in one number.
    pub(super) const fn place_in_order(&self) -> u64 {
        (self.remaining() as u64) << u32::BITS | self.birth as u64
    }

    pub(super) const fn rank(&self) -> (u32, u64) {
        (self.remaining(), self.birth as u64)
    }
}
