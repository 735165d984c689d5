//! Whose turn it is to be granted, and how much. Decides among the messages that hold places, and
//! now and then for the oldest; who holds a place is decided in `grant`, levels and windows in `rules`.

use super::entry::{Entry, Standing};
use super::{Decision, Granter, Rules};
use crate::time::Instant;
use crate::wire::Priority;

/// A grant is worth a packet when it allows this many bytes or the rest of the message.
const WORTHWHILE_BYTES: u32 = 10_000;

/// Candidates for a FIFO grant looked at, oldest first: what bounds the search.
const FIFO_CANDIDATES: usize = 16;

impl Granter {
    /// Whether there is none to send, as far as a glance tells.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        !self.stale && !self.last_was_ordinary
    }

    /// The next grant to send, if any. `share` gives the part of a window that loss leaves a
    /// message's peer.
    pub(crate) fn decide(
        &mut self,
        now: Instant,
        rules: &Rules,
        share: impl Fn(u32, u32) -> u32,
    ) -> Option<Decision> {
        if self.last_was_ordinary {
            self.last_was_ordinary = false;
            if let Some(decision) = self.decide_fifo(now, rules) {
                return Some(decision);
            }
        }
        if !self.stale {
            return None;
        }
        let decision = self.decide_ordinary(now, rules, share);
        self.last_was_ordinary = decision.is_some();
        self.stale = decision.is_some();
        decision
    }

    fn decide_ordinary(
        &mut self,
        now: Instant,
        rules: &Rules,
        share: impl Fn(u32, u32) -> u32,
    ) -> Option<Decision> {
        let best = self.best_step(rules, share);
        let outstanding = self.host_incoming();
        let worthwhile = u64::from(rules.least_step());
        self.is_full = best.is_none() && outstanding + worthwhile > rules.max_incoming;
        let (rpc, step, priority) = best?;
        Some(self.grant(now, rules, rpc, step, priority))
    }

    /// Bytes missing of the message that would be granted next, if any.
    pub(crate) fn wants(&self, rules: &Rules, share: impl Fn(u32, u32) -> u32) -> Option<u32> {
        let (rpc, ..) = self.stale.then(|| self.best_step(rules, share))??;
        Some(self.entries[rpc].remaining())
    }

    /// The message that goes first of those that can use a grant, its bytes and its level.
    fn best_step(
        &self,
        rules: &Rules,
        share: impl Fn(u32, u32) -> u32,
    ) -> Option<(u32, u32, Priority)> {
        let active = self.host_active_count(rules);
        let window = rules.window(active);
        for (own_rank, &rpc) in self.active.rpcs().iter().enumerate() {
            let entry = &self.entries[rpc];
            let rank = (entry.remaining(), rules.engine);
            let rank = own_rank + self.others.ranks.better_than(rank);
            if rank >= rules.slots {
                // Other engines of the host have enough messages that are closer to their end.
                break;
            }
            let window = share(rpc, u32::try_from(window).unwrap_or(u32::MAX));
            let rest = entry.length - entry.granted;
            let wanted = entry.received.saturating_add(window).min(entry.length);
            let step = u64::from(wanted.saturating_sub(entry.granted));
            let step = step.min(self.headroom(rules, entry, step));
            let step = u32::try_from(step).unwrap_or(rest);
            let least = WORTHWHILE_BYTES.min(window / 8).min(rules.least_step());
            if step > 0 && step >= rest.min(least) {
                return Some((rpc, step, rules.priority(rank, active)));
            }
        }
        None
    }

    /// Bytes outstanding of the whole host.
    fn host_incoming(&self) -> u64 {
        self.incoming.total().saturating_add(self.others.incoming)
    }

    /// How many of the `wanted` bytes more of a message may be outstanding, at least.
    fn headroom(&self, rules: &Rules, entry: &Entry, wanted: u64) -> u64 {
        let (all, shared) = (self.host_incoming(), rules.shared_incoming());
        if all.saturating_add(wanted) <= shared || rules.spare_incoming == 0 {
            return shared.saturating_sub(all);
        }
        let ahead = self.incoming.ahead_of(entry);
        let ahead = ahead.saturating_add(self.others.incoming);
        let room = shared.saturating_sub(ahead);
        room.min(rules.max_incoming.saturating_sub(all))
    }

    /// Every so often the oldest message gets a grant of its own, so that it never starves.
    fn decide_fifo(&mut self, now: Instant, rules: &Rules) -> Option<Decision> {
        let interval = rules.fifo_interval?;
        if now < self.fifo_due {
            return None;
        }
        let limit = rules.window(self.host_active_count(rules)) + 2 * u64::from(rules.fifo_bytes);
        let mut candidate = self.by_age.first();
        let mut is_oldest = true;
        for _ in 0..FIFO_CANDIDATES {
            let rpc = candidate?;
            candidate = self.by_age.next(rpc);
            let entry = self.entries[rpc];
            if entry.standing == Standing::Parked || entry.granted >= entry.length {
                continue;
            }
            let step = rules.fifo_bytes.min(entry.length - entry.granted);
            // An oldest message whose sender does not get to it leaves its turn to others, but their
            // senders may not either: what they have outstanding must not keep out better messages.
            let has_room = is_oldest || self.headroom(rules, &entry, step.into()) >= step.into();
            if has_room && u64::from(entry.outstanding()) < limit {
                self.fifo_due = now.after(interval);
                let decision = self.grant(now, rules, rpc, step, rules.fifo_priority);
                return Some(Decision {
                    fifo: true,
                    ..decision
                });
            }
            is_oldest = false;
        }
        None
    }

    fn grant(
        &mut self,
        now: Instant,
        rules: &Rules,
        rpc: u32,
        step: u32,
        priority: Priority,
    ) -> Decision {
        if self.entries[rpc].outstanding() == 0 {
            self.entries[rpc].silent_since = now;
        }
        let entry = &mut self.entries[rpc];
        if priority > entry.level {
            entry.raised_at = entry.granted;
        }
        entry.level = priority;
        self.incoming.take(entry);
        entry.granted += step;
        self.incoming.add(entry);
        let (offset, length) = (entry.granted, entry.length);
        if rules.patience.is_some() && !entry.is_silent {
            self.by_silence.push(rpc);
        }
        if offset == length {
            self.retire(rules, rpc);
        }
        Decision {
            rpc,
            offset,
            priority,
            fifo: false,
        }
    }
}
