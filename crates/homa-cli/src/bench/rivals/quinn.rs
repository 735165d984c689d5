//! QUIC between the processes of a benchmark: one connection.

use std::io;

use crate::answer::Answer;
use crate::bench::sockets::{spawn_server, udp, udp_client};
use crate::bench::suite::{Job, Waiting};
use crate::quic::{self, Client};
use crate::runtime;

/// Starts a server, and returns its port.
///
/// # Errors
/// The address is not to be had.
pub(in crate::bench) fn serve(job: &Job, answer: Answer) -> io::Result<Vec<u16>> {
    let socket = udp(job.listen, Waiting::Tokio)?;
    let port = socket.local_addr()?.port();
    spawn_server(move || runtime::current_thread()?.block_on(quic::serve(socket, answer)));
    Ok(vec![port])
}

/// Connects to the server.
///
/// # Errors
/// The server is not there.
pub(in crate::bench) async fn connect(job: &Job) -> io::Result<Client> {
    Client::connect(udp_client(job, Waiting::Tokio)?, job.server()).await
}
