//! Reads packet headers for the laws, by the byte layout of the protocol document: the codec under
//! test is not asked.

/// What a header says, as far as a law needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) source: u16,
    pub(crate) dest: u16,
    /// The sender's number of the RPC.
    pub(crate) id: u64,
    pub(crate) says: Says,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Data(Data),
    Grant {
        offset: u32,
        priority: u8,
    },
    /// `None`: everything.
    Resend(Option<(u32, u32)>),
    Unknown {
        reason: u8,
    },
    Busy,
    Cutoffs {
        levels: [u32; 8],
        version: u16,
    },
    NeedAck,
    Ack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) length: u32,
    pub(crate) incoming: u32,
    pub(crate) version: u16,
    pub(crate) retransmit: bool,
    pub(crate) offset: u32,
}

fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    let bytes = bytes.get(place..place + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    let bytes = bytes.get(place..place + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

impl Header {
    /// `None`: the bytes are no packet of the protocol.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let id = bytes.get(20..28)?.try_into().ok()?;
        let says = match bytes.get(11)? {
            0x10 => Says::Data(Data {
                length: u32_at(bytes, 28)?,
                incoming: u32_at(bytes, 32)?,
                version: u16_at(bytes, 46)?,
                retransmit: *bytes.get(48)? != 0,
                offset: match u32_at(bytes, 52)? {
                    u32::MAX => u32_at(bytes, 4)?,
                    offset => offset,
                },
            }),
            0x11 => Says::Grant {
                offset: u32_at(bytes, 28)?,
                priority: *bytes.get(32)?,
            },
            0x12 => {
                let (offset, length) = (u32_at(bytes, 28)?, u32_at(bytes, 32)?);
                let all = length == u32::MAX;
                Says::Resend((!all).then(|| (offset, offset.saturating_add(length))))
            }
            0x13 => Says::Unknown {
                reason: bytes.get(28).copied().unwrap_or(0),
            },
            0x14 => Says::Busy,
            0x15 => {
                let mut levels = [0; 8];
                for (level, place) in levels.iter_mut().enumerate() {
                    *place = u32_at(bytes, 28 + 4 * level)?;
                }
                Says::Cutoffs {
                    levels,
                    version: u16_at(bytes, 60)?,
                }
            }
            0x17 => Says::NeedAck,
            0x18 => Says::Ack,
            _ => return None,
        };
        Some(Self {
            source: u16_at(bytes, 0)?,
            dest: u16_at(bytes, 2)?,
            id: u64::from_be_bytes(id),
            says,
        })
    }

    /// Whether the client sent it.
    pub(crate) fn is_from_client(&self) -> bool {
        self.id & 1 == 0
    }

    /// The client's number of the RPC.
    pub(crate) fn client_id(&self) -> u64 {
        self.id & !1
    }
}

impl core::fmt::Display for Header {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:x} ", self.id)?;
        match self.says {
            Says::Data(data) => write!(
                f,
                "DATA {} of {} incoming {} version {:x}{}",
                data.offset,
                data.length,
                data.incoming,
                data.version,
                if data.retransmit { " again" } else { "" }
            ),
            Says::Grant { offset, priority } => write!(f, "GRANT to {offset} at {priority}"),
            Says::Resend(None) => write!(f, "RESEND all"),
            Says::Resend(Some((start, end))) => write!(f, "RESEND {start}..{end}"),
            Says::Unknown { reason } => write!(f, "RPC_UNKNOWN reason {reason}"),
            Says::Busy => write!(f, "BUSY"),
            Says::Cutoffs { version, .. } => write!(f, "CUTOFFS version {version:x}"),
            Says::NeedAck => write!(f, "NEED_ACK"),
            Says::Ack => write!(f, "ACK"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homa_proto::wire::{Body, Common, Grant, MAX_HEADER_BYTES, Packet, Priority, RpcId};

    #[test]
    fn what_the_codec_writes_is_read_alike() {
        let packet = Packet {
            common: Common {
                source_port: 7,
                dest_port: 9,
                sender_id: RpcId::new(0x0123_4567_89ab_cdef),
            },
            body: Body::Grant(Grant {
                offset: 70_000,
                priority: Priority::new(3).unwrap(),
            }),
        };
        let mut bytes = [0; MAX_HEADER_BYTES];
        let length = packet.emit(&mut bytes);
        let header = Header::read(&bytes[..length]).unwrap();
        assert_eq!((header.source, header.dest), (7, 9));
        assert_eq!(header.client_id(), 0x0123_4567_89ab_cdee);
        let says = Says::Grant {
            offset: 70_000,
            priority: 3,
        };
        assert_eq!(header.says, says);
    }

    #[test]
    fn what_is_cut_off_is_no_packet() {
        assert_eq!(Header::read(&[0; 27]), None);
        let mut bytes = [0; 40];
        bytes[11] = 0x10;
        assert_eq!(Header::read(&bytes), None);
    }
}
