//! What disturbs a pair of hosts: while nothing does, stricter laws hold for them.

use homa_proto::Config;

use crate::swarm::plan::Plan;

/// A packet that was on its way for longer than this share of a resend interval may look lost.
const LATE_SHARE: u64 = 4;

/// Two hosts.
#[derive(Clone, Copy, Default)]
struct Pair {
    /// Anything ever disturbed them.
    disturbed: bool,
    /// A lie got through.
    lied: bool,
    /// The longest that a packet was on its way, or an answer seemed to be, in nanoseconds.
    longest_way: u64,
}

pub(crate) struct Peace {
    hosts: usize,
    /// Nanoseconds on the way that count as late.
    late: u64,
    pairs: Vec<Pair>,
    /// Whether a host's tables are as large as one would have them.
    ample: Vec<bool>,
    hostile: bool,
}

impl Peace {
    pub(crate) fn new(hosts: usize, configs: &[Config], plan: &Plan) -> Self {
        let shortest = configs.iter().map(|config| config.resend_interval).min();
        Self {
            hosts,
            late: shortest.map_or(0, |it| it.as_nanos() as u64) / LATE_SHARE,
            pairs: vec![Pair::default(); hosts * hosts],
            ample: configs.iter().map(is_ample).collect(),
            hostile: plan.hostile.is_some(),
        }
    }

    fn place(&self, a: u32, b: u32) -> usize {
        a.min(b) as usize * self.hosts + a.max(b) as usize
    }

    pub(crate) fn disturbed(&mut self, _now: u64, a: u32, b: u32) {
        let place = self.place(a, b);
        if let Some(pair) = self.pairs.get_mut(place) {
            pair.disturbed = true;
        }
    }

    pub(crate) fn lie(&mut self, a: u32, b: u32) {
        let place = self.place(a, b);
        if let Some(pair) = self.pairs.get_mut(place) {
            (pair.disturbed, pair.lied) = (true, true);
        }
    }

    /// A packet arrived so many nanoseconds after it was sent.
    pub(crate) fn took(&mut self, a: u32, b: u32, nanoseconds: u64) {
        let place = self.place(a, b);
        if let Some(pair) = self.pairs.get_mut(place) {
            pair.longest_way = pair.longest_way.max(nanoseconds);
        }
        if nanoseconds > self.late {
            self.disturbed(0, a, b);
        }
    }

    /// A BUSY arrived: where the question before it was lost, its way seems long.
    pub(crate) fn answered(&mut self, a: u32, b: u32) {
        let place = self.place(a, b);
        if let Some(pair) = self.pairs.get_mut(place).filter(|pair| pair.disturbed) {
            pair.longest_way = u64::MAX;
        }
    }

    /// The longest that a packet was, or seemed to be, on its way between two hosts.
    pub(crate) fn longest_way(&self, a: u32, b: u32) -> u64 {
        let pair = self.pairs.get(self.place(a, b));
        pair.map_or(u64::MAX, |pair| pair.longest_way)
    }

    pub(crate) fn lied(&self, a: u32, b: u32) -> bool {
        self.pairs
            .get(self.place(a, b))
            .is_some_and(|pair| pair.lied)
    }

    /// Whether nothing ever disturbed the two.
    pub(crate) fn is_calm(&self, a: u32, b: u32) -> bool {
        let pair = self.pairs.get(self.place(a, b));
        let all_ample = self.ample.iter().all(|&ample| ample);
        all_ample && !self.hostile && pair.is_some_and(|pair| !pair.disturbed)
    }

    /// Whether a host never has to refuse for want of room, nor because it started just now.
    pub(crate) fn is_ample(&self, host: u32) -> bool {
        self.ample[host as usize]
    }
}

fn is_ample(config: &Config) -> bool {
    let defaults = Config::default();
    config.max_client_rpcs == defaults.max_client_rpcs
        && config.max_server_rpcs == defaults.max_server_rpcs
        && config.max_server_rpcs_per_peer == defaults.max_server_rpcs_per_peer
        && config.max_peers == defaults.max_peers
        && config.max_gaps == defaults.max_gaps
        && config.max_gaps_per_message == defaults.max_gaps_per_message
        && config.max_tombstone_blocks == defaults.max_tombstone_blocks
        && config.receive_budget_bytes == defaults.receive_budget_bytes
        && config.quiet_start.is_zero()
}
