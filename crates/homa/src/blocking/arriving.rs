//! Requests and responses for threads, read while they arrive.

use core::fmt;
use core::net::SocketAddr;
use core::task::Waker;
use std::io::{self, Read};
use std::sync::Arc;

use super::client::Pending;
use super::server::{Request, Responder, Server};
use crate::arriving::RawArriving;
use crate::error::{RecvError, ReplyError};
use crate::shared::{Broken, Shared};
use crate::state::State;
use crate::waiting::Ticket;

impl Server {
    /// Waits for the next request of which something has arrived, to look at its first bytes while
    /// the others are on their way.
    ///
    /// From the first call on all requests come out of here: a server uses this or
    /// [`recv`](Self::recv).
    ///
    /// ```
    /// use std::io::Read;
    /// use homa::blocking::{Client, Server};
    ///
    /// let server = Server::bind("127.0.0.1:0")?;
    /// let client = Client::new()?;
    /// let call = client.start(server.local_addr(), b"PUT then a long body")?;
    /// let mut arriving = server.recv_arriving()?;
    /// let mut verb = [0; 3];
    /// arriving.read_exact(&mut verb)?;
    /// assert_eq!((&verb, arriving.len()), (b"PUT", 20));
    /// let request = arriving.finish()?;
    /// request.responder.reply(&request.message[4..8])?;
    /// assert_eq!(*call.wait()?, *b"then");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The server is closed.
    pub fn recv_arriving(&self) -> Result<Arriving, RecvError> {
        let shared = self.core().shared();
        let mut ticket = Ticket::default();
        let next = shared.wait(None, |state, waker| {
            self.core().arriving(state, &mut ticket, waker)
        })?;
        self.core().leave_takers(&mut ticket);
        // Without a deadline the wait ends with a result only.
        let raw = next.unwrap_or(Err(RecvError::Broken))?;
        Ok(Arriving { raw })
    }
}

/// A request that arrives: [`Read`] gives its bytes from the start on, as soon as they are there.
/// Dropping it tells the client that there is no answer; what is on its way is thrown away.
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
    ///
    /// # Errors
    ///
    /// [`ReplyError::Gone`]: the client gave up or vanished.
    pub fn finish(mut self) -> Result<Request, ReplyError> {
        let (peer, id) = (self.peer(), self.id());
        let shared = Arc::clone(self.raw.shared().ok_or(ReplyError::Gone)?);
        let whole = shared.wait(None, |state, waker| self.raw.finish(state, waker))?;
        let (message, raw) = whole.unwrap_or(Err(ReplyError::Broken))?;
        Ok(Request {
            peer,
            id,
            message,
            responder: Responder::of(raw),
        })
    }
}

impl Read for Arriving {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(shared) = self.raw.shared().map(Arc::clone) else {
            return Ok(0);
        };
        read(&shared, |state, waker| self.raw.read(state, into, waker))
    }
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arriving({} bytes from {})", self.len(), self.peer())
    }
}

/// The bytes of the response from the start on, as soon as they are there. [`Pending::wait`] still
/// gives all of it.
impl Read for Pending {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let shared = Arc::clone(self.raw.shared());
        read(&shared, |state, waker| self.raw.read(state, into, waker))
    }
}

/// Waits until `some` has a number of bytes.
fn read<E>(
    shared: &Shared,
    some: impl FnMut(&mut State, Option<&Waker>) -> Option<Result<usize, E>>,
) -> io::Result<usize>
where
    E: core::error::Error + Send + Sync + 'static,
{
    match shared.wait(None, some) {
        Ok(Some(read)) => read.map_err(io::Error::other),
        // Without a deadline the wait ends with a result only.
        Ok(None) => Ok(0),
        Err(Broken) => Err(io::Error::other(ReplyError::Broken)),
    }
}
