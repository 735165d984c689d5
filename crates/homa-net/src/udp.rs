//! UDP over IPv4 or IPv6, without privileges.
//!
//! It decides which system calls carry a batch and recovers from what the kernel or a device
//! refuses. One socket speaks one address family (an IPv6 socket takes no IPv4 traffic): a host
//! that wants both opens two.
//!
//! # Design
//!
//! *Unconnected.* One socket serves any number of peers; the address rides with each datagram.
//!
//! *The path-MTU cache of the kernel is not obeyed* (`IP_PMTUDISC_PROBE`): packets carry the
//! don't-fragment bit, the host sizes them, and ICMP "too big" comes out of `poll_errors`. With
//! `IP_PMTUDISC_DO` a forged ICMP message could make every send to a peer fail, and segmented
//! sends fail with the same error number as on devices that cannot segment.
//!
//! *Plain `sendto` and `recvfrom` for a single datagram*, as long as nothing needs a control
//! message. The many-message calls and segmentation make a lone round trip slower; the receive side
//! grows its batch while batches come back full.
//!
//! *Overflows are read when counters are asked for* (`SO_MEMINFO`), not from a control message
//! (`SO_RXQ_OVFL`): that costs nothing per datagram, and the last overflow before a silence is
//! counted too.

mod bind;
pub(crate) mod errors;
pub(crate) mod family;
pub(crate) mod receive;
pub(crate) mod route;
pub(crate) mod send;
mod steering;
#[cfg(test)]
mod tests;
pub(crate) mod verdict;

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub use bind::{BindError, Options};
pub(crate) use bind::{buffer_bytes, size_buffers, tells_destination};
pub use steering::Steering;

use self::family::Family;
use crate::ahead::{Ahead, Laid};
use crate::inbox::Inbox;
use crate::link::{
    Capabilities, Counters, Link, MAX_BATCH_BYTES, MAX_SEGMENTS, Received, Refusal, Transmit,
    Undeliverable,
};
use crate::sys;

/// Position of the drop counter in what `SO_MEMINFO` returns, and the length of the whole.
const MEMINFO_DROPS: usize = 8;
const MEMINFO_LENGTH: usize = 9;

/// A UDP socket as a [`Link`].
pub struct Udp {
    socket: OwnedFd,
    local: SocketAddr,
    /// The address of a socket that has one of its own: it receives nothing else, see `bind::open`.
    addressed: Option<IpAddr>,
    /// What datagrams leave with unless a control message says otherwise.
    usual_class: u8,
    capabilities: Capabilities,
    counters: Counters,
    outbox: send::Outbox,
    inbox: Inbox,
    /// Whether to coalesce once there is bulk.
    awaits_bulk: bool,
    reports: errors::Reports,
}

impl Udp {
    /// Opens a socket on `address`; port 0 lets the system choose one.
    ///
    /// # Errors
    ///
    /// The address is in use, not of this machine, or not permitted. The error's text says what to
    /// do next.
    pub fn bind(address: SocketAddr, options: &Options) -> Result<Self, BindError> {
        let (socket, local) = bind::open(address, options)?;
        let capabilities = bind::capabilities(socket.as_fd(), options);
        Ok(Self {
            socket,
            local,
            addressed: Some(local.ip()).filter(|ip| !ip.is_unspecified()),
            usual_class: options.usual_class,
            capabilities,
            counters: Counters::default(),
            outbox: send::Outbox::new(),
            inbox: Inbox::new(
                options.receive_buffer_count,
                options.tell_class || tells_destination(address, options),
            ),
            awaits_bulk: capabilities.coalesces,
            reports: errors::Reports::new(),
        })
    }
}

impl fmt::Debug for Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Udp")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl Link for Udp {
    fn send(&mut self, batch: &[Transmit<'_>], refused: &mut dyn FnMut(usize, Refusal)) -> usize {
        self.send_batch(batch, refused)
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        self.receive_batch(sink)
    }

    fn peek<'a>(&mut self, start: &'a mut [u8]) -> io::Result<Option<Received<'a>>> {
        self.look(start)
    }

    fn receive_ahead(&mut self, ahead: &mut Ahead<'_>) -> io::Result<Option<Laid<'_>>> {
        self.receive_laid(ahead)
    }

    fn receives_ahead(&self) -> bool {
        self.capabilities.coalesces && !self.awaits_bulk
    }

    fn poll_errors(&mut self, sink: &mut dyn FnMut(Undeliverable<'_>)) -> io::Result<usize> {
        let count = self.reports.drain(self.socket.as_fd(), sink)?;
        self.counters.undeliverable += count as u64;
        Ok(count)
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn route_mtu(&self, to: IpAddr) -> io::Result<u32> {
        route::mtu(self.local.ip(), to)
    }

    fn counters(&self) -> Counters {
        Counters {
            receive_overflows: overflows(self.socket.as_fd()),
            ..self.counters
        }
    }
}

/// Datagrams that found the socket's receive buffer full.
pub(crate) fn overflows(fd: BorrowedFd<'_>) -> u64 {
    let memory = sys::option_array::<MEMINFO_LENGTH>(fd, libc::SOL_SOCKET, libc::SO_MEMINFO);
    memory.map_or(0, |words| u64::from(words[MEMINFO_DROPS]))
}

/// What [`Capabilities`] says of a socket that can, or cannot, segment.
const SEGMENTED: (usize, usize) = (MAX_SEGMENTS, MAX_BATCH_BYTES);
const UNSEGMENTED: (usize, usize) = (1, MAX_BATCH_BYTES);
