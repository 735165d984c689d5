//! Bare UDP between hosts of the lab, to measure the network by.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::net::UdpSocket;
use std::thread;
use std::time::Instant;

use rustix::net::sockopt;

use super::wire::wire_bytes;
use crate::network::namespace::Namespace;
use crate::network::star;
use crate::traffic::UDP_BUFFER_BYTES;

/// Bytes of a flood's datagram.
const PAYLOAD_BYTES: usize = 1000;
/// IP and UDP.
const HEADERS_BYTES: usize = 28;

/// How much more than the link carries a flood sends.
const EXCESS: f64 = 1.3;

/// A flood sends in bursts, since sleeping is not that exact.
const BURST_INTERVAL: Duration = Duration::from_micros(500);

/// How long a lost datagram is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// Payload of a flood over bytes on the wire.
pub(super) fn efficiency() -> f64 {
    PAYLOAD_BYTES as f64 / f64::from(wire_bytes(PAYLOAD_BYTES + HEADERS_BYTES))
}

/// Bytes on the wire of a datagram.
pub(super) fn datagram_wire_bytes(payload_bytes: usize) -> u32 {
    wire_bytes(payload_bytes + HEADERS_BYTES)
}

/// A socket at a host, whose datagrams go at that level.
fn socket(hosts: &[Namespace], host: u8, level: u8) -> io::Result<UdpSocket> {
    let address = SocketAddr::from((star::address(host), 0));
    let place = &hosts[usize::from(host)];
    let socket = place.enter(|| UdpSocket::bind(address))??;
    sockopt::set_ip_tos(&socket, level << 5)?;
    sockopt::set_socket_recv_buffer_size(&socket, UDP_BUFFER_BYTES)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Round trips of `payload_bytes` between hosts 0 and 1, one at a time, for `length`; sorted.
pub(super) fn round_trips(
    hosts: &[Namespace],
    payload_bytes: usize,
    length: Duration,
) -> io::Result<Vec<Duration>> {
    let (near, far) = (socket(hosts, 0, 7)?, socket(hosts, 1, 7)?);
    let (far_address, is_over) = (far.local_addr()?, AtomicBool::new(false));
    let mut found = thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; payload_bytes];
            while !is_over.load(Ordering::Relaxed) {
                if let Ok((count, from)) = far.recv_from(&mut buffer) {
                    // What is lost here is missed by the other end.
                    let _ = far.send_to(&buffer[..count], from);
                }
            }
        });
        let found = ping(&near, far_address, payload_bytes, length);
        is_over.store(true, Ordering::Relaxed);
        found
    })?;
    found.sort_unstable();
    Ok(found)
}

fn ping(
    near: &UdpSocket,
    far: SocketAddr,
    payload_bytes: usize,
    length: Duration,
) -> io::Result<Vec<Duration>> {
    let (mut buffer, begun) = (vec![0; payload_bytes], Instant::now());
    let mut found = Vec::new();
    while begun.elapsed() < length {
        let sent = Instant::now();
        near.send_to(&buffer, far)?;
        near.recv(&mut buffer)?;
        found.push(sent.elapsed());
    }
    Ok(found)
}

/// Floods host `to` from several hosts at once, each at its level, and returns the payload that
/// arrived from each in bits per second, after the first quarter of `length`.
pub(super) fn flood(
    hosts: &[Namespace],
    senders: &[(u8, u8)],
    to: u8,
    bits_per_second: f64,
    length: Duration,
) -> io::Result<Vec<f64>> {
    let receiver = socket(hosts, to, 0)?;
    let target = receiver.local_addr()?;
    let sockets: io::Result<Vec<UdpSocket>> = senders
        .iter()
        .map(|(host, level)| socket(hosts, *host, *level))
        .collect();
    let burst = bits_per_second * EXCESS * BURST_INTERVAL.as_secs_f64()
        / 8.0
        / f64::from(datagram_wire_bytes(PAYLOAD_BYTES));
    let burst = burst.ceil() as u32;
    let sockets = sockets?;
    let senders: io::Result<Vec<SocketAddr>> = sockets.iter().map(UdpSocket::local_addr).collect();
    thread::scope(|scope| {
        for socket in &sockets {
            scope.spawn(move || send_all(socket, target, burst, length));
        }
        count(&receiver, &senders?, length)
    })
}

fn send_all(socket: &UdpSocket, target: SocketAddr, burst: u32, length: Duration) {
    let (payload, begun) = ([0; PAYLOAD_BYTES], Instant::now());
    let mut due = begun;
    while begun.elapsed() < length {
        for _ in 0..burst {
            // A full device drops, as it should.
            let _ = socket.send_to(&payload, target);
        }
        due += BURST_INTERVAL;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn count(receiver: &UdpSocket, senders: &[SocketAddr], length: Duration) -> io::Result<Vec<f64>> {
    let (mut bytes, mut buffer) = (vec![0_u64; senders.len()], vec![0; PAYLOAD_BYTES]);
    let begun = Instant::now();
    while begun.elapsed() < length {
        let (count, from) = match receiver.recv_from(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            received => received?,
        };
        let sender = senders.iter().position(|sender| *sender == from);
        if let Some(sender) = sender.filter(|_| begun.elapsed() > length / 4) {
            bytes[sender] += count as u64;
        }
    }
    let seconds = length.as_secs_f64() * 0.75;
    Ok(bytes
        .iter()
        .map(|bytes| *bytes as f64 * 8.0 / seconds)
        .collect())
}
