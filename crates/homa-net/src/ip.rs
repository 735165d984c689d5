//! Directly on IP, protocol 146, as the Homa kernel module speaks it. Takes CAP_NET_RAW.
//!
//! It decides who owns a port on this machine, what is written into the parts of a packet that
//! belong to the network (source address, checksum), and what is answered for ports that nobody
//! owns. Of the packet it reads the two ports at its beginning and writes the checksum at byte 16;
//! the rest is the host's.
//!
//! # Design
//!
//! *A socket for each port*, with a filter in the kernel that lets nothing else in: a raw socket
//! would otherwise get every Homa packet of the machine, and wake its process for it.
//!
//! *A port is claimed by the name of an abstract Unix socket* (`claim.rs`). Such names belong to the
//! network namespace, as ports do, and go with the process, however it ends. A lock file would know
//! neither.
//!
//! *One link at each address answers for the ports of nobody* (`guard.rs`), whichever took that office
//! first: its filter lets through what nobody else is known to own.
//!
//! *The source address is known here*, because the checksum covers it: the kernel is asked which one
//! the route takes, and told only where it is to be another.

mod checksum;
mod claim;
mod filter;
mod guard;
mod open;
mod receive;
mod send;
mod sources;

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::inbox::Inbox;
use crate::link::{
    Capabilities, Counters, Framing, Link, Received, Refusal, Transmit, Undeliverable, Unreachable,
};
use crate::ports;
use crate::udp::errors::Reports;
use crate::udp::{BindError, Options, overflows, route};

/// The protocol number of Homa.
const HOMA: i32 = 146;

/// A raw IP socket for one Homa port as a [`Link`].
pub struct Ip {
    socket: OwnedFd,
    /// Where it is bound, with the Homa port.
    local: SocketAddr,
    capabilities: Capabilities,
    counters: Counters,
    outbox: send::Outbox,
    inbox: Inbox,
    reports: Reports,
    /// Holds the port; `None` only while the link is dropped.
    claim: Option<claim::Claim>,
    guard: guard::Guard,
}

impl Ip {
    /// Opens a socket for the Homa port of `address`; port 0 takes a free one from 32768 up, as
    /// clients have.
    ///
    /// # Errors
    ///
    /// CAP_NET_RAW is missing, a kernel module owns the protocol, or a process the port. The
    /// error's text says what to do next.
    pub fn bind(address: SocketAddr, options: &Options) -> Result<Self, BindError> {
        let (claim, socket, local) = open::open(address, options)?;
        let guard = guard::Guard::post(socket.as_fd(), local.ip(), local.port());
        let guard = guard.map_err(|source| BindError::Failed {
            address,
            step: "starting a thread that answers for ports of nobody",
            source,
        })?;
        Ok(Self {
            capabilities: open::capabilities(socket.as_fd()),
            counters: Counters::default(),
            outbox: send::Outbox::new(local.ip(), options.usual_class),
            inbox: Inbox::new(
                options.receive_buffer_count,
                open::has_control(address, options),
            ),
            reports: Reports::new(),
            socket,
            local,
            claim: Some(claim),
            guard,
        })
    }
}

impl Drop for Ip {
    fn drop(&mut self) {
        // From here on its port is nobody's, and who answers for those knows it.
        self.claim = None;
        if self.guard.leave() {
            self.hear_the_rest();
        }
    }
}

impl fmt::Debug for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ip")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl Link for Ip {
    fn send(&mut self, batch: &[Transmit<'_>], refused: &mut dyn FnMut(usize, Refusal)) -> usize {
        self.send_batch(batch, refused)
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        self.receive_batch(sink)
    }

    fn poll_errors(&mut self, sink: &mut dyn FnMut(Undeliverable<'_>)) -> io::Result<usize> {
        let own = self.local.port();
        let mut count = 0;
        self.reports.drain(self.socket.as_fd(), &mut |report| {
            if let Some(report) = own_report(own, report) {
                count += 1;
                sink(report);
            }
        })?;
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

    fn framing(&self) -> Framing {
        Framing::Ip
    }
}

/// The report if it is about a packet of port `own`: the kernel gives every report to every socket
/// of the protocol.
fn own_report(own: u16, report: Undeliverable<'_>) -> Option<Undeliverable<'_>> {
    let (source, dest) = ports::of(report.offending)?;
    let cause = match report.cause {
        // Where nobody speaks Homa, nobody listens at the port either.
        Unreachable::Protocol => Unreachable::Port,
        cause => cause,
    };
    (source == own).then(|| Undeliverable {
        to: ports::at(report.to, dest),
        cause,
        ..report
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_belongs_to_the_port_that_sent_the_packet() {
        let report = |offending| Undeliverable {
            to: "10.0.0.2:0".parse().unwrap(),
            cause: Unreachable::Port,
            reporter: None,
            offending,
        };
        let packet = [0x80, 0x00, 0x00, 0x63, 0, 0, 0, 0];
        let own = own_report(0x8000, report(&packet)).expect("the port's own");
        assert_eq!(own.to, "10.0.0.2:99".parse().unwrap());
        assert!(own_report(0x8001, report(&packet)).is_none());
        assert!(own_report(0x8000, report(&packet[..3])).is_none());
    }

    #[test]
    fn where_nobody_speaks_homa_nobody_has_the_port() {
        let packet = [0x80, 0x00, 0x00, 0x63, 0, 0, 0, 0];
        let cause = |cause| {
            let report = Undeliverable {
                to: "10.0.0.2:0".parse().unwrap(),
                cause,
                reporter: None,
                offending: &packet,
            };
            own_report(0x8000, report).unwrap().cause
        };
        assert_eq!(cause(Unreachable::Protocol), Unreachable::Port);
        assert_eq!(cause(Unreachable::Host), Unreachable::Host);
    }
}
