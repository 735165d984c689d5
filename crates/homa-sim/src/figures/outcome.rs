//! What a run measured, and when it measured.

use super::moments::Seen;
use super::slowdown::Slowdowns;
use crate::switch::{PortCounters, SwitchCounters};

/// When a run measures, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Load begins.
    pub(crate) starts_at: u64,
    /// Messages that are sent from here on are measured.
    pub(crate) begins_at: u64,
    /// And no more from here on; the load goes on, until all measured ones are over.
    pub(crate) ends_at: u64,
    /// But not longer than until then.
    pub(crate) over_at: u64,
}

impl Span {
    pub(crate) const fn of_micros(warm_up: u64, measured: u64, rest: u64) -> Self {
        Self {
            starts_at: 0,
            begins_at: warm_up * 1_000,
            ends_at: (warm_up + measured) * 1_000,
            over_at: (warm_up + measured + rest) * 1_000,
        }
    }

    /// The same in a part of the time.
    pub(crate) const fn shorter(self, divisor: u64) -> Self {
        Self {
            starts_at: self.starts_at / divisor,
            begins_at: self.begins_at / divisor,
            ends_at: self.ends_at / divisor,
            over_at: self.over_at / divisor,
        }
    }

    /// The same, `start` later.
    pub(crate) const fn from(self, start: u64) -> Self {
        Self {
            starts_at: self.starts_at + start,
            begins_at: self.begins_at + start,
            ends_at: self.ends_at + start,
            over_at: self.over_at + start,
        }
    }

    /// When hosts begin to tell each other what they learned, which takes `nanos`: late, but so that
    /// nothing of it is measured, not the answers either.
    pub(crate) fn tells_at(&self, nanos: u64) -> u64 {
        let warm_up = self.begins_at - self.starts_at;
        self.begins_at - (warm_up / 4).max(nanos + nanos / 4).min(warm_up * 3 / 4)
    }

    pub(crate) const fn holds(&self, at: u64) -> bool {
        self.begins_at <= at && at < self.ends_at
    }

    pub(crate) const fn has_ended(&self, at: u64) -> bool {
        at >= self.ends_at
    }

    pub(crate) const fn measured(&self) -> u64 {
        self.ends_at - self.begins_at
    }

    /// How much of the time that the run takes at least has passed.
    pub(crate) fn share(&self, at: u64) -> f64 {
        let all = (self.ends_at - self.starts_at) as f64;
        ((at - self.starts_at) as f64 / all).min(1.0)
    }
}

/// What one or several runs measured.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) slowdowns: Slowdowns,
    /// Nanoseconds that were measured.
    pub(crate) nanos: u64,
    /// Nanoseconds of a processor that this took.
    pub(crate) cpu_nanos: u64,
    /// Bytes on the wire of the messages that were sent in that time, without all else that they
    /// bring.
    pub(crate) offered_bytes: u64,
    /// DATA packets stored, bytes that reached hosts, and those of the messages alone.
    pub(crate) data_packets: u64,
    pub(crate) wire_bytes: u64,
    pub(crate) message_wire_bytes: u64,
    /// Measured messages that did not end.
    pub(crate) unfinished: u64,
    pub(crate) drops: u64,
    pub(crate) failures: u64,
    pub(crate) calls_refused: u64,
    pub(crate) edge: PortCounters,
    /// Most bytes that a switch held.
    pub(crate) buffer_max_bytes: u64,
    /// How often a link to a host was looked at, and how often it was idle although the host kept
    /// messages waiting for grants.
    pub(crate) looks: u64,
    pub(crate) wasted: u64,
    /// How it went.
    pub(crate) seen: Vec<Seen>,
}

impl Outcome {
    pub(crate) fn new() -> Self {
        Self {
            slowdowns: Slowdowns::new(),
            nanos: 0,
            cpu_nanos: 0,
            offered_bytes: 0,
            data_packets: 0,
            wire_bytes: 0,
            message_wire_bytes: 0,
            unfinished: 0,
            drops: 0,
            failures: 0,
            calls_refused: 0,
            edge: PortCounters::default(),
            buffer_max_bytes: 0,
            looks: 0,
            wasted: 0,
            seen: Vec::new(),
        }
    }

    /// Takes what the switches counted in the measured time.
    pub(crate) fn note(&mut self, span: &Span, edge: &PortCounters, switches: &SwitchCounters) {
        self.nanos = span.measured();
        self.edge = *edge;
        self.buffer_max_bytes = switches.buffer_max_bytes;
    }

    /// Adds another run.
    pub(crate) fn add(&mut self, other: &Self) {
        self.slowdowns.add(&other.slowdowns);
        self.nanos += other.nanos;
        self.cpu_nanos += other.cpu_nanos;
        self.offered_bytes += other.offered_bytes;
        self.data_packets += other.data_packets;
        self.wire_bytes += other.wire_bytes;
        self.message_wire_bytes += other.message_wire_bytes;
        self.unfinished += other.unfinished;
        self.drops += other.drops;
        self.failures += other.failures;
        self.calls_refused += other.calls_refused;
        self.edge.add(&other.edge);
        self.looks += other.looks;
        self.wasted += other.wasted;
        let moments = self.seen.len().max(other.seen.len());
        self.seen.resize(moments, Seen::default());
        for (mine, theirs) in self.seen.iter_mut().zip(&other.seen) {
            mine.add(theirs);
        }
        self.buffer_max_bytes = self.buffer_max_bytes.max(other.buffer_max_bytes);
    }
}
