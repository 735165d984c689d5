//! The best possible time of a message: what it takes in a network that carries nothing else, by
//! arithmetic alone, if its sender never waits for anybody.

use crate::topology::Topology;

/// How a message is cut into packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Payload of a full packet.
    pub(crate) segment_bytes: u32,
    /// What a packet has besides: headers, and the gap on the cable.
    pub(crate) overhead_bytes: u32,
}

impl Cut {
    /// Bytes on a cable of a message of `bytes`.
    pub(crate) fn wire_bytes(&self, bytes: u32) -> u64 {
        let packets = u64::from(bytes.div_ceil(self.segment_bytes));
        u64::from(bytes) + packets * u64::from(self.overhead_bytes)
    }
}

/// Nanoseconds from the moment that a message of `bytes` is sent until its last bit is at the host
/// that it goes to.
///
/// Full packets follow each other at the pace of the slowest link so far; the last packet, which
/// may be shorter, catches up with the one before it at every switch.
pub(crate) fn best_time(topology: &Topology, from: u32, to: u32, bytes: u32, cut: &Cut) -> u64 {
    let packets = u64::from(bytes.div_ceil(cut.segment_bytes).max(1));
    let full = cut.segment_bytes + cut.overhead_bytes;
    let last = bytes - (packets - 1) as u32 * cut.segment_bytes + cut.overhead_bytes;
    let links = topology.switches_between(from, to) + 1;
    let (mut full_there, mut last_there, mut pace) = (0, 0, 0);
    for link in 0..links {
        let config = if link == 0 || link + 1 == links {
            topology.edge
        } else {
            topology.core
        };
        // In picoseconds, so that nothing is lost on the way.
        let takes =
            |bytes: u32| u64::from(bytes) * 8_000_000_000_000 / config.bits_per_second.max(1);
        let delay = config.delay * 1_000;
        full_there += takes(full) + delay;
        pace = pace.max(takes(full));
        // When the last but one has left this link.
        let free = (full_there - delay) + packets.saturating_sub(2) * pace;
        let start = if packets > 1 {
            last_there.max(free)
        } else {
            last_there
        };
        last_there = start + takes(last) + delay;
    }
    last_there.div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkConfig;
    use crate::topology::{Shape, Spread};

    const CUT: Cut = Cut {
        segment_bytes: 1_416,
        overhead_bytes: 122,
    };

    fn two_racks() -> Topology {
        let link = |bits_per_second| LinkConfig {
            bits_per_second,
            delay: 250,
        };
        Topology {
            shape: Shape::LeafSpine {
                racks: 2,
                hosts_per_rack: 2,
                spines: 1,
            },
            edge: link(10_000_000_000),
            core: link(40_000_000_000),
            spread: Spread::PerPacket,
        }
    }

    #[test]
    fn one_packet_takes_its_way_over_every_link() {
        // 130 bytes: 104 ns at 10 Gbit/s, 26 ns at 40.
        let time = |to| best_time(&two_racks(), 0, to, 8, &CUT);
        assert_eq!(time(1), 104 + 250 + 104 + 250);
        assert_eq!(time(2), 104 + 250 + 26 + 250 + 26 + 250 + 104 + 250);
    }

    #[test]
    fn many_packets_follow_each_other_at_the_pace_of_the_slowest_link() {
        let full = 1_538_u64 * 8; // tenths of a nanosecond at 10 Gbit/s
        let time = |packets: u32, to| best_time(&two_racks(), 0, to, packets * 1_416, &CUT);
        assert_eq!(time(10, 1), (11 * full).div_ceil(10) + 500);
        let core = 2 * full / 4;
        assert_eq!(time(10, 2), (11 * full + core).div_ceil(10) + 1_000);
    }

    #[test]
    fn a_short_last_packet_waits_for_the_one_before_it_at_the_last_link() {
        // 130 bytes behind a full packet: it leaves its host 104 ns later, and the last switch
        // 1,230.4 ns after the full one began to leave.
        let time = best_time(&two_racks(), 0, 1, 1_416 + 8, &CUT);
        assert_eq!(time, 1_231 + 250 + 1_231 - 1 + 104 + 250);
    }
}
