//! Clients for threads.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::net::ToSocketAddrs;
use std::sync::Arc;

use homa_net::Link;

use crate::calls::{ClientCore, Completion, RawCall, Submission, Terms, no_address, result_of};
use crate::error::{BindError, CallError, RecvError};
use crate::host::Host;
use crate::options::CallOptions;
use crate::pool::Message;
use crate::waiting::Ticket;

/// Makes calls to any number of servers, from any number of threads.
///
/// A clone is the same client. When the last clone is dropped, calls under way end with
/// [`CallError::Closed`]; [`shutdown`](Self::shutdown) waits for them first.
#[derive(Clone)]
pub struct Client {
    core: Arc<ClientCore>,
}

impl Client {
    /// A client on a host of its own. It needs no port: the system chooses one at the first call.
    ///
    /// # Errors
    ///
    /// The system refuses descriptors, memory or a thread.
    pub fn new() -> Result<Self, BindError> {
        Self::on(&Host::builder().build()?)
    }

    /// A client on `host`, beside the host's other clients and servers.
    ///
    /// # Errors
    ///
    /// The system refuses a thread, or the host is broken.
    pub fn on(host: &Host) -> Result<Self, BindError> {
        host.ensure_background()?;
        Ok(Self::of(ClientCore::new(host)?))
    }

    /// A client on `host` that calls over `link`.
    ///
    /// # Errors
    ///
    /// As [`on`](Self::on), and if the host has too many sockets.
    pub fn on_link(host: &Host, link: Box<dyn Link>) -> Result<Self, BindError> {
        host.ensure_background()?;
        Ok(Self::of(ClientCore::on_link(host, link)?))
    }

    pub(super) fn of(core: ClientCore) -> Self {
        Self {
            core: Arc::new(core),
        }
    }

    /// Sends `request` to `server` and waits for the response.
    ///
    /// `server` is an address or a name with a port; the addresses of a name are tried until one
    /// is reached. While the send budget is used up it waits for room first.
    ///
    /// # Errors
    ///
    /// Each variant of [`CallError`] says whether the request may have run.
    pub fn call(&self, server: impl ToSocketAddrs, request: &[u8]) -> Result<Message, CallError> {
        self.call_with(server, request, CallOptions::default())
    }

    /// [`call`](Self::call) with a deadline or a promise that the request may run twice.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn call_with(
        &self,
        server: impl ToSocketAddrs,
        request: &[u8],
        options: CallOptions,
    ) -> Result<Message, CallError> {
        let mut last = None;
        for peer in resolve(server)? {
            match self.call_one(peer, request, options) {
                Err(error) if error.is_about_address() => last = Some(error),
                outcome => return outcome,
            }
        }
        Err(last.unwrap_or_else(no_address))
    }

    /// Sends `request` to `server` and returns a handle that gets the response.
    ///
    /// It returns before the request is sent; `request` has been copied. Of a name the first
    /// address counts. While the send budget is used up it waits for room first.
    ///
    /// # Errors
    ///
    /// The request was not started; it did not run.
    pub fn start(&self, server: impl ToSocketAddrs, request: &[u8]) -> Result<Pending, CallError> {
        self.start_with(server, request, CallOptions::default())
    }

    /// [`start`](Self::start) with a deadline or a promise that the request may run twice.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(
        &self,
        server: impl ToSocketAddrs,
        request: &[u8],
        options: CallOptions,
    ) -> Result<Pending, CallError> {
        self.launch(first(server)?, request, options)
    }

    /// Sends `request` to `server`; the response comes out of
    /// [`next_completion`](Self::next_completion) with the number `cookie`.
    ///
    /// It blocks only to look up a name, of which the first address counts.
    ///
    /// # Errors
    ///
    /// The request was not started; it did not run. [`CallError::SendBufferFull`]: take some
    /// completions first.
    pub fn submit(
        &self,
        server: impl ToSocketAddrs,
        request: &[u8],
        cookie: u64,
    ) -> Result<(), CallError> {
        self.submit_with(server, request, cookie, CallOptions::default())
    }

    /// [`submit`](Self::submit) with a deadline or a promise that the request may run twice.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn submit_with(
        &self,
        server: impl ToSocketAddrs,
        request: &[u8],
        cookie: u64,
        options: CallOptions,
    ) -> Result<(), CallError> {
        let terms = self.core.terms(first(server)?, &options);
        self.core.check(request.len(), &terms)?;
        self.core.submit(&terms, request, cookie)
    }

    /// Submits many calls, with little more effort than one takes: for short requests several times
    /// faster than [`submit`](Self::submit). Each gets its completion, those that cannot be started
    /// too; such a one did not run.
    ///
    /// # Errors
    ///
    /// The host is broken.
    pub fn submit_all<'a>(
        &self,
        calls: impl IntoIterator<Item = Submission<'a>>,
    ) -> Result<(), CallError> {
        Ok(self.core.submit_all(calls)?)
    }

    /// Waits until a submitted call ends, appends the completions of all that have to `into`, and
    /// returns how many those are. Zero: none ended within `timeout`.
    ///
    /// # Errors
    ///
    /// As [`next_completion`](Self::next_completion).
    pub fn completions(
        &self,
        into: &mut Vec<Completion>,
        timeout: Option<Duration>,
    ) -> Result<usize, RecvError> {
        let shared = self.core.shared();
        let deadline = timeout.map(|timeout| shared.parts.clock.now() + timeout);
        let mut ticket = Ticket::default();
        let ended = shared.wait(deadline, |state, waker| {
            self.core.completions(state, into, &mut ticket, waker)
        })?;
        self.core.leave_takers(&mut ticket);
        ended.unwrap_or(Ok(0))
    }

    /// Waits for the next submitted call to end, in whatever order they do. `None`: none did
    /// within `timeout`. Without a timeout it waits as long as it takes, even while no call is
    /// under way: another thread may submit one.
    ///
    /// # Errors
    ///
    /// The client is closed and every completion was taken.
    pub fn next_completion(
        &self,
        timeout: Option<Duration>,
    ) -> Result<Option<Completion>, RecvError> {
        let shared = self.core.shared();
        let deadline = timeout.map(|timeout| shared.parts.clock.now() + timeout);
        let mut ticket = Ticket::default();
        let next = shared.wait(deadline, |state, waker| {
            self.core.completion(state, &mut ticket, waker)
        })?;
        self.core.leave_takers(&mut ticket);
        next.transpose()
    }

    /// Takes no more calls, waits until those under way are over or `timeout` has passed, and
    /// closes the client. Returns whether all were over. Doing it again changes nothing.
    pub fn shutdown(&self, timeout: Duration) -> bool {
        self.core.start_draining();
        let shared = self.core.shared();
        let deadline = shared.parts.clock.now() + timeout;
        let mut ticket = Ticket::default();
        let drained = shared.wait(Some(deadline), |state, waker| {
            self.core.drained(state, &mut ticket, waker)
        });
        self.core.close();
        matches!(drained, Ok(Some(())))
    }

    /// Closes the client at once: calls under way end with [`CallError::Closed`].
    pub fn close(&self) {
        self.core.close();
    }

    fn launch(
        &self,
        peer: SocketAddr,
        request: &[u8],
        options: CallOptions,
    ) -> Result<Pending, CallError> {
        let terms = self.prepare(peer, request, options)?;
        let raw = self.core.start(&terms, request, None)?;
        Ok(Pending { raw })
    }

    fn call_one(
        &self,
        peer: SocketAddr,
        request: &[u8],
        options: CallOptions,
    ) -> Result<Message, CallError> {
        let terms = self.prepare(peer, request, options)?;
        let (state, call) = self.core.start_to_wait(&terms, request)?;
        let shared = self.core.shared();
        let result = shared.wait_from(state, None, |state, waker| result_of(state, call, waker))?;
        // Without a deadline the wait ends with a result only.
        result.unwrap_or(Err(CallError::Broken))
    }

    /// Checks a request and waits until there is room for it.
    fn prepare(
        &self,
        peer: SocketAddr,
        request: &[u8],
        options: CallOptions,
    ) -> Result<Terms, CallError> {
        let mut terms = self.core.terms(peer, &options);
        self.core.check(request.len(), &terms)?;
        let shared = self.core.shared();
        if shared.parts.budget.reserve(request.len()).is_err() {
            self.wait_for_room(request.len(), &mut terms)?;
        }
        Ok(terms)
    }

    #[cold]
    fn wait_for_room(&self, bytes: usize, terms: &mut Terms) -> Result<(), CallError> {
        let shared = self.core.shared();
        let mut ticket = Ticket::default();
        let room = shared.wait(terms.deadline, |state, waker| {
            self.core.room(state, bytes, &mut ticket, waker)
        })?;
        shared.leave_senders(&mut ticket);
        terms.now = shared.parts.clock.now();
        room.unwrap_or(Err(CallError::DeadlineExceeded))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// The addresses of a name.
fn resolve(server: impl ToSocketAddrs) -> Result<impl Iterator<Item = SocketAddr>, CallError> {
    let addresses = server.to_socket_addrs();
    addresses.map_err(|error| CallError::Resolve(error.into()))
}

/// The first address of a name.
fn first(server: impl ToSocketAddrs) -> Result<SocketAddr, CallError> {
    resolve(server)?.next().ok_or_else(no_address)
}

/// A call under way. Dropping it aborts the call.
#[must_use = "dropping it aborts the call"]
pub struct Pending {
    pub(super) raw: RawCall,
}

impl Pending {
    /// Waits for the response.
    ///
    /// # Errors
    ///
    /// Each variant of [`CallError`] says whether the request may have run.
    pub fn wait(mut self) -> Result<Message, CallError> {
        let shared = Arc::clone(self.raw.shared());
        let result = shared.wait(None, |state, waker| self.raw.result(state, waker))?;
        // Without a deadline the wait ends with a result only.
        result.unwrap_or(Err(CallError::Broken))
    }

    /// Whether [`wait`](Self::wait) would return at once.
    pub fn is_done(&self) -> bool {
        self.raw.is_done()
    }

    /// The server's address.
    pub fn peer(&self) -> SocketAddr {
        self.raw.peer
    }

    /// Gives the call up: its response, if one comes, is ignored. The request may have run.
    pub fn abort(self) {
        drop(self);
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending(to {})", self.raw.peer)
    }
}
