//! Requests and responses for tasks, read while they arrive.

use core::fmt;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, ReadBuf};

use super::RawArriving;
use crate::client::Pending;
use crate::error::{RecvError, ReplyError};
use crate::server::{Request, Responder, Server, Taker};
use crate::shared::Shared;
use crate::state::State;
use crate::waiting::Ticket;

impl Server {
    /// Waits for the next request of which something has arrived, to look at its first bytes while
    /// the others are on their way. Dropping the future loses nothing.
    ///
    /// From the first call on all requests come out of here: a server uses this or
    /// [`recv`](Self::recv).
    ///
    /// # Errors
    ///
    /// The server is closed.
    pub async fn recv_arriving(&self) -> Result<Arriving, RecvError> {
        let mut taker = Taker {
            core: &self.core,
            ticket: Ticket::default(),
        };
        let raw = poll_fn(|context| {
            let mut state = self.core.shared().lock()?;
            let waker = Some(context.waker());
            let next = self.core.arriving(&mut state, &mut taker.ticket, waker);
            next.map_or(Poll::Pending, Poll::Ready)
        });
        Ok(Arriving { raw: raw.await? })
    }
}

/// A request that arrives: [`AsyncRead`] gives its bytes from the start on, as soon as they are
/// there. Dropping it tells the client that there is no answer; what is on its way is thrown away.
#[must_use = "dropping it tells the client that there is no answer"]
pub struct Arriving {
    raw: RawArriving,
}

impl Arriving {
    /// The client's address.
    pub fn peer(&self) -> SocketAddr {
        self.raw.peer
    }

    /// Number of the RPC, unique among those of this client; odd.
    pub fn id(&self) -> u64 {
        self.raw.id
    }

    /// Bytes of the whole request.
    #[allow(
        clippy::len_without_is_empty,
        reason = "a request has at least one byte"
    )]
    pub fn len(&self) -> usize {
        self.raw.length
    }

    /// Waits until all of it is there, and gives the whole message, however much of it was read.
    /// Dropping the future drops the request.
    ///
    /// # Errors
    ///
    /// [`ReplyError::Gone`]: the client gave up or vanished.
    pub async fn finish(mut self) -> Result<Request, ReplyError> {
        let (peer, id) = (self.peer(), self.id());
        let shared = Arc::clone(self.raw.shared().ok_or(ReplyError::Gone)?);
        let (message, raw) = poll_fn(|context| {
            let mut state = shared.lock()?;
            let whole = self.raw.finish(&mut state, Some(context.waker()));
            whole.map_or(Poll::Pending, Poll::Ready)
        })
        .await?;
        Ok(Request {
            peer,
            id,
            message,
            responder: Responder::of(raw),
        })
    }
}

impl AsyncRead for Arriving {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let raw = &mut self.get_mut().raw;
        let Some(shared) = raw.shared().map(Arc::clone) else {
            return Poll::Ready(Ok(()));
        };
        poll_read(&shared, context, into, |state, into, waker| {
            raw.read(state, into, waker)
        })
    }
}

/// The bytes of the response from the start on, as soon as they are there. Awaiting it still gives
/// all of it.
impl AsyncRead for Pending {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let raw = &mut self.get_mut().raw;
        let shared = Arc::clone(raw.shared());
        poll_read(&shared, context, into, |state, into, waker| {
            raw.read(state, into, waker)
        })
    }
}

/// Fills `into` by `read`, which says how many bytes there were, or has the task woken when there may
/// be some.
fn poll_read<E>(
    shared: &Shared,
    context: &Context<'_>,
    into: &mut ReadBuf<'_>,
    read: impl FnOnce(&mut State, &mut [u8], Option<&Waker>) -> Option<Result<usize, E>>,
) -> Poll<io::Result<()>>
where
    E: core::error::Error + Send + Sync + 'static,
{
    let Ok(mut state) = shared.lock() else {
        return Poll::Ready(Err(io::Error::other(ReplyError::Broken)));
    };
    let waker = Some(context.waker());
    match read(&mut state, into.initialize_unfilled(), waker) {
        None => Poll::Pending,
        Some(Ok(count)) => {
            into.advance(count);
            Poll::Ready(Ok(()))
        }
        Some(Err(error)) => Poll::Ready(Err(io::Error::other(error))),
    }
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arriving({} bytes from {})", self.len(), self.peer())
    }
}
