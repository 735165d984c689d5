//! What came of the overload, and whether what must hold does.

use core::fmt;
use core::time::Duration;

use serde::Serialize;

use super::client::Outcomes;
use super::server::Stand;
use super::{BUDGET_BYTES, CLIENT_RPCS, SERVER_RPCS};

/// Of a hundred calls that found no room so many may fail otherwise: where a request was sent twice,
/// and its second copy is refused, nobody knows what became of the first. A machine that stops a
/// process for some milliseconds has more of them (1.2 were seen in three seconds).
const OTHERWISE_PERCENT: u64 = 2;

/// What an RPC may cost beside its messages, in tables of engine and host, with those that are
/// parallel to the most there ever were.
const TABLE_BYTES_PER_RPC: u64 = 2_048;

/// What a run takes that is not messages: sockets' batches, threads' stacks, the allocator's slack.
const REST_BYTES: u64 = 8 << 20;

/// The figures.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    peak_per_second: f64,
    offered_per_second: f64,
    seconds: f64,
    goodput_per_second: f64,
    goodput_of_peak: f64,
    worst_second: u64,
    refused_by_server: u64,
    refused_at_home: u64,
    late: u64,
    other_errors: u64,
    first_other_error: Option<String>,
    budget_bytes: u64,
    memory_growth_max_bytes: u64,
    client: Stand,
    server: Stand,
    emptied_after_seconds: f64,
}

impl Report {
    pub(super) fn new(
        peak: f64,
        offered: f64,
        twice: Outcomes,
        [client, server]: [Stand; 2],
        emptied_after: Duration,
    ) -> Self {
        let goodput = twice.per_second();
        let rpcs = u64::from(CLIENT_RPCS + SERVER_RPCS);
        Self {
            peak_per_second: peak,
            offered_per_second: offered,
            seconds: twice.time.as_secs_f64(),
            goodput_per_second: goodput,
            goodput_of_peak: goodput / peak,
            worst_second: twice.worst_second,
            refused_by_server: twice.refused_there,
            refused_at_home: twice.refused_here,
            late: twice.late,
            other_errors: twice.other,
            first_other_error: twice.first_other,
            budget_bytes: BUDGET_BYTES,
            // Received, to be sent, and idle.
            memory_growth_max_bytes: 3 * BUDGET_BYTES + rpcs * TABLE_BYTES_PER_RPC + REST_BYTES,
            client,
            server,
            emptied_after_seconds: emptied_after.as_secs_f64(),
        }
    }

    /// What must hold and does not; `least`: the share of the goodput that must be left.
    pub(super) fn broken(&self, least: f64) -> Option<String> {
        let refused = self.refused_by_server + self.refused_at_home;
        let rules = [
            (
                self.goodput_of_peak >= least,
                "goodput fell by more than it may",
            ),
            (refused > 0, "no latecomer was told that there is no room"),
            (
                (self.late + self.other_errors) * 100 <= refused * OTHERWISE_PERCENT,
                "calls failed for other causes than want of room",
            ),
        ];
        let [client, server] = [("the client", &self.client), ("the server", &self.server)]
            .map(|(whose, stand)| self.broken_at(stand).map(|what| format!("{whose}{what}")));
        let general = rules.into_iter().find(|(holds, _)| !holds);
        general
            .map(|(_, what)| what.to_owned())
            .or(client)
            .or(server)
    }

    fn broken_at(&self, stand: &Stand) -> Option<&'static str> {
        let grown = stand
            .resident_bytes_peak
            .saturating_sub(stand.resident_bytes_before);
        let rules = [
            (
                stand.receive_bytes_peak <= BUDGET_BYTES,
                " held more than its receive budget",
            ),
            (
                stand.send_bytes_peak <= BUDGET_BYTES,
                " held more than its send budget",
            ),
            (
                grown <= self.memory_growth_max_bytes,
                "'s memory grew by more than its budgets and tables",
            ),
            (stand.emptied, "'s tables were not empty in the end"),
        ];
        let broken = rules.into_iter().find(|(holds, _)| !holds);
        broken.map(|(_, what)| what)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "just enough: {:.0} responses a second; then {:.0} calls a second for {:.0} s",
            self.peak_per_second, self.offered_per_second, self.seconds
        )?;
        writeln!(
            f,
            "goodput {:.0} a second, {:.1} % of that; worst second {}",
            self.goodput_per_second,
            100.0 * self.goodput_of_peak,
            self.worst_second
        )?;
        writeln!(
            f,
            "latecomers: {} refused by the server, {} at home; {} late, {} failed otherwise",
            self.refused_by_server, self.refused_at_home, self.late, self.other_errors
        )?;
        if let Some(error) = &self.first_other_error {
            writeln!(f, "  the first of these: {error}")?;
        }
        for (whose, stand) in [("client", &self.client), ("server", &self.server)] {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            writeln!(
                f,
                "{whose}: received {:.2}, to be sent {:.2} of {:.0} MiB; {} RPCs; memory {:.1} to {:.1} \
                 MiB; {}",
                mib(stand.receive_bytes_peak),
                mib(stand.send_bytes_peak),
                mib(self.budget_bytes),
                stand.rpcs_peak,
                mib(stand.resident_bytes_before),
                mib(stand.resident_bytes_peak),
                if stand.emptied {
                    "empty in the end"
                } else {
                    "NOT empty in the end"
                }
            )?;
        }
        writeln!(
            f,
            "empty {:.1} s after the last call",
            self.emptied_after_seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> Report {
        let stand = Stand {
            emptied: true,
            ..Stand::new()
        };
        let twice = Outcomes {
            good: 10,
            refused_there: 1,
            time: Duration::from_secs(1),
            ..Outcomes::default()
        };
        Report::new(10.0, 20.0, twice, [stand.clone(), stand], Duration::ZERO)
    }

    #[test]
    fn each_rule_that_is_broken_is_told() {
        assert_eq!(fine().broken(0.9), None);
        let broken = |change: fn(&mut Report)| {
            let mut report = fine();
            change(&mut report);
            report.broken(0.9).unwrap()
        };
        assert!(broken(|it| it.goodput_of_peak = 0.89).contains("goodput"));
        assert!(broken(|it| it.refused_by_server = 0).contains("latecomer"));
        assert!(broken(|it| it.late = 1).contains("other causes"));
        assert!(broken(|it| it.client.emptied = false).starts_with("the client's tables"));
        assert!(broken(|it| it.server.send_bytes_peak = BUDGET_BYTES + 1).contains("send budget"));
        let grown = broken(|it| it.server.resident_bytes_peak += it.memory_growth_max_bytes + 1);
        assert!(grown.starts_with("the server's memory"));
    }
}
