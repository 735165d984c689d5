//! Bare UDP as fast as the sockets are: cut and joined by the kernel, or many datagrams a call.

use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::thread;
use std::time::Instant;

use super::{Arrived, Flow};
use crate::bench::batch::Batch;
use crate::bench::meter::{Meter, RESPONSE_MAX, Sample, spin_patiently};
use crate::bench::sockets::{offload, spawn_server, udp, udp_client};
use crate::bench::suite::{Job, Waiting};

/// The longest that the kernel takes or gives in one piece.
const PIECE_MAX_BYTES: usize = 65_507;

/// Datagrams of one call, where each is its own.
const BATCH: usize = 32;

/// A datagram of this length asks for a receipt. The kernel may join it to what went before.
const QUESTION_BYTES: usize = 1;

/// How long to wait for its answer.
const QUESTION_INTERVAL: Duration = Duration::from_millis(1);

/// Starts a receiver of datagrams that the kernel joins.
pub(super) fn serve_offloaded(job: &Job, waiting: Waiting, payload: usize) -> io::Result<Vec<u16>> {
    let socket = udp(job.listen, waiting)?;
    offload(&socket, payload)?;
    let port = socket.local_addr()?.port();
    spawn_server(move || {
        let (mut arrived, mut buffer) = (Arrived::default(), vec![0; PIECE_MAX_BYTES]);
        loop {
            let (count, client) = spin_patiently(|| socket.recv_from(&mut buffer))?;
            let question = usize::from(count % payload == QUESTION_BYTES);
            let mut receipt = arrived.add(count - question);
            if question == 1 {
                receipt = Some(arrived.receipt());
            }
            if let Some(receipt) = receipt {
                socket.send_to(&receipt, client)?;
            }
        }
    });
    Ok(vec![port])
}

/// Sends as much as goes through, in pieces that the kernel cuts.
pub(super) fn measure_offloaded(
    job: &Job,
    mut meter: Meter,
    waiting: Waiting,
    payload: usize,
) -> io::Result<Sample> {
    let socket = udp_client(job, waiting)?;
    offload(&socket, payload)?;
    let piece = vec![0x5a; PIECE_MAX_BYTES / payload * payload];
    let mut flow = Flow::new(&mut meter);
    settle(&socket, job, &mut flow)?;
    socket.set_nonblocking(waiting != Waiting::Block)?;
    while flow.meter.goes_on() {
        while flow.room() >= piece.len() as u64 {
            flow.sent += socket.send_to(&piece, job.server())? as u64;
        }
        hear(&socket, &mut flow)?;
    }
    settle(&socket, job, &mut flow)?;
    meter.finish()
}

/// Starts a receiver of many datagrams a call.
pub(super) fn serve_batched(job: &Job, payload: usize) -> io::Result<Vec<u16>> {
    let socket = udp(job.listen, Waiting::Spin)?;
    let port = socket.local_addr()?.port();
    spawn_server(move || {
        let (mut arrived, mut batch) = (Arrived::default(), Batch::new(BATCH, payload));
        loop {
            spin_patiently(|| batch.receive(&socket))?;
            for (bytes, client) in batch.received() {
                let receipt = match bytes.len() {
                    QUESTION_BYTES => Some(arrived.receipt()),
                    count => arrived.add(count),
                };
                if let Some(receipt) = receipt {
                    socket.send_to(&receipt, client)?;
                }
            }
        }
    });
    Ok(vec![port])
}

/// Sends as much as goes through, many datagrams a call.
pub(super) fn measure_batched(job: &Job, mut meter: Meter, payload: usize) -> io::Result<Sample> {
    let socket = udp_client(job, Waiting::Spin)?;
    let mut batch = Batch::new(BATCH, payload);
    let mut flow = Flow::new(&mut meter);
    settle(&socket, job, &mut flow)?;
    while flow.meter.goes_on() {
        while flow.room() >= (BATCH * payload) as u64 {
            batch.fill(BATCH, payload, job.server());
            flow.sent += (batch.send(&socket)? * payload) as u64;
        }
        hear(&socket, &mut flow)?;
    }
    settle(&socket, job, &mut flow)?;
    meter.finish()
}

/// Takes a receipt; a socket that blocks waits for it.
fn hear(socket: &UdpSocket, flow: &mut Flow<'_>) -> io::Result<()> {
    let mut receipt = [0; 8];
    match socket.recv(&mut receipt) {
        Ok(_) => flow.receipt(u64::from_be_bytes(receipt)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

/// Asks until every byte is known to have arrived. Before the first byte this finds the way, so
/// that nothing waits for the neighbour's address.
fn settle(socket: &UdpSocket, job: &Job, flow: &mut Flow<'_>) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let (begun, mut answered) = (Instant::now(), false);
    while begun.elapsed() < RESPONSE_MAX && !(answered && flow.finish().is_ok()) {
        socket.send_to(&[0; QUESTION_BYTES], job.server())?;
        thread::sleep(QUESTION_INTERVAL);
        let (mut receipt, before) = ([0; 8], flow.received);
        while let Ok(8) = socket.recv(&mut receipt) {
            flow.receipt(u64::from_be_bytes(receipt))?;
            answered = true;
        }
        answered &= flow.received == before;
    }
    flow.finish()
}
