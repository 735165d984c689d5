//! RPCs: their states, and what packets and peers of one look like. Decides which packet belongs to
//! which RPC; the table that finds them is `rpc/table.rs`.

mod details;
mod table;

use core::net::Ipv6Addr;

use crate::address::{Path, SocketId};
use crate::api::{Event, Failure, RpcKey};
use crate::config::Config;
use crate::list::{Queue, QueueLink, UNLINKED};
use crate::peer::Peer;
use crate::progress::Progress;
use crate::slab::{Line, NONE, Vacant};
use crate::time::Instant;
use crate::wheel::{Timed, Timer};
use crate::wire::{Ack, Common, Data, RpcId, UnknownReason};

pub(crate) use details::{Brief, Details};
pub(crate) use table::{RPCS_MAX, Rpcs};

/// What happens in an RPC. What tells that comes first, beside what else is looked at.
#[repr(u8)]
pub(crate) enum State {
    /// We asked.
    Client(ClientRpc),
    /// We were asked.
    Server(ServerRpc),
    /// It is over; the application is still to be told.
    Over(Outcome),
}

/// How an RPC ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// Ours has its response, of this many bytes.
    Response(u32),
    /// Ours failed.
    Failed(Failure),
    /// One that we served; whether its client has the response, as far as we know.
    Ended { delivered: bool },
}

impl Outcome {
    /// What the application is told.
    #[inline]
    pub(crate) const fn told_of(self, rpc: RpcKey) -> Event {
        match self {
            Self::Response(length) => Event::Response { rpc, length },
            Self::Failed(failure) => Event::Failed { rpc, failure },
            Self::Ended { delivered } => Event::Ended { rpc, delivered },
        }
    }
}

/// An RPC as its client sees it.
///
/// ```text
/// call() ─▶ request going out ─first response byte─▶ response coming in ─last byte─▶ over
///                  ▲      │
///                  └──────┘ RPC_UNKNOWN soon, without any sign of life: from the start
/// ```
pub(crate) struct ClientRpc {
    /// When its first byte went out: from then on a server may have run it. `Instant::NEVER`: none
    /// did.
    pub(crate) since: Instant,
}

/// An RPC as its server sees it.
///
/// ```text
/// Receiving ─request complete→ InService ─reply()→ Sending ─ACK of all that was sent→ over
///                                   └─drop_request()→ Refused ─ACK→ over
/// ```
pub(crate) enum ServerRpc {
    /// Request bytes are still missing.
    Receiving,
    /// The application has the request, of this many bytes; from here on it must never run again.
    InService(u32),
    /// The response is on its way; once every byte was sent it is kept until the client says that it
    /// may be forgotten.
    Sending,
    /// There will be no response; kept to say so until the client has heard.
    Refused(UnknownReason),
}

/// Control packets that an RPC is to send, in the order of their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending(u8);

impl Pending {
    pub(crate) const NONE: Self = Self(0);
    /// RESEND for what is missing, or for everything if nothing came.
    pub(crate) const ASK: Self = Self(2);
    /// RESEND for one byte, whose answer proves the peer's address.
    pub(crate) const PROVE: Self = Self(4);
    pub(crate) const BUSY: Self = Self(8);
    pub(crate) const NEED_ACK: Self = Self(16);
    /// RPC_UNKNOWN with a reason: there will be no response.
    pub(crate) const REFUSE: Self = Self(32);

    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Takes the lowest bit out.
    pub(crate) fn take_first(&mut self) -> Option<Self> {
        let first = self.0 & self.0.wrapping_neg();
        self.0 ^= first;
        (first != 0).then_some(Self(first))
    }
}

/// What is to be told of an RPC that is over.
pub(crate) struct Parting {
    pub(crate) id: RpcId,
    pub(crate) tombstone: u32,
    /// Its application may have seen the request.
    pub(crate) ran: bool,
    /// It is to be appended to the queue of events.
    pub(crate) is_news: bool,
}

/// One RPC, ours or a client's.
///
/// All that one of a small packet each way needs, in two lines of the cache; what others need besides is
/// in its [`Details`].
#[repr(C)]
pub(crate) struct Rpc {
    /// Our view of the id: even where we are the client.
    pub(crate) id: RpcId,
    pub(crate) peer: u32,
    /// Bytes of its message, if that is short and waits to be sent; else 0.
    pub(crate) due_bytes: u32,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    pub(crate) socket: SocketId,
    pub(crate) pending: Pending,
    /// It may be in a queue other than that of short messages, or known to granter or budget.
    pub(crate) is_aside: bool,
    /// Its place in the queue of events.
    pub(crate) event: u32,
    /// Its place in the queue of short messages, in which it may have stayed from the RPC that lay here
    /// before.
    pub(crate) short: u32,
    /// What it counts among the requests on their way; 0: it is none.
    pub(crate) in_flight: u32,
    /// The request is marked: its response sends little unasked.
    pub(crate) incast: bool,
    /// The request may run twice.
    pub(crate) idempotent: bool,
    /// What we receive in it is kept account of, from its first byte on.
    pub(crate) has_inbound: bool,
    /// The application loses interest some day, or our client's patience ends.
    pub(crate) has_deadline: bool,
    /// What we send in it, kept until the end: any byte may be wanted again.
    pub(crate) message: Brief,
    pub(crate) state: State,
    /// When it is looked at; the RPC that lay here before may have left it.
    pub(crate) timer: Timer,
    pub(crate) progress: Progress,
    /// Our address, to send from.
    pub(crate) local: Ipv6Addr,
    /// Block that remembers the request, at the server.
    pub(crate) tombstone: u32,
}

impl Timed for Rpc {
    #[inline]
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }
}

/// The queue of RPCs of which the application is to be told.
pub(crate) struct ByEvent;

impl QueueLink<Rpc> for ByEvent {
    #[inline]
    fn of(rpc: &mut Rpc) -> &mut u32 {
        &mut rpc.event
    }
}

/// The queue of RPCs whose message is short and to be sent.
pub(crate) struct ByShort;

impl QueueLink<Rpc> for ByShort {
    #[inline]
    fn of(rpc: &mut Rpc) -> &mut u32 {
        &mut rpc.short
    }
}

impl Vacant for Rpc {
    type Alignment = Line;

    const VACANT: Self = Self {
        id: RpcId::new(0),
        peer: NONE,
        socket: SocketId(0),
        local: Ipv6Addr::UNSPECIFIED,
        local_port: 0,
        remote_port: 0,
        state: State::Over(Outcome::Ended { delivered: false }),
        pending: Pending::NONE,
        progress: Progress::new(Instant::ZERO),
        in_flight: 0,
        incast: false,
        idempotent: false,
        has_inbound: false,
        has_deadline: false,
        message: Brief::NONE,
        tombstone: NONE,
        due_bytes: 0,
        is_aside: false,
        event: UNLINKED,
        short: UNLINKED,
        timer: Timer::NONE,
    };
}

impl Rpc {
    /// An RPC with a peer begins in this place: goes this way, from our port to theirs. What is not the
    /// same for all of them is left to whoever begins it. The place stays in the queues in which it
    /// waits for its turn.
    #[inline(always)]
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        id: RpcId,
        (path, [local_port, remote_port]): (&Path, [u16; 2]),
        peer: u32,
    ) {
        self.id = id;
        self.peer = peer;
        self.socket = path.socket;
        self.local = path.local;
        self.local_port = local_port;
        self.remote_port = remote_port;
        self.pending = Pending::NONE;
        self.progress = Progress::new(now);
        self.in_flight = 0;
        self.incast = false;
        self.idempotent = false;
        self.has_inbound = false;
        self.has_deadline = false;
        self.message = Brief::NONE;
        self.tombstone = NONE;
        self.due_bytes = 0;
        self.is_aside = false;
        self.event = UNLINKED;
    }

    /// Whether we send a message in it.
    #[inline]
    pub(crate) fn sends(&self) -> bool {
        matches!(
            self.state,
            State::Client(_) | State::Server(ServerRpc::Sending)
        )
    }

    /// Whether a message comes in, of which bytes are missing.
    #[inline]
    pub(crate) fn receives(&self) -> bool {
        matches!(
            self.state,
            State::Client(_) | State::Server(ServerRpc::Receiving)
        )
    }

    /// The first DATA of its response came, which is an ack of its request, too.
    #[inline(always)]
    pub(crate) fn response_begins(
        &mut self,
        now: Instant,
        peer: &mut Peer,
        data: &Data,
        config: &Config,
    ) {
        if data.retransmit {
            // Either buffer may have overflowed, and both hold less if less is asked at once.
            peer.flight.cut(now, peer.patience.for_bytes(config));
        }
        if let Some(waited) = self.progress.undisturbed(now) {
            peer.patience.response.sample(waited);
        }
        self.due_bytes = 0;
    }

    /// Its request, if that was on its way, is so no longer. Returns whether others wait for the room.
    #[inline]
    pub(crate) fn lands(&mut self, peer: &mut Peer) -> bool {
        let cost = core::mem::take(&mut self.in_flight);
        cost > 0 && peer.flight.land(cost, !self.progress.was_resent())
    }

    /// Whether it is ours and no byte of its response came yet.
    #[inline]
    pub(crate) fn awaits_response(&self) -> bool {
        matches!(self.state, State::Client(_)) && !self.has_inbound
    }

    /// It is over and sends nothing any more; no packet finds it once the rest of the engine was told.
    #[inline(always)]
    pub(crate) fn end(&mut self, outcome: Outcome) -> Parting {
        let ran = !matches!(self.state, State::Server(ServerRpc::Receiving));
        self.state = State::Over(outcome);
        self.due_bytes = 0;
        Parting {
            id: self.id,
            tombstone: self.tombstone,
            ran,
            is_news: Queue::<_, ByEvent>::enter(self),
        }
    }

    /// Whether it holds more than its place in the tables: then it is put away before it ends.
    #[inline]
    pub(crate) fn is_entangled(&self) -> bool {
        self.in_flight > 0 || self.is_aside
    }

    /// What says that its server may forget it.
    #[inline]
    pub(crate) fn ack(&self) -> Ack {
        Ack {
            client_id: self.id,
            server_port: self.remote_port,
        }
    }

    /// Whether an ack means it.
    #[inline]
    pub(crate) fn is_meant_by(&self, ack: Ack) -> bool {
        self.id == ack.client_id.flipped() && self.local_port == ack.server_port
    }

    /// Whether its application has the request and did not answer yet.
    #[inline]
    pub(crate) fn is_in_service(&self) -> bool {
        matches!(self.state, State::Server(ServerRpc::InService(_)))
    }

    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    #[inline]
    pub(crate) fn is_client(&self) -> bool {
        self.id.is_client()
    }

    /// The way of packets that we send in it.
    #[inline]
    pub(crate) fn path(&self, peer: &Peer) -> Path {
        Path {
            socket: self.socket,
            peer: peer.address,
            local: self.local,
        }
    }

    /// Whether what it sends may go with a burst that goes this way, to a peer of several.
    #[inline]
    pub(crate) fn leaves_by(&self, path: &Path) -> bool {
        self.socket == path.socket && self.local == path.local
    }

    /// Whether a packet belongs to it that came this way with these ports.
    #[inline]
    pub(crate) fn is_on(&self, path: &Path, common: &Common) -> bool {
        self.remote_port == common.source_port
            && self.local_port == common.dest_port
            && self.socket == path.socket
    }

    /// Header fields of a packet that we send in it.
    #[inline]
    pub(crate) fn common(&self) -> Common {
        Common {
            source_port: self.local_port,
            dest_port: self.remote_port,
            sender_id: self.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    #[test]
    fn an_entry_has_no_gaps_that_its_order_brings() {
        assert_eq!((size_of::<State>(), size_of::<Rpc>()), (16, 120));
        assert_eq!(Slab::<Rpc>::stride(), 128);
        assert_eq!(size_of::<Details>(), 112);
    }

    #[test]
    fn what_is_pending_is_taken_out_one_by_one() {
        let mut pending = Pending::NONE;
        assert!(pending.is_empty());
        pending.add(Pending::NEED_ACK);
        pending.add(Pending::PROVE);
        pending.add(Pending::NEED_ACK);
        assert!(!pending.is_empty());
        assert_eq!(pending.take_first(), Some(Pending::PROVE));
        assert!(!pending.is_empty());
        assert_eq!(pending.take_first(), Some(Pending::NEED_ACK));
        assert!(pending.is_empty());
        assert_eq!(pending.take_first(), None);
    }
}
