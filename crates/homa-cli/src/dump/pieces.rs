//! The packets in what was captured. Mostly that is one; a sender that leaves segmentation to its
//! hardware is captured before it, with several segments behind one header.

use core::net::IpAddr;

use homa_proto::wire::{DATA_HEADER_BYTES, MAX_HEADER_BYTES};

use super::layers::{Carried, Carrier};

/// Type code of DATA.
const DATA: u8 = 0x10;
/// Bytes that segmentation copies in front of each piece; the segment field follows with the piece.
const SHARED_BYTES: usize = 52;
/// The segment field.
const SEGMENT_BYTES: usize = 4;
/// The header length, in words, of a packet of several segments.
const SHARED_WORDS: u8 = 13;
/// A packet that fills an Ethernet frame, under IPv4 and under IPv6.
const FULL_BYTES: [u32; 2] = [1_480, 1_460];
/// Where DATA says that it is sent again.
const RETRANSMIT_AT: usize = 48;
/// The shortest piece worth looking for. Real ones fill an MTU.
const PIECE_MIN_BYTES: usize = 68;

/// The header of one packet, and how long the whole packet is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    header: [u8; MAX_HEADER_BYTES],
    captured: usize,
    /// Bytes of the Homa packet on the wire.
    pub(crate) length: u32,
    /// Which segment of a packet of several this is, from 0.
    pub(crate) segment: Option<u32>,
}

impl Piece {
    fn new(parts: [&[u8]; 2], length: u32, segment: Option<u32>) -> Self {
        let mut header = [0; MAX_HEADER_BYTES];
        let bytes = parts.into_iter().flatten();
        let mut captured = 0;
        for (place, byte) in header.iter_mut().zip(bytes) {
            *place = *byte;
            captured += 1;
        }
        Self {
            header,
            captured,
            length,
            segment,
        }
    }

    /// What was captured of the leading bytes.
    pub(crate) fn header(&self) -> &[u8] {
        &self.header[..self.captured]
    }
}

/// Hands the packets in `carried` to `sink`.
pub(crate) fn each(carried: &Carried<'_>, mut sink: impl FnMut(&Piece)) {
    let Some(piece_bytes) = piece_bytes(carried) else {
        sink(&Piece::new([carried.bytes, &[]], carried.length, None));
        return;
    };
    let shared = &carried.bytes[..SHARED_BYTES];
    let mut left = carried.length as usize - SHARED_BYTES;
    let pieces = carried.bytes[SHARED_BYTES..].chunks(piece_bytes);
    for (index, piece) in pieces.enumerate() {
        let length = (SHARED_BYTES + left.min(piece_bytes)) as u32;
        left = left.saturating_sub(piece_bytes);
        sink(&Piece::new([shared, piece], length, Some(index as u32)));
    }
}

/// The size of the pieces, segment field included, of a packet of several segments.
///
/// Nothing says it: but each piece begins with its offset, which is that of the first plus the bytes
/// between. All offsets must fit, and the end must lie within the message.
fn piece_bytes(carried: &Carried<'_>) -> Option<usize> {
    let bytes = carried.bytes;
    if carried.carrier != Carrier::Ip || bytes.len() < DATA_HEADER_BYTES || may_be_one(carried) {
        return None;
    }
    let first = word(bytes, SHARED_BYTES)?;
    if bytes[11] != DATA || bytes[12] >> 4 != SHARED_WORDS || word(bytes, 4) != Some(first) {
        return None;
    }
    let message_length = u64::from(word(bytes, 28)?);
    let pieces = &bytes[SHARED_BYTES..];
    let whole = carried.length as usize - SHARED_BYTES;
    let fits = |&piece: &usize| {
        let data = piece - SEGMENT_BYTES;
        let count = whole.div_ceil(piece);
        let end = u64::from(first) + (whole - count * SEGMENT_BYTES) as u64;
        let mut borders = (1..count).map(|index| {
            let offset = u64::from(first) + (index * data) as u64;
            let field = word(pieces, index * piece);
            field.is_none_or(|field| u64::from(field) == offset)
        });
        end <= message_length && borders.all(|fits| fits)
    };
    // The first border must have been captured, or anything would fit.
    let last = pieces.len().checked_sub(SEGMENT_BYTES)?;
    (PIECE_MIN_BYTES..last).find(fits)
}

/// Whether the packet is, or may well be, one that was on the wire: then its payload may hold numbers
/// that look like offsets, and do so in a capture of the reference. What is sent again is one segment
/// always; what fits into an Ethernet frame is several only if no card has completed its checksum.
fn may_be_one(carried: &Carried<'_>) -> bool {
    let full = FULL_BYTES[usize::from(carried.from.is_ipv6())];
    carried.bytes[RETRANSMIT_AT] != 0
        || carried.length == full
        || carried.length < full && !has_bare_checksum(carried)
}

/// Whether the checksum is what a sender leaves to its card to complete: the sum of the pseudo header,
/// which has the protocol number of TCP.
fn has_bare_checksum(carried: &Carried<'_>) -> bool {
    let halves = |bytes: &[u8]| -> u64 {
        let pairs = bytes.as_chunks::<2>().0.iter();
        pairs.map(|pair| u64::from(u16::from_be_bytes(*pair))).sum()
    };
    let address = |ip| match ip {
        IpAddr::V4(ip) => halves(&ip.octets()),
        IpAddr::V6(ip) => halves(&ip.octets()),
    };
    let mut sum = address(carried.from) + address(carried.to) + 6 + u64::from(carried.length);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    carried.bytes.get(16..18) == Some(&(sum as u16).to_be_bytes())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    /// A packet of segments of `data` bytes, the last of `rest`.
    fn super_packet(first: u32, data: u32, count: u32, rest: u32) -> Vec<u8> {
        let mut packet = vec![0; SHARED_BYTES];
        packet[11] = DATA;
        packet[12] = SHARED_WORDS << 4;
        packet[4..8].copy_from_slice(&first.to_be_bytes());
        packet[28..32].copy_from_slice(&1_000_000_u32.to_be_bytes());
        for index in 0..=count {
            packet.extend((first + index * data).to_be_bytes());
            let bytes = if index == count { rest } else { data };
            packet.extend((0..bytes).map(|byte| byte as u8));
        }
        packet
    }

    fn pieces(carrier: Carrier, bytes: &[u8], length: usize) -> Vec<(Option<u32>, u32, usize)> {
        let mut pieces = Vec::new();
        let carried = Carried {
            carrier,
            from: Ipv4Addr::LOCALHOST.into(),
            to: Ipv4Addr::LOCALHOST.into(),
            traffic_class: 0,
            bytes,
            length: length as u32,
        };
        each(&carried, |piece| {
            let offset = word(piece.header(), SHARED_BYTES).unwrap();
            pieces.push((piece.segment, offset, piece.length as usize));
        });
        pieces
    }

    #[test]
    fn a_packet_of_several_segments_is_cut_at_its_offsets() {
        let packet = super_packet(7_000, 1_424, 2, 100);
        let expected = [
            (Some(0), 7_000, 1_480),
            (Some(1), 8_424, 1_480),
            (Some(2), 9_848, 156),
        ];
        assert_eq!(pieces(Carrier::Ip, &packet, packet.len()), expected);
    }

    #[test]
    fn a_packet_without_a_second_segment_stays_whole() {
        let packet = super_packet(7_000, 1_424, 0, 1_424);
        assert_eq!(
            pieces(Carrier::Ip, &packet, packet.len()),
            [(None, 7_000, 1_480)]
        );
        let packet = super_packet(7_000, 1_424, 2, 100);
        assert_eq!(pieces(Carrier::Tcp, &packet, packet.len()).len(), 1);
    }

    #[test]
    fn a_payload_that_looks_like_an_offset_does_not_cut_a_packet_of_the_wire() {
        let packet = super_packet(7_000, 700, 1, 700);
        assert_eq!(packet.len() as u32, FULL_BYTES[0] - 20);
        assert_eq!(pieces(Carrier::Ip, &packet, packet.len()).len(), 1);
    }

    #[test]
    fn a_short_packet_of_several_segments_is_cut_if_no_card_has_completed_its_checksum() {
        // As with an MTU of 1,280: a whole segment and a few bytes of the next.
        let mut packet = super_packet(7_000, 1_204, 1, 10);
        assert_eq!(packet.len(), 1_274);
        // 127.0.0.1 twice, 6, and the length, with what is carried out of 16 bits.
        let bare = 2 * (0x7f00 + 1) + 6 + 1_274 - 0xffff;
        packet[16..18].copy_from_slice(&(bare as u16).to_be_bytes());
        let expected = [(Some(0), 7_000, 1_260), (Some(1), 8_204, 66)];
        assert_eq!(pieces(Carrier::Ip, &packet, packet.len()), expected);
        // Sent again, a packet is one segment.
        packet[RETRANSMIT_AT] = 1;
        assert_eq!(pieces(Carrier::Ip, &packet, packet.len()).len(), 1);
    }

    #[test]
    fn of_a_cut_capture_the_segments_that_were_captured_are_shown() {
        let packet = super_packet(0, 1_424, 3, 100);
        let captured = &packet[..SHARED_BYTES + 1_428 + SEGMENT_BYTES + 10];
        let expected = [(Some(0), 0, 1_480), (Some(1), 1_424, 1_480)];
        assert_eq!(pieces(Carrier::Ip, captured, packet.len()), expected);
    }
}
