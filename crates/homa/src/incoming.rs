//! From the links to the engine: packets with their payload copied once, straight into the message
//! they belong to, and what the network says about packets that did not arrive.
//!
//! It decides nothing about them.

use homa_net::{Received, Undeliverable, Unreachable};
use homa_proto::wire::MAX_HEADER_BYTES;
use homa_proto::{Address, Engine, Instant, Path};

use crate::counters::HostCounters;
use crate::links::Links;
use crate::messages::Messages;
use crate::pool::Pool;
use crate::routes::{Routes, to_local};

/// Takes what has arrived on every link, up to one batch each; returns whether there was anything.
pub(crate) fn receive(
    now: Instant,
    engine: &mut Engine,
    links: &mut Links,
    messages: &mut Messages,
    pool: &Pool,
    counters: &mut HostCounters,
) -> bool {
    let mut any = false;
    for socket in links.iter_mut() {
        let (id, server) = (socket.id, socket.server);
        let outcome = socket.link.receive(&mut |received: Received<'_>| {
            let path = Path {
                socket: id,
                peer: Address::from(received.from),
                local: to_local(received.to),
            };
            for packet in received.segments() {
                place(now, engine, messages, pool, server, path, packet);
            }
        });
        match outcome {
            Ok(count) => any |= count > 0,
            // Out of memory for the moment: the packets wait, or are lost and come again.
            Err(_) => counters.receive_errors += 1,
        }
    }
    any
}

fn place(
    now: Instant,
    engine: &mut Engine,
    messages: &mut Messages,
    pool: &Pool,
    server: Option<u32>,
    path: Path,
    packet: &[u8],
) {
    let header = &packet[..packet.len().min(MAX_HEADER_BYTES)];
    let Ok(packet_length) = u32::try_from(packet.len()) else {
        return;
    };
    let Some(placement) = engine.handle_packet(now, path, header, packet_length) else {
        return;
    };
    if messages.store(&placement.place(), packet, pool, server) {
        placement.commit();
    } else {
        placement.refuse();
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
            segment_bytes: routes.learn_mtu(undeliverable.to.ip(), mtu),
        },
        Unreachable::Other { .. } => {
            counters.reports_ignored += 1;
            return;
        }
    };
    let to = Address::from(undeliverable.to);
    engine.handle_unreachable(now, to, undeliverable.offending, what);
}
