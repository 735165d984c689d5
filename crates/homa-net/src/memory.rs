//! Two ends of a wire in one process.
//!
//! It behaves as a short network cable between two sockets: what is sent on one end arrives on the
//! other, whole and in order, until the queue is full. The ends may live in two threads. It has no
//! rate and no delay; faults come from [`Faults`](crate::faults::Faults).

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::link::{
    Capabilities, Counters, Link, MAX_BATCH_BYTES, MAX_SEGMENTS, Received, Refusal, Transmit,
    Undeliverable, Unreachable,
};
use crate::outcome::Outcome;
use crate::wait::Wakeup;

/// What a datagram occupies in a queue at the least, in bytes, so that empty ones fill it too.
const CHARGE_MIN_BYTES: usize = 256;

/// Buffers that an end keeps to use again; more than a host leaves waiting, and 16 MiB at the most.
const SPARE_BUFFERS_MAX: usize = 256;

/// IP and UDP headers, which count against the MTU.
const HEADERS_V4_BYTES: usize = 20 + 8;
const HEADERS_V6_BYTES: usize = 40 + 8;

/// How a pair is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The addresses of the two ends, of one family. What is sent to any other is refused.
    pub addresses: (SocketAddr, SocketAddr),
    /// Payload that the queue towards each end holds, in bytes; a datagram counts as at least 256.
    /// An empty queue takes any one transmit, however large.
    pub capacity_bytes: usize,
    /// What happens to a datagram that finds the queue full.
    pub when_full: WhenFull,
    /// The largest IP packet, headers included, in bytes. Larger datagrams are refused.
    pub mtu_bytes: u32,
    /// The most datagrams in one piece, sent and received: 1 makes a wire without segmentation and
    /// coalescing.
    pub max_segments: usize,
}

impl Default for Config {
    fn default() -> Self {
        let address = |last| SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, last), 4000).into();
        Self {
            addresses: (address(1), address(2)),
            capacity_bytes: 4 << 20,
            when_full: WhenFull::Refuse,
            mtu_bytes: 1500,
            max_segments: MAX_SEGMENTS,
        }
    }
}

/// What a full queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The sender keeps the datagram and is told that the link is full, as by a send buffer.
    ///
    /// The descriptor of the sender says "writable" all the same, so that a host that waits for
    /// room spins. Only tests use this link, and they want no datagram lost.
    Refuse,
    /// The datagram is lost and counted at the receiver, as by a switch or a receive buffer.
    Drop,
}

/// One end of the wire.
pub struct Memory {
    local: SocketAddr,
    peer: SocketAddr,
    config: Config,
    here: Arc<Direction>,
    there: Arc<Direction>,
    /// Parcels in the hands of `receive`; empty otherwise.
    taken: VecDeque<Parcel>,
    counters: Counters,
}

/// Makes a wire and returns its two ends, in the order of [`Config::addresses`].
///
/// # Errors
///
/// Too many open files: each end has a descriptor to wait on.
///
/// # Panics
///
/// If the addresses are of two families.
pub fn pair(config: &Config) -> io::Result<(Memory, Memory)> {
    let (first, second) = config.addresses;
    assert_eq!(
        first.is_ipv4(),
        second.is_ipv4(),
        "one wire speaks one address family"
    );
    let (to_first, to_second) = (Arc::new(Direction::new()?), Arc::new(Direction::new()?));
    let end = |local, peer, here: &Arc<Direction>, there: &Arc<Direction>| Memory {
        local,
        peer,
        config: config.clone(),
        here: Arc::clone(here),
        there: Arc::clone(there),
        taken: VecDeque::new(),
        counters: Counters::default(),
    };
    Ok((
        end(first, second, &to_first, &to_second),
        end(second, first, &to_second, &to_first),
    ))
}

/// The way to one end.
struct Direction {
    queue: Mutex<Queue>,
    /// Woken while the queue holds something, and only then: both change under the lock.
    arrival: Wakeup,
}

#[derive(Default)]
struct Queue {
    parcels: VecDeque<Parcel>,
    charged_bytes: usize,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
    overflows: u64,
    /// The receiver is gone.
    closed: bool,
}

/// One transmit on its way.
struct Parcel {
    traffic_class: u8,
    stride: usize,
    bytes: Vec<u8>,
}

impl Direction {
    fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            arrival: Wakeup::new()?,
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue
            .lock()
            .expect("nothing that runs under this lock panics")
    }
}

impl Queue {
    fn has_room(&self, charge: usize, capacity: usize) -> bool {
        self.parcels.is_empty() || self.charged_bytes + charge <= capacity
    }

    fn push(&mut self, transmit: &Transmit<'_>, charge: usize) {
        let mut bytes = self.spare.pop().unwrap_or_default();
        for slice in transmit.slices {
            bytes.extend_from_slice(slice);
        }
        self.charged_bytes += charge;
        self.parcels.push_back(Parcel {
            traffic_class: transmit.traffic_class,
            stride: transmit.stride(),
            bytes,
        });
    }
}

fn charge(transmit: &Transmit<'_>) -> usize {
    transmit
        .total_bytes()
        .max(transmit.datagram_count() * CHARGE_MIN_BYTES)
}

impl Memory {
    /// Why `transmit` can never arrive, if so.
    fn refusal(&self, transmit: &Transmit<'_>) -> Option<Refusal> {
        let v4 = self.local.is_ipv4();
        let header_bytes = if v4 {
            HEADERS_V4_BYTES
        } else {
            HEADERS_V6_BYTES
        };
        let of_family = |ip: IpAddr| ip.is_ipv4() == v4;
        if !of_family(transmit.to.ip()) || !transmit.from.is_none_or(of_family) {
            Some(Refusal::WrongFamily)
        } else if transmit.from.is_some_and(|from| from != self.local.ip()) {
            Some(Refusal::SourceNotLocal)
        } else if transmit.to.ip() != self.peer.ip() {
            Some(Refusal::Unreachable(Unreachable::Host))
        } else if transmit.to.port() != self.peer.port() {
            Some(Refusal::Unreachable(Unreachable::Port))
        } else if transmit.stride() + header_bytes > self.config.mtu_bytes as usize {
            Some(Refusal::TooBig)
        } else {
            None
        }
    }

    fn pass(&mut self, transmit: &Transmit<'_>) -> Outcome {
        if let Some(refusal) = self.refusal(transmit) {
            return Outcome::Refused(refusal);
        }
        let mut queue = self.there.queue();
        if queue.closed {
            return Outcome::Refused(Refusal::Unreachable(Unreachable::Port));
        }
        let charge = charge(transmit);
        let count = transmit.datagram_count() as u64;
        if queue.has_room(charge, self.config.capacity_bytes) {
            if queue.parcels.is_empty() {
                self.there.arrival.wake();
            }
            queue.push(transmit, charge);
        } else {
            match self.config.when_full {
                WhenFull::Refuse => return Outcome::Full,
                WhenFull::Drop => queue.overflows += count,
            }
        }
        self.counters.datagrams_sent += count;
        Outcome::Sent
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl Link for Memory {
    fn send(&mut self, batch: &[Transmit<'_>], refused: &mut dyn FnMut(usize, Refusal)) -> usize {
        for (index, transmit) in batch.iter().enumerate() {
            let outcome = self.pass(transmit);
            if outcome != Outcome::Sent
                && !outcome.is_dealt_with(index, &mut self.counters, refused)
            {
                return index;
            }
        }
        batch.len()
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        // All of it, and the sink runs outside the lock: it may take its time.
        {
            let mut queue = self.here.queue();
            core::mem::swap(&mut queue.parcels, &mut self.taken);
            queue.charged_bytes = 0;
            self.here.arrival.drain();
        }
        let mut count = 0;
        for parcel in &self.taken {
            let received = Received {
                from: self.peer,
                to: Some(self.local.ip()),
                traffic_class: parcel.traffic_class,
                segment_bytes: parcel.stride,
                bytes: &parcel.bytes,
            };
            count += received.datagram_count();
            if self.config.max_segments > 1 || received.datagram_count() == 1 {
                sink(received);
                continue;
            }
            for bytes in received.segments() {
                sink(Received {
                    segment_bytes: bytes.len(),
                    bytes,
                    ..received
                });
            }
        }
        let mut queue = self.here.queue();
        for mut parcel in self.taken.drain(..) {
            if queue.spare.len() < SPARE_BUFFERS_MAX {
                parcel.bytes.clear();
                queue.spare.push(parcel.bytes);
            }
        }
        self.counters.datagrams_received += count as u64;
        Ok(count)
    }

    fn poll_errors(&mut self, _: &mut dyn FnMut(Undeliverable<'_>)) -> io::Result<usize> {
        // Whatever cannot arrive was refused when it was sent.
        Ok(0)
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.here.arrival.fd()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_segments: self.config.max_segments,
            max_batch_bytes: MAX_BATCH_BYTES,
            coalesces: self.config.max_segments > 1,
            // Twice the payload, as the advice in `Capabilities` has it.
            receive_buffer_bytes: self.config.capacity_bytes * 2,
            send_buffer_bytes: self.config.capacity_bytes * 2,
        }
    }

    fn route_mtu(&self, to: IpAddr) -> io::Result<u32> {
        if to == self.peer.ip() {
            Ok(self.config.mtu_bytes)
        } else {
            Err(io::ErrorKind::HostUnreachable.into())
        }
    }

    fn counters(&self) -> Counters {
        Counters {
            receive_overflows: self.here.queue().overflows,
            ..self.counters
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let mut queue = self.here.queue();
        queue.closed = true;
        queue.parcels.clear();
        queue.spare.clear();
    }
}
