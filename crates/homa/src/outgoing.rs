//! From the engine's bursts to the links: several bursts in one call, headers and payload gathered
//! where they lie.
//!
//! It keeps what a full link did not take. It does not decide what is sent, or in which order.

use std::collections::VecDeque;
use std::io::IoSlice;

use homa_net::{Refusal, Transmit, Undeliverable, Unreachable};
use homa_proto::{Burst, BurstPacket, Engine, Instant, SocketId};

use crate::counters::HostCounters;
use crate::incoming::report;
use crate::links::Links;
use crate::messages::Messages;
use crate::routes::{Routes, from_local};

/// Bursts handed to a link in one call. More would keep short messages waiting behind them.
const BATCH: usize = 16;
/// Calls of a link in one go, so that receiving gets its turn.
const ROUNDS_MAX: usize = 64;

/// Bursts on their way to the links.
pub(crate) struct Outbox {
    /// In the order in which they go.
    ready: VecDeque<Burst>,
    spare: Vec<Burst>,
    /// Whether the engine may have more than the last turn sent.
    more: bool,
    // What follows is empty between calls; kept for its memory.
    slices: Vec<IoSlice<'static>>,
    transmits: Vec<Transmit<'static>>,
    ends: Vec<usize>,
    refusals: Vec<(usize, Refusal)>,
}

/// What became of the bursts that wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// There was nothing to send.
    Nothing,
    /// All is sent.
    All,
    /// A link is full; the rest waits for room.
    Full,
    /// There is more than one turn may send.
    More,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            ready: VecDeque::with_capacity(BATCH),
            spare: Vec::with_capacity(BATCH),
            more: false,
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

    /// Sends what the engine wants sent.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        links: &mut Links,
        routes: &mut Routes,
        messages: &Messages,
        counters: &mut HostCounters,
    ) -> Sent {
        self.drop_stale(messages, counters);
        self.more = false;
        let mut sent = Sent::Nothing;
        for _ in 0..ROUNDS_MAX {
            self.fill(now, engine);
            if self.ready.is_empty() {
                return sent;
            }
            sent = Sent::All;
            while let Some(first) = self.ready.front() {
                let id = first.path().socket;
                let count = self
                    .ready
                    .iter()
                    .take_while(|burst| burst.path().socket == id)
                    .count();
                let done = self.send_batch(id, count, links, messages);
                self.report_refusals(now, engine, routes, counters);
                counters.bursts_sent += done as u64;
                self.recycle(done);
                if done < count {
                    return Sent::Full;
                }
            }
        }
        self.more = true;
        Sent::More
    }

    /// Leaves out packets of RPCs that ended while their burst waited for room.
    fn drop_stale(&mut self, messages: &Messages, counters: &mut HostCounters) {
        let spare = &mut self.spare;
        let mut kept = self.ready.len();
        while kept > 0 {
            kept -= 1;
            let Some(burst) = self.ready.pop_front() else {
                return;
            };
            if burst.packets().any(|packet| is_live(&packet, messages)) {
                self.ready.push_back(burst);
            } else {
                counters.bursts_stale += 1;
                spare.push(burst);
            }
        }
    }

    fn fill(&mut self, now: Instant, engine: &mut Engine) {
        while self.ready.len() < BATCH {
            let Some(mut burst) = self.spare.pop().or_else(|| Burst::new().ok()) else {
                return;
            };
            if !engine.poll_transmit(now, &mut burst) {
                self.spare.push(burst);
                return;
            }
            self.ready.push_back(burst);
        }
    }

    /// Sends the first `count` bursts, which leave by the socket `id`; returns how many the link
    /// dealt with.
    fn send_batch(
        &mut self,
        id: SocketId,
        count: usize,
        links: &mut Links,
        messages: &Messages,
    ) -> usize {
        let Some(socket) = links.get_mut(id) else {
            // The socket was closed while they waited.
            return count;
        };
        let mut slices = recycle_slices(core::mem::take(&mut self.slices));
        let mut transmits = recycle_transmits(core::mem::take(&mut self.transmits));
        self.ends.clear();
        for burst in self.ready.iter().take(count) {
            gather(burst, messages, &mut slices);
            self.ends.push(slices.len());
        }
        let mut start = 0;
        for (burst, &end) in self.ready.iter().zip(&self.ends) {
            transmits.push(transmit_of(burst, &slices[start..end]));
            start = end;
        }
        let refusals = &mut self.refusals;
        let done = socket.link.send(&transmits, &mut |index, refusal| {
            refusals.push((index, refusal));
        });
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
        for (index, refusal) in self.refusals.drain(..) {
            counters.count_refusal(refusal);
            let (Some(burst), Some(cause)) = (self.ready.get(index), cause_of(refusal)) else {
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

    fn recycle(&mut self, count: usize) {
        self.spare.extend(self.ready.drain(..count));
    }
}

fn is_live(packet: &BurstPacket<'_>, messages: &Messages) -> bool {
    packet
        .payload
        .is_none_or(|payload| messages.bytes(&payload).is_some())
}

/// Headers and payloads of a burst in the order in which they go on the wire.
fn gather<'a>(burst: &'a Burst, messages: &'a Messages, slices: &mut Vec<IoSlice<'a>>) {
    for packet in burst.packets() {
        let Some(payload) = packet.payload else {
            slices.push(IoSlice::new(packet.header));
            continue;
        };
        // A packet without its bytes belongs to an RPC that ended meanwhile: nobody misses it.
        if let Some(bytes) = messages.bytes(&payload) {
            slices.push(IoSlice::new(packet.header));
            slices.push(IoSlice::new(bytes));
        }
    }
}

fn transmit_of<'a>(burst: &Burst, slices: &'a [IoSlice<'a>]) -> Transmit<'a> {
    let path = burst.path();
    let several = burst.len() > 1;
    Transmit {
        to: path.peer.to_socket_addr(),
        from: from_local(path.local),
        // The level is the upper three bits: the class selectors that switches queue by.
        traffic_class: burst.priority().get() << 5,
        segment_bytes: several.then(|| u16::try_from(burst.segment_bytes()).unwrap_or(u16::MAX)),
        slices,
    }
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
