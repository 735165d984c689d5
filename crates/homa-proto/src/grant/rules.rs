//! The granter's policy: how far, how many, at which priority. Pure functions of the configuration
//! and a few numbers; who is active is decided in `grant`.

use super::SLOTS;
use crate::config::Config;
use crate::wire::Priority;

/// The reference's link speed, for the pace of FIFO grants where ours is unknown.
const ASSUMED_LINK_BITS_PER_SECOND: u64 = 25_000_000_000;

/// Numbers from the configuration that the granter works with.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(super) engine: u8,
    pub(super) slots: usize,
    pub(super) max_incoming: u64,
    window: Option<u32>,
    pub(super) fifo_bytes: u32,
    pub(super) fifo_interval: Option<u64>,
    top_scheduled: u8,
    pub(super) fifo_priority: Priority,
}

impl Rules {
    pub(crate) fn new(config: &Config) -> Self {
        let rate = config
            .link_bits_per_second
            .unwrap_or(ASSUMED_LINK_BITS_PER_SECOND);
        let share = u128::from(rate) * u128::from(config.fifo_grant_permille) / 1000;
        let nanos = u128::from(config.fifo_grant_bytes) * 8_000_000_000;
        let second_highest = config.priorities.saturating_sub(2);
        Self {
            engine: config.engine,
            slots: usize::from(config.overcommitment).min(SLOTS),
            max_incoming: u64::from(config.max_incoming_bytes),
            window: config.window_bytes,
            fifo_bytes: config.fifo_grant_bytes,
            fifo_interval: nanos
                .checked_div(share)
                .and_then(|nanos| u64::try_from(nanos).ok()),
            top_scheduled: top_scheduled(config),
            fifo_priority: Priority::new(second_highest).unwrap_or(Priority::LOWEST),
        }
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
fn top_scheduled(config: &Config) -> u8 {
    let levels = &config.cutoffs[..usize::from(config.priorities).min(8)];
    let unlimited = levels.iter().rposition(|&cutoff| cutoff >= 1_000_000);
    u8::try_from(unlimited.unwrap_or(0))
        .unwrap_or(0)
        .saturating_sub(1)
}
