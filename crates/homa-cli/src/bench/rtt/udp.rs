//! Bare UDP: no reliability, no RPCs, just one datagram each way.

use std::io;
use std::net::UdpSocket;

use super::RoundTrips;
use crate::bench::meter::{Meter, Sample, spin, spin_patiently};
use crate::bench::sockets::{spawn_server, udp, udp_client};
use crate::bench::suite::{Job, Waiting};
use crate::runtime;

/// Starts an echo server; with `connected` it talks to the first client only.
pub(super) fn serve(job: &Job, waiting: Waiting, connected: bool) -> io::Result<Vec<u16>> {
    let socket = udp(job.listen, waiting)?;
    let port = socket.local_addr()?.port();
    let message = vec![0; job.message_bytes];
    spawn_server(move || match waiting {
        Waiting::Tokio => runtime::current_thread()?.block_on(echo_tokio(socket, message)),
        _ => echo(&socket, message, connected),
    });
    Ok(vec![port])
}

fn echo(socket: &UdpSocket, mut message: Vec<u8>, connected: bool) -> io::Result<()> {
    if connected {
        let (count, client) = spin_patiently(|| socket.recv_from(&mut message))?;
        socket.connect(client)?;
        socket.send(&message[..count])?;
    }
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

async fn echo_tokio(socket: UdpSocket, mut message: Vec<u8>) -> io::Result<()> {
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    loop {
        let (count, client) = socket.recv_from(&mut message).await?;
        socket.send_to(&message[..count], client).await?;
    }
}

/// Makes round trips.
pub(super) fn measure(
    job: &Job,
    mut meter: Meter,
    waiting: Waiting,
    connected: bool,
) -> io::Result<Sample> {
    let socket = udp_client(job, waiting)?;
    if connected {
        socket.connect(job.server())?;
    }
    if waiting == Waiting::Tokio {
        return runtime::current_thread()?.block_on(measure_tokio(job, meter, socket));
    }
    let mut response = vec![0; job.message_bytes];
    let mut trips = RoundTrips::new(&mut meter, job.message_bytes);
    while let Some(request) = trips.request() {
        let count = if connected {
            socket.send(request)?;
            spin(|| socket.recv(&mut response))?
        } else {
            socket.send_to(request, job.server())?;
            spin(|| socket.recv_from(&mut response))?.0
        };
        trips.response(&response[..count])?;
    }
    meter.finish()
}

async fn measure_tokio(job: &Job, mut meter: Meter, socket: UdpSocket) -> io::Result<Sample> {
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    let mut response = vec![0; job.message_bytes];
    let mut trips = RoundTrips::new(&mut meter, job.message_bytes);
    while let Some(request) = trips.request() {
        socket.send_to(request, job.server()).await?;
        let (count, _) = socket.recv_from(&mut response).await?;
        trips.response(&response[..count])?;
    }
    meter.finish()
}
