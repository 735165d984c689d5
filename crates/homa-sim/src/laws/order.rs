//! The laws of sending: fewest bytes remaining first, but for the share of the oldest; and no more
//! than the link can take.

use super::header::Data;
use super::{Header, Laws, Says};
use crate::agent::Leaving;
use crate::packet::Packet;
use crate::swarm::plan::{OTHER_PORT, PORT};

/// A share that was not used is not saved up beyond this.
const DEBT_FLOOR_BYTES: i64 = 65_507;

/// What a host sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sending {
    /// Messages that may have bytes to send.
    ready: Vec<u32>,
    /// When the link has sent all that it was given.
    idle_at: u64,
    /// Bytes sent of messages that were not the best, times 1,000, less the share allowed.
    debt: i64,
    /// Bursts out of order since the host was last drained: the message that was passed over, and
    /// what that would cost.
    suspects: Vec<(u32, u32, i64)>,
}

impl Laws {
    /// The sender of a message was told that it may send, or has more of it to send.
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

    /// Whether a host could send more of a message, as far as the law can know. Requests that were
    /// not begun may wait at home because enough are on their way.
    fn is_sendable(&self, now: u64, host: u32, of: u32) -> bool {
        let call = &self.calls[of as usize / 2];
        let it = self.message_ref(of);
        if it.doubtful || it.is_short || call.end.is_some() || call.crashed {
            return false;
        }
        let begun = if of & 1 == 1 {
            // A response may wait until its client has proven its address, and a late GRANT may
            // come for one that is over.
            let deal = self.deal(of / 2);
            let port = [PORT, OTHER_PORT][deal.socket];
            let engine = call.serving.filter(|_| call.replied);
            engine.is_some_and(|engine| self.is_proven(now, host, engine, deal.client, port))
        } else {
            it.sent > 0
        };
        // Loss takes a sender's share of its unscheduled bytes down to a sixteenth, in segments.
        let config = &self.configs[host as usize];
        let mut least = config.unscheduled_bytes / 16;
        if of & 1 == 1 {
            // Of a response to a marked request less may go unasked.
            least = least.min(config.incast_unscheduled_bytes);
        }
        let least = least / self.segment * self.segment;
        let end = it.granted_here.max(it.promised).max(least).max(1);
        begun && it.sent < end.min(it.length)
    }

    /// DATA leaves: was another message to go before it?
    pub(super) fn check_order(
        &mut self,
        now: u64,
        leaving: &Leaving,
        packet: &Packet,
        header: &Header,
    ) {
        let Says::Data(data) = header.says else {
            return;
        };
        let host = packet.from;
        let end = data.offset + packet.payload_bytes;
        // A long message is announced by its first segment.
        let announced = data.offset == 0 && leaving.count == 1 && data.incoming == end;
        let announced = announced && end < data.length;
        // What is sent again, short messages and announcements have their own place.
        if data.retransmit || leaving.index > 0 || announced || self.is_short(host, data.length) {
            return;
        }
        let bytes = leaving.burst_bytes as i64;
        let share = i64::from(self.configs[host as usize].pacer_fifo_permille);
        let remaining = data.length - data.offset;
        let mut ready = core::mem::take(&mut self.hosts[host as usize].order.ready);
        ready.retain(|&of| self.message_ref(of).sent < self.message_ref(of).length);
        let passed = ready.iter().copied().find(|&of| {
            let it = self.message_ref(of);
            of != packet.message
                && it.length - it.sent < remaining
                && self.is_sendable(now, host, of)
        });
        let order = &mut self.hosts[host as usize].order;
        order.ready = ready;
        order.debt = (order.debt - share * bytes).max(-1_000 * DEBT_FLOOR_BYTES);
        if let Some(passed) = passed {
            order.suspects.push((packet.message, passed, 1_000 * bytes));
        }
    }

    /// Messages of one small packet go ahead of the order.
    pub(super) fn is_short(&self, host: u32, length: u32) -> bool {
        length < self.configs[host as usize].short_message_bytes && length <= self.segment
    }

    /// A burst leaves: has the link sent what it was given before, but for what the pacer may be
    /// ahead? What is sent again and short messages are counted but do not wait.
    pub(super) fn check_pace(&mut self, now: u64, leaving: &Leaving, packet: &Packet, data: &Data) {
        let host = packet.from;
        let config = &self.configs[host as usize];
        let (backlog, overhead) = (
            config.pacer_backlog.as_nanos() as u64,
            config.packet_overhead_bytes,
        );
        let Some(rate) = config.link_bits_per_second else {
            return;
        };
        let waits = !data.retransmit && leaving.index == 0 && !self.is_short(host, data.length);
        let wire_bytes = u64::from(packet.length() + overhead);
        let order = &mut self.hosts[host as usize].order;
        let idle_at = order.idle_at;
        order.idle_at = idle_at.max(now) + wire_bytes * 8_000_000_000 / rate;
        if waits && idle_at > now + backlog {
            let seen = format!(
                "the link is busy for {} ns when a burst leaves",
                idle_at - now
            );
            let law = "the link is given no more than it can send";
            self.breach(law, now, host, None, seen);
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
                self.breach(
                    "sending follows SRPT",
                    now,
                    host,
                    [of / 2, passed / 2],
                    seen,
                );
            }
        }
    }
}
