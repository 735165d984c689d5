//! From the engine's events to whom they concern: the handle of a call, the queue of a client, a
//! server; and from bytes that came to those who read messages while they arrive.
//!
//! It decides nothing: who is woken finds under the lock what it is about.

use homa_proto::{Address, Event, Instant, RpcKey};

use super::State;
use crate::arriving::Announced;
use crate::error::CallError;
use crate::messages::{Party, Remains};
use crate::parties::{RawCompletion, RawRequest, response};
use crate::pool::{Buffer, Message};
use crate::sync::atomic::Ordering;

impl State {
    /// Tells whom events concern. Returns whether the engine was told something in turn.
    pub(super) fn deliver(&mut self, now: Instant) -> bool {
        let mut answered = false;
        let (mut told, mut freed_bytes) = (0, 0);
        while let Some(event) = self.engine.poll_event() {
            told += 1;
            match event {
                Event::Request { rpc, id, peer, .. } => {
                    if !self.request(now, rpc, id.get(), peer) {
                        self.engine.drop_request(now, rpc);
                        answered = true;
                    }
                }
                Event::Response { rpc, .. } => {
                    #[cfg(feature = "metrics")]
                    if let Some(age) = self.messages.age(rpc, now) {
                        self.times.calls.observe(age);
                    }
                    self.end(rpc, None, &mut freed_bytes);
                }
                Event::Failed { rpc, failure } => {
                    self.end(rpc, Some(failure.into()), &mut freed_bytes);
                }
                Event::Ended { rpc, .. } => self.end(rpc, None, &mut freed_bytes),
            }
        }
        if freed_bytes > 0 {
            self.free_room(freed_bytes);
        }
        if told > 0 {
            // Whoever sees the new number finds under the lock what it is about, or waits for it. Nobody
            // writes it without the lock.
            let news = self.parts.news.load(Ordering::Relaxed);
            self.parts
                .news
                .store(news.wrapping_add(told), Ordering::Release);
        }
        answered
    }

    /// Hands a request to its server; `false` if that takes none.
    fn request(&mut self, now: Instant, rpc: RpcKey, id: u64, peer: Address) -> bool {
        if let Some((server, wanted)) = self.messages.complete(now, rpc) {
            while let Some(waker) = self.messages.next_stirred() {
                self.woken.push(Some(waker));
            }
            let entry = self.parties.servers.get_mut(server);
            return entry.is_some_and(|entry| {
                entry.closing.begin_one();
                wanted
            });
        }
        let Some((Party::Server(server), buffer)) = self.messages.take_request(now, rpc) else {
            debug_assert!(false, "the engine tells of a request that was placed");
            return false;
        };
        let message = Message::new(buffer, &self.parts.pool);
        let request = RawRequest {
            rpc,
            id,
            peer,
            message,
        };
        self.parties.request(server, request, &mut self.woken)
    }

    /// An RPC is over: frees what it held, but for its room in the send budget, and tells whom it
    /// concerns.
    fn end(&mut self, rpc: RpcKey, failure: Option<CallError>, freed_bytes: &mut usize) {
        let Some(mut remains) = self.messages.finish(rpc) else {
            // A request of which no byte was stored.
            return;
        };
        if let Some(message) = remains.outbound.take() {
            *freed_bytes += message.len();
            self.free_bytes(message);
        }
        let (client, told) = match remains.party {
            Party::Server(server) => return self.end_request(server, remains),
            Party::Call { client, call } => (client, Told::Handle(call)),
            Party::Submitted {
                client,
                cookie,
                peer,
            } => (client, Told::Queue(cookie, peer)),
        };
        let result = match failure {
            None => response(remains.inbound, &self.parts.pool),
            Some(error) => {
                self.discard(remains.inbound);
                Err(error)
            }
        };
        let Some(entry) = self.parties.clients.get_mut(client) else {
            return;
        };
        let closed = entry.closing.is_closed();
        let result = result.map_err(|error| match error {
            CallError::Aborted if closed => CallError::Closed,
            error => error,
        });
        entry.closing.finish_one(&mut self.woken);
        match told {
            Told::Queue(cookie, peer) => {
                let completion = RawCompletion {
                    cookie,
                    peer,
                    result,
                };
                entry.complete(completion, &mut self.woken);
            }
            Told::Handle(call) => self.parties.end_call(call, result, &mut self.woken),
        }
    }

    fn end_request(&mut self, server: u32, remains: Remains) {
        self.discard(remains.inbound);
        if remains.live
            && let Some(entry) = self.parties.servers.get_mut(server)
        {
            entry.closing.finish_one(&mut self.woken);
        }
    }

    /// Tells whom bytes concern that came.
    #[cold]
    pub(super) fn announce(&mut self) {
        let Self {
            messages,
            parties,
            woken,
            engine,
            ..
        } = self;
        while let Some(waker) = messages.next_stirred() {
            woken.push(Some(waker));
        }
        while let Some((server, rpc, length)) = messages.next_begun() {
            let place = u32::try_from(rpc.index()).unwrap_or(u32::MAX);
            let view = engine.rpc_at(place).filter(|view| view.rpc == rpc);
            let entry = parties.servers.get_mut(server);
            let (Some(view), Some(entry)) = (view, entry) else {
                continue;
            };
            if !entry.closing.is_open() {
                messages.forget(rpc);
                continue;
            }
            entry.announced.push_back(Announced {
                rpc,
                id: view.id.get(),
                peer: view.peer,
                length,
            });
            woken.push(entry.takers.pop());
        }
    }

    /// A message that nobody will see: its buffer and its share of the receive budget are free.
    fn discard(&self, buffer: Option<Buffer>) {
        if let Some(buffer) = buffer {
            drop(Message::new(buffer, &self.parts.pool));
        }
    }
}

/// How an application hears of the end of its call.
enum Told {
    /// By the handle of this entry.
    Handle(u32),
    /// By a completion with this cookie, from this server.
    Queue(u64, Address),
}
