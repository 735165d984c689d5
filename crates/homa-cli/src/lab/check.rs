//! The lab measures itself: does the network do what the switch promises?

use core::fmt;
use core::time::Duration;
use std::io::{self, Write};

use homa_sim::{BufferConfig, LinkConfig};
use serde::Serialize;

use super::args::Check;
use super::network::{Layout, Network, SwitchKind};
use super::placement::Placement;
use super::running::{Span, Standing};
use super::traffic::{datagram_wire_bytes, efficiency, flood, round_trips};
use super::wire::{PACKET_MAX_BYTES, wire_bytes};
use crate::awake::Awake;
use crate::cpu;
use crate::failure::Failure;
use crate::output::OutputFile;
use crate::progress::Progress;

/// How long each measurement takes.
const LENGTH: Duration = Duration::from_millis(800);
const MEASUREMENTS: u32 = 5;

/// Bytes of an idle network's datagram.
const PING_BYTES: usize = 100;

/// A switch that is later than this at its 99th percentile, or has more to do, distorts
/// what is measured.
pub(super) const LATE_MAX_US: f64 = 100.0;
pub(super) const BUSY_MAX: f64 = 0.7;

/// How far a rate may be from its link's.
const RATE_TOLERANCE: f64 = 0.02;

/// Where priorities are strict.
const AT_SWITCH: &str = "the best level leaves nothing";
const AT_HOST: &str = "nor does it at its own host";

/// What two kernels and the switch may add to the wire's own time.
const KERNEL_MAX_US: f64 = 300.0;

/// One promise, and what became of it.
#[derive(Debug, Serialize)]
struct Finding {
    promise: &'static str,
    found: String,
    is_kept: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_kept { "kept" } else { "BROKEN" };
        write!(f, "{mark:8}{:34}{}", self.promise, self.found)
    }
}

/// Measures, prints what was found, and writes the file that was asked for.
///
/// # Errors
/// The network cannot be made, or a promise is broken.
pub(super) fn run(arguments: &Check) -> Result<(), Failure> {
    let json_file = OutputFile::create(arguments.json.as_deref())?;
    let findings = measure(arguments)?;
    let mut output = io::stdout();
    for finding in &findings {
        writeln!(output, "{finding}").map_err(Failure::work("cannot print"))?;
    }
    if let Some(file) = json_file {
        file.write_json(&findings)?;
    }
    if findings.iter().all(|finding| finding.is_kept) {
        return Ok(());
    }
    Err(Failure::Work(
        "results of a lab on this machine would not be true now; try a lower --rate, fewer --hosts, \
         or a quiet machine"
            .to_owned(),
    ))
}

fn measure(arguments: &Check) -> Result<Vec<Finding>, Failure> {
    let placement = Placement::of_machine();
    let link = LinkConfig {
        bits_per_second: u64::from(arguments.rate) * 1_000_000,
        delay: 0,
    };
    let layout = Layout {
        switch: arguments.switch,
        hosts: arguments.hosts,
        link,
        buffer: BufferConfig {
            bytes: arguments.buffer.into(),
            alpha_eighths: 8,
        },
        is_shared: arguments.share,
    };
    let network = Network::lay(&layout, &placement)?;
    let _awake = Awake::keep(&placement.hosts);
    look(&network, &layout, &placement)
}

/// Looks at one promise after the other.
fn look(
    network: &Network,
    layout: &Layout,
    placement: &Placement,
) -> Result<Vec<Finding>, Failure> {
    let broken = || Failure::work("cannot run the lab");
    cpu::pin(&placement.hosts).map_err(broken())?;
    let (rate, last) = (layout.link.bits_per_second as f64, layout.hosts - 1);
    let everybody: Vec<(u8, u8)> = (0..last).map(|host| (host, 0)).collect();
    let is_exact = layout.switch == SwitchKind::Exact;
    let flooded = |senders: &[(u8, u8)], to| {
        let arrived = flood(&network.hosts, senders, to, rate, LENGTH).map_err(broken())?;
        network.settle()?;
        Ok::<_, Failure>(arrived)
    };
    let progress = Progress::start(LENGTH * MEASUREMENTS);

    progress.say("idle network");
    let trips = round_trips(&network.hosts, PING_BYTES, LENGTH).map_err(broken())?;
    let mut findings = vec![idle(&trips, layout.link, is_exact)];
    progress.say("rate");
    findings.push(carries(flooded(&[(0, 0)], 1)?[0], rate));
    progress.say("strict order");
    let both = flooded(&[(0, 7), (1, 0)], 2)?;
    findings.push(strict(AT_SWITCH, both[0], both[1], rate));
    progress.say("strict order at a host");
    let both = flooded(&[(0, 7), (0, 0)], 2)?;
    findings.push(strict(AT_HOST, both[0], both[1], rate));
    if is_exact {
        progress.say("shared buffer");
        flood(&network.hosts, &everybody, last, rate, LENGTH).map_err(broken())?;
        let span = network.span()?;
        findings.push(shared(&span, layout.buffer.bytes));
        findings.extend(pace(&span, network.standing()));
    }
    progress.finish();
    Ok(findings)
}

/// An exact switch holds a packet until its bits have passed, four times in a round trip; HTB lets one
/// that is alone pass at once.
fn idle(trips: &[Duration], link: LinkConfig, is_exact: bool) -> Finding {
    let wire = 4 * link.serialization(datagram_wire_bytes(PING_BYTES));
    let wire_us = wire as f64 / 1e3;
    let at = |quantile: usize| trips[trips.len() * quantile / 100].as_secs_f64() * 1e6;
    let (p50, p99) = (at(50), at(99));
    Finding {
        promise: "an idle network adds little",
        found: format!("p50 {p50:.0} µs, p99 {p99:.0} µs, {wire_us:.0} µs of it on the wire"),
        is_kept: (p50 >= wire_us || !is_exact) && p50 - wire_us <= KERNEL_MAX_US,
    }
}

fn carries(bits_per_second: f64, rate: f64) -> Finding {
    let wanted = rate * efficiency();
    let error = bits_per_second / wanted - 1.0;
    Finding {
        promise: "a link carries its rate",
        found: format!(
            "{:+.2} % of {:.2} Mbit/s of payload",
            error * 100.0,
            wanted / 1e6
        ),
        is_kept: error.abs() <= RATE_TOLERANCE,
    }
}

fn strict(promise: &'static str, best: f64, worst: f64, rate: f64) -> Finding {
    let wanted = rate * efficiency();
    let [best, worst] = [best, worst].map(|rate| rate / wanted);
    Finding {
        promise,
        found: format!(
            "best {:.1} %, worst {:.1} % of the link",
            best * 100.0,
            worst * 100.0
        ),
        is_kept: (best - 1.0).abs() <= RATE_TOLERANCE && worst <= RATE_TOLERANCE,
    }
}

fn shared(span: &Span, buffer: u64) -> Finding {
    let share = span.buffer_max_bytes as f64 / buffer as f64;
    Finding {
        promise: "one queue takes half the buffer",
        found: format!(
            "{:.1} % held at most, {} packets dropped of {}",
            share * 100.0,
            span.dropped,
            span.dropped + span.forwarded
        ),
        // A queue may hold as much as it leaves free, give or take the packet that decides.
        is_kept: span.buffer_max_bytes.abs_diff(buffer / 2)
            < u64::from(wire_bytes(PACKET_MAX_BYTES)),
    }
}

fn pace(span: &Span, standing: Standing) -> [Finding; 2] {
    let priority = match standing {
        Standing::Alone => "alone on its processor",
        Standing::First => "with real-time priority",
        Standing::Any => "WITHOUT real-time priority",
        Standing::Kernel => "in the kernel",
    };
    [
        Finding {
            promise: "the switch is in time",
            found: format!(
                "late by {:.0} µs at p50, {:.0} µs at p99, {priority}; {} packets refused",
                span.late_p50_us, span.late_p99_us, span.refused
            ),
            is_kept: span.late_p99_us <= LATE_MAX_US && span.refused == 0,
        },
        Finding {
            promise: "the switch has time to spare",
            found: format!("busy for {:.0} % of the time", span.busy * 100.0),
            is_kept: span.busy <= BUSY_MAX,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkConfig = LinkConfig {
        bits_per_second: 100_000_000,
        delay: 0,
    };

    fn span() -> Span {
        Span {
            forwarded: 1000,
            dropped: 10,
            buffer_max_bytes: 749_500,
            late_p50_us: 5.0,
            late_p99_us: 40.0,
            busy: 0.4,
            ..Span::default()
        }
    }

    #[test]
    fn rates_and_strict_order_have_a_tolerance_of_two_percent() {
        let full = 100e6 * efficiency();
        assert!(carries(full * 0.99, 100e6).is_kept);
        assert!(!carries(full * 0.97, 100e6).is_kept && !carries(full * 1.03, 100e6).is_kept);
        assert!(strict(AT_SWITCH, full, full * 0.01, 100e6).is_kept);
        assert!(!strict(AT_SWITCH, full, full * 0.03, 100e6).is_kept);
        assert!(!strict(AT_SWITCH, full * 0.9, 0.0, 100e6).is_kept);
    }

    #[test]
    fn an_idle_network_is_never_faster_than_the_wire() {
        let after =
            |micros, is_exact| idle(&[Duration::from_micros(micros); 100], LINK, is_exact).is_kept;
        // 166 bytes on the wire, four times, are 53 µs.
        assert!(after(54, true) && after(300, true));
        assert!(!after(52, true) && !after(400, true));
        assert!(after(20, false) && !after(400, false));
    }

    #[test]
    fn the_buffer_is_shared_by_the_rule_and_a_late_switch_is_no_switch() {
        assert!(shared(&span(), 1_500_000).is_kept);
        let held = |bytes| {
            shared(
                &Span {
                    buffer_max_bytes: bytes,
                    ..span()
                },
                1_500_000,
            )
            .is_kept
        };
        assert!(held(750_500) && !held(752_000) && !held(748_000));
        assert!(
            pace(&span(), Standing::First)
                .iter()
                .all(|finding| finding.is_kept)
        );
        let late = Span {
            late_p99_us: 101.0,
            ..span()
        };
        assert!(!pace(&late, Standing::First)[0].is_kept);
        let busy = Span {
            busy: 0.71,
            ..span()
        };
        assert!(!pace(&busy, Standing::First)[1].is_kept);
    }
}
