//! A link: bytes leave one behind the other at its rate and arrive after its delay. Decides when;
//! it drops nothing and sorts nothing.

/// Rate and delay of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Bits per second, at least 1.
    pub bits_per_second: u64,
    /// Nanoseconds from a bit's departure to its arrival.
    pub delay: u64,
}

impl LinkConfig {
    /// Nanoseconds that `bytes` take to leave, rounded up.
    pub const fn serialization(&self, bytes: u32) -> u64 {
        (bytes as u64 * 8_000_000_000).div_ceil(self.bits_per_second)
    }
}

/// A link with one sender, first come first served.
///
/// Packets that follow each other without a pause take together what they take at the link's rate:
/// what a byte takes beyond whole nanoseconds is carried over to the next packet.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    config: LinkConfig,
    /// When all that it was given has left, rounded down, and what was cut off, in units of a
    /// nanosecond divided by the rate.
    idle: u64,
    rest: u64,
}

impl Link {
    /// An idle link.
    pub const fn new(config: LinkConfig) -> Self {
        Self {
            config,
            idle: 0,
            rest: 0,
        }
    }

    /// Its rate and delay.
    pub const fn config(&self) -> LinkConfig {
        self.config
    }

    /// When all that it was given has left.
    pub const fn idle_at(&self) -> u64 {
        self.idle + (self.rest != 0) as u64
    }

    /// Takes `wire_bytes` at `now` and answers when their last bit arrives.
    pub fn input(&mut self, now: u64, wire_bytes: u32) -> u64 {
        if now > self.idle_at() {
            (self.idle, self.rest) = (now, 0);
        }
        let work = u64::from(wire_bytes) * 8_000_000_000 + self.rest;
        self.idle += work / self.config.bits_per_second;
        self.rest = work % self.config.bits_per_second;
        self.idle_at() + self.config.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialisation_and_delay_add_up_to_the_nanosecond() {
        let mut link = Link::new(LinkConfig {
            bits_per_second: 10_000_000_000,
            delay: 250,
        });
        assert_eq!(link.input(1_000, 1_538), 1_000 + 1_231 + 250);
        // 1,638 bytes take 1,310.4 ns.
        assert_eq!(link.input(1_000, 100), 1_000 + 1_311 + 250);
        assert_eq!(link.input(10_000, 100), 10_000 + 80 + 250);
    }

    #[test]
    fn packets_without_a_pause_between_them_go_at_exactly_the_line_rate() {
        let mut link = Link::new(LinkConfig {
            bits_per_second: 10_000_000_000,
            delay: 0,
        });
        let mut last = 0;
        for _ in 0..1_000_000 {
            last = link.input(last, 1_538);
        }
        assert_eq!(last, 1_538 * 8 * 1_000_000 / 10);
    }
}
