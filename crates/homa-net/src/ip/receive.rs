//! Receiving: packets of one port, each with its IP header under IPv4, without under IPv6.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::io;
use std::os::fd::AsFd;

use super::Ip;
use super::guard::Stray;
use crate::link::Received;
use crate::ports;
use crate::sys::Envelope;
use crate::udp::receive;

/// Batches of the last packets that a closing link looks at, which a flood would make endless.
const LAST_BATCHES: usize = 16;

impl Ip {
    pub(super) fn receive_batch(
        &mut self,
        sink: &mut dyn FnMut(Received<'_>),
    ) -> io::Result<usize> {
        let fd = self.socket.as_fd();
        let arrived = self.inbox.fill(fd, &mut self.reports, &mut self.counters)?;
        if arrived == 0 {
            return Ok(0);
        }
        if arrived == 1 && self.local.is_ipv4() {
            // All that a host with one message at a time receives.
            let (envelope, buffer) = self.inbox.first();
            if let Some(packet) = read_v4(envelope, buffer)
                && packet.dest == self.local.port()
            {
                self.counters.datagrams_received += 1;
                sink(packet.received);
                return Ok(1);
            }
        }
        self.take(arrived, sink);
        Ok(arrived)
    }

    /// Hands over what is in the first `arrived` buffers.
    #[inline(never)]
    fn take(&mut self, arrived: usize, sink: &mut dyn FnMut(Received<'_>)) {
        let mut others = 0;
        for (envelope, buffer) in self.inbox.filled(arrived) {
            match read(envelope, buffer, self.local) {
                Some(packet) if packet.dest == self.local.port() => sink(packet.received),
                packet => {
                    others += 1;
                    if let Some(stray) = packet.as_ref().and_then(Packet::as_stray) {
                        self.guard.hear(&stray);
                    }
                }
            }
        }
        self.counters.datagrams_received += (arrived - others) as u64;
        self.counters.malformed += others as u64;
    }

    /// Has what waits in the socket answered, now that the link has no port any more.
    pub(super) fn hear_the_rest(&mut self) {
        for _ in 0..LAST_BATCHES {
            let fd = self.socket.as_fd();
            let arrived = self.inbox.fill(fd, &mut self.reports, &mut self.counters);
            let Ok(arrived @ 1..) = arrived else {
                return;
            };
            for (envelope, buffer) in self.inbox.filled(arrived) {
                let packet = read(envelope, buffer, self.local);
                if let Some(stray) = packet.as_ref().and_then(Packet::as_stray) {
                    self.guard.hear(&stray);
                }
            }
        }
    }
}

/// What arrived.
struct Packet<'a> {
    /// Its port of this machine.
    dest: u16,
    received: Received<'a>,
    /// With the IP header that came with it.
    whole: &'a [u8],
}

impl<'a> Packet<'a> {
    fn as_stray(&self) -> Option<Stray<'a>> {
        Some(Stray {
            from: self.received.from.ip(),
            to: self.received.to?,
            traffic_class: self.received.traffic_class,
            bytes: self.whole,
            homa: self.received.bytes,
        })
    }
}

/// What the kernel put into one envelope and its buffer; `None` for what makes no sense.
fn read<'a>(envelope: &Envelope, buffer: &'a [u8], local: SocketAddr) -> Option<Packet<'a>> {
    if local.is_ipv4() {
        return read_v4(envelope, buffer);
    }
    let addressed = Some(local.ip()).filter(|ip| !ip.is_unspecified());
    let mut received = receive::read(envelope, buffer, addressed)?;
    let (source, dest) = ports::of(received.bytes)?;
    received.from.set_port(source);
    Some(Packet {
        dest,
        received,
        whole: received.bytes,
    })
}

/// [`read`] over IPv4, whose header says all that there is to know.
#[inline]
fn read_v4<'a>(envelope: &Envelope, buffer: &'a [u8]) -> Option<Packet<'a>> {
    let whole = &buffer[..envelope.length];
    let (bytes, to, traffic_class) = behind_ipv4(whole)?;
    let (source, dest) = ports::of(bytes)?;
    let received = Received {
        from: ports::at(envelope.name.decode()?, source),
        to,
        traffic_class,
        segment_bytes: bytes.len(),
        bytes,
    };
    Some(Packet {
        dest,
        received,
        whole,
    })
}

/// The Homa packet in an IPv4 packet, where that was sent to, and its traffic class.
fn behind_ipv4(packet: &[u8]) -> Option<(&[u8], Option<IpAddr>, u8)> {
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let header = packet.get(..header_bytes.max(20))?;
    let to = header[16..].first_chunk::<4>()?;
    let to = IpAddr::V4(Ipv4Addr::from(*to));
    Some((packet.get(header_bytes..)?, Some(to), header[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_header_says_where_to_and_of_which_class() {
        let mut packet = vec![0x45, 0xe0];
        packet.extend([0; 14]);
        packet.extend([10, 0, 0, 2]);
        packet.extend(b"homa");
        let to = Some("10.0.0.2".parse().unwrap());
        assert_eq!(behind_ipv4(&packet), Some((&b"homa"[..], to, 0xe0)));
        for length in 0..20 {
            assert_eq!(behind_ipv4(&packet[..length]), None);
        }
        packet[0] = 0x4f;
        assert_eq!(behind_ipv4(&packet), None);
    }
}
