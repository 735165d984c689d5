//! Laws of memory: tables within their limits at all times, and empty in the end. What an engine
//! says of itself is one witness; what crossed its border is another.

use homa_proto::Usage;

use super::{Incoming, Key, Laws};

impl Laws {
    /// Tables within their limits, at all times.
    pub(crate) fn check_limits(&mut self, now: u64, host: u32, engine: usize, usage: &Usage) {
        let it = &mut self.hosts[host as usize];
        it.stalled[engine] = usage.stalled;
        it.has_stalled |= usage.stalled;
        let config = &self.configs[host as usize];
        let limits: [(&str, u64, u64); 7] = [
            (
                "limit: client RPCs",
                usage.client_rpcs.into(),
                config.max_client_rpcs.into(),
            ),
            (
                "limit: server RPCs",
                usage.server_rpcs.into(),
                config.max_server_rpcs.into(),
            ),
            ("limit: peers", usage.peers.into(), config.max_peers.into()),
            ("limit: ranges", usage.ranges.into(), config.max_gaps.into()),
            (
                "limit: tombstone blocks",
                usage.tombstone_blocks.into(),
                config.max_tombstone_blocks.into(),
            ),
            (
                "limit: bytes of the budget",
                usage.budget_used_bytes,
                config.receive_budget_bytes,
            ),
            (
                "limit: active messages",
                usage.active_messages as u64,
                config.overcommitment.into(),
            ),
        ];
        for (what, used, limit) in limits {
            self.check_limit(now, host, what, used, limit);
        }
        if usage.stalled {
            self.met.insert("limit: bytes of the budget");
        }
    }

    fn check_limit(&mut self, now: u64, host: u32, what: &'static str, used: u64, limit: u64) {
        if used == limit {
            self.met.insert(what);
        }
        if used > limit {
            let seen = format!("{what} of {limit}, {used} in use");
            self.breach("memory stays within limits", now, host, None, seen);
        }
    }

    /// An engine took a call of its application.
    pub(super) fn count_calls(&mut self, now: u64, host: u32, engine: usize) {
        let it = &self.hosts[host as usize];
        let used = it.calls.keys().filter(|key| key.0 == engine).count();
        let limit = self.configs[host as usize].max_client_rpcs;
        self.check_limit(now, host, "limit: client RPCs", used as u64, limit.into());
    }

    /// An engine took a request, of `client` if it is known.
    pub(super) fn count_requests(&mut self, now: u64, host: u32, engine: usize, of: u32) {
        let it = &self.hosts[host as usize];
        let config = &self.configs[host as usize];
        let arriving = it.incoming.keys().filter(|key| !it.calls.contains_key(key));
        let all = arriving.chain(it.serving.keys());
        let used = all.filter(|key| key.0 == engine).count();
        let limit = config.max_server_rpcs;
        let limit_per_peer = config.max_server_rpcs_per_peer;
        let peer = |of: u32| {
            let deal = self.deals.get(of as usize / 2)?;
            Some((deal.client, deal.socket))
        };
        let served = it.serving.iter().filter(|(key, _)| key.0 == engine);
        let of_peer = served.filter(|&(_, &other)| peer(of).is_some() && peer(other) == peer(of));
        let of_peer = of_peer.count();
        self.check_limit(now, host, "limit: server RPCs", used as u64, limit.into());
        let what = "limit: server RPCs of a peer";
        self.check_limit(now, host, what, of_peer as u64, limit_per_peer.into());
    }

    /// Bytes of a message were stored under a key.
    pub(super) fn count_bytes(&mut self, now: u64, host: u32, key: Key) {
        let it = &self.hosts[host as usize];
        let config = &self.configs[host as usize];
        let (used, limit) = (it.buffered[key.0], config.receive_budget_bytes);
        let (most, most_each) = (config.max_gaps, config.max_gaps_per_message);
        let gaps = |it: &Incoming| it.bytes.gaps() as u64;
        let own = it.incoming.get(&key).map_or(0, gaps);
        let engines = it.incoming.iter().filter(|(other, _)| other.0 == key.0);
        // Looked at only where one more may be too many.
        let all: u64 = match own {
            0 => 0,
            _ => engines.map(|(_, it)| gaps(it)).sum(),
        };
        self.check_limit(now, host, "limit: bytes of the budget", used, limit);
        self.check_limit(now, host, "limit: gaps of a message", own, most_each.into());
        self.check_limit(now, host, "limit: ranges", all, most.into());
    }

    /// After long enough without calls a host's tables are as at the start.
    pub(crate) fn check_empty(&mut self, now: u64, host: u32, usage: &Usage, waits: bool) {
        let entries = usage.client_rpcs
            + usage.server_rpcs
            + usage.peers
            + usage.ranges
            + usage.tombstone_blocks
            + usage.active_messages as u32
            + u32::from(usage.stalled);
        if entries > 0 || usage.budget_used_bytes + usage.incoming_bytes > 0 {
            let seen = format!("{usage:?}");
            self.breach("all tables return to empty", now, host, None, seen);
        } else if waits {
            let seen = "an empty engine still has a deadline".to_owned();
            self.breach("all tables return to empty", now, host, None, seen);
        }
    }
}
