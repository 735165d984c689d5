//! The UDP tunnel of the reference: a Homa packet unchanged in a datagram from port 54321 to port
//! 54321. It takes no right.
//!
//! The ports of addresses are Homa ports, which stand at the beginning of the packet. One process of
//! a machine can be the end of the tunnel at an address, with as many Homa ports as it likes.

mod ends;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::io;
use std::os::fd::BorrowedFd;

use crate::link::{
    Capabilities, Counters, Framing, Link, Received, Refusal, Transmit, Undeliverable,
};
use crate::ports;
use crate::udp::{BindError, Options, Udp};

/// The UDP port, at both ends.
pub const TUNNEL_PORT: u16 = 54_321;

/// An end of the tunnel, for one Homa port, as a [`Link`].
pub struct Tunnel {
    /// `None` only while it is dropped.
    udp: Option<Udp>,
    /// As it was asked for, with the Homa port.
    address: SocketAddr,
    /// Arrived packets for other ports, or too short for one.
    strays: u64,
}

impl Tunnel {
    /// Opens the end at `address`, whose port is the Homa port; 0 stands for a free one of clients.
    ///
    /// # Errors
    ///
    /// Another process has the tunnel there, another socket of this one the Homa port, or the address
    /// is not of this machine. The sockets of a process share the tunnel where they have the same
    /// address, be it that of all interfaces.
    pub fn bind(address: SocketAddr, options: &Options) -> Result<Self, BindError> {
        let (udp, port) = ends::all().open(address, options)?;
        Ok(Self {
            udp: Some(udp),
            address: ports::at(address, port),
            strays: 0,
        })
    }

    fn udp(&self) -> &Udp {
        self.udp.as_ref().expect("it is there until dropped")
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if let Some(udp) = self.udp.take() {
            ends::all().close(self.address.ip(), udp, self.address.port());
        }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Link for Tunnel {
    fn send(&mut self, batch: &[Transmit<'_>], refused: &mut dyn FnMut(usize, Refusal)) -> usize {
        let udp = self.udp.as_mut().expect("it is there until dropped");
        let mut done = 0;
        // In groups, so that no call allocates.
        for group in batch.chunks(GROUP) {
            let mut inside = [NOTHING; GROUP];
            for (inside, transmit) in inside.iter_mut().zip(group) {
                *inside = Transmit {
                    to: ports::at(transmit.to, TUNNEL_PORT),
                    ..*transmit
                };
            }
            let sent = udp.send(&inside[..group.len()], &mut |index, refusal| {
                refused(done + index, refusal);
            });
            done += sent;
            if sent < group.len() {
                break;
            }
        }
        done
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        let (own, strays) = (self.address.port(), &mut self.strays);
        let udp = self.udp.as_mut().expect("it is there until dropped");
        udp.receive(&mut |received| {
            for packet in received.segments() {
                match ports::of(packet) {
                    Some((source, dest)) if dest == own => sink(Received {
                        from: ports::at(received.from, source),
                        segment_bytes: packet.len(),
                        bytes: packet,
                        ..received
                    }),
                    _ => *strays += 1,
                }
            }
        })
    }

    fn poll_errors(&mut self, sink: &mut dyn FnMut(Undeliverable<'_>)) -> io::Result<usize> {
        let own = self.address.port();
        let udp = self.udp.as_mut().expect("it is there until dropped");
        udp.poll_errors(&mut |report| {
            // A report may reach another socket than sent: the kernel does not ask the program. Then
            // the RPC ends by its timeout.
            match ports::of(report.offending) {
                Some((source, dest)) if source == own => sink(Undeliverable {
                    to: ports::at(report.to, dest),
                    ..report
                }),
                Some(_) => {}
                None => sink(report),
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        ports::at(self.udp().local_addr(), self.address.port())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.udp().fd()
    }

    fn capabilities(&self) -> Capabilities {
        self.udp().capabilities()
    }

    fn route_mtu(&self, to: IpAddr) -> io::Result<u32> {
        self.udp().route_mtu(to)
    }

    fn counters(&self) -> Counters {
        let inner = self.udp().counters();
        Counters {
            datagrams_received: inner.datagrams_received - self.strays,
            malformed: inner.malformed + self.strays,
            ..inner
        }
    }

    fn framing(&self) -> Framing {
        Framing::Tunnel
    }
}

/// Transmits that are handed on at a time.
const GROUP: usize = 16;

const NOTHING: Transmit<'static> = Transmit {
    to: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    from: None,
    traffic_class: 0,
    segment_bytes: None,
    slices: &[],
};
