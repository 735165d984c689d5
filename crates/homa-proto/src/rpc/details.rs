//! What an RPC of long messages, or one that is asked about, needs beyond its entry: as many of these as
//! there are entries, but for a small packet each way nobody looks at them. Decides when they count.

use super::{Rpc, Rpcs, ServerRpc, State};
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::time::Instant;

/// A message that we send, as far as it must be known of one that goes in a small packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brief {
    pub(crate) length: u32,
    /// Payload bytes of a segment.
    segment: u16,
    /// All of it was sent.
    pub(crate) is_sent: bool,
    /// More is known, and what `is_sent` says does not count.
    pub(crate) is_detailed: bool,
}

impl Brief {
    pub(crate) const NONE: Self = Self {
        length: 0,
        segment: 0,
        is_sent: false,
        is_detailed: false,
    };

    /// A message that goes in one packet, of which nothing was sent.
    #[inline]
    pub(crate) const fn of(length: u32, segment: u16) -> Self {
        Self {
            length,
            segment,
            is_sent: false,
            is_detailed: false,
        }
    }

    /// Whether all of it was sent, as far as this tells.
    #[inline]
    pub(crate) const fn is_gone(&self) -> bool {
        self.is_sent && !self.is_detailed
    }

    /// The same in full. It is none that stands in the order that looks at births.
    pub(crate) fn in_full(self) -> Outbound {
        let mut outbound = Outbound::new(self.length, self.segment.into(), self.length, 0);
        if self.is_sent {
            outbound.sent = self.length;
        }
        outbound
    }
}

/// What is seldom looked at, and left from RPCs before until the entry says that it counts.
pub(crate) struct Details {
    /// What we send, where [`Brief::is_detailed`] says so.
    pub(crate) outbound: Outbound,
    /// What we receive, where [`Rpc::has_inbound`] says so.
    pub(crate) inbound: Inbound,
    /// When the peer was asked for the first time since there was news, and for the last time.
    pub(crate) first_ask: Instant,
    pub(crate) last_ask: Instant,
    /// When the application loses interest, where [`Rpc::has_deadline`] says so.
    pub(crate) deadline: Instant,
}

impl Details {
    pub(super) fn none() -> Self {
        Self {
            outbound: Brief::NONE.in_full(),
            inbound: Inbound::new(0),
            first_ask: Instant::ZERO,
            last_ask: Instant::ZERO,
            deadline: Instant::NEVER,
        }
    }
}

impl Rpc {
    /// Whether nothing of the message that we send was sent.
    #[inline]
    pub(crate) fn is_unsent(&self, details: &Details) -> bool {
        match self.message.is_detailed {
            true => details.outbound.sent == 0,
            false => !self.message.is_sent,
        }
    }

    /// Whether bytes of the message that we send may be sent for the first time.
    #[inline]
    pub(crate) fn is_sendable(&self, details: &Details) -> bool {
        match self.message.is_detailed {
            true => details.outbound.is_sendable(),
            false => !self.message.is_sent,
        }
    }

    /// Whether all that its client is to hear was said, and only the client's ack is missing.
    pub(crate) fn awaits_ack(&self, details: &Details) -> bool {
        match self.state {
            State::Server(ServerRpc::Sending) => self.is_all_sent(details),
            State::Server(ServerRpc::Refused(_)) => true,
            _ => false,
        }
    }

    /// Whether all of the message that we send was sent.
    #[inline]
    pub(crate) fn is_all_sent(&self, details: &Details) -> bool {
        match self.message.is_detailed {
            true => details.outbound.is_all_sent(),
            false => self.message.is_sent,
        }
    }
}

impl Rpcs {
    /// The message that we send in an RPC, if any, in full.
    pub(crate) fn outbound(&mut self, index: u32) -> Option<&mut Outbound> {
        let rpc = &mut self.slab[index];
        if !rpc.sends() {
            return None;
        }
        let details = &mut self.details[index];
        if !rpc.message.is_detailed {
            details.outbound = rpc.message.in_full();
            rpc.message.is_detailed = true;
        }
        Some(&mut details.outbound)
    }

    /// Sends a message in an RPC that one small packet does not hold.
    pub(crate) fn begin_outbound(&mut self, index: u32, outbound: Outbound) {
        let message = &mut self.slab[index].message;
        message.length = outbound.length;
        message.is_detailed = true;
        self.details[index].outbound = outbound;
    }

    /// The message that we receive in an RPC, if any byte of it came.
    #[inline]
    pub(crate) fn inbound(&mut self, index: u32) -> Option<&mut Inbound> {
        let rpc = &self.slab[index];
        (rpc.has_inbound && rpc.receives()).then(|| &mut self.details[index].inbound)
    }

    /// The same, to be looked at.
    pub(crate) fn inbound_of(&self, index: u32) -> Option<&Inbound> {
        let rpc = &self.slab[index];
        (rpc.has_inbound && rpc.receives()).then(|| &self.details[index].inbound)
    }

    /// A message of `length` bytes begins to arrive, of which nothing is there.
    pub(crate) fn begin_inbound(&mut self, index: u32, length: u32) {
        self.slab[index].has_inbound = true;
        self.details[index].inbound = Inbound::new(length);
    }

    /// Whether only its client's ack is missing.
    pub(crate) fn awaits_ack(&self, index: u32) -> bool {
        self.slab[index].awaits_ack(&self.details[index])
    }

    /// When the application loses interest; `Instant::NEVER`: not before the protocol gives up.
    #[inline]
    pub(crate) fn deadline(&self, index: u32) -> Instant {
        match self.slab[index].has_deadline {
            true => self.details[index].deadline,
            false => Instant::NEVER,
        }
    }

    pub(crate) fn set_deadline(&mut self, index: u32, deadline: Instant) {
        self.slab[index].has_deadline = true;
        self.details[index].deadline = deadline;
    }
}
