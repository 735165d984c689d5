//! The figures of `bench mix`: for each load and protocol medians over the rounds, and ratios
//! within rounds.

use core::fmt::{self, Write as _};
use std::collections::BTreeMap;

use serde::Serialize;

use super::{Found, Loaded, SHORT_MAX_BYTES};
use crate::bench::args::Mix;
use crate::bench::conditions::Conditions;
use crate::bench::meter::Sample;
use crate::bench::statistics::{median, range};
use crate::bench::suite::Variant;
use crate::page::{document, escape, paragraph};

/// What was measured.
#[derive(Serialize)]
pub(super) struct Report {
    bench: &'static str,
    workload: String,
    seed: u64,
    /// What loads are fractions of.
    tcp_bulk_gbps: f64,
    /// Messages of at most this many bytes are short.
    short_max_bytes: usize,
    /// Sizes and their fastest round trips, whichever protocol made them.
    unloaded_us: Vec<(usize, f64)>,
    #[serde(flatten)]
    conditions: Option<Conditions>,
    rows: Vec<Row>,
    /// Without a load before them: the lowest of all loads.
    ratios: BTreeMap<String, f64>,
}

/// One protocol at one load.
#[derive(Default, Serialize)]
struct Row {
    load: f64,
    variant: &'static str,
    short_p50_us: f64,
    short_p99_us: f64,
    short_p99_min_us: f64,
    short_p99_max_us: f64,
    mean_slowdown: f64,
    /// How late 99 of 100 RPCs were started at most, which their latencies include.
    late_p99_us: f64,
    /// In all rounds.
    short_count: u64,
    unfinished_count: u64,
    /// CPU seconds per GB, interrupts included.
    client_cpu_s: f64,
    server_cpu_s: f64,
    #[serde(skip)]
    rounds: Vec<(Loaded, [f64; 2])>,
}

impl Report {
    /// No figures yet; `capacity` in bytes per second, `unloaded` in nanoseconds.
    pub(super) fn new(arguments: &Mix, capacity: f64, unloaded: &[(usize, u64)]) -> Self {
        let unloaded = unloaded.iter();
        Self {
            bench: "mix",
            workload: arguments.workload.clone(),
            seed: arguments.seed,
            tcp_bulk_gbps: capacity * 8.0 / 1e9,
            short_max_bytes: SHORT_MAX_BYTES,
            unloaded_us: unloaded
                .map(|(size, ns)| (*size, *ns as f64 / 1e3))
                .collect(),
            conditions: None,
            rows: Vec::new(),
            ratios: BTreeMap::new(),
        }
    }

    /// Enters the sample of a turn under load.
    pub(super) fn add(&mut self, load: f64, variant: &Variant, sample: &Sample) {
        let Some(Found::Loaded(found)) = sample.mixed else {
            return;
        };
        let is_it = |row: &Row| row.load == load && row.variant == variant.name;
        let index = self.rows.iter().position(is_it).unwrap_or_else(|| {
            self.rows.push(Row {
                load,
                variant: variant.name,
                ..Row::default()
            });
            self.rows.len() - 1
        });
        let gigabytes = sample.bytes as f64 / 1e9;
        let cpu = [sample.usage.client_s, sample.usage.server_s].map(|s| s / gigabytes);
        self.rows[index].rounds.push((found, cpu));
        self.rows[index].sum_up();
    }

    /// Says how it was measured, and compares.
    pub(super) fn finish(&mut self, conditions: Conditions) {
        self.conditions = Some(conditions);
        self.compare();
    }

    fn compare(&mut self) {
        let mut loads: Vec<f64> = self.rows.iter().map(|row| row.load).collect();
        loads.dedup();
        for (name, figure) in [
            (
                "tcp/homa_p99_short",
                (|found| found.short_p99_us) as fn(&Loaded) -> f64,
            ),
            ("tcp/homa_mean", |found| found.mean_slowdown),
        ] {
            for load in &loads {
                let Some(ratio) = self.ratio(*load, figure) else {
                    continue;
                };
                self.ratios.insert(format!("{load}/{name}"), ratio);
                let lowest = self.ratios.entry(name.to_owned()).or_insert(ratio);
                *lowest = lowest.min(ratio);
            }
        }
    }

    /// How many times that of Homa the figure of TCP is, the better of its two kinds; the median of
    /// the rounds.
    fn ratio(&self, load: f64, figure: fn(&Loaded) -> f64) -> Option<f64> {
        let at_load = || self.rows.iter().filter(|row| row.load == load);
        let figures = |row: &Row| -> Vec<f64> {
            let rounds = row.rounds.iter();
            rounds.map(|(found, _)| figure(found)).collect()
        };
        let homa = figures(at_load().find(|row| row.variant == "homa")?);
        let tcp = at_load()
            .filter(|row| row.variant.starts_with("tcp"))
            .map(figures);
        let best = tcp.min_by(|a, b| median(a).total_cmp(&median(b)))?;
        let ratios: Vec<f64> = best
            .iter()
            .zip(&homa)
            .map(|(tcp, homa)| tcp / homa)
            .collect();
        Some(median(&ratios))
    }

    fn method(&self) -> Vec<String> {
        let what = format!(
            "Workload {} with seed {} from one client to one server; loads are fractions of the \
             {:.2} Gbit/s that TCP carries in bulk; messages of up to {} bytes are short; slowdown \
             is latency over the fastest round trip of any protocol on the idle network",
            self.workload, self.seed, self.tcp_bulk_gbps, self.short_max_bytes
        );
        let conditions = self.conditions.as_ref();
        conditions.map_or_else(Vec::new, |known| known.sentences(&what))
    }

    /// The figures as a page.
    pub(super) fn to_html(&self) -> String {
        let mut body = paragraph(&self.method());
        body += "<table>\n<tr><th>load and protocol<th>p50 µs, short<th>p99 µs, short\
                 <th>mean slowdown<th>p99 µs, late start<th>unfinished<th>CPU s per GB, client<th>server</tr>\n";
        for row in &self.rows {
            let _ = writeln!(
                body,
                "<tr><td>{} {}<td>{:.1}<td>{:.1}<td>{:.2}<td>{:.1}<td>{}<td>{:.2}<td>{:.2}</tr>",
                row.load,
                row.variant,
                row.short_p50_us,
                row.short_p99_us,
                row.mean_slowdown,
                row.late_p99_us,
                row.unfinished_count,
                row.client_cpu_s,
                row.server_cpu_s
            );
        }
        body += "</table>\n<h2>Ratios</h2>\n<table>\n";
        for (key, ratio) in &self.ratios {
            let _ = writeln!(body, "<tr><td>{}<td>{ratio:.3}</tr>", escape(key));
        }
        document("homa bench mix", &(body + "</table>\n"))
    }
}

impl Row {
    fn sum_up(&mut self) {
        let found = |of: fn(&Loaded) -> f64| -> Vec<f64> {
            self.rounds.iter().map(|(found, _)| of(found)).collect()
        };
        let cpu =
            |side: usize| -> Vec<f64> { self.rounds.iter().map(|(_, cpu)| cpu[side]).collect() };
        let p99 = found(|found| found.short_p99_us);
        self.short_p50_us = median(&found(|found| found.short_p50_us));
        self.mean_slowdown = median(&found(|found| found.mean_slowdown));
        self.late_p99_us = median(&found(|found| found.late_p99_us));
        self.short_p99_us = median(&p99);
        [self.short_p99_min_us, self.short_p99_max_us] = range(&p99);
        [self.client_cpu_s, self.server_cpu_s] = [0, 1].map(|side| median(&cpu(side)));
        let sum = |of: fn(&Loaded) -> u64| self.rounds.iter().map(|(found, _)| of(found)).sum();
        self.short_count = sum(|found| found.short_count);
        self.unfinished_count = sum(|found| found.unfinished_count);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.method() {
            writeln!(f, "{line}")?;
        }
        writeln!(
            f,
            "\n{:44}{:>9}{:>11}{:>12}{:>19}\n{:24}{:>9}{:>11}{:>9}{:>11}{:>12}{:>10}{:>9}",
            "short messages, µs",
            "mean",
            "late start,",
            "",
            "CPU s per GB",
            "",
            "p50",
            "p99",
            "slowdown",
            "p99 µs",
            "unfinished",
            "client",
            "server"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<6}{:18}{:>9.1}{:>11.1}{:>9.2}{:>11.1}{:>12}{:>10.2}{:>9.2}",
                row.load,
                row.variant,
                row.short_p50_us,
                row.short_p99_us,
                row.mean_slowdown,
                row.late_p99_us,
                row.unfinished_count,
                row.client_cpu_s,
                row.server_cpu_s
            )?;
        }
        writeln!(
            f,
            "\nRatios within a round, medians; TCP is the better of its two kinds:"
        )?;
        for (key, ratio) in &self.ratios {
            writeln!(f, "{key:34}{ratio:>7.3}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::clocks::Usage;

    fn report(figures: &[(f64, &str, f64, f64)]) -> Report {
        let mut report = Report {
            bench: "mix",
            workload: "w4".to_owned(),
            seed: 1,
            tcp_bulk_gbps: 10.0,
            short_max_bytes: SHORT_MAX_BYTES,
            unloaded_us: Vec::new(),
            conditions: None,
            rows: Vec::new(),
            ratios: BTreeMap::new(),
        };
        for (load, name, short_p99_us, mean_slowdown) in figures {
            let sample = Sample {
                seconds: 1.0,
                rpcs: 10,
                bytes: 500_000_000,
                p50_us: 0.0,
                p99_us: 0.0,
                usage: Usage::default(),
                mixed: Some(Found::Loaded(Loaded {
                    short_count: 5,
                    short_p50_us: 1.0,
                    short_p99_us: *short_p99_us,
                    mean_slowdown: *mean_slowdown,
                    late_p99_us: 0.5,
                    unfinished_count: 0,
                })),
            };
            report.add(*load, super::super::SUITE.variant(name).unwrap(), &sample);
        }
        report.compare();
        report
    }

    #[test]
    fn the_better_tcp_counts_at_each_load_and_the_lowest_load_counts_without_one() {
        let report = report(&[
            (0.3, "homa", 10.0, 2.0),
            (0.3, "tcp_multiplexed", 100.0, 3.0),
            (0.3, "tcp_pool", 80.0, 4.0),
            (0.6, "homa", 20.0, 2.0),
            (0.6, "tcp_multiplexed", 100.0, 8.0),
            (0.6, "tcp_pool", 120.0, 9.0),
        ]);
        let expected = [
            ("0.3/tcp/homa_mean", 1.5),
            ("0.3/tcp/homa_p99_short", 8.0),
            ("0.6/tcp/homa_mean", 4.0),
            ("0.6/tcp/homa_p99_short", 5.0),
            ("tcp/homa_mean", 1.5),
            ("tcp/homa_p99_short", 5.0),
        ];
        let found: Vec<_> = report
            .ratios
            .iter()
            .map(|(k, v)| (k.as_str(), *v))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn ratios_are_taken_within_rounds_and_rows_sum_up() {
        let report = report(&[
            (0.3, "homa", 10.0, 2.0),
            (0.3, "tcp_pool", 20.0, 2.0),
            (0.3, "homa", 50.0, 2.0),
            (0.3, "tcp_pool", 300.0, 2.0),
        ]);
        assert_eq!(report.ratios["tcp/homa_p99_short"], 4.0);
        let row = &report.rows[0];
        assert_eq!((row.short_p99_us, row.short_count), (30.0, 10));
        assert_eq!((row.short_p99_min_us, row.short_p99_max_us), (10.0, 50.0));
    }
}
