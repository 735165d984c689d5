//! The law of sending order: fewest bytes remaining first, but for the share of the oldest.

use super::{Header, Laws, Says};
use crate::packet::Packet;
use crate::swarm::plan::{OTHER_PORT, PORT};
use crate::world::Leaving;

/// A share that was not used is not saved up beyond this.
const DEBT_FLOOR_BYTES: i64 = 65_507;

/// What a host sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sending {
    /// Messages that were granted more than they have sent, as far as the law knows.
    ready: Vec<u32>,
    /// Bytes sent of messages that were not the best, times 1,000, less the share allowed.
    debt: i64,
    /// Bursts out of order since the host was last drained: the message that was passed over, and
    /// what that would cost.
    suspects: Vec<(u32, u32, i64)>,
}

impl Laws {
    /// A GRANT reached the sender of a message.
    pub(super) fn may_send(&mut self, host: u32, of: u32) {
        let it = &mut self.hosts[host as usize].order;
        if !it.ready.contains(&of) {
            it.ready.push(of);
        }
    }

    /// A message is over for its sender.
    pub(super) fn sending_over(&mut self, host: u32, of: u32) {
        let it = &mut self.hosts[host as usize].order;
        it.ready.retain(|&other| other != of);
        it.suspects.retain(|&(_, passed, _)| passed != of);
    }

    /// DATA leaves: was another message to go before it?
    pub(super) fn check_order(
        &mut self,
        _now: u64,
        leaving: &Leaving,
        packet: &Packet,
        header: &Header,
    ) {
        let Says::Data(data) = header.says else {
            return;
        };
        let host = packet.from as usize;
        let config = &self.configs[host];
        let short = data.length < config.short_message_bytes && data.length <= self.segment;
        // What is sent again, short messages and announcements have their own place.
        if data.retransmit || short || leaving.index > 0 || data.offset == 0 {
            return;
        }
        let bytes = leaving.burst_bytes as i64;
        let share = i64::from(config.pacer_fifo_permille);
        let remaining = data.length - data.offset;
        let mut ready = core::mem::take(&mut self.hosts[host].order.ready);
        let is_ready = |laws: &Self, of: u32| {
            let call = &laws.calls[of as usize / 2];
            let it = if of & 1 == 1 {
                &call.response
            } else {
                &call.request
            };
            // Responses may wait until their client has proven its address.
            let deal = laws.deal(of / 2);
            let port = [PORT, OTHER_PORT][deal.socket];
            let state = &laws.hosts[host];
            let mut served = state.serving.iter();
            let found = served.find(|&(_, &request)| request == of ^ 1);
            let proven = |engine| state.proven.contains(&(engine, deal.client, port));
            // A late GRANT may come for a response that is over.
            let may_go = of & 1 == 0 || found.is_some_and(|(&(engine, _), _)| proven(engine));
            it.granted_here > it.sent
                && !it.doubtful
                && may_go
                && call.end.is_none()
                && !call.crashed
        };
        ready.retain(|&of| is_ready(self, of));
        let passed = ready.iter().copied().find(|&of| {
            let call = &self.calls[of as usize / 2];
            let it = if of & 1 == 1 {
                &call.response
            } else {
                &call.request
            };
            of != packet.message && it.sent > 0 && it.length - it.sent < remaining
        });
        let order = &mut self.hosts[host].order;
        order.ready = ready;
        order.debt = (order.debt - share * bytes).max(-1_000 * DEBT_FLOOR_BYTES);
        if let Some(passed) = passed {
            order.suspects.push((packet.message, passed, 1_000 * bytes));
        }
    }

    /// After a host was drained, when it is known which messages are over.
    pub(crate) fn settle_order(&mut self, now: u64, host: u32) {
        let segment = i64::from(self.segment);
        let config = &self.configs[host as usize];
        // Each engine has an oldest message, and may be a burst ahead with its share.
        let bursts = 1 + self.engines[host as usize] as i64;
        let slack = 1_000 * bursts * i64::from(config.burst_bytes).max(segment + 56);
        let order = &mut self.hosts[host as usize].order;
        let Some(&(of, passed, _)) = order.suspects.last() else {
            return;
        };
        order.debt += order.suspects.drain(..).map(|(.., cost)| cost).sum::<i64>();
        if order.debt > slack {
            let seen = format!(
                "message {of} goes before message {passed}, which has fewer bytes left; {} bytes \
                 beyond the share of the oldest",
                order.debt / 1_000
            );
            let exempt = self.is_exempt_call(of / 2) || self.is_exempt_call(passed / 2);
            if !exempt {
                self.breach("sending follows SRPT", now, host, Some(of / 2), seen);
            }
        }
    }
}
