//! The law of patience: an RPC whose other end is silent ends within the time that the
//! configuration states.
//!
//! A client asks after `ping_interval_max` at the latest and gives up after `timeout`; a request that
//! waits at home is looked at every `ping_interval_max`. A server waits for its client for
//! `service_silence`, and for an ack for ten timeouts. The law allows twice the times of asking.
//! Where round trips are long, or seemed so because answers were lost, ends wait longer; of those the
//! law says nothing.

use core::time::Duration;

use super::{Key, Laws};

/// Round trips may be taken for so many times what they are, and a peer is given 20 of them.
const WAYS: u64 = 200;

/// How many timeouts a server waits for an ack.
const ACK_TIMEOUTS: u32 = 10;

impl Laws {
    /// An engine handled a packet of `from`.
    pub(super) fn hears(&mut self, now: u64, host: u32, engine: usize, from: u32) {
        self.hosts[host as usize].heard.insert((engine, from), now);
    }

    /// A client's RPC is over without a response.
    pub(super) fn check_patience(&mut self, now: u64, call: u32, engine: usize) {
        let deal = *self.deal(call);
        let it = &self.calls[call as usize];
        let since = it.begun.max(it.request.sent_at);
        let config = &self.configs[deal.client as usize];
        let stated = 2 * (config.timeout + config.ping_interval_max) + 4 * config.resend_interval;
        self.check_silence(now, (deal.client, engine), deal.server, since, stated, call);
    }

    /// A server's RPC is over.
    pub(super) fn check_service_patience(&mut self, now: u64, call: u32, key: Key) {
        let deal = *self.deal(call);
        let since = self.calls[call as usize].response.sent_at;
        let config = &self.configs[deal.server as usize];
        let asking = ACK_TIMEOUTS * config.timeout + 2 * config.ping_interval_max;
        let stated = config.service_silence + asking;
        self.check_silence(now, (deal.server, key.0), deal.client, since, stated, call);
    }

    fn check_silence(
        &mut self,
        now: u64,
        (host, engine): (u32, usize),
        other: u32,
        since: u64,
        stated: Duration,
        call: u32,
    ) {
        let it = &self.hosts[host as usize];
        let heard = it.heard.get(&(engine, other)).copied().unwrap_or(0);
        let paused = it.pauses.iter().map(|&(_, to)| to.min(now)).max();
        let silent = now - since.max(heard).max(paused.unwrap_or(0));
        let timeout = self.configs[host as usize].timeout.as_nanos() as u64;
        let near = self.peace.longest_way(host, other).saturating_mul(WAYS) <= timeout;
        if silent > stated.as_nanos() as u64 && near && !it.has_stalled {
            let seen = format!("host {other} was silent for {silent} ns before the end");
            let law = "an RPC ends within its stated time";
            self.breach(law, now, host, Some(call), seen);
        }
    }
}
