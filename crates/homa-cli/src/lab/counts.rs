//! What a host's own system counted: packets sent again, and packets lost before they reached the
//! network.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

/// Counts since the namespace or the process began, whichever is later for the protocol.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Counts {
    /// Packets with data that were sent again.
    pub(super) retransmitted: u64,
    /// Packets that found the queue of the host's device full.
    pub(super) device_dropped: u64,
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
        Ok(Self {
            retransmitted,
            device_dropped: dropped_at(&devices, device),
        })
    }

    /// What was counted since `before`.
    pub(super) const fn since(self, before: Self) -> Self {
        Self {
            retransmitted: self.retransmitted.saturating_sub(before.retransmitted),
            device_dropped: self.device_dropped.saturating_sub(before.device_dropped),
        }
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

/// Packets that a device did not take: the fourth number of its sending half, which has eight before.
fn dropped_at(devices: &str, device: &str) -> u64 {
    let mut lines = devices.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| name.trim() == device);
    let number = found.and_then(|(_, numbers)| numbers.split_whitespace().nth(11));
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
            (dropped_at(devices, "host"), dropped_at(devices, "eth0")),
            (42, 0)
        );
    }
}
