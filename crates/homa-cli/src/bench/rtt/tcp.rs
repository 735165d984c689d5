//! One TCP connection without delay, one message under way.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::RoundTrips;
use crate::bench::meter::{Meter, Sample, spin, spin_patiently};
use crate::bench::sockets::{tcp_client, tcp_server};
use crate::bench::suite::{Job, Waiting};
use crate::congestion::Congestion;
use crate::runtime;

/// Starts an echo server.
pub(super) fn serve(job: &Job, waiting: Waiting, congestion: Congestion) -> io::Result<Vec<u16>> {
    let echo = match waiting {
        Waiting::Tokio => echo_in_tokio,
        Waiting::Spin | Waiting::Block => echo,
    };
    tcp_server(job, waiting, congestion, echo)
}

fn echo(job: &Job, stream: TcpStream) -> io::Result<()> {
    let mut stream = &stream;
    let mut message = vec![0; job.message_bytes];
    loop {
        read(&mut message, |rest| spin_patiently(|| stream.read(rest)))?;
        stream.write_all(&message)?;
    }
}

fn echo_in_tokio(job: &Job, stream: TcpStream) -> io::Result<()> {
    runtime::current_thread()?.block_on(async {
        let mut stream = tokio::net::TcpStream::from_std(stream)?;
        let mut message = vec![0; job.message_bytes];
        loop {
            stream.read_exact(&mut message).await?;
            stream.write_all(&message).await?;
        }
    })
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

/// Makes round trips.
pub(super) fn measure(
    job: &Job,
    mut meter: Meter,
    waiting: Waiting,
    congestion: Congestion,
) -> io::Result<Sample> {
    let stream = tcp_client(job, waiting, congestion)?;
    if waiting == Waiting::Tokio {
        return runtime::current_thread()?.block_on(measure_tokio(job, meter, stream));
    }
    let mut response = vec![0; job.message_bytes];
    let mut trips = RoundTrips::new(&mut meter, job.message_bytes);
    while let Some(request) = trips.request() {
        (&stream).write_all(request)?;
        read(&mut response, |rest| spin(|| (&stream).read(rest)))?;
        trips.response(&response)?;
    }
    meter.finish()
}

async fn measure_tokio(job: &Job, mut meter: Meter, stream: TcpStream) -> io::Result<Sample> {
    let mut stream = tokio::net::TcpStream::from_std(stream)?;
    let mut response = vec![0; job.message_bytes];
    let mut trips = RoundTrips::new(&mut meter, job.message_bytes);
    while let Some(request) = trips.request() {
        stream.write_all(request).await?;
        stream.read_exact(&mut response).await?;
        trips.response(&response)?;
    }
    meter.finish()
}
