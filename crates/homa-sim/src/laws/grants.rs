//! Laws of granting: what is outstanding stays within its limit, and grants go to the messages
//! with the fewest bytes missing.

use std::collections::BTreeMap;

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
    suspects: Vec<Suspect>,
}

/// A GRANT that breaks a law, unless a message is over of which the application will only be told.
#[derive(Clone, Debug)]
struct Suspect {
    law: &'static str,
    call: u32,
    seen: String,
    /// What speaks against it: messages, and how much each counts.
    against: Vec<(u32, u64)>,
    /// How much may count against it.
    limit: u64,
}

impl Laws {
    fn message_mut(&mut self, of: u32) -> &mut super::Message {
        self.calls[of as usize / 2].message(of & 1 == 1)
    }

    pub(super) fn message_ref(&self, of: u32) -> &super::Message {
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
        if !fifo {
            self.check_rank(now, host, of, step);
            self.check_overcommitment(now, host, of);
        }
        let message = self.message_mut(of);
        message.granted = message.granted.max(offset);
        self.joins_granting(host, of);
        if fifo {
            self.hosts[host as usize].grants.fifo_at = Some(now);
        } else {
            self.check_outstanding(now, host, of);
        }
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
            self.suspect(host, "grants follow SRPT", of, seen, vec![(other, 1)], 0);
        }
    }

    fn suspect(
        &mut self,
        host: u32,
        law: &'static str,
        of: u32,
        seen: String,
        against: Vec<(u32, u64)>,
        limit: u64,
    ) {
        let suspects = &mut self.hosts[host as usize].grants.suspects;
        suspects.push(Suspect {
            law,
            call: of / 2,
            seen,
            against,
            limit,
        });
    }

    /// After a host was drained, when it is known which messages are over.
    pub(crate) fn settle_grants(&mut self, now: u64, host: u32) {
        for suspect in core::mem::take(&mut self.hosts[host as usize].grants.suspects) {
            let live = suspect
                .against
                .iter()
                .filter(|&&(of, _)| !self.message_ref(of).over);
            if live.map(|&(_, count)| count).sum::<u64>() > suspect.limit {
                self.breach(suspect.law, now, host, Some(suspect.call), suspect.seen);
            }
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
        let senders: BTreeMap<u32, u32> = known
            .filter(better)
            .map(|&other| (self.sender(other), other))
            .filter(|&(sender, _)| sender != self.sender(of))
            .collect();
        if senders.len() >= most {
            let seen = format!(
                "message {of} misses {granted} bytes and is granted, {} senders have messages that \
                 miss fewer, the limit is {most}",
                senders.len()
            );
            let law = "no more messages are granted than overcommitment allows";
            let against = senders.into_values().map(|other| (other, 1)).collect();
            self.suspect(host, law, of, seen, against, most as u64 - 1);
        }
    }

    /// After a GRANT that is not the oldest message's: what the whole host has outstanding.
    fn check_outstanding(&mut self, now: u64, host: u32, of: u32) {
        let config = &self.configs[host as usize];
        let patience = config.resend_interval.as_nanos() as u64;
        let short = config.grant_patience.map(|it| it.as_nanos() as u64);
        let mut known = core::mem::take(&mut self.hosts[host as usize].grants.known);
        known.retain(|&of| !self.message_ref(of).over);
        let mut against = Vec::new();
        for &other in &known {
            let exempt = self.is_exempt_call(other / 2);
            let message = self.message_mut(other);
            let end = message.stored.max(message.unasked);
            let outstanding = message.granted.saturating_sub(end);
            if outstanding > 0 && now - message.heard >= patience {
                message.silent = true;
            }
            let busy = short.is_some_and(|short| now - message.heard >= short);
            // What fell silent gives its share back, and comes back with it.
            if outstanding > 0 && !message.silent && !busy && !exempt {
                against.push((other, u64::from(outstanding)));
            }
        }
        self.hosts[host as usize].grants.known = known;
        let limit = u64::from(self.configs[host as usize].max_incoming_bytes);
        let total: u64 = against.iter().map(|&(_, bytes)| bytes).sum();
        if total + u64::from(self.segment) > limit {
            self.met.insert("limit: bytes outstanding");
        }
        if total > limit {
            let seen =
                format!("{total} bytes outstanding after a GRANT, limit {limit}: {against:?}");
            let law = "outstanding bytes stay within max_incoming";
            self.suspect(host, law, of, seen, against, limit);
        }
    }
}

/// The highest level that scheduled packets may have.
pub(super) fn top_scheduled(config: &homa_proto::Config) -> u8 {
    let Some(cutoffs) = config.cutoffs else {
        // Of learned cutoffs it is known that one level is left for unscheduled packets.
        return config.priorities.saturating_sub(2);
    };
    let levels = &cutoffs[..usize::from(config.priorities)];
    let unlimited = levels.iter().rposition(|&cutoff| cutoff >= 1_000_000);
    (unlimited.unwrap_or(0) as u8).saturating_sub(1)
}
