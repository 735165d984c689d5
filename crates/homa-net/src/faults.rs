//! Losing, reordering and duplicating datagrams on purpose.
//!
//! It decides the fate of each arriving datagram from a seed and nothing else. It sits on the
//! receiving side, behind coalescing, so that each datagram of a batch has a fate of its own.
//!
//! # Design
//!
//! Nothing is held for ever: a datagram that is held back goes on after at most
//! [`REORDER_DISTANCE_MAX`] later ones, or as soon as the link has nothing more. Each datagram
//! draws the same count of random numbers whatever its fate, so that with one seed a higher rate
//! of one fault leaves the others where they were.

mod config;

use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use std::io;
use std::os::fd::BorrowedFd;

pub use config::{Config, MILLION, ParseError};

use crate::link::{
    Capabilities, Counters, Framing, Link, Received, Refusal, Transmit, Undeliverable,
};

/// How many later datagrams may overtake one that is held back.
pub const REORDER_DISTANCE_MAX: u64 = 16;

/// Looks of one call at the link while all that arrives is dropped or held.
const ROUNDS_MAX: usize = 64;

/// A link some of whose arriving datagrams are lost, late or doubled.
pub struct Faults<L> {
    link: L,
    injector: Injector,
}

impl<L: Link> Faults<L> {
    /// Wraps `link`. With a config that is off, everything passes untouched.
    pub fn new(link: L, config: Config) -> Self {
        Self {
            link,
            injector: Injector {
                random: Random(config.seed),
                config,
                arrivals: 0,
                held: Vec::new(),
                spare: Vec::new(),
                counters: Counters::default(),
            },
        }
    }

    /// The link inside.
    pub fn inner(&self) -> &L {
        &self.link
    }
}

impl<L: Link> Link for Faults<L> {
    fn send(&mut self, batch: &[Transmit<'_>], refused: &mut dyn FnMut(usize, Refusal)) -> usize {
        self.link.send(batch, refused)
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        let Self { link, injector } = self;
        if injector.config.is_off() {
            return link.receive(sink);
        }
        let mut output = Output { sink, handed: 0 };
        for _ in 0..ROUNDS_MAX {
            let arrived = link.receive(&mut |received| injector.take(&received, &mut output))?;
            if output.handed > 0 {
                return Ok(output.handed);
            }
            if arrived == 0 {
                break;
            }
        }
        injector.release(u64::MAX, &mut output);
        Ok(output.handed)
    }

    fn poll_errors(&mut self, sink: &mut dyn FnMut(Undeliverable<'_>)) -> io::Result<usize> {
        self.link.poll_errors(sink)
    }

    fn local_addr(&self) -> SocketAddr {
        self.link.local_addr()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }

    fn capabilities(&self) -> Capabilities {
        self.link.capabilities()
    }

    fn route_mtu(&self, to: IpAddr) -> io::Result<u32> {
        self.link.route_mtu(to)
    }

    fn counters(&self) -> Counters {
        let ours = &self.injector.counters;
        let inner = self.link.counters();
        let kept = ours.faults_dropped + self.injector.held.len() as u64;
        Counters {
            datagrams_received: inner.datagrams_received + ours.faults_duplicated - kept,
            faults_dropped: inner.faults_dropped + ours.faults_dropped,
            faults_reordered: inner.faults_reordered + ours.faults_reordered,
            faults_duplicated: inner.faults_duplicated + ours.faults_duplicated,
            ..inner
        }
    }
    fn framing(&self) -> Framing {
        self.link.framing()
    }
}

struct Injector {
    config: Config,
    random: Random,
    /// Datagrams that have arrived so far.
    arrivals: u64,
    held: Vec<Held>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
    counters: Counters,
}

/// A datagram that later ones overtake.
struct Held {
    /// It goes on after this arrival.
    due: u64,
    from: SocketAddr,
    to: Option<IpAddr>,
    traffic_class: u8,
    bytes: Vec<u8>,
}

/// What happens to one datagram.
struct Fate {
    drop: bool,
    duplicate: bool,
    /// How many later ones overtake it.
    overtaken_by: Option<u64>,
}

impl Injector {
    /// Lets the datagrams of one buffer meet their fates. Those that pass untouched stay together.
    fn take(&mut self, received: &Received<'_>, output: &mut Output<'_>) {
        if received.bytes.is_empty() {
            output.hand(*received);
            return;
        }
        let stride = received.segment_bytes.max(1);
        let mut untouched = 0..0;
        for start in (0..received.bytes.len()).step_by(stride) {
            let end = (start + stride).min(received.bytes.len());
            let fate = self.next_fate();
            let harmless = !fate.drop && !fate.duplicate && fate.overtaken_by.is_none();
            untouched.end = if harmless { end } else { start };
            if harmless && !self.any_due() {
                continue;
            }
            output.hand_part(received, untouched);
            untouched = end..end;
            if !harmless {
                self.meet(&fate, received, start..end, output);
            }
            self.release(self.arrivals, output);
        }
        output.hand_part(received, untouched);
    }

    fn next_fate(&mut self) -> Fate {
        let Config {
            drop_millionths,
            reorder_millionths,
            duplicate_millionths,
            ..
        } = self.config;
        self.arrivals += 1;
        let drop = self.random.happens(drop_millionths);
        let duplicate = self.random.happens(duplicate_millionths);
        let reorder = self.random.happens(reorder_millionths);
        let distance = 1 + self.random.below(REORDER_DISTANCE_MAX);
        Fate {
            drop,
            duplicate,
            overtaken_by: reorder.then_some(distance),
        }
    }

    fn meet(
        &mut self,
        fate: &Fate,
        received: &Received<'_>,
        bytes: Range<usize>,
        output: &mut Output<'_>,
    ) {
        if fate.drop {
            self.counters.faults_dropped += 1;
            return;
        }
        if fate.duplicate {
            self.counters.faults_duplicated += 1;
            output.hand_part(received, bytes.clone());
        }
        // With both, the second copy is the late one.
        match fate.overtaken_by {
            Some(distance) => self.hold(received, &received.bytes[bytes], distance),
            None => output.hand_part(received, bytes),
        }
    }

    fn hold(&mut self, received: &Received<'_>, datagram: &[u8], distance: u64) {
        self.counters.faults_reordered += 1;
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(datagram);
        self.held.push(Held {
            due: self.arrivals + distance,
            from: received.from,
            to: received.to,
            traffic_class: received.traffic_class,
            bytes,
        });
    }

    fn any_due(&self) -> bool {
        self.held.iter().any(|held| held.due <= self.arrivals)
    }

    /// Lets go what is due by `arrival`, in the order in which it arrived.
    fn release(&mut self, arrival: u64, output: &mut Output<'_>) {
        for held in self.held.extract_if(.., |held| held.due <= arrival) {
            output.hand(Received {
                from: held.from,
                to: held.to,
                traffic_class: held.traffic_class,
                segment_bytes: held.bytes.len(),
                bytes: &held.bytes,
            });
            let mut bytes = held.bytes;
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}

/// The host's sink, and how many datagrams went into it.
struct Output<'a> {
    sink: &'a mut dyn FnMut(Received<'_>),
    handed: usize,
}

impl Output<'_> {
    fn hand(&mut self, received: Received<'_>) {
        self.handed += received.datagram_count();
        (self.sink)(received);
    }

    /// Hands out whole datagrams of `received`, if any.
    fn hand_part(&mut self, received: &Received<'_>, bytes: Range<usize>) {
        if !bytes.is_empty() {
            self.hand(Received {
                segment_bytes: received.segment_bytes.min(bytes.len()),
                bytes: &received.bytes[bytes],
                ..*received
            });
        }
    }
}

/// SplitMix64: small, seeded by any number, and good enough to throw dice for a wire.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; the bias is below one in 2^44 for the bounds used here.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn happens(&mut self, millionths: u32) -> bool {
        self.below(u64::from(MILLION)) < u64::from(millionths)
    }
}
