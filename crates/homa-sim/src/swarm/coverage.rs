//! What a run reached: counters of the engine, ends of RPCs, limits of tables, faults.

use std::collections::BTreeMap;

use homa_proto::wire::Malformed;
use homa_proto::{Counters, Event};

use super::agent::failure_name;
use crate::agent::Drop;
use crate::fault::Loss;
use crate::laws::{LIMITS, TRANSITIONS};

/// Names of what was reached, or can be, and how often: by events in a run, by seeds in many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    reached: BTreeMap<&'static str, u64>,
}

impl Default for Coverage {
    /// Nothing of all that can be.
    fn default() -> Self {
        let mut coverage = Self {
            reached: BTreeMap::new(),
        };
        coverage.counters(&Counters::default());
        for name in TRANSITIONS.into_iter().chain(LIMITS).chain(ENDS) {
            coverage.add(name, 0);
        }
        coverage
    }
}

/// Causes that a call can fail for.
const ENDS: [&str; 9] = [
    "failed: refused",
    "failed: unreachable",
    "failed: timed out",
    "failed: outcome unknown",
    "failed: deadline exceeded",
    "failed: dropped",
    "failed: overloaded",
    "failed: response too long",
    "failed: aborted",
];

/// What no run counts: hosts give their applications no deadline, since a law could not tell then
/// which requests were dropped for a reason.
const NEVER: [&str; 1] = ["requests_overdue"];

impl Coverage {
    /// Something was reached.
    pub(crate) fn reach(&mut self, name: &'static str) {
        *self.reached.entry(name).or_default() += 1;
    }

    fn add(&mut self, name: &'static str, count: u64) {
        *self.reached.entry(name).or_default() += count;
    }

    pub(crate) fn counters(&mut self, counters: &Counters) {
        for (name, count) in counters.iter().filter(|it| !NEVER.contains(&it.0)) {
            self.add(name, count);
        }
        for reason in Malformed::ALL {
            let count = counters.malformed[reason.index()];
            self.add(malformed_name(reason), count);
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        if let Event::Failed { failure, .. } = event {
            self.reach(failure_name(*failure));
        }
    }

    pub(crate) fn dropped(&mut self, why: Drop) {
        self.reach(match why {
            Drop::Fault(Loss::Chance) => "lost: by chance",
            Drop::Fault(Loss::Partition) => "lost: partition",
            Drop::Fault(Loss::TooLong { told: true }) => "lost: too long, sender told",
            Drop::Fault(Loss::TooLong { .. }) => "lost: too long, in silence",
            Drop::Buffer => "lost: no buffer in a switch",
            Drop::Queue => "lost: no room at the sender",
            Drop::Damaged => "lost: damaged",
            Drop::NoHost => "lost: host down",
            Drop::NoSocket => "lost: no such port",
        });
    }

    /// Limits that were reached.
    pub(crate) fn limits(&mut self, met: impl Iterator<Item = &'static str>) {
        met.for_each(|name| self.reach(name));
    }

    /// Counts a run into the sum of many: one for each thing that it reached.
    pub(crate) fn count_run(&mut self, run: &Self) {
        for (&name, &count) in &run.reached {
            self.add(name, u64::from(count > 0));
        }
    }

    /// Adds the counts of another sum.
    pub fn merge(&mut self, other: &Self) {
        for (&name, &count) in &other.reached {
            self.add(name, count);
        }
    }

    /// What fewer than `least` reached, with how many did.
    pub fn scarce(&self, least: u64) -> Vec<(&'static str, u64)> {
        self.iter().filter(|&(_, count)| count < least).collect()
    }

    /// Everything that can be reached, by name, and how often it was.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.reached.iter().map(|(&name, &count)| (name, count))
    }
}

fn malformed_name(reason: Malformed) -> &'static str {
    match reason {
        Malformed::Truncated => "malformed: truncated",
        Malformed::UnknownType(_) => "malformed: unknown type",
        Malformed::Priority(_) => "malformed: priority",
        Malformed::EmptyMessage => "malformed: empty message",
        Malformed::EmptyPayload => "malformed: empty payload",
        Malformed::OutsideMessage => "malformed: outside message",
        Malformed::EmptyRange => "malformed: empty range",
        Malformed::NegativeRange => "malformed: negative range",
        Malformed::RangeOverflow => "malformed: range overflow",
    }
}
