//! RPCs: their states and the table that finds them. Decides which packet belongs to which RPC.

use core::net::Ipv6Addr;

use crate::address::SocketId;
use crate::api::{Event, RpcKey};
use crate::chunks::Full;
use crate::hash::{HashIndex, Key, TableKey};
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::peer::Peers;
use crate::progress::Progress;
use crate::slab::{NONE, Slab};
use crate::time::Instant;
use crate::wire::{Common, RpcId, UnknownReason};

/// What happens in an RPC.
pub(crate) enum State {
    /// We asked.
    Client(ClientRpc),
    /// We were asked.
    Server(ServerRpc),
    /// It is over; the application is still to be told.
    Over(Event),
}

/// An RPC as its client sees it.
///
/// ```text
/// call() ─▶ request going out ─first response byte─▶ response coming in ─last byte─▶ over
///                  ▲      │
///                  └──────┘ RPC_UNKNOWN soon, without any sign of life: from the start
/// ```
pub(crate) struct ClientRpc {
    /// Kept until the end: any byte may be wanted again.
    pub(crate) request: Outbound,
    /// From its first byte on.
    pub(crate) response: Option<Inbound>,
    /// The request may run twice.
    pub(crate) idempotent: bool,
    /// When its first byte went out: from then on a server may have run it.
    pub(crate) since: Option<Instant>,
}

/// An RPC as its server sees it.
///
/// ```text
/// Receiving ─request complete→ InService ─reply()→ Sending ─ACK of all that was sent→ over
///                                   └─drop_request()→ Refused ─ACK→ over
/// ```
pub(crate) enum ServerRpc {
    /// Request bytes are still missing.
    Receiving(Inbound),
    /// The application has the request, of this many bytes; from here on it must never run again.
    InService(u32),
    /// The response is on its way; once every byte was sent it is kept until the client says that it
    /// may be forgotten.
    Sending(Outbound),
    /// There will be no response; kept to say so until the client has heard.
    Refused(UnknownReason),
}

/// Control packets that an RPC is to send, in the order of their bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending(u8);

impl Pending {
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

/// One RPC, ours or a client's.
pub(crate) struct Rpc {
    /// Our view of the id: even where we are the client.
    pub(crate) id: RpcId,
    pub(crate) peer: u32,
    pub(crate) socket: SocketId,
    /// Our address, to send from.
    pub(crate) local: Ipv6Addr,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    pub(crate) state: State,
    pub(crate) pending: Pending,
    pub(crate) progress: Progress,
    pub(crate) deadline: Option<Instant>,
    /// What it counts among the requests on their way; 0: it is none.
    pub(crate) in_flight: u64,
    /// The request is marked: its response sends little unasked.
    pub(crate) incast: bool,
    /// Block that remembers the request, at the server.
    pub(crate) tombstone: u32,
    /// Its message is short and waits to be sent.
    pub(crate) is_due: bool,
    /// It may be in a queue other than that of short messages, or known to granter or budget.
    pub(crate) is_aside: bool,
}

impl Rpc {
    /// The message that we send in it, if any.
    #[inline]
    pub(crate) fn outbound(&mut self) -> Option<&mut Outbound> {
        match &mut self.state {
            State::Client(client) => Some(&mut client.request),
            State::Server(ServerRpc::Sending(response)) => Some(response),
            _ => None,
        }
    }

    /// The message that we receive in it, if any byte of it came.
    #[inline]
    pub(crate) fn inbound(&mut self) -> Option<&mut Inbound> {
        match &mut self.state {
            State::Client(client) => client.response.as_mut(),
            State::Server(ServerRpc::Receiving(request)) => Some(request),
            _ => None,
        }
    }

    /// What its request costs the server's buffer.
    pub(crate) fn flight_cost(&self) -> u64 {
        match &self.state {
            State::Client(client) => client.request.flight_cost(),
            _ => 0,
        }
    }

    /// Whether it is ours and no byte of its response came yet.
    pub(crate) fn awaits_response(&self) -> bool {
        matches!(&self.state, State::Client(client) if client.response.is_none())
    }

    /// Whether all that its client is to hear was said, and only the client's ack is missing.
    pub(crate) fn awaits_ack(&self) -> bool {
        match &self.state {
            State::Server(ServerRpc::Sending(response)) => response.is_all_sent(),
            State::Server(ServerRpc::Refused(_)) => true,
            _ => false,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    pub(crate) fn is_client(&self) -> bool {
        self.id.is_client()
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

/// Most RPCs in the table: an id of ours has 24 bits that say which.
pub(crate) const RPCS_MAX: u32 = 1 << 24;

/// The id of an RPC of ours: the engine's number in the top byte, so that a packet finds its engine;
/// then where the RPC lies in the table, so that a packet finds it there without a search; and in
/// the lower half what distinguishes it from the peer's others, dense, so that the peer can remember
/// it with one bit.
const fn client_id(engine: u8, index: u32, number: u32) -> RpcId {
    RpcId::new((engine as u64) << 56 | (index as u64) << 32 | number as u64)
}

/// Where an RPC with this id of ours lies, if there is one.
const fn index_of(id: RpcId) -> u32 {
    (id.get() >> 32) as u32 & (RPCS_MAX - 1)
}

/// The table of RPCs. Those that are over keep their place until the application was told, but no
/// packet finds them.
pub(crate) struct Rpcs {
    slab: Slab<Rpc>,
    /// Those that we serve; others are found by their ids.
    served: HashIndex,
    key: TableKey,
    /// This engine's number.
    engine: u8,
    clients: u32,
    servers: u32,
}

impl core::ops::Index<u32> for Rpcs {
    type Output = Rpc;
    #[inline]
    fn index(&self, index: u32) -> &Rpc {
        &self.slab[index]
    }
}

impl core::ops::IndexMut<u32> for Rpcs {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Rpc {
        &mut self.slab[index]
    }
}

impl Rpcs {
    pub(crate) fn new(limit: u32, engine: u8, key: Key) -> Result<Self, Full> {
        Ok(Self {
            slab: Slab::new(limit),
            served: HashIndex::new()?,
            key: TableKey::new(key),
            engine,
            clients: 0,
            servers: 0,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slab.len() == 0
    }

    /// RPCs with us as client.
    pub(crate) fn clients(&self) -> u32 {
        self.clients
    }

    /// RPCs with us as server.
    pub(crate) fn servers(&self) -> u32 {
        self.servers
    }

    /// The live RPC that `peer` means by `id` (our view of it).
    #[inline]
    pub(crate) fn find(&self, peers: &Peers, peer: u32, id: RpcId) -> Option<u32> {
        if id.is_client() {
            let index = index_of(id);
            let rpc = self.slab.get(index)?;
            return (rpc.id == id && rpc.peer == peer && !rpc.is_over()).then_some(index);
        }
        self.served
            .find(self.key.hash([peers[peer].host, id.get()]), |index| {
                let rpc = &self.slab[index];
                rpc.id == id && rpc.peer == peer
            })
    }

    /// The live RPC that an ack from a host means: by id, source address and server port, since
    /// acks may ride on another socket's packets. `host`: the address' hash.
    #[inline]
    pub(crate) fn find_acked(
        &self,
        peers: &Peers,
        id: RpcId,
        (ip, host): (Ipv6Addr, u64),
        server_port: u16,
    ) -> Option<u32> {
        self.served.find(self.key.hash([host, id.get()]), |index| {
            let rpc = &self.slab[index];
            rpc.id == id && rpc.local_port == server_port && peers[rpc.peer].address.ip == ip
        })
    }

    /// Where the next RPC will lie.
    pub(crate) fn vacancy(&mut self) -> Result<u32, Full> {
        self.slab.vacancy()
    }

    /// Makes room in the table's own arrays for an RPC at `index`.
    pub(crate) fn ensure(&mut self, index: u32) -> Result<(), Full> {
        self.served.ensure(index)
    }

    /// Enters an RPC at [`vacancy`](Self::vacancy). One of ours gets its id here.
    pub(crate) fn insert(&mut self, peers: &mut Peers, mut rpc: Rpc) -> Result<u32, Full> {
        let index = self.slab.vacancy()?;
        let is_client = rpc.is_client();
        let peer = peers.join(rpc.peer, index, is_client);
        if is_client {
            rpc.id = client_id(self.engine, index, peer.next_id());
            self.clients += 1;
        } else {
            let hash = self.key.hash([peer.host, rpc.id.get()]);
            self.served.insert(hash, index);
            self.servers += 1;
        }
        self.slab.insert(rpc)
    }

    /// Makes an RPC over: no packet finds it any more.
    #[inline]
    pub(crate) fn end(&mut self, now: Instant, peers: &mut Peers, index: u32, event: Event) {
        let rpc = &mut self.slab[index];
        rpc.state = State::Over(event);
        rpc.is_due = false;
        if !rpc.is_client() {
            self.served.remove(index);
        }
        peers.leave(now, rpc.peer, index, rpc.is_client());
    }

    /// Frees the place of an RPC that is over and was told.
    pub(crate) fn free(&mut self, index: u32) {
        if self.slab[index].is_client() {
            self.clients -= 1;
        } else {
            self.servers -= 1;
        }
        self.slab.remove(index);
    }

    /// The index that a key names, unless its RPC is gone.
    pub(crate) fn resolve(&self, key: RpcKey) -> Option<u32> {
        let generation = self.slab.generation(key.index)?;
        (generation == key.generation).then_some(key.index)
    }

    /// An RPC and the key that names it.
    #[inline]
    pub(crate) fn keyed(&mut self, index: u32) -> (RpcKey, &mut Rpc) {
        let (generation, rpc) = self.slab.entry(index);
        (RpcKey { index, generation }, rpc)
    }

    pub(crate) fn key_of(&self, index: u32) -> RpcKey {
        RpcKey {
            index,
            generation: self.slab.generation(index).unwrap_or(NONE),
        }
    }

    /// One above the largest index ever used.
    pub(crate) fn end_index(&self) -> u32 {
        self.slab.end_index()
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&Rpc> {
        self.slab.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pending_is_taken_out_one_by_one() {
        let mut pending = Pending::default();
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
