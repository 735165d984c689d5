//! The UDP tunnel of the reference: a Homa packet unchanged in a datagram from port 54321 to port
//! 54321. It takes no right.
//!
//! The ports of addresses are Homa ports, which stand at the beginning of the packet. One socket of
//! a machine's address can be the end of the tunnel, so there is one Homa port for each.

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

/// The Homa port of a client: the first of theirs.
const CLIENT_PORT: u16 = 32_768;

/// An end of the tunnel as a [`Link`].
pub struct Tunnel {
    udp: Udp,
    /// Homa port.
    port: u16,
    /// Arrived packets for other ports, or too short for one.
    strays: u64,
}

impl Tunnel {
    /// Opens the end at `address`, whose port is the Homa port; 0 stands for that of a client.
    ///
    /// # Errors
    ///
    /// Another socket is the end of the tunnel there, or the address is not of this machine.
    pub fn bind(address: SocketAddr, options: &Options) -> Result<Self, BindError> {
        let udp =
            Udp::bind(ports::at(address, TUNNEL_PORT), options).map_err(|error| match error {
                BindError::AddressInUse(_) => BindError::TunnelInUse(address),
                other => other,
            })?;
        Ok(Self {
            udp,
            port: if address.port() == 0 {
                CLIENT_PORT
            } else {
                address.port()
            },
            strays: 0,
        })
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("udp", &self.udp)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Link for Tunnel {
    fn send(&mut self, batch: &[Transmit<'_>], refused: &mut dyn FnMut(usize, Refusal)) -> usize {
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
            let sent = self
                .udp
                .send(&inside[..group.len()], &mut |index, refusal| {
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
        let (own, strays) = (self.port, &mut self.strays);
        self.udp.receive(&mut |received| {
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
        self.udp.poll_errors(&mut |report| {
            let dest = ports::of(report.offending).map_or(0, |(_, dest)| dest);
            sink(Undeliverable {
                to: ports::at(report.to, dest),
                ..report
            });
        })
    }

    fn local_addr(&self) -> SocketAddr {
        ports::at(self.udp.local_addr(), self.port)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.udp.fd()
    }

    fn capabilities(&self) -> Capabilities {
        self.udp.capabilities()
    }

    fn route_mtu(&self, to: IpAddr) -> io::Result<u32> {
        self.udp.route_mtu(to)
    }

    fn counters(&self) -> Counters {
        let inner = self.udp.counters();
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
