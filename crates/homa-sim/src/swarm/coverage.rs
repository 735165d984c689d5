//! What a run reached: counters of the engine, ends of RPCs, limits of tables, faults.

use std::collections::BTreeMap;

use homa_proto::wire::Malformed;
use homa_proto::{Config, Counters, Event, Usage};

use super::agent::failure_name;
use crate::fault::Loss;
use crate::world::Drop;

/// Names of what was reached, or can be, and how often: by events in a run, by seeds in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    reached: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Something was reached.
    pub(crate) fn reach(&mut self, name: &'static str) {
        *self.reached.entry(name).or_default() += 1;
    }

    fn add(&mut self, name: &'static str, count: u64) {
        *self.reached.entry(name).or_default() += count;
    }

    fn reach_if(&mut self, condition: bool, name: &'static str) {
        self.add(name, u64::from(condition));
    }

    pub(crate) fn counters(&mut self, counters: &Counters) {
        for (name, count) in counters.iter() {
            self.add(name, count);
        }
        for reason in Malformed::ALL {
            let count = counters.malformed[reason.index()];
            self.add(malformed_name(reason), count);
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        self.reach(match event {
            Event::Request { .. } => "ended: request delivered",
            Event::Response { .. } => "ended: response delivered",
            Event::Failed { failure, .. } => failure_name(*failure),
            Event::Ended {
                delivered: true, ..
            } => "ended: server RPC, delivered",
            Event::Ended { .. } => "ended: server RPC, not delivered",
        });
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

    pub(crate) fn usage(&mut self, usage: &Usage, config: &Config) {
        self.reach_if(usage.stalled, "limit: receive budget");
        self.reach_if(
            usage.client_rpcs == config.max_client_rpcs,
            "limit: client RPCs",
        );
        self.reach_if(
            usage.server_rpcs == config.max_server_rpcs,
            "limit: server RPCs",
        );
        self.reach_if(usage.peers == config.max_peers, "limit: peers");
        self.reach_if(usage.ranges == config.max_gaps, "limit: gaps");
        self.reach_if(
            usage.tombstone_blocks == config.max_tombstone_blocks,
            "limit: tombstones",
        );
        self.reach_if(
            usage.active_messages == usize::from(config.overcommitment),
            "limit: active messages",
        );
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
