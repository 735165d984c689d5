//! One TCP connection without delay, one message under way.

use core::net::SocketAddr;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::MESSAGE_BYTES;
use super::turn::{RESPONSE_MAX, Turn, run_in_tokio, spawn_server, spin, spin_patiently};
use super::variant::Waiting;
use crate::congestion;
use crate::runtime;

/// Starts an echo server for one connection.
pub(super) fn serve(waiting: Waiting) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    spawn_server(move || {
        let stream = listener.accept()?.0;
        prepare(&stream, waiting)?;
        match waiting {
            Waiting::Tokio => runtime::current_thread()?.block_on(echo_tokio(stream)),
            _ => echo(&stream),
        }
    });
    Ok(address)
}

fn prepare(stream: &TcpStream, waiting: Waiting) -> io::Result<()> {
    congestion::choose(stream);
    stream.set_nodelay(true)?;
    stream.set_nonblocking(waiting != Waiting::Block)
}

fn echo(mut stream: &TcpStream) -> io::Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    loop {
        read(&mut message, |rest| spin_patiently(|| stream.read(rest)))?;
        stream.write_all(&message)?;
    }
}

/// Reads a whole message, `read_some` bytes at a time.
fn read(
    message: &mut [u8],
    mut read_some: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut filled = 0;
    while filled < message.len() {
        match read_some(&mut message[filled..])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    Ok(())
}

async fn echo_tokio(stream: TcpStream) -> io::Result<()> {
    let mut stream = tokio::net::TcpStream::from_std(stream)?;
    let mut message = [0; MESSAGE_BYTES];
    loop {
        stream.read_exact(&mut message).await?;
        stream.write_all(&message).await?;
    }
}

/// Makes round trips for one turn.
pub(super) fn measure(server: SocketAddr, waiting: Waiting) -> io::Result<Turn> {
    let stream = TcpStream::connect(server)?;
    prepare(&stream, waiting)?;
    if waiting == Waiting::Tokio {
        return run_in_tokio(measure_tokio(stream));
    }
    stream.set_read_timeout(Some(RESPONSE_MAX))?;
    let (mut turn, mut response) = (Turn::begin(), [0; MESSAGE_BYTES]);
    while let Some(request) = turn.request() {
        (&stream).write_all(&request)?;
        read(&mut response, |rest| spin(|| (&stream).read(rest)))?;
        turn.response(&request, &response)?;
    }
    Ok(turn)
}

async fn measure_tokio(stream: TcpStream) -> io::Result<Turn> {
    let mut stream = tokio::net::TcpStream::from_std(stream)?;
    let (mut turn, mut response) = (Turn::begin(), [0; MESSAGE_BYTES]);
    while let Some(request) = turn.request() {
        stream.write_all(&request).await?;
        stream.read_exact(&mut response).await?;
        turn.response(&request, &response)?;
    }
    Ok(turn)
}
