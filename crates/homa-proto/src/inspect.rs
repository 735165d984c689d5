//! What lies in the tables, for people who look at a running engine. It decides nothing, and costs
//! nothing to who does not look: tables are read place by place, so that a host can let others have
//! the engine in between.

use core::ops::Range;
use core::time::Duration;

use crate::address::{Address, SocketId};
use crate::api::RpcKey;
use crate::distance;
use crate::engine::Engine;
use crate::inbound::{Inbound, Storage};
use crate::learner::UNLIMITED;
use crate::outbound::Outbound;
use crate::rpc::{Details, Rpc, ServerRpc, State};
use crate::time::Instant;
use crate::wire::{Priority, RpcId};

/// A peer as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerView {
    /// Where it is.
    pub address: Address,
    /// Whether it has proven to be there.
    pub is_proven: bool,
    /// RPCs with it, either way.
    pub rpcs: u32,
    /// Those of them that this host serves.
    pub server_rpcs: u32,
    /// When its last packet came.
    pub heard: Instant,
    /// From a question to its answer, smoothed; `None`: nothing had to be asked.
    pub round_trip: Option<Duration>,
    /// From a request to the first bytes of its response, smoothed: path, queue and service.
    pub response_time: Option<Duration>,
    /// The largest length of each priority, lowest first, that it wants unscheduled bytes sent at;
    /// `None`: it never said.
    pub cutoffs: Option<[u32; 8]>,
    /// From a message's first packet to its first grant, the shortest of late; `None`: not measured, or
    /// of no use since the link's rate is not known.
    pub grant_time: Option<Duration>,
    /// Bytes of a long message that it is sent unasked: the configured ones, or what the link carries
    /// over the distance, less what loss took.
    pub unscheduled_bytes: u32,
    /// Thousandths of the window that it is granted: all, less what loss took.
    pub window_permille: u32,
    /// Bytes of requests on their way to it, as its buffer counts them.
    pub in_flight_bytes: u32,
    /// Acks that it is owed.
    pub acks_owed: u32,
}

/// What an RPC is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Ours: no byte of the response came yet.
    Asking,
    /// Ours: the response is coming in.
    Hearing,
    /// A client's: the request is coming in.
    Receiving,
    /// A client's: the application has the request.
    InService,
    /// A client's: the response is going out.
    Responding,
    /// A client's: all of the response was sent, and its client is to say that it has it.
    AwaitingAck,
    /// A client's: there is no response, and its client is to say that it knows.
    Refused,
}

impl Stage {
    /// The stage as one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Asking => "asking",
            Self::Hearing => "hearing",
            Self::Receiving => "receiving",
            Self::InService => "in-service",
            Self::Responding => "responding",
            Self::AwaitingAck => "awaiting-ack",
            Self::Refused => "refused",
        }
    }
}

/// A message that goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendingView {
    /// Its bytes.
    pub length: u32,
    /// Bytes sent at least once.
    pub sent: u32,
    /// End of the bytes that may be sent.
    pub granted: u32,
    /// Level of granted bytes, by the latest GRANT.
    pub priority: Priority,
    /// Whether bytes are to be sent again.
    pub resends: bool,
}

/// A message that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivingView {
    /// Its bytes.
    pub length: u32,
    /// Bytes that are there.
    pub received: u32,
    /// Bytes that are there from the start on, without a gap.
    pub whole: u32,
    /// Gaps before bytes that are there.
    pub gaps: u32,
    /// Bytes missing in them.
    pub gap_bytes: u32,
    /// End of the bytes that its sender may send.
    pub granted: u32,
    /// Whether it waits for receive budget.
    pub stalled: bool,
}

/// An RPC under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RpcView {
    /// Names it.
    pub rpc: RpcKey,
    /// Its number: even where this host is the client.
    pub id: RpcId,
    /// The other end.
    pub peer: Address,
    /// The socket of this end.
    pub socket: SocketId,
    /// What it is at.
    pub stage: Stage,
    /// What this host sends.
    pub sending: Option<SendingView>,
    /// What this host receives.
    pub receiving: Option<ReceivingView>,
    /// Whether anything had to be asked or sent again.
    pub retried: bool,
}

/// A port of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketView {
    /// Names it.
    pub socket: SocketId,
    /// Its port.
    pub port: u16,
    /// Whether requests to it make RPCs.
    pub accepts_requests: bool,
}

impl Engine {
    /// Places in the table of RPCs, of which some may be empty.
    pub fn rpc_places(&self) -> u32 {
        self.rpcs.end_index()
    }

    /// The RPC under way in a place below [`rpc_places`](Self::rpc_places), if there is one.
    pub fn rpc_at(&self, place: u32) -> Option<RpcView> {
        let (rpc, it) = self.rpcs.keyed_at(place)?;
        let details = &self.rpcs.details[place];
        let stage = stage_of(it, details)?;
        let inbound = self.rpcs.inbound_of(place);
        Some(RpcView {
            rpc,
            id: it.id,
            peer: self.peers[it.peer].address,
            socket: it.socket,
            stage,
            sending: message_of(it, details),
            receiving: inbound.map(|inbound| self.receiving(inbound)),
            retried: it.progress.was_retried(),
        })
    }

    /// The RPC of this key; `None` once it is over.
    pub fn rpc_named(&self, rpc: RpcKey) -> Option<RpcView> {
        self.rpc_at(self.rpcs.resolve(rpc)?)
    }

    /// Bytes of the message that an RPC receives that are there from the start on, without a gap;
    /// `None` once no message is coming in.
    pub fn whole_bytes(&self, rpc: RpcKey) -> Option<u32> {
        let index = self.rpcs.resolve(rpc)?;
        let inbound = self.rpcs.inbound_of(index);
        inbound.map(|inbound| inbound.whole(&self.ranges))
    }

    /// Bytes of the message that an RPC receives, behind all that are there: what comes next if nothing
    /// is lost. `None` once no message is coming in, and while the host has no buffer for it.
    pub fn unreached(&self, rpc: RpcKey) -> Option<Range<u32>> {
        let index = self.rpcs.resolve(rpc)?;
        let inbound = self.rpcs.inbound_of(index);
        let inbound = inbound.filter(|inbound| inbound.storage == Storage::Made)?;
        Some(inbound.end..inbound.length)
    }

    /// Places in the table of peers, of which some may be empty.
    pub fn peer_places(&self) -> u32 {
        self.peers.end_index()
    }

    /// The peer in a place below [`peer_places`](Self::peer_places), if there is one.
    pub fn peer_at(&self, place: u32) -> Option<PeerView> {
        let peer = self.peers.get(place)?;
        let distances = self.distances.as_ref();
        let distance = distances.and_then(|it| it.of(place, &peer.address));
        Some(PeerView {
            address: peer.address,
            is_proven: peer.is_proven(),
            rpcs: peer.rpc_count,
            server_rpcs: peer.server_rpcs,
            heard: peer.heard,
            round_trip: peer.patience.round_trip.smoothed(),
            response_time: peer.patience.response.smoothed(),
            cutoffs: peer.cutoffs().map(|above| {
                let mut all = [UNLIMITED; 8];
                all[1..].copy_from_slice(above);
                all
            }),
            grant_time: distance.map(|(_, shortest)| Duration::from_nanos(shortest)),
            unscheduled_bytes: peer
                .sending
                .of(distance::unscheduled_bytes(&self.config, distance)),
            window_permille: peer.granting.of(1_000),
            in_flight_bytes: peer.flight.used(),
            acks_owed: peer.debt.count(),
        })
    }

    /// The sockets that are open.
    pub fn sockets(&self) -> impl Iterator<Item = SocketView> {
        let places = (0..=u16::MAX).zip(&self.sockets);
        places.filter_map(|(index, socket)| {
            let socket = socket.as_ref()?;
            Some(SocketView {
                socket: SocketId(index),
                port: socket.port,
                accepts_requests: socket.accepts_requests,
            })
        })
    }

    fn receiving(&self, inbound: &Inbound) -> ReceivingView {
        let gaps = inbound.gaps(&self.ranges);
        let (gaps, gap_bytes) = gaps.fold((0, 0), |(count, bytes), gap| {
            (count + 1, bytes + (gap.end - gap.start))
        });
        ReceivingView {
            length: inbound.length,
            received: inbound.received,
            whole: inbound.whole(&self.ranges),
            gaps,
            gap_bytes,
            granted: inbound.granted,
            stalled: inbound.storage == Storage::Stalled,
        }
    }
}

/// What we send in an RPC, if anything.
fn message_of(rpc: &Rpc, details: &Details) -> Option<SendingView> {
    rpc.sends().then(|| match rpc.message.is_detailed {
        true => sending(&details.outbound),
        false => sending(&rpc.message.in_full()),
    })
}

fn sending(outbound: &Outbound) -> SendingView {
    SendingView {
        length: outbound.length,
        sent: outbound.sent,
        granted: outbound.granted,
        priority: outbound.priority,
        resends: outbound.is_wanted_again(),
    }
}

/// What an RPC is at; `None`: it is over.
fn stage_of(rpc: &Rpc, details: &Details) -> Option<Stage> {
    Some(match &rpc.state {
        State::Client(_) if !rpc.has_inbound => Stage::Asking,
        State::Client(_) => Stage::Hearing,
        State::Server(ServerRpc::Receiving) => Stage::Receiving,
        State::Server(ServerRpc::InService(_)) => Stage::InService,
        State::Server(ServerRpc::Sending) if rpc.is_all_sent(details) => Stage::AwaitingAck,
        State::Server(ServerRpc::Sending) => Stage::Responding,
        State::Server(ServerRpc::Refused(_)) => Stage::Refused,
        State::Over(_) => return None,
    })
}
