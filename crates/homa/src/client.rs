//! Clients for tasks.

use core::fmt;
use core::future::{Future, poll_fn};
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use homa_net::Link;
use tokio::net::ToSocketAddrs;

use crate::calls::{ClientCore, Completion, RawCall, Submission, Terms, no_address};
use crate::error::{BindError, CallError, RecvError};
use crate::host::Host;
use crate::options::CallOptions;
use crate::pool::Message;
use crate::runtime::attach;
use crate::shared::Shared;
use crate::state::State;
use crate::waiting::Ticket;

/// Makes calls to any number of servers, from any number of tasks.
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
    /// No runtime runs here, or the system refuses descriptors or memory.
    ///
    /// # Panics
    ///
    /// In a runtime without I/O enabled; the same holds for all that make a client or a server.
    pub fn new() -> Result<Self, BindError> {
        Self::on(&Host::builder().build()?)
    }

    /// A client on `host`, beside the host's other clients and servers. The runtime of whoever
    /// first makes a client or a server on a host drives it.
    ///
    /// # Errors
    ///
    /// No runtime runs here, or the host is broken.
    pub fn on(host: &Host) -> Result<Self, BindError> {
        attach(host)?;
        Ok(Self::of(ClientCore::new(host)?))
    }

    /// A client on `host` that calls over `link`.
    ///
    /// # Errors
    ///
    /// As [`on`](Self::on), and if the host has too many sockets.
    pub fn on_link(host: &Host, link: Box<dyn Link>) -> Result<Self, BindError> {
        attach(host)?;
        Ok(Self::of(ClientCore::on_link(host, link)?))
    }

    pub(crate) fn of(core: ClientCore) -> Self {
        Self {
            core: Arc::new(core),
        }
    }

    /// Sends `request` to `server` and waits for the response. Dropping the future aborts the
    /// call.
    ///
    /// `server` is an address or a name with a port; the addresses of a name are tried until one
    /// is reached. While the send budget is used up it waits for room first.
    ///
    /// # Errors
    ///
    /// Each variant of [`CallError`] says whether the request may have run.
    pub async fn call(
        &self,
        server: impl ToSocketAddrs,
        request: &[u8],
    ) -> Result<Message, CallError> {
        self.call_with(server, request, CallOptions::default())
            .await
    }

    /// [`call`](Self::call) with a deadline or a promise that the request may run twice.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn call_with(
        &self,
        server: impl ToSocketAddrs,
        request: &[u8],
        options: CallOptions,
    ) -> Result<Message, CallError> {
        let mut last = None;
        for peer in resolve(server).await? {
            match self.launch(peer, request, options, true).await?.await {
                Err(error) if error.is_about_address() => last = Some(error),
                outcome => return outcome,
            }
        }
        Err(last.unwrap_or_else(no_address))
    }

    /// Sends `request` to `server` and returns a future that gets the response.
    ///
    /// It is ready before the request is sent; `request` has been copied. Of a name the first
    /// address counts. While the send budget is used up it waits for room first.
    ///
    /// # Errors
    ///
    /// The request was not started; it did not run.
    pub async fn start(
        &self,
        server: impl ToSocketAddrs,
        request: &[u8],
    ) -> Result<Pending, CallError> {
        self.start_with(server, request, CallOptions::default())
            .await
    }

    /// [`start`](Self::start) with a deadline or a promise that the request may run twice.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_with(
        &self,
        server: impl ToSocketAddrs,
        request: &[u8],
        options: CallOptions,
    ) -> Result<Pending, CallError> {
        let peer = first(server).await?;
        self.launch(peer, request, options, false).await
    }

    /// Sends `request` to `server`; the response comes out of
    /// [`next_completion`](Self::next_completion) with the number `cookie`.
    ///
    /// It waits for nothing but the look-up of a name, of which the first address counts.
    ///
    /// # Errors
    ///
    /// The request was not started; it did not run. [`CallError::SendBufferFull`]: take some
    /// completions first.
    pub async fn submit(
        &self,
        server: impl ToSocketAddrs,
        request: &[u8],
        cookie: u64,
    ) -> Result<(), CallError> {
        self.submit_with(server, request, cookie, CallOptions::default())
            .await
    }

    /// [`submit`](Self::submit) with a deadline or a promise that the request may run twice.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub async fn submit_with(
        &self,
        server: impl ToSocketAddrs,
        request: &[u8],
        cookie: u64,
        options: CallOptions,
    ) -> Result<(), CallError> {
        let terms = self.core.terms(first(server).await?, &options);
        self.core.check(request.len(), &terms)?;
        self.core.submit(&terms, request, cookie)
    }

    /// Waits for the next submitted call to end, in whatever order they do. It waits as long as
    /// it takes, even while no call is under way: another task may submit one. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    ///
    /// The client is closed and every completion was taken.
    pub async fn next_completion(&self) -> Result<Completion, RecvError> {
        let mut taker = Taker {
            core: &self.core,
            ticket: Ticket::default(),
        };
        poll_fn(|context| {
            let mut state = self.core.shared().lock()?;
            let next = self
                .core
                .completion(&mut state, &mut taker.ticket, Some(context.waker()));
            next.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Submits many calls, with little more effort than one takes; it waits for nothing. Each gets its
    /// completion, those that cannot be started too; such a one did not run.
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
    /// returns how many those are. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// As [`next_completion`](Self::next_completion).
    pub async fn completions(&self, into: &mut Vec<Completion>) -> Result<usize, RecvError> {
        let mut taker = Taker {
            core: &self.core,
            ticket: Ticket::default(),
        };
        poll_fn(|context| {
            let mut state = self.core.shared().lock()?;
            let waker = Some(context.waker());
            let came = self
                .core
                .completions(&mut state, into, &mut taker.ticket, waker);
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Takes no more calls, waits until those under way are over or `timeout` has passed, and
    /// closes the client. Returns whether all were over. Doing it again changes nothing.
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        self.core.start_draining();
        let mut ticket = Ticket::default();
        let drained = until_ready(self.core.shared(), |state, context| {
            self.core.drained(state, &mut ticket, Some(context.waker()))
        });
        let drained = tokio::time::timeout(timeout, drained).await;
        self.core.close();
        matches!(drained, Ok(Some(())))
    }

    /// Closes the client at once: calls under way end with [`CallError::Closed`].
    pub fn close(&self) {
        self.core.close();
    }

    /// `waits`: whether this task asks for the result at once.
    async fn launch(
        &self,
        peer: SocketAddr,
        request: &[u8],
        options: CallOptions,
        waits: bool,
    ) -> Result<Pending, CallError> {
        let mut terms = self.core.terms(peer, &options);
        self.core.check(request.len(), &terms)?;
        self.wait_for_room(request.len(), &mut terms).await?;
        let start = poll_fn(|context| {
            let waker = waits.then(|| context.waker());
            Poll::Ready(self.core.start(&terms, request, waker))
        });
        Ok(Pending { raw: start.await? })
    }

    async fn wait_for_room(&self, bytes: usize, terms: &mut Terms) -> Result<(), CallError> {
        let shared = self.core.shared();
        if shared.parts.budget.reserve(bytes).is_ok() {
            return Ok(());
        }
        let mut sender = Sender {
            shared,
            ticket: Ticket::default(),
        };
        let room = until_ready(shared, |state, context| {
            self.core
                .room(state, bytes, &mut sender.ticket, Some(context.waker()))
        });
        let room = match terms.deadline {
            None => room.await,
            Some(deadline) => tokio::time::timeout(shared.parts.clock.until(deadline), room)
                .await
                .map_err(|_| CallError::DeadlineExceeded)?,
        };
        terms.now = shared.parts.clock.now();
        room.unwrap_or(Err(CallError::Broken))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// Leaves the queue for completions, wherever the future that entered it was dropped.
struct Taker<'a> {
    core: &'a ClientCore,
    ticket: Ticket,
}

impl Drop for Taker<'_> {
    fn drop(&mut self) {
        self.core.leave_takers(&mut self.ticket);
    }
}

/// Leaves the queue for room, wherever the future that entered it was dropped.
pub(crate) struct Sender<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) ticket: Ticket,
}

impl Drop for Sender<'_> {
    fn drop(&mut self) {
        self.shared.leave_senders(&mut self.ticket);
    }
}

/// Waits until `ready` has a value; `None` if the host is broken.
pub(crate) async fn until_ready<T>(
    shared: &Shared,
    mut ready: impl FnMut(&mut State, &mut Context<'_>) -> Option<T>,
) -> Option<T> {
    poll_fn(|context| {
        let Ok(mut state) = shared.lock() else {
            return Poll::Ready(None);
        };
        match ready(&mut state, context) {
            Some(value) => Poll::Ready(Some(value)),
            None => Poll::Pending,
        }
    })
    .await
}

/// The addresses of a name.
async fn resolve(
    server: impl ToSocketAddrs,
) -> Result<impl Iterator<Item = SocketAddr>, CallError> {
    let addresses = tokio::net::lookup_host(server).await;
    addresses.map_err(|error| CallError::Resolve(error.into()))
}

/// The first address of a name.
async fn first(server: impl ToSocketAddrs) -> Result<SocketAddr, CallError> {
    resolve(server).await?.next().ok_or_else(no_address)
}

/// A call under way: a future of its response. Dropping it aborts the call.
#[must_use = "dropping it aborts the call"]
pub struct Pending {
    pub(crate) raw: RawCall,
}

impl Pending {
    /// Whether the response, or why there is none, is here.
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

impl Future for Pending {
    type Output = Result<Message, CallError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().raw.poll(context.waker())
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending(to {})", self.raw.peer)
    }
}
