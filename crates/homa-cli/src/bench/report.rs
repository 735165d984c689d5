//! The figures of a benchmark: medians and ranges over the rounds, and ratios within rounds.

use core::fmt;
use std::collections::BTreeMap;

use serde::Serialize;

use super::conditions::Conditions;
use super::meter::Sample;
use super::statistics::{median, range};
use super::suite::{Extent, Ratio, Suite, Variant};

/// What was measured.
#[derive(Serialize)]
pub(super) struct Report {
    bench: &'static str,
    title: &'static str,
    message_bytes: usize,
    outstanding: usize,
    peers: u8,
    #[serde(flatten)]
    conditions: Option<Conditions>,
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
    pub(super) const fn new(suite: &'static Suite, extent: Extent) -> Self {
        Self {
            bench: suite.name,
            title: suite.title,
            message_bytes: suite.message_bytes,
            outstanding: extent.outstanding,
            peers: extent.peers,
            conditions: None,
            unit: suite.figure.unit,
            work: suite.work.unit,
            rows: Vec::new(),
            ratios: BTreeMap::new(),
            ratio_ranges: BTreeMap::new(),
            suite,
        }
    }

    /// Says how it was measured.
    pub(super) fn finish(&mut self, conditions: Conditions) {
        self.conditions = Some(conditions);
    }

    /// Enters the sample of a turn.
    pub(super) fn add(&mut self, variant: &Variant, sample: Sample) {
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

    /// How it was measured, in sentences.
    pub(super) fn method(&self) -> Vec<String> {
        let mut what = self.title.to_owned();
        if self.suite.outstanding > 2 {
            what += &format!(", {} under way", self.outstanding);
        }
        if self.peers > 1 {
            what += &format!(", {} peers", self.peers);
        }
        let conditions = self.conditions.as_ref();
        conditions.map_or_else(|| vec![what.clone()], |known| known.sentences(&what))
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
    use super::*;
    use crate::bench::args::Common;
    use crate::bench::clocks::Usage;
    use crate::bench::placement::Placement;
    use crate::network::Over;

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
            mixed: None,
        }
    }

    fn conditions() -> Conditions {
        let common = Common {
            over: Over::Veth,
            rounds: 3,
            seconds: None,
            only: Vec::new(),
            allow_dirty: false,
            json: None,
            html: None,
        };
        Conditions::new(&common, 0.5, Placement::pair())
    }

    fn empty(suite: &str) -> Report {
        let extent = Extent {
            outstanding: 1,
            peers: 1,
        };
        Report::new(crate::bench::suite_named(suite).unwrap(), extent)
    }

    pub(in crate::bench) fn example() -> Report {
        let mut report = empty("rtt");
        for (homa, udp) in [(10.0, 5.0), (6.0, 6.0), (75.0, 50.0)] {
            let suite = report.suite;
            report.add(suite.variant("homa_spin").unwrap(), sample(homa, 0.01));
            report.add(suite.variant("udp_spin").unwrap(), sample(udp, 0.02));
        }
        report.finish(conditions());
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
        let json = serde_json::to_value(example()).unwrap();
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
            (&json["dirty_count"], &json["rounds"]),
            (&0.into(), &3.into())
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
        let (mut report, mut conditions) = (example(), conditions());
        conditions.admit(&sample(1.0, 0.02));
        conditions.reject();
        report.finish(conditions);
        let text = report.to_string();
        assert!(text.contains("Others took at most 2.0 %"), "{text}");
        assert!(
            text.contains("1 samples with more than 5 % were measured again"),
            "{text}"
        );

        let mut conditions = tests::conditions();
        conditions.admit(&sample(1.0, 0.06));
        report.finish(conditions);
        assert!(report.to_string().contains("DIRTY: in 1 samples"));
    }

    #[test]
    fn what_was_left_out_or_failed_is_said() {
        let (mut report, mut conditions) = (example(), conditions());
        conditions.leave_out("quinn", "this build lacks it");
        conditions.fail("udp_spin: 7 of 9 bytes were lost".to_owned());
        report.finish(conditions);
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
