//! RPCs over Homa: a client, and a server.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::time::Instant;

use homa::blocking::{Client, Request, Server};
use homa::{Config, Host, LinkKind, Submission};

use super::client::OUTSTANDING_MAX_BYTES;
use super::frame::DIRECT_BYTES;
use super::plan::{Contents, destination};
use super::transport::{Deliver, Transport};
use crate::answer::Answer;

/// Completions taken in a row before arrivals have their turn.
const COMPLETIONS_PER_TURN: usize = 64;

/// A host that holds all that the driver ever has under way, so that nothing but the protocol
/// limits it.
///
/// # Errors
/// The system refuses sockets or memory.
pub(crate) fn host(link: LinkKind, config: Config, spin: Duration) -> io::Result<Host> {
    let budget = OUTSTANDING_MAX_BYTES as u64 + (16 << 20);
    let builder = Host::builder().link(link).config(config);
    let builder = builder.spin(spin).inspectable(true);
    let built = builder.send_budget_bytes(budget).build();
    built.map_err(io::Error::other)
}

/// The client end.
pub(crate) struct HomaTransport {
    client: Client,
    servers: Vec<SocketAddr>,
    /// RPCs that could not be started.
    refused: Vec<(u64, String)>,
}

impl HomaTransport {
    /// Makes a client of these servers; nothing is sent yet.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn on(host: &Host, servers: Vec<SocketAddr>) -> io::Result<Self> {
        let client = Client::on(host).map_err(io::Error::other)?;
        Ok(Self {
            client,
            servers,
            refused: Vec::new(),
        })
    }
}

impl Transport for HomaTransport {
    fn start(&mut self, number: u64, message: &Contents<'_>) -> io::Result<()> {
        let server = self.servers[destination(number, self.servers.len())];
        if message.len() >= DIRECT_BYTES {
            let call = Submission::new(server, message.shared(), number);
            return self.client.submit_all([call]).map_err(io::Error::other);
        }
        if let Err(error) = self.client.submit(server, message, number) {
            self.refused.push((number, error.to_string()));
        }
        Ok(())
    }

    fn poll(&mut self, until: Instant, deliver: &mut Deliver<'_>) -> io::Result<()> {
        let mut patience = until.saturating_duration_since(Instant::now());
        for (number, why) in self.refused.drain(..) {
            deliver(number, Err(why));
            patience = Duration::ZERO;
        }
        for _ in 0..COMPLETIONS_PER_TURN {
            let next = self
                .client
                .next_completion(Some(patience))
                .map_err(io::Error::other)?;
            let Some(done) = next else {
                break;
            };
            match done.result {
                Ok(response) => deliver(done.cookie, Ok(&response)),
                Err(error) => deliver(done.cookie, Err(error.to_string())),
            }
            patience = Duration::ZERO;
        }
        Ok(())
    }
}

/// The server.
pub(crate) struct HomaServer {
    server: Server,
}

impl HomaServer {
    /// Listens at that address.
    ///
    /// # Errors
    /// The address is not to be had.
    pub(crate) fn on(host: &Host, address: SocketAddr) -> io::Result<Self> {
        let server = Server::bind_on(host, address).map_err(io::Error::other)?;
        Ok(Self { server })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Answers every request, on the calling thread, until something is wrong with the host itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn serve(&self, answer: Answer) -> io::Result<()> {
        loop {
            let Request {
                message, responder, ..
            } = self.server.recv().map_err(io::Error::other)?;
            // A client that is gone misses nothing.
            let _ = responder.reply(&answer.to(&message));
        }
    }
}
