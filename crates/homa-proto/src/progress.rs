//! Lack of progress: when to ask again, when to give up, and what the answers mean.
//!
//! Silence is counted from the last news of the RPC. Past the peer's patience it is asked
//! (RESEND, or NEED_ACK by a server that waits for the client); each BUSY doubles the patience up
//! to `ping_interval_max`; what stays unanswered is given up after the timeout, or after ten times
//! that while other packets show that the peer is alive.

use crate::api::{Failure, Unreachable};
use crate::engine::Engine;
use crate::inbound::Storage;
use crate::outbound::Outbound;
use crate::owed;
use crate::rpc::{Pending, ServerRpc, State};
use crate::time::{Instant, nanos};
use crate::turn::Turn;
use crate::wire::{RpcUnknown, UnknownReason};

/// Work done by one `handle_timeout`, at most.
const TIMEOUT_WORK: usize = 256;

/// Asks at the resend interval; later ones are rarer.
const FREQUENT_ASKS: u8 = 20;

/// How much longer an RPC may be silent whose peer is heard.
const ALIVE_FACTOR: u64 = 10;

/// Doublings of the patience with bytes that may be late: they are asked for after eight times as
/// long.
const LATE_DOUBLINGS: u8 = 3;

/// RPC_UNKNOWNs in a row that end an RPC which had shown a sign of life: one may be late.
const DOUBTS: u8 = 3;

/// What a packet says about an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Bytes arrived or may be sent.
    Progress,
    /// The peer is at it.
    Alive,
}

/// How an RPC's peer has answered lately.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// When there was news, or the present wait began.
    heard: Instant,
    /// Asks since the last news.
    asks: u8,
    /// Doublings of the patience.
    backoff: u8,
    /// RPC_UNKNOWNs in a row after a sign of life.
    doubts: u8,
    /// The peer has shown that it knows the RPC.
    alive: bool,
    /// Anything was asked or sent a second time.
    retried: bool,
    /// Bytes were sent a second time.
    resent: bool,
}

impl Progress {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            heard: now,
            asks: 0,
            backoff: 0,
            doubts: 0,
            alive: false,
            retried: false,
            resent: false,
        }
    }

    /// Whether anything had to be asked or sent again.
    pub(crate) const fn was_retried(&self) -> bool {
        self.retried
    }

    /// Whether bytes were sent a second time.
    pub(crate) const fn was_resent(&self) -> bool {
        self.resent
    }

    pub(crate) fn set_alive(&mut self) {
        self.alive = true;
    }

    pub(crate) fn set_resent(&mut self) {
        self.retried = true;
        self.resent = true;
    }

    /// Nanoseconds since the present wait began, if nothing was asked or sent again in it.
    pub(crate) fn undisturbed(&self, now: Instant) -> Option<u64> {
        (!self.retried).then(|| now.nanos_since(self.heard))
    }

    /// There is news: whoever was asked is at it. Returns whether anybody had to be.
    #[inline]
    fn hear(&mut self, now: Instant) -> bool {
        let was_slow = self.backoff > 0 || self.asks > 0;
        self.heard = now;
        self.asks = 0;
        self.doubts = 0;
        self.alive = true;
        was_slow
    }

    /// Bytes arrived or may be sent. Returns whether anybody had to be asked for them.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant) -> bool {
        let was_slow = self.hear(now);
        self.backoff = 0;
        was_slow
    }

    /// It is the peer's turn from now on, if it was not before.
    #[inline]
    pub(crate) fn wait_from(&mut self, now: Instant) {
        if self.asks == 0 {
            self.heard = self.heard.max(now);
        }
    }

    pub(crate) fn asked_early(&mut self) {
        self.retried = true;
    }
}

impl Engine {
    /// Does what is due, a bounded amount of it. Call it when the moment of
    /// [`poll_timeout`](Self::poll_timeout) has come, and drain the `poll_*` methods.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..TIMEOUT_WORK {
            match self.timers.pop(&mut self.rpcs.slab, now) {
                Some(index) if self.rpcs.get(index).is_some_and(|rpc| !rpc.is_over()) => {
                    self.check(now, index);
                }
                Some(_) => {}
                None => break,
            }
        }
        self.granter.hush(now, &self.rules);
        for _ in 0..TIMEOUT_WORK {
            if !self.tombstones.expire(now, &mut self.peers) {
                break;
            }
        }
        for _ in 0..TIMEOUT_WORK {
            let Some(forgotten) = self.peers.expire(now, &self.config) else {
                break;
            };
            self.counters.peers_forgotten += u64::from(forgotten);
        }
    }

    /// Begins to watch over an RPC, or begins anew.
    #[inline(never)]
    pub(crate) fn watch(&mut self, now: Instant, index: u32) {
        let rpc = &self.rpcs[index];
        let (peer, details) = (&self.peers[rpc.peer], &self.rpcs.details[index]);
        let silence = rpc.silence(details, peer, &self.config);
        self.wake_at(index, now.after(silence));
    }

    #[inline]
    pub(crate) fn wake_at(&mut self, index: u32, at: Instant) {
        let at = at.min(self.rpcs.deadline(index));
        self.timers.set_at_latest(&mut self.rpcs.slab, index, at);
    }

    fn base(&self, index: u32, ask: Pending) -> u64 {
        let rpc = &self.rpcs[index];
        let (peer, details) = (&self.peers[rpc.peer], &self.rpcs.details[index]);
        rpc.base(details, peer, &self.config, ask)
    }

    /// Nanoseconds between unanswered asks.
    fn interval(&self, index: u32, asks: u8, ask: Pending) -> u64 {
        let patience = &self.peers[self.rpcs[index].peer].patience;
        let pause = match ask {
            Pending::NEED_ACK => self.base(index, ask) << asks.min(6),
            _ if asks < FREQUENT_ASKS => return patience.for_bytes(&self.config),
            _ => patience.for_bytes(&self.config) * 16,
        };
        // Questions further apart than the timeout would be no evidence of a peer that is gone.
        pause.min(patience.timeout(&self.config) / 2)
    }

    /// Whether a question ahead of its time is no flood: one a millisecond.
    pub(crate) fn may_ask_early(&self, now: Instant, index: u32) -> bool {
        // One from before the present wait is no later than that.
        let last_ask = self.rpcs.details[index].last_ask;
        now.nanos_since(last_ask.max(self.rpcs[index].progress.heard)) >= 1_000_000
    }

    fn turn(&self, index: u32) -> Turn {
        let rpc = &self.rpcs[index];
        rpc.turn(&self.rpcs.details[index], &self.peers[rpc.peer])
    }

    /// An RPC's timer fired.
    fn check(&mut self, now: Instant, index: u32) {
        if self.rpcs.deadline(index) <= now {
            if self.rpcs[index].is_client() {
                self.abandon(now, index, Failure::DeadlineExceeded);
            } else {
                self.counters.requests_overdue += 1;
                self.refuse(now, index);
            }
            return;
        }
        match self.turn(index) {
            Turn::Ours if self.waits_in_vain(now, index) => self.give_up(now, index),
            Turn::Ours | Turn::Room => {
                self.rpcs[index].progress.heard = now;
                self.rpcs[index].progress.asks = 0;
                self.wake_stalled(now);
                self.rejoin(now, index);
                self.watch(now, index);
            }
            Turn::Application => self.check_client(now, index),
            Turn::Theirs(ask) => self.check_peer(now, index, ask),
        }
    }

    /// While we work on a request its client asks now and then; a silent one is gone.
    fn check_client(&mut self, now: Instant, index: u32) {
        self.wake_stalled(now);
        let rpc = &self.rpcs[index];
        let heard = rpc.progress.heard.max(self.peers[rpc.peer].heard);
        let gone = heard + self.config.service_silence;
        if now >= gone {
            self.counters.server_timeouts += 1;
            self.end_server(now, index, false);
        } else {
            let storing = matches!(rpc.state, State::Server(ServerRpc::Receiving));
            let patience = self.peers[rpc.peer].patience.for_bytes(&self.config);
            let retry = now.after(patience);
            self.wake_at(index, if storing { gone.min(retry) } else { gone });
        }
    }

    /// The peer is to act: asks it when its silence is too long, gives it up when asking is of no
    /// use.
    fn check_peer(&mut self, now: Instant, index: u32, ask: Pending) {
        let base = self.base(index, ask);
        let progress = self.rpcs[index].progress;
        let longest = nanos(self.config.ping_interval_max);
        let (since, pause) = match progress.asks {
            0 => (
                progress.heard,
                (base << progress.backoff).min(longest.max(base)),
            ),
            asks => (
                self.rpcs.details[index].last_ask,
                self.interval(index, asks, ask),
            ),
        };
        let due = since.after(pause);
        // Looked at first: what a NEED_ACK has asked early puts off the next question only.
        if self.is_hopeless(now, index, base) {
            self.give_up(now, index);
            return;
        }
        if now < due {
            self.wake_at(index, due);
            return;
        }
        if ask == Pending::ASK && self.may_be_late(index) {
            self.put_off(now, index, base);
            return;
        }
        if !self.may_ask(now, index, ask) {
            self.counters.asks_put_off += 1;
            let peer = &self.peers[self.rpcs[index].peer];
            let turns = (peer.rpc_count / 1024).clamp(1, 8);
            self.wake_at(index, now + turns * self.config.resend_interval);
            return;
        }
        let details = &mut self.rpcs.details[index];
        if progress.asks == 0 {
            details.first_ask = now;
        }
        details.last_ask = now;
        let progress = &mut self.rpcs[index].progress;
        progress.asks = progress.asks.saturating_add(1);
        progress.retried = true;
        let asks = progress.asks;
        let again = self.interval(index, asks, ask);
        self.ask(now, index, ask);
        self.wake_at(index, now.after(again));
    }

    /// Whether what a message was granted is likely late, not lost: others with fewer bytes missing go
    /// ahead of it, or its own on a better level did. What is sent again for it goes ahead of all.
    fn may_be_late(&mut self, index: u32) -> bool {
        let Progress { asks, backoff, .. } = self.rpcs[index].progress;
        if asks > 0 || backoff >= LATE_DOUBLINGS {
            return false;
        }
        let is_overtaken = self.granter.overtaken_to(index) > 0 && !self.shows_loss(index);
        let inbound = self.rpcs.inbound_of(index);
        inbound.is_some_and(|inbound| inbound.received > 0)
            && (is_overtaken || self.granter.is_outranked(index))
    }

    /// Waits twice as long for a message that may be late; its place goes to others.
    fn put_off(&mut self, now: Instant, index: u32, base: u64) {
        self.counters.asks_put_off += 1;
        self.counters.grants_parked += u64::from(self.granter.park(&self.rules, index));
        let progress = &mut self.rpcs[index].progress;
        progress.backoff += 1;
        let due = progress.heard.after(base << progress.backoff);
        self.wake_at(index, due.max(now));
    }

    /// Whether waiting on is of no use: questions to the peer have gone unanswered for the timeout,
    /// or those about this RPC for ten times that, whatever else is heard.
    fn is_hopeless(&self, now: Instant, index: u32, base: u64) -> bool {
        let rpc = &self.rpcs[index];
        let patience = &self.peers[rpc.peer].patience;
        let timeout = patience.timeout(&self.config);
        let peer_is_gone = patience
            .unanswered(now, &self.config)
            .is_some_and(|unanswered| unanswered + base >= timeout)
            && now.nanos_since(rpc.progress.heard) >= timeout;
        let forgotten = rpc.progress.asks > 0
            && now.nanos_since(self.rpcs.details[index].first_ask) + base >= timeout * ALIVE_FACTOR;
        peer_is_gone || forgotten
    }

    /// Whether a request waits at home for others whose server is gone.
    fn waits_in_vain(&self, now: Instant, index: u32) -> bool {
        let rpc = &self.rpcs[index];
        let patience = &self.peers[rpc.peer].patience;
        let unsent = rpc.is_client() && rpc.is_unsent(&self.rpcs.details[index]);
        unsent
            && rpc.in_flight == 0
            && patience
                .unanswered(now, &self.config)
                .is_some_and(|unanswered| unanswered >= patience.timeout(&self.config))
    }

    /// Whether it is this RPC's turn to ask. Missing bytes are always asked for.
    fn may_ask(&mut self, now: Instant, index: u32, ask: Pending) -> bool {
        let about_bytes = ask == Pending::ASK
            && self
                .rpcs
                .inbound_of(index)
                .is_some_and(|inbound| inbound.received > 0);
        let peer = &mut self.peers[self.rpcs[index].peer];
        peer.patience.may_ask(now, &self.config) || about_bytes
    }

    fn ask(&mut self, now: Instant, index: u32, ask: Pending) {
        self.want(index, ask);
        if ask != Pending::ASK {
            return;
        }
        // A silent message gives its place among those granted to others.
        if self.granter.park(&self.rules, index) {
            self.counters.grants_parked += 1;
        }
        let peer = self.rpcs[index].peer;
        let patience = self.peers[peer].patience.for_bytes(&self.config);
        if self.shows_loss(index) && self.peers.grant_less(now, peer, patience) {
            self.counters.shares_halved += 1;
        }
    }

    /// Whether granted bytes of a silent message are lost. They may as well be late: behind better
    /// messages at their sender, unless bytes after them arrived, and on a low level in the network,
    /// unless those could not overtake them.
    fn shows_loss(&mut self, index: u32) -> bool {
        let (ranges, overtaken) = (&self.ranges, self.granter.overtaken_to(index));
        self.rpcs.inbound_of(index).is_some_and(|inbound| {
            let late = inbound.unscheduled.max(overtaken);
            inbound.gaps(ranges).any(|gap| gap.start >= late)
        })
    }

    fn give_up(&mut self, now: Instant, index: u32) {
        match &self.rpcs[index].state {
            State::Client(client) => {
                // What never left did not run. Sent again for a new life of the server, it may have
                // run in the old one.
                let progress = self.rpcs[index].progress;
                let failure = match client.since == Instant::NEVER && !progress.retried {
                    true => Failure::Unreachable,
                    false => Failure::TimedOut,
                };
                self.counters.client_timeouts += 1;
                self.fail(now, index, failure);
            }
            State::Server(_) if self.rpcs.awaits_ack(index) => {
                self.counters.acks_given_up += 1;
                self.end_server(now, index, false);
            }
            _ => {
                self.counters.server_timeouts += 1;
                self.end_server(now, index, false);
            }
        }
    }

    /// There is news of an RPC.
    #[inline]
    pub(crate) fn note(&mut self, now: Instant, index: u32, news: News) {
        let rpc = &self.rpcs[index];
        if rpc.in_flight > 0 {
            self.land(now, index, !rpc.progress.was_resent());
        }
        let progress = &mut self.rpcs[index].progress;
        if news == News::Alive {
            progress.hear(now);
        } else if progress.advance(now) {
            // The timer may be far away.
            self.watch(now, index);
        }
    }

    /// Bytes that we sent did not arrive.
    pub(crate) fn note_loss(&mut self, now: Instant, index: u32) {
        let is_request = self.rpcs[index].is_client();
        let peer = &mut self.peers[self.rpcs[index].peer];
        let interval = peer.patience.for_bytes(&self.config);
        if peer.sending.halve(now, interval) {
            self.counters.shares_halved += 1;
        }
        if is_request {
            peer.flight.cut(now, interval);
        }
    }

    /// The peer is at it: ask more rarely.
    pub(crate) fn handle_busy(&mut self, now: Instant, index: u32) {
        self.counters.busy_received += 1;
        let asks = self.rpcs[index].progress.asks;
        // The answer is taken for one to the first question, since a path may be slower than
        // questions follow each other. Where it was lost the estimate errs upwards, but never so far
        // that a vanished peer would be waited for much longer than one at that distance.
        if asks > 0 {
            let first_ask = self.rpcs.details[index].first_ask;
            let sample = now.nanos_since(first_ask).min(nanos(self.config.timeout));
            let peer = self.rpcs[index].peer;
            self.peers[peer].patience.round_trip.sample(sample);
        }
        self.note(now, index, News::Alive);
        let progress = &mut self.rpcs[index].progress;
        progress.backoff = (progress.backoff + 1).min(8);
    }

    /// The peer does not know the RPC.
    pub(crate) fn handle_unknown(&mut self, now: Instant, index: u32, unknown: RpcUnknown) {
        self.counters.unknown_received += 1;
        let State::Client(client) = &self.rpcs[index].state else {
            let all_sent = |response: &mut Outbound| response.is_all_sent();
            let delivered = self.rpcs.outbound(index).is_some_and(all_sent)
                && unknown.reason != Some(UnknownReason::Aborted);
            self.end_server(now, index, delivered);
            return;
        };
        let peer = self.rpcs[index].peer;
        match unknown.reason {
            Some(UnknownReason::Dropped) => {
                self.owe_ack(peer, index, owed::MOST);
                self.fail(now, index, Failure::Dropped);
            }
            Some(UnknownReason::Overloaded) if !self.rpcs[index].progress.alive => {
                // Sent again from the start, it may have run in an earlier life of the server.
                let failure = match self.rpcs[index].progress.was_retried() {
                    true => Failure::OutcomeUnknown,
                    false => Failure::Overloaded,
                };
                self.fail(now, index, failure);
            }
            _ if self.rpcs[index].progress.alive || self.rpcs[index].has_inbound => {
                self.doubt(now, index);
            }
            // Had the server run the request it would remember: it never saw it.
            _ if now < client.since + self.config.packet_lifetime => self.restart(now, index),
            _ => {
                self.counters.client_timeouts += 1;
                self.fail(now, index, Failure::TimedOut);
            }
        }
    }

    /// RPC_UNKNOWN after a sign of life. It may be late, from before the peer accepted the
    /// request; a peer that knows the RPC answers the next question otherwise.
    fn doubt(&mut self, now: Instant, index: u32) {
        let patience = self.peers[self.rpcs[index].peer]
            .patience
            .for_bytes(&self.config);
        let progress = &mut self.rpcs[index].progress;
        progress.doubts = progress.doubts.saturating_add(1);
        if progress.doubts >= DOUBTS {
            self.outlived(now, index);
            return;
        }
        progress.backoff = 0;
        progress.heard = now;
        progress.asks = 0;
        progress.retried = true;
        let response = self.rpcs.inbound_of(index);
        // Where its bytes find no room one is enough to hear whether the server has them.
        let ask = match response.is_some_and(|it| it.storage == Storage::Stalled) {
            true => Pending::PROVE,
            false => Pending::ASK,
        };
        self.want(index, ask);
        self.wake_at(index, now.after(patience));
    }

    /// The server's life that a client RPC was meant for is over, or has forgotten it.
    pub(crate) fn outlived(&mut self, now: Instant, index: u32) {
        let rpc = &mut self.rpcs[index];
        let State::Client(client) = &mut rpc.state else {
            return;
        };
        if rpc.idempotent && !rpc.has_inbound {
            client.since = Instant::NEVER;
            self.restart(now, index);
        } else {
            self.fail(now, index, Failure::OutcomeUnknown);
        }
    }

    /// Sends a request again from its start: the server never saw it, or it may run twice.
    fn restart(&mut self, now: Instant, index: u32) {
        if !self.rpcs[index].is_client() {
            return;
        }
        let Some(request) = self.rpcs.outbound(index) else {
            return;
        };
        if request.is_sendable() {
            // It is being sent already.
            return;
        }
        if request.restart(&mut self.ranges) {
            self.counters.segments_shrunk += 1;
        }
        self.counters.restarts += 1;
        self.note_loss(now, index);
        self.resending.remove(index);
        self.rpcs[index].progress = Progress {
            retried: true,
            resent: true,
            ..Progress::new(now)
        };
        self.enqueue(index);
        self.watch(now, index);
    }

    /// Ends a client RPC that the application lost interest in.
    fn abandon(&mut self, now: Instant, index: u32, failure: Failure) {
        self.tell_unknown(index, UnknownReason::Aborted);
        self.fail(now, index, failure);
    }

    /// The network says that a packet of this RPC did not arrive; `named`: DATA of this very one. A
    /// question that comes back says nothing of the request before it.
    pub(crate) fn undeliverable(
        &mut self,
        now: Instant,
        index: u32,
        what: Unreachable,
        named: bool,
    ) {
        if let Unreachable::TooBig { .. } = what {
            if let Some(outbound) = self.rpcs.outbound(index)
                && outbound.shrink()
            {
                self.counters.segments_shrunk += 1;
            }
            return;
        }
        let State::Client(client) = &self.rpcs[index].state else {
            self.counters.server_timeouts += 1;
            self.end_server(now, index, false);
            return;
        };
        let progress = self.rpcs[index].progress;
        // Only a packet of the first transmission that did not arrive proves that the request
        // never was complete, or that nothing of it was sent at all.
        let proven = named || client.since == Instant::NEVER;
        let failure = if !proven || progress.alive || progress.retried {
            Failure::OutcomeUnknown
        } else if what == Unreachable::Port {
            Failure::Refused
        } else {
            Failure::Unreachable
        };
        self.fail(now, index, failure);
    }
}
