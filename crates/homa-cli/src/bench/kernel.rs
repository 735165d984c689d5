//! Homa as the kernel module speaks it: sockets of the kernel, without the library.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::io::{self, ErrorKind, IoSlice};
use std::process;

use homa_net::kernel::{Encapsulation, KernelSocket};
use rustix::net::sockopt::{self, Timeout};

use super::meter::RESPONSE_MAX;
use super::sockets::spawn_server;
use super::suite::Job;
use crate::answer::Answer;
use crate::failure::Failure;

/// Where the search for a server's port begins, and how many are tried: below those of clients.
const FIRST_PORT: u16 = 10_000;
const PORT_COUNT: u16 = 20_000;

/// Whether this kernel has Homa.
///
/// # Errors
/// It has not; the text says what to do.
pub(super) fn check() -> Result<(), Failure> {
    let opened = KernelSocket::open(Ipv4Addr::LOCALHOST.into(), Encapsulation::Ip);
    opened
        .map(drop)
        .map_err(|error| Failure::Work(error.to_string()))
}

/// Starts a server, and returns its port.
///
/// # Errors
/// The kernel refuses the socket or every port.
pub(super) fn serve(
    job: &Job,
    encapsulation: Encapsulation,
    answer: Answer,
) -> io::Result<Vec<u16>> {
    let mut socket = KernelSocket::open(job.listen, encapsulation)?;
    let port = bind(&socket, job.listen)?;
    spawn_server(move || {
        loop {
            let request = socket.receive()?;
            let parts: Vec<IoSlice<'_>> = match answer {
                Answer::Echo => socket.pages(request.length).map(IoSlice::new).collect(),
                Answer::Receipt | Answer::Checksum => vec![IoSlice::new(&[1])],
            };
            socket.reply(&request, &parts)?;
        }
    });
    Ok(vec![port])
}

/// The first port that is free, from one on that differs from process to process.
fn bind(socket: &KernelSocket, address: IpAddr) -> io::Result<u16> {
    let start = process::id() as u16 % PORT_COUNT;
    let ports = (0..PORT_COUNT).map(|step| FIRST_PORT + (start + step) % PORT_COUNT);
    for port in ports {
        match socket.bind(SocketAddr::new(address, port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(port),
        }
    }
    Err(ErrorKind::AddrInUse.into())
}

/// A client's socket, which gives up waiting after a while.
///
/// # Errors
/// The kernel refuses it.
pub(super) fn client(job: &Job, encapsulation: Encapsulation) -> io::Result<KernelSocket> {
    let socket = KernelSocket::open(job.server().ip(), encapsulation)?;
    sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(RESPONSE_MAX))?;
    Ok(socket)
}
