//! How a run went: load, backlog and memory at moments of the same distance. Decides nothing; it shows
//! whether a run was in balance when it was measured, and whether its memory grew.

use std::fs;

use super::outcome::Span;

/// Moments of a run, from the beginning of its load to the end of what is measured.
const MOMENTS: u64 = 20;

/// Bytes that came to hosts and bytes that were sent, since a run began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    /// Those that arrived, with all that they cost on the wire.
    pub(crate) wire_bytes: u64,
    /// Those of messages: sent, and arrived.
    pub(crate) sent_bytes: u64,
    pub(crate) arrived_bytes: u64,
}

/// What was seen at one moment, of all runs together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    runs: u64,
    /// Since the load began.
    nanos: u64,
    /// Since the moment before.
    wire_bytes: u64,
    span_nanos: u64,
    backlog_bytes: u64,
    memory_bytes: u64,
}

/// How a run was at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Milliseconds since the load began.
    pub at_ms: f64,
    /// Share of the hosts' links in use since the moment before.
    pub load: f64,
    /// Bytes of messages that were sent and did not arrive, for each host.
    pub backlog_bytes: f64,
    /// Bytes of memory that the whole process takes, 0 where the system does not tell.
    pub memory_bytes: u64,
}

impl Seen {
    /// Adds the same moment of another run.
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.nanos += other.nanos;
        self.wire_bytes += other.wire_bytes;
        self.span_nanos += other.span_nanos;
        self.backlog_bytes += other.backlog_bytes;
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
    }

    /// In a network of `hosts`, each with a link of `bytes_per_nano`.
    pub(crate) fn moment(&self, hosts: f64, bytes_per_nano: f64) -> Moment {
        let runs = self.runs.max(1) as f64;
        let most = hosts * bytes_per_nano * self.span_nanos.max(1) as f64;
        Moment {
            at_ms: self.nanos as f64 / runs / 1e6,
            load: self.wire_bytes as f64 / most,
            backlog_bytes: self.backlog_bytes as f64 / runs / hosts,
            memory_bytes: self.memory_bytes,
        }
    }
}

/// Looks at a run from time to time.
pub(crate) struct Watch {
    starts_at: u64,
    every: u64,
    last: u64,
    last_wire_bytes: u64,
    pub(crate) seen: Vec<Seen>,
}

impl Watch {
    pub(crate) fn new(span: &Span) -> Self {
        Self {
            starts_at: span.starts_at,
            every: ((span.ends_at - span.starts_at) / MOMENTS).max(1),
            last: span.starts_at,
            last_wire_bytes: 0,
            seen: Vec::new(),
        }
    }

    /// Whether it is time to look again.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now - self.last >= self.every && self.seen.len() < MOMENTS as usize
    }

    pub(crate) fn look(&mut self, now: u64, flow: &Flow) {
        self.seen.push(Seen {
            runs: 1,
            nanos: now - self.starts_at,
            wire_bytes: flow.wire_bytes - self.last_wire_bytes,
            span_nanos: now - self.last,
            backlog_bytes: flow.sent_bytes.saturating_sub(flow.arrived_bytes),
            memory_bytes: memory_bytes().unwrap_or(0),
        });
        (self.last, self.last_wire_bytes) = (now, flow.wire_bytes);
    }
}

/// What the system says that this process has in memory.
fn memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}
