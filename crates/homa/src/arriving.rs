//! A request while it arrives, without its waiting: what the blocking and the asynchronous API share.
//!
//! It decides that bytes are handed out from the start on, in order, as far as no gap is in front of
//! them. How its caller waits is decided in the two APIs.
//!
//! # Design
//!
//! *A piece is copied to its reader.* The message's buffer is being filled meanwhile, so nobody can
//! look at it without the host's lock. Once the message is whole, the application gets a view of it
//! without a copy, as of any other.

#[cfg(feature = "tokio")]
pub(crate) mod tasks;

use core::net::SocketAddr;
use core::task::Waker;

use homa_proto::RpcKey;

use crate::error::{RecvError, ReplyError};
use crate::parties::RawRequest;
use crate::pool::Message;
use crate::requests::{RawResponder, ServerCore};
use crate::state::State;
use crate::waiting::Ticket;

/// A request of which some bytes are there.
pub(crate) struct Announced {
    pub(crate) rpc: RpcKey,
    pub(crate) id: u64,
    pub(crate) peer: homa_proto::Address,
    pub(crate) length: usize,
}

/// A request that is taken while it arrives.
pub(crate) struct RawArriving {
    rpc: RpcKey,
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) length: usize,
    /// Bytes handed out.
    read: usize,
    /// The message, if it was whole when it was taken.
    message: Option<Message>,
    /// `None` once it is finished.
    responder: Option<RawResponder>,
}

impl ServerCore {
    /// The next request of which something arrived, or has `waker` called when there may be one. From
    /// the first asking on all requests are announced here.
    pub(crate) fn arriving(
        &self,
        state: &mut State,
        ticket: &mut Ticket,
        waker: Option<&Waker>,
    ) -> Option<Result<RawArriving, RecvError>> {
        state.announce_for(self.index());
        let entry = state.parties.servers.get_mut(self.index())?;
        if let Some(request) = entry.requests.pop_front() {
            return Some(Ok(self.whole(request)));
        }
        if let Some(it) = entry.announced.pop_front() {
            let responder = self.responder(it.rpc, it.peer);
            return Some(Ok(RawArriving {
                rpc: it.rpc,
                id: it.id,
                peer: responder.peer,
                length: it.length,
                read: 0,
                message: None,
                responder: Some(responder),
            }));
        }
        if !entry.closing.is_open() {
            return Some(Err(RecvError::Closed));
        }
        if let Some(waker) = waker {
            entry.takers.enter(ticket, waker);
        }
        None
    }

    fn whole(&self, request: RawRequest) -> RawArriving {
        let responder = self.responder(request.rpc, request.peer);
        RawArriving {
            rpc: request.rpc,
            id: request.id,
            peer: responder.peer,
            length: request.message.len(),
            read: 0,
            responder: Some(responder),
            message: Some(request.message),
        }
    }
}

impl RawArriving {
    pub(crate) fn shared(&self) -> Option<&std::sync::Arc<crate::shared::Shared>> {
        self.responder.as_ref().map(RawResponder::shared)
    }

    /// Copies the next bytes that are there, zero of them behind the end, or has `waker` called when
    /// there may be more.
    pub(crate) fn read(
        &mut self,
        state: &mut State,
        into: &mut [u8],
        waker: Option<&Waker>,
    ) -> Option<Result<usize, ReplyError>> {
        if self.read == self.length || into.is_empty() {
            return Some(Ok(0));
        }
        if let Some(message) = &self.message {
            let count = copy(&message[self.read..], into);
            self.read += count;
            return Some(Ok(count));
        }
        match state.read(self.rpc, self.read, into) {
            None => Some(Err(ReplyError::Gone)),
            Some(0) => {
                state.messages_mut().watch(self.rpc, waker);
                None
            }
            Some(count) => {
                self.read += count;
                Some(Ok(count))
            }
        }
    }

    /// The whole message and what answers it, or has `waker` called when it may be whole.
    pub(crate) fn finish(
        &mut self,
        state: &mut State,
        waker: Option<&Waker>,
    ) -> Option<Result<(Message, RawResponder), ReplyError>> {
        if self.message.is_none() {
            if !state.is_known(self.rpc) {
                return Some(Err(ReplyError::Gone));
            }
            self.message = state.take_announced(self.rpc);
        }
        match (self.message.take(), self.responder.take()) {
            (Some(message), Some(responder)) => Some(Ok((message, responder))),
            (_, responder) => {
                self.responder = responder;
                state.messages_mut().watch(self.rpc, waker);
                None
            }
        }
    }
}

impl Drop for RawArriving {
    fn drop(&mut self) {
        let Some(responder) = &self.responder else {
            return;
        };
        if self.message.is_some() {
            return;
        }
        // What is whole is dropped here and refused by the responder; the rest is refused when it is.
        if let Ok(mut state) = responder.shared().lock() {
            drop(state.take_announced(self.rpc));
            state.messages_mut().forget(self.rpc);
        }
    }
}

/// Copies what fits, and says how much.
pub(crate) fn copy(from: &[u8], into: &mut [u8]) -> usize {
    let count = from.len().min(into.len());
    into[..count].copy_from_slice(&from[..count]);
    count
}
