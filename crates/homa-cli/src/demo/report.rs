//! The figures of a demo: as JSON, as a table, and in words what they show and what they do not.

use core::fmt::{self, Write as _};

use serde::Serialize;

use super::protocol::Protocol;
use crate::traffic::tally::{BinFigures, Problems, Tally};

/// RPCs that start later than this after their planned time, in microseconds, are worth a warning:
/// the client itself was the bottleneck.
const LATE_US: f64 = 1000.0;

/// Everything that a demo found out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) workload: String,
    pub(crate) seed: u64,
    /// Measuring time under load, both protocols together.
    pub(crate) seconds: u32,
    /// Offered load as a fraction of `tcp_goodput_gbps`.
    pub(crate) load: f64,
    /// Bytes of requests per second, in Gbit/s; the responses are as many again.
    pub(crate) offered_gbps: f64,
    /// What each protocol carries of the workload when it is kept busy.
    pub(crate) homa_goodput_gbps: f64,
    pub(crate) tcp_goodput_gbps: f64,
    /// Congestion control of the TCP connections.
    pub(crate) tcp_congestion: String,
    pub(crate) tcp_connections: usize,
    pub(crate) unloaded: Vec<UnloadedRow>,
    pub(crate) rows: Vec<Row>,
    pub(crate) totals: Vec<Total>,
    /// RPCs that failed.
    pub(crate) errors: u64,
    /// Responses that were not the echo of their request.
    pub(crate) corrupt: u64,
    /// The first of the errors and corrupt responses, in words.
    pub(crate) first_problem: Option<String>,
}

/// The fastest unloaded round trip of one size.
#[derive(Debug, Serialize)]
pub(crate) struct UnloadedRow {
    pub(crate) size: usize,
    pub(crate) homa_us: Option<f64>,
    pub(crate) tcp_us: Option<f64>,
}

/// One protocol and one range of message sizes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) protocol: Protocol,
    pub(crate) size_max: usize,
    pub(crate) count: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) slowdown_p50: f64,
    pub(crate) slowdown_p99: f64,
}

/// One protocol, all sizes.
#[derive(Debug, Serialize)]
pub(crate) struct Total {
    pub(crate) protocol: Protocol,
    pub(crate) answered: u64,
    /// Not answered when their slice was over, two seconds after its last arrival.
    pub(crate) unfinished: u64,
    pub(crate) goodput_gbps: f64,
    /// How late the client started 99 of 100 RPCs at most.
    pub(crate) started_late_p99_us: f64,
}

/// Bytes per second as Gbit/s.
pub(crate) fn gbps(bytes_per_second: f64) -> f64 {
    bytes_per_second * 8.0 / 1e9
}

impl Report {
    /// Enters what one protocol did under load.
    pub(crate) fn add(&mut self, protocol: Protocol, tally: &Tally) {
        self.rows.extend(
            tally
                .figures()
                .into_iter()
                .map(|bin| Row::new(protocol, bin)),
        );
        self.totals.push(Total {
            protocol,
            answered: tally.answered_count(),
            unfinished: tally.unfinished_count(),
            goodput_gbps: gbps(tally.goodput()),
            started_late_p99_us: tally.late_p99_us(),
        });
    }

    /// Enters what went wrong.
    pub(crate) fn add_problems(&mut self, problems: &Problems) {
        self.errors = problems.errors;
        self.corrupt = problems.corrupt;
        self.first_problem = problems.first().map(str::to_owned);
    }

    /// The rows of one protocol, by rising size.
    pub(crate) fn rows_of(&self, protocol: Protocol) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.protocol == protocol)
    }

    /// What was measured and how.
    pub(crate) fn method(&self) -> Vec<String> {
        let tcp = format!(
            "TCP ({}, no delay, {} connections)",
            self.tcp_congestion, self.tcp_connections
        );
        vec![
            format!(
                "Workload {}: messages cut at 1,000,000 bytes, echoed by a server process, every \
                 response verified.",
                self.workload
            ),
            format!(
                "Kept busy, {tcp} carries {:.2} Gbit/s of it each way and Homa {:.2}. Offered was \
                 {} of what TCP carries, {:.2} Gbit/s: the same arrivals to each in turns (seed {}, \
                 {} s in all). Latency counts from the planned arrival.",
                self.tcp_goodput_gbps,
                self.homa_goodput_gbps,
                self.load,
                self.offered_gbps,
                self.seed,
                self.seconds
            ),
            "Slowdown is latency over the fastest unloaded round trip of that size by either \
             protocol."
                .to_owned(),
        ]
    }

    /// What the figures say and what they cannot say.
    pub(crate) fn conclusions(&self) -> Vec<String> {
        let mut lines = vec![self.comparison()];
        lines.extend(self.totals.iter().filter_map(Total::warning));
        lines.extend(self.first_problem.iter().map(|first| {
            format!(
                "{} RPCs failed and {} were corrupt; the first: {first}.",
                self.errors, self.corrupt
            )
        }));
        lines.push(
            "This is one machine and its loopback device: it shows the two protocols sharing \
             processors, not a network. It does not show switches, priorities, loss or many senders \
             to one receiver, which Homa is made for."
                .to_owned(),
        );
        lines
    }

    fn comparison(&self) -> String {
        let pairs = || {
            self.rows_of(Protocol::Homa)
                .zip(self.rows_of(Protocol::Tcp))
        };
        let pairs = || pairs().filter(|(homa, tcp)| homa.count > 0 && tcp.count > 0);
        let ahead = |figure: fn(&Row) -> f64| {
            let homa = pairs()
                .filter(|(homa, tcp)| figure(homa) < figure(tcp))
                .count();
            let tcp = pairs()
                .filter(|(homa, tcp)| figure(tcp) < figure(homa))
                .count();
            format!(
                "Homa is ahead in {homa} of {} sizes, TCP in {tcp}",
                pairs().count()
            )
        };
        if pairs().next().is_none() {
            return "Only one protocol was measured under load.".to_owned();
        }
        format!(
            "Median: {}; p99: {}.",
            ahead(|row| row.p50_us),
            ahead(|row| row.p99_us)
        )
    }
}

impl Row {
    fn new(protocol: Protocol, bin: BinFigures) -> Self {
        let BinFigures {
            size_max,
            count,
            p50_us,
            p99_us,
            slowdown_p50,
            slowdown_p99,
        } = bin;
        Self {
            protocol,
            size_max,
            count,
            p50_us,
            p99_us,
            slowdown_p50,
            slowdown_p99,
        }
    }
}

impl Total {
    fn warning(&self) -> Option<String> {
        if self.unfinished > 0 {
            return Some(format!(
                "{} was overloaded: {} of {} RPCs were unfinished and are missing above, so its \
                 figures are too good.",
                self.protocol,
                self.unfinished,
                self.unfinished + self.answered
            ));
        }
        (self.started_late_p99_us > LATE_US).then(|| {
            format!(
                "The client fell behind with {}: 1 in 100 RPCs started {:.1} ms late or more, \
                 which is in its latency.",
                self.protocol,
                self.started_late_p99_us / 1000.0
            )
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sentences in self.method() {
            writeln!(f, "{}", wrap(&sentences))?;
        }
        writeln!(f, "\n{}", self.table())?;
        for sentences in self.conclusions() {
            writeln!(f, "{}", wrap(&sentences))?;
        }
        Ok(())
    }
}

impl Report {
    /// The figures, one row a size, the protocols side by side.
    fn table(&self) -> String {
        const COLUMNS: &str = "   count    p50 µs    p99 µs  slow50  slow99";
        let mut text = format!("{:>10}", "message");
        for total in &self.totals {
            let _ = write!(text, "  | {:^42}", total.protocol);
        }
        let _ = write!(text, "\n{:>10}", "bytes");
        for _ in &self.totals {
            let _ = write!(text, "  |{COLUMNS}");
        }
        let Some(first) = self.totals.first() else {
            return text;
        };
        for (index, row) in self.rows_of(first.protocol).enumerate() {
            let _ = write!(text, "\n{:>10}", format!("≤{}", row.size_max));
            for total in &self.totals {
                let row = self.rows_of(total.protocol).nth(index);
                let _ = write!(text, "  |{}", row.map(cells).unwrap_or_default());
            }
        }
        text.push('\n');
        text
    }
}

/// The same words in lines about as wide as the table.
fn wrap(text: &str) -> String {
    const WIDTH: usize = 100;
    let (mut wrapped, mut column) = (String::with_capacity(text.len()), 0);
    for word in text.split_whitespace() {
        let width = word.chars().count() + 1;
        let gap = if column == 0 {
            ""
        } else if column + width > WIDTH {
            "\n"
        } else {
            " "
        };
        column = if gap == "\n" { width } else { column + width };
        wrapped.push_str(gap);
        wrapped.push_str(word);
    }
    wrapped
}

fn cells(row: &Row) -> String {
    if row.count == 0 {
        return format!("{:>8}{:>10}{:>10}{:>8}{:>8}", 0, "-", "-", "-", "-");
    }
    let [p50, p99] = [row.p50_us, row.p99_us].map(|us| short(us, 1));
    let [slow50, slow99] = [row.slowdown_p50, row.slowdown_p99].map(|ratio| short(ratio, 2));
    format!("{:>8}{p50:>10}{p99:>10}{slow50:>8}{slow99:>8}", row.count)
}

/// A number with `decimals`, fewer once it has four digits: more would say nothing.
fn short(value: f64, decimals: usize) -> String {
    let decimals = if value < 1000.0 { decimals } else { 0 };
    format!("{value:.decimals$}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A report in which Homa wins the short messages and TCP the long ones.
    pub(in crate::demo) fn example() -> Report {
        let row = |protocol, size_max, p50_us| Row {
            protocol,
            size_max,
            count: 100,
            p50_us,
            p99_us: p50_us * 4.0,
            slowdown_p50: p50_us / 10.0,
            slowdown_p99: p50_us / 2.5,
        };
        let total = |protocol| Total {
            protocol,
            answered: 200,
            unfinished: 0,
            goodput_gbps: 1.0,
            started_late_p99_us: 3.0,
        };
        Report {
            workload: "w4".into(),
            seed: 1,
            seconds: 8,
            load: 0.5,
            offered_gbps: 1.0,
            homa_goodput_gbps: 1.5,
            tcp_goodput_gbps: 2.0,
            tcp_congestion: "cubic".into(),
            tcp_connections: 16,
            unloaded: vec![UnloadedRow {
                size: 10,
                homa_us: Some(10.0),
                tcp_us: Some(12.5),
            }],
            rows: vec![
                row(Protocol::Homa, 100, 20.0),
                row(Protocol::Homa, 1_000_000, 900.0),
                row(Protocol::Tcp, 100, 45.0),
                row(Protocol::Tcp, 1_000_000, 700.0),
            ],
            totals: vec![total(Protocol::Homa), total(Protocol::Tcp)],
            errors: 0,
            corrupt: 0,
            first_problem: None,
        }
    }

    #[test]
    fn the_table_puts_the_protocols_side_by_side() {
        let table = example().table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].contains("Homa") && lines[0].contains("TCP"));
        let words: Vec<&str> = lines[2].split_whitespace().collect();
        let expected = "≤100 | 100 20.0 80.0 2.00 8.00 | 100 45.0 180.0 4.50 18.00";
        assert_eq!(words, expected.split(' ').collect::<Vec<_>>());
    }

    #[test]
    fn long_sentences_are_wrapped_and_keep_their_words() {
        let text = "word ".repeat(100);
        let wrapped = wrap(&text);
        assert_eq!(wrapped.lines().count(), 5);
        assert!(wrapped.lines().all(|line| line.len() < 100));
        assert_eq!(wrapped.replace('\n', " "), text.trim_end());
    }

    #[test]
    fn it_says_who_is_ahead() {
        let comparison = example().comparison();
        let expected = "Homa is ahead in 1 of 2 sizes, TCP in 1";
        assert_eq!(comparison, format!("Median: {expected}; p99: {expected}."));
    }

    #[test]
    fn overload_and_lateness_are_said() {
        let mut report = example();
        report.totals[1].unfinished = 50;
        report.totals[0].started_late_p99_us = 2500.0;
        let text = report.to_string().replace('\n', " ");
        assert!(
            text.contains("TCP was overloaded: 50 of 250 RPCs were unfinished"),
            "{text}"
        );
        assert!(
            text.contains("1 in 100 RPCs started 2.5 ms late or more"),
            "{text}"
        );
    }

    #[test]
    fn json_has_the_promised_fields() {
        let json = serde_json::to_value(example()).unwrap();
        assert_eq!(json["workload"], "w4");
        assert_eq!((&json["errors"], &json["corrupt"]), (&0.into(), &0.into()));
        let row = json["rows"][0].as_object().unwrap();
        assert_eq!(
            (&row["protocol"], &json["rows"][2]["protocol"]),
            (&"homa".into(), &"tcp".into())
        );
        for field in [
            "size_max",
            "count",
            "p50_us",
            "p99_us",
            "slowdown_p50",
            "slowdown_p99",
        ] {
            assert!(row[field].is_number(), "{field}");
        }
    }
}
