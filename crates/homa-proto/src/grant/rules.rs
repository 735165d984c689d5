//! The granter's policy: how far, how many, at which priority. Pure functions of the configuration
//! and a few numbers; who is active is decided in `grant`.

use super::SLOTS;
use crate::config::{Config, LEAST_GRANT_BYTES};
use crate::learner::{ONE, Published, UNLIMITED_FROM};
use crate::time::nanos;
use crate::wire::Priority;

/// The reference's link speed, for the pace of FIFO grants where ours is unknown.
const ASSUMED_LINK_BITS_PER_SECOND: u64 = 25_000_000_000;

/// Numbers from the configuration that the granter works with.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(super) engine: u8,
    pub(super) slots: usize,
    pub(super) max_incoming: u64,
    /// The part of it that is left to messages closer to their end than those that hold the rest.
    pub(super) spare_incoming: u64,
    window: Option<u32>,
    pub(super) fifo_bytes: u32,
    pub(super) fifo_interval: Option<u64>,
    /// Nanoseconds of silence after which outstanding bytes do not count.
    pub(super) patience: Option<u64>,
    /// Unscheduled bytes that a sender is believed to send: as many as we would.
    pub(crate) promised_max: u32,
    top_scheduled: u8,
    pub(super) fifo_priority: Priority,
}

impl Rules {
    pub(crate) fn new(config: &Config) -> Self {
        let rate = config
            .link_bits_per_second
            .unwrap_or(ASSUMED_LINK_BITS_PER_SECOND);
        let share = u128::from(rate) * u128::from(config.fifo_grant_permille) / 1000;
        let scaled = u128::from(config.fifo_grant_bytes) * 8_000_000_000;
        let second_highest = config.priorities.saturating_sub(2);
        Self {
            engine: config.engine,
            slots: usize::from(config.overcommitment).min(SLOTS),
            max_incoming: config.max_incoming_bytes.into(),
            spare_incoming: u64::from(config.spare_incoming_bytes),
            window: config.window_bytes,
            fifo_bytes: config.fifo_grant_bytes,
            fifo_interval: scaled
                .checked_div(share)
                .and_then(|nanos| u64::try_from(nanos).ok()),
            patience: config.grant_patience.map(nanos),
            promised_max: config
                .unscheduled_max_bytes
                .unwrap_or(0)
                .max(config.unscheduled_bytes),
            top_scheduled: top_scheduled(&Published::first(config).cutoffs),
            fifo_priority: Priority::new(second_highest).unwrap_or(Priority::LOWEST),
        }
    }

    /// Other things were learned: unscheduled packets use other levels, or are other parts of the bytes.
    ///
    /// With one level all wait in the same queues. Where more comes unasked than is granted, what is
    /// granted has so much less of the link, and what is outstanding beyond that only stands in front of
    /// others: the limit falls with the square of the ratio. And those queues grow long without us, so that
    /// silence tells the less of its sender: patience grows so, too. (At 80 % load W2, of which a fourth is
    /// granted, has a p99 of short messages of 2.4 to 2.6 times that with eight levels; with the ratio itself
    /// it was 2.6 to 3.0, and without either queues and grants drove each other on until RPCs failed.)
    pub(crate) fn follow(&mut self, learned: &Published, config: &Config) {
        self.top_scheduled = top_scheduled(&learned.cutoffs);
        if config.priorities > 1 {
            return;
        }
        let (ratio, one) = (u64::from(learned.granted_ratio.max(1)), u64::from(ONE));
        let (part, whole) = (ratio * ratio, one * one);
        let shared = u64::from(config.max_incoming_bytes).saturating_sub(self.spare_incoming);
        let least = shared.min(u64::from(LEAST_GRANT_BYTES));
        self.max_incoming = (shared * part / whole).max(least) + self.spare_incoming;
        self.patience = config
            .grant_patience
            .map(|it| nanos(it).saturating_mul(whole) / part);
    }

    /// What may be outstanding whoever holds it.
    pub(super) fn shared_incoming(&self) -> u64 {
        self.max_incoming.saturating_sub(self.spare_incoming)
    }

    /// Bytes that one message may have outstanding beside `active` active ones: the fewer there
    /// are, the more each gets, with room left for one more (dynamic thresholds, α = 1).
    pub(super) fn window(&self, active: usize) -> u64 {
        match self.window {
            Some(window) => u64::from(window),
            None => self.max_incoming / (active as u64 + 1),
        }
    }

    /// A grant of an eighth of all that may be outstanding is worth a packet; without that a small
    /// limit with a large window would allow none.
    pub(super) fn least_step(&self) -> u32 {
        u32::try_from(self.max_incoming / 8).unwrap_or(u32::MAX)
    }

    /// Level of the message at `rank` of `active`: few active ones use the low levels, so that a
    /// newcomer can go ahead of them.
    pub(super) fn priority(&self, rank: usize, active: usize) -> Priority {
        let top = usize::from(self.top_scheduled);
        let spare = (top + 1).saturating_sub(active);
        let level = top.saturating_sub(rank).saturating_sub(spare);
        u8::try_from(level)
            .ok()
            .and_then(Priority::new)
            .unwrap_or(Priority::LOWEST)
    }
}

/// The highest level for scheduled packets: one below the lowest that unscheduled ones use.
fn top_scheduled(cutoffs: &[u32; 8]) -> u8 {
    let unlimited = cutoffs.iter().rposition(|&cutoff| cutoff >= UNLIMITED_FROM);
    u8::try_from(unlimited.unwrap_or(0))
        .unwrap_or(0)
        .saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_shrinks_with_the_messages_beside_it_unless_it_is_fixed() {
        let mut config = Config::default();
        let windows = [0, 1, 3, 7].map(|active| Rules::new(&config).window(active));
        assert_eq!(windows, [400_000, 200_000, 100_000, 50_000]);
        assert_eq!(Rules::new(&config).least_step(), 50_000);
        config.window_bytes = Some(60_000);
        assert_eq!(Rules::new(&config).window(7), 60_000);
    }

    #[test]
    fn active_messages_take_the_low_levels_in_order_of_rank() {
        let config = Config {
            cutoffs: Some(crate::REFERENCE_CUTOFFS),
            ..Config::default()
        };
        let rules = Rules::new(&config);
        let levels =
            |active| -> [u8; 5] { core::array::from_fn(|rank| rules.priority(rank, active).get()) };
        // Unscheduled packets use the levels from 4 on.
        assert_eq!(levels(1), [0, 0, 0, 0, 0]);
        assert_eq!(levels(2), [1, 0, 0, 0, 0]);
        assert_eq!(levels(4), [3, 2, 1, 0, 0]);
        assert_eq!(levels(8), [3, 2, 1, 0, 0]);
    }

    #[test]
    fn with_one_level_less_is_outstanding_where_more_comes_unasked_than_is_granted() {
        let learned = |priorities, spare_incoming_bytes, granted_ratio| {
            let config = Config {
                priorities,
                spare_incoming_bytes,
                grant_patience: Some(core::time::Duration::from_nanos(3_000)),
                ..Config::default()
            };
            let mut rules = Rules::new(&config);
            let learned = Published {
                granted_ratio,
                ..Published::first(&config)
            };
            rules.follow(&learned, &config);
            (rules.max_incoming, rules.patience)
        };
        assert_eq!(learned(1, 0, ONE), (400_000, Some(3_000)));
        assert_eq!(learned(1, 0, ONE / 4), (25_000, Some(48_000)));
        assert_eq!(learned(1, 200_000, ONE / 4), (212_500, Some(48_000)));
        assert_eq!(learned(1, 0, 0), (1_500, Some(196_608_000)));
        assert_eq!(learned(2, 0, ONE / 4), (400_000, Some(3_000)));
    }

    #[test]
    fn fifo_grants_follow_each_other_at_their_share_of_the_link() {
        let mut config = Config {
            link_bits_per_second: Some(10_000_000_000),
            ..Config::default()
        };
        // 50,000 bytes at a twentieth of 10 Gbit/s.
        assert_eq!(Rules::new(&config).fifo_interval, Some(800_000));
        config.link_bits_per_second = None;
        assert_eq!(Rules::new(&config).fifo_interval, Some(320_000));
        config.fifo_grant_permille = 0;
        assert_eq!(Rules::new(&config).fifo_interval, None);
    }

    #[test]
    fn scheduled_packets_stay_below_the_lowest_level_of_unscheduled_ones() {
        let top = |priorities, cutoffs| {
            let config = Config {
                priorities,
                cutoffs: Some(cutoffs),
                ..Config::default()
            };
            Rules::new(&config).top_scheduled
        };
        let usual = crate::REFERENCE_CUTOFFS;
        assert_eq!(
            [1, 4, 5, 6, 8].map(|priorities| top(priorities, usual)),
            [0, 0, 3, 3, 3]
        );
        assert_eq!(top(8, [u32::MAX, 0, 0, 0, 0, 0, 1_000_000, 999_999]), 5);
        assert_eq!(top(8, [0; 8]), 0);
    }
}
