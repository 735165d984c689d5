//! What goes out next: control packets, then grants, then what is wanted again, then new bytes in
//! SRPT order under the pacer. Each part is asked in turn; here DATA and GRANT are made.

use core::ops::Range;

use crate::api::RpcKey;
use crate::burst::{Burst, MAX_BURST_PACKETS, Payload};
use crate::config::Config;
use crate::cutoffs::unscheduled_priority;
use crate::engine::Engine;
use crate::grant::Decision;
use crate::owed::Owed;
use crate::pacer::Pacer;
use crate::peer::Peer;
use crate::rpc::{Pending, Rpc, ServerRpc, State};
use crate::srpt::Precedence;
use crate::time::Instant;
use crate::turn::Left;
use crate::wire::{Body, DATA_HEADER_BYTES, Data, Grant, Priority};

const DATA_HEADER: u32 = DATA_HEADER_BYTES as u32;

/// Bytes of a burst that are worth waiting for where its link is slow: one segment always goes.
struct Limits {
    bytes: usize,
    packets: usize,
}

impl Limits {
    #[inline]
    fn of(config: &Config, pacer: &Pacer) -> Self {
        let bytes = config.burst_bytes as usize;
        let paced = pacer
            .burst_bytes()
            .and_then(|bytes| usize::try_from(bytes).ok());
        Self {
            bytes: paced.map_or(bytes, |paced| paced.min(bytes)),
            packets: usize::from(config.burst_packets).min(MAX_BURST_PACKETS),
        }
    }
}

/// What of a message goes in one packet.
struct Segment {
    message_length: u32,
    bytes: Range<u32>,
    /// End of what is sent unasked.
    incoming: u32,
    retransmit: bool,
}

impl Segment {
    /// All of a message of `length` bytes, for the first time.
    #[inline]
    const fn whole(length: u32) -> Self {
        Self {
            message_length: length,
            bytes: 0..length,
            incoming: length,
            retransmit: false,
        }
    }
}

/// What became of a short message whose turn it was.
enum Short {
    /// It is in the burst, to this peer.
    Added(u32),
    /// It is not to be sent.
    Gone,
    /// It does not go with this burst, nor does what follows it.
    Behind,
}

impl Engine {
    /// Whether [`poll_transmit`](Self::poll_transmit) has nothing, as after most words to an engine
    /// with short messages: a few comparisons. `false` says nothing.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.send.is_empty()
            && self.control.first().is_none()
            && self.granter.is_settled()
            && self.resending.first().is_none()
            && self.outbox.is_empty()
    }

    /// Fills `burst` with what goes next; `false`: nothing now. To be called until then.
    pub fn poll_transmit(&mut self, now: Instant, burst: &mut Burst) -> bool {
        let was_quiet = self.is_quiet();
        let any = self.poll_outbox(burst)
            || self.poll_control(burst)
            || self.poll_grant(now, burst)
            || self.poll_resend(burst)
            || self.poll_short(now, burst)
            || self.poll_long(now, burst)
            // A message that may not go without a proof has just asked for it.
            || self.poll_control(burst);
        debug_assert!(!(any && was_quiet), "a quiet engine has nothing to send");
        if any {
            self.counters.packets_sent += burst.segments() as u64;
            // Control packets are few but never wait: what they take, DATA must not take again.
            self.pacer.charge(now, burst.segments(), burst.bytes());
        }
        any
    }

    // ---- grants

    #[inline]
    fn poll_grant(&mut self, now: Instant, burst: &mut Burst) -> bool {
        !self.granter.is_settled() && self.send_grant(now, burst)
    }

    fn send_grant(&mut self, now: Instant, burst: &mut Burst) -> bool {
        while let Some(decision) = self.next_grant(now) {
            let index = decision.rpc;
            if let Some(inbound) = self.rpcs.inbound(index) {
                inbound.granted = inbound.granted.max(decision.offset);
            }
            // From now on the sender owes us something.
            self.rpcs[index].progress.wait_from(now);
            self.watch(now, index);
            burst.start(self.path_of(index), self.control_priority());
            let body = Body::Grant(Grant {
                offset: decision.offset,
                priority: decision.priority,
            });
            self.emit_answer(index, body, burst);
            if !burst.is_empty() {
                self.counters.fifo_grants_sent += u64::from(decision.fifo);
                return true;
            }
        }
        false
    }

    fn next_grant(&mut self, now: Instant) -> Option<Decision> {
        let (rpcs, peers) = (&self.rpcs, &self.peers);
        let share = |rpc: u32, window: u32| peers.share_of(|| rpcs[rpc].peer, window);
        self.granter.decide(now, &self.rules, share)
    }

    /// Bytes missing of the message that would be granted next, if any.
    pub(crate) fn wants_grant(&self) -> Option<u32> {
        let share = |rpc: u32, window: u32| self.peers.share_of(|| self.rpcs[rpc].peer, window);
        self.granter.wants(&self.rules, share)
    }

    // ---- DATA

    /// Adds a DATA packet to the burst, if it may be sent to its peer.
    fn push_data(
        &mut self,
        index: u32,
        bytes: Range<u32>,
        incoming: u32,
        retransmit: bool,
        burst: &mut Burst,
    ) -> bool {
        let (key, rpc) = self.rpcs.keyed(index);
        let to = self.peers.with_owed(rpc.peer);
        let segment = Segment {
            message_length: rpc.message.length,
            bytes,
            incoming,
            retransmit,
        };
        let may_go = push_data(key, rpc, to, &segment, burst);
        self.counters.held_back_unproven += u64::from(!may_go);
        may_go
    }

    /// Whether a segment of `bytes` may follow those in the burst: all are of one size but the
    /// last, which is shorter.
    fn may_follow(burst: &Burst, limits: &Limits, bytes: u32) -> bool {
        let size = (DATA_HEADER + bytes) as usize;
        burst.is_empty()
            || burst.len() < limits.packets
                && burst.bytes() + size <= limits.bytes
                && !burst.ends_short()
                && size <= burst.segment_bytes()
    }

    /// Level of the segment that begins at `offset`.
    fn data_priority(&mut self, index: u32, offset: u32) -> Priority {
        let cutoffs = self.peers[self.rpcs[index].peer].cutoffs();
        match self.rpcs.outbound(index) {
            Some(outbound) if offset < outbound.unscheduled => {
                unscheduled_priority(&self.config, cutoffs, outbound.length)
            }
            Some(outbound) => {
                let top = self.config.priorities - 1;
                Priority::new(outbound.priority.get().min(top)).unwrap_or(Priority::LOWEST)
            }
            None => Priority::LOWEST,
        }
    }

    /// What is wanted again goes before new bytes and is not held back, but the link's estimate
    /// counts it.
    fn poll_resend(&mut self, burst: &mut Burst) -> bool {
        while let Some(index) = self.resending.pop() {
            let limits = Limits::of(&self.config, &self.pacer);
            let Some(priority) = self.rpcs.outbound(index).map(|out| out.resend_priority) else {
                continue;
            };
            burst.start(self.path_of(index), priority);
            while let Some(piece) = self.next_resend(index) {
                let room = Self::may_follow(burst, &limits, piece.end - piece.start);
                if !room || !self.push_again(index, piece, burst) {
                    break;
                }
            }
            let Some(outbound) = self.rpcs.outbound(index) else {
                continue;
            };
            if !burst.is_empty() {
                if outbound.is_wanted_again() {
                    self.resend_later(index);
                }
                self.counters.data_bursts += 1;
                self.counters.data_resent += burst.len() as u64;
                return true;
            }
            if outbound.is_wanted_again() {
                self.want(index, Pending::PROVE);
            }
        }
        false
    }

    fn next_resend(&mut self, index: u32) -> Option<Range<u32>> {
        let ranges = &self.ranges;
        self.rpcs.outbound(index)?.next_resend(ranges)
    }

    fn push_again(&mut self, index: u32, piece: Range<u32>, burst: &mut Burst) -> bool {
        let Some(granted) = self.rpcs.outbound(index).map(|out| out.granted) else {
            return false;
        };
        if !self.push_data(index, piece.clone(), granted, true, burst) {
            return false;
        }
        if let Some(outbound) = self.rpcs.outbound(index) {
            outbound.sent_again(&mut self.ranges, piece);
        }
        true
    }

    /// Messages of one small packet: not held back, and those to one peer sent together.
    fn poll_short(&mut self, now: Instant, burst: &mut Burst) -> bool {
        let mut first = None;
        while let Some(index) = self.send.first_short() {
            // Once for the first packet and once for those behind it, which mostly are none: where one
            // loop does both, what it keeps at hand from turn to turn costs more than they do.
            if let Short::Added(to) = self.add_short(now, index, None, burst) {
                first = Some(to);
                break;
            }
        }
        if first.is_none() {
            return false;
        }
        while let Some(index) = self.send.first_short()
            && !matches!(self.add_short(now, index, first, burst), Short::Behind)
        {}
        self.count_data(burst);
        true
    }

    /// Adds the message whose turn it is to a burst that goes `to` a peer, or begins one with it.
    #[inline(always)]
    fn add_short(&mut self, now: Instant, index: u32, to: Option<u32>, burst: &mut Burst) -> Short {
        let (key, rpc) = self.rpcs.place(index);
        let length = rpc.due_bytes;
        if length == 0 {
            self.send.pop_short(rpc);
            return Short::Gone;
        }
        let to_whom = rpc.peer;
        if to.is_some_and(|to| to != to_whom || !rpc.leaves_by(burst.path())) {
            return Short::Behind;
        }
        let (peer, owed) = self.peers.with_owed(to_whom);
        let priority = unscheduled_priority(&self.config, peer.cutoffs(), length);
        if to.is_none() {
            burst.start(rpc.path(peer), priority);
        } else if priority != burst.priority()
            || !Self::may_follow(burst, &Limits::of(&self.config, &self.pacer), length)
        {
            return Short::Behind;
        }
        self.send.pop_short(rpc);
        rpc.due_bytes = 0;
        if !push_data(key, rpc, (peer, owed), &Segment::whole(length), burst) {
            self.counters.held_back_unproven += 1;
            self.demand_proof(now, index);
            return match to {
                Some(_) => Short::Behind,
                None => Short::Gone,
            };
        }
        rpc.message.is_sent = true;
        let is_detailed = rpc.message.is_detailed;
        let is_to_be_watched = rpc.sent(now, Left::Nothing, &self.least_silence);
        if is_detailed {
            self.rpcs.details[index].outbound.sent = length;
        }
        if is_to_be_watched {
            self.watch(now, index);
        }
        Short::Added(to_whom)
    }

    fn count_data(&mut self, burst: &Burst) {
        self.counters.data_bursts += 1;
        self.counters.data_sent += burst.segments() as u64;
    }

    /// Messages in SRPT order, when the pacer allows; long ones are announced ahead of it.
    fn poll_long(&mut self, now: Instant, burst: &mut Burst) -> bool {
        if !self.pacer.is_ready(now) {
            return false;
        }
        while let Some(index) = self.send.pop_announcement() {
            if self.rpcs.outbound(index).is_some_and(|out| out.sent == 0)
                && self.fill(now, index, burst, true)
            {
                self.counters.announcements_sent += 1;
                // It stands in the order by what is left of it now.
                self.requeue(index);
                return true;
            }
        }
        while let Some(index) = self.send.choose() {
            if self.fill(now, index, burst, false) {
                self.send.charge(index, burst.bytes());
                self.requeue(index);
                return true;
            }
            self.send.remove(index);
        }
        false
    }

    /// Fills the burst with the next segments of a message: one that announces it, or as many as
    /// may go together. A burst ends with the unscheduled bytes, where the level changes.
    fn fill(&mut self, now: Instant, index: u32, burst: &mut Burst, announce: bool) -> bool {
        let mut limits = Limits::of(&self.config, &self.pacer);
        if announce {
            limits.packets = 1;
        }
        let Some(start) = self.rpcs.outbound(index).map(|out| out.sent) else {
            return false;
        };
        let priority = self.data_priority(index, start);
        burst.start(self.path_of(index), priority);
        let joins = self.config.joins_segments && !announce;
        if joins && self.fill_joined(now, index, &limits, burst) {
            self.look_for_grant(now, index, start);
            return true;
        }
        while let Some(segment) = self.next_segment(index) {
            let Some(outbound) = self.rpcs.outbound(index) else {
                break;
            };
            let boundary = start < outbound.unscheduled && segment.start >= outbound.unscheduled;
            let incoming = if announce {
                segment.end
            } else {
                outbound.unscheduled
            };
            if boundary || !Self::may_follow(burst, &limits, segment.end - segment.start) {
                break;
            }
            let end = segment.end;
            if !self.push_data(index, segment, incoming, false, burst) {
                self.demand_proof(now, index);
                break;
            }
            self.sent(now, index, end);
            if joins {
                break;
            }
        }
        if burst.is_empty() {
            return false;
        }
        self.count_data(burst);
        self.look_for_grant(now, index, start);
        true
    }

    /// The same as one packet for the host to cut; `false`: the next segment goes alone. So it does
    /// with an ack, which the others are not to repeat, and to an address without proof.
    fn fill_joined(
        &mut self,
        now: Instant,
        index: u32,
        limits: &Limits,
        burst: &mut Burst,
    ) -> bool {
        let peer = &self.peers[self.rpcs[index].peer];
        if !peer.is_proven() || peer.debt.count() > 0 {
            return false;
        }
        let outbound = self.rpcs.outbound(index);
        let Some(outbound) = outbound.filter(|out| out.is_sendable()) else {
            return false;
        };
        let (_, size) = outbound.next_run(1);
        let room = limits.bytes / (DATA_HEADER + size) as usize;
        let most = room.clamp(1, limits.packets) as u32;
        let (end, _) = outbound.next_run(most);
        let (bytes, unscheduled) = (outbound.sent..end, outbound.unscheduled);
        if !self.push_data(index, bytes, unscheduled, false, burst) {
            return false;
        }
        burst.cut(size);
        self.sent(now, index, end);
        self.count_data(burst);
        true
    }

    fn next_segment(&mut self, index: u32) -> Option<Range<u32>> {
        self.rpcs.outbound(index)?.next_segment()
    }

    /// A message's place after a burst of it.
    fn requeue(&mut self, index: u32) {
        match self.rpcs.outbound(index) {
            Some(outbound) if outbound.is_sendable() => {
                let precedence = Precedence {
                    remaining: outbound.remaining(),
                    birth: outbound.birth,
                };
                self.send.set(index, precedence);
            }
            _ => self.send.remove(index),
        }
    }

    /// Bytes up to `end` were sent for the first time.
    fn sent(&mut self, now: Instant, index: u32, end: u32) {
        let Some(outbound) = self.rpcs.outbound(index) else {
            return;
        };
        outbound.sent = end;
        let left = match outbound.is_sendable() {
            true => Left::Sendable,
            false if outbound.is_all_sent() => Left::Nothing,
            false => Left::Ungranted,
        };
        if self.rpcs[index].sent(now, left, &self.least_silence) {
            self.watch(now, index);
        }
    }

    /// The peer has no credit left without proof of its address: it is asked for one, and the
    /// message waits for it.
    fn demand_proof(&mut self, now: Instant, index: u32) {
        self.send.remove(index);
        self.want(index, Pending::PROVE);
        self.watch(now, index);
    }

    /// A peer proved its address: what waited for that goes on.
    pub(crate) fn release_unproven(&mut self, now: Instant, peer: u32) {
        let mut next = self.peers[peer].rpcs.first();
        while let Some(index) = next {
            next = self.peers[peer].rpcs.next(&self.rpcs.of_peers, index);
            self.believe(index);
            if let State::Server(ServerRpc::Sending) = self.rpcs[index].state {
                self.enqueue(index);
            }
            let rpc = &self.rpcs[index];
            let is_wanted = rpc.sends()
                && rpc.message.is_detailed
                && self.rpcs.details[index].outbound.is_wanted_again();
            if is_wanted {
                self.resend_later(index);
            }
        }
        self.wake_stalled(now);
    }

    /// Has what is wanted again of an RPC's message sent when it is its turn.
    pub(crate) fn resend_later(&mut self, index: u32) {
        self.rpcs[index].is_aside = true;
        self.resending.push(index);
    }
}

/// Adds a DATA packet to the burst, if it may be sent to its peer.
#[inline(always)]
fn push_data(
    key: RpcKey,
    rpc: &Rpc,
    (peer, owed): (&mut Peer, &mut Owed),
    segment: &Segment,
    burst: &mut Burst,
) -> bool {
    let payload = Payload {
        rpc: key,
        offset: segment.bytes.start,
        length: segment.bytes.end - segment.bytes.start,
    };
    if !peer.allow(DATA_HEADER + payload.length) {
        return false;
    }
    let common = rpc.common();
    let data = Data {
        message_length: segment.message_length,
        incoming: segment.incoming,
        ack: owed.pop(&mut peer.debt),
        cutoff_version: peer.version,
        retransmit: segment.retransmit,
        incast: rpc.incast && rpc.is_client(),
        offset: payload.offset,
        payload_length: payload.length,
    };
    burst.push(Some(payload), |header| data.emit_packet(&common, header));
    true
}
