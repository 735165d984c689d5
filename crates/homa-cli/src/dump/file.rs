//! Frames out of pcap and pcapng files, one at a time, however long the file.

use std::io::Read;

use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{
    Block, InterfaceDescriptionBlock, LegacyPcapBlock, PcapBlockOwned, PcapError, PcapHeader,
    create_reader,
};

/// Bytes of the file in memory at first, and at most: no block of a sane capture is larger.
const BUFFER_BYTES: usize = 1 << 17;
const BUFFER_MAX_BYTES: usize = 1 << 26;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// One captured frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// From 1, as Wireshark counts.
    pub(crate) number: u64,
    /// Nanoseconds since 1970.
    pub(crate) at_ns: u64,
    /// How the frame begins, as a LINKTYPE of the pcap format.
    pub(crate) link_type: i32,
    /// What was captured of it.
    pub(crate) bytes: &'a [u8],
    /// Its length on the wire, in bytes.
    pub(crate) length: u32,
}

/// Hands every frame of a capture to `sink`, until that says false.
///
/// # Errors
/// One line about what is wrong with the file; the frames before it were handed over.
pub(crate) fn frames(
    source: impl Read + Send,
    mut sink: impl FnMut(Frame<'_>) -> bool,
) -> Result<(), String> {
    let mut reader = create_reader(BUFFER_BYTES, source).map_err(|error| match error {
        PcapError::ReadError => "it cannot be read".to_owned(),
        _ => "it is neither pcap nor pcapng".to_owned(),
    })?;
    let mut capacity = BUFFER_BYTES;
    let mut units = Units::default();
    loop {
        let before = reader.data().len();
        let wants_more = match reader.next() {
            Ok((length, block)) => {
                let goes_on = units.frame(&block)?.is_none_or(&mut sink);
                reader.consume(length);
                if !goes_on {
                    return Ok(());
                }
                continue;
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::UnexpectedEof) if before == 0 => return Ok(()),
            Err(PcapError::Incomplete(_)) => false,
            Err(PcapError::BufferTooSmall) => true,
            Err(PcapError::UnexpectedEof) => {
                let frame = units.number + 1;
                return Err(format!("it ends within frame {frame}, or just before it"));
            }
            Err(_) => return Err(format!("it is damaged behind frame {}", units.number)),
        };
        if wants_more {
            capacity *= 2;
            if capacity > BUFFER_MAX_BYTES || !reader.grow(capacity) {
                return Err(format!("it is damaged behind frame {}", units.number));
            }
        }
        reader
            .refill()
            .map_err(|_| "it cannot be read further".to_owned())?;
        if !wants_more && reader.data().len() == before && !reader.reader_exhausted() {
            return Err(format!("it is damaged behind frame {}", units.number));
        }
    }
}

/// What the headers of the file say about the frames that follow.
#[derive(Default)]
struct Units {
    /// Frames so far.
    number: u64,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
struct Interface {
    link_type: i32,
    ticks_per_second: u128,
    offset_seconds: i64,
}

impl Units {
    /// The frame in a block, if it holds one.
    fn frame<'a>(&mut self, block: &'a PcapBlockOwned<'_>) -> Result<Option<Frame<'a>>, String> {
        let frame = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.interfaces = vec![Interface::of_pcap(header)];
                return Ok(None);
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                return Ok(None);
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                self.interfaces.push(Interface::of_pcapng(block));
                return Ok(None);
            }
            PcapBlockOwned::Legacy(block) => self.legacy(block),
            PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                let ticks = u128::from(block.ts_high) << 32 | u128::from(block.ts_low);
                self.next(
                    block.if_id as usize,
                    ticks,
                    block.packet_data(),
                    block.origlen,
                )
            }
            PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                self.next(0, 0, block.packet_data(), block.origlen)
            }
            // Statistics, names and the like.
            PcapBlockOwned::NG(_) => return Ok(None),
        };
        frame
            .map(Some)
            .ok_or_else(|| format!("frame {} is of no known interface", self.number))
    }

    fn legacy<'a>(&mut self, block: &'a LegacyPcapBlock<'_>) -> Option<Frame<'a>> {
        let per_second = self.interfaces.first()?.ticks_per_second;
        let ticks = u128::from(block.ts_sec) * per_second + u128::from(block.ts_usec);
        self.next(0, ticks, block.data, block.origlen)
    }

    fn next<'a>(
        &mut self,
        interface: usize,
        ticks: u128,
        bytes: &'a [u8],
        length: u32,
    ) -> Option<Frame<'a>> {
        self.number += 1;
        let interface = self.interfaces.get(interface)?;
        Some(Frame {
            number: self.number,
            at_ns: interface.nanos(ticks),
            link_type: interface.link_type,
            bytes,
            length: length.max(bytes.len().try_into().unwrap_or(u32::MAX)),
        })
    }
}

impl Interface {
    fn of_pcap(header: &PcapHeader) -> Self {
        let is_fine = header.is_nanosecond_precision();
        Self {
            // The upper bits say how long a checksum behind each frame is.
            link_type: header.network.0 & 0xffff,
            ticks_per_second: if is_fine { NANOS_PER_SECOND } else { 1_000_000 },
            offset_seconds: 0,
        }
    }

    fn of_pcapng(block: &InterfaceDescriptionBlock<'_>) -> Self {
        let exponent = u32::from(block.if_tsresol & 0x7f);
        let is_binary = block.if_tsresol & 0x80 != 0;
        let base: u128 = if is_binary { 2 } else { 10 };
        Self {
            link_type: block.linktype.0,
            ticks_per_second: base.checked_pow(exponent).unwrap_or(u128::MAX),
            offset_seconds: block.if_tsoffset,
        }
    }

    fn nanos(&self, ticks: u128) -> u64 {
        let seconds = ticks / self.ticks_per_second;
        let rest = (ticks % self.ticks_per_second).saturating_mul(NANOS_PER_SECOND)
            / self.ticks_per_second;
        let nanos = u64::try_from(seconds.saturating_mul(NANOS_PER_SECOND) + rest);
        let offset = self.offset_seconds.saturating_mul(NANOS_PER_SECOND as i64);
        nanos.unwrap_or(u64::MAX).saturating_add_signed(offset)
    }
}
