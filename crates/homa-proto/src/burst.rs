//! One answer of the engine to "what next": consecutive packets to one peer at one priority, all
//! of one size but the last. It holds headers and ranges, never payload.

use alloc::vec::Vec;

use crate::address::Path;
use crate::api::RpcKey;
use crate::wire::{DATA_HEADER_BYTES, MAX_HEADER_BYTES, Priority};

/// Most packets of one burst: what one UDP_SEGMENT send takes on every kernel that has it.
pub const MAX_BURST_PACKETS: usize = 64;

/// Which bytes of a message follow a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The RPC; the message is the one that this host sends in it.
    pub rpc: RpcKey,
    /// First byte.
    pub offset: u32,
    /// Bytes, at least 1.
    pub length: u32,
}

/// One packet of a burst.
#[derive(Clone, Copy, Debug)]
pub struct BurstPacket<'a> {
    /// The Homa header, complete but for the checksum.
    pub header: &'a [u8],
    /// What follows it; `None` for control packets.
    pub payload: Option<Payload>,
}

impl BurstPacket<'_> {
    /// Bytes of the Homa packet: header and payload.
    pub fn length(&self) -> usize {
        self.header.len() + self.payload.map_or(0, |payload| payload.length as usize)
    }
}

#[derive(Clone, Copy)]
struct Slot {
    header: [u8; MAX_HEADER_BYTES],
    header_bytes: u8,
    payload: Option<Payload>,
}

impl Slot {
    const EMPTY: Self = Self {
        header: [0; MAX_HEADER_BYTES],
        header_bytes: 0,
        payload: None,
    };

    fn packet(&self) -> BurstPacket<'_> {
        let length = usize::from(self.header_bytes);
        BurstPacket {
            header: self.header.get(..length).unwrap_or(&[]),
            payload: self.payload,
        }
    }
}

/// Packets to be sent one behind the other. The host makes one and hands it to
/// [`poll_transmit`](crate::Engine::poll_transmit) again and again; it allocates only when made.
pub struct Burst {
    path: Path,
    priority: Priority,
    bytes: usize,
    segment_bytes: usize,
    /// The last packet is shorter than those before.
    ends_short: bool,
    /// All of them always there, so that a header is written where it stays; the first `len` count.
    slots: Vec<Slot>,
    len: usize,
    /// Segments that the only packet is to be cut into; 0: nothing is cut.
    joined: usize,
}

impl Burst {
    /// An empty burst with room for [`MAX_BURST_PACKETS`].
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new() -> Result<Self, alloc::collections::TryReserveError> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(MAX_BURST_PACKETS)?;
        // Of a number that it knows the compiler makes 10 KB of code, one slot after the other.
        slots.resize(core::hint::black_box(MAX_BURST_PACKETS), Slot::EMPTY);
        Ok(Self {
            path: Path {
                socket: crate::SocketId(0),
                peer: crate::Address {
                    ip: core::net::Ipv6Addr::UNSPECIFIED,
                    scope: 0,
                    port: 0,
                },
                local: core::net::Ipv6Addr::UNSPECIFIED,
            },
            priority: Priority::HIGHEST,
            bytes: 0,
            segment_bytes: 0,
            ends_short: false,
            slots,
            len: 0,
            joined: 0,
        })
    }

    /// Where the packets go, and from where.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// At which priority all of them go.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Number of packets.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no packet in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all packets, headers included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of every packet but the last, which may be shorter; 0 when empty.
    pub fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// Packets that it makes on the wire: as many as it has, unless the only one is to be cut. Then
    /// each has the header of that one, but for the offset where its payload begins, and all are of
    /// [`segment_bytes`](Self::segment_bytes) but the last.
    pub fn segments(&self) -> usize {
        self.joined.max(self.len)
    }

    /// Whether nothing may follow the last packet, because it is shorter than the others.
    pub(crate) fn ends_short(&self) -> bool {
        self.ends_short
    }

    /// The packets in the order in which they go.
    pub fn packets(&self) -> impl ExactSizeIterator<Item = BurstPacket<'_>> {
        let slots = self.slots.get(..self.len).unwrap_or(&[]);
        slots.iter().map(Slot::packet)
    }

    /// Packet `index`, if there are as many; `packets().nth(index)` would look at all before it.
    pub fn packet(&self, index: usize) -> Option<BurstPacket<'_>> {
        self.slots.get(..self.len)?.get(index).map(Slot::packet)
    }

    /// Empties the burst and says where the next packets go.
    #[inline]
    pub(crate) fn start(&mut self, path: Path, priority: Priority) {
        // Field by field: put together first, it would be written twice.
        self.path.socket = path.socket;
        self.path.peer = path.peer;
        self.path.local = path.local;
        self.priority = priority;
        self.bytes = 0;
        self.segment_bytes = 0;
        self.ends_short = false;
        self.len = 0;
        self.joined = 0;
    }

    /// Has the only packet, a DATA packet, be cut into segments of `payload_bytes` each.
    pub(crate) fn cut(&mut self, payload_bytes: u32) {
        let payload = self.slots.first().and_then(|slot| slot.payload);
        let length = payload.map_or(0, |payload| payload.length);
        let count = length.div_ceil(payload_bytes) as usize;
        if count > 1 {
            self.joined = count;
            self.bytes += (count - 1) * DATA_HEADER_BYTES;
            self.segment_bytes = DATA_HEADER_BYTES + payload_bytes as usize;
        }
    }

    /// Adds a packet whose header `emit` writes.
    #[inline]
    pub(crate) fn push(
        &mut self,
        payload: Option<Payload>,
        emit: impl FnOnce(&mut [u8; MAX_HEADER_BYTES]) -> usize,
    ) {
        debug_assert!(self.len < MAX_BURST_PACKETS, "a burst holds 64 packets");
        let Some(slot) = self.slots.get_mut(self.len) else {
            return;
        };
        let header_bytes = emit(&mut slot.header).min(MAX_HEADER_BYTES);
        slot.header_bytes = u8::try_from(header_bytes).unwrap_or(0);
        slot.payload = payload;
        let bytes = header_bytes + payload.map_or(0, |payload| payload.length as usize);
        if self.len == 0 {
            self.segment_bytes = bytes;
        }
        self.ends_short = bytes < self.segment_bytes;
        self.bytes += bytes;
        self.len += 1;
    }
}
