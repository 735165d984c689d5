//! Servers for tasks.

use core::fmt;
use core::net::SocketAddr;
use core::task::Poll;
use core::time::Duration;
use std::io::IoSlice;
use std::sync::Arc;

use homa_net::Link;
use tokio::net::ToSocketAddrs;

use crate::calls::ClientCore;
use crate::client::{Client, Sender, until_ready};
use crate::error::{BindError, RecvError, ReplyError};
use crate::host::Host;
use crate::parties::RawRequest;
use crate::pool::Message;
use crate::requests::{REPLIES_TOGETHER, RawResponder, ServerCore, bind_first};
use crate::runtime::attach;
use crate::shared::Source;
use crate::waiting::Ticket;

/// Receives requests at one address, in any number of tasks.
///
/// A clone is the same server. When the last clone is dropped the socket is closed and clients are
/// told; [`shutdown`](Self::shutdown) answers what is under way first.
#[derive(Clone)]
pub struct Server {
    pub(crate) core: Arc<ServerCore>,
}

impl Server {
    /// A server at `address`, on a host of its own. Port 0 lets the system choose one.
    ///
    /// # Errors
    ///
    /// The address is in use, not of this machine, or not permitted, the name has none, or no
    /// runtime runs here.
    pub async fn bind(address: impl ToSocketAddrs) -> Result<Self, BindError> {
        Self::bind_on(&Host::builder().build()?, address).await
    }

    /// A server on `host`, beside the host's other clients and servers. The runtime of whoever
    /// first makes a client or a server on a host drives it.
    ///
    /// Of a name with several addresses the first that can be bound counts.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub async fn bind_on(host: &Host, address: impl ToSocketAddrs) -> Result<Self, BindError> {
        attach(host)?;
        let addresses = tokio::net::lookup_host(address).await;
        let addresses = addresses.map_err(|error| BindError::Resolve(error.into()))?;
        Ok(Self::of(bind_first(host, addresses)?))
    }

    /// A server on `host` that receives over `link`.
    ///
    /// # Errors
    ///
    /// No runtime runs here, the host has too many sockets, or it is broken.
    pub fn on_link(host: &Host, link: Box<dyn Link>) -> Result<Self, BindError> {
        attach(host)?;
        Ok(Self::of(ServerCore::on_link(host, link)?))
    }

    fn of(core: ServerCore) -> Self {
        Self {
            core: Arc::new(core),
        }
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

    /// Waits for the next request. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// The server is closed.
    pub async fn recv(&self) -> Result<Request, RecvError> {
        let mut taker = Taker {
            core: &self.core,
            ticket: Ticket::default(),
        };
        let raw = core::future::poll_fn(|context| {
            let mut state = self.core.shared().lock()?;
            let next = self
                .core
                .request(&mut state, &mut taker.ticket, Some(context.waker()));
            next.map_or(Poll::Pending, Poll::Ready)
        })
        .await?;
        Ok(self.request(raw))
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

    /// Waits for requests, appends all that there are to `into`, and returns how many those are. For
    /// short requests that come many at a time this and [`reply_all`](Self::reply_all) take less
    /// effort than one by one. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// The server is closed.
    pub async fn recv_all(&self, into: &mut Vec<Request>) -> Result<usize, RecvError> {
        let mut taker = Taker {
            core: &self.core,
            ticket: Ticket::default(),
        };
        let mut raw = Vec::new();
        core::future::poll_fn(|context| {
            let mut state = self.core.shared().lock()?;
            let waker = Some(context.waker());
            let came = self
                .core
                .requests(&mut state, &mut raw, &mut taker.ticket, waker);
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await?;
        let count = raw.len();
        into.extend(raw.into_iter().map(|raw| self.request(raw)));
        Ok(count)
    }

    /// Sends many responses; short ones together. While the send budget is used up it waits for
    /// room. Returns how many were taken; the others are those that [`reply`](Responder::reply) would
    /// have failed for. Dropping the future drops the requests that it did not come to.
    pub async fn reply_all<R: AsRef<[u8]>>(
        &self,
        replies: impl IntoIterator<Item = (Responder, R)>,
    ) -> usize {
        let mut sent = 0;
        let mut ready = Vec::new();
        for (responder, response) in replies {
            if self.core.admit(&responder.raw, response.as_ref()) {
                ready.push((responder.raw, response));
                if ready.len() == REPLIES_TOGETHER {
                    sent += self.core.reply_all(&mut ready);
                }
            } else {
                sent += self.core.reply_all(&mut ready);
                sent += usize::from(responder.reply(response.as_ref()).await.is_ok());
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

/// Leaves the queue for requests, wherever the future that entered it was dropped.
pub(crate) struct Taker<'a> {
    pub(crate) core: &'a ServerCore,
    pub(crate) ticket: Ticket,
}

impl Drop for Taker<'_> {
    fn drop(&mut self) {
        self.core.leave_takers(&mut self.ticket);
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
/// async fn twice(responder: homa::Responder) {
///     let _ = responder.reply(b"once").await;
///     let _ = responder.reply(b"twice").await;
/// }
/// ```
#[must_use = "dropping it tells the client that there is no answer"]
pub struct Responder {
    raw: RawResponder,
}

impl Responder {
    pub(crate) fn of(raw: RawResponder) -> Self {
        Self { raw }
    }

    /// Sends the response.
    ///
    /// It is ready before the response is sent; `response` has been copied. While the send budget
    /// is used up it waits for room first; dropping the future then drops the request.
    ///
    /// # Errors
    ///
    /// The response is empty or too long, or nobody waits for it; the client, if it still waits,
    /// is told that its request was dropped.
    pub async fn reply(self, response: &[u8]) -> Result<(), ReplyError> {
        self.reply_from(response.into()).await
    }

    /// Sends a response from where it lies; for long ones, and those that many requests get.
    ///
    /// As [`reply`](Self::reply), without the copy; `response` is given back when its RPC is over.
    ///
    /// # Errors
    ///
    /// As [`reply`](Self::reply).
    pub async fn reply_shared(self, response: Arc<[u8]>) -> Result<(), ReplyError> {
        self.reply_from(response.into()).await
    }

    /// Sends a response that lies in several pieces, which follow each other.
    ///
    /// As [`reply`](Self::reply).
    ///
    /// # Errors
    ///
    /// As [`reply`](Self::reply).
    pub async fn reply_vectored(self, response: &[IoSlice<'_>]) -> Result<(), ReplyError> {
        self.reply_from(Source::Gathered(response)).await
    }

    async fn reply_from(self, response: Source<'_>) -> Result<(), ReplyError> {
        self.raw.check(response.len())?;
        let shared = self.raw.shared();
        if shared.parts.budget.reserve(response.len()).is_err() {
            let mut sender = Sender {
                shared,
                ticket: Ticket::default(),
            };
            let room = until_ready(shared, |state, context| {
                self.raw.room(
                    state,
                    response.len(),
                    &mut sender.ticket,
                    Some(context.waker()),
                )
            });
            room.await.unwrap_or(Err(ReplyError::Broken))?;
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
