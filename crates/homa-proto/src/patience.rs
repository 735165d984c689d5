//! How long a peer is waited for, and how often it is asked. Decides numbers; what is asked is
//! decided in `progress`.
//!
//! *Design*: with thousands of RPCs in a peer's queue the queue alone takes longer than the resend
//! interval. If each RPC asked for itself then, the questions would be most of the traffic and the
//! queue would never end. So the wait follows what answers lately took, and the questions to one
//! peer are counted over all RPCs.

use core::time::Duration;

use crate::config::Config;
use crate::time::{Instant, Stamp, nanos};

/// Smoothed time, in nanoseconds; 0: not measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    smoothed: u32,
    variation: u32,
}

impl Estimate {
    pub(crate) const NONE: Self = Self {
        smoothed: 0,
        variation: 0,
    };

    /// Takes a sample in the manner of RFC 6298.
    #[inline]
    pub(crate) fn sample(&mut self, nanoseconds: u64) {
        let sample = u32::try_from(nanoseconds).unwrap_or(u32::MAX).max(1);
        if self.smoothed == 0 {
            (self.smoothed, self.variation) = (sample, sample / 2);
        } else {
            let error = self.smoothed.abs_diff(sample);
            self.variation = self.variation - self.variation / 4 + error / 4;
            self.smoothed = self.smoothed - self.smoothed / 8 + sample / 8;
        }
    }

    /// The smoothed time, if it was ever measured.
    pub(crate) fn smoothed(self) -> Option<Duration> {
        (self.smoothed > 0).then(|| Duration::from_nanos(self.smoothed.into()))
    }

    /// What is hardly ever exceeded.
    #[inline]
    pub(crate) fn bound(self) -> u64 {
        u64::from(self.smoothed) + 4 * u64::from(self.variation)
    }
}

/// What a peer took lately, and how it was asked; first what every packet of its changes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Patience {
    /// The last of the questions that follow each other since the peer was last heard, and the first;
    /// `Instant::NEVER`: none was asked.
    last_unanswered: Instant,
    /// Packets heard since `asking_since`.
    heard: u16,
    /// Questions that may still be asked in the interval that began then.
    questions: u16,
    asking_since: Stamp,
    /// From a question to its answer: the path, and the peer's readiness.
    pub(crate) round_trip: Estimate,
    /// From a request to the first bytes of its response: the path, the queue and the service.
    pub(crate) response: Estimate,
    /// From a response to its ack.
    pub(crate) ack: Estimate,
    first_unanswered: Instant,
}

impl Patience {
    /// With a peer of which nothing is known.
    pub(crate) const NEW: Self = Self {
        round_trip: Estimate::NONE,
        response: Estimate::NONE,
        ack: Estimate::NONE,
        questions: 0,
        asking_since: Stamp::of(Instant::ZERO),
        heard: 0,
        first_unanswered: Instant::NEVER,
        last_unanswered: Instant::NEVER,
    };

    /// Silence after which the peer is asked for missing bytes, in nanoseconds.
    #[inline]
    pub(crate) fn for_bytes(&self, config: &Config) -> u64 {
        nanos(config.resend_interval).max(self.round_trip.bound())
    }

    /// Silence after which a client asks about its request.
    #[inline]
    pub(crate) fn for_response(&self, config: &Config) -> u64 {
        let usual = self.response.bound().min(nanos(config.timeout) / 4);
        self.for_bytes(config).max(usual)
    }

    /// Silence after which a server asks for an ack.
    #[inline]
    pub(crate) fn for_ack(&self, config: &Config) -> u64 {
        let usual = self.ack.bound().min(nanos(config.timeout) / 4);
        nanos(config.ack_interval).max(usual)
    }

    /// Silence after which the peer is given up.
    pub(crate) fn timeout(&self, config: &Config) -> u64 {
        nanos(config.timeout).max(20 * self.round_trip.bound())
    }

    /// Whether the peer may be asked about an RPC now: 16 times in a resend interval, and once for
    /// every two packets heard in the one before, so that a peer that answers little is asked
    /// little. If so, it counts as asked.
    pub(crate) fn may_ask(&mut self, now: Instant, config: &Config) -> bool {
        if self.asking_since.nanos_until(now) >= nanos(config.resend_interval) {
            self.asking_since = Stamp::of(now);
            self.questions = 16 + self.heard / 2;
            self.heard = 0;
        }
        if self.questions == 0 {
            return false;
        }
        self.questions -= 1;
        if self.unanswered(now, config).is_none() {
            self.first_unanswered = now;
        }
        self.last_unanswered = now;
        true
    }

    /// The peer was heard.
    #[inline]
    pub(crate) fn hear(&mut self) {
        self.heard += u16::from(self.heard < u16::MAX);
        self.last_unanswered = Instant::NEVER;
    }

    /// Nanoseconds for which questions to the peer have gone unanswered; `None`: none was asked. One
    /// that was not repeated for a timeout is no evidence: what it was about may have ended.
    pub(crate) fn unanswered(&self, now: Instant, config: &Config) -> Option<u64> {
        let goes_on = self.last_unanswered != Instant::NEVER
            && now.nanos_since(self.last_unanswered) < self.timeout(config);
        goes_on.then(|| now.nanos_since(self.first_unanswered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_follows_its_samples_as_rfc_6298_says() {
        let mut estimate = Estimate::NONE;
        assert_eq!(estimate.bound(), 0);
        estimate.sample(8_000);
        assert_eq!((estimate.smoothed, estimate.variation), (8_000, 4_000));
        assert_eq!(estimate.bound(), 24_000);
        estimate.sample(16_000);
        assert_eq!((estimate.smoothed, estimate.variation), (9_000, 5_000));
        estimate.sample(1_000);
        assert_eq!((estimate.smoothed, estimate.variation), (8_000, 5_750));
        estimate.sample(u64::MAX);
        assert_eq!(estimate.smoothed, 7_000 + u32::MAX / 8);
    }

    #[test]
    fn an_ack_is_waited_for_as_long_as_acks_take_but_not_for_ever() {
        let config = Config::default();
        let mut patience = Patience::NEW;
        assert_eq!(patience.for_ack(&config), 2_000_000);
        (0..100).for_each(|_| patience.ack.sample(4_000_000));
        assert!((4_000_000..4_100_000).contains(&patience.for_ack(&config)));
        (0..100).for_each(|_| patience.ack.sample(1_000_000_000));
        assert_eq!(patience.for_ack(&config), 25_000_000);
    }

    #[test]
    fn on_a_slow_path_everything_is_waited_for_longer() {
        let config = Config::default();
        let mut patience = Patience::NEW;
        assert_eq!(patience.timeout(&config), 100_000_000);
        (0..100).for_each(|_| patience.round_trip.sample(20_000_000));
        let bound = patience.round_trip.bound();
        assert!((20_000_000..21_000_000).contains(&bound));
        assert_eq!(patience.for_bytes(&config), bound);
        assert_eq!(patience.for_response(&config), bound);
        assert_eq!(patience.timeout(&config), 20 * bound);
    }

    #[test]
    fn questions_to_a_peer_are_counted_over_all_its_rpcs() {
        let config = Config::default();
        let mut patience = Patience::NEW;
        let start = Instant::from_nanos(1_000_000_000);
        let asked = |patience: &mut Patience, now| {
            (0..5_000)
                .filter(|_| patience.may_ask(now, &config))
                .count()
        };
        assert_eq!(asked(&mut patience, start), 16);
        assert_eq!(asked(&mut patience, start), 0);
        let later = start + config.resend_interval;
        assert_eq!(patience.unanswered(later, &config), Some(5_000_000));
        assert_eq!(patience.unanswered(later + config.timeout, &config), None);
        (0..800).for_each(|_| patience.hear());
        assert_eq!(patience.unanswered(later, &config), None);
        assert_eq!(asked(&mut patience, later), 416);
    }

    #[test]
    fn a_response_is_waited_for_as_long_as_responses_take_but_not_for_ever() {
        let config = Config::default();
        let mut patience = Patience::NEW;
        assert_eq!(patience.for_response(&config), 5_000_000);
        (0..100).for_each(|_| patience.response.sample(8_000_000));
        assert!((8_000_000..9_000_000).contains(&patience.for_response(&config)));
        (0..100).for_each(|_| patience.response.sample(1_000_000_000));
        assert_eq!(patience.for_response(&config), 25_000_000);
        assert_eq!(patience.for_bytes(&config), 5_000_000);
    }
    #[test]
    fn a_question_long_after_another_begins_a_new_silence() {
        let config = Config::default();
        let mut patience = Patience::NEW;
        let start = Instant::from_nanos(1_000_000_000);
        assert!(patience.may_ask(start, &config));
        let soon = start + config.timeout / 2;
        assert!(patience.may_ask(soon, &config));
        assert_eq!(patience.unanswered(soon, &config), Some(50_000_000));
        let late = soon + config.timeout;
        assert!(patience.may_ask(late, &config));
        assert_eq!(patience.unanswered(late, &config), Some(0));
    }
}
