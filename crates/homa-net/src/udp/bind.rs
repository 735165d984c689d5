//! Opening a socket: its options, and errors that say what to do next.

use core::ffi::c_int;
use core::fmt;
use core::net::SocketAddr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::steering::Steering;
use super::{Family, SEGMENTED, UNSEGMENTED};
use crate::link::Capabilities;
use crate::sys::{self, Errno, SocketName};

/// How a UDP link is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Receive buffer to ask for, in bytes. The system caps it (`net.core.rmem_max`) and doubles
    /// it for its own bookkeeping; [`Capabilities::receive_buffer_bytes`] is what came of it.
    ///
    /// The default, 4 MiB, is the most that common systems grant and some 300 µs of a link with
    /// 100 Gbit/s. Too small: bursts of unscheduled packets are lost. Larger costs nothing until
    /// it fills.
    pub receive_buffer_bytes: u32,
    /// Send buffer to ask for, in bytes; capped by `net.core.wmem_max`, doubled likewise.
    ///
    /// Too small: sending stops at every few batches. Too large: short messages queue behind what
    /// the kernel already took.
    pub send_buffer_bytes: u32,
    /// Whether to hand several datagrams to the kernel in one piece (UDP_SEGMENT) where it can.
    /// Off only to compare, or to work round a broken device.
    pub segmentation: bool,
    /// Whether to take several datagrams from the kernel in one piece (UDP_GRO) where it can. It
    /// begins with the first sign of bulk: see `receive.rs`.
    pub coalescing: bool,
    /// The traffic class that most datagrams leave with. One that leaves with another needs a
    /// control message, some 60 ns.
    pub usual_class: u8,
    /// Whether to tell the traffic class of what arrives; without it, it reads as 0. A control
    /// message for each buffer.
    pub tell_class: bool,
    /// Whether to tell which address was addressed where the socket is bound to all of them: a
    /// server answers from there, a client need not know. A control message for each buffer.
    pub tell_destination: bool,
    /// Whether several sockets may share the address (SO_REUSEPORT); the kernel then spreads
    /// peers over them. Off by default, so that a second server on a port is an error.
    pub reuse_port: bool,
    /// How the kernel spreads datagrams over sockets that share the address; `None`: by a hash of
    /// its own. Takes `reuse_port`.
    pub steering: Option<Steering>,
    /// Buffers to receive in one call, 1 to 64; each reserves 64 KiB of address space and holds
    /// one datagram or one coalesced batch.
    ///
    /// Too few: a system call for each small datagram under load. Too many: the buffers fall out
    /// of the cache between the kernel's copy and ours.
    pub receive_buffer_count: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            receive_buffer_bytes: 4 << 20,
            send_buffer_bytes: 4 << 20,
            segmentation: true,
            coalescing: true,
            usual_class: 0,
            tell_class: false,
            tell_destination: true,
            reuse_port: false,
            steering: None,
            receive_buffer_count: 16,
        }
    }
}

/// Why a link could not be opened. The text is one line that says what to do next.
#[derive(Debug)]
pub enum BindError {
    /// Another socket has the port.
    AddressInUse(SocketAddr),
    /// No interface of this machine has the IP address.
    AddressNotAvailable(SocketAddr),
    /// The system does not allow this process to use the port.
    PermissionDenied(SocketAddr),
    /// The system has no IPv4, or no IPv6.
    FamilyNotSupported(SocketAddr),
    /// A raw socket takes the capability CAP_NET_RAW.
    NeedsNetRaw(SocketAddr),
    /// A kernel module on this machine speaks Homa on protocol 146.
    KernelModule(SocketAddr),
    /// Another process, or another socket of this one, has the Homa port.
    HomaPortInUse(SocketAddr),
    /// Another process of this machine is the end of the UDP tunnel, or a socket of this one with
    /// another address that overlaps.
    TunnelInUse(SocketAddr),
    /// Another socket of this process has the Homa port in the tunnel.
    TunnelPortInUse(SocketAddr),
    /// Any port would do, and all that there are for clients are taken.
    NoFreePort(SocketAddr),
    /// Something else went wrong.
    Failed {
        /// The address asked for.
        address: SocketAddr,
        /// What was being done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse(address) => write!(
                f,
                "cannot listen on {address}: another process uses UDP port {port}; choose another \
                 port, or end that process (`ss -ulpn 'sport = :{port}'` names it)",
                port = address.port()
            ),
            Self::AddressNotAvailable(address) => write!(
                f,
                "cannot listen on {address}: this machine does not have the address {ip}; `ip \
                 address` lists those it has, and {any} stands for all of them",
                ip = address.ip(),
                any = if address.is_ipv4() { "0.0.0.0" } else { "[::]" }
            ),
            Self::PermissionDenied(address) => write!(
                f,
                "cannot listen on {address}: permission denied; choose a port of at least 1024, \
                 or ask the administrator to lower net.ipv4.ip_unprivileged_port_start"
            ),
            Self::FamilyNotSupported(address) => write!(
                f,
                "cannot listen on {address}: this machine has no {family}; use an {other} address",
                family = if address.is_ipv4() { "IPv4" } else { "IPv6" },
                other = if address.is_ipv4() { "IPv6" } else { "IPv4" }
            ),
            Self::NeedsNetRaw(address) => write!(
                f,
                "cannot use IP protocol 146 at {address}: this takes CAP_NET_RAW; run as root, or \
                 `sudo setcap cap_net_raw+ep PROGRAM`, or go over UDP (link `udp`), which takes \
                 no right"
            ),
            Self::KernelModule(address) => write!(
                f,
                "cannot use IP protocol 146 at {address}: a kernel module of this machine has it; \
                 unload the module (`lsmod` names it), or go over UDP (link `udp`)"
            ),
            Self::HomaPortInUse(address) => write!(
                f,
                "cannot use Homa port {port} at {address}: it is taken on this machine; choose \
                 another, or end the process that has it (`ss -xlp | grep homa.ip146.port` names \
                 it)",
                port = address.port()
            ),
            Self::TunnelInUse(address) => write!(
                f,
                "cannot open the tunnel at {address}: UDP port 54321 is taken; one process of a \
                 machine can be its end (`ss -ulpn 'sport = :54321'` names it), with one address \
                 for all of its sockets"
            ),
            Self::TunnelPortInUse(address) => write!(
                f,
                "cannot use Homa port {} at {address}: another socket of this process has it in \
                 the tunnel; choose another",
                address.port()
            ),
            Self::NoFreePort(address) => write!(
                f,
                "cannot get a port at {}: all are taken; close sockets that nobody needs: one client \
                 calls any number of servers",
                address.ip()
            ),
            Self::Failed {
                address,
                step,
                source,
            } => write!(f, "cannot listen on {address}: {step}: {source}"),
        }
    }
}

impl core::error::Error for BindError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Failed { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl BindError {
    pub(crate) const fn failed(address: SocketAddr, step: &'static str, source: io::Error) -> Self {
        Self::Failed {
            address,
            step,
            source,
        }
    }

    pub(crate) fn new(address: SocketAddr, step: &'static str, errno: Errno) -> Self {
        match errno.0 {
            libc::EADDRINUSE if address.port() == 0 => Self::NoFreePort(address),
            libc::EADDRINUSE => Self::AddressInUse(address),
            libc::EADDRNOTAVAIL => Self::AddressNotAvailable(address),
            libc::EACCES | libc::EPERM => Self::PermissionDenied(address),
            libc::EAFNOSUPPORT => Self::FamilyNotSupported(address),
            _ => Self::failed(address, step, errno.into()),
        }
    }
}

/// Opens and binds a socket; returns it with the address it got.
pub(super) fn open(
    address: SocketAddr,
    options: &Options,
) -> Result<(OwnedFd, SocketAddr), BindError> {
    let failed = |step| move |errno| BindError::new(address, step, errno);
    let family = Family::of(address.ip());
    let socket = sys::udp_socket(family.domain).map_err(failed("opening a UDP socket"))?;
    let fd = socket.as_fd();
    let set = |level, option, value, step| {
        sys::set_option(fd, level, option, value).map_err(failed(step))
    };
    let level = libc::SOL_SOCKET;

    if address.is_ipv6() {
        set(family.level, libc::IPV6_V6ONLY, 1, "leaving IPv4 to others")?;
    }
    set(
        family.level,
        family.class,
        options.usual_class.into(),
        "setting the traffic class",
    )?;
    set(
        family.level,
        family.receive_class,
        options.tell_class.into(),
        "receiving traffic classes",
    )?;
    set(
        family.level,
        family.receive_errors,
        1,
        "receiving ICMP errors",
    )?;
    set(
        family.level,
        family.receive_destination,
        tells_destination(address, options).into(),
        "receiving destinations",
    )?;
    set(
        family.level,
        family.mtu_discovery,
        family.probe,
        "setting don't-fragment",
    )?;
    size_buffers(fd, options).map_err(failed("sizing the buffers"))?;
    let shared = c_int::from(options.reuse_port);
    set(
        level,
        libc::SO_REUSEPORT,
        shared,
        "setting whether the port is shared",
    )?;

    sys::bind(fd, &SocketName::encode(address)).map_err(failed("binding"))?;
    if let Some(steering) = &options.steering {
        let program = steering.program(address.is_ipv4());
        sys::steer(fd, &program).map_err(failed("steering datagrams to sockets"))?;
    }
    let local = sys::local_name(fd).map_err(failed("reading the address back"))?;
    let local = local.decode().unwrap_or(address);
    Ok((socket, local))
}

/// Whether each arriving buffer tells what was addressed: a socket with one address knows.
pub(crate) fn tells_destination(address: SocketAddr, options: &Options) -> bool {
    options.tell_destination && address.ip().is_unspecified()
}

/// Asks for the buffers that `options` name; the kernel caps them.
pub(crate) fn size_buffers(fd: BorrowedFd<'_>, options: &Options) -> Result<(), Errno> {
    let set = |option, bytes| {
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        sys::set_option(fd, libc::SOL_SOCKET, option, bytes)
    };
    set(libc::SO_RCVBUF, options.receive_buffer_bytes)?;
    set(libc::SO_SNDBUF, options.send_buffer_bytes)
}

/// Bytes of a buffer of the socket, as the kernel accounts them.
pub(crate) fn buffer_bytes(fd: BorrowedFd<'_>, option: c_int) -> usize {
    let bytes = sys::option(fd, libc::SOL_SOCKET, option).unwrap_or(0);
    usize::try_from(bytes).unwrap_or(0)
}

/// Asks the kernel what the socket can do.
pub(super) fn capabilities(fd: BorrowedFd<'_>, options: &Options) -> Capabilities {
    // A kernel older than 4.18 does not know the first, one older than 5.0 not the second. Both are
    // off, and setting them to off is how to ask: reading UDP_GRO is younger than the option.
    let knows = |option| sys::set_option(fd, libc::SOL_UDP, option, 0).is_ok();
    let segments = options.segmentation && knows(libc::UDP_SEGMENT);
    let coalesces = options.coalescing && knows(libc::UDP_GRO);
    let (max_segments, max_batch_bytes) = if segments { SEGMENTED } else { UNSEGMENTED };
    Capabilities {
        max_segments,
        max_batch_bytes,
        coalesces,
        receive_buffer_bytes: buffer_bytes(fd, libc::SO_RCVBUF),
        send_buffer_bytes: buffer_bytes(fd, libc::SO_SNDBUF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_for_any_port_is_not_told_to_choose_another() {
        let in_use = |address: &str| {
            BindError::new(address.parse().unwrap(), "", Errno(libc::EADDRINUSE)).to_string()
        };
        assert!(in_use("0.0.0.0:0").contains("all are taken"));
        assert!(in_use("0.0.0.0:99").contains("choose another"));
    }
}
