//! A point's figures, made from what its runs measured.

use core::ops::Range;

use super::moments::{Moment, Seen};
use super::outcome::Outcome;
use super::setup::Setup;
use super::slowdown::HUNDREDTHS;
use super::{Point, Protocol};

/// Hundredths in a bin: there are twenty bins, ten of them in the shorter half.
const BIN: usize = 5;

/// Messages of neighbouring lengths, a twentieth of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// The longest of them, in bytes.
    pub size_max: usize,
    /// How many were measured.
    pub samples: u64,
    /// Median of their slowdowns, `None` without any.
    pub p50: Option<f64>,
    /// What 99 % of them do not pass.
    pub p99: Option<f64>,
}

/// One line of the table. What has no samples is `None`.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the workload.
    pub workload: String,
    /// Load that was asked for.
    pub load: f64,
    /// Load of the messages that were sent in the measured time, with all that they bring.
    pub offered_load: f64,
    /// Share of the time that a host's link was idle although messages to it waited for grants.
    pub wasted: f64,
    /// What carried the messages.
    pub protocol: Protocol,
    /// How it was configured.
    pub variant: String,
    /// The greatest p99 of the ten bins of the shorter half.
    pub p99_slowdown_short_half: Option<f64>,
    /// p99 over all messages.
    pub p99_slowdown_all: Option<f64>,
    /// Median over all messages.
    pub p50_slowdown_all: Option<f64>,
    /// Mean over the longest tenth.
    pub mean_slowdown_top_tenth: Option<f64>,
    /// p99 over the longest hundredth.
    pub p99_slowdown_top_hundredth: Option<f64>,
    /// Most bytes that ever waited at a port to a host.
    pub tor_queue_max_bytes: u64,
    /// Bytes that waited there on average.
    pub tor_queue_mean_bytes: f64,
    /// Most bytes that a switch ever held.
    pub buffer_max_bytes: u64,
    /// Share of the hosts' links that was in use.
    pub delivered_load: f64,
    /// Bytes that went to hosts at each level, lowest first, as shares of all.
    pub level_shares: [f64; 8],
    /// Samples of the bin with the fewest.
    pub samples_per_bin_min: u64,
    /// Measured messages that did not end in time.
    pub unfinished: u64,
    /// Packets dropped.
    pub drops: u64,
    /// Calls that failed, or were refused by the sender's tables.
    pub failures: u64,
    /// DATA packets that reached their hosts in the measured time.
    pub data_packets: u64,
    /// And how many that are in a second of a processor.
    pub packets_per_cpu_second: f64,
    /// Slowdown by length.
    pub bins: Vec<Bin>,
    /// How the runs went, from the beginning of their load.
    pub moments: Vec<Moment>,
}

impl Row {
    pub(crate) fn new(setup: &Setup, point: &Point, outcome: &Outcome) -> Self {
        let slowdowns = &outcome.slowdowns;
        let bins: Vec<Bin> = (0..HUNDREDTHS)
            .step_by(BIN)
            .map(|first| bin(point, outcome, first..first + BIN))
            .collect();
        let short = bins[..bins.len() / 2].iter().filter_map(|bin| bin.p99);
        let hosts = f64::from(setup.topology.hosts());
        let nanos = outcome.nanos.max(1) as f64;
        let capacity = hosts * setup.topology.edge.bits_per_second as f64 / 8e9 * nanos;
        let level_bytes = outcome.edge.level_bytes;
        let all_bytes = level_bytes.iter().sum::<u64>().max(1) as f64;
        let overhead = outcome.wire_bytes.max(1) as f64 / outcome.message_wire_bytes.max(1) as f64;
        let moment =
            |seen: &Seen| seen.moment(hosts, setup.topology.edge.bits_per_second as f64 / 8e9);
        let cpu_seconds = outcome.cpu_nanos.max(1) as f64 / 1e9;
        Self {
            workload: point.workload.name().to_owned(),
            load: point.load,
            offered_load: outcome.offered_bytes as f64 * overhead / capacity,
            wasted: outcome.wasted as f64 / outcome.looks.max(1) as f64,
            protocol: point.protocol,
            variant: point.variant.name.clone(),
            p99_slowdown_short_half: short.reduce(f64::max),
            p99_slowdown_all: slowdowns.percentile(0..HUNDREDTHS, 0.99),
            p50_slowdown_all: slowdowns.percentile(0..HUNDREDTHS, 0.5),
            mean_slowdown_top_tenth: slowdowns.mean(90..HUNDREDTHS),
            p99_slowdown_top_hundredth: slowdowns.percentile(99..HUNDREDTHS, 0.99),
            tor_queue_max_bytes: outcome.edge.queue_max_bytes,
            tor_queue_mean_bytes: outcome.edge.queue_byte_nanos as f64 / nanos / hosts,
            buffer_max_bytes: outcome.buffer_max_bytes,
            delivered_load: all_bytes / capacity,
            level_shares: level_bytes.map(|bytes| bytes as f64 / all_bytes),
            samples_per_bin_min: bins.iter().map(|bin| bin.samples).min().unwrap_or(0),
            unfinished: outcome.unfinished,
            drops: outcome.drops,
            failures: outcome.failures + outcome.calls_refused,
            data_packets: outcome.data_packets,
            packets_per_cpu_second: outcome.data_packets as f64 / cpu_seconds,
            bins,
            moments: outcome.seen.iter().map(moment).collect(),
        }
    }
}

fn bin(point: &Point, outcome: &Outcome, range: Range<usize>) -> Bin {
    let slowdowns = &outcome.slowdowns;
    Bin {
        size_max: point
            .workload
            .quantile(range.end as f64 / HUNDREDTHS as f64),
        samples: slowdowns.samples(range.clone()),
        p50: slowdowns.percentile(range.clone(), 0.5),
        p99: slowdowns.percentile(range, 0.99),
    }
}
