//! What the engines of one host tell each other. An engine has one owner and shares nothing; the
//! few things that are the host's, not an engine's, are numbers that each engine reports and is
//! told of the others: who is granted, how much is outstanding, when the link is idle, which cutoffs
//! the one that learns publishes.
//!
//! Decides how reports are joined. The host carries them: between two polls on one thread, or
//! through a cache line for each engine on several. Old numbers cost precision, never safety.

use crate::engine::Engine;
use crate::learner::Published;
use crate::time::Instant;

/// Messages an engine reports, at most: as many as can be active on a host.
const RANKS: usize = 8;

/// A message's rank on its host: bytes missing, and among equals the number of its engine. Without
/// that every engine would take its own messages for the first of many equal ones.
pub(crate) type Rank = (u32, u8);

/// The best messages, fewest bytes missing first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranks {
    ranks: [Rank; RANKS],
    count: usize,
}

impl Ranks {
    /// Adds a message, if it is among the best.
    pub(crate) fn insert(&mut self, rank: Rank) {
        let place = self.better_than(rank);
        if place == RANKS {
            return;
        }
        self.count = (self.count + 1).min(RANKS);
        self.ranks[place..self.count].rotate_right(1);
        self.ranks[place] = rank;
    }

    /// How many of them go before a message of this rank.
    pub(crate) fn better_than(&self, rank: Rank) -> usize {
        self.as_slice().partition_point(|&other| other < rank)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn as_slice(&self) -> &[Rank] {
        &self.ranks[..self.count]
    }
}

/// What one engine tells the others of its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub(crate) ranks: Ranks,
    pub(crate) incoming: u64,
    pub(crate) link_idle: Instant,
    pub(crate) fifo_due: Instant,
    pub(crate) client_rpcs: u32,
    /// Number of the engine and the cutoffs it publishes, if it may have learned them.
    pub(crate) cutoffs: Option<(u8, Published)>,
}

/// What an engine is told of the others: their reports joined. The default is that of an engine
/// alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostView {
    pub(crate) ranks: Ranks,
    pub(crate) incoming: u64,
    pub(crate) link_idle: Instant,
    pub(crate) fifo_due: Instant,
    pub(crate) client_rpcs: u32,
    /// Those of the lowest engine.
    pub(crate) cutoffs: Option<(u8, Published)>,
}

impl HostView {
    /// Joins the reports of all engines but the one that the view is for.
    pub fn join<'a>(others: impl IntoIterator<Item = &'a Report>) -> Self {
        let mut view = Self::default();
        for report in others {
            for &rank in report.ranks.as_slice() {
                view.ranks.insert(rank);
            }
            view.incoming = view.incoming.saturating_add(report.incoming);
            view.link_idle = view.link_idle.max(report.link_idle);
            view.fifo_due = view.fifo_due.max(report.fifo_due);
            view.client_rpcs = view.client_rpcs.saturating_add(report.client_rpcs);
            let both = view.cutoffs.into_iter().chain(report.cutoffs);
            view.cutoffs = both.min_by_key(|&(engine, _)| engine);
        }
        view
    }
}

/// What an engine would send next, the most urgent first. Where one thread polls several engines,
/// that with the least goes first: so the messages of a whole host are granted and sent in SRPT
/// order. The share of the oldest message is an engine's own affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A control packet.
    Control,
    /// A GRANT to a message of which so many bytes are missing.
    Grant(u32),
    /// Bytes sent again, a short message, or the announcement of a long one.
    Short,
    /// A message of which so many bytes are to be sent, if the link is idle.
    Long(u32),
    /// Nothing.
    Nothing,
}

impl Engine {
    /// What [`poll_transmit`](Self::poll_transmit) would give out next.
    pub fn urgency(&self) -> Urgency {
        if !self.outbox.is_empty() || self.control.first().is_some() {
            Urgency::Control
        } else if let Some(missing) = self.wants_grant() {
            Urgency::Grant(missing)
        } else if self.resending.first().is_some() || self.send.has_short() {
            Urgency::Short
        } else {
            let long = self.send.fewest_remaining();
            long.map_or(Urgency::Nothing, Urgency::Long)
        }
    }

    /// What the host's other engines should know, as of now.
    pub fn report(&self) -> Report {
        Report {
            ranks: self.granter.ranks(&self.rules),
            incoming: self.granter.incoming(),
            link_idle: self.pacer.idle(),
            fifo_due: self.granter.fifo_due(),
            client_rpcs: self.rpcs.clients(),
            cutoffs: self
                .learner
                .is_some()
                .then_some((self.config.engine, self.published)),
        }
    }

    /// What the host's other engines do. To be told before [`poll_transmit`](Self::poll_transmit);
    /// an engine that is never told is alone.
    pub fn set_host_view(&mut self, view: &HostView) {
        self.granter.set_host_view(view);
        self.pacer.wait_for_link(view.link_idle);
        self.other_client_rpcs = view.client_rpcs;
        self.follow(view);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_eight_of_many_reports_remain() {
        let mut reports = [Report::default(); 4];
        for i in 0..40 {
            reports[i % 4].ranks.insert(((i as u32 * 7) % 41, 0));
            reports[i % 4].incoming += 1;
        }
        let view = HostView::join(&reports);
        assert_eq!(view.ranks.len(), 8);
        let best: [u32; 8] = core::array::from_fn(|i| view.ranks.as_slice()[i].0);
        assert_eq!(best, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(view.incoming, 40);
        assert_eq!(view.ranks.better_than((5, 0)), 5);
    }

    #[test]
    fn of_equal_messages_that_of_the_lower_engine_goes_first() {
        let mut ranks = Ranks::default();
        ranks.insert((100, 1));
        assert_eq!(ranks.better_than((100, 0)), 0);
        assert_eq!(ranks.better_than((100, 2)), 1);
    }

    #[test]
    fn grants_go_before_long_messages_and_fewer_bytes_before_more() {
        let order = [
            Urgency::Control,
            Urgency::Grant(9),
            Urgency::Grant(10),
            Urgency::Short,
            Urgency::Long(1),
            Urgency::Long(2),
            Urgency::Nothing,
        ];
        assert!(order.is_sorted());
    }
}
