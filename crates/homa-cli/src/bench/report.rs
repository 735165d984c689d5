//! The figures of a benchmark: medians and ranges over the rounds, and ratios within rounds.

use core::fmt;
use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

use super::args::Common;
use super::meter::Sample;
use super::run::{Extent, FOREIGN_MAX};
use super::sockets;
use super::statistics::{median, range};
use super::suite::{Ratio, Suite, Variant};
use crate::network::Over;

/// What was measured.
#[derive(Serialize)]
pub(super) struct Report {
    bench: &'static str,
    title: &'static str,
    over: Over,
    message_bytes: usize,
    outstanding: usize,
    peers: u8,
    rounds: u32,
    /// Length of a turn, without its warm-up.
    seconds: f64,
    /// Processors of client and server; null if they were not pinned.
    cpus: Option<[usize; 2]>,
    kernel: String,
    /// What the system granted of the 4 MiB that every UDP socket asks for.
    receive_buffer_bytes: usize,
    /// Samples that were measured again because others took too much CPU time.
    rejected_count: u32,
    /// Turns that failed and were repeated, and why.
    failures: Vec<String>,
    /// Samples in the figures that had too much of it.
    dirty_count: u32,
    /// The largest share of others in a sample of the figures.
    foreign_max: f64,
    /// Variants that this machine does not allow, and why.
    left_out: Vec<String>,
    /// What `figure` counts.
    unit: &'static str,
    /// What CPU seconds are told for.
    work: &'static str,
    rows: Vec<Row>,
    ratios: BTreeMap<&'static str, f64>,
    /// Lowest and highest ratio within a round.
    ratio_ranges: BTreeMap<&'static str, [f64; 2]>,
    #[serde(skip)]
    suite: &'static Suite,
}

/// One variant's figures over all rounds.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) variant: &'static str,
    /// Median, lowest and highest of the rounds.
    pub(super) figure: f64,
    pub(super) figure_min: f64,
    pub(super) figure_max: f64,
    /// Medians; 0 where only a rate was measured.
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// CPU seconds for a unit of work, interrupts included, medians.
    pub(super) client_cpu_s: f64,
    pub(super) server_cpu_s: f64,
    /// One for each round.
    #[serde(skip)]
    samples: Vec<Sample>,
}

impl Report {
    /// No figures yet.
    pub(super) fn new(
        suite: &'static Suite,
        common: &Common,
        extent: Extent,
        cpus: Option<[usize; 2]>,
    ) -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            bench: suite.name,
            title: suite.title,
            over: common.over,
            message_bytes: suite.message_bytes,
            outstanding: extent.outstanding,
            peers: extent.peers,
            rounds: common.rounds,
            seconds: common.seconds.as_secs_f64(),
            cpus,
            kernel: kernel.trim().to_owned(),
            receive_buffer_bytes: sockets::receive_buffer_granted().unwrap_or(0),
            rejected_count: 0,
            failures: Vec::new(),
            dirty_count: 0,
            foreign_max: 0.0,
            left_out: Vec::new(),
            unit: suite.figure.unit,
            work: suite.work.unit,
            rows: Vec::new(),
            ratios: BTreeMap::new(),
            ratio_ranges: BTreeMap::new(),
            suite,
        }
    }

    /// Variants are not possible here.
    pub(super) fn leave_out(&mut self, variants: &str, why: &str) {
        self.left_out.push(format!("{variants}: {why}"));
    }

    /// A sample was disturbed and is measured again.
    pub(super) const fn reject(&mut self) {
        self.rejected_count += 1;
    }

    /// A turn failed and is repeated.
    pub(super) fn fail(&mut self, why: String) {
        self.failures.push(why);
    }

    /// Enters the sample of a turn.
    pub(super) fn add(&mut self, variant: &Variant, sample: Sample) {
        self.foreign_max = self.foreign_max.max(sample.usage.foreign);
        self.dirty_count += u32::from(sample.usage.foreign > FOREIGN_MAX);
        let known = self.rows.iter().position(|row| row.variant == variant.name);
        let index = known.unwrap_or_else(|| {
            self.rows.push(Row {
                variant: variant.name,
                ..Row::default()
            });
            self.rows.len() - 1
        });
        self.rows[index].samples.push(sample);
        self.rows[index].sum_up(self.suite);
        self.compare();
    }

    fn compare(&mut self) {
        for ratio in self.suite.ratios {
            let found = ratio.within_rounds(self.suite, &self.rows);
            if let Some(values) = found {
                self.ratios.insert(ratio.key, median(&values));
                self.ratio_ranges.insert(ratio.key, range(&values));
            }
        }
    }

    /// The figures as JSON.
    ///
    /// # Errors
    /// None that we know.
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// How it was measured, in sentences.
    pub(super) fn method(&self) -> Vec<String> {
        let Self {
            title,
            over,
            rounds,
            seconds,
            kernel,
            ..
        } = self;
        let mut first = format!("{title}, over {over}, ");
        if self.outstanding > 1 && self.work == super::suite::MILLION_RPCS.unit {
            first += &format!("{} under way, ", self.outstanding);
        }
        if self.peers > 1 {
            first += &format!("{} peers, ", self.peers);
        }
        first += &match self.cpus {
            Some([client, server]) => format!("client on CPU {client}, server on CPU {server}."),
            None => "client and server not pinned (one CPU only).".to_owned(),
        };
        let mut lines = vec![
            first,
            format!(
                "Medians and ranges of {rounds} rounds of {seconds} s, in which the variants \
                 alternate; Linux {kernel}; UDP receive buffers of {} bytes; TCP without delay, \
                 with cubic where nothing else is said.",
                self.receive_buffer_bytes
            ),
        ];
        lines.push(self.quietness());
        lines.extend(
            self.failures
                .iter()
                .map(|what| format!("A turn failed and was repeated: {what}.")),
        );
        lines.extend(
            self.left_out
                .iter()
                .map(|what| format!("Left out: {what}.")),
        );
        lines
    }

    fn quietness(&self) -> String {
        let (limit, most) = (FOREIGN_MAX * 100.0, self.foreign_max * 100.0);
        match (self.dirty_count, self.rejected_count) {
            (0, 0) => format!("Others took at most {most:.1} % of the processors' time."),
            (0, rejected) => format!(
                "Others took at most {most:.1} % of the processors' time; {rejected} samples with \
                 more than {limit:.0} % were measured again."
            ),
            (dirty, _) => format!(
                "DIRTY: in {dirty} samples others took more than {limit:.0} % of the processors' \
                 time, up to {most:.0} %; trust no figure that matters."
            ),
        }
    }

    /// Which benchmark it is.
    pub(super) const fn bench(&self) -> &str {
        self.bench
    }

    /// What figures count.
    pub(super) const fn unit(&self) -> &str {
        self.unit
    }

    /// What CPU seconds are told for.
    pub(super) const fn work(&self) -> &str {
        self.work
    }

    /// The variants in the order in which they were measured.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Key, median, lowest and highest of each ratio, in the order of the suite.
    pub(super) fn ratios(&self) -> impl Iterator<Item = (&'static str, f64, [f64; 2])> {
        let keys = self.suite.ratios.iter().map(|ratio| ratio.key);
        keys.filter_map(|key| Some((key, *self.ratios.get(key)?, *self.ratio_ranges.get(key)?)))
    }
}

impl Row {
    fn sum_up(&mut self, suite: &Suite) {
        let values = |of: &dyn Fn(&Sample) -> f64| self.samples.iter().map(of).collect::<Vec<_>>();
        let figures = values(&|sample| (suite.figure.of)(sample));
        let [figure_min, figure_max] = range(&figures);
        let per_work = |seconds: f64, sample: &Sample| seconds / (suite.work.of)(sample);
        let summed = Self {
            variant: self.variant,
            figure: median(&figures),
            figure_min,
            figure_max,
            p50_us: median(&values(&|sample| sample.p50_us)),
            p99_us: median(&values(&|sample| sample.p99_us)),
            client_cpu_s: median(&values(&|sample| per_work(sample.usage.client_s, sample))),
            server_cpu_s: median(&values(&|sample| per_work(sample.usage.server_s, sample))),
            samples: Vec::new(),
        };
        *self = Self {
            samples: core::mem::take(&mut self.samples),
            ..summed
        };
    }
}

impl Ratio {
    /// The ratio in each round, because what disturbs a round disturbs both. `None` if a variant
    /// was not measured.
    fn within_rounds(&self, suite: &Suite, rows: &[Row]) -> Option<Vec<f64>> {
        let (above, below) = (best(self.of, suite, rows)?, best(self.to, suite, rows)?);
        let rounds = above.samples.iter().zip(&below.samples);
        let figure = suite.figure.of;
        Some(
            rounds
                .map(|(above, below)| figure(above) / figure(below))
                .collect(),
        )
    }
}

/// The row with the best median of those named; `None` unless all of them were measured.
fn best<'a>(names: &[&str], suite: &Suite, rows: &'a [Row]) -> Option<&'a Row> {
    let found: Option<Vec<&Row>> = names
        .iter()
        .map(|name| rows.iter().find(|row| row.variant == *name))
        .collect();
    let by_figure = |a: &&Row, b: &&Row| a.figure.total_cmp(&b.figure);
    let found = found?.into_iter();
    if suite.figure.lower_is_better {
        found.min_by(by_figure)
    } else {
        found.max_by(by_figure)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.method() {
            writeln!(f, "{line}")?;
        }
        let cpu = format!("CPU s per {}", self.work);
        writeln!(f, "\n{:22}{:>9}{:>18}{:>9}   {cpu}", "", "", "", "")?;
        writeln!(
            f,
            "{:22}{:>9}{:>18}{:>9}{:>9}{:>9}",
            "", self.unit, "min–max", "p99 µs", "client", "server"
        )?;
        for row in &self.rows {
            let range = format!("{:.3}–{:.3}", row.figure_min, row.figure_max);
            let p99 = match row.p99_us {
                0.0 => "–".to_owned(),
                p99 => format!("{p99:.1}"),
            };
            writeln!(
                f,
                "{:22}{:>9.3}{range:>18}{p99:>9}{:>9.2}{:>9.2}",
                row.variant, row.figure, row.client_cpu_s, row.server_cpu_s
            )?;
        }
        writeln!(
            f,
            "\nRatios of the figures within a round, median and range:"
        )?;
        for (key, ratio, [low, high]) in self.ratios() {
            writeln!(f, "{key:34}{ratio:>7.3}   {low:.3}–{high:.3}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use core::time::Duration;

    use super::*;
    use crate::bench::clocks::Usage;

    fn sample(p50_us: f64, foreign: f64) -> Sample {
        Sample {
            seconds: 0.5,
            rpcs: 500_000,
            bytes: 250_000_000,
            p50_us,
            p99_us: p50_us * 2.0,
            usage: Usage {
                client_s: 0.25,
                server_s: 0.125,
                foreign,
            },
        }
    }

    fn empty(suite: &str) -> Report {
        let common = Common {
            over: Over::Veth,
            rounds: 3,
            seconds: Duration::from_millis(500),
            only: Vec::new(),
            allow_dirty: false,
            json: None,
            html: None,
        };
        let extent = Extent {
            outstanding: 1,
            peers: 1,
        };
        let suite = crate::bench::suite_named(suite).unwrap();
        Report::new(suite, &common, extent, Some([0, 1]))
    }

    pub(in crate::bench) fn example() -> Report {
        let mut report = empty("rtt");
        for (homa, udp) in [(10.0, 5.0), (6.0, 6.0), (75.0, 50.0)] {
            let suite = report.suite;
            report.add(suite.variant("homa_spin").unwrap(), sample(homa, 0.01));
            report.add(suite.variant("udp_spin").unwrap(), sample(udp, 0.02));
        }
        report
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        // The ratios are 2, 1 and 1.5; that of the medians would be 10 / 6.
        let ratios: Vec<_> = example().ratios().collect();
        assert_eq!(ratios, [("homa_spin/udp_spin", 1.5, [1.0, 2.0])]);
    }

    #[test]
    fn json_has_rows_with_cpu_time_and_ratios() {
        let json: serde_json::Value = serde_json::from_str(&example().to_json().unwrap()).unwrap();
        assert_eq!(
            (&json["bench"], &json["over"]),
            (&"rtt".into(), &"veth".into())
        );
        let row = &json["rows"][1];
        assert_eq!(
            (&row["variant"], &row["figure"]),
            (&"udp_spin".into(), &6.0.into())
        );
        assert_eq!(
            (&row["figure_min"], &row["figure_max"]),
            (&5.0.into(), &50.0.into())
        );
        assert_eq!(
            (&row["client_cpu_s"], &row["server_cpu_s"]),
            (&0.5.into(), &0.25.into())
        );
        assert_eq!(json["ratios"]["homa_spin/udp_spin"], 1.5);
        assert_eq!(
            (&json["dirty_count"], &json["foreign_max"]),
            (&0.into(), &0.02.into())
        );
    }

    #[test]
    fn the_faster_of_several_floors_counts() {
        let mut report = empty("bulk");
        let suite = report.suite;
        let gbps = |bytes| Sample {
            bytes,
            ..sample(0.0, 0.0)
        };
        for (name, bytes) in [
            ("homa", 300),
            ("udp_gso_gro_1472", 400),
            ("udp_gso_gro_1416", 600),
        ] {
            report.add(suite.variant(name).unwrap(), gbps(bytes));
        }
        assert_eq!(report.ratios["homa/udp_gso_gro"], 0.5);
        // A ratio that lacks one of its variants is no ratio.
        assert!(!report.ratios.contains_key("homa/tcp"));
    }

    #[test]
    fn disturbed_samples_are_never_silent() {
        let mut report = example();
        assert!(report.to_string().contains("Others took at most 2.0 %"));
        report.reject();
        assert!(
            report
                .to_string()
                .contains("1 samples with more than 5 % were measured again")
        );
        let suite = report.suite;
        report.add(suite.variant("tcp_spin").unwrap(), sample(1.0, 0.06));
        assert!(report.to_string().contains("DIRTY: in 1 samples"));
    }

    #[test]
    fn what_was_left_out_or_failed_is_said() {
        let mut report = example();
        report.leave_out("quinn", "this build lacks it");
        report.fail("udp_spin: 7 of 9 bytes were lost".to_owned());
        let text = report.to_string();
        assert!(
            text.contains("Left out: quinn: this build lacks it."),
            "{text}"
        );
        assert!(
            text.contains("A turn failed and was repeated: udp_spin: 7 of 9"),
            "{text}"
        );
    }
}
