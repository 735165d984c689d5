//! The structs of `shim/homa_core.h`, and how they turn into the engine's values. It decides nothing.

use core::net::Ipv6Addr;

use homa_proto::{
    Address, BurstPacket, Event, Failure, Instant, Path, Place, ReplyError, RpcKey, SocketId,
};

/// The engine broke: nothing of it is usable any more.
pub const EIO: i32 = -5;
/// No memory, or a table is full.
pub const ENOMEM: i32 = -12;
/// A value is outside of its range.
pub const EINVAL: i32 = -22;
/// There is no such socket or RPC.
pub const ENOENT: i32 = -2;

/// `struct homa_core_path`: both ends of a packet's way.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CPath {
    /// IPv6 address of the peer, or its IPv4 address in mapped form.
    pub peer: [u8; 16],
    /// Our address, all zero for "whatever the route says".
    pub local: [u8; 16],
    /// Interface of a link-local peer, else 0.
    pub scope: u32,
    /// The peer's port.
    pub peer_port: u16,
    /// Our socket, as [`homa_core_open`](crate::homa_core_open) named it.
    pub socket: u16,
}

/// `struct homa_core_place`: where the payload of a packet belongs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CPlace {
    /// The RPC.
    pub rpc: u64,
    /// First byte in the message.
    pub offset: u32,
    /// Bytes, at least 1.
    pub length: u32,
    /// Where they begin in the packet.
    pub header_bytes: u32,
    /// Bytes of the whole message.
    pub message_length: u32,
    /// 1: nothing of the message was stored yet.
    pub is_new: u32,
    /// 0.
    pub pad: u32,
}

/// `struct homa_core_packet_view`: a packet to be sent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CPacket {
    /// The Homa header, complete but for the checksum; lives until the burst is filled again.
    pub header: *const u8,
    /// The RPC whose bytes follow.
    pub rpc: u64,
    /// Bytes of the header.
    pub header_bytes: u32,
    /// First byte of the message that follows.
    pub offset: u32,
    /// How many follow; 0 for control packets.
    pub length: u32,
    /// 0.
    pub pad: u32,
}

/// `struct homa_core_event`: what the application is told.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CEvent {
    /// The RPC; stale after all kinds but a request.
    pub rpc: u64,
    /// Its id, of a request.
    pub id: u64,
    /// The client, of a request.
    pub peer: [u8; 16],
    /// Interface of a link-local client.
    pub scope: u32,
    /// The client's port.
    pub peer_port: u16,
    /// One of the `EVENT_` constants.
    pub kind: u16,
    /// Bytes of the message, of a request or response.
    pub length: u32,
    /// Negative errno, of a failure.
    pub error: i32,
}

/// A whole request has arrived.
pub const EVENT_REQUEST: u16 = 1;
/// A whole response has arrived.
pub const EVENT_RESPONSE: u16 = 2;
/// A client's RPC failed.
pub const EVENT_FAILED: u16 = 3;
/// A server's RPC is over.
pub const EVENT_ENDED: u16 = 4;

/// The network knows no way to the peer.
pub const UNREACHABLE_HOST: u32 = 0;
/// Nobody listens at the port.
pub const UNREACHABLE_PORT: u32 = 1;
/// The packet was larger than the path carries.
pub const UNREACHABLE_TOO_BIG: u32 = 2;

const _: () = assert!(size_of::<CPath>() == 40 && size_of::<CPlace>() == 32);
const _: () = assert!(size_of::<CPacket>() == 32 && size_of::<CEvent>() == 48);

/// A moment of the kernel's monotonic clock.
pub(crate) const fn instant(nanoseconds: u64) -> Instant {
    Instant::from_nanos(nanoseconds)
}

impl CPath {
    pub(crate) fn to_path(self) -> Path {
        Path {
            socket: SocketId::from_index(self.socket),
            peer: self.peer_address(),
            local: Ipv6Addr::from(self.local),
        }
    }

    pub(crate) fn peer_address(&self) -> Address {
        Address {
            ip: Ipv6Addr::from(self.peer),
            scope: self.scope,
            port: self.peer_port,
        }
    }

    pub(crate) fn of(path: &Path) -> Self {
        Self {
            peer: path.peer.ip.octets(),
            local: path.local.octets(),
            scope: path.peer.scope,
            peer_port: path.peer.port,
            socket: path.socket.index() as u16,
        }
    }
}

impl From<Place> for CPlace {
    fn from(place: Place) -> Self {
        Self {
            rpc: place.rpc.to_bits(),
            offset: place.offset,
            length: place.length,
            header_bytes: place.header_bytes as u32,
            message_length: place.message_length,
            is_new: u32::from(place.new),
            pad: 0,
        }
    }
}

impl From<BurstPacket<'_>> for CPacket {
    fn from(packet: BurstPacket<'_>) -> Self {
        let payload = packet.payload;
        Self {
            header: packet.header.as_ptr(),
            rpc: payload.map_or(0, |payload| payload.rpc.to_bits()),
            header_bytes: packet.header.len() as u32,
            offset: payload.map_or(0, |payload| payload.offset),
            length: payload.map_or(0, |payload| payload.length),
            pad: 0,
        }
    }
}

impl From<Event> for CEvent {
    fn from(event: Event) -> Self {
        let over = |rpc: RpcKey, kind, length, error| Self {
            rpc: rpc.to_bits(),
            kind,
            length,
            error,
            ..Self::default()
        };
        match event {
            Event::Request {
                rpc,
                id,
                peer,
                length,
            } => Self {
                id: id.get(),
                peer: peer.ip.octets(),
                scope: peer.scope,
                peer_port: peer.port,
                ..over(rpc, EVENT_REQUEST, length, 0)
            },
            Event::Response { rpc, length } => over(rpc, EVENT_RESPONSE, length, 0),
            Event::Failed { rpc, failure } => over(rpc, EVENT_FAILED, 0, errno(failure)),
            Event::Ended { rpc, .. } => over(rpc, EVENT_ENDED, 0, 0),
        }
    }
}

/// What `recvmsg` says of an RPC that failed, see docs/kernel.md.
fn errno(failure: Failure) -> i32 {
    -match failure {
        Failure::Refused => 107,         // ENOTCONN
        Failure::Unreachable => 113,     // EHOSTUNREACH
        Failure::TimedOut => 110,        // ETIMEDOUT
        Failure::OutcomeUnknown => 104,  // ECONNRESET
        Failure::DeadlineExceeded => 62, // ETIME
        Failure::Dropped => 103,         // ECONNABORTED
        Failure::Overloaded => 16,       // EBUSY
        Failure::ResponseTooLong => 90,  // EMSGSIZE
        Failure::Aborted => 125,         // ECANCELED
        _ => 5,                          // EIO: a failure that this file does not know yet
    }
}

/// The errno of a refused reply.
pub(crate) fn reply_errno(error: ReplyError) -> i32 {
    match error {
        ReplyError::EmptyMessage | ReplyError::MessageTooLong => EINVAL,
        ReplyError::Gone => ENOENT,
    }
}
