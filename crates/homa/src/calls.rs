//! A client without its waiting: what the blocking and the asynchronous API share.
//!
//! It decides by which socket a call leaves, and that a request is copied before it is sent. How
//! its caller waits is decided in the two APIs.

mod batch;

pub use batch::Submission;

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
#[cfg(feature = "tokio")]
use core::task::Poll;
use core::task::Waker;
use std::sync::Arc;

use homa_net::Link;
use homa_proto::{Address, Call, Instant, Path, RpcKey, SocketId};

use crate::arriving::copy;
use crate::closing::Phase;
use crate::error::{BindError, CallError, RecvError, ResolveError};
use crate::host::{Host, add_link};
use crate::messages::Party;
use crate::options::CallOptions;
use crate::parties::{CallEntry, ClientEntry, RawCompletion};
use crate::pool::Message;
use crate::routes::reachable;
use crate::shared::{Guard, Outgoing, Shared, Source};
use crate::state::State;
use crate::waiting::Ticket;

/// The end of a call that was submitted, see `submit` of the clients.
#[derive(Debug)]
pub struct Completion {
    /// The number that the call was submitted with.
    pub cookie: u64,
    /// The server.
    pub peer: SocketAddr,
    /// The response, or why there is none.
    pub result: Result<Message, CallError>,
}

impl From<RawCompletion> for Completion {
    fn from(raw: RawCompletion) -> Self {
        Self {
            cookie: raw.cookie,
            peer: raw.peer.to_socket_addr(),
            result: raw.result,
        }
    }
}

/// What a call is started with, its deadline as a moment.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) peer: SocketAddr,
    /// The moment of the call.
    pub(crate) now: Instant,
    pub(crate) deadline: Option<Instant>,
    idempotent: bool,
}

/// A client; dropping it closes its sockets and ends its calls.
pub(crate) struct ClientCore {
    host: Host,
    client: u32,
}

impl ClientCore {
    /// A client that opens its sockets when it needs them.
    pub(crate) fn new(host: &Host) -> Result<Self, BindError> {
        let client = host.lock()?.parties.clients.insert(ClientEntry::default());
        Ok(Self {
            host: host.clone(),
            client,
        })
    }

    /// A client with `link` as its socket for the link's address family.
    pub(crate) fn on_link(host: &Host, link: Box<dyn Link>) -> Result<Self, BindError> {
        let core = Self::new(host)?;
        let address = link.local_addr();
        let mut state = host.lock()?;
        let socket = add_link(&mut state, link, false, None)?;
        *family(&mut state, core.client, address) = Some(socket);
        drop(state);
        Ok(core)
    }

    /// A client that calls by the socket of a server where it can.
    pub(crate) fn lent(host: &Host, socket: SocketId, at: SocketAddr) -> Result<Self, BindError> {
        let core = Self::new(host)?;
        let mut state = host.lock()?;
        *family(&mut state, core.client, at) = Some(socket);
        if let Some(entry) = state.parties.clients.get_mut(core.client) {
            entry.lent = Some(socket);
        }
        drop(state);
        Ok(core)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.host.shared()
    }

    /// What a call to `peer` is started with, from now on.
    pub(crate) fn terms(&self, peer: SocketAddr, options: &CallOptions) -> Terms {
        self.terms_at(self.shared().parts.clock.now(), peer, options)
    }

    fn terms_at(&self, now: Instant, peer: SocketAddr, options: &CallOptions) -> Terms {
        Terms {
            peer: reachable(peer),
            now,
            deadline: options.deadline.map(|time| now + time),
            idempotent: options.idempotent,
        }
    }

    /// Whether a request may be sent at all.
    pub(crate) fn check(&self, length: usize, terms: &Terms) -> Result<(), CallError> {
        let limit = self.shared().message_max;
        if length == 0 {
            return Err(CallError::Empty);
        }
        if length > limit as usize {
            return Err(CallError::MessageTooLong { length, limit });
        }
        if terms.peer.port() == 0 {
            return Err(CallError::Resolve(ResolveError::new(
                "port 0 stands for no server",
            )));
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
    ) -> Option<Result<(), CallError>> {
        if !self.is_open(state) {
            return Some(Err(CallError::Closed));
        }
        self.shared().room(state, bytes, ticket, waker).map(Ok)
    }

    /// Starts a call that has its room; its completion goes to the handle.
    /// Whoever asks for the result next, at once, may give its `waker`: then that costs nothing.
    pub(crate) fn start(
        &self,
        terms: &Terms,
        request: &[u8],
        waker: Option<&Waker>,
    ) -> Result<RawCall, CallError> {
        let request = self.outgoing(request)?;
        let mut state = self.shared().lock()?;
        let begun = self.enter(&mut state, terms, request, waker)?;
        state.settle_soon(begun.now, false);
        Ok(RawCall {
            shared: Arc::clone(self.shared()),
            rpc: begun.rpc,
            call: begun.call,
            peer: terms.peer,
            #[cfg(feature = "tokio")]
            is_entered: waker.is_some(),
            over: false,
            read: 0,
        })
    }

    /// Starts a call and keeps the lock, for a caller that waits at once until [`result_of`] the call
    /// is there: nobody else need be woken to keep it going.
    pub(crate) fn start_to_wait(
        &self,
        terms: &Terms,
        request: &[u8],
    ) -> Result<(Guard<'_>, u32), CallError> {
        let request = self.outgoing(request)?;
        let mut state = self.shared().lock()?;
        let begun = self.enter(&mut state, terms, request, None)?;
        state.settle(begun.now);
        Ok((state, begun.call))
    }

    /// Starts a call.
    fn enter(
        &self,
        state: &mut State,
        terms: &Terms,
        request: Outgoing<'_>,
        waker: Option<&Waker>,
    ) -> Result<Begun, CallError> {
        let entry = CallEntry::Waiting(waker.cloned());
        let call = state.parties.calls.insert(entry);
        let party = Party::Call {
            client: self.client,
            call,
        };
        match self.launch(state, terms, party, request) {
            Ok((rpc, now)) => Ok(Begun { rpc, call, now }),
            Err(error) => {
                state.parties.calls.remove(call);
                Err(error)
            }
        }
    }

    fn reserve(&self, bytes: usize) -> Result<(), CallError> {
        let budget = &self.shared().parts.budget;
        let limit = budget.limit();
        budget
            .reserve(bytes)
            .map_err(|held| CallError::SendBufferFull { held, limit })
    }

    /// Submits a call; its completion goes to the queue. It does not wait for room.
    pub(crate) fn submit(
        &self,
        terms: &Terms,
        request: &[u8],
        cookie: u64,
    ) -> Result<(), CallError> {
        self.reserve(request.len())?;
        let request = self.outgoing(request)?;
        let mut state = self.shared().lock()?;
        let party = self.submitted(terms, cookie);
        let (_, now) = self.launch(&mut state, terms, party, request)?;
        let entry = state.parties.clients.get(self.client);
        let queued = entry.is_some_and(|entry| !entry.done.is_empty());
        state.settle_soon(now, queued);
        Ok(())
    }

    /// The next completion, or has `waker` called when there may be one.
    pub(crate) fn completion(
        &self,
        state: &mut State,
        ticket: &mut Ticket,
        waker: Option<&Waker>,
    ) -> Option<Result<Completion, RecvError>> {
        let entry = state.parties.clients.get_mut(self.client)?;
        if let Some(completion) = entry.done.pop_front() {
            return Some(Ok(completion.into()));
        }
        if entry.closing.is_closed() {
            return Some(Err(RecvError::Closed));
        }
        if let Some(waker) = waker {
            entry.takers.enter(ticket, waker);
        }
        None
    }

    /// Takes back what [`completion`](Self::completion) entered.
    pub(crate) fn leave_takers(&self, ticket: &mut Ticket) {
        if !ticket.is_entered() {
            return;
        }
        let Ok(mut state) = self.shared().lock() else {
            return;
        };
        let State { parties, woken, .. } = &mut *state;
        if let Some(entry) = parties.clients.get_mut(self.client) {
            entry.leave(ticket, woken);
        }
    }

    /// From now on no call is taken.
    pub(crate) fn start_draining(&self) {
        if let Ok(mut state) = self.shared().lock() {
            self.advance(&mut state, Phase::Draining);
        }
    }

    /// Whether every call is over, or has `waker` called when that may be.
    pub(crate) fn drained(
        &self,
        state: &mut State,
        ticket: &mut Ticket,
        waker: Option<&Waker>,
    ) -> Option<()> {
        let entry = state.parties.clients.get_mut(self.client)?;
        entry.closing.drained(ticket, waker)
    }

    /// Ends every call and closes the sockets, but for one that belongs to a server.
    pub(crate) fn close(&self) {
        let now = self.shared().parts.clock.now();
        let Ok(mut state) = self.shared().lock() else {
            return;
        };
        self.advance(&mut state, Phase::Closed);
        let Some(entry) = state.parties.clients.get_mut(self.client) else {
            return;
        };
        let lent = entry.lent;
        let sockets = [entry.v4.take(), entry.v6.take()];
        for rpc in state.calls_of(self.client) {
            state.engine.abort(now, rpc);
        }
        for socket in sockets
            .into_iter()
            .flatten()
            .filter(|&socket| Some(socket) != lent)
        {
            state.close_socket(now, socket);
        }
        state.settle_and_alert(now);
    }

    fn advance(&self, state: &mut State, phase: Phase) {
        let State {
            parties,
            woken,
            senders,
            ..
        } = state;
        if let Some(entry) = parties.clients.get_mut(self.client) {
            entry.advance(phase, woken);
        }
        senders.wake_all(woken);
    }

    fn is_open(&self, state: &State) -> bool {
        let entry = state.parties.clients.get(self.client);
        entry.is_some_and(|entry| entry.closing.is_open())
    }

    /// A request that has its room in the send budget, on its way to the state.
    fn outgoing<'a>(&self, request: impl Into<Source<'a>>) -> Result<Outgoing<'a>, CallError> {
        let request = self.shared().outgoing(request);
        request.ok_or(CallError::TooManyRpcs)
    }

    fn submitted(&self, terms: &Terms, cookie: u64) -> Party {
        Party::Submitted {
            client: self.client,
            cookie,
            peer: terms.peer.into(),
        }
    }

    /// Hands a call to the engine, and says at which moment. On failure the request and its room are
    /// free again.
    fn launch(
        &self,
        state: &mut State,
        terms: &Terms,
        party: Party,
        request: Outgoing<'_>,
    ) -> Result<(RpcKey, Instant), CallError> {
        let request = state.outbound(request).ok_or(CallError::TooManyRpcs)?;
        match self.try_launch(state, terms, request.len()) {
            Ok((rpc, now)) => {
                state.start(now, rpc, party, request);
                Ok((rpc, now))
            }
            Err(error) => {
                state.free_outbound(request);
                Err(error)
            }
        }
    }

    fn try_launch(
        &self,
        state: &mut State,
        terms: &Terms,
        length: usize,
    ) -> Result<(RpcKey, Instant), CallError> {
        if !self.is_open(state) {
            return Err(CallError::Closed);
        }
        let (socket, now) = self.socket(state, terms).map_err(CallError::Socket)?;
        let call = Call {
            path: Path {
                socket,
                peer: Address::from(terms.peer),
                local: Ipv6Addr::UNSPECIFIED,
            },
            dest_port: terms.peer.port(),
            length: u32::try_from(length).unwrap_or(u32::MAX),
            segment_bytes: state.segment_bytes(now, socket, terms.peer.ip()),
            deadline: terms.deadline,
            idempotent: terms.idempotent,
        };
        let rpc = state.engine.call(now, call).map_err(|error| match error {
            homa_proto::CallError::EmptyMessage => CallError::Empty,
            homa_proto::CallError::MessageTooLong => CallError::MessageTooLong {
                length,
                limit: self.shared().message_max,
            },
            homa_proto::CallError::Full => CallError::TooManyRpcs,
            homa_proto::CallError::NoSocket => CallError::Closed,
        })?;
        Ok((rpc, now))
    }

    /// The socket that a call leaves by, opened if there is none yet, and the moment at which it was
    /// there. Opening takes milliseconds where the system is busy: an engine that took the moment
    /// before it for that of the call would ask for the response as soon as the request has left.
    fn socket(&self, state: &mut State, terms: &Terms) -> Result<(SocketId, Instant), BindError> {
        let peer = terms.peer;
        if let Some(socket) = *family(state, self.client, peer) {
            return Ok((socket, terms.now));
        }
        let any = match peer {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let link = self.host.open_link(any, false)?;
        let socket = add_link(state, link, false, None)?;
        *family(state, self.client, peer) = Some(socket);
        Ok((socket, self.shared().parts.clock.now()))
    }
}

impl Drop for ClientCore {
    fn drop(&mut self) {
        self.close();
        if let Ok(mut state) = self.shared().lock() {
            state.parties.clients.remove(self.client);
        }
    }
}

/// What a call to a name without addresses ends with.
pub(crate) fn no_address() -> CallError {
    CallError::Resolve(ResolveError::new("the name has no address"))
}

/// Where a client keeps its socket for the address family of `peer`.
fn family(state: &mut State, client: u32, peer: SocketAddr) -> &mut Option<SocketId> {
    let entry = state.parties.clients.get_mut(client);
    let entry = entry.expect("a client's entry goes with its last handle");
    if peer.is_ipv4() {
        &mut entry.v4
    } else {
        &mut entry.v6
    }
}

/// A call that the engine took.
struct Begun {
    rpc: RpcKey,
    /// Its entry among the calls.
    call: u32,
    now: Instant,
}

/// The result of a call, once; or has `waker` called when there is one.
pub(crate) fn result_of(
    state: &mut State,
    call: u32,
    waker: Option<&Waker>,
) -> Option<Result<Message, CallError>> {
    if let CallEntry::Waiting(waiting) = state.parties.calls.get_mut(call)? {
        if let Some(waker) = waker {
            *waiting = Some(waker.clone());
        }
        return None;
    }
    match state.parties.calls.remove(call) {
        Some(CallEntry::Done(result)) => Some(result),
        _ => None,
    }
}

/// A call whose completion comes to this handle alone; dropping it aborts the call.
pub(crate) struct RawCall {
    shared: Arc<Shared>,
    rpc: RpcKey,
    call: u32,
    pub(crate) peer: SocketAddr,
    /// Whether the waker of whoever asks next was entered at the start.
    #[cfg(feature = "tokio")]
    is_entered: bool,
    /// Whether the result was taken.
    over: bool,
    /// Bytes of the response handed out while it arrived.
    read: usize,
}

impl RawCall {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The result, or has `waker` called when there is one.
    pub(crate) fn result(
        &mut self,
        state: &mut State,
        waker: Option<&Waker>,
    ) -> Option<Result<Message, CallError>> {
        let result = result_of(state, self.call, waker);
        self.over |= result.is_some();
        result
    }

    /// [`result`](Self::result), for a task.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll(&mut self, waker: &Waker) -> Poll<Result<Message, CallError>> {
        if core::mem::take(&mut self.is_entered) {
            return Poll::Pending;
        }
        let mut state = self.shared.lock()?;
        let result = result_of(&mut state, self.call, Some(waker));
        self.over |= result.is_some();
        result.map_or(Poll::Pending, Poll::Ready)
    }

    /// Copies the next bytes of the response that are there, zero of them behind its end, or has
    /// `waker` called when there may be more.
    pub(crate) fn read(
        &mut self,
        state: &mut State,
        into: &mut [u8],
        waker: Option<&Waker>,
    ) -> Option<Result<usize, CallError>> {
        let count = match state.parties.calls.get(self.call) {
            Some(CallEntry::Waiting(_)) => state.read(self.rpc, self.read, into).unwrap_or(0),
            Some(CallEntry::Done(Ok(message))) => {
                let count = copy(message.get(self.read..).unwrap_or_default(), into);
                self.read += count;
                return Some(Ok(count));
            }
            Some(CallEntry::Done(Err(_))) => return Some(self.result(state, None)?.map(|_| 0)),
            Some(CallEntry::Abandoned) | None => return Some(Ok(0)),
        };
        if count == 0 && !into.is_empty() {
            state.messages_mut().watch(self.rpc, waker);
            if let Some(CallEntry::Waiting(waiting)) = state.parties.calls.get_mut(self.call) {
                *waiting = waker.cloned().or_else(|| waiting.take());
            }
            return None;
        }
        self.read += count;
        Some(Ok(count))
    }

    /// Whether the call is over, so that waiting would not block.
    pub(crate) fn is_done(&self) -> bool {
        let Ok(state) = self.shared.lock() else {
            return true;
        };
        !matches!(
            state.parties.calls.get(self.call),
            Some(CallEntry::Waiting(_))
        )
    }
}

impl Drop for RawCall {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let Ok(mut state) = self.shared.lock() else {
            return;
        };
        let Some(entry) = state.parties.calls.get_mut(self.call) else {
            return;
        };
        if matches!(entry, CallEntry::Done(_)) {
            state.parties.calls.remove(self.call);
            return;
        }
        *entry = CallEntry::Abandoned;
        let now = self.shared.parts.clock.now();
        state.engine.abort(now, self.rpc);
        state.settle_and_alert(now);
    }
}
