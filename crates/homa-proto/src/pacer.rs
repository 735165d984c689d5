//! The pacer: when the link may take the next packet, by an estimate of when it has sent all it
//! was given. Decides only "when"; with an unknown rate the answer is always "now".

use crate::config::Config;
use crate::time::{Instant, nanos};

pub(crate) struct Pacer {
    /// Bits per second; `None`: unknown, nothing is held back.
    rate: Option<u64>,
    backlog_nanos: u64,
    packet_overhead: u64,
    /// When the link will have sent all it was given, rounded down, and what was cut off, in
    /// nanoseconds divided by the rate: without it an estimate of long duty runs ahead of the link.
    idle: Instant,
    rest: u64,
}

impl Pacer {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            rate: config.link_bits_per_second,
            backlog_nanos: nanos(config.pacer_backlog),
            packet_overhead: u64::from(config.packet_overhead_bytes),
            idle: Instant::ZERO,
            rest: 0,
        }
    }

    /// Whether another burst may go.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.rate.is_none() || self.idle.nanos_since(now) <= self.backlog_nanos
    }

    /// When [`is_ready`](Self::is_ready) holds.
    pub(crate) fn ready_at(&self) -> Instant {
        Instant::from_nanos(self.idle.as_nanos().saturating_sub(self.backlog_nanos))
    }

    /// Most bytes of one burst, headers included: what the link sends within the backlog, so that
    /// a burst never blocks a shorter message for long. `None` where the link is no bottleneck.
    pub(crate) fn burst_bytes(&self) -> Option<u64> {
        let bits = u128::from(self.rate?) * u128::from(self.backlog_nanos);
        u64::try_from(bits / 8_000_000_000).ok()
    }

    /// When the link will have sent all it was given.
    pub(crate) fn idle(&self) -> Instant {
        self.idle
    }

    /// Others give the link work until `idle`.
    pub(crate) fn wait_for_link(&mut self, idle: Instant) {
        self.idle = self.idle.max(idle);
    }

    /// The link was given `packets` packets of `bytes` together.
    pub(crate) fn charge(&mut self, now: Instant, packets: usize, bytes: usize) {
        let Some(rate) = self.rate else {
            return;
        };
        if now > self.idle {
            (self.idle, self.rest) = (now, 0);
        }
        let wire = bytes as u64 + packets as u64 * self.packet_overhead;
        let work = wire.saturating_mul(8_000_000_000).saturating_add(self.rest);
        let end = self.idle.as_nanos().saturating_add(work / rate);
        (self.idle, self.rest) = (Instant::from_nanos(end), work % rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn the_link_gets_what_it_can_send_and_five_microseconds_more() {
        let config = Config {
            link_bits_per_second: Some(8_000_000_000), // a byte a nanosecond
            packet_overhead_bytes: 100,
            ..Config::default()
        };
        let mut pacer = Pacer::new(&config);
        let start = Instant::from_nanos(1_000_000);
        assert_eq!(pacer.burst_bytes(), Some(5_000));
        assert!(pacer.is_ready(start));
        pacer.charge(start, 10, 9_000);
        assert!(!pacer.is_ready(start));
        assert_eq!(pacer.ready_at(), start + Duration::from_nanos(5_000));
        assert!(pacer.is_ready(start + Duration::from_nanos(5_000)));
    }

    #[test]
    fn the_estimate_does_not_run_ahead_of_a_link_that_is_busy_for_long() {
        let config = Config {
            link_bits_per_second: Some(10_000_000_000),
            packet_overhead_bytes: 66,
            ..Config::default()
        };
        let mut pacer = Pacer::new(&config);
        // 1,538 bytes take 1,230.4 ns.
        (0..10_000).for_each(|_| pacer.charge(Instant::ZERO, 1, 1_472));
        assert_eq!(pacer.idle(), Instant::from_nanos(12_304_000));
    }

    #[test]
    fn an_unknown_link_is_never_held_back() {
        let mut pacer = Pacer::new(&Config::default());
        pacer.charge(Instant::ZERO, 1_000, 100_000_000);
        assert!(pacer.is_ready(Instant::ZERO));
        assert_eq!(pacer.burst_bytes(), None);
    }
}
