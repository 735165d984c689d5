//! Homa as the benchmarks use it: through the library, as applications do.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::sync::mpsc;

use homa::{CallOptions, Host, LinkKind, blocking};

use super::meter::RESPONSE_MAX;
use super::sockets::spawn_server;
use super::suite::{Job, Waiting};
use crate::answer::Answer;
use crate::runtime;

/// What goes for every call.
pub(super) const OPTIONS: CallOptions = CallOptions {
    deadline: Some(RESPONSE_MAX),
    idempotent: false,
};

/// A host whose blocked threads wait in that way.
///
/// # Errors
/// The system refuses descriptors or memory.
pub(super) fn host(waiting: Waiting) -> io::Result<Host> {
    host_over(LinkKind::Udp, waiting)
}

/// [`host`] over any link.
///
/// # Errors
/// The system refuses descriptors or memory.
pub(super) fn host_over(link: LinkKind, waiting: Waiting) -> io::Result<Host> {
    let spin = match waiting {
        Waiting::Spin => Duration::from_secs(3600),
        Waiting::Block | Waiting::Tokio => Duration::ZERO,
    };
    let builder = Host::builder().link(link).spin(spin);
    builder.build().map_err(io::Error::other)
}

/// Starts a server on a host of its own, and returns its port.
///
/// # Errors
/// The address is not to be had.
pub(super) fn serve(job: &Job, waiting: Waiting, answer: Answer) -> io::Result<u16> {
    let listen = SocketAddr::new(job.listen, 0);
    if waiting == Waiting::Tokio {
        return serve_tokio(listen, answer);
    }
    serve_blocking(&host(waiting)?, listen, answer)
}

/// Starts a server whose thread waits as its host says, and returns its port.
///
/// # Errors
/// The address is not to be had.
pub(super) fn serve_blocking(host: &Host, listen: SocketAddr, answer: Answer) -> io::Result<u16> {
    let server = blocking::Server::bind_on(host, listen).map_err(io::Error::other)?;
    let port = server.local_addr().port();
    spawn_server(move || {
        loop {
            let request = server.recv().map_err(io::Error::other)?;
            let response = answer.to(&request.message);
            // A client that is gone misses nothing.
            let _ = request.responder.reply(&response);
        }
    });
    Ok(port)
}

fn serve_tokio(listen: SocketAddr, answer: Answer) -> io::Result<u16> {
    start_in_tokio(async move |tell: Tell| {
        let server = bind(listen, &tell).await?;
        loop {
            let request = server.recv().await.map_err(io::Error::other)?;
            let response = answer.to(&request.message);
            // A client that is gone misses nothing.
            let _ = request.responder.reply(&response).await;
        }
    })
}

/// Starts a server with a task for each request, as asynchronous servers have.
///
/// # Errors
/// The address is not to be had.
pub(super) fn serve_in_tasks(job: &Job, answer: Answer) -> io::Result<u16> {
    let listen = SocketAddr::new(job.listen, 0);
    start_in_tokio(async move |tell: Tell| {
        let server = bind(listen, &tell).await?;
        loop {
            let request = server.recv().await.map_err(io::Error::other)?;
            tokio::spawn(async move {
                let response = answer.to(&request.message);
                // A client that is gone misses nothing.
                let _ = request.responder.reply(&response).await;
            });
        }
    })
}

/// Tells the port.
pub(super) type Tell = mpsc::Sender<u16>;

/// Starts a server and tells its port.
///
/// # Errors
/// The address is not to be had.
pub(super) async fn bind(listen: SocketAddr, tell: &Tell) -> io::Result<homa::Server> {
    let server = homa::Server::bind(listen).await;
    let server = server.map_err(io::Error::other)?;
    tell.send(server.local_addr().port())
        .map_err(io::Error::other)?;
    Ok(server)
}

/// Runs a server in a runtime of its own, and returns its port.
///
/// # Errors
/// It did not start.
pub(super) fn start_in_tokio(
    serve: impl AsyncFnOnce(Tell) -> io::Result<()> + Send + 'static,
) -> io::Result<u16> {
    let (tell, told) = mpsc::channel();
    spawn_server(move || runtime::current_thread()?.block_on(serve(tell)));
    told.recv().map_err(io::Error::other)
}
