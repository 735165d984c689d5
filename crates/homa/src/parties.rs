//! Who makes and who answers calls: clients, calls that somebody holds a handle of, servers.
//!
//! It holds what has arrived for them until they take it. It decides nothing about the protocol.

use core::task::Waker;
use std::collections::VecDeque;
use std::sync::Arc;

use homa_proto::{Address, RpcKey, SocketId};

use crate::arriving::Announced;
use crate::closing::{Closing, Phase};
use crate::error::CallError;
use crate::pool::{Message, Pool};
use crate::slab::Slab;
use crate::waiting::{Ticket, WaitList, Woken};

/// A client as its host sees it.
#[derive(Default)]
pub(crate) struct ClientEntry {
    /// The socket for IPv4 peers, once there was one.
    pub(crate) v4: Option<SocketId>,
    /// The socket for IPv6 peers, likewise.
    pub(crate) v6: Option<SocketId>,
    /// The socket, among these two, that belongs to a server.
    pub(crate) lent: Option<SocketId>,
    /// Completions of submitted calls, until taken.
    pub(crate) done: VecDeque<RawCompletion>,
    /// Who waits for one.
    pub(crate) takers: WaitList,
    /// Calls under way, and how far it is with closing.
    pub(crate) closing: Closing,
}

/// The end of a submitted call.
pub(crate) struct RawCompletion {
    pub(crate) cookie: u64,
    pub(crate) peer: Address,
    pub(crate) result: Result<Message, CallError>,
}

/// A call that somebody holds a handle of.
pub(crate) enum CallEntry {
    /// Under way; the waker of who waits.
    Waiting(Option<Waker>),
    /// Over.
    Done(Result<Message, CallError>),
    /// Aborted, and its handle is gone: the entry goes when the engine has ended the RPC.
    Abandoned,
}

/// A server as its host sees it.
#[derive(Default)]
pub(crate) struct ServerEntry {
    /// Requests that no thread or task has taken.
    pub(crate) requests: VecDeque<RawRequest>,
    /// Those that are announced while they arrive, until taken.
    pub(crate) announced: VecDeque<Announced>,
    /// Who waits for one.
    pub(crate) takers: WaitList,
    /// Requests handed over or queued whose RPC is not over, and how far it is with closing.
    pub(crate) closing: Closing,
}

/// A whole request.
pub(crate) struct RawRequest {
    pub(crate) rpc: RpcKey,
    pub(crate) id: u64,
    pub(crate) peer: Address,
    pub(crate) message: Message,
}

impl ClientEntry {
    /// Gives `completion` to whoever takes it first.
    pub(crate) fn complete(&mut self, completion: RawCompletion, woken: &mut Woken) {
        self.done.push_back(completion);
        woken.push(self.takers.pop());
    }

    /// Takes back what a taker that leaves had entered.
    pub(crate) fn leave(&mut self, ticket: &mut Ticket, woken: &mut Woken) {
        if self.takers.leave(ticket) && !self.done.is_empty() {
            woken.push(self.takers.pop());
        }
    }

    /// Moves on with closing, and wakes whoever must know.
    pub(crate) fn advance(&mut self, phase: Phase, woken: &mut Woken) {
        self.closing.advance(phase, woken);
        if self.closing.is_closed() {
            self.takers.wake_all(woken);
        }
    }
}

impl ServerEntry {
    /// Takes back what a taker that leaves had entered.
    pub(crate) fn leave(&mut self, ticket: &mut Ticket, woken: &mut Woken) {
        let left = !self.requests.is_empty() || !self.announced.is_empty();
        if self.takers.leave(ticket) && left {
            woken.push(self.takers.pop());
        }
    }

    /// Moves on with closing, and wakes whoever must know: nobody receives any more.
    pub(crate) fn advance(&mut self, phase: Phase, woken: &mut Woken) {
        self.closing.advance(phase, woken);
        self.takers.wake_all(woken);
    }
}

/// All clients, calls and servers of a host.
pub(crate) struct Parties {
    pub(crate) clients: Slab<ClientEntry>,
    pub(crate) calls: Slab<CallEntry>,
    pub(crate) servers: Slab<ServerEntry>,
}

impl Parties {
    pub(crate) const fn new() -> Self {
        Self {
            clients: Slab::new(),
            calls: Slab::new(),
            servers: Slab::new(),
        }
    }

    /// The call of an entry is over.
    pub(crate) fn end_call(
        &mut self,
        call: u32,
        result: Result<Message, CallError>,
        woken: &mut Woken,
    ) {
        match self.calls.get_mut(call) {
            Some(CallEntry::Abandoned) => {
                self.calls.remove(call);
            }
            Some(entry) => {
                if let CallEntry::Waiting(waker) = entry {
                    woken.push(waker.take());
                }
                *entry = CallEntry::Done(result);
            }
            None => debug_assert!(false, "an entry outlives its call"),
        }
    }

    /// A whole request for the server `server`; `false` if that takes none.
    pub(crate) fn request(&mut self, server: u32, request: RawRequest, woken: &mut Woken) -> bool {
        let Some(entry) = self.servers.get_mut(server) else {
            return false;
        };
        entry.closing.begin_one();
        if !entry.closing.is_open() {
            return false;
        }
        entry.requests.push_back(request);
        woken.push(entry.takers.pop());
        true
    }

    /// Wakes everyone who waits for anything, to find out that nothing comes.
    pub(crate) fn wake_everyone(&mut self, woken: &mut Woken) {
        for client in self.clients.iter_mut() {
            client.takers.wake_all(woken);
            client.closing.wake_drainers(woken);
        }
        for server in self.servers.iter_mut() {
            server.takers.wake_all(woken);
            server.closing.wake_drainers(woken);
        }
        for call in self.calls.iter_mut() {
            if let CallEntry::Waiting(waker) = call {
                woken.push(waker.take());
            }
        }
    }
}

/// The result of a call as the application gets it: `buffer` holds the response.
pub(crate) fn response(
    buffer: Option<crate::pool::Buffer>,
    pool: &Arc<Pool>,
) -> Result<Message, CallError> {
    match buffer {
        Some(buffer) => Ok(Message::new(buffer, pool)),
        None => {
            debug_assert!(false, "the engine tells of a response that was placed");
            Err(CallError::OutcomeUnknown)
        }
    }
}
