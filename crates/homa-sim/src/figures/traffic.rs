//! The messages that applications send: Poisson arrivals between random hosts, whatever the
//! network makes of them (open loop). The same seed brings the same messages to every protocol.

use crate::random::Random;
use crate::workload::Workload;

/// A message that an application sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// When, in nanoseconds.
    pub(crate) at: u64,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) bytes: u32,
    /// How many hundredths of all messages are shorter, 0 to 99; equals are told apart by lot, so
    /// that every hundredth holds equally many.
    pub(crate) hundredth: u8,
}

/// Arrivals, one after the other.
pub(crate) struct Traffic<'a> {
    workload: &'a Workload,
    hosts: u32,
    /// Hosts that each host sends to: those that follow it.
    peers: u32,
    /// Nanoseconds between two messages of the whole network.
    mean_gap: f64,
    clock: f64,
    gaps: Random,
    sizes: Random,
    ends: Random,
}

impl<'a> Traffic<'a> {
    /// Messages from `start` on, `per_second` of them, each from a random host to a random one of
    /// the `peers` that follow it.
    pub(crate) fn new(
        workload: &'a Workload,
        seed: u64,
        (hosts, peers): (u32, u32),
        start: u64,
        per_second: f64,
    ) -> Self {
        Self {
            workload,
            hosts,
            peers: peers.clamp(1, hosts - 1),
            mean_gap: 1e9 / per_second,
            clock: start as f64,
            gaps: Random::new(seed, 10),
            sizes: Random::new(seed, 11),
            ends: Random::new(seed, 12),
        }
    }

    /// The next message; there is always one.
    pub(crate) fn next(&mut self) -> Arrival {
        self.clock += self.gaps.exponential(self.mean_gap);
        let fraction = self.sizes.fraction();
        let from = self.ends.below(u64::from(self.hosts)) as u32;
        let step = self.ends.between(1, u64::from(self.peers)) as u32;
        Arrival {
            at: self.clock as u64,
            from,
            to: (from + step) % self.hosts,
            bytes: self.workload.quantile(fraction) as u32,
            hundredth: ((fraction * 100.0).ceil() as u8).saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_as_often_as_asked_to_all_hosts_but_the_sender_and_fill_all_hundredths() {
        let workload = Workload::named("w1").unwrap();
        let mut traffic = Traffic::new(&workload, 1, (8, 7), 500, 1e6);
        let (mut pairs, mut hundredths) = ([[0; 8]; 8], [0; 100]);
        let mut last = 0;
        for _ in 0..100_000 {
            let arrival = traffic.next();
            assert!(arrival.at >= last.max(500));
            last = arrival.at;
            pairs[arrival.from as usize][arrival.to as usize] += 1;
            hundredths[usize::from(arrival.hundredth)] += 1;
        }
        assert!((99_000_000..101_000_000).contains(&last), "{last}");
        for (from, row) in pairs.iter().enumerate() {
            for (to, &count) in row.iter().enumerate() {
                assert_eq!(count > 1_600, from != to);
            }
        }
        assert!(
            hundredths
                .iter()
                .all(|&count| (880..1_120).contains(&count))
        );
    }
}
