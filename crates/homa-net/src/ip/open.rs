//! Opening a raw socket: the claim of its port, its options, its filter.

use core::net::SocketAddr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::claim::{Claim, Office};
use super::{HOMA, filter};
use crate::link::{Capabilities, MAX_BATCH_BYTES, MAX_SEGMENTS};
use crate::ports::{self, Round};
use crate::sys::{self, Errno, SocketName};
use crate::udp::family::Family;
use crate::udp::{BindError, Options, buffer_bytes, size_buffers};

/// Opens a socket for a port; returns it with the address it got.
pub(super) fn open(
    address: SocketAddr,
    options: &Options,
) -> Result<(Claim, OwnedFd, SocketAddr), BindError> {
    let family = Family::of(address.ip());
    let failed = |step| move |error: io::Error| BindError::failed(address, step, error);
    if is_owned_by_the_kernel(family, HOMA) {
        return Err(BindError::KernelModule(address));
    }
    let socket =
        sys::socket(family.domain, libc::SOCK_RAW, HOMA).map_err(|errno| match errno.0 {
            libc::EPERM | libc::EACCES => BindError::NeedsNetRaw(address),
            _ => BindError::new(address, "opening a raw socket", errno),
        })?;
    let (claim, port) = claim(address)?;
    let fd = socket.as_fd();
    filter::only(fd, address.is_ipv4(), port).map_err(failed("attaching a filter"))?;
    set_options(fd, address, options)
        .map_err(|errno| failed("setting options of a raw socket")(errno.into()))?;
    size_buffers(fd, options).map_err(|errno| failed("sizing its buffers")(errno.into()))?;
    // To the kernel the port of a raw IPv6 socket is its protocol, or 0.
    let name = SocketName::encode(ports::at(address, 0));
    sys::bind(fd, &name).map_err(|errno| BindError::new(address, "binding", errno))?;
    Ok((claim, socket, ports::at(address, port)))
}

/// Whether the kernel speaks a protocol itself: then it has sockets of it to offer. For
/// Homa's it takes a module.
fn is_owned_by_the_kernel(family: &Family, protocol: i32) -> bool {
    sys::socket(family.domain, libc::SOCK_DGRAM, protocol).is_ok()
}

/// Claims the port of `address`, or a free one.
fn claim(address: SocketAddr) -> Result<(Claim, u16), BindError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::HomaPortInUse(address),
        _ => BindError::failed(address, "claiming the port", error),
    };
    if address.port() != 0 {
        let claim = Office::Port(address.port()).claim().map_err(failed)?;
        return Ok((claim, address.port()));
    }
    static ROUND: Round = Round::new();
    let claimed = ROUND.find(|port| match Office::Port(port).claim() {
        Ok(claim) => Some(Ok((claim, port))),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
        Err(error) => Some(Err(failed(error))),
    });
    claimed.unwrap_or(Err(BindError::NoFreePort(address)))
}

fn set_options(fd: BorrowedFd<'_>, address: SocketAddr, options: &Options) -> Result<(), Errno> {
    let family = Family::of(address.ip());
    let set = |option, value| sys::set_option(fd, family.level, option, value);
    set(family.receive_errors, 1)?;
    set(family.mtu_discovery, family.probe)?;
    set(family.class, options.usual_class.into())?;
    // A raw IPv4 socket shows the IP header, which says all the rest.
    if address.is_ipv6() {
        set(family.receive_class, options.tell_class.into())?;
        // Whoever answers for ports of nobody must know which address was called.
        let tells = address.ip().is_unspecified();
        set(family.receive_destination, tells.into())?;
    }
    Ok(())
}

/// Whether what arrives brings control messages: what they would say, an IPv4 header says.
pub(super) fn has_control(address: SocketAddr, options: &Options) -> bool {
    address.is_ipv6() && (options.tell_class || address.ip().is_unspecified())
}

pub(super) fn capabilities(fd: BorrowedFd<'_>) -> Capabilities {
    Capabilities {
        // Cut here and handed over in one system call.
        max_segments: MAX_SEGMENTS,
        max_batch_bytes: MAX_BATCH_BYTES,
        coalesces: false,
        receive_buffer_bytes: buffer_bytes(fd, libc::SO_RCVBUF),
        send_buffer_bytes: buffer_bytes(fd, libc::SO_SNDBUF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_that_the_kernel_speaks_is_told_from_one_that_it_does_not() {
        let v4 = Family::of("0.0.0.0".parse().unwrap());
        assert!(is_owned_by_the_kernel(v4, libc::IPPROTO_UDP));
        // For tests, says RFC 3692.
        assert!(!is_owned_by_the_kernel(v4, 253));
    }

    #[test]
    fn a_client_gets_a_port_of_the_upper_half_that_is_its_own() {
        let any = "0.0.0.0:0".parse().unwrap();
        let (first, second) = (claim(any).unwrap(), claim(any).unwrap());
        assert!(ports::CLIENTS.contains(&first.1));
        assert!(ports::CLIENTS.contains(&second.1));
        assert_ne!(first.1, second.1);
        let taken = ports::at(any, first.1);
        assert!(matches!(claim(taken), Err(BindError::HomaPortInUse(_))));
    }
}
