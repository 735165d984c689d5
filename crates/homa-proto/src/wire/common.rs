//! What every packet begins with: ports, type and RPC, laid over a TCP header so that network cards
//! which know TCP segment and spread Homa's packets as well. Of the TCP fields that Homa has no use
//! for, this file writes what the reference module writes and reads none.

use super::bytes::{Reader, Writer};
use super::{Form, Malformed};

/// Length in bytes of what all packets share, and of the packets that have no other fields.
pub const COMMON_HEADER_BYTES: usize = 28;

/// Ports and RPC of a packet.
///
/// ```text
///      0               1               2               3
///     +---------------+---------------+---------------+---------------+
///  0  |          source_port          |           dest_port           |
///     +---------------+---------------+---------------+---------------+
///  4  |            sequence: offset of the payload in DATA            |
///     +---------------+---------------+---------------+---------------+
///  8  |                       0                       |     type      |
///     +-------+-------+---------------+---------------+---------------+
/// 12  | words |   0   | flags: 0x06   |           window: 0           |
///     +-------+-------+---------------+---------------+---------------+
/// 16  |           checksum            |        urgent: 0xb97d         |
///     +---------------+---------------+---------------+---------------+
/// 20  |                                                               |
///     +                           sender_id                           +
/// 24  |                                                               |
///     +---------------+---------------+---------------+---------------+
/// ```
///
/// Bytes 4 to 19 are TCP's sequence, acknowledgment, data offset (`words`), flags, window, checksum
/// and urgent pointer. A receiver reads `type` of them, and `sequence` of DATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Common {
    /// Port of the socket that sent the packet.
    pub source_port: u16,
    /// Port of the socket that is to receive it.
    pub dest_port: u16,
    /// The RPC as the sender of the packet knows it: even from the client, odd from the server.
    /// Every value passes here; whether it fits an RPC is for the endpoint to say.
    pub sender_id: RpcId,
}

/// The fields among the first 28 bytes that follow from the type of a packet and the form of its
/// sender.
pub(super) struct Preamble {
    /// Type code.
    pub(super) kind: u8,
    /// Offset of the payload, or 0.
    pub(super) sequence: u32,
    /// Header length in words of 4 bytes, for segmentation hardware.
    pub(super) words: u8,
    pub(super) checksum: u16,
    /// Whether flags and urgent pointer mark the packet as Homa's.
    pub(super) marker: bool,
}

impl Preamble {
    /// Header words of all packets but DATA: a bare TCP header. Some cards drop packets that claim
    /// others.
    const CONTROL_WORDS: u8 = 5;

    /// That of a packet other than DATA.
    pub(super) const fn of_control(kind: u8, form: Form) -> Self {
        Self {
            kind,
            sequence: 0,
            words: Self::CONTROL_WORDS,
            checksum: form.checksum,
            marker: form.marker,
        }
    }

    /// SYN and RST together, which no TCP sends.
    const FLAGS: u8 = 0x06;
    const URGENT: u16 = 0xb97d;
}

impl Common {
    /// Reads ports and RPC; returns with them the type code and the sequence field.
    #[inline]
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<(Self, u8, u32), Malformed> {
        let mut reader = reader.part::<COMMON_HEADER_BYTES>()?;
        let source_port = reader.u16()?;
        let dest_port = reader.u16()?;
        let sequence = reader.u32()?;
        let &[_, _, _, kind] = reader.take()?;
        let _words_flags_window_checksum_urgent: &[u8; 8] = reader.take()?;
        let sender_id = RpcId::new(reader.u64()?);
        Ok((
            Self {
                source_port,
                dest_port,
                sender_id,
            },
            kind,
            sequence,
        ))
    }

    #[inline]
    pub(super) fn emit(&self, preamble: Preamble, writer: &mut Writer<'_>) {
        let (flags, urgent) = if preamble.marker {
            (Preamble::FLAGS, Preamble::URGENT)
        } else {
            (0, 0)
        };
        let mut writer = writer.part::<COMMON_HEADER_BYTES>();
        writer.put(self.source_port.to_be_bytes());
        writer.put(self.dest_port.to_be_bytes());
        writer.put(preamble.sequence.to_be_bytes());
        writer.put([0, 0, 0, preamble.kind]);
        writer.put([preamble.words << 4, flags, 0, 0]);
        writer.put(preamble.checksum.to_be_bytes());
        writer.put(urgent.to_be_bytes());
        writer.put(self.sender_id.get().to_be_bytes());
    }
}

/// Number of an RPC as one of its ends knows it. Client and server share all bits but the lowest,
/// which tells the end: 0 at the client, 1 at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RpcId(u64);

impl RpcId {
    /// The RPC of this number; every number is one.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this is the client's number of the RPC.
    pub const fn is_client(self) -> bool {
        self.0 & 1 == 0
    }

    /// The number of the same RPC at its other end.
    #[must_use]
    pub const fn flipped(self) -> Self {
        Self(self.0 ^ 1)
    }
}

/// How urgent a packet is to switches and links: 0 to 7, 7 is best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Level 0, which gives way to all others.
    pub const LOWEST: Self = Self(0);

    /// Level 7, which all others give way to.
    pub const HIGHEST: Self = Self(7);

    /// The priority of this level, `None` above 7.
    pub const fn new(level: u8) -> Option<Self> {
        if level <= Self::HIGHEST.0 {
            Some(Self(level))
        } else {
            None
        }
    }

    /// The level, 0 to 7.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Number of levels: 8.
    pub const fn levels() -> usize {
        Self::HIGHEST.0 as usize + 1
    }
}
