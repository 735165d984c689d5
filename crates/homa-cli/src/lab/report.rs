//! The figures of the lab: slowdown by message size, and how much better or worse than TCP.

use core::fmt::{self, Write as _};
use std::collections::BTreeMap;

use serde::Serialize;

use super::args::Compare;
use super::case::Case;
use super::check::BUSY_MAX;
use super::compare;
use super::fabric::MARK_BYTES;
use super::network::SwitchKind;
use super::ratios;
use crate::failure::Failure;
use crate::page::{document, escape, paragraph};

/// Everything that was measured.
#[derive(Serialize)]
pub(super) struct Report {
    hosts: u8,
    load: f64,
    seed: u64,
    short_max_bytes: u32,
    incast: bool,
    processes: u16,
    switch: SwitchKind,
    /// Protocols that this kernel lacks something for.
    left_out: Vec<String>,
    pub(super) cases: Vec<Case>,
    ratios: BTreeMap<String, f64>,
}

impl Report {
    /// No figures yet.
    pub(super) fn new(arguments: &Compare, left_out: Vec<String>) -> Self {
        Self {
            hosts: arguments.hosts,
            load: arguments.load,
            seed: arguments.seed,
            short_max_bytes: arguments.short_max,
            incast: arguments.incast,
            processes: arguments.processes,
            switch: arguments.switch,
            left_out,
            cases: Vec::new(),
            ratios: BTreeMap::new(),
        }
    }

    /// Compares the protocols.
    pub(super) fn compare(&mut self) {
        self.ratios = self.cases.iter().flat_map(ratios::of).collect();
    }

    /// An error if a protocol has no figures because the switch was always late.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let late = self.cases.iter().flat_map(|case| &case.always_late).next();
        late.map_or(Ok(()), |name| {
            Err(Failure::Work(format!(
                "{name} has turns in which the switch was always late or used more than {:.0} % of \
                 its processor, and which do not count; keep other programs off that processor \
                 (taskset -ap), try a lower --rate or fewer --hosts, or keep them with --allow-late",
                BUSY_MAX * 100.0
            )))
        })
    }

    fn method(&self) -> String {
        let whom = match (self.incast, self.processes) {
            (true, _) => "All hosts call one, open loop,".to_owned(),
            (false, 1) => "Every host calls all others, open loop,".to_owned(),
            (false, many) => {
                format!("Each of {many} processes of every host calls its like, open loop,")
            }
        };
        let marks = format!(
            ", and the switch marks packets of TCP with ECN when more than {MARK_BYTES} bytes wait"
        );
        let (switch, marks) = match self.switch {
            SwitchKind::Exact => (
                "one switch with eight strict priorities and a shared buffer with dynamic thresholds",
                marks.as_str(),
            ),
            SwitchKind::Htb => (
                "the kernel's bridge, with HTB at every port and host: eight strict priorities, each \
                 with a queue of half the buffer",
                "",
            ),
        };
        format!(
            "{} hosts, each in a network namespace of its own, joined by {switch}; {}. {whom} at \
             load {} of {} link, headers and responses included; all in turns, without their \
             warm-up; seed {}. The processes of all protocols run first come first served, before all \
             others of the machine, where that is allowed, and their processors do what arriving packets \
             cause. Short messages are the smallest tenth, up to {} bytes. Slowdown is latency over \
             the fastest round trip of Homa or TCP on the idle network, reckoned from shorter ones \
             for the longest messages. Homa is told the rate of the links; TCP sends without \
             delay{marks}.",
            self.hosts,
            compare::placement(),
            self.load,
            if self.incast { "its" } else { "every" },
            self.seed,
            self.short_max_bytes,
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
            body += &case.distribution()?;
            let _ = writeln!(body, "<pre>{}</pre>", escape(&case.to_string()));
        }
        body += "<h2>Ratios</h2>\n<table>\n";
        for (key, ratio) in &self.ratios {
            let _ = writeln!(body, "<tr><td>{}<td>{ratio:.3}</tr>", escape(key));
        }
        Ok(document("homa lab", &(body + "</table>\n")))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.method())?;
        for what in &self.left_out {
            writeln!(f, "{what}.")?;
        }
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
    use crate::lab::case::{Bin, Row};
    use crate::lab::running::Standing;
    use crate::lab::shield::Shielded;
    use crate::lab::sustained::Sustained;

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
            seconds: 24.0,
            rounds: 4,
            standing: Standing::Alone,
            shielded: Some(Shielded::default()),
            unloaded_us: Vec::new(),
            rejected_count: 0,
            rejected: Vec::new(),
            late_count: 0,
            always_late: Vec::new(),
            sustained: Vec::new(),
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
            short_max_bytes: 1_500,
            incast: false,
            processes: 1,
            switch: SwitchKind::Exact,
            left_out: Vec::new(),
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
    fn other_kinds_two_at_once_and_virtual_time_have_ratios_of_their_own() {
        let mut report = report();
        let case = &mut report.cases[0];
        case.rows.push(row("tcp_bbr_pair", 300.0, 4.0));
        case.rows.push(row("homa_1_level", 250.0, 3.0));
        case.rows.push(row("homa_beside_tcp", 220.0, 3.0));
        case.rows.push(row("tcp_beside_homa", 900.0, 9.0));
        case.rows.push(row("homa_virtual", 80.0, 1.5));
        for (row, p50) in case
            .rows
            .iter_mut()
            .zip([60.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 50.0])
        {
            (row.short_p50_us, row.carried) = (p50, 0.9);
        }
        let sustains = |name: &str, load| Sustained {
            protocol: name.to_owned(),
            load,
            tried: Vec::new(),
        };
        case.sustained = vec![
            sustains("homa", 0.88),
            sustains("tcp_cubic_pair", 0.8),
            sustains("tcp_cubic_pool", 0.84),
        ];
        report.compare();
        let find = |key: &str| report.ratios[&format!("w4/256k/{key}")];
        assert_eq!(find("tcp_bbr/homa_p99_short"), 3.0);
        assert_eq!(find("homa_1_level/homa_p99_short"), 2.5);
        assert_eq!(find("homa_and_tcp/homa_p99_short"), 2.2);
        assert_eq!(find("homa_and_tcp/homa_of_its_half"), 0.9);
        assert_eq!(find("homa/homa_virtual_p50_short"), 1.2);
        assert!((find("sustained/homa_tcp") - 0.88 / 0.84).abs() < 1e-9);
        assert!(
            report.to_string().contains("agree with virtual time"),
            "{report}"
        );
        report.cases[0].rows[0].mean_slowdown = 9.0;
        assert!(report.to_string().contains("do NOT agree"), "{report}");
    }

    #[test]
    fn a_protocol_that_was_always_late_ends_in_failure() {
        let mut report = report();
        assert!(report.verdict().is_ok());
        report.cases[0]
            .always_late
            .push("tcp_cubic_pair".to_owned());
        assert!(report.verdict().is_err());
        assert!(
            report.to_string().contains("a round has no figures"),
            "{report}"
        );
    }

    #[test]
    fn the_page_has_a_graph_for_each_case() {
        let page = report().to_html().unwrap();
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(page.contains("w4/256k/tcp_cubic/homa_mean"), "{page}");
    }
}
