//! Bare UDP: a call for each datagram, for many, or for many that the kernel joins.

use std::io;
use std::net::UdpSocket;

use super::slots::{Slots, peer_of};
use crate::bench::batch::Batch;
use crate::bench::meter::{Meter, Sample, spin, spin_patiently};
use crate::bench::sockets::{offload, spawn_server, udp, udp_client};
use crate::bench::suite::{Job, Waiting};

/// Datagrams of one call, and segments of one piece: the most that every kernel cuts.
const BATCH: usize = 64;

fn server_socket(job: &Job) -> io::Result<(UdpSocket, Vec<u16>)> {
    let socket = udp(job.listen, Waiting::Spin)?;
    let port = socket.local_addr()?.port();
    Ok((socket, vec![port]))
}

/// Starts a server that takes and gives one datagram a call.
pub(super) fn serve_single(job: &Job) -> io::Result<Vec<u16>> {
    let (socket, ports) = server_socket(job)?;
    let mut message = vec![0; job.message_bytes];
    spawn_server(move || {
        loop {
            let (count, client) = spin_patiently(|| socket.recv_from(&mut message))?;
            socket.send_to(&message[..count], client)?;
        }
    });
    Ok(ports)
}

/// One datagram a call.
pub(super) fn measure_single(job: &Job, mut meter: Meter) -> io::Result<Sample> {
    let socket = udp_client(job, Waiting::Spin)?;
    let mut slots = Slots::new(job.outstanding);
    let mut message = vec![0; job.message_bytes];
    for slot in 0..job.outstanding {
        slots.write(slot, &mut message);
        socket.send_to(&message, peer_of(slot, &job.servers))?;
    }
    while meter.goes_on() {
        let (count, _) = spin(|| socket.recv_from(&mut message))?;
        let slot = slots.turn_round(&mut message[..count])?;
        meter.count(1, count as u64);
        socket.send_to(&message[..count], peer_of(slot, &job.servers))?;
    }
    meter.finish()
}

/// Starts a server that takes and gives many datagrams a call.
pub(super) fn serve_batched(job: &Job) -> io::Result<Vec<u16>> {
    let (socket, ports) = server_socket(job)?;
    let message_bytes = job.message_bytes;
    spawn_server(move || {
        let mut batch = Batch::new(BATCH, message_bytes);
        loop {
            spin_patiently(|| batch.receive(&socket))?;
            batch.send(&socket)?;
        }
    });
    Ok(ports)
}

/// Many datagrams a call.
pub(super) fn measure_batched(job: &Job, mut meter: Meter) -> io::Result<Sample> {
    let socket = udp_client(job, Waiting::Spin)?;
    let mut batch = Batch::new(BATCH, job.message_bytes);
    let mut slots = Slots::new(job.outstanding);
    for start in (0..job.outstanding).step_by(BATCH) {
        let these = start..job.outstanding.min(start + BATCH);
        batch.fill(these.len(), job.message_bytes, job.server());
        batch.readdress(these.clone().map(|slot| peer_of(slot, &job.servers)));
        for (slot, message) in these.zip(batch.bytes_mut()) {
            slots.write(slot, message);
        }
        batch.send(&socket)?;
    }
    let mut peers = Vec::with_capacity(BATCH);
    while meter.goes_on() {
        spin(|| batch.receive(&socket))?;
        peers.clear();
        for message in batch.bytes_mut() {
            let slot = slots.turn_round(message)?;
            peers.push(peer_of(slot, &job.servers));
            meter.count(1, message.len() as u64);
        }
        batch.readdress(peers.iter().copied());
        batch.send(&socket)?;
    }
    meter.finish()
}

/// Starts a server whose datagrams the kernel joins and cuts.
pub(super) fn serve_offloaded(job: &Job) -> io::Result<Vec<u16>> {
    let (socket, ports) = server_socket(job)?;
    offload(&socket, job.message_bytes)?;
    let piece_bytes = BATCH * job.message_bytes;
    let mut buffer = vec![0; 1 << 16];
    spawn_server(move || {
        loop {
            let (count, client) = spin_patiently(|| socket.recv_from(&mut buffer))?;
            for piece in buffer[..count].chunks(piece_bytes) {
                socket.send_to(piece, client)?;
            }
        }
    });
    Ok(ports)
}

/// Datagrams that the kernel cuts and joins.
pub(super) fn measure_offloaded(job: &Job, mut meter: Meter) -> io::Result<Sample> {
    let socket = udp_client(job, Waiting::Spin)?;
    offload(&socket, job.message_bytes)?;
    let piece_bytes = BATCH * job.message_bytes;
    let mut slots = Slots::new(job.outstanding);
    let mut buffer = vec![0; (1 << 16).max(job.outstanding * job.message_bytes)];
    let first = &mut buffer[..job.outstanding * job.message_bytes];
    for (slot, message) in first.chunks_mut(job.message_bytes).enumerate() {
        slots.write(slot, message);
    }
    for piece in first.chunks(piece_bytes) {
        socket.send_to(piece, job.server())?;
    }
    while meter.goes_on() {
        let (count, _) = spin(|| socket.recv_from(&mut buffer))?;
        let received = &mut buffer[..count];
        for message in received.chunks_mut(job.message_bytes) {
            slots.turn_round(message)?;
        }
        meter.count((count / job.message_bytes) as u64, count as u64);
        for piece in received.chunks(piece_bytes) {
            socket.send_to(piece, job.server())?;
        }
    }
    meter.finish()
}
