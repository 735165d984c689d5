//! The server process: an echo server of each protocol, each on a thread of its own.

use core::net::{Ipv4Addr, SocketAddr};
use std::io;
use std::net::TcpListener;
use std::thread;

use homa::Config;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::child;
use crate::congestion::Congestion;
use crate::failure::Failure;
use crate::host::LinkOption;
use crate::traffic::SPIN;
use crate::traffic::homa::{HomaServer, host};
use crate::traffic::tcp;

/// Where the echo servers listen.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Addresses {
    pub(crate) homa: SocketAddr,
    pub(crate) tcp: SocketAddr,
}

/// Echoes until the parent is gone.
///
/// # Errors
/// A socket cannot be bound.
pub(crate) fn run(link: LinkOption) -> Result<(), Failure> {
    let listener =
        TcpListener::bind("127.0.0.1:0").map_err(Failure::work("cannot listen for TCP"))?;
    let homa = homa(link).map_err(Failure::work("cannot listen for Homa"))?;
    let tcp = listener
        .local_addr()
        .map_err(Failure::work("cannot tell the port"))?;
    let addresses = Addresses {
        homa: homa.address(),
        tcp,
    };
    thread::spawn(move || report(tcp::serve(&listener, Answer::Echo, Congestion::Cubic, SPIN)));
    thread::spawn(move || report(homa.serve(Answer::Echo)));
    child::live_with_parent(&addresses)
}

fn homa(link: LinkOption) -> io::Result<HomaServer> {
    let host = host(link.link, Config::user_space(), SPIN)?;
    HomaServer::on(&host, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

fn report(ended: io::Result<()>) {
    if let Err(error) = ended {
        eprintln!("homa: an echo server of the demo stopped: {error}");
    }
}
