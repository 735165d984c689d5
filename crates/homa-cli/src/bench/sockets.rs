//! The sockets of floors and of TCP, opened the same way for every benchmark.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

use nix::sys::socket::{setsockopt, sockopt as nix_sockopt};
use rustix::net::sockopt;

use super::meter::RESPONSE_MAX;
use super::suite::{Job, Waiting};
use crate::congestion::Congestion;
use crate::traffic::UDP_BUFFER_BYTES;

/// A UDP socket that talks to anyone, as Homa's do.
///
/// # Errors
/// The address is not to be had.
pub(super) fn udp(address: IpAddr, waiting: Waiting) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(address, 0))?;
    sockopt::set_socket_recv_buffer_size(&socket, UDP_BUFFER_BYTES)?;
    sockopt::set_socket_send_buffer_size(&socket, UDP_BUFFER_BYTES)?;
    socket.set_nonblocking(waiting != Waiting::Block)?;
    Ok(socket)
}

/// The client's UDP socket, which gives up waiting after a while.
///
/// # Errors
/// As [`udp`].
pub(super) fn udp_client(job: &Job, waiting: Waiting) -> io::Result<UdpSocket> {
    let socket = udp(any_address(job), waiting)?;
    socket.set_read_timeout(Some(RESPONSE_MAX))?;
    Ok(socket)
}

/// Lets the kernel cut what is sent into datagrams of that payload, and join what arrives.
///
/// # Errors
/// The kernel is older than 5.0.
pub(super) fn offload(socket: &UdpSocket, segment_bytes: usize) -> io::Result<()> {
    setsockopt(socket, nix_sockopt::UdpGsoSegment, &(segment_bytes as i32))?;
    setsockopt(socket, nix_sockopt::UdpGroSegment, &true)?;
    Ok(())
}

/// A TCP connection to the server, without delay.
///
/// # Errors
/// The server is not there, or the congestion control not to be had.
pub(super) fn tcp_client(
    job: &Job,
    waiting: Waiting,
    congestion: Congestion,
) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&job.server(), RESPONSE_MAX)?;
    prepare(&stream, waiting, congestion)?;
    stream.set_read_timeout(Some(RESPONSE_MAX))?;
    Ok(stream)
}

/// Serves one TCP connection on a thread of its own, and returns the port.
///
/// # Errors
/// The address is not to be had.
pub(super) fn tcp_server(
    job: &Job,
    waiting: Waiting,
    congestion: Congestion,
    serve: fn(&Job, TcpStream) -> io::Result<()>,
) -> io::Result<Vec<u16>> {
    let listener = TcpListener::bind(SocketAddr::new(job.listen, 0))?;
    let port = listener.local_addr()?.port();
    let job = job.clone();
    spawn_server(move || {
        let stream = listener.accept()?.0;
        prepare(&stream, waiting, congestion)?;
        serve(&job, stream)
    });
    Ok(vec![port])
}

fn prepare(stream: &TcpStream, waiting: Waiting, congestion: Congestion) -> io::Result<()> {
    congestion.set(stream)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(waiting != Waiting::Block)
}

/// Runs a server on a thread of its own. It ends with its client, or with an error that is told.
pub(super) fn spawn_server(serve: impl FnOnce() -> io::Result<()> + Send + 'static) {
    thread::spawn(|| match serve() {
        Err(error) if !is_about_client(&error) => {
            eprintln!("homa: the server of the benchmark stopped: {error}");
        }
        _ => {}
    });
}

/// A client ends when its turn does, whatever is still on its way to it.
fn is_about_client(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn any_address(job: &Job) -> IpAddr {
    match job.server().ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The receive buffer that the system grants where `UDP_BUFFER_BYTES` are asked for. It counts
/// twice what was asked, for its own bookkeeping.
///
/// # Errors
/// There is no UDP.
pub(super) fn receive_buffer_granted() -> io::Result<usize> {
    let socket = udp(IpAddr::from([127, 0, 0, 1]), Waiting::Block)?;
    Ok(sockopt::socket_recv_buffer_size(&socket)? / 2)
}
