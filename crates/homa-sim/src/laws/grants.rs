//! Laws of granting: what is outstanding stays within its limit, and grants go to the messages
//! with the fewest bytes missing.

use std::collections::BTreeSet;

use super::{Laws, message};

/// Steps below this may go to a message only because a better one could use no grant so small.
const SMALL_STEP_BYTES: u32 = 10_000;

/// What a host has granted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Granting {
    /// Messages of which bytes came and which are not over.
    known: Vec<u32>,
    /// When the last FIFO grant was, if there was one.
    fifo_at: Option<u64>,
    /// A GRANT was sent since the host was last drained.
    granted: bool,
}

impl Laws {
    fn message_mut(&mut self, of: u32) -> &mut super::Message {
        self.calls[of as usize / 2].message(of & 1 == 1)
    }

    fn message_ref(&self, of: u32) -> &super::Message {
        let call = &self.calls[of as usize / 2];
        if of & 1 == 1 {
            &call.response
        } else {
            &call.request
        }
    }

    pub(super) fn joins_granting(&mut self, host: u32, of: u32) {
        let known = &mut self.hosts[host as usize].grants.known;
        if !known.contains(&of) {
            known.push(of);
        }
    }

    pub(super) fn leaves_granting(&mut self, of: u32) {
        self.message_mut(of).over = true;
    }

    /// DATA tells its receiver what comes unasked.
    pub(super) fn note_unasked(&mut self, host: u32, of: u32, incoming: u32) {
        let most = self.configs[host as usize].unscheduled_bytes;
        let message = self.message_mut(of);
        message.unasked = message.unasked.max(incoming.min(most));
    }

    /// A host sent a GRANT.
    pub(super) fn granted(&mut self, now: u64, host: u32, call: u32, offset: u32, level: u8) {
        let deal = *self.deal(call);
        let of = message(call, deal.client == host);
        let config = &self.configs[host as usize];
        let fifo_level = config.priorities.saturating_sub(2);
        let rate = config.link_bits_per_second.unwrap_or(25_000_000_000);
        let share = u128::from(rate) * u128::from(config.fifo_grant_permille) / 1_000;
        let interval = (u128::from(config.fifo_grant_bytes) * 8_000_000_000).checked_div(share);
        let (increment, top) = (config.fifo_grant_bytes, top_scheduled(config));
        let grants = &self.hosts[host as usize].grants;
        // Where FIFO grants and others have one level, every one counts as FIFO.
        let paced = top >= fifo_level
            || interval.is_some_and(|interval| {
                grants
                    .fifo_at
                    .is_none_or(|at| u128::from(now - at) >= interval)
            });
        let it = self.message_ref(of);
        let before = it.granted.max(it.unasked).max(it.stored_end);
        let step = offset.saturating_sub(before);
        let fifo = level == fifo_level && paced && (step <= increment || top >= fifo_level);
        if fifo {
            self.hosts[host as usize].grants.fifo_at = Some(now);
        } else {
            self.check_rank(now, host, of, step);
            self.check_overcommitment(now, host, of);
        }
        let message = self.message_mut(of);
        message.granted = message.granted.max(offset);
        message.fifo += if fifo { step } else { 0 };
        self.joins_granting(host, of);
        self.hosts[host as usize].grants.granted = true;
    }

    /// No message that never was granted is passed over by one that misses more bytes, unless its
    /// sender holds grants anyway.
    fn check_rank(&mut self, now: u64, host: u32, of: u32, step: u32) {
        let granted = self.message_ref(of);
        let missing = granted.length - granted.stored.min(granted.length);
        // A step that small may be left to a message that is content with it.
        let small = self.configs[host as usize].max_incoming_bytes / 8;
        if self.is_exempt_call(of / 2) || step < small.min(SMALL_STEP_BYTES) {
            return;
        }
        let patience = self.configs[host as usize].resend_interval.as_nanos() as u64;
        let sender = |of: u32| self.sender(of);
        let known = &self.hosts[host as usize].grants.known;
        let holds = |from: u32| {
            known.iter().any(|&other| {
                let it = self.message_ref(other);
                sender(other) == from && !it.over && it.granted > 0 && it.granted < it.length
            })
        };
        let passed = known.iter().copied().find(|&other| {
            let it = self.message_ref(other);
            // With bytes outstanding it may have all that its window allows.
            let end = it.unasked.max(it.stored_end);
            let waits = !it.over && it.granted == 0 && end < it.length && end <= it.stored;
            waits
                && now - it.heard < patience
                && it.length - it.stored < missing
                && !self.is_exempt_call(other / 2)
                && (sender(other) == sender(of) || !holds(sender(other)))
        });
        if let Some(other) = passed {
            let it = self.message_ref(other);
            let seen = format!(
                "message {of} misses {missing} bytes and is granted {step}, message {other} misses \
                 {} and never was granted",
                it.length - it.stored
            );
            let law = "grants follow SRPT";
            self.breach(law, now, host, Some(of / 2), seen);
        }
    }

    /// The host that sends a message.
    fn sender(&self, of: u32) -> u32 {
        let deal = &self.deals[of as usize / 2];
        if of & 1 == 1 {
            deal.server
        } else {
            deal.client
        }
    }

    /// A message is granted only if fewer than `overcommitment` other senders have messages that are
    /// closer to their end and want grants, at whatever engines of the host.
    fn check_overcommitment(&mut self, now: u64, host: u32, of: u32) {
        let config = &self.configs[host as usize];
        let patience = config.resend_interval.as_nanos() as u64;
        let most = usize::from(config.overcommitment);
        if self.is_exempt_call(of / 2) || !self.peace.is_ample(host) {
            return;
        }
        let missing = |it: &super::Message| it.length - it.stored.min(it.length);
        let granted = missing(self.message_ref(of));
        let better = |&&other: &&u32| {
            let it = self.message_ref(other);
            let wants = it.granted.max(it.unasked).max(it.stored_end) < it.length;
            let heard = !it.silent && now - it.heard < patience;
            wants && heard && !it.over && missing(it) < granted && !self.is_exempt_call(other / 2)
        };
        let known = self.hosts[host as usize].grants.known.iter();
        let senders: BTreeSet<u32> = known
            .filter(better)
            .map(|&other| self.sender(other))
            .filter(|&sender| sender != self.sender(of))
            .collect();
        if senders.len() >= most {
            let seen = format!(
                "message {of} misses {granted} bytes and is granted, {} senders have messages that \
                 miss fewer, the limit is {most}",
                senders.len()
            );
            let law = "no more messages are granted than overcommitment allows";
            self.breach(law, now, host, Some(of / 2), seen);
        }
    }

    /// After a host was drained: its outstanding bytes.
    pub(crate) fn check_outstanding(&mut self, now: u64, host: u32) {
        let it = &self.hosts[host as usize].grants;
        if !it.granted {
            return;
        }
        let patience = self.configs[host as usize].resend_interval.as_nanos() as u64;
        let mut known = core::mem::take(&mut self.hosts[host as usize].grants.known);
        self.hosts[host as usize].grants.granted = false;
        known.retain(|&of| !self.message_ref(of).over);
        let (mut ordinary, mut total) = (0_u64, 0_u64);
        for &of in &known {
            let exempt = self.is_exempt_call(of / 2);
            let message = self.message_mut(of);
            let end = message.stored.max(message.unasked);
            let outstanding = message.granted.saturating_sub(end);
            if outstanding > 0 && now - message.heard >= patience {
                message.silent = true;
            }
            // What fell silent gives its share back, and comes back with it.
            if message.silent || exempt {
                continue;
            }
            total += u64::from(outstanding);
            ordinary += u64::from(outstanding.saturating_sub(message.fifo));
        }
        self.hosts[host as usize].grants.known = known;
        let limit = u64::from(self.configs[host as usize].max_incoming_bytes);
        if ordinary > limit && self.is_strict(host) {
            let seen = format!("{ordinary} bytes outstanding ({total} with FIFO), limit {limit}");
            let law = "outstanding bytes stay within max_incoming";
            self.breach(law, now, host, None, seen);
        }
    }

    /// Whether what a host has outstanding can be told: nothing it receives was revived.
    fn is_strict(&self, host: u32) -> bool {
        !self.hosts[host as usize].down
    }
}

/// The highest level of scheduled packets.
pub(super) fn top_scheduled(config: &homa_proto::Config) -> u8 {
    let levels = &config.cutoffs[..usize::from(config.priorities)];
    let unlimited = levels.iter().rposition(|&cutoff| cutoff >= 1_000_000);
    (unlimited.unwrap_or(0) as u8).saturating_sub(1)
}
