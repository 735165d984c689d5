//! The packets of Homa: bytes to values and back.
//!
//! Decides which packets are legal and says why the others are not ([`Malformed`]). It
//! deliberately does not know sizes that are policy (the longest message, which ports may serve),
//! nor whether an RPC exists; it copies no payload and trusts no length that the link did not
//! measure.
//!
//! Nine types of packet exist. Every one begins with the 28 bytes of [`Common`]; the type's own
//! fields follow, and behind those of [`Data`] the payload:
//!
//! ```text
//! code  name         bytes  who sends it               what follows Common
//! 0x10  DATA            56  the sender of a message    Data, then the payload
//! 0x11  GRANT           33  the receiver of a message  Grant
//! 0x12  RESEND          37  the receiver of a message  Resend (36: without priority)
//! 0x13  RPC_UNKNOWN     28  who was asked to resend    RpcUnknown (29: with a reason)
//! 0x14  BUSY            28  who was asked to resend    –
//! 0x15  CUTOFFS         62  any host                   Cutoffs
//! 0x16  FREEZE          28  a debugging tool           –
//! 0x17  NEED_ACK        28  the server                 –
//! 0x18  ACK             80  the client                 Acks
//! ```
//!
//! A packet may be longer than its header: what follows the fields of a control packet is ignored,
//! so that old receivers live with new fields. Integers are big-endian, offsets in the pictures are
//! decimal and count from the first byte of the Homa packet.
//!
//! *Design.* A packet is parsed into a value, not viewed in place: the fields are few, each is read
//! about once, and a value cannot disagree with the check that let it in. Bytes are taken off the
//! front of a slice field by field (`wire/bytes.rs`), so a layout reads from top to bottom like its
//! picture, nothing is indexed and a missing byte is an ordinary answer.
#![deny(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use core::fmt;

use bytes::{Reader, Writer};
use common::Preamble;

mod bytes;
mod common;
mod control;
mod data;
mod segments;

pub use common::{COMMON_HEADER_BYTES, Common, Priority, RpcId};
pub use control::{
    ACK_HEADER_BYTES, Acks, CUTOFFS_HEADER_BYTES, Cutoffs, GRANT_HEADER_BYTES, Grant,
    RESEND_HEADER_BYTES, Resend, ResendRange, RpcUnknown, STRIPPED_RESEND_HEADER_BYTES,
    UnknownReason,
};
pub use data::{Ack, DATA_HEADER_BYTES, Data};
pub use segments::{DataHeader, follows, move_to};

/// The most bytes of a packet that [`Packet::parse`] looks at. No header is longer; the longest in
/// use is that of ACK, the rest is room to grow.
pub const MAX_HEADER_BYTES: usize = 90;

/// One Homa packet without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Ports and RPC.
    pub common: Common,
    /// What the packet says.
    pub body: Body,
}

/// What a packet says: one variant for each type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Bytes of a message.
    Data(Data),
    /// Permission to send.
    Grant(Grant),
    /// Bytes are missing: send them again.
    Resend(Resend),
    /// The RPC that the peer asked about does not exist here.
    RpcUnknown(RpcUnknown),
    /// The RPC is alive, its bytes come later: do not time out.
    Busy,
    /// Priorities for unscheduled bytes on their way to the sender of this packet.
    Cutoffs(Cutoffs),
    /// A request to stop tracing. Understood, so that it can be counted; never sent, never obeyed.
    Freeze,
    /// The server asks whether it may forget the RPC.
    NeedAck,
    /// The server may forget the RPC of [`Common::sender_id`] and those listed.
    Ack(Acks),
}

/// Codes of the packet types.
mod kind {
    pub(super) const DATA: u8 = 0x10;
    pub(super) const GRANT: u8 = 0x11;
    pub(super) const RESEND: u8 = 0x12;
    pub(super) const RPC_UNKNOWN: u8 = 0x13;
    pub(super) const BUSY: u8 = 0x14;
    pub(super) const CUTOFFS: u8 = 0x15;
    pub(super) const FREEZE: u8 = 0x16;
    pub(super) const NEED_ACK: u8 = 0x17;
    pub(super) const ACK: u8 = 0x18;
}

/// Whether the beginning of a packet, of which the rest need not be there, is of DATA.
#[inline]
pub(crate) fn begins_data(header: &[u8]) -> bool {
    header.get(11) == Some(&kind::DATA)
}

impl Packet {
    /// Reads the header of one packet.
    ///
    /// `packet_length` is the length in bytes of the whole Homa packet, header and payload, as the
    /// link measured it without padding of its own. `header` holds the first
    /// `min(MAX_HEADER_BYTES, packet_length)` bytes of it; more does no harm, fewer count as
    /// cut off.
    ///
    /// # Errors
    ///
    /// The packet is to be dropped and counted for the reason given.
    #[inline]
    pub fn parse(header: &[u8], packet_length: u32) -> Result<Self, Malformed> {
        let header = header.get(..packet_length as usize).unwrap_or(header);
        let mut reader = Reader::new(header);
        let (common, kind, sequence) = Common::parse(&mut reader)?;
        // Every arm ends in a packet of its own: built once behind the match, its body is merged
        // from all arms byte by byte, and parsing DATA takes a third longer.
        let packet = |body| Ok(Self { common, body });
        match kind {
            kind::DATA => packet(Body::Data(Data::parse(
                &mut reader,
                sequence,
                packet_length,
            )?)),
            kind::GRANT => packet(Body::Grant(Grant::parse(&mut reader)?)),
            kind::RESEND => packet(Body::Resend(Resend::parse(&mut reader, packet_length)?)),
            kind::RPC_UNKNOWN => packet(Body::RpcUnknown(RpcUnknown::parse(&mut reader))),
            kind::BUSY => packet(Body::Busy),
            kind::CUTOFFS => packet(Body::Cutoffs(Cutoffs::parse(&mut reader)?)),
            kind::FREEZE => packet(Body::Freeze),
            kind::NEED_ACK => packet(Body::NeedAck),
            kind::ACK => packet(Body::Ack(Acks::parse(&mut reader)?)),
            unknown => Err(Malformed::UnknownType(unknown)),
        }
    }

    /// Writes the header as we send it and returns its length in bytes; the rest of `buffer` keeps
    /// what it held. It cannot fail; a debug build panics if a field breaks what its type promises.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8; MAX_HEADER_BYTES]) -> usize {
        self.emit_as(Form::default(), buffer)
    }

    /// Writes the header in a form of another sender's, for links that must look like one and for
    /// tests; returns its length in bytes.
    #[inline]
    pub fn emit_as(&self, form: Form, buffer: &mut [u8; MAX_HEADER_BYTES]) -> usize {
        if let Body::Data(data) = &self.body {
            return data.emit_packet_as(&self.common, form, buffer);
        }
        let mut writer = Writer::new(buffer.as_mut_slice());
        let preamble = Preamble::of_control(self.body.kind(), form);
        self.common.emit(preamble, &mut writer);
        match &self.body {
            Body::Grant(grant) => grant.emit(&mut writer),
            Body::Resend(resend) => resend.emit(&mut writer),
            Body::RpcUnknown(unknown) => unknown.emit(&mut writer),
            Body::Cutoffs(cutoffs) => cutoffs.emit(&mut writer),
            Body::Ack(acks) => acks.emit(&mut writer),
            Body::Data(_) | Body::Busy | Body::Freeze | Body::NeedAck => {}
        }
        MAX_HEADER_BYTES - writer.room()
    }
}

impl Data {
    /// Reads the header of a packet that [begins like DATA](begins_data), as [`Packet::parse`] does.
    #[inline]
    pub(crate) fn parse_packet(
        header: &[u8],
        packet_length: u32,
    ) -> Result<(Common, Self), Malformed> {
        if (packet_length as usize) < DATA_HEADER_BYTES {
            return Err(Malformed::Truncated);
        }
        // One check of the length for all fields.
        let mut reader = Reader::new(header).part::<DATA_HEADER_BYTES>()?;
        let (common, _, sequence) = Common::parse(&mut reader)?;
        let data = Self::parse(&mut reader, sequence, packet_length)?;
        Ok((common, data))
    }

    /// Writes the header of a DATA packet, as [`Packet::emit`] does.
    #[inline]
    pub(crate) fn emit_packet(
        &self,
        common: &Common,
        buffer: &mut [u8; MAX_HEADER_BYTES],
    ) -> usize {
        self.emit_packet_as(common, Form::default(), buffer)
    }

    #[inline]
    fn emit_packet_as(
        &self,
        common: &Common,
        form: Form,
        buffer: &mut [u8; MAX_HEADER_BYTES],
    ) -> usize {
        let mut writer = Writer::new(buffer.as_mut_slice());
        let preamble = Preamble {
            kind: kind::DATA,
            sequence: self.sequence(form.offset),
            words: form.data_header_words(),
            checksum: form.checksum,
            marker: form.marker,
        };
        common.emit(preamble, &mut writer);
        self.emit(form.offset, &mut writer);
        DATA_HEADER_BYTES
    }
}

impl Body {
    /// Code of the packet type, as it stands at byte 11.
    const fn kind(&self) -> u8 {
        match self {
            Self::Data(_) => kind::DATA,
            Self::Grant(_) => kind::GRANT,
            Self::Resend(_) => kind::RESEND,
            Self::RpcUnknown(_) => kind::RPC_UNKNOWN,
            Self::Busy => kind::BUSY,
            Self::Cutoffs(_) => kind::CUTOFFS,
            Self::Freeze => kind::FREEZE,
            Self::NeedAck => kind::NEED_ACK,
            Self::Ack(_) => kind::ACK,
        }
    }
}

/// Choices of a sender that no receiver may depend on. The default is what we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// The field at byte 16: over IP a TCP checksum for the hardware to complete, over UDP 0,
    /// because UDP has its own. Default 0.
    pub checksum: u16,
    /// Where DATA carries its offset.
    pub offset: OffsetForm,
    /// Whether the TCP flags SYN and RST and the urgent pointer 0xb97d mark the packet, by which
    /// the reference module knows its own among TCP segments. Default true; its stripped build
    /// sends zeros.
    pub marker: bool,
    /// Whether the header length that segmentation hardware reads in DATA leaves out the last 4
    /// bytes, as for a packet of several segments, each with its own offset. Default false:
    /// one packet, one segment.
    pub multi_segment: bool,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            checksum: 0,
            offset: OffsetForm::Both,
            marker: true,
            multi_segment: false,
        }
    }
}

impl Form {
    /// Length of the DATA header in words of 4 bytes, as segmentation hardware is told.
    const fn data_header_words(self) -> u8 {
        if self.multi_segment { 13 } else { 14 }
    }
}

/// Where DATA carries the offset of its payload. A receiver takes the segment field (byte 52)
/// unless that is −1, then the sequence field (byte 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetForm {
    /// In both fields: every receiver finds it, also one that knows only one of the two. What we
    /// send.
    Both,
    /// In the sequence field, −1 in the segment field: hardware that segments TCP counts it up.
    SequenceOnly,
    /// In the segment field; the sequence field holds this number, whatever it is. Later segments
    /// of a packet that was cut up repeat the sequence of the first.
    SegmentOnly {
        /// Value of the sequence field.
        sequence: u32,
    },
}

/// Why a packet was refused. The set is closed: one counter for each ([`Malformed::index`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than the header of its type.
    Truncated,
    /// The type code is none of 0x10 to 0x18.
    UnknownType(u8),
    /// A GRANT or RESEND names a priority above 7.
    Priority(u8),
    /// DATA of a message of 0 bytes, which no sender may have.
    EmptyMessage,
    /// DATA that carries no payload.
    EmptyPayload,
    /// DATA whose payload would begin or end beyond the end of its message.
    OutsideMessage,
    /// RESEND for 0 bytes.
    EmptyRange,
    /// RESEND for a negative number of bytes other than −1, which means everything.
    NegativeRange,
    /// RESEND for bytes beyond offset 2³² − 1.
    RangeOverflow,
}

impl Malformed {
    /// Number of reasons: the length of an array of counters.
    pub const COUNT: usize = Self::ALL.len();

    /// Every reason in the order of [`index`](Self::index), bytes that it carries as 0.
    pub const ALL: [Self; 9] = [
        Self::Truncated,
        Self::UnknownType(0),
        Self::Priority(0),
        Self::EmptyMessage,
        Self::EmptyPayload,
        Self::OutsideMessage,
        Self::EmptyRange,
        Self::NegativeRange,
        Self::RangeOverflow,
    ];

    /// Place of the reason in an array of [`COUNT`](Self::COUNT) counters; bytes that it carries
    /// make no difference.
    pub const fn index(self) -> usize {
        match self {
            Self::Truncated => 0,
            Self::UnknownType(_) => 1,
            Self::Priority(_) => 2,
            Self::EmptyMessage => 3,
            Self::EmptyPayload => 4,
            Self::OutsideMessage => 5,
            Self::EmptyRange => 6,
            Self::NegativeRange => 7,
            Self::RangeOverflow => 8,
        }
    }

    /// Name of the reason's counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::UnknownType(_) => "unknown_type",
            Self::Priority(_) => "priority",
            Self::EmptyMessage => "empty_message",
            Self::EmptyPayload => "empty_payload",
            Self::OutsideMessage => "outside_message",
            Self::EmptyRange => "empty_range",
            Self::NegativeRange => "negative_range",
            Self::RangeOverflow => "range_overflow",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the packet is shorter than the header of its type"),
            Self::UnknownType(code) => write!(f, "no packet type has the code {code:#04x}"),
            Self::Priority(level) => write!(f, "priority {level} is above 7"),
            Self::EmptyMessage => write!(f, "DATA of a message of 0 bytes"),
            Self::EmptyPayload => write!(f, "DATA without payload"),
            Self::OutsideMessage => write!(f, "DATA beyond the end of its message"),
            Self::EmptyRange => write!(f, "RESEND for 0 bytes"),
            Self::NegativeRange => write!(f, "RESEND for a negative number of bytes"),
            Self::RangeOverflow => write!(f, "RESEND for bytes beyond every message"),
        }
    }
}

impl core::error::Error for Malformed {}
