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
#[derive(Clone, Copy, Debug)]
pub struct Link {
    config: LinkConfig,
    idle_at: u64,
}

impl Link {
    /// An idle link.
    pub const fn new(config: LinkConfig) -> Self {
        Self { config, idle_at: 0 }
    }

    /// Its rate and delay.
    pub const fn config(&self) -> LinkConfig {
        self.config
    }

    /// When all that it was given has left.
    pub const fn idle_at(&self) -> u64 {
        self.idle_at
    }

    /// Takes `wire_bytes` at `now` and answers when their last bit arrives.
    pub fn input(&mut self, now: u64, wire_bytes: u32) -> u64 {
        self.idle_at = self.idle_at.max(now) + self.config.serialization(wire_bytes);
        self.idle_at + self.config.delay
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
        assert_eq!(link.input(1_000, 100), 1_000 + 1_231 + 80 + 250);
        assert_eq!(link.input(10_000, 100), 10_000 + 80 + 250);
    }
}
