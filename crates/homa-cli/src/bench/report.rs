//! The figures of `bench rtt`: medians and ranges over the rounds, and ratios within rounds.

use core::fmt;
use std::collections::BTreeMap;

use serde::Serialize;

use super::MESSAGE_BYTES;
use super::turn::Turn;
use super::variant::Variant;

/// What was measured.
pub(super) struct Report {
    rounds: u32,
    cpus: Option<[usize; 2]>,
    by_variant: Vec<Rounds>,
}

/// One variant's figures, one per round.
#[derive(Default)]
struct Rounds {
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
}

/// One variant's figures over all rounds.
#[derive(Serialize)]
struct Row {
    variant: &'static str,
    p50_us: f64,
    p50_min_us: f64,
    p50_max_us: f64,
    p99_us: f64,
}

#[derive(Serialize)]
struct Json<'a> {
    message_bytes: usize,
    rounds: u32,
    /// Processors of client and server; null if they were not pinned.
    cpus: Option<[usize; 2]>,
    rows: &'a [Row],
    ratios: BTreeMap<String, f64>,
}

impl Report {
    /// No figures yet.
    pub(super) fn new(rounds: u32, cpus: Option<[usize; 2]>) -> Self {
        let by_variant = Variant::ALL.map(|_| Rounds::default());
        Self {
            rounds,
            cpus,
            by_variant: by_variant.into(),
        }
    }

    /// Enters one turn.
    pub(super) fn add(&mut self, variant: Variant, turn: &Turn) {
        self.add_figures(variant, turn.micros(0.5), turn.micros(0.99));
    }

    fn add_figures(&mut self, variant: Variant, p50_us: f64, p99_us: f64) {
        let rounds = &mut self.by_variant[index(variant)];
        rounds.p50_us.push(p50_us);
        rounds.p99_us.push(p99_us);
    }

    /// The figures as JSON.
    ///
    /// # Errors
    /// None that we know.
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        let pairs = Variant::ALL.into_iter().flat_map(Variant::compared_with);
        let ratios =
            pairs.map(|[of, to]| (format!("{}/{}", of.name(), to.name()), self.ratio(of, to)));
        let (rows, ratios) = (&self.rows()[..], ratios.collect());
        let Self { rounds, cpus, .. } = *self;
        let json = Json {
            message_bytes: MESSAGE_BYTES,
            rounds,
            cpus,
            rows,
            ratios,
        };
        Ok(serde_json::to_string_pretty(&json)? + "\n")
    }

    fn rows(&self) -> Vec<Row> {
        let rows = Variant::ALL
            .into_iter()
            .zip(&self.by_variant)
            .map(|(variant, rounds)| Row {
                variant: variant.name(),
                p50_us: median(&rounds.p50_us),
                p50_min_us: rounds.p50_us.iter().copied().fold(f64::INFINITY, f64::min),
                p50_max_us: rounds.p50_us.iter().copied().fold(0.0, f64::max),
                p99_us: median(&rounds.p99_us),
            });
        rows.collect()
    }

    /// How many times the median round trip of `to` that of `of` is: the median over the
    /// rounds, because what disturbs a round disturbs both.
    fn ratio(&self, of: Variant, to: Variant) -> f64 {
        let (above, below) = (&self.by_variant[index(of)], &self.by_variant[index(to)]);
        let rounds = above.p50_us.iter().zip(&below.p50_us);
        median(
            &rounds
                .map(|(above, below)| above / below)
                .collect::<Vec<_>>(),
        )
    }
}

fn index(variant: Variant) -> usize {
    Variant::ALL
        .iter()
        .position(|known| *known == variant)
        .expect("ALL holds every variant")
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Round trips of {MESSAGE_BYTES} bytes each way over loopback, "
        )?;
        match self.cpus {
            Some([client, server]) => writeln!(f, "client on CPU {client}, server on {server};")?,
            None => writeln!(f, "client and server not pinned (one CPU only);")?,
        }
        writeln!(
            f,
            "medians and ranges of {} rounds in which the variants alternate.\n",
            self.rounds
        )?;
        writeln!(
            f,
            "{:20}{:>9}{:>18}{:>9}   ratio of medians",
            "", "p50 µs", "min–max", "p99 µs"
        )?;
        for (variant, row) in Variant::ALL.into_iter().zip(self.rows()) {
            let range = format!("{:.2}–{:.2}", row.p50_min_us, row.p50_max_us);
            write!(
                f,
                "{:20}{:>9.2}{range:>18}{:>9.2}",
                row.variant, row.p50_us, row.p99_us
            )?;
            for (index, [of, to]) in variant.compared_with().into_iter().enumerate() {
                let gap = if index == 0 { "   " } else { ", " };
                write!(f, "{gap}{:.2} × {}", self.ratio(of, to), to.name())?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::variant::Waiting::Spin;
    use super::*;

    fn example() -> Report {
        let mut report = Report::new(3, Some([0, 1]));
        for (udp, tcp) in [(5.0, 10.0), (6.0, 6.0), (50.0, 75.0)] {
            report.add_figures(Variant::Udp(Spin), udp, udp * 2.0);
            report.add_figures(Variant::Tcp(Spin), tcp, tcp * 2.0);
        }
        report
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        assert_eq!(example().ratio(Variant::Tcp(Spin), Variant::Udp(Spin)), 1.5);
    }

    #[test]
    fn json_has_rows_and_ratios() {
        let json: serde_json::Value = serde_json::from_str(&example().to_json().unwrap()).unwrap();
        assert_eq!(json["rows"][1]["variant"], "udp_spin");
        assert_eq!(json["rows"][1]["p50_us"], 6.0);
        assert_eq!(json["rows"][1]["p50_max_us"], 50.0);
        assert_eq!(json["ratios"]["tcp_spin/udp_spin"], 1.5);
    }

    #[test]
    fn the_table_shows_medians_ranges_and_ratios() {
        let table = example().to_string();
        let line = table
            .lines()
            .find(|line| line.starts_with("tcp_spin"))
            .unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "tcp_spin",
                "10.00",
                "6.00–75.00",
                "20.00",
                "1.50",
                "×",
                "udp_spin"
            ]
        );
    }
}
