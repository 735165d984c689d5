//! The server process: an echo server of each protocol, each on a thread of its own.

use core::net::SocketAddr;
use std::io;
use std::net::TcpListener;
use std::thread;

use serde::{Deserialize, Serialize};

use super::tcp;
use crate::child;
use crate::failure::Failure;

/// Where the echo servers listen.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Addresses {
    pub(crate) tcp: SocketAddr,
}

/// Echoes until the parent is gone.
///
/// # Errors
/// A socket cannot be bound.
pub(crate) fn run() -> Result<(), Failure> {
    let listener =
        TcpListener::bind("127.0.0.1:0").map_err(Failure::work("cannot listen for TCP"))?;
    let addresses = Addresses {
        tcp: listener.local_addr().map_err(Failure::work("TCP"))?,
    };
    thread::spawn(move || report(tcp::serve(&listener)));
    child::live_with_parent(&addresses)
}

fn report(ended: io::Result<()>) {
    if let Err(error) = ended {
        eprintln!("homa: an echo server of the demo stopped: {error}");
    }
}
