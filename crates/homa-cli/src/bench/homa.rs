//! Homa, through the library as applications use it.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;

use homa::{CallOptions, Host, blocking};

use super::turn::{RESPONSE_MAX, Turn, run_in_tokio, spawn_server};
use super::variant::Waiting;
use crate::runtime;

const OPTIONS: CallOptions = CallOptions {
    deadline: Some(RESPONSE_MAX),
    idempotent: false,
};

/// A host whose blocked threads wait in that way.
fn host(waiting: Waiting) -> io::Result<Host> {
    let spin = match waiting {
        Waiting::Spin => Duration::from_secs(3600),
        Waiting::Block | Waiting::Tokio => Duration::ZERO,
    };
    Host::builder().spin(spin).build().map_err(io::Error::other)
}

/// Starts an echo server.
pub(super) fn serve(waiting: Waiting) -> io::Result<SocketAddr> {
    if waiting == Waiting::Tokio {
        return serve_tokio();
    }
    let server =
        blocking::Server::bind_on(&host(waiting)?, "127.0.0.1:0").map_err(io::Error::other)?;
    let address = server.local_addr();
    spawn_server(move || {
        loop {
            let request = server.recv().map_err(io::Error::other)?;
            request
                .responder
                .reply(&request.message)
                .map_err(io::Error::other)?;
        }
    });
    Ok(address)
}

fn serve_tokio() -> io::Result<SocketAddr> {
    let (tell, told) = std::sync::mpsc::channel();
    spawn_server(move || {
        runtime::current_thread()?.block_on(async {
            let server = homa::Server::bind("127.0.0.1:0")
                .await
                .map_err(io::Error::other)?;
            tell.send(server.local_addr()).map_err(io::Error::other)?;
            loop {
                let request = server.recv().await.map_err(io::Error::other)?;
                request
                    .responder
                    .reply(&request.message)
                    .await
                    .map_err(io::Error::other)?;
            }
        })
    });
    told.recv().map_err(io::Error::other)
}

/// Makes round trips for one turn.
pub(super) fn measure(server: SocketAddr, waiting: Waiting) -> io::Result<Turn> {
    if waiting == Waiting::Tokio {
        return run_in_tokio(measure_tokio(server));
    }
    let client = blocking::Client::on(&host(waiting)?).map_err(io::Error::other)?;
    let mut turn = Turn::begin();
    while let Some(request) = turn.request() {
        let response = client
            .call_with(server, &request, OPTIONS)
            .map_err(io::Error::other)?;
        turn.response(&request, &response)?;
    }
    Ok(turn)
}

async fn measure_tokio(server: SocketAddr) -> io::Result<Turn> {
    let client = homa::Client::new().map_err(io::Error::other)?;
    let mut turn = Turn::begin();
    while let Some(request) = turn.request() {
        let response = client
            .call_with(server, &request, OPTIONS)
            .await
            .map_err(io::Error::other)?;
        turn.response(&request, &response)?;
    }
    Ok(turn)
}
