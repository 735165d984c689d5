//! Questions to the kernel about routes and addresses, asked with scratch sockets.

use core::net::{IpAddr, SocketAddr};
use std::io;
use std::os::fd::AsFd;

use crate::sys::{self, SocketName};

/// Any port will do: connecting a UDP socket looks the route up and sends nothing. 9 is "discard".
const PORT: u16 = 9;

/// The largest IP packet that the route from `from` (may be unspecified) to `to` takes, in bytes.
///
/// A scratch socket for each question: one that was connected before keeps the source address of
/// its first peer, from which another route may not exist.
pub(super) fn mtu(from: IpAddr, to: IpAddr) -> io::Result<u32> {
    let (family, level, option) = match to {
        IpAddr::V4(_) => (libc::AF_INET, libc::SOL_IP, libc::IP_MTU),
        IpAddr::V6(_) => (libc::AF_INET6, libc::SOL_IPV6, libc::IPV6_MTU),
    };
    if from.is_ipv4() != to.is_ipv4() {
        return Err(sys::Errno(libc::EAFNOSUPPORT).into());
    }
    let socket = sys::udp_socket(family)?;
    if !from.is_unspecified() {
        sys::bind(
            socket.as_fd(),
            &SocketName::encode(SocketAddr::new(from, 0)),
        )?;
    }
    sys::connect(
        socket.as_fd(),
        &SocketName::encode(SocketAddr::new(to, PORT)),
    )?;
    let bytes = sys::option(socket.as_fd(), level, option)?;
    Ok(u32::try_from(bytes).unwrap_or(0))
}

/// Whether `ip` is an address of this machine.
pub(super) fn is_local(ip: IpAddr) -> bool {
    let family = match ip {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    let name = SocketName::encode(SocketAddr::new(ip, 0));
    sys::udp_socket(family)
        .and_then(|socket| sys::bind(socket.as_fd(), &name))
        .is_ok()
}
