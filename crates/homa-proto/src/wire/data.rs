//! DATA: a piece of a message, and the fields that ride along with it.

use super::bytes::{Reader, Writer};
use super::{COMMON_HEADER_BYTES, Malformed, OffsetForm, RpcId};

/// Length in bytes of a DATA header; the payload begins behind it.
pub const DATA_HEADER_BYTES: usize = HEADER_LENGTH as usize;

/// The same, as packet lengths are counted.
const HEADER_LENGTH: u32 = 56;

/// Bytes of the fields behind [`Common`](super::Common).
const FIELD_BYTES: usize = DATA_HEADER_BYTES - COMMON_HEADER_BYTES;

/// The segment field's −1: "the offset stands in the sequence field". No payload can begin there,
/// since a message ends at offset 2³² − 1 at the latest.
const OFFSET_IN_SEQUENCE: u32 = u32::MAX;

/// DATA: bytes `offset .. offset + payload_length` of a message.
///
/// ```text
///      0               1               2               3
///     +---------------+---------------+---------------+---------------+
///  0  |                       Common, 28 bytes                        |
///     +---------------+---------------+---------------+---------------+
/// 28  |                        message_length                         |
///     +---------------+---------------+---------------+---------------+
/// 32  |                           incoming                            |
///     +---------------+---------------+---------------+---------------+
/// 36  |                                                               |
///     +                       ack: client_id, or 0                    +
/// 40  |                                                               |
///     +---------------+---------------+---------------+---------------+
/// 44  |       ack: server_port        |        cutoff_version         |
///     +---------------+-------------+-+---------------+---------------+
/// 48  |  retransmit   |      0      |I|               0               |   I: incast
///     +---------------+-------------+-+---------------+---------------+
/// 52  |     segment: offset of the payload, or −1 (see OffsetForm)    |
///     +---------------+---------------+---------------+---------------+
/// 56  |                          payload ...                          |
/// ```
///
/// The length of the payload is not on the wire: it is what the packet has behind byte 56.
///
/// A parsed value holds: `payload_length` is at least 1, `offset + payload_length` at most
/// `message_length`, so is `incoming`, and the id of `ack` is a client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// Bytes of the whole message, at least 1; the same in all its packets.
    pub message_length: u32,
    /// End (exclusive) of the bytes that the sender sends without waiting for a GRANT. A sender
    /// may answer a RESEND for more than there is with an end beyond the message; parsing cuts
    /// it to `message_length`.
    pub incoming: u32,
    /// An RPC that the server may forget; it has nothing to do with this message. An id that
    /// cannot be a client's counts as none instead of costing the payload: the sender would
    /// send the same bytes again, while a lost ack costs one NEED_ACK.
    pub ack: Option<Ack>,
    /// Version of the receiver's [`Cutoffs`](super::Cutoffs) that the sender goes by, 0 for none.
    pub cutoff_version: u16,
    /// Whether the packet answers a RESEND. On the wire 1; any value but 0 is read as true.
    pub retransmit: bool,
    /// Whether the sender has so many RPCs out at once that their responses should wait for
    /// grants. Bit 0 of byte 49, our addition: senders that do not know it send 0, receivers
    /// that do not, ignore it.
    pub incast: bool,
    /// Place of the first byte of the payload in the message.
    pub offset: u32,
    /// Bytes of payload, at least 1. On parsing, from the length of the packet; not written.
    pub payload_length: u32,
}

impl Data {
    /// Place in the message where the payload ends (exclusive).
    pub const fn end(&self) -> u32 {
        self.offset.saturating_add(self.payload_length)
    }

    #[inline]
    pub(super) fn parse(
        reader: &mut Reader<'_>,
        sequence: u32,
        packet_length: u32,
    ) -> Result<Self, Malformed> {
        let mut reader = reader.part::<FIELD_BYTES>()?;
        let message_length = reader.u32()?;
        let incoming = reader.u32()?.min(message_length);
        let ack = Ack::parse(&mut reader)?;
        let cutoff_version = reader.u16()?;
        let &[retransmit, flags, _, _] = reader.take()?;
        let segment = reader.u32()?;

        let offset = if segment == OFFSET_IN_SEQUENCE {
            sequence
        } else {
            segment
        };
        let payload_length = packet_length.saturating_sub(HEADER_LENGTH);
        let data = Self {
            message_length,
            incoming,
            ack,
            cutoff_version,
            retransmit: retransmit != 0,
            incast: flags & 1 == 1,
            offset,
            payload_length,
        };
        data.check()?;
        Ok(data)
    }

    /// Whether there is a payload and the message has room for it.
    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        let end = u64::from(self.offset) + u64::from(self.payload_length);
        if self.payload_length > 0 && end <= u64::from(self.message_length) {
            return Ok(());
        }
        Err(if self.message_length == 0 {
            Malformed::EmptyMessage
        } else if self.payload_length == 0 {
            Malformed::EmptyPayload
        } else {
            Malformed::OutsideMessage
        })
    }

    /// What the sequence field holds.
    #[inline]
    pub(super) const fn sequence(&self, form: OffsetForm) -> u32 {
        match form {
            OffsetForm::Both | OffsetForm::SequenceOnly => self.offset,
            OffsetForm::SegmentOnly { sequence } => sequence,
        }
    }

    #[inline]
    pub(super) fn emit(&self, form: OffsetForm, writer: &mut Writer<'_>) {
        debug_assert_eq!(self.check(), Ok(()), "we send only what we would accept");
        debug_assert!(
            self.ack.is_none_or(Ack::is_valid),
            "{:?} names no RPC of a client",
            self.ack
        );
        let segment = match form {
            OffsetForm::Both | OffsetForm::SegmentOnly { .. } => self.offset,
            OffsetForm::SequenceOnly => OFFSET_IN_SEQUENCE,
        };
        let mut writer = writer.part::<FIELD_BYTES>();
        writer.put(self.message_length.to_be_bytes());
        writer.put(self.incoming.to_be_bytes());
        self.ack.unwrap_or(Ack::NONE).emit(&mut writer);
        writer.put(self.cutoff_version.to_be_bytes());
        writer.put([u8::from(self.retransmit), u8::from(self.incast), 0, 0]);
        writer.put(segment.to_be_bytes());
    }
}

/// An RPC whose response its client has in full, so that the server may forget it.
///
/// ```text
///      0               1               2               3
///     +---------------+---------------+---------------+---------------+
///  0  |                                                               |
///     +                   client_id, 0 where no ack is                +
///  4  |                                                               |
///     +---------------+---------------+---------------+---------------+
///  8  |          server_port          |
///     +---------------+---------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The RPC as its client knows it: even, not 0.
    pub client_id: RpcId,
    /// The port at which the server received the request.
    pub server_port: u16,
}

impl Ack {
    /// What stands on the wire where no ack is.
    pub(crate) const NONE: Self = Self {
        client_id: RpcId::new(0),
        server_port: 0,
    };

    /// Reads one place for an ack, which may be empty. An odd id is read as an empty place too: it
    /// names no RPC of the sender, and the rest of the packet is good without it.
    #[inline]
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        let client_id = RpcId::new(reader.u64()?);
        let server_port = reader.u16()?;
        let ack = Self {
            client_id,
            server_port,
        };
        Ok(ack.is_valid().then_some(ack))
    }

    #[inline]
    pub(super) const fn is_valid(self) -> bool {
        self.client_id.is_client() && self.client_id.get() != 0
    }

    #[inline]
    pub(super) fn emit(self, writer: &mut Writer<'_>) {
        writer.put(self.client_id.get().to_be_bytes());
        writer.put(self.server_port.to_be_bytes());
    }
}
