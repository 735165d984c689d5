//! Receiving: as many buffers per system call, and as many datagrams per buffer, as the traffic is
//! worth.
//!
//! # Design
//!
//! A socket that coalesces makes a lone round trip of small datagrams slower by 5 to 7 % (measured
//! on loopback, Linux 6.18), and bulk several times faster. So it begins without, and coalesces
//! from the first sign of bulk on: a large datagram, or several in one call. It never goes
//! back: what already waits in the socket in one piece would be read as one large datagram.

use core::net::{IpAddr, SocketAddr};
use std::io;
use std::os::fd::AsFd;

use super::bind::tells_destination;
use super::verdict::may_be_pending;
use super::{Options, Udp};
use crate::link::Received;
use crate::sys::{self, Envelope, MESSAGES_MAX};

/// Bytes from one buffer to the next: room for any datagram or coalesced batch (65,535 at most),
/// and ten cache lines more, so that the starts of the buffers, which small datagrams alone use,
/// do not fall into the same cache set.
pub(crate) const STRIDE: usize = 65_536 + 640;

pub(super) struct Inbox {
    envelopes: Box<[Envelope]>,
    /// `STRIDE` bytes for each envelope; memory that was never written costs nothing.
    buffer: Vec<u8>,
    batch: Batch,
    /// Whether to coalesce once there is bulk.
    awaits_bulk: bool,
    /// Whether anything comes in control messages.
    control: bool,
}

/// The size from which on a datagram is a sign of bulk: not much less than a full Ethernet frame,
/// as all segments of a long message but the last are.
const BULK_BYTES: usize = 1000;

/// How many buffers of one call are a sign of bulk. Two or three wait now and then for a process
/// that was not scheduled.
const BULK_BUFFERS: usize = 4;

/// How many buffers to ask the kernel for.
///
/// Asking for two when one is there costs a second look at an empty queue, about a tenth of what
/// the datagram itself costs. So it begins with one, and grows only when several calls in a row
/// came back full.
pub(crate) struct Batch {
    pub(crate) want: usize,
    full_calls: u32,
}

/// Full calls in a row before the batch grows.
const FULL_CALLS_TO_GROW: u32 = 4;

impl Batch {
    pub(crate) const SMALLEST: Self = Self {
        want: 1,
        full_calls: 0,
    };

    /// Learns from a call that brought `count` of the `want` asked for, of at most `max`.
    pub(crate) fn adapt(&mut self, count: usize, max: usize) {
        if count < self.want {
            *self = Self {
                want: count.max(1),
                ..Self::SMALLEST
            };
            return;
        }
        self.full_calls = self.full_calls.saturating_add(1);
        if self.full_calls >= FULL_CALLS_TO_GROW {
            self.want = (self.want * 2).min(max);
        }
    }
}

impl Inbox {
    pub(super) fn new(address: SocketAddr, options: &Options, coalesces: bool) -> Self {
        let count = options.receive_buffer_count.clamp(1, MESSAGES_MAX);
        Self {
            envelopes: (0..count).map(|_| Envelope::EMPTY).collect(),
            buffer: vec![0; count * STRIDE],
            batch: Batch::SMALLEST,
            awaits_bulk: coalesces,
            control: options.tell_class || tells_destination(address, options),
        }
    }
}

/// The most times that a call is repeated because it met a report instead of a datagram. A report
/// arrived between every two of them: a flood, which must not look like a broken socket. Its next
/// report ends the host's wait, so nothing is forgotten.
pub(crate) const REPEATS_MAX: usize = 64;

impl Udp {
    pub(super) fn receive_batch(
        &mut self,
        sink: &mut dyn FnMut(Received<'_>),
    ) -> io::Result<usize> {
        let arrived = self.fill_inbox()?;
        let mut bulk = arrived >= BULK_BUFFERS;
        let (mut count, mut malformed) = (0, 0);
        // A socket with an address of its own receives nothing else; see `bind::open`.
        let addressed = Some(self.local.ip()).filter(|ip| !ip.is_unspecified());
        let buffers = self.inbox.buffer.chunks_exact(STRIDE);
        for (envelope, buffer) in self.inbox.envelopes[..arrived].iter().zip(buffers) {
            let Some(received) = read(envelope, buffer, addressed) else {
                malformed += 1;
                continue;
            };
            count += received.datagram_count();
            bulk |= received.bytes.len() >= BULK_BYTES;
            sink(received);
        }
        if bulk && self.inbox.awaits_bulk {
            self.coalesce();
        }
        self.counters.datagrams_received += count as u64;
        self.counters.malformed += malformed as u64;
        Ok(count + malformed)
    }

    fn coalesce(&mut self) {
        self.inbox.awaits_bulk = false;
        self.inbox.control = true;
        let on = sys::set_option(self.socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1);
        self.capabilities.coalesces = on.is_ok();
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

/// What the kernel put into one envelope and its buffer; `None` if the sender's address makes no
/// sense. `addressed` is the destination unless a control message tells it.
pub(crate) fn read<'a>(
    envelope: &Envelope,
    buffer: &'a [u8],
    addressed: Option<IpAddr>,
) -> Option<Received<'a>> {
    let bytes = &buffer[..envelope.length];
    let mut received = Received {
        from: envelope.name.decode()?,
        to: addressed,
        traffic_class: 0,
        segment_bytes: bytes.len(),
        bytes,
    };
    for message in envelope.control.messages() {
        match (message.level, message.kind) {
            (libc::SOL_IP, libc::IP_TOS) => {
                received.traffic_class = message.data.first().copied().unwrap_or(0);
            }
            (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
                let class = message.int().unwrap_or(0);
                received.traffic_class = u8::try_from(class).unwrap_or(0);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let stride = message.int().and_then(|int| usize::try_from(int).ok());
                received.segment_bytes = stride.unwrap_or(bytes.len()).min(bytes.len());
            }
            // `in_pktinfo`: interface, local address to answer from, address in the header.
            (libc::SOL_IP, libc::IP_PKTINFO) => {
                let local = message
                    .data
                    .get(4..8)
                    .and_then(|data| data.first_chunk::<4>());
                received.to = local.map(|octets| IpAddr::from(*octets));
            }
            // `in6_pktinfo`: address in the header, interface.
            (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                let local = message.data.first_chunk::<16>();
                received.to = local.map(|octets| IpAddr::from(*octets));
            }
            _ => {}
        }
    }
    Some(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_grows_only_while_calls_come_back_full() {
        let mut batch = Batch::SMALLEST;
        let mut wants = Vec::new();
        for _ in 0..8 {
            batch.adapt(batch.want, 16);
            wants.push(batch.want);
        }
        assert_eq!(wants, [1, 1, 1, 2, 4, 8, 16, 16]);
        batch.adapt(5, 16);
        assert_eq!(batch.want, 5);
        batch.adapt(0, 16);
        assert_eq!(batch.want, 1);
    }
}
