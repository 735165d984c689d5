//! RPCs over a pool of TCP connections: a client, and a server.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use super::frame::{FrameConnection, Received};
use super::plan::{Contents, destination};
use super::poller::{Poller, Ready};
use super::transport::{Deliver, Transport};
use crate::answer::Answer;
use crate::congestion::{self, Congestion};

/// The listener's key; connections have those from 0 up.
const LISTENER: usize = usize::MAX;

/// Connections that the server accepts before it refuses more.
const SERVER_CONNECTIONS_MAX: usize = 1024;

/// The client end of the pool.
pub(crate) struct TcpTransport {
    /// Server by server.
    connections: Vec<PoolConnection>,
    connections_each: usize,
    poller: Poller,
    ready: Vec<Ready>,
}

/// A connection with what the client waits for on it.
struct PoolConnection {
    frames: FrameConnection,
    watches_output: bool,
    /// Lengths of the messages whose responses are outstanding, oldest first.
    outstanding: VecDeque<usize>,
    /// The sum of `outstanding`.
    outstanding_bytes: usize,
}

impl TcpTransport {
    /// Opens so many connections to each of the servers, of that congestion control.
    ///
    /// # Errors
    /// The server cannot be reached, or the process has too many files open.
    pub(crate) fn connect(
        servers: &[SocketAddr],
        count: usize,
        congestion: Congestion,
        spin: Duration,
    ) -> io::Result<Self> {
        let poller = Poller::new(spin)?;
        let mut connections = Vec::with_capacity(servers.len() * count);
        for key in 0..servers.len() * count {
            let stream = TcpStream::connect(servers[key / count])?;
            congestion.choose(&stream);
            poller.add(&stream, key)?;
            connections.push(PoolConnection::new(FrameConnection::new(stream)?));
        }
        Ok(Self {
            connections,
            connections_each: count,
            poller,
            ready: Vec::new(),
        })
    }

    /// The congestion control in force.
    pub(crate) fn congestion(&self) -> String {
        congestion::in_force(self.connections[0].frames.stream())
    }
}

impl Transport for TcpTransport {
    fn start(&mut self, number: u64, message: &Contents<'_>) -> io::Result<()> {
        let servers = self.connections.len() / self.connections_each;
        let first = destination(number, servers) * self.connections_each;
        let to_server = &mut self.connections[first..first + self.connections_each];
        let least_busy = to_server.iter_mut().min_by_key(|c| c.outstanding_bytes);
        let connection = least_busy.expect("the pool has connections");
        connection.outstanding.push_back(message.len());
        connection.outstanding_bytes += message.len();
        connection.frames.send(number, message)
    }

    fn poll(&mut self, until: Instant, deliver: &mut Deliver<'_>) -> io::Result<()> {
        for (key, connection) in self.connections.iter_mut().enumerate() {
            if connection.frames.has_output() && !connection.watches_output {
                connection.flush(&self.poller, key)?;
            }
        }
        self.poller.wait(Some(until), &mut self.ready)?;
        for ready in &self.ready {
            let connection = &mut self.connections[ready.key];
            if ready.writable {
                connection.flush(&self.poller, ready.key)?;
            }
            if ready.readable {
                connection.receive(deliver)?;
            }
        }
        Ok(())
    }
}

impl PoolConnection {
    const fn new(frames: FrameConnection) -> Self {
        let outstanding = VecDeque::new();
        Self {
            frames,
            watches_output: false,
            outstanding,
            outstanding_bytes: 0,
        }
    }

    fn flush(&mut self, poller: &Poller, key: usize) -> io::Result<()> {
        self.frames.flush()?;
        update_watch(poller, key, &self.frames, &mut self.watches_output)
    }

    fn receive(&mut self, deliver: &mut Deliver<'_>) -> io::Result<()> {
        let (outstanding, bytes) = (&mut self.outstanding, &mut self.outstanding_bytes);
        let received = self.frames.receive(&mut |number, message| {
            // The server answers the requests of a connection in their order.
            *bytes -= outstanding.pop_front().unwrap_or(0);
            deliver(number, Ok(message));
        })?;
        match received {
            Received::Bytes | Received::Nothing => Ok(()),
            Received::End => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

/// Asks to be told when the socket takes more, as long as bytes wait for that.
fn update_watch(
    poller: &Poller,
    key: usize,
    frames: &FrameConnection,
    watches_output: &mut bool,
) -> io::Result<()> {
    if frames.has_output() != *watches_output {
        *watches_output = frames.has_output();
        poller.watch_output(frames.stream(), key, *watches_output)?;
    }
    Ok(())
}

/// Answers every frame of every connection, on the calling thread, until something is wrong with the
/// listener itself.
///
/// # Errors
/// What is wrong with the listener.
pub(crate) fn serve(
    listener: &TcpListener,
    answer: Answer,
    congestion: Congestion,
    spin: Duration,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let poller = Poller::new(spin)?;
    poller.add(listener, LISTENER)?;
    let mut connections: Vec<Option<ServerConnection>> = Vec::new();
    let mut ready = Vec::new();
    loop {
        poller.wait(None, &mut ready)?;
        for ready in &ready {
            if ready.key == LISTENER {
                accept(listener, &poller, congestion, &mut connections)?;
                continue;
            }
            let slot = &mut connections[ready.key];
            // A broken connection is its client's affair; dropping it tells both.
            if slot
                .as_mut()
                .is_some_and(|connection| connection.turn(&poller, ready, answer).is_err())
            {
                *slot = None;
            }
        }
    }
}

/// A connection as the server sees it.
struct ServerConnection {
    frames: FrameConnection,
    watches_output: bool,
}

impl ServerConnection {
    fn turn(&mut self, poller: &Poller, ready: &Ready, answer: Answer) -> io::Result<()> {
        if ready.readable && self.frames.answer(answer)? == Received::End {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.frames.flush()?;
        update_watch(poller, ready.key, &self.frames, &mut self.watches_output)
    }
}

fn accept(
    listener: &TcpListener,
    poller: &Poller,
    congestion: Congestion,
    connections: &mut Vec<Option<ServerConnection>>,
) -> io::Result<()> {
    let stream = match listener.accept() {
        Ok((stream, _)) => stream,
        // The client went away again, or has been accepted already.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return Ok(()),
        Err(error) => return Err(error),
    };
    congestion.choose(&stream);
    let key = connections
        .iter()
        .position(Option::is_none)
        .unwrap_or(connections.len());
    if key == SERVER_CONNECTIONS_MAX {
        return Ok(());
    }
    poller.add(&stream, key)?;
    let connection = ServerConnection {
        frames: FrameConnection::new(stream)?,
        watches_output: false,
    };
    if key == connections.len() {
        connections.push(None);
    }
    connections[key] = Some(connection);
    Ok(())
}
