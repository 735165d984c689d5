//! Servers for threads.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::IoSlice;
use std::net::ToSocketAddrs;
use std::sync::Arc;

use homa_net::Link;

use super::client::Client;
use crate::calls::ClientCore;
use crate::error::{BindError, RecvError, ReplyError};
use crate::host::Host;
use crate::parties::RawRequest;
use crate::pool::Message;
use crate::requests::{REPLIES_TOGETHER, RawResponder, ServerCore, bind_first};
use crate::shared::Source;
use crate::waiting::Ticket;

/// Receives requests at one address, in any number of threads.
///
/// A clone is the same server. When the last clone is dropped the socket is closed and clients are
/// told; [`shutdown`](Self::shutdown) answers what is under way first.
#[derive(Clone)]
pub struct Server {
    core: Arc<ServerCore>,
}

impl Server {
    /// A server at `address`, on a host of its own. Port 0 lets the system choose one.
    ///
    /// # Errors
    ///
    /// The address is in use, not of this machine, or not permitted, or the name has none.
    pub fn bind(address: impl ToSocketAddrs) -> Result<Self, BindError> {
        Self::bind_on(&Host::builder().build()?, address)
    }

    /// A server on `host`, beside the host's other clients and servers.
    ///
    /// Of a name with several addresses the first that can be bound counts.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_on(host: &Host, address: impl ToSocketAddrs) -> Result<Self, BindError> {
        host.ensure_background()?;
        let addresses = address.to_socket_addrs();
        let addresses = addresses.map_err(|error| BindError::Resolve(error.into()))?;
        let core = bind_first(host, addresses)?;
        Ok(Self::of(core))
    }

    /// A server on `host` that receives over `link`.
    ///
    /// # Errors
    ///
    /// The host has too many sockets, or is broken.
    pub fn on_link(host: &Host, link: Box<dyn Link>) -> Result<Self, BindError> {
        host.ensure_background()?;
        Ok(Self::of(ServerCore::on_link(host, link)?))
    }

    fn of(core: ServerCore) -> Self {
        Self {
            core: Arc::new(core),
        }
    }

    pub(super) fn core(&self) -> &ServerCore {
        &self.core
    }

    /// The address it receives at, with the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.core.local_addr()
    }

    /// A client that calls from this server's address to peers of its address family.
    ///
    /// # Errors
    ///
    /// The host is broken.
    pub fn client(&self) -> Result<Client, BindError> {
        let core = &self.core;
        let client = ClientCore::lent(core.host(), core.socket(), core.local_addr())?;
        Ok(Client::of(client))
    }

    /// Waits for the next request.
    ///
    /// # Errors
    ///
    /// The server is closed.
    pub fn recv(&self) -> Result<Request, RecvError> {
        // Without a deadline the wait ends with a result only.
        let raw = self.wait_for_request(None)?.ok_or(RecvError::Broken)?;
        Ok(self.request(raw))
    }

    /// Waits for the next request; `None`: none came within `timeout`. Zero asks without waiting.
    ///
    /// # Errors
    ///
    /// The server is closed.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<Request>, RecvError> {
        let raw = self.wait_for_request(Some(timeout))?;
        Ok(raw.map(|raw| self.request(raw)))
    }

    fn wait_for_request(&self, timeout: Option<Duration>) -> Result<Option<RawRequest>, RecvError> {
        let shared = self.core.shared();
        let deadline = timeout.map(|timeout| shared.parts.clock.now() + timeout);
        let mut ticket = Ticket::default();
        let next = shared.wait(deadline, |state, waker| {
            self.core.request(state, &mut ticket, waker)
        })?;
        self.core.leave_takers(&mut ticket);
        next.transpose()
    }

    fn request(&self, raw: RawRequest) -> Request {
        let responder = self.core.responder(raw.rpc, raw.peer);
        Request {
            peer: responder.peer,
            id: raw.id,
            responder: Responder { raw: responder },
            message: raw.message,
        }
    }

    /// Waits for requests, appends all that there are to `into`, and returns how many those are.
    /// Zero: none came within `timeout`. For short requests that come many at a time this and
    /// [`reply_all`](Self::reply_all) take several times less effort than one by one.
    ///
    /// # Errors
    ///
    /// The server is closed.
    pub fn recv_all(
        &self,
        into: &mut Vec<Request>,
        timeout: Option<Duration>,
    ) -> Result<usize, RecvError> {
        let shared = self.core.shared();
        let deadline = timeout.map(|timeout| shared.parts.clock.now() + timeout);
        let mut ticket = Ticket::default();
        let mut raw = Vec::new();
        let came = shared.wait(deadline, |state, waker| {
            self.core.requests(state, &mut raw, &mut ticket, waker)
        })?;
        self.core.leave_takers(&mut ticket);
        came.transpose()?;
        let count = raw.len();
        into.extend(raw.into_iter().map(|raw| self.request(raw)));
        Ok(count)
    }

    /// Sends many responses; short ones together. While the send budget is used up it waits for
    /// room. Returns how many were taken; the others are those that
    /// [`reply`](Responder::reply) would have failed for.
    pub fn reply_all<R: AsRef<[u8]>>(
        &self,
        replies: impl IntoIterator<Item = (Responder, R)>,
    ) -> usize {
        let mut sent = 0;
        let mut ready = Vec::with_capacity(REPLIES_TOGETHER);
        for (responder, response) in replies {
            if self.core.admit(&responder.raw, response.as_ref()) {
                ready.push((responder.raw, response));
                if ready.len() == REPLIES_TOGETHER {
                    sent += self.core.reply_all(&mut ready);
                }
            } else {
                sent += self.core.reply_all(&mut ready);
                sent += usize::from(responder.reply(response.as_ref()).is_ok());
            }
        }
        sent + self.core.reply_all(&mut ready)
    }

    /// Takes no more requests, waits until those under way are answered and their responses
    /// acknowledged or `timeout` has passed, and closes the server. Returns whether all were.
    /// Doing it again changes nothing.
    ///
    /// Requests that nobody received are dropped and their clients told. Whoever waits for a
    /// request gets [`RecvError::Closed`].
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

    /// Closes the server at once; clients whose requests were under way are told.
    pub fn close(&self) {
        self.core.close();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.local_addr())
    }
}

/// A request, with the handle that must answer it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// The client's address.
    pub peer: SocketAddr,
    /// Number of the RPC, unique among those of this client; odd.
    pub id: u64,
    /// The bytes of the request.
    pub message: Message,
    /// Answers it.
    pub responder: Responder,
}

/// Answers one request. Dropping it unanswered tells the client
/// ([`DroppedByServer`](crate::CallError::DroppedByServer)).
///
/// It answers once:
///
/// ```compile_fail,E0382
/// fn twice(responder: homa::blocking::Responder) {
///     let _ = responder.reply(b"once");
///     let _ = responder.reply(b"twice");
/// }
/// ```
///
/// A response is a message without one:
///
/// ```compile_fail,E0599
/// fn answer_a_response(response: homa::Message) {
///     let _ = response.reply(b"thank you");
/// }
/// ```
#[must_use = "dropping it tells the client that there is no answer"]
pub struct Responder {
    raw: RawResponder,
}

impl Responder {
    pub(super) fn of(raw: RawResponder) -> Self {
        Self { raw }
    }

    /// Sends the response.
    ///
    /// It returns before the response is sent; `response` has been copied. While the send budget
    /// is used up it waits for room first.
    ///
    /// # Errors
    ///
    /// The response is empty or too long, or nobody waits for it; the client, if it still waits,
    /// is told that its request was dropped.
    pub fn reply(self, response: &[u8]) -> Result<(), ReplyError> {
        self.reply_from(response.into())
    }

    /// Sends a response from where it lies; for long ones, and those that many requests get.
    ///
    /// As [`reply`](Self::reply), without the copy; `response` is given back when its RPC is over.
    ///
    /// # Errors
    ///
    /// As [`reply`](Self::reply).
    pub fn reply_shared(self, response: Arc<[u8]>) -> Result<(), ReplyError> {
        self.reply_from(response.into())
    }

    /// Sends a response that lies in several pieces, which follow each other.
    ///
    /// As [`reply`](Self::reply).
    ///
    /// # Errors
    ///
    /// As [`reply`](Self::reply).
    pub fn reply_vectored(self, response: &[IoSlice<'_>]) -> Result<(), ReplyError> {
        self.reply_from(Source::Gathered(response))
    }

    fn reply_from(self, response: Source<'_>) -> Result<(), ReplyError> {
        self.raw.check(response.len())?;
        let shared = self.raw.shared();
        if shared.parts.budget.reserve(response.len()).is_err() {
            let mut ticket = Ticket::default();
            let room = shared.wait(None, |state, waker| {
                self.raw.room(state, response.len(), &mut ticket, waker)
            })?;
            shared.leave_senders(&mut ticket);
            // Without a deadline the wait ends with a result only.
            room.unwrap_or(Err(ReplyError::Broken))?;
        }
        self.raw.reply(response)
    }

    /// Answers with nothing: the client is told that its request was dropped.
    pub fn drop_request(self) {
        drop(self);
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder")
    }
}
