//! How packets of the virtual network look in a capture: hosts have addresses of 10.0.0.0/8, the
//! Homa packet is in a UDP datagram, and payload, which never existed, is cut off.

use core::net::{Ipv4Addr, SocketAddr};

use homa_capture::{Capture, Carrier, Frame};

use crate::packet::Packet;
use crate::world::ports;

/// Adds a packet that was sent at `at` nanoseconds.
pub(crate) fn add(capture: &mut Capture, at: u64, packet: &Packet) {
    let (source, dest) = ports(packet.header());
    let frame = Frame {
        from: SocketAddr::from((address(packet.from), source)),
        to: SocketAddr::from((address(packet.to), dest)),
        // The class selector of the level.
        traffic_class: packet.priority << 5,
        carrier: Carrier::Udp,
    };
    capture.packet(at, &frame, packet.header(), packet.length());
}

/// Host 0 is 10.0.0.1.
fn address(host: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 | (host.wrapping_add(1) & 0x00ff_ffff))
}
