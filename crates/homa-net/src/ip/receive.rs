//! Receiving: packets of one port, each with its IP header under IPv4, without under IPv6.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::io;
use std::os::fd::AsFd;

use super::{Ip, open};
use crate::link::Received;
use crate::ports;
use crate::sys::{self, Envelope, MESSAGES_MAX};
use crate::udp::Options;
use crate::udp::receive::{self, Batch, REPEATS_MAX, STRIDE};
use crate::udp::verdict::may_be_pending;

pub(super) struct Inbox {
    envelopes: Box<[Envelope]>,
    /// `STRIDE` bytes for each envelope; memory that was never written costs nothing.
    buffer: Vec<u8>,
    batch: Batch,
    /// Whether anything comes in control messages.
    control: bool,
}

impl Inbox {
    pub(super) fn new(address: SocketAddr, options: &Options) -> Self {
        let count = options.receive_buffer_count.clamp(1, MESSAGES_MAX);
        Self {
            envelopes: (0..count).map(|_| Envelope::EMPTY).collect(),
            buffer: vec![0; count * STRIDE],
            batch: Batch::SMALLEST,
            control: open::has_control(address, options),
        }
    }
}

impl Ip {
    pub(super) fn receive_batch(
        &mut self,
        sink: &mut dyn FnMut(Received<'_>),
    ) -> io::Result<usize> {
        let arrived = self.fill_inbox()?;
        let mut malformed = 0;
        let buffers = self.inbox.buffer.chunks_exact(STRIDE);
        for (envelope, buffer) in self.inbox.envelopes[..arrived].iter().zip(buffers) {
            match read(envelope, buffer, self.local) {
                Some(received) => sink(received),
                None => malformed += 1,
            }
        }
        self.counters.datagrams_received += (arrived - malformed) as u64;
        self.counters.malformed += malformed as u64;
        Ok(arrived)
    }

    /// Returns how many envelopes were filled.
    fn fill_inbox(&mut self) -> io::Result<usize> {
        let inbox = &mut self.inbox;
        for _ in 0..REPEATS_MAX {
            let (fd, buffer) = (self.socket.as_fd(), &mut inbox.buffer);
            let arrived = match &mut inbox.envelopes[..inbox.batch.want] {
                [envelope] if !inbox.control => {
                    sys::receive_from(fd, envelope, &mut buffer[..STRIDE]).map(|()| 1)
                }
                envelopes => sys::receive(fd, envelopes, buffer, STRIDE),
            };
            match arrived {
                Ok(count) => {
                    inbox.batch.adapt(count, inbox.envelopes.len());
                    return Ok(count);
                }
                Err(errno) if errno.0 == libc::EAGAIN => {
                    inbox.batch = Batch::SMALLEST;
                    return Ok(0);
                }
                Err(errno) if errno.0 == libc::EINTR => {}
                Err(errno) if may_be_pending(errno) => {
                    self.reports.waiting = true;
                    self.counters.pending_errors += 1;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(0)
    }
}

/// What the kernel put into one envelope and its buffer; `None` for what came before the filter was
/// there, and for what makes no sense.
fn read<'a>(envelope: &Envelope, buffer: &'a [u8], local: SocketAddr) -> Option<Received<'a>> {
    let addressed = Some(local.ip()).filter(|ip| !ip.is_unspecified());
    let mut received = receive::read(envelope, buffer, addressed)?;
    if local.is_ipv4() {
        (received.bytes, received.to, received.traffic_class) = behind_ipv4(received.bytes)?;
        received.segment_bytes = received.bytes.len();
    }
    let (source, dest) = ports::of(received.bytes)?;
    received.from.set_port(source);
    (dest == local.port()).then_some(received)
}

/// The Homa packet in an IPv4 packet, where that was sent to, and its traffic class.
pub(super) fn behind_ipv4(packet: &[u8]) -> Option<(&[u8], Option<IpAddr>, u8)> {
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
