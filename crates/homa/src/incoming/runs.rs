//! Segments of a message that arrived together and follow each other: one word to the engine for all
//! of them.
//!
//! It decides which do. What the engine says of one packet holds for all.

use core::ops::Range;

use homa_net::Received;
use homa_proto::Path;
use homa_proto::wire::{DATA_HEADER_BYTES, DataHeader, follows};

use super::Placer;
use super::ahead::{Expectations, Expected};

/// The length from which on packets are compared with each other: those of short messages, which are
/// one packet each, are not.
pub(super) const LONG_PACKET_BYTES: usize = 1_000;

/// As many segments of a message show that more may come soon.
const BULK_SEGMENTS: u32 = 8;

/// Segments of one message that follow each other.
struct Run<'a> {
    header: &'a DataHeader,
    /// All of them, headers included.
    packets: &'a [u8],
    segment_bytes: usize,
    count: u32,
}

impl<'a> Run<'a> {
    /// That at the start of packets of `segment_bytes` each; `None` if the first is none of DATA.
    fn first_of(packets: &'a [u8], segment_bytes: usize) -> Option<Self> {
        let header = packets.first_chunk()?;
        let (mut count, mut distance) = (1, 0);
        let payload_bytes = segment_bytes.checked_sub(DATA_HEADER_BYTES)?;
        for packet in packets.chunks(segment_bytes).skip(1) {
            distance += payload_bytes as u32;
            let next = packet.first_chunk();
            if packet.len() == DATA_HEADER_BYTES
                || !next.is_some_and(|next| follows(header, next, distance))
            {
                break;
            }
            count += 1;
        }
        let end = packets.len().min(count * segment_bytes);
        Some(Self {
            header,
            packets: &packets[..end],
            segment_bytes,
            count: count as u32,
        })
    }

    /// The length of a packet with the payload of all.
    fn joined_bytes(&self) -> u32 {
        let others = (self.count as usize - 1) * DATA_HEADER_BYTES;
        (self.packets.len() - others) as u32
    }

    /// Copies their payload from byte `skipped` on.
    fn copy(&self, mut skipped: usize, mut target: &mut [u8]) {
        for packet in self.packets.chunks(self.segment_bytes) {
            let payload = &packet[DATA_HEADER_BYTES..];
            let part = payload.get(skipped..).unwrap_or_default();
            skipped = skipped.saturating_sub(payload.len());
            let (place, rest) = target.split_at_mut(part.len().min(target.len()));
            place.copy_from_slice(&part[..place.len()]);
            target = rest;
        }
        debug_assert!(
            target.is_empty(),
            "the engine placed bytes that did not come"
        );
    }
}

impl Placer<'_> {
    /// Places packets of one buffer that may be of long messages.
    #[inline(never)]
    pub(super) fn place_runs(
        &mut self,
        server: Option<u32>,
        path: Path,
        received: &Received<'_>,
        expected: &mut Expectations,
    ) {
        let mut rest = received.bytes;
        while !rest.is_empty() {
            let length = match Run::first_of(rest, received.segment_bytes) {
                Some(run) if run.count > 1 => {
                    self.place_run(server, path, &run, expected);
                    run.packets.len()
                }
                _ => {
                    let length = rest.len().min(received.segment_bytes);
                    self.place_seldom(server, path, &rest[..length]);
                    length
                }
            };
            rest = &rest[length..];
        }
    }

    fn place_run(
        &mut self,
        server: Option<u32>,
        path: Path,
        run: &Run<'_>,
        expected: &mut Expectations,
    ) {
        let (length, mut count) = (run.joined_bytes(), run.count);
        // Where some of the bytes are there already the engine tells of the others piece by piece.
        for _ in 0..run.count {
            let placement = self
                .engine
                .handle_segments(self.now, path, run.header, length, count);
            let Some(placement) = placement else {
                return;
            };
            let place = placement.place();
            let skipped = place.header_bytes - DATA_HEADER_BYTES;
            let target = self.messages.room_for(self.now, &place, self.stock, server);
            let Some(target) = target else {
                return placement.refuse();
            };
            run.copy(skipped, target);
            placement.commit();
            if run.count >= BULK_SEGMENTS {
                expected.add(Expected {
                    path,
                    rpc: place.rpc,
                    header: *run.header,
                    offset: place.offset - skipped as u32,
                    message_length: place.message_length,
                    segment_bytes: run.segment_bytes,
                });
            }
            if place.header_bytes as u32 + place.length == length {
                return;
            }
            count = 1;
        }
    }

    /// The same for segments whose payload lies already in `range` of the message that they are
    /// expected to be of.
    pub(super) fn settle_run(
        &mut self,
        server: Option<u32>,
        expected: &Expected,
        header: &DataHeader,
        range: Range<u32>,
        count: u32,
    ) {
        let length = DATA_HEADER_BYTES as u32 + (range.end - range.start);
        let placement = self
            .engine
            .handle_segments(self.now, expected.path, header, length, count);
        let Some(placement) = placement else {
            return;
        };
        let place = placement.place();
        let lies_there = !place.new
            && place.rpc == expected.rpc
            && (place.offset..place.offset + place.length) == range;
        debug_assert!(lies_there, "the engine said what is missing");
        let messages = &mut *self.messages;
        let stored = lies_there
            && messages
                .room_for(self.now, &place, self.stock, server)
                .is_some();
        match stored {
            true => placement.commit(),
            false => placement.refuse(),
        }
    }
}
