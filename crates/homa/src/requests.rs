//! A server without its waiting: what the blocking and the asynchronous API share.
//!
//! It decides that every request is answered or its client told. How its caller waits is decided in
//! the two APIs.

use core::net::SocketAddr;
use core::task::Waker;
use std::sync::Arc;

use homa_net::Link;
use homa_proto::{Address, Instant, RpcKey, SocketId};

use crate::closing::Phase;
use crate::error::{BindError, RecvError, ReplyError, ResolveError};
use crate::host::{Host, add_link};
use crate::parties::{RawRequest, ServerEntry};
use crate::shared::{Outgoing, Shared, Source};
use crate::state::State;
use crate::stock::Stock;
use crate::waiting::Ticket;

/// A server; dropping it closes its socket and ends its RPCs.
pub(crate) struct ServerCore {
    host: Host,
    server: u32,
    socket: SocketId,
    local: SocketAddr,
}

impl ServerCore {
    /// A server at `address`.
    pub(crate) fn bind(host: &Host, address: SocketAddr) -> Result<Self, BindError> {
        Self::on_link(host, host.open_link(address, true)?)
    }

    /// A server whose socket is `link`.
    pub(crate) fn on_link(host: &Host, link: Box<dyn Link>) -> Result<Self, BindError> {
        let local = link.local_addr();
        let mut state = host.lock()?;
        let server = state.parties.servers.insert(ServerEntry::default());
        match add_link(&mut state, link, true, Some(server)) {
            Ok(socket) => Ok(Self {
                host: host.clone(),
                server,
                socket,
                local,
            }),
            Err(error) => {
                state.parties.servers.remove(server);
                Err(error)
            }
        }
    }

    /// Names it in the host.
    pub(crate) fn index(&self) -> u32 {
        self.server
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.host.shared()
    }

    pub(crate) fn socket(&self) -> SocketId {
        self.socket
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next request, or has `waker` called when there may be one.
    pub(crate) fn request(
        &self,
        state: &mut State,
        ticket: &mut Ticket,
        waker: Option<&Waker>,
    ) -> Option<Result<RawRequest, RecvError>> {
        let entry = state.parties.servers.get_mut(self.server)?;
        if let Some(request) = entry.requests.pop_front() {
            return Some(Ok(request));
        }
        if !entry.closing.is_open() {
            return Some(Err(RecvError::Closed));
        }
        if let Some(waker) = waker {
            entry.takers.enter(ticket, waker);
        }
        None
    }

    /// Takes back what [`request`](Self::request) entered.
    pub(crate) fn leave_takers(&self, ticket: &mut Ticket) {
        if !ticket.is_entered() {
            return;
        }
        let Ok(mut state) = self.shared().lock() else {
            return;
        };
        let State { parties, woken, .. } = &mut *state;
        if let Some(entry) = parties.servers.get_mut(self.server) {
            entry.leave(ticket, woken);
        }
    }

    /// All requests that there are, at least one; else has `waker` called when there may be one.
    pub(crate) fn requests(
        &self,
        state: &mut State,
        into: &mut Vec<RawRequest>,
        ticket: &mut Ticket,
        waker: Option<&Waker>,
    ) -> Option<Result<(), RecvError>> {
        match self.request(state, ticket, waker)? {
            Ok(first) => into.push(first),
            Err(error) => return Some(Err(error)),
        }
        if let Some(entry) = state.parties.servers.get_mut(self.server) {
            into.extend(entry.requests.drain(..));
        }
        Some(Ok(()))
    }

    /// Whether a response may go with others: a short one to a request of this host, for which it
    /// takes the room.
    pub(crate) fn admit(&self, responder: &RawResponder, response: &[u8]) -> bool {
        let shared = self.shared();
        Arc::ptr_eq(shared, &responder.shared)
            && Stock::has(response.len())
            && responder.check(response.len()).is_ok()
            && shared.parts.budget.reserve(response.len()).is_ok()
    }

    /// Sends responses that were admitted, under one lock and with one look at the clock. Returns
    /// how many clients still wait for theirs.
    pub(crate) fn reply_all<R: AsRef<[u8]>>(&self, replies: &mut Vec<(RawResponder, R)>) -> usize {
        if replies.is_empty() {
            return 0;
        }
        let Ok(mut state) = self.shared().lock() else {
            return 0;
        };
        let now = self.shared().parts.clock.now();
        let answers = replies.iter_mut().map(|(responder, response)| {
            let response = Outgoing::Short(response.as_ref());
            responder.answered = true;
            responder.answer(&mut state, now, response)
        });
        let sent = answers.filter(Result::is_ok).count();
        state.settle_and_alert(now);
        drop(state);
        replies.clear();
        sent
    }

    /// The handle that answers a request.
    pub(crate) fn responder(&self, rpc: RpcKey, peer: Address) -> RawResponder {
        RawResponder {
            shared: Arc::clone(self.shared()),
            rpc,
            server: self.server,
            socket: self.socket,
            peer: peer.to_socket_addr(),
            answered: false,
        }
    }

    /// From now on no request is taken; those that nobody received are dropped, and their clients
    /// told.
    pub(crate) fn start_draining(&self) {
        if let Ok(mut state) = self.shared().lock() {
            self.advance(&mut state, Phase::Draining);
        }
    }

    /// Whether every request is answered and every response acknowledged, or has `waker` called
    /// when that may be.
    pub(crate) fn drained(
        &self,
        state: &mut State,
        ticket: &mut Ticket,
        waker: Option<&Waker>,
    ) -> Option<()> {
        let entry = state.parties.servers.get_mut(self.server)?;
        entry.closing.drained(ticket, waker)
    }

    /// Ends every RPC, tells the clients, and closes the socket.
    pub(crate) fn close(&self) {
        let Ok(mut state) = self.shared().lock() else {
            return;
        };
        let entry = state.parties.servers.get(self.server);
        if entry.is_none_or(|entry| entry.closing.is_closed()) {
            return;
        }
        self.advance(&mut state, Phase::Closed);
        let now = self.shared().parts.clock.now();
        state.close_socket(now, self.socket);
        state.settle_and_alert(now);
    }

    fn advance(&self, state: &mut State, phase: Phase) {
        let now = self.shared().parts.clock.now();
        let State { parties, woken, .. } = state;
        let Some(entry) = parties.servers.get_mut(self.server) else {
            return;
        };
        entry.advance(phase, woken);
        for request in core::mem::take(&mut entry.requests) {
            state.engine.drop_request(now, request.rpc);
        }
        // Those that are not whole are refused when they are.
        for announced in core::mem::take(&mut entry.announced) {
            state.engine.drop_request(now, announced.rpc);
            state.messages_mut().forget(announced.rpc);
        }
        state.settle_and_alert(now);
    }
}

impl Drop for ServerCore {
    fn drop(&mut self) {
        self.close();
        if let Ok(mut state) = self.shared().lock() {
            state.parties.servers.remove(self.server);
            state.messages_mut().announce_no_more(self.server);
        }
    }
}

/// Responses that leave together: what one segmented send takes.
pub(crate) const REPLIES_TOGETHER: usize = 64;

/// The first of `addresses` that can be bound.
pub(crate) fn bind_first(
    host: &Host,
    addresses: impl Iterator<Item = SocketAddr>,
) -> Result<ServerCore, BindError> {
    let mut last = BindError::Resolve(ResolveError::new("the name has no address"));
    for address in addresses {
        match ServerCore::bind(host, address) {
            Ok(core) => return Ok(core),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Answers one request; dropping it unanswered tells the client.
pub(crate) struct RawResponder {
    shared: Arc<Shared>,
    rpc: RpcKey,
    server: u32,
    socket: SocketId,
    pub(crate) peer: SocketAddr,
    answered: bool,
}

impl RawResponder {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether a response may be sent at all.
    pub(crate) fn check(&self, length: usize) -> Result<(), ReplyError> {
        let limit = self.shared.message_max;
        if length == 0 {
            return Err(ReplyError::Empty);
        }
        if length > limit as usize {
            return Err(ReplyError::MessageTooLong { length, limit });
        }
        Ok(())
    }

    /// Takes room in the send budget, or has `waker` called when there may be some.
    pub(crate) fn room(
        &self,
        state: &mut State,
        bytes: usize,
        ticket: &mut Ticket,
        waker: Option<&Waker>,
    ) -> Option<Result<(), ReplyError>> {
        if self.is_closed(state) {
            return Some(Err(ReplyError::Closed));
        }
        self.shared.room(state, bytes, ticket, waker).map(Ok)
    }

    /// Sends a response that has its room.
    pub(crate) fn reply(mut self, response: Source<'_>) -> Result<(), ReplyError> {
        let response = self.shared.outgoing(response);
        let response = response.ok_or(ReplyError::OutOfMemory)?;
        self.answered = true;
        let mut state = self.shared.lock()?;
        let now = self.shared.parts.clock.now();
        let outcome = self.answer(&mut state, now, response);
        let entry = state.parties.servers.get(self.server);
        let queued = entry.is_some_and(|entry| !entry.requests.is_empty());
        state.settle_soon(now, queued);
        outcome
    }

    /// Has the engine answer, or drop the request if that fails.
    fn answer(
        &self,
        state: &mut State,
        now: Instant,
        response: Outgoing<'_>,
    ) -> Result<(), ReplyError> {
        let outcome = self.try_answer(state, now, response);
        if outcome.is_err() {
            state.engine.drop_request(now, self.rpc);
        }
        outcome
    }

    fn try_answer(
        &self,
        state: &mut State,
        now: Instant,
        response: Outgoing<'_>,
    ) -> Result<(), ReplyError> {
        let response = state.outbound(response).ok_or(ReplyError::OutOfMemory)?;
        let length = u32::try_from(response.len()).unwrap_or(u32::MAX);
        let segment_bytes = state.segment_bytes(now, self.socket, self.peer.ip());
        match state.engine.reply(now, self.rpc, length, segment_bytes) {
            Ok(()) => {
                state.set_response(now, self.rpc, response);
                Ok(())
            }
            Err(error) => {
                state.free_outbound(response);
                Err(self.explain(state, error, length))
            }
        }
    }

    fn explain(&self, state: &State, error: homa_proto::ReplyError, length: u32) -> ReplyError {
        match error {
            homa_proto::ReplyError::EmptyMessage => ReplyError::Empty,
            homa_proto::ReplyError::MessageTooLong => ReplyError::MessageTooLong {
                length: length as usize,
                limit: self.shared.message_max,
            },
            homa_proto::ReplyError::Gone if self.is_closed(state) => ReplyError::Closed,
            homa_proto::ReplyError::Gone => ReplyError::Gone,
        }
    }

    fn is_closed(&self, state: &State) -> bool {
        let entry = state.parties.servers.get(self.server);
        entry.is_none_or(|entry| entry.closing.is_closed())
    }
}

impl Drop for RawResponder {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let Ok(mut state) = self.shared.lock() else {
            return;
        };
        let now = self.shared.parts.clock.now();
        state.engine.drop_request(now, self.rpc);
        state.settle_and_alert(now);
    }
}
