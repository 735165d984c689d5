//! Bare UDP: no reliability, no RPCs, just one datagram each way.

use core::net::SocketAddr;
use std::io;
use std::net::UdpSocket;

use super::MESSAGE_BYTES;
use super::turn::{RESPONSE_MAX, Turn, run_in_tokio, spawn_server, spin, spin_patiently};
use super::variant::Waiting;
use crate::runtime;

const LOOPBACK: &str = "127.0.0.1:0";

/// Starts an echo server; with `connected` it talks to the first client only.
pub(super) fn serve(waiting: Waiting, connected: bool) -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind(LOOPBACK)?;
    let address = socket.local_addr()?;
    spawn_server(move || match waiting {
        Waiting::Tokio => runtime::current_thread()?.block_on(echo_tokio(socket)),
        waiting => echo(&socket, waiting, connected),
    });
    Ok(address)
}

fn echo(socket: &UdpSocket, waiting: Waiting, connected: bool) -> io::Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    if connected {
        let (count, client) = socket.recv_from(&mut message)?;
        socket.connect(client)?;
        socket.send(&message[..count])?;
    }
    socket.set_nonblocking(waiting == Waiting::Spin)?;
    loop {
        if connected {
            let count = spin_patiently(|| socket.recv(&mut message))?;
            socket.send(&message[..count])?;
        } else {
            let (count, client) = spin_patiently(|| socket.recv_from(&mut message))?;
            socket.send_to(&message[..count], client)?;
        }
    }
}

async fn echo_tokio(socket: UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    let mut message = [0; MESSAGE_BYTES];
    loop {
        let (count, client) = socket.recv_from(&mut message).await?;
        socket.send_to(&message[..count], client).await?;
    }
}

/// Makes round trips for one turn.
pub(super) fn measure(server: SocketAddr, waiting: Waiting, connected: bool) -> io::Result<Turn> {
    let socket = UdpSocket::bind(LOOPBACK)?;
    if connected {
        socket.connect(server)?;
    }
    if waiting == Waiting::Tokio {
        return run_in_tokio(measure_tokio(socket, server));
    }
    socket.set_nonblocking(waiting == Waiting::Spin)?;
    socket.set_read_timeout(Some(RESPONSE_MAX))?;
    let (mut turn, mut response) = (Turn::begin(), [0; MESSAGE_BYTES]);
    while let Some(request) = turn.request() {
        if connected {
            socket.send(&request)?;
            spin(|| socket.recv(&mut response))?;
        } else {
            socket.send_to(&request, server)?;
            spin(|| socket.recv_from(&mut response))?;
        }
        turn.response(&request, &response)?;
    }
    Ok(turn)
}

async fn measure_tokio(socket: UdpSocket, server: SocketAddr) -> io::Result<Turn> {
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    let (mut turn, mut response) = (Turn::begin(), [0; MESSAGE_BYTES]);
    while let Some(request) = turn.request() {
        socket.send_to(&request, server).await?;
        socket.recv_from(&mut response).await?;
        turn.response(&request, &response)?;
    }
    Ok(turn)
}
