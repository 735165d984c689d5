//! The figures of the lab: slowdown by message size, and how much better or worse than TCP.

use core::fmt::{self, Write as _};
use std::collections::BTreeMap;

use serde::Serialize;

use super::args::Compare;
use super::compare::{Rates, VIRTUAL};
use super::counts::Counts;
use super::host::Protocol;
use super::running::Span;
use crate::failure::Failure;
use crate::graph::slowdown_graph;
use crate::page::{document, escape, paragraph};
use crate::traffic::tally::Tally;

/// Fewer samples give no verdict.
const SAMPLES_MIN: u64 = 2_000;
/// The same for workloads whose messages are long.
const LONG_SAMPLES_MIN: u64 = 500;
const LONG_MEAN_BYTES: f64 = 200_000.0;

/// Everything that was measured.
#[derive(Serialize)]
pub(super) struct Report {
    hosts: u8,
    load: f64,
    seed: u64,
    seconds: f64,
    pub(super) cases: Vec<Case>,
    ratios: BTreeMap<String, f64>,
}

/// One workload on one switch.
#[derive(Serialize)]
pub(super) struct Case {
    workload: String,
    buffer_bytes: u32,
    link_mbps: f64,
    /// Payload of requests that each host offers.
    offered_mbps: f64,
    unloaded_us: Vec<(usize, f64)>,
    /// Turns in which the switch was late, and which were repeated or, if that was allowed, kept.
    rejected_count: u32,
    late_count: u32,
    rows: Vec<Row>,
}

/// One protocol.
#[derive(Default, Serialize)]
struct Row {
    protocol: &'static str,
    /// Of the smallest tenth of messages.
    short_count: u64,
    short_p50_us: f64,
    short_p99_us: f64,
    mean_slowdown: f64,
    /// Answered over offered.
    delivered: f64,
    unfinished_count: u64,
    /// RPCs that failed, and why the first one did.
    failed_count: u64,
    first_failure: Option<String>,
    /// Packets that the switch dropped, and the most that it held.
    dropped_count: u64,
    buffer_max_bytes: u64,
    /// What the hosts' own systems counted.
    hosts: Counts,
    /// CPU seconds of all hosts together.
    cpu_s: f64,
    /// How late 99 of 100 RPCs were started at most: for so long a host waited for its processor.
    start_late_p99_us: f64,
    /// Largest lateness of a turn at the 99th percentile.
    late_p99_us: f64,
    /// The switch's part of each turn.
    spans: Vec<Span>,
    bins: Vec<Bin>,
    #[serde(skip)]
    offered_bytes: u64,
}

#[derive(Serialize)]
struct Bin {
    size_max: usize,
    count: u64,
    slowdown_p50: f64,
    slowdown_p99: f64,
}

impl Case {
    /// No figures yet; `unloaded` in nanoseconds.
    pub(super) fn new(
        workload: &str,
        buffer_bytes: u32,
        rates: &Rates,
        unloaded: &[(usize, u64)],
    ) -> Self {
        let unloaded = unloaded.iter();
        Self {
            workload: workload.to_owned(),
            buffer_bytes,
            link_mbps: rates.link / 1e6,
            offered_mbps: rates.payload * 8.0 / 1e6,
            unloaded_us: unloaded
                .map(|(size, nanos)| (*size, *nanos as f64 / 1e3))
                .collect(),
            rejected_count: 0,
            late_count: 0,
            rows: Vec::new(),
        }
    }

    /// A turn is repeated.
    pub(super) const fn reject(&mut self) {
        self.rejected_count += 1;
    }

    /// A turn counts.
    pub(super) fn admit(&mut self, protocol: Protocol, span: &Span, is_late: bool) {
        self.late_count += u32::from(is_late);
        let row = self.row(protocol.name());
        row.dropped_count += span.dropped;
        row.buffer_max_bytes = row.buffer_max_bytes.max(span.buffer_max_bytes);
        row.late_p99_us = row.late_p99_us.max(span.late_p99_us);
        row.spans.push(span.clone());
    }

    /// A host's part of a turn.
    pub(super) fn add(
        &mut self,
        protocol: Protocol,
        offered_bytes: u64,
        cpu_s: f64,
        counts: Counts,
    ) {
        let row = self.row(protocol.name());
        row.offered_bytes += offered_bytes;
        row.cpu_s += cpu_s;
        row.hosts.add(counts);
    }

    /// RPCs of a host have failed.
    pub(super) fn fail(&mut self, protocol: Protocol, count: u64, first: Option<String>) {
        let row = self.row(protocol.name());
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
        row.delivered = tally.answered_bytes() as f64 / row.offered_bytes.max(1) as f64;
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
    fn prefix(&self) -> String {
        format!("{}/{}k", self.workload, self.buffer_bytes / 1000)
    }

    /// Whether a protocol has enough samples for a verdict.
    fn is_enough(&self, row: &Row) -> bool {
        let counts = row.bins.iter().map(|bin| bin.count);
        let total: u64 = counts.sum();
        let bytes = row.delivered * row.offered_bytes as f64;
        let is_long = bytes / total.max(1) as f64 > LONG_MEAN_BYTES;
        row.short_count
            >= if is_long {
                LONG_SAMPLES_MIN
            } else {
                SAMPLES_MIN
            }
    }

    fn ratios(&self) -> Vec<(String, f64)> {
        let Some(homa) = self.rows.iter().find(|row| row.protocol == "homa") else {
            return Vec::new();
        };
        let key = |name: &str| format!("{}/{name}", self.prefix());
        let mut ratios = vec![(key("homa/delivered"), homa.delivered)];
        let mut imagined = self.rows.iter().filter(|row| row.protocol == VIRTUAL);
        if let Some(imagined) = imagined.find(|row| row.short_count > 0) {
            let p99 = homa.short_p99_us / imagined.short_p99_us;
            ratios.push((key("homa/homa_virtual_p99_short"), p99));
            let mean = homa.mean_slowdown / imagined.mean_slowdown;
            ratios.push((key("homa/homa_virtual_mean"), mean));
        }
        let tcp: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| row.protocol.starts_with("tcp"))
            .collect();
        let is_enough = self.is_enough(homa) && tcp.iter().all(|row| self.is_enough(row));
        let best = |of: fn(&Row) -> f64| tcp.iter().map(|row| of(row)).reduce(f64::min);
        if let Some(p99) = best(|row| row.short_p99_us).filter(|_| is_enough) {
            ratios.push((key("tcp_cubic/homa_p99_short"), p99 / homa.short_p99_us));
        }
        if let Some(mean) = best(|row| row.mean_slowdown).filter(|_| is_enough) {
            ratios.push((key("tcp_cubic/homa_mean"), mean / homa.mean_slowdown));
        }
        ratios
    }
}

impl Row {
    /// The share of the switch's processor that its busiest turn took.
    fn busy(&self) -> f64 {
        self.spans.iter().map(|span| span.busy).fold(0.0, f64::max)
    }
}

impl Report {
    /// No figures yet.
    pub(super) fn new(arguments: &Compare) -> Self {
        Self {
            hosts: arguments.hosts,
            load: arguments.load,
            seed: arguments.seed,
            seconds: arguments.seconds.as_secs_f64(),
            cases: Vec::new(),
            ratios: BTreeMap::new(),
        }
    }

    /// Compares the protocols.
    pub(super) fn compare(&mut self) {
        self.ratios = self.cases.iter().flat_map(Case::ratios).collect();
    }

    fn method(&self) -> String {
        format!(
            "{} hosts, each a process in a network namespace of its own, joined by one switch with \
             eight strict priorities and a shared buffer with dynamic thresholds; every host calls \
             all others, open loop, at load {} of every link, headers and responses included; {} s \
             of each protocol in turns, without their warm-up; seed {}. Short messages are the \
             smallest tenth. Slowdown is latency over the fastest round trip of any protocol on the \
             idle network. Homa is told the rate of the links; TCP uses cubic, without delay.",
            self.hosts, self.load, self.seconds, self.seed
        )
    }

    /// The page.
    ///
    /// # Errors
    /// A graph cannot be drawn.
    pub(super) fn to_html(&self) -> Result<String, Failure> {
        let mut body = paragraph(&[self.method()]);
        for case in &self.cases {
            let _ = writeln!(body, "<h2>{}</h2>", escape(&case.title()));
            body += &case.graph()?;
            let _ = writeln!(body, "<pre>{}</pre>", escape(&case.to_string()));
        }
        body += "<h2>Ratios</h2>\n<table>\n";
        for (key, ratio) in &self.ratios {
            let _ = writeln!(body, "<tr><td>{}<td>{ratio:.3}</tr>", escape(key));
        }
        Ok(document("homa lab", &(body + "</table>\n")))
    }
}

impl Case {
    fn title(&self) -> String {
        format!(
            "{}, {} bytes of buffer, links of {:.1} Mbit/s, {:.1} Mbit/s of requests from each host",
            self.workload, self.buffer_bytes, self.link_mbps, self.offered_mbps
        )
    }

    fn graph(&self) -> Result<String, Failure> {
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
                row.hosts.device_dropped,
                row.hosts.retransmitted,
                row.start_late_p99_us,
                row.late_p99_us,
                row.busy(),
                row.cpu_s
            )?;
        }
        for row in &self.rows {
            if let Some(why) = &row.first_failure {
                let (name, count) = (row.protocol, row.failed_count);
                writeln!(f, "{name}: {count} RPCs failed, the first so: {why}.")?;
            }
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.method())?;
        for case in &self.cases {
            writeln!(f, "\n{}; short messages:\n{case}", case.title())?;
        }
        writeln!(f, "Ratios, TCP being the better of its two kinds:")?;
        for (key, ratio) in &self.ratios {
            writeln!(f, "{key:40}{ratio:>8.3}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(protocol: &'static str, short_p99_us: f64, mean_slowdown: f64) -> Row {
        let bins = [100, 1_000_000].map(|size_max| Bin {
            size_max,
            count: 2_000,
            slowdown_p50: 1.5,
            slowdown_p99: mean_slowdown * 2.0,
        });
        Row {
            protocol,
            short_count: 2_000,
            short_p99_us,
            mean_slowdown,
            delivered: 0.99,
            bins: bins.into(),
            offered_bytes: 4_000 * 60_000,
            ..Row::default()
        }
    }

    fn report() -> Report {
        let case = Case {
            workload: "w4".to_owned(),
            buffer_bytes: 256_000,
            link_mbps: 100.0,
            offered_mbps: 73.0,
            unloaded_us: Vec::new(),
            rejected_count: 0,
            late_count: 0,
            rows: vec![
                row("homa", 100.0, 2.0),
                row("tcp_cubic_pair", 1_500.0, 8.0),
                row("tcp_cubic_pool", 1_200.0, 9.0),
            ],
        };
        let mut report = Report {
            hosts: 8,
            load: 0.8,
            seed: 1,
            seconds: 24.0,
            cases: vec![case],
            ratios: BTreeMap::new(),
        };
        report.compare();
        report
    }

    fn ratios(report: &Report) -> Vec<(&str, f64)> {
        let ratios = report.ratios.iter();
        ratios.map(|(key, ratio)| (key.as_str(), *ratio)).collect()
    }

    #[test]
    fn the_better_tcp_counts_for_each_figure() {
        let expected = [
            ("w4/256k/homa/delivered", 0.99),
            ("w4/256k/tcp_cubic/homa_mean", 4.0),
            ("w4/256k/tcp_cubic/homa_p99_short", 12.0),
        ];
        assert_eq!(ratios(&report()), expected);
    }

    #[test]
    fn too_few_samples_give_no_verdict_and_late_turns_are_told() {
        let mut report = report();
        report.cases[0].rows[1].short_count = 1_999;
        report.cases[0].late_count = 1;
        report.compare();
        assert_eq!(ratios(&report), [("w4/256k/homa/delivered", 0.99)]);
        let text = report.to_string();
        assert!(
            text.contains("Too few short messages for a verdict"),
            "{text}"
        );
        assert!(text.contains("LATE: in 1 turns"), "{text}");
    }

    #[test]
    fn the_page_has_a_graph_for_each_case() {
        let page = report().to_html().unwrap();
        assert_eq!(page.matches("<svg").count(), 1);
        assert!(page.contains("w4/256k/tcp_cubic/homa_mean"), "{page}");
    }
}
