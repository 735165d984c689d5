//! Questions to the kernel about routes and addresses, asked with scratch sockets.

use core::net::{IpAddr, SocketAddr};
use std::io;
use std::os::fd::AsFd;

use super::Family;
use crate::sys::{self, Errno, SocketName};

/// Any port will do: connecting a UDP socket looks the route up and sends nothing. 9 is "discard".
const PORT: u16 = 9;

/// The largest IP packet that the route from `from` (may be unspecified) to `to` takes, in bytes.
///
/// A scratch socket for each question: one that was connected before keeps the source address of
/// its first peer, from which another route may not exist.
pub(crate) fn mtu(from: IpAddr, to: IpAddr) -> io::Result<u32> {
    let family = Family::of(to);
    if from.is_ipv4() != to.is_ipv4() {
        return Err(Errno(libc::EAFNOSUPPORT).into());
    }
    let socket = sys::udp_socket(family.domain)?;
    let fd = socket.as_fd();
    if !from.is_unspecified() {
        sys::bind(fd, &SocketName::encode((from, 0).into()))?;
    }
    sys::connect(fd, &SocketName::encode((to, PORT).into()))?;
    let bytes = sys::option(fd, family.level, family.mtu)?;
    Ok(u32::try_from(bytes).unwrap_or(0))
}

/// The address of this machine that packets to `to` leave from.
pub(crate) fn source(to: SocketAddr) -> Result<IpAddr, Errno> {
    let socket = sys::udp_socket(Family::of(to.ip()).domain)?;
    let mut peer = to;
    peer.set_port(PORT);
    sys::connect(socket.as_fd(), &SocketName::encode(peer))?;
    let name = sys::local_name(socket.as_fd())?.decode();
    name.map(|name| name.ip()).ok_or(Errno(libc::EAFNOSUPPORT))
}

/// Whether `ip` is an address of this machine.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    let name = SocketName::encode((ip, 0).into());
    sys::udp_socket(Family::of(ip).domain)
        .and_then(|socket| sys::bind(socket.as_fd(), &name))
        .is_ok()
}
