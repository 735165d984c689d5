//! From the links to the engine: packets with their payload copied once, straight into the message
//! they belong to, and what the network says about packets that did not arrive.
//!
//! It decides nothing about them.

mod ahead;
mod runs;

use core::net::{IpAddr, SocketAddr};
use std::io;

use homa_net::{Received, Undeliverable, Unreachable};
use homa_proto::wire::MAX_HEADER_BYTES;
use homa_proto::{Address, Engine, Instant, Path, SocketId};

use crate::counters::HostCounters;
use crate::group::{Mail, Member};
use crate::links::{Links, Socket};
use crate::messages::Messages;
use crate::routes::{Routes, to_local};
use crate::stock::Stock;

pub(crate) use ahead::Ahead;
use ahead::Expectations;

/// Takes what has arrived on every link, up to one batch each, and what the host's other engines
/// handed over; returns whether there was anything.
pub(crate) fn receive(
    now: Instant,
    engine: &mut Engine,
    links: &mut Links,
    member: Option<&Member>,
    messages: &mut Messages,
    stock: &mut Stock,
    counters: &mut HostCounters,
) -> bool {
    let mut any = false;
    let mut placer = Placer {
        now,
        engine,
        messages,
        stock,
    };
    for socket in links.iter_mut() {
        let outcome = match member.filter(|_| socket.server.is_some()) {
            Some(member) => receive_shared(socket, member, &mut placer, counters),
            None if socket.ahead.expects() => ahead::receive(socket, &mut placer, counters),
            None => receive_own(socket, &mut placer),
        };
        match outcome {
            Ok(count) => any |= count > 0,
            // Out of memory for the moment: the packets wait, or are lost and come again.
            Err(_) => counters.receive_errors += 1,
        }
    }
    if let Some(member) = member {
        any |= take_mail(member, links, &mut placer);
    }
    any
}

/// Takes what has arrived on a link that nobody else has a share in.
#[inline]
fn receive_own(socket: &mut Socket, placer: &mut Placer<'_>) -> io::Result<usize> {
    let (id, server, expected) = (socket.id, socket.server, &mut socket.ahead.expected);
    socket.link.receive(&mut |received: Received<'_>| {
        placer.place_all(
            server,
            path(id, received.from, received.to),
            &received,
            expected,
        );
    })
}

/// Takes what has arrived on a link that the host's engines share a port with.
fn receive_shared(
    socket: &mut Socket,
    member: &Member,
    placer: &mut Placer<'_>,
    counters: &mut HostCounters,
) -> io::Result<usize> {
    let (id, server, port) = (socket.id, socket.server, socket.link.local_addr().port());
    socket.link.receive(&mut |received: Received<'_>| {
        let path = path(id, received.from, received.to);
        for packet in received.segments() {
            if let Some(owner) = member.other_owner(received.from.ip(), packet) {
                let taken = member.hand_over(owner, &received, port, packet);
                counters.handed_over += u64::from(taken);
                counters.hand_over_full += u64::from(!taken);
            } else {
                placer.place_seldom(server, path, packet);
            }
        }
    })
}

/// Takes what the host's other engines handed over; returns whether there was anything.
fn take_mail(member: &Member, links: &mut Links, placer: &mut Placer<'_>) -> bool {
    let mut any = false;
    for mail in member.take_mail() {
        any = true;
        match mail {
            Mail::Packet {
                from,
                to,
                port,
                packet,
            } => {
                let at_port = |socket: &&mut Socket| {
                    socket.server.is_some() && socket.link.local_addr().port() == port
                };
                // An engine without a server there has no use for the packet.
                if let Some(socket) = links.iter_mut().find(at_port) {
                    placer.place_seldom(socket.server, path(socket.id, from, to), &packet);
                }
            }
            Mail::Ack(ack) => placer.engine.handle_foreign_ack(placer.now, &ack),
        }
    }
    any
}

fn path(socket: SocketId, from: SocketAddr, to: Option<IpAddr>) -> Path {
    Path {
        socket,
        peer: Address::from(from),
        local: to_local(to),
    }
}

/// What it takes to hand a packet to the engine and its payload to the message.
struct Placer<'a> {
    now: Instant,
    engine: &'a mut Engine,
    messages: &'a mut Messages,
    stock: &'a mut Stock,
}

impl Placer<'_> {
    /// Places the packets of one buffer. Part of the only caller that has mostly one.
    #[inline(always)]
    fn place_all(
        &mut self,
        server: Option<u32>,
        path: Path,
        received: &Received<'_>,
        expected: &mut Expectations,
    ) {
        if received.segment_bytes < runs::LONG_PACKET_BYTES {
            for packet in received.segments() {
                self.place(server, path, packet);
            }
        } else {
            self.place_runs(server, path, received, expected);
        }
    }

    /// [`place`](Self::place) for callers that have few packets, or few of them short ones.
    #[inline(never)]
    fn place_seldom(&mut self, server: Option<u32>, path: Path, packet: &[u8]) {
        self.place(server, path, packet);
    }

    /// Places one packet: all that short messages are. Part of its caller, so that this is one straight
    /// way; between two system calls no near cache holds any of it.
    #[inline(always)]
    fn place(&mut self, server: Option<u32>, path: Path, packet: &[u8]) {
        let header = &packet[..packet.len().min(MAX_HEADER_BYTES)];
        let Ok(packet_length) = u32::try_from(packet.len()) else {
            return;
        };
        let placement = self
            .engine
            .handle_packet(self.now, path, header, packet_length);
        let Some(placement) = placement else {
            return;
        };
        let place = placement.place();
        let payload = packet.get(place.header_bytes..place.header_bytes + place.length as usize);
        let Some(payload) = payload else {
            debug_assert!(
                false,
                "the engine placed bytes that the packet does not have"
            );
            return placement.refuse();
        };
        match self.messages.room_for(self.now, &place, self.stock, server) {
            Some(target) => {
                target.copy_from_slice(payload);
                placement.commit();
            }
            None => placement.refuse(),
        }
    }
}

/// Hands the reports of every link to the engine; returns whether there were any.
pub(crate) fn receive_reports(
    now: Instant,
    engine: &mut Engine,
    links: &mut Links,
    routes: &mut Routes,
    counters: &mut HostCounters,
) -> bool {
    let mut any = false;
    for socket in links.iter_mut() {
        let outcome = socket
            .link
            .poll_errors(&mut |undeliverable: Undeliverable<'_>| {
                report(now, engine, routes, counters, &undeliverable);
            });
        match outcome {
            Ok(count) => any |= count > 0,
            Err(_) => counters.receive_errors += 1,
        }
    }
    any
}

/// Tells the engine of one packet that did not arrive.
pub(crate) fn report(
    now: Instant,
    engine: &mut Engine,
    routes: &mut Routes,
    counters: &mut HostCounters,
    undeliverable: &Undeliverable<'_>,
) {
    let what = match undeliverable.cause {
        Unreachable::Port => homa_proto::Unreachable::Port,
        Unreachable::Host
        | Unreachable::Network
        | Unreachable::Protocol
        | Unreachable::Prohibited => homa_proto::Unreachable::Host,
        Unreachable::PacketTooBig { mtu } => homa_proto::Unreachable::TooBig {
            segment_bytes: routes.learn_mtu(now, undeliverable.to.ip(), mtu),
        },
        Unreachable::Other { .. } => {
            counters.reports_ignored += 1;
            return;
        }
    };
    let to = Address::from(undeliverable.to);
    engine.handle_unreachable(now, to, undeliverable.offending, what);
}
