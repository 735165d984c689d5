//! Laws of messages and their ends: at most once, every byte once and from the right message, every
//! failure with its cause.

use core::ops::Range;

use homa_proto::{Event, Failure, Place, RpcKey};

use super::intervals::Intervals;
use super::{Incoming, Key, Laws, message};
use crate::agent::Seen;
use crate::packet::{NO_MESSAGE, Packet};
use crate::swarm::plan::{OTHER_PORT, PORT};

/// What an application has to know of what it was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// The message that came, or [`NO_MESSAGE`].
    pub(crate) message: u32,
    /// Bytes of buffers that are to be given back.
    pub(crate) bytes: u64,
}

/// How late a deadline may be noticed: the quarter of a millisecond that a tick lasts.
const DEADLINE_SLACK: u64 = 262_144;

impl Laws {
    /// A client made a call.
    pub(crate) fn called(&mut self, now: u64, engine: usize, call: u32, key: RpcKey) {
        let deal = *self.deal(call);
        let host = &mut self.hosts[deal.client as usize];
        let life = host.life;
        let taken = host.calls.insert((engine, key.to_bits()), call);
        if taken.is_some() {
            let seen = "the key of a live RPC was given out again".to_owned();
            self.breach("a key names one RPC", now, deal.client, Some(call), seen);
        }
        self.count_calls(now, deal.client, engine);
        if deal.request == self.configs[deal.client as usize].max_message_bytes {
            self.met.insert("limit: bytes of a message");
        }
        let segment = self.segment;
        let is_short = self.is_short(deal.client, deal.request);
        let it = &mut self.calls[call as usize];
        it.request.is_short = is_short;
        it.begun = now;
        it.client_life = life;
        it.request.length = deal.request;
        it.request.segment = segment;
    }

    pub(crate) fn aborted(&mut self, call: u32) {
        self.calls[call as usize].aborted = true;
    }

    /// A server answered.
    pub(crate) fn replied(&mut self, call: u32) {
        let (length, segment) = (self.deal(call).response, self.segment);
        let server = self.deal(call).server;
        let is_short = self.is_short(server, length);
        self.may_send(server, message(call, true));
        let it = &mut self.calls[call as usize];
        it.response.is_short = is_short;
        it.replied = true;
        it.response.length = length;
        it.response.segment = segment;
    }

    pub(crate) fn dropped_request(&mut self, call: u32) {
        self.calls[call as usize].dropped = true;
    }

    /// Bytes were stored: where they belong, once, and of the right message.
    pub(crate) fn stored(&mut self, cx: &Seen, place: &Place, packet: &Packet) {
        let (now, host) = (cx.now, cx.host);
        let key = (cx.engine, place.rpc.to_bits());
        let exempt = packet.lie || self.is_exempt(packet.from, host);
        let known = self.hosts[host as usize].incoming.get_mut(&key);
        let is_new = known.is_none();
        let it = match known {
            Some(it) => it,
            None => self.hosts[host as usize]
                .incoming
                .entry(key)
                .or_insert_with(|| Incoming {
                    message: packet.message,
                    length: place.message_length,
                    bytes: Intervals::default(),
                }),
        };
        let end = place.offset.saturating_add(place.length);
        let buffer = if is_new { u64::from(it.length) } else { 0 };
        let fresh = it.bytes.add(place.offset, end);
        let (of, length) = (it.message, it.length);
        self.hosts[host as usize].buffered[cx.engine] += buffer;
        self.count_bytes(now, host, key);
        if is_new {
            self.count_requests(now, host, cx.engine, of);
        }
        if exempt {
            return;
        }
        let call = (packet.message != NO_MESSAGE).then_some(packet.message / 2);
        let wrong = if is_new != place.new {
            Some("a message begins twice")
        } else if of != packet.message || length != place.message_length {
            Some("bytes of another message")
        } else if !is_part(place, packet) {
            Some("bytes end up elsewhere")
        } else if !fresh {
            Some("a byte is delivered twice")
        } else if end > length {
            Some("bytes beyond the end")
        } else {
            None
        };
        if let Some(what) = wrong {
            let seen = format!("{what}: {place:?}, {packet:?}");
            let law = "every byte once and from the right message";
            self.breach(law, now, host, call, seen);
        }
        if let Some(call) = call {
            self.note_stored(now, host, call, packet, place.offset..end);
        }
    }

    fn note_stored(&mut self, now: u64, host: u32, call: u32, packet: &Packet, bytes: Range<u32>) {
        let message = self.calls[call as usize].message(packet.message & 1 == 1);
        message.stored += bytes.end - bytes.start;
        message.stored_end = message.stored_end.max(bytes.end);
        message.heard = now;
        message.silent = false;
        self.joins_granting(host, packet.message);
    }

    /// An engine told its application something.
    pub(crate) fn event(&mut self, now: u64, host: u32, engine: usize, event: Event) -> Told {
        let (key, kind) = match event {
            Event::Request { rpc, .. } => (rpc, 1),
            Event::Response { rpc, .. } => (rpc, 2),
            Event::Failed { rpc, .. } => (rpc, 3),
            Event::Ended { rpc, .. } => (rpc, 4),
        };
        self.fold([now, u64::from(host) << 8 | kind, key.to_bits()]);
        let key = (engine, key.to_bits());
        let incoming = self.hosts[host as usize].incoming.remove(&key);
        let told = Told {
            message: incoming.as_ref().map_or(NO_MESSAGE, |it| it.message),
            bytes: incoming.as_ref().map_or(0, |it| it.length.into()),
        };
        if told.message != NO_MESSAGE {
            self.leaves_granting(told.message);
        }
        match event {
            Event::Request { length, .. } => self.request(now, host, key, incoming, length),
            Event::Response { length, .. } => self.response(now, host, key, incoming, length),
            Event::Failed { failure, .. } => self.failed(now, host, key, failure),
            Event::Ended { delivered, .. } => self.ended(now, host, key, delivered),
        }
        told
    }

    fn whole(&mut self, now: u64, host: u32, incoming: Option<Incoming>, length: u32) -> u32 {
        let Some(it) = incoming else {
            let seen = "a message of which no byte was stored".to_owned();
            let law = "every byte once and from the right message";
            self.breach(law, now, host, None, seen);
            return NO_MESSAGE;
        };
        let call = (it.message != NO_MESSAGE).then_some(it.message / 2);
        let exempt = call.is_none_or(|call| self.is_exempt_call(call));
        if (it.bytes.count(), it.length) != (length, length) && !exempt {
            let seen = format!(
                "{} of {} bytes are there, {length} were said",
                it.bytes.count(),
                it.length
            );
            let law = "every byte once and from the right message";
            self.breach(law, now, host, call, seen);
        }
        it.message
    }

    fn request(&mut self, now: u64, host: u32, key: Key, it: Option<Incoming>, length: u32) {
        let of = self.whole(now, host, it, length);
        let twice = self.hosts[host as usize].serving.insert(key, of).is_some();
        if twice {
            let seen = "an application got the same request again".to_owned();
            self.breach("a request runs at most once", now, host, None, seen);
        }
        if of == NO_MESSAGE || self.is_exempt_call(of / 2) {
            return;
        }
        let (call, life) = (of / 2, self.hosts[host as usize].life);
        let deal = *self.deal(call);
        let ran = &mut self.calls[call as usize].ran;
        if of & 1 == 1 || deal.server != host || deal.request != length {
            let seen = format!("message {of} of {length} bytes is no request to host {host}");
            let law = "every byte once and from the right message";
            self.breach(law, now, host, Some(call), seen);
        } else if ran.contains(&life) && !deal.idempotent {
            let seen = format!("call {call} ran before in life {life} of its server");
            self.breach("a request runs at most once", now, host, Some(call), seen);
        } else {
            ran.push(life);
            self.calls[call as usize].serving = Some(key.0);
            if let Some(Err(failure)) = self.calls[call as usize].end {
                self.check_not_run(now, host, call, failure);
            }
        }
    }

    fn response(&mut self, now: u64, host: u32, key: Key, it: Option<Incoming>, length: u32) {
        let of = self.whole(now, host, it, length);
        let Some(call) = self.end_call(now, host, key) else {
            return;
        };
        self.calls[call as usize].end = Some(Ok(()));
        self.check_deadline(now, host, call, "a response");
        if self.is_exempt_call(call) {
            return;
        }
        let deal = *self.deal(call);
        let ran = !self.calls[call as usize].ran.is_empty();
        if of != message(call, true) || length != deal.response || !ran {
            let seen = format!("message {of} of {length} bytes is not the response to call {call}");
            let law = "every byte once and from the right message";
            self.breach(law, now, host, Some(call), seen);
        }
    }

    /// The call under a key, which is over.
    fn end_call(&mut self, now: u64, host: u32, key: Key) -> Option<u32> {
        let call = self.hosts[host as usize].calls.remove(&key);
        if call.is_none() {
            let seen = "an RPC ended that was not under way".to_owned();
            self.breach("every RPC ends once", now, host, None, seen);
        }
        let call = call?;
        let it = &mut self.calls[call as usize];
        it.response.over = true;
        self.sending_over(host, message(call, false));
        Some(call)
    }

    /// A failure that says so must not have run.
    fn check_not_run(&mut self, now: u64, host: u32, call: u32, failure: Failure) {
        let denied = matches!(
            failure,
            Failure::Refused | Failure::Unreachable | Failure::Overloaded
        );
        if denied && !self.calls[call as usize].ran.is_empty() {
            let seen = format!("call {call} ran and ended with {failure:?}");
            let law = "what is said not to have run did not";
            self.breach(law, now, host, Some(call), seen);
        }
    }

    fn failed(&mut self, now: u64, host: u32, key: Key, failure: Failure) {
        let Some(call) = self.end_call(now, host, key) else {
            return;
        };
        self.calls[call as usize].end = Some(Err(failure));
        self.check_deadline(now, host, call, &format!("{failure:?}"));
        if self.is_exempt_call(call) {
            return;
        }
        self.check_not_run(now, host, call, failure);
        self.check_patience(now, call, key.0);
        let deal = *self.deal(call);
        let config = &self.configs[host as usize];
        let it = &self.calls[call as usize];
        let age = now - it.begun;
        let timeout = config.timeout.as_nanos() as u64;
        let server_lived = self.hosts[deal.server as usize].life;
        let caused = match failure {
            Failure::Dropped => it.dropped,
            Failure::DeadlineExceeded => deal.deadline.is_some_and(|deadline| age >= deadline),
            Failure::Aborted => it.aborted,
            Failure::TimedOut => age >= timeout,
            Failure::ResponseTooLong => deal.response > config.max_message_bytes,
            Failure::Refused => it.unreachable,
            Failure::Unreachable => it.host_down || it.request.sent == 0,
            Failure::Overloaded => it.unknowns > 0,
            Failure::OutcomeUnknown => {
                it.unknowns > 0 || it.unreachable || it.host_down || server_lived > 0
            }
            _ => false,
        };
        if !caused {
            let seen = format!("call {call} ended with {failure:?} after {age} ns: {it:?}");
            self.breach("every failure has its cause", now, host, Some(call), seen);
            return;
        }
        // Where tables are small, at the start of a life, and in a life that the client had not
        // heard of, requests are turned away.
        let server = &self.configs[deal.server as usize];
        let too_long = deal.request > server.max_message_bytes;
        let dropped = failure == Failure::Dropped && deal.response > server.max_message_bytes;
        let excused = failure == Failure::ResponseTooLong
            || too_long
            || dropped
            || !self.peace.is_ample(deal.server)
            || !self.peace.is_ample(host)
            || failure == Failure::OutcomeUnknown && server_lived > 0;
        let late = it.begun >= self.probing && !excused;
        let calm = self.peace.is_calm(deal.client, deal.server);
        let asked_for = deal.port != PORT
            || matches!(
                failure,
                Failure::Dropped
                    | Failure::DeadlineExceeded
                    | Failure::Aborted
                    | Failure::ResponseTooLong
            );
        if late || (calm && !asked_for && !excused) {
            let seen = format!("call {call} ended with {failure:?} in a network at peace");
            let law = "in a network at peace calls succeed";
            self.breach(law, now, host, Some(call), seen);
        }
    }

    /// Deadlines are kept within the host's pauses and a tick.
    fn check_deadline(&mut self, now: u64, host: u32, call: u32, what: &str) {
        let Some(deadline) = self.deal(call).deadline else {
            return;
        };
        let due = self.calls[call as usize].begun + deadline;
        let pauses = &self.hosts[host as usize].pauses;
        let paused: u64 = pauses
            .iter()
            .map(|&(from, to)| to.min(now).saturating_sub(from.max(due)))
            .sum();
        if now > due + paused + DEADLINE_SLACK {
            let seen = format!("{what} came {} ns after the deadline", now - due);
            self.breach("deadlines are honoured", now, host, Some(call), seen);
        }
    }

    fn ended(&mut self, now: u64, host: u32, key: Key, delivered: bool) {
        let Some(of) = self.hosts[host as usize].serving.remove(&key) else {
            return;
        };
        if of == NO_MESSAGE || self.is_exempt_call(of / 2) {
            return;
        }
        let call = of / 2;
        self.calls[call as usize].serving = None;
        self.sending_over(host, message(call, true));
        self.check_service_patience(now, call, key);
        let deal = *self.deal(call);
        let it = &self.calls[call as usize];
        let calm = self.peace.is_calm(deal.client, deal.server);
        let has_response = it.end == Some(Ok(()));
        // A client that gave up, or does not want the response, acknowledges all the same.
        let wrong = if delivered {
            it.end.is_none()
        } else {
            has_response
        };
        // A client that has not proven its address is asked for its ack only as far as it may be.
        let port = [PORT, OTHER_PORT][deal.socket];
        let proven = self.is_proven(now, host, key.0, deal.client, port);
        if calm && proven && wrong {
            let seen = format!("told {delivered}, the client has it: {has_response}");
            let law = "in a network at peace a server learns what became of its response";
            self.breach(law, now, host, Some(call), seen);
        }
    }
}

/// Whether a place is that of all of a packet's payload, or of the part of it that was missing.
fn is_part(place: &Place, packet: &Packet) -> bool {
    let there = place.header_bytes.checked_sub(packet.header().len());
    let begins = there.map(|there| u64::from(packet.offset) + there as u64);
    let end = u64::from(place.offset) + u64::from(place.length);
    begins == Some(u64::from(place.offset))
        && end <= u64::from(packet.offset) + u64::from(packet.payload_bytes)
}
