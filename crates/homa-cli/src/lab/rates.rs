//! How fast links and arrivals are: so that the processors are not what is measured.

use core::time::Duration;

use homa_sim::Workload;

use super::args::Compare;
use super::wire::{SEGMENT_BYTES, message_wire_bytes};
use crate::workload::MESSAGE_MAX_BYTES;

/// The fastest links.
const RATE_MAX: f64 = 100e6;

/// Packets a second of the whole cluster, grants and responses included, of which the hosts' processors
/// have time for all; a message is as much work as some packets more. Two processors of which one is the
/// switch's carry twice as many, but then each host waits for the others, and that wait is what is
/// measured; and where real-time threads leave nothing to others the kernel stops them, 50 ms a second.
const WORK_MAX: f64 = 20_000.0;
const MESSAGE_WORK: f64 = 2.0;

/// Packets of a message that need no grant.
const UNSCHEDULED_PACKETS: f64 = 4.0;

/// Steps in which a workload's sizes are looked at.
const STEPS: u32 = 4_000;

/// How fast links and arrivals are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// Bits per second of each link.
    pub(super) link: f64,
    /// Payload bytes of requests that each host offers per second.
    pub(super) payload: f64,
    /// Messages of the whole cluster per second.
    pub(super) messages: f64,
}

impl Rates {
    /// For that workload at `load` of the links.
    pub(super) fn of(arguments: &Compare, workload: &Workload, load: f64) -> Self {
        let steps = (0..STEPS).map(|step| (f64::from(step) + 0.5) / f64::from(STEPS));
        let sizes: Vec<usize> = steps.map(|share| workload.quantile(share)).collect();
        let mean = |of: &dyn Fn(usize) -> f64| {
            sizes.iter().map(|size| of(*size)).sum::<f64>() / sizes.len() as f64
        };
        let wire = mean(&|size| f64::from(message_wire_bytes(size)));
        let work = mean(&|size| {
            let data = (size as f64 / f64::from(SEGMENT_BYTES)).ceil();
            let grants = (data - UNSCHEDULED_PACKETS).max(0.0);
            data + grants + 1.0 + MESSAGE_WORK
        });
        let senders = f64::from(arguments.hosts);
        let slow_enough = WORK_MAX / work / senders * wire * 8.0 / arguments.load;
        let asked = arguments.rate.map(|mbit| f64::from(mbit) * 1e6);
        let link = asked.unwrap_or_else(|| slow_enough.min(RATE_MAX)).round();
        // In an incast all senders together fill one link.
        let shared = if arguments.incast { senders - 1.0 } else { 1.0 };
        let messages = link * load / 8.0 / wire / shared;
        Self {
            link,
            payload: messages * workload.mean_bytes(),
            messages: messages
                * if arguments.incast {
                    senders - 1.0
                } else {
                    senders
                },
        }
    }

    /// How long what is under way may take at the end: some longest messages on a link, and two
    /// seconds for what was lost.
    pub(super) fn drain(&self) -> Duration {
        let longest = 8.0 * f64::from(message_wire_bytes(MESSAGE_MAX_BYTES)) / self.link;
        Duration::from_secs_f64(2.0 + 6.0 * longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Arguments, Command};
    use clap::Parser as _;

    fn arguments(words: &[&str]) -> Compare {
        let words = ["homa", "lab"].iter().chain(words);
        match Arguments::try_parse_from(words).unwrap().command {
            Command::Lab(lab) => lab.compare,
            _ => panic!("the command is lab"),
        }
    }

    fn rates(name: &str, words: &[&str]) -> Rates {
        let workload = crate::workload::named(name).unwrap();
        let arguments = arguments(words);
        Rates::of(&arguments, &workload, arguments.load)
    }

    #[test]
    fn the_rate_follows_from_the_packets_of_a_workload_or_is_the_one_asked_for() {
        let [short, long] = ["w2", "w4"].map(|name| rates(name, &[]));
        assert!(
            short.link < long.link && long.link < RATE_MAX,
            "{short:?} {long:?}"
        );
        assert_eq!(rates("w4", &["--rate", "50"]).link, 50e6);
        // A full packet takes 1,538 bytes and carries 1,416, and 0.8 of the link is used.
        let carried = long.payload * 8.0 / long.link;
        assert!((0.70..0.74).contains(&carried), "{carried}");
    }

    #[test]
    fn in_an_incast_all_senders_share_one_link() {
        let (all, one) = (rates("w4", &[]), rates("w4", &["--incast"]));
        assert!((all.payload / one.payload - 7.0).abs() < 1e-6);
        assert!((all.messages / one.messages - 8.0).abs() < 1e-6);
    }
}
