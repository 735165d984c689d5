//! What the engines of one host tell each other. An engine has one owner and shares nothing; the
//! few things that are the host's, not an engine's, are numbers that each engine reports and is
//! told of the others: who is granted, how much is outstanding, when the link is idle.
//!
//! Decides how reports are joined. The host carries them: between two polls on one thread, or
//! through a cache line for each engine on several. Old numbers cost precision, never safety.

use crate::engine::Engine;
use crate::time::Instant;

/// Messages an engine reports, at most: as many as can be active on a host.
const RANKS: usize = 8;

/// Bytes missing of the best messages, fewest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranks {
    remaining: [u32; RANKS],
    count: usize,
}

impl Ranks {
    /// Adds a message, if it is among the best.
    pub(crate) fn insert(&mut self, remaining: u32) {
        let place = self.better_than(remaining);
        if place == RANKS {
            return;
        }
        self.count = (self.count + 1).min(RANKS);
        self.remaining[place..self.count].rotate_right(1);
        self.remaining[place] = remaining;
    }

    /// How many of them have fewer bytes missing.
    pub(crate) fn better_than(&self, remaining: u32) -> usize {
        self.as_slice().partition_point(|&other| other < remaining)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn as_slice(&self) -> &[u32] {
        &self.remaining[..self.count]
    }
}

/// What one engine tells the others of its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub(crate) ranks: Ranks,
    pub(crate) incoming: u64,
    pub(crate) link_idle: Instant,
    pub(crate) fifo_due: Instant,
}

/// What an engine is told of the others: their reports joined. The default is that of an engine
/// alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostView {
    pub(crate) ranks: Ranks,
    pub(crate) incoming: u64,
    pub(crate) link_idle: Instant,
    pub(crate) fifo_due: Instant,
}

impl HostView {
    /// Joins the reports of all engines but the one that the view is for.
    pub fn join<'a>(others: impl IntoIterator<Item = &'a Report>) -> Self {
        let mut view = Self::default();
        for report in others {
            for &remaining in report.ranks.as_slice() {
                view.ranks.insert(remaining);
            }
            view.incoming = view.incoming.saturating_add(report.incoming);
            view.link_idle = view.link_idle.max(report.link_idle);
            view.fifo_due = view.fifo_due.max(report.fifo_due);
        }
        view
    }
}

impl Engine {
    /// What the host's other engines should know, as of now.
    pub fn report(&self) -> Report {
        Report {
            ranks: self.granter.ranks(),
            incoming: self.granter.incoming(),
            link_idle: self.pacer.idle(),
            fifo_due: self.granter.fifo_due(),
        }
    }

    /// What the host's other engines do. To be told before [`poll_transmit`](Self::poll_transmit);
    /// an engine that is never told is alone.
    pub fn set_host_view(&mut self, view: &HostView) {
        self.granter.set_host_view(view);
        self.pacer.wait_for_link(view.link_idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_eight_of_many_reports_remain() {
        let mut reports = [Report::default(); 4];
        for i in 0..40 {
            reports[i % 4].ranks.insert((i as u32 * 7) % 41);
            reports[i % 4].incoming += 1;
        }
        let view = HostView::join(&reports);
        assert_eq!(view.ranks.len(), 8);
        assert_eq!(view.ranks.as_slice(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(view.incoming, 40);
        assert_eq!(view.ranks.better_than(5), 5);
    }
}
