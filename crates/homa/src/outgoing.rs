//! From the engine's bursts to the links: several bursts in one call, headers and payload gathered
//! where they lie, and long messages cut into packets.
//!
//! It keeps what a full link did not take. It does not decide what is sent, or in which order.

use core::ops::Range;
use std::io::IoSlice;

use homa_net::{Refusal, Transmit, Undeliverable, Unreachable};
use homa_proto::wire::{DATA_HEADER_BYTES, Priority, move_to};
use homa_proto::{Burst, BurstPacket, Engine, Instant};

use crate::counters::HostCounters;
use crate::incoming::report;
use crate::links::Links;
use crate::messages::Messages;
use crate::routes::{Routes, from_local};

/// Most bursts handed to a link in one call: what one `sendmmsg` takes.
const BATCH: usize = 64;
/// Bytes past which a batch gets no further burst, and a go no further batch: one burst of a long
/// message is some 50 µs of work, and whatever comes meanwhile waits for its end.
const ENOUGH_BYTES: usize = 16 << 10;
/// Batches of short messages in one go.
const ROUNDS_MAX: usize = 2;
/// Packets up to this size are copied one behind the other: that is faster than for the kernel to
/// fetch header and payload of each from where they lie.
const SMALL_PACKET_BYTES: usize = 600;

/// What became of an attempt to send a burst the short way.
enum Lone {
    /// It is no single short packet, or its link is not there.
    Other,
    Sent,
    /// The link has no room.
    Full,
}

/// Bursts on their way to the links.
pub(crate) struct Outbox {
    /// Those that are ready go in their order; the others are kept for their memory.
    bursts: Vec<Burst>,
    ready: Range<usize>,
    /// Whether the engine may have more than the last turn sent.
    more: bool,
    // What follows is empty between calls; kept for its memory.
    copied: Vec<u8>,
    slices: Vec<IoSlice<'static>>,
    transmits: Vec<Transmit<'static>>,
    /// Of each burst of a batch, where its bytes end: in `copied`, or its slices.
    ends: Vec<usize>,
    refusals: Vec<(usize, Refusal)>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            bursts: Vec::with_capacity(BATCH),
            ready: 0..0,
            more: false,
            copied: Vec::new(),
            slices: Vec::new(),
            transmits: Vec::with_capacity(BATCH),
            ends: Vec::with_capacity(BATCH),
            refusals: Vec::new(),
        }
    }

    /// Whether bursts wait for room, or for the next turn.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.ready.is_empty() || self.more
    }

    /// Sends what the engine wants sent. Returns whether there is more than one turn may send.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        links: &mut Links,
        routes: &mut Routes,
        messages: &Messages,
        counters: &mut HostCounters,
    ) -> bool {
        self.more = false;
        if self.ready.is_empty() {
            if engine.is_quiet() {
                return false;
            }
            if let Some(first) = self.bursts.first_mut() {
                if !engine.poll_transmit(now, first) {
                    return false;
                }
                self.ready = 0..1;
                if engine.is_quiet() {
                    match self.send_lone(links, messages) {
                        Lone::Sent => {
                            counters.bursts_sent += 1;
                            let is_all = self.refusals.is_empty();
                            self.report_refusals(now, engine, routes, counters);
                            self.ready = 0..0;
                            if is_all {
                                return false;
                            }
                        }
                        Lone::Full => return false,
                        Lone::Other => {}
                    }
                }
            }
        } else {
            self.drop_stale(messages, counters);
        }
        self.transmit_many(now, engine, links, routes, messages, counters)
    }

    /// Sends the first burst, if it is one short packet; unless it was sent it is ready as before.
    /// Nearly all that a host with one message at a time sends goes this way.
    fn send_lone(&mut self, links: &mut Links, messages: &Messages) -> Lone {
        let burst = &self.bursts[0];
        let is_lone = burst.segments() == 1 && is_small(burst);
        let (Some(packet), true) = (burst.packet(0), is_lone) else {
            return Lone::Other;
        };
        let payload = packet.payload.map(|payload| messages.bytes(&payload));
        let id = burst.path().socket;
        let (Some(payload), Some(socket)) = (payload.unwrap_or(Some(&[])), links.get_mut(id))
        else {
            return Lone::Other;
        };
        if socket.full {
            return Lone::Other;
        }
        self.copied.clear();
        self.copied.extend_from_slice(packet.header);
        self.copied.extend_from_slice(payload);
        let slices = [IoSlice::new(&self.copied)];
        let refusals = &mut self.refusals;
        let mut refuse = |index, refusal| refusals.push((index, refusal));
        let transmit = [transmit_of(burst, &slices)];
        if socket.link.send(&transmit, &mut refuse) == 0 {
            links.set_full(id, true);
            return Lone::Full;
        }
        Lone::Sent
    }

    /// Sends what is ready and what else there is.
    #[inline(never)]
    fn transmit_many(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        links: &mut Links,
        routes: &mut Routes,
        messages: &Messages,
        counters: &mut HostCounters,
    ) -> bool {
        for _ in 0..ROUNDS_MAX {
            let mut drained = self.fill(now, engine);
            let is_enough = self.bytes() >= ENOUGH_BYTES;
            while !self.ready.is_empty() {
                let count = self.run_length();
                let done = self.send_batch(count, links, messages);
                drained &= self.refusals.is_empty();
                self.report_refusals(now, engine, routes, counters);
                counters.bursts_sent += done as u64;
                self.ready.start += done;
                if done < count {
                    return false;
                }
            }
            if drained {
                return false;
            }
            if is_enough {
                break;
            }
        }
        self.more = true;
        true
    }

    /// Leaves out packets of RPCs that ended while their burst waited for room.
    fn drop_stale(&mut self, messages: &Messages, counters: &mut HostCounters) {
        if self.ready.is_empty() {
            return;
        }
        let waiting = self.ready.clone();
        self.ready.end = waiting.start;
        for index in waiting {
            let burst = &self.bursts[index];
            if burst.packets().any(|packet| is_live(&packet, messages)) {
                self.bursts.swap(self.ready.end, index);
                self.ready.end += 1;
            } else {
                counters.bursts_stale += 1;
            }
        }
    }

    /// Fills up with what the engine has to send; returns whether that is all.
    fn fill(&mut self, now: Instant, engine: &mut Engine) -> bool {
        if !self.ready.is_empty() {
            self.bursts.rotate_left(self.ready.start);
        }
        self.ready = 0..self.ready.len();
        let mut bytes = self.bytes();
        while self.ready.end < BATCH && bytes < ENOUGH_BYTES {
            if engine.is_quiet() {
                return true;
            }
            if self.ready.end == self.bursts.len() {
                let Ok(burst) = Burst::new() else {
                    return false;
                };
                self.bursts.push(burst);
            }
            let burst = &mut self.bursts[self.ready.end];
            if !engine.poll_transmit(now, burst) {
                return true;
            }
            bytes += burst.bytes();
            self.ready.end += 1;
        }
        false
    }

    fn ready(&self) -> &[Burst] {
        &self.bursts[self.ready.clone()]
    }

    /// Bytes of those that are ready.
    fn bytes(&self) -> usize {
        self.ready().iter().map(Burst::bytes).sum()
    }

    /// How many of the bursts that are ready leave by the same socket as the first.
    fn run_length(&self) -> usize {
        let socket = |burst: &Burst| burst.path().socket;
        let [first, others @ ..] = self.ready() else {
            return 0;
        };
        let others = others.iter();
        1 + others
            .take_while(|burst| socket(burst) == socket(first))
            .count()
    }

    /// Sends the first `count` bursts, all by one socket; returns how many the link dealt with.
    fn send_batch(&mut self, count: usize, links: &mut Links, messages: &Messages) -> usize {
        let batch = &self.bursts[self.ready.clone()][..count];
        let Some(id) = batch.first().map(|burst| burst.path().socket) else {
            return 0;
        };
        let Some(socket) = links.get_mut(id) else {
            // The socket was closed while they waited.
            return count;
        };
        let refusals = &mut self.refusals;
        let mut refuse = |index, refusal| refusals.push((index, refusal));
        self.copied.clear();
        let mut slices = recycle_slices(core::mem::take(&mut self.slices));
        let mut transmits = recycle_transmits(core::mem::take(&mut self.transmits));
        lay_out(batch, messages, &mut self.copied, &mut self.ends);
        gather(batch, messages, &self.copied, &mut self.ends, &mut slices);
        let mut start = 0;
        for (burst, &end) in batch.iter().zip(&self.ends) {
            transmits.push(transmit_of(burst, &slices[start..end]));
            start = end;
        }
        let done = socket.link.send(&transmits, &mut refuse);
        self.transmits = recycle_transmits(transmits);
        self.slices = recycle_slices(slices);
        links.set_full(id, done < count);
        done
    }

    /// Tells the engine of bursts that the local network stack refused.
    fn report_refusals(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        routes: &mut Routes,
        counters: &mut HostCounters,
    ) {
        if self.refusals.is_empty() {
            return;
        }
        let batch = &self.bursts[self.ready.clone()];
        for (index, refusal) in self.refusals.drain(..) {
            counters.count_refusal(refusal);
            let (Some(burst), Some(cause)) = (batch.get(index), cause_of(refusal)) else {
                continue;
            };
            let header = burst
                .packets()
                .next()
                .map_or(&[][..], |packet| packet.header);
            let undeliverable = Undeliverable {
                to: burst.path().peer.to_socket_addr(),
                cause,
                reporter: None,
                offending: header,
            };
            report(now, engine, routes, counters, &undeliverable);
        }
    }
}

fn is_live(packet: &BurstPacket<'_>, messages: &Messages) -> bool {
    packet
        .payload
        .is_none_or(|payload| messages.bytes(&payload).is_some())
}

fn is_small(burst: &Burst) -> bool {
    burst.segment_bytes() <= SMALL_PACKET_BYTES
}

/// Whether the only packet of a burst is to be cut.
fn is_joined(burst: &Burst) -> bool {
    burst.segments() > burst.len()
}

/// Copies the packets of small bursts and those that others are to be cut into; `ends` says where each
/// burst's end.
fn lay_out(batch: &[Burst], messages: &Messages, copied: &mut Vec<u8>, ends: &mut Vec<usize>) {
    ends.clear();
    for burst in batch {
        if is_joined(burst) {
            cut(burst, messages, copied);
        } else if is_small(burst) {
            copy_packets(burst, messages, copied);
        }
        ends.push(copied.len());
    }
}

/// Copies the only packet of a burst as those that it makes: one behind the other, since the kernel
/// takes longer to fetch header and payload of each from where they lie than both copies take (by a
/// seventh, where packets cross one by one).
fn cut(burst: &Burst, messages: &Messages, copied: &mut Vec<u8>) {
    let first = burst.packet(0).and_then(|packet| packet.payload);
    let (Some(place), Some((header, payload))) = (first, live_packets(burst, messages).next())
    else {
        return;
    };
    let Some(mut header) = header.first_chunk().copied() else {
        return;
    };
    let piece_bytes = burst.segment_bytes() - DATA_HEADER_BYTES;
    let offsets = (place.offset..).step_by(piece_bytes);
    for (piece, offset) in payload.chunks(piece_bytes).zip(offsets) {
        move_to(&mut header, offset);
        copied.extend_from_slice(&header);
        copied.extend_from_slice(piece);
    }
}

fn copy_packets(burst: &Burst, messages: &Messages, copied: &mut Vec<u8>) {
    for (header, payload) in live_packets(burst, messages) {
        copied.extend_from_slice(header);
        copied.extend_from_slice(payload);
    }
}

/// The bytes of a batch in the order in which they go on the wire. `ends` comes from
/// [`lay_out`], and afterwards says where the slices of each burst end.
fn gather<'a>(
    batch: &'a [Burst],
    messages: &'a Messages,
    copied: &'a [u8],
    ends: &mut [usize],
    slices: &mut Vec<IoSlice<'a>>,
) {
    let mut start = 0;
    for (burst, end) in batch.iter().zip(ends) {
        if is_joined(burst) || is_small(burst) {
            slices.push(IoSlice::new(&copied[start..*end]));
        } else {
            for (header, payload) in live_packets(burst, messages) {
                slices.push(IoSlice::new(header));
                slices.push(IoSlice::new(payload));
            }
        }
        start = *end;
        *end = slices.len();
    }
}

/// Header and payload of each packet. One without its bytes belongs to an RPC that ended meanwhile:
/// nobody misses it.
fn live_packets<'a>(
    burst: &'a Burst,
    messages: &'a Messages,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    burst.packets().filter_map(|packet| match packet.payload {
        None => Some((packet.header, &[][..])),
        Some(payload) => Some((packet.header, messages.bytes(&payload)?)),
    })
}

fn transmit_of<'a>(burst: &Burst, slices: &'a [IoSlice<'a>]) -> Transmit<'a> {
    let path = burst.path();
    let several = burst.segments() > 1;
    Transmit {
        to: path.peer.to_socket_addr(),
        from: from_local(path.local),
        traffic_class: traffic_class(burst.priority()),
        segment_bytes: several.then(|| u16::try_from(burst.segment_bytes()).unwrap_or(u16::MAX)),
        slices,
    }
}

/// The level is the upper three bits: the class selectors that switches queue by.
pub(crate) const fn traffic_class(priority: Priority) -> u8 {
    priority.get() << 5
}

/// What a refusal says about the peer; `None` if it says nothing.
fn cause_of(refusal: Refusal) -> Option<Unreachable> {
    match refusal {
        Refusal::Unreachable(cause) => Some(cause),
        Refusal::TooBig => Some(Unreachable::PacketTooBig { mtu: 0 }),
        Refusal::Forbidden => Some(Unreachable::Prohibited),
        Refusal::WrongFamily => Some(Unreachable::Host),
        // Lost like any other packet; the engine sends again, or the RPC times out.
        Refusal::SourceNotLocal | Refusal::Dropped | Refusal::Other(_) => None,
    }
}

/// Empties a vector and keeps its memory for contents of another lifetime: collecting an empty
/// vector in place does not allocate.
fn recycle_slices<'a>(mut slices: Vec<IoSlice<'_>>) -> Vec<IoSlice<'a>> {
    slices.clear();
    slices.into_iter().map(|_| IoSlice::new(&[])).collect()
}

/// See [`recycle_slices`].
fn recycle_transmits<'a>(mut transmits: Vec<Transmit<'_>>) -> Vec<Transmit<'a>> {
    transmits.clear();
    transmits
        .into_iter()
        .map(|transmit| Transmit {
            slices: &[],
            ..transmit
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recycled_vectors_keep_their_memory() {
        let bytes = [0];
        let slices: Vec<_> = bytes.iter().map(|_| IoSlice::new(&bytes)).collect();
        let (address, capacity) = (slices.as_ptr() as usize, slices.capacity());
        let recycled = recycle_slices(slices);
        assert_eq!(
            (recycled.as_ptr() as usize, recycled.capacity()),
            (address, capacity)
        );
        assert!(recycled.is_empty());

        let transmits = Vec::with_capacity(3);
        let address = transmits.as_ptr() as usize;
        let recycled = recycle_transmits(transmits);
        assert_eq!(recycled.as_ptr() as usize, address);
    }
}
