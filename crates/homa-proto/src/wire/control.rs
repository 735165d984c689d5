//! The packets without payload that have fields of their own: GRANT, RESEND, RPC_UNKNOWN, CUTOFFS,
//! ACK. BUSY, FREEZE and NEED_ACK are [`Common`](super::Common) and nothing else.

use super::bytes::{Reader, Writer};
use super::{Ack, COMMON_HEADER_BYTES, Malformed, Priority};

/// Length in bytes of a GRANT.
pub const GRANT_HEADER_BYTES: usize = 33;

/// Length in bytes of a RESEND.
pub const RESEND_HEADER_BYTES: usize = 37;

/// Length in bytes of a RESEND without priority.
pub const STRIPPED_RESEND_HEADER_BYTES: usize = 36;

/// Length in bytes of CUTOFFS.
pub const CUTOFFS_HEADER_BYTES: usize = 62;

/// Length in bytes of an ACK, however many acks it holds.
pub const ACK_HEADER_BYTES: usize = 80;

impl Priority {
    #[inline]
    fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let level = reader.u8()?;
        Self::new(level).ok_or(Malformed::Priority(level))
    }

    #[inline]
    fn emit(self, writer: &mut Writer<'_>) {
        writer.put([self.get()]);
    }
}

/// GRANT: the sender may transmit every byte of the message before `offset`.
///
/// ```text
///      0               1               2               3
///     +---------------+---------------+---------------+---------------+
///  0  |                       Common, 28 bytes                        |
///     +---------------+---------------+---------------+---------------+
/// 28  |                            offset                             |
///     +---------------+---------------+---------------+---------------+
/// 32  |   priority    |
///     +---------------+
/// ```
///
/// Older senders append a 34th byte, which is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// End (exclusive) of the bytes that may be sent. Every value is legal: grants never shrink,
    /// so an offset below an earlier one, 0 too, only brings its priority; one beyond the
    /// message means its end.
    pub offset: u32,
    /// For every scheduled DATA packet of the message from now on.
    pub priority: Priority,
}

impl Grant {
    #[inline]
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut reader = reader.part::<{ GRANT_HEADER_BYTES - COMMON_HEADER_BYTES }>()?;
        let offset = reader.u32()?;
        let priority = Priority::parse(&mut reader)?;
        Ok(Self { offset, priority })
    }

    #[inline]
    pub(super) fn emit(&self, writer: &mut Writer<'_>) {
        let mut writer = writer.part::<{ GRANT_HEADER_BYTES - COMMON_HEADER_BYTES }>();
        writer.put(self.offset.to_be_bytes());
        self.priority.emit(&mut writer);
    }
}

/// RESEND: the receiver of a message misses bytes and wants them again.
///
/// ```text
///      0               1               2               3
///     +---------------+---------------+---------------+---------------+
///  0  |                       Common, 28 bytes                        |
///     +---------------+---------------+---------------+---------------+
/// 28  |                            offset                             |
///     +---------------+---------------+---------------+---------------+
/// 32  |                    length, −1 for everything                  |
///     +---------------+---------------+---------------+---------------+
/// 36  |   priority    |
///     +---------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resend {
    /// The bytes wanted.
    pub range: ResendRange,
    /// For the packets that answer. `None` is the form of 36 bytes without the field; receivers
    /// that know the field drop it as too short, so it is only for those that do not.
    pub priority: Option<Priority>,
}

/// Which bytes a RESEND asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResendRange {
    /// All that was sent so far: the receiver has no byte and knows no length. On the wire length
    /// −1.
    Everything,
    /// Bytes `offset .. offset + length`. A parsed range is not empty and its end fits into 32
    /// bits; it may lie beyond what was sent, or beyond the message.
    Bytes {
        /// First byte wanted.
        offset: u32,
        /// Number of bytes wanted, 1 to 2³¹ − 1.
        length: u32,
    },
}

/// The length on the wire that means everything.
const EVERYTHING: i32 = -1;

impl ResendRange {
    /// Tells the range from the two fields.
    #[inline]
    fn check(offset: u32, length: i32) -> Result<Self, Malformed> {
        if length == EVERYTHING {
            return Ok(Self::Everything);
        }
        let length = u32::try_from(length).map_err(|_| Malformed::NegativeRange)?;
        if length == 0 {
            return Err(Malformed::EmptyRange);
        }
        if offset.checked_add(length).is_none() {
            return Err(Malformed::RangeOverflow);
        }
        Ok(Self::Bytes { offset, length })
    }
}

impl Resend {
    #[inline]
    pub(super) fn parse(reader: &mut Reader<'_>, packet_length: u32) -> Result<Self, Malformed> {
        let offset = reader.u32()?;
        let length = reader.u32()?.cast_signed();
        let priority = if packet_length as usize == STRIPPED_RESEND_HEADER_BYTES {
            None
        } else {
            Some(Priority::parse(reader)?)
        };
        let range = ResendRange::check(offset, length)?;
        Ok(Self { range, priority })
    }

    #[inline]
    pub(super) fn emit(&self, writer: &mut Writer<'_>) {
        let (offset, length) = match self.range {
            ResendRange::Everything => (0, EVERYTHING),
            ResendRange::Bytes { offset, length } => {
                (offset, i32::try_from(length).unwrap_or(i32::MAX))
            }
        };
        debug_assert_eq!(
            ResendRange::check(offset, length),
            Ok(self.range),
            "we send only what we would accept"
        );
        writer.put(offset.to_be_bytes());
        writer.put(length.to_be_bytes());
        if let Some(priority) = self.priority {
            priority.emit(writer);
        }
    }
}

/// RPC_UNKNOWN: the RPC that the peer asked about does not exist at the sender.
///
/// ```text
///      0               1               2               3
///     +---------------+---------------+---------------+---------------+
///  0  |                       Common, 28 bytes                        |
///     +---------------+---------------+---------------+---------------+
/// 28  |    reason     |   only where there is one
///     +---------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RpcUnknown {
    /// Why, if the sender says so: a byte of ours that the reference module neither sends nor
    /// minds. A value that we do not know is read as `None`, so that there can be more of them
    /// later.
    pub reason: Option<UnknownReason>,
}

/// Why an RPC does not exist any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownReason {
    /// The application let the request go without a reply.
    Dropped = 1,
    /// There was no room for the request; it was not executed.
    Overloaded = 2,
    /// The other end gave the RPC up.
    Aborted = 3,
}

impl UnknownReason {
    /// The reason with this code on the wire.
    const fn new(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Dropped),
            2 => Some(Self::Overloaded),
            3 => Some(Self::Aborted),
            _ => None,
        }
    }
}

impl RpcUnknown {
    #[inline]
    pub(super) fn parse(reader: &mut Reader<'_>) -> Self {
        Self {
            reason: reader.u8().ok().and_then(UnknownReason::new),
        }
    }

    #[inline]
    pub(super) fn emit(&self, writer: &mut Writer<'_>) {
        if let Some(reason) = self.reason {
            writer.put([reason as u8]);
        }
    }
}

/// CUTOFFS: the priorities that the receiver of this packet is to give its unscheduled bytes on the
/// way back.
///
/// ```text
///      0               1               2               3
///     +---------------+---------------+---------------+---------------+
///  0  |                       Common, 28 bytes                        |
///     +---------------+---------------+---------------+---------------+
/// 28  |                          cutoffs[0]                           |
///     +---------------+---------------+---------------+---------------+
///     |                              ...                              |
///     +---------------+---------------+---------------+---------------+
/// 56  |                          cutoffs[7]                           |
///     +---------------+---------------+---------------+---------------+
/// 60  |            version            |
///     +---------------+---------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoffs {
    /// Entry n: bytes of the longest message whose unscheduled bytes may go at priority n. Every
    /// value is legal; the best level whose entry is not below a message's length is the
    /// message's, level 0 if none.
    pub cutoffs: [u32; Priority::levels()],
    /// Opaque; comes back in [`Data::cutoff_version`](super::Data::cutoff_version).
    pub version: u16,
}

impl Cutoffs {
    #[inline]
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut reader = reader.part::<{ CUTOFFS_HEADER_BYTES - COMMON_HEADER_BYTES }>()?;
        let mut cutoffs = [0; Priority::levels()];
        for cutoff in &mut cutoffs {
            *cutoff = reader.u32()?;
        }
        let version = reader.u16()?;
        Ok(Self { cutoffs, version })
    }

    #[inline]
    pub(super) fn emit(&self, writer: &mut Writer<'_>) {
        let mut writer = writer.part::<{ CUTOFFS_HEADER_BYTES - COMMON_HEADER_BYTES }>();
        for cutoff in self.cutoffs {
            writer.put(cutoff.to_be_bytes());
        }
        writer.put(self.version.to_be_bytes());
    }
}

/// ACK: up to five RPCs that the server may forget, besides the one that the packet itself names.
///
/// ```text
///      0               1               2               3
///     +---------------+---------------+---------------+---------------+
///  0  |                       Common, 28 bytes                        |
///     +---------------+---------------+---------------+---------------+
/// 28  |             count             |                               |
///     +---------------+---------------+                               +
/// 32  |                                                               |
///     +                    five places of 10 bytes,                   +
///     |                    the first `count` filled                   |
///     +                                                               +
/// 76  |                                                               |
///     +---------------+---------------+---------------+---------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acks {
    /// The first `count` are acks, the others [`Ack::NONE`].
    acks: [Ack; Self::CAPACITY],
    count: u8,
}

impl Acks {
    /// Most acks in one packet.
    pub const CAPACITY: usize = 5;

    /// No acks.
    pub const EMPTY: Self = Self {
        acks: [Ack::NONE; Self::CAPACITY],
        count: 0,
    };

    /// Adds an ack, or returns false if there is no room. A debug build panics on an id that is 0
    /// or not a client's.
    pub fn push(&mut self, ack: Ack) -> bool {
        debug_assert!(ack.is_valid(), "{ack:?} names no RPC of a client");
        let Some(place) = self.acks.get_mut(usize::from(self.count)) else {
            return false;
        };
        *place = ack;
        self.count += 1;
        true
    }

    /// The acks in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = Ack> + '_ {
        self.acks.iter().take(self.len()).copied()
    }

    /// Number of acks, 0 to 5.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A count above five is read as five. Places whose id cannot be a client's are skipped: the
    /// others are good without them.
    #[inline]
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut reader = reader.part::<{ ACK_HEADER_BYTES - COMMON_HEADER_BYTES }>()?;
        let count = usize::from(reader.u16()?).min(Self::CAPACITY);
        let mut acks = Self::EMPTY;
        for _ in 0..count {
            if let Some(ack) = Ack::parse(&mut reader)? {
                acks.push(ack);
            }
        }
        Ok(acks)
    }

    #[inline]
    pub(super) fn emit(&self, writer: &mut Writer<'_>) {
        let mut writer = writer.part::<{ ACK_HEADER_BYTES - COMMON_HEADER_BYTES }>();
        writer.put(u16::from(self.count).to_be_bytes());
        for ack in self.acks {
            ack.emit(&mut writer);
        }
    }
}
