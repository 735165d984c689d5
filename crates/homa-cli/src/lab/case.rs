//! The figures of one workload on one switch, protocol by protocol.

use core::fmt;

use serde::Serialize;

use super::counts::Counts;
use super::host::Load;
use super::protocol::Protocol;
use super::rates::Rates;
use super::ratios::{self, samples_min};
use super::running::{Span, Standing};
use super::shield::Shielded;
use super::sustained::Sustained;
use crate::failure::Failure;
use crate::graph::{latency_graph, slowdown_graph};
use crate::traffic::tally::Tally;

/// Fractions of the short messages whose latencies are kept.
const CDF: [f64; 12] = [
    0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0,
];

/// One workload on one switch.
#[derive(Serialize)]
pub(super) struct Case {
    pub(super) workload: String,
    pub(super) buffer_bytes: u32,
    pub(super) link_mbps: f64,
    /// Payload of requests that each host offers.
    pub(super) offered_mbps: f64,
    /// Of each protocol, without warm-up; twice that of two at once. In so many turns.
    pub(super) seconds: f64,
    pub(super) rounds: u32,
    /// How the switch had its processor, and who was kept off it.
    pub(super) standing: Standing,
    pub(super) shielded: Option<Shielded>,
    pub(super) unloaded_us: Vec<(usize, f64)>,
    /// Turns in which the switch was late, and which were repeated or, if that was allowed, kept.
    pub(super) rejected_count: u32,
    /// Whose they were, and what the switch did in them.
    pub(super) rejected: Vec<(String, Span)>,
    pub(super) late_count: u32,
    /// Protocols whose turns were late however often they were tried, once for each round.
    pub(super) always_late: Vec<String>,
    pub(super) sustained: Vec<Sustained>,
    pub(super) rows: Vec<Row>,
}

/// One protocol.
#[derive(Default, Serialize)]
pub(super) struct Row {
    pub(super) protocol: &'static str,
    /// Of the smallest tenth of messages, up to a longest.
    pub(super) short_count: u64,
    pub(super) short_p50_us: f64,
    pub(super) short_p99_us: f64,
    pub(super) mean_slowdown: f64,
    /// Answered over offered.
    pub(super) delivered: f64,
    /// Answered in the time that counts over offered in it.
    pub(super) carried: f64,
    pub(super) unfinished_count: u64,
    /// RPCs that failed, and why the first one did.
    pub(super) failed_count: u64,
    pub(super) first_failure: Option<String>,
    /// Packets that the switch dropped, those that found no room at their host's uplink, and the most
    /// that the switch held.
    pub(super) dropped_count: u64,
    pub(super) uplinks_dropped_count: u64,
    pub(super) buffer_max_bytes: u64,
    /// What the hosts' own systems counted.
    pub(super) hosts: Counts,
    /// CPU seconds of all hosts together.
    pub(super) cpu_s: f64,
    /// How late 99 of 100 RPCs were started at most: for so long a host waited for its processor.
    pub(super) start_late_p99_us: f64,
    /// Largest lateness of a turn at the 99th percentile.
    pub(super) late_p99_us: f64,
    /// The switch's part of each turn.
    pub(super) spans: Vec<Span>,
    /// Latencies of short messages at the fractions of [`CDF`].
    pub(super) short_cdf_us: Vec<f64>,
    pub(super) bins: Vec<Bin>,
    #[serde(skip)]
    pub(super) offered_bytes: u64,
}

/// Messages of about one size.
#[derive(Serialize)]
pub(super) struct Bin {
    pub(super) size_max: usize,
    pub(super) count: u64,
    pub(super) slowdown_p50: f64,
    pub(super) slowdown_p99: f64,
}

impl Case {
    /// No figures yet.
    pub(super) fn new(
        workload: &str,
        buffer_bytes: u32,
        rates: &Rates,
        load: &Load,
        rounds: u32,
    ) -> Self {
        let unloaded = load.unloaded.iter();
        Self {
            workload: workload.to_owned(),
            buffer_bytes,
            link_mbps: rates.link / 1e6,
            offered_mbps: rates.payload * 8.0 / 1e6,
            seconds: (load.window * rounds).as_secs_f64(),
            rounds,
            standing: Standing::Any,
            shielded: None,
            unloaded_us: unloaded
                .map(|(size, nanos)| (*size, *nanos as f64 / 1e3))
                .collect(),
            rejected_count: 0,
            rejected: Vec::new(),
            late_count: 0,
            always_late: Vec::new(),
            sustained: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// The switch's part of a turn.
    pub(super) fn admit(&mut self, row: &'static str, span: &Span) {
        let row = self.row(row);
        row.dropped_count += span.dropped;
        row.uplinks_dropped_count += span.uplinks_dropped;
        row.buffer_max_bytes = row.buffer_max_bytes.max(span.buffer_max_bytes);
        row.late_p99_us = row.late_p99_us.max(span.late_p99_us);
        row.spans.push(span.clone());
    }

    /// The switch was late in a turn, which is repeated.
    pub(super) fn reject(&mut self, protocol: Protocol, span: &Span) {
        self.rejected_count += 1;
        self.rejected.push((protocol.name(), span.clone()));
    }

    /// A host's part of a turn.
    pub(super) fn add(
        &mut self,
        row: &'static str,
        offered_bytes: u64,
        cpu_s: f64,
        counts: Counts,
    ) {
        let row = self.row(row);
        row.offered_bytes += offered_bytes;
        row.cpu_s += cpu_s;
        row.hosts.add(counts);
    }

    /// RPCs of a host have failed.
    pub(super) fn fail(&mut self, row: &'static str, count: u64, first: Option<String>) {
        let row = self.row(row);
        row.failed_count += count;
        row.first_failure = row.first_failure.take().or(first);
    }

    /// All turns are over.
    pub(super) fn finish(&mut self, name: &'static str, tally: &Tally) {
        let figures = tally.figures();
        let row = self.row(name);
        let short = figures[0];
        row.short_count = short.count;
        row.short_p50_us = short.p50_us;
        row.short_p99_us = short.p99_us;
        row.mean_slowdown = tally.mean_slowdown();
        row.start_late_p99_us = tally.late_p99_us();
        let offered = row.offered_bytes.max(1) as f64;
        row.delivered = tally.answered_bytes() as f64 / offered;
        row.carried = tally.carried_bytes().iter().sum::<u64>() as f64 / offered;
        row.short_cdf_us = tally.first_latencies_us(&CDF);
        row.unfinished_count = tally.unfinished_count();
        row.bins = figures
            .iter()
            .map(|figures| Bin {
                size_max: figures.size_max,
                count: figures.count,
                slowdown_p50: figures.slowdown_p50,
                slowdown_p99: figures.slowdown_p99,
            })
            .collect();
    }

    /// A turn in virtual time.
    pub(super) fn imagine(&mut self, name: &'static str, offered_bytes: u64, failed_count: u64) {
        let row = self.row(name);
        row.offered_bytes += offered_bytes;
        row.failed_count += failed_count;
    }

    fn row(&mut self, name: &'static str) -> &mut Row {
        let index = self.rows.iter().position(|row| row.protocol == name);
        let index = index.unwrap_or_else(|| {
            self.rows.push(Row {
                protocol: name,
                ..Row::default()
            });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    /// How the keys of its ratios begin.
    pub(super) fn prefix(&self) -> String {
        format!("{}/{}k", self.workload, self.buffer_bytes / 1000)
    }

    /// The row of that name.
    pub(super) fn find(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.protocol == name)
    }

    /// Whether a protocol has enough samples for a verdict.
    pub(super) fn is_enough(&self, row: &Row) -> bool {
        let counts = row.bins.iter().map(|bin| bin.count);
        let total: u64 = counts.sum();
        let bytes = row.delivered * row.offered_bytes as f64;
        row.short_count >= samples_min(bytes / total.max(1) as f64)
    }
}

impl Row {
    /// The share of the switch's processor that its busiest turn took.
    fn busy(&self) -> f64 {
        self.spans.iter().map(|span| span.busy).fold(0.0, f64::max)
    }
}

impl Case {
    pub(super) fn title(&self) -> String {
        format!(
            "{}, {} bytes of buffer, links of {:.1} Mbit/s, {:.1} Mbit/s of requests from each host, \
             {:.0} s in turns of {:.1} s",
            self.workload,
            self.buffer_bytes,
            self.link_mbps,
            self.offered_mbps,
            self.seconds,
            self.seconds / f64::from(self.rounds)
        )
    }

    /// The latencies of short messages, line by line.
    pub(super) fn distribution(&self) -> Result<String, Failure> {
        let lines = self.rows.iter().map(|row| {
            let points = row.short_cdf_us.iter().zip(CDF);
            let points = points.map(|(micros, share)| (micros.max(1.0), share));
            (row.protocol.to_owned(), points.collect::<Vec<_>>())
        });
        latency_graph(&lines.collect::<Vec<_>>())
    }

    pub(super) fn graph(&self) -> Result<String, Failure> {
        let lines: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let bins = row.bins.iter().enumerate().filter(|(_, bin)| bin.count > 0);
                let points = bins.map(|(index, bin)| (index as f64, bin.slowdown_p99.max(1.0)));
                (row.protocol.to_owned(), points.collect::<Vec<_>>())
            })
            .collect();
        let points = lines.iter().flat_map(|(_, points)| points);
        let highest = points.map(|point| point.1).fold(10.0, f64::max) * 5.0;
        let sizes = self.rows.first().map(|row| row.bins.iter());
        let sizes: Vec<usize> = sizes
            .into_iter()
            .flatten()
            .map(|bin| bin.size_max)
            .collect();
        slowdown_graph(&lines, &sizes, highest)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:16}{:>9}{:>11}{:>11}{:>10}{:>11}{:>9}{:>9}{:>9}{:>11}{:>9}{:>7}{:>8}",
            "",
            "samples",
            "p50 µs",
            "p99 µs",
            "mean",
            "delivered",
            "dropped",
            "at host",
            "resent",
            "starts µs",
            "late µs",
            "busy",
            "CPU s"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:16}{:>9}{:>11.0}{:>11.0}{:>10.2}{:>11.3}{:>9}{:>9}{:>9}{:>11.0}{:>9.0}{:>7.2}{:>8.1}",
                row.protocol,
                row.short_count,
                row.short_p50_us,
                row.short_p99_us,
                row.mean_slowdown,
                row.delivered,
                row.dropped_count,
                row.hosts.device_dropped + row.uplinks_dropped_count,
                row.hosts.retransmitted,
                row.start_late_p99_us,
                row.late_p99_us,
                row.busy(),
                row.cpu_s
            )?;
        }
        self.write_notes(f)
    }
}

impl Case {
    /// What there is to say beside the table.
    fn write_notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            if let Some(why) = &row.first_failure {
                let (name, count) = (row.protocol, row.failed_count);
                writeln!(f, "{name}: {count} RPCs failed, the first so: {why}.")?;
            }
        }
        for found in &self.sustained {
            writeln!(
                f,
                "{} sustains a load of {:.2}.",
                found.protocol, found.load
            )?;
        }
        if let Some(agrees) = ratios::agrees(self) {
            writeln!(
                f,
                "Median and mean {} with virtual time within a factor of {}.",
                if agrees { "agree" } else { "do NOT agree" },
                ratios::AGREES_WITHIN
            )?;
        }
        if let Some(shielded) = self.shielded {
            let (moved, left) = (shielded.moved_count, shielded.left_count);
            writeln!(
                f,
                "{moved} threads of the machine were kept off the switch's processor, {left} could not be."
            )?;
        }
        match self.standing {
            Standing::Any => writeln!(
                f,
                "The switch ran WITHOUT real-time priority, which is not allowed here."
            )?,
            Standing::Kernel => writeln!(
                f,
                "The switch was the kernel's HTB: how late it was, what it held and what it took of \
                 the processors is not known."
            )?,
            Standing::Alone | Standing::First => {}
        }
        for name in &self.always_late {
            writeln!(
                f,
                "{name}: a round has no figures, the switch was always late."
            )?;
        }
        if self.rejected_count > 0 {
            writeln!(
                f,
                "{} turns were repeated because the switch was late.",
                self.rejected_count
            )?;
        }
        if self.late_count > 0 {
            writeln!(
                f,
                "LATE: in {} turns the switch was late or had no time to spare; trust no figure that \
                 matters.",
                self.late_count
            )?;
        }
        if self.rows.iter().any(|row| !self.is_enough(row)) {
            writeln!(
                f,
                "Too few short messages for a verdict; more --seconds give more."
            )?;
        }
        Ok(())
    }
}
