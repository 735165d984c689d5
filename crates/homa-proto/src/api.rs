//! What crosses the border between engine and host: calls and replies going in, events and
//! deadlines coming out. It decides nothing.

use crate::address::{Address, Path};
use crate::time::Instant;
use crate::wire::RpcId;

/// Names an RPC in calls and events until its last event was polled.
///
/// `index` is dense, so that a host can keep parallel arrays; a key whose RPC is gone is
/// recognised by its generation and refused, whatever became of its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RpcKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl RpcKey {
    /// Position in the host's parallel arrays: below `max_client_rpcs + max_server_rpcs`.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// The key as one number, for hosts that pass it through a foreign interface.
    pub const fn to_bits(self) -> u64 {
        ((self.generation as u64) << 32) | self.index as u64
    }

    /// The key that [`to_bits`](Self::to_bits) was taken of. Any number is safe: one that names
    /// no RPC is refused where it is used.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// A request that the application wants to make.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Our socket, the server, and the address of ours to send from.
    pub path: Path,
    /// The server's Homa port; over UDP the same as `path.peer.port`.
    pub dest_port: u16,
    /// Bytes of the request: 1 to [`Config::max_message_bytes`](crate::Config::max_message_bytes).
    pub length: u32,
    /// Payload bytes a packet on this path can carry: its MTU without IP, UDP and the 56 bytes of
    /// DATA header. Clamped to 1 segment of at least 64 bytes.
    pub segment_bytes: u32,
    /// When the application loses interest; `None`: when the protocol gives up.
    pub deadline: Option<Instant>,
    /// The request may run twice: when the server restarted or forgot it, send it again instead of
    /// failing with [`Failure::OutcomeUnknown`].
    pub idempotent: bool,
}

/// Why a call did not even start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Length 0, which the protocol cannot express.
    EmptyMessage,
    /// Longer than [`Config::max_message_bytes`](crate::Config::max_message_bytes).
    MessageTooLong,
    /// The table of client RPCs or of peers is full, or memory is: try again when an RPC ended.
    Full,
    /// The socket is closed or never was.
    NoSocket,
}

/// There is no memory for larger tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl core::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no memory for the engine's tables")
    }
}

impl core::error::Error for OutOfMemory {}

/// Why a reply was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// Length 0, which the protocol cannot express.
    EmptyMessage,
    /// Longer than [`Config::max_message_bytes`](crate::Config::max_message_bytes).
    MessageTooLong,
    /// The client aborted the RPC or vanished, or the request was answered before.
    Gone,
}

/// How a client's RPC failed. Each variant says whether the request may have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// Nobody listens at the server's port. The request did not run.
    Refused,
    /// The network knows no way to the server, or the server is gone and the request never left.
    /// It did not run.
    Unreachable,
    /// The server fell silent for longer than the protocol waits, or said for a packet's lifetime
    /// that it does not know the request. The request may have run.
    TimedOut,
    /// The server restarted or forgot the RPC after a sign of life. The request may have run.
    OutcomeUnknown,
    /// The application's own deadline passed. The request may have run.
    DeadlineExceeded,
    /// The server's application took the request and dropped it unanswered.
    Dropped,
    /// The server did not take the request: it has no room, or the request is longer than it
    /// accepts. It did not run.
    Overloaded,
    /// The response is longer than our limit. The request ran.
    ResponseTooLong,
    /// Our own application aborted the RPC, or closed its socket.
    Aborted,
}

/// What the engine tells the application. After `Response`, `Failed` and `Ended` the key is
/// stale: the host frees every buffer it holds under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole request has arrived; from here on it must be answered or dropped.
    Request {
        /// Names the RPC until `Ended`.
        rpc: RpcKey,
        /// Unique among the RPCs of this client (odd: the server's view).
        id: RpcId,
        /// The client.
        peer: Address,
        /// Bytes of the request.
        length: u32,
    },
    /// A whole response has arrived; the RPC is over.
    Response {
        /// The RPC.
        rpc: RpcKey,
        /// Bytes of the response.
        length: u32,
    },
    /// A client's RPC failed; it is over.
    Failed {
        /// The RPC.
        rpc: RpcKey,
        /// Why.
        failure: Failure,
    },
    /// A server's RPC is over: its response was acknowledged, or nobody waits for it any more.
    Ended {
        /// The RPC.
        rpc: RpcKey,
        /// Whether the client has the whole response, as far as the server knows.
        delivered: bool,
    },
}

/// Why the engine wants to be woken at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An RPC may have made no progress for too long.
    Progress,
    /// The pacer's estimate says that the link takes the next packet.
    Pacer,
    /// A message has been silent for so long that others may be granted what it was.
    Grants,
    /// Tombstones of finished RPCs may be forgotten.
    Tombstones,
    /// A peer's state may be forgotten.
    Peers,
}

/// What the network said about a packet of ours that did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Nobody listens at the port.
    Port,
    /// No way to the host or its network, or forbidden.
    Host,
    /// The packet was larger than the path carries.
    TooBig {
        /// Payload bytes a packet can carry, by what the network says; 0 if it does not.
        segment_bytes: u32,
    },
}

/// Randomness handed in by the host: 128 unpredictable bits.
#[derive(Clone, Copy)]
pub struct Seed(pub [u64; 2]);

/// How full an engine's tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// RPCs under way, or over but not yet polled, as client.
    pub client_rpcs: u32,
    /// The same as server.
    pub server_rpcs: u32,
    /// Peers remembered.
    pub peers: u32,
    /// Ranges: gaps of messages being received, and parts to be sent again.
    pub ranges: u32,
    /// Blocks of 32 ids that remember accepted requests, and spans of 64 such blocks of which a bit is
    /// left.
    pub tombstone_blocks: u32,
    /// Bytes of the receive budget in use.
    pub budget_used_bytes: u64,
    /// Bytes granted and not yet received, over all messages that need grants.
    pub incoming_bytes: u64,
    /// Messages that hold a place among those granted.
    pub active_messages: usize,
    /// Whether messages wait for such a place.
    pub withholds: bool,
    /// Whether a message waits for receive budget.
    pub stalled: bool,
}
