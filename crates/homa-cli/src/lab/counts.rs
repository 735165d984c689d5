//! What a host's own system counted: packets sent again, and packets lost before they reached the
//! network.

use std::fs;
use std::io;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// Counts since the namespace or the process began, whichever is later for the protocol.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Counts {
    /// Packets with data that were sent again.
    pub(super) retransmitted: u64,
    /// Packets that found the queue of the host's device full.
    pub(super) device_dropped: u64,
    /// Packets that the host's device carried, both ways.
    pub(super) packets: u64,
    /// Times that threads of the process slept, and that they were taken from their processor.
    pub(super) slept: u64,
    pub(super) preempted: u64,
}

impl Counts {
    /// As they are; those of Homa for `host`, else those of TCP in this network namespace.
    ///
    /// # Errors
    /// /proc is not there, or the Homa host is broken.
    pub(super) fn read(host: Option<&homa::Host>, device: &str) -> io::Result<Self> {
        let retransmitted = match host {
            Some(host) => {
                let counters = host.counters().map_err(io::Error::other)?;
                counters.engine.data_resent
            }
            None => tcp_retransmitted(&fs::read_to_string("/proc/self/net/snmp")?),
        };
        let devices = fs::read_to_string("/proc/self/net/dev")?;
        let used = getrusage(UsageWho::RUSAGE_SELF)?;
        let number = |column| device_count(&devices, device, column);
        Ok(Self {
            retransmitted,
            device_dropped: number(SENT_DROPPED),
            packets: number(RECEIVED_PACKETS) + number(SENT_PACKETS),
            slept: used.voluntary_context_switches() as u64,
            preempted: used.involuntary_context_switches() as u64,
        })
    }

    /// What was counted since `before`.
    pub(super) const fn since(self, before: Self) -> Self {
        Self {
            retransmitted: self.retransmitted.saturating_sub(before.retransmitted),
            device_dropped: self.device_dropped.saturating_sub(before.device_dropped),
            packets: self.packets.saturating_sub(before.packets),
            slept: self.slept.saturating_sub(before.slept),
            preempted: self.preempted.saturating_sub(before.preempted),
        }
    }

    /// What this process is to tell: the first of a host tells what the whole host counted.
    pub(super) const fn of_process(self, process: u16) -> Self {
        if process == 0 {
            return self;
        }
        Self {
            device_dropped: 0,
            packets: 0,
            ..self
        }
    }

    /// Adds those of another host or turn.
    pub(super) const fn add(&mut self, other: Self) {
        self.retransmitted += other.retransmitted;
        self.device_dropped += other.device_dropped;
        self.packets += other.packets;
        self.slept += other.slept;
        self.preempted += other.preempted;
    }
}

/// `RetransSegs` of a table whose lines come in pairs: names, and numbers.
fn tcp_retransmitted(snmp: &str) -> u64 {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else {
        return 0;
    };
    let mut pairs = names.split_whitespace().zip(numbers.split_whitespace());
    let found = pairs.find(|(name, _)| *name == "RetransSegs");
    found
        .and_then(|(_, number)| number.parse().ok())
        .unwrap_or(0)
}

// Columns of /proc/net/dev: eight for what was received, then eight for what was sent.
const RECEIVED_PACKETS: usize = 1;
const SENT_PACKETS: usize = 9;
const SENT_DROPPED: usize = 11;

/// What a device counted in a column.
fn device_count(devices: &str, device: &str, column: usize) -> u64 {
    let mut lines = devices.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| name.trim() == device);
    let number = found.and_then(|(_, numbers)| numbers.split_whitespace().nth(column));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: InSegs OutSegs RetransSegs InErrs\nTcp: 5 6 7 8\n";
        assert_eq!(tcp_retransmitted(snmp), 7);
        assert_eq!(tcp_retransmitted("Udp: A\nUdp: 1\n"), 0);
        let devices = "Inter-|   Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
                       \x20 host: 1 2 3 4 5 6 7 8 9 10 11 42 13 14 15 16\n";
        assert_eq!(
            [RECEIVED_PACKETS, SENT_PACKETS, SENT_DROPPED]
                .map(|column| device_count(devices, "host", column)),
            [2, 10, 42]
        );
        assert_eq!(device_count(devices, "eth0", SENT_DROPPED), 0);
    }
}
