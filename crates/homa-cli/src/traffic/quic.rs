//! RPCs over QUIC, a connection to each server: a client, and a server.

use core::net::{Ipv4Addr, SocketAddr};
use std::io;
use std::net::UdpSocket;
use std::time::Instant;

use rustix::net::sockopt;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time;

use super::UDP_BUFFER_BYTES;
use super::plan::{Contents, destination};
use super::transport::{Deliver, Transport};
use crate::answer::Answer;
use crate::quic::{self, Client};
use crate::runtime;

/// The number of an RPC, and its response.
type Completion = (u64, io::Result<Vec<u8>>);

/// The client end.
pub(crate) struct QuicTransport {
    /// Its tasks run while the driver polls.
    runtime: Runtime,
    clients: Vec<Client>,
    done: UnboundedSender<Completion>,
    completions: UnboundedReceiver<Completion>,
}

impl QuicTransport {
    /// Connects to each of these servers.
    ///
    /// # Errors
    /// One is not there, or the process has too many files open.
    pub(crate) fn connect(servers: &[SocketAddr]) -> io::Result<Self> {
        let runtime = runtime::current_thread()?;
        let clients = runtime.block_on(async {
            let mut clients = Vec::with_capacity(servers.len());
            for server in servers {
                let socket = socket((Ipv4Addr::UNSPECIFIED, 0).into())?;
                clients.push(Client::connect(socket, *server).await?);
            }
            Ok::<_, io::Error>(clients)
        })?;
        let (done, completions) = unbounded_channel();
        Ok(Self {
            runtime,
            clients,
            done,
            completions,
        })
    }
}

impl Transport for QuicTransport {
    fn start(&mut self, number: u64, message: &Contents<'_>) -> io::Result<()> {
        let client = self.clients[destination(number, self.clients.len())].clone();
        let (message, done) = (message.to_vec(), self.done.clone());
        self.runtime.spawn(async move {
            // Nobody waits for it when the transport is gone.
            let _ = done.send((number, client.call(&message).await));
        });
        Ok(())
    }

    fn poll(&mut self, until: Instant, deliver: &mut Deliver<'_>) -> io::Result<()> {
        let mut next = self.runtime.block_on(async {
            let next = time::timeout_at(until.into(), self.completions.recv()).await;
            next.ok().flatten()
        });
        while let Some((number, result)) = next {
            match result {
                Ok(response) => deliver(number, Ok(&response)),
                Err(error) => deliver(number, Err(error.to_string())),
            }
            next = self.completions.try_recv().ok();
        }
        Ok(())
    }
}

/// A server at that address, which answers once it is run.
pub(crate) struct QuicServer {
    socket: UdpSocket,
}

impl QuicServer {
    /// Listens at that address.
    ///
    /// # Errors
    /// The address is not to be had.
    pub(crate) fn on(address: SocketAddr) -> io::Result<Self> {
        let socket = socket(address)?;
        Ok(Self { socket })
    }

    /// Answers all clients, on the calling thread, until something is wrong with the socket.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn serve(self, answer: Answer) -> io::Result<()> {
        runtime::current_thread()?.block_on(quic::serve(self.socket, answer))
    }
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    sockopt::set_socket_recv_buffer_size(&socket, UDP_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::traffic::plan::{Message, Pattern};

    #[test]
    fn requests_over_quic_are_answered_by_number() {
        let server = QuicServer::on((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = server.socket.local_addr().unwrap();
        thread::spawn(move || server.serve(Answer::Echo));
        let mut transport = QuicTransport::connect(&[address]).unwrap();
        let pattern = Pattern::new(1);
        let message = |number| Message {
            number,
            size: 100_000,
            checksum: 0,
        };
        for number in 0..10_u64 {
            let contents = pattern.message(&message(number));
            transport.start(number, &contents).unwrap();
        }
        let mut found = vec![0; 10];
        let until = Instant::now() + core::time::Duration::from_secs(30);
        while found.contains(&0) && Instant::now() < until {
            let deliver = &mut |number: u64, result: Result<&[u8], String>| {
                let response = result.unwrap();
                assert!(response == &*pattern.message(&message(number)));
                found[number as usize] += response.len();
            };
            transport.poll(until, deliver).unwrap();
        }
        assert_eq!(found, [100_000; 10]);
    }
}
