//! Buffers for what arrives, filled by as few system calls as the traffic is worth. It does not
//! look at what is in them.

use core::array;
use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;

use crate::ahead::Ahead;
use crate::link::{Counters, MAX_SEGMENTS};
use crate::sys::{self, Envelope, Errno, MESSAGES_MAX};
use crate::udp::errors::Reports;
use crate::udp::verdict::may_be_pending;

/// Bytes from one buffer to the next: room for any datagram or coalesced batch (65,535 at most),
/// and ten cache lines more, so that the starts of the buffers, which small datagrams alone use,
/// do not fall into the same cache set.
const STRIDE: usize = 65_536 + 640;

pub(crate) struct Inbox {
    envelopes: Box<[Envelope]>,
    /// `STRIDE` bytes for each envelope; memory that was never written costs nothing.
    buffer: Vec<u8>,
    batch: Batch,
    /// Whether anything comes in control messages.
    pub(crate) control: bool,
}

/// How many buffers to ask the kernel for.
///
/// Asking for two when one is there costs a second look at an empty queue, about a tenth of what
/// the datagram itself costs. So it begins with one, and grows only when several calls in a row
/// came back full. It shrinks when they bring more than [`ENOUGH_BYTES`]: the first of them would
/// wait until the last is dealt with.
struct Batch {
    want: usize,
    full_calls: u32,
}

/// Bytes of one call that keep the host busy for a tenth of a millisecond.
const ENOUGH_BYTES: usize = 160 << 10;

/// Full calls in a row before the batch grows.
const FULL_CALLS_TO_GROW: u32 = 4;

impl Batch {
    const SMALLEST: Self = Self {
        want: 1,
        full_calls: 0,
    };

    /// Learns from a call that brought `count` of the `want` asked for, of at most `max`, with
    /// `bytes` together.
    fn adapt(&mut self, count: usize, bytes: usize, max: usize) {
        if bytes > ENOUGH_BYTES {
            *self = Self {
                want: count.div_ceil(2),
                ..Self::SMALLEST
            };
        } else if count < self.want {
            *self = Self {
                want: count.max(1),
                ..Self::SMALLEST
            };
        } else {
            self.full_calls = self.full_calls.saturating_add(1);
            if self.full_calls >= FULL_CALLS_TO_GROW {
                self.want = (self.want * 2).min(max);
            }
        }
    }
}

/// The most times that a call is repeated because it met a report instead of a datagram. A report
/// arrived between every two of them: a flood, which must not look like a broken socket. Its next
/// report ends the host's wait, so nothing is forgotten.
const REPEATS_MAX: usize = 64;

impl Inbox {
    /// `count` buffers, if one call takes so many.
    pub(crate) fn new(count: usize, control: bool) -> Self {
        let count = count.clamp(1, MESSAGES_MAX);
        Self {
            envelopes: (0..count).map(|_| Envelope::EMPTY).collect(),
            buffer: vec![0; count * STRIDE],
            batch: Batch::SMALLEST,
            control,
        }
    }

    /// Takes what has arrived; returns how many buffers are filled.
    pub(crate) fn fill(
        &mut self,
        fd: BorrowedFd<'_>,
        reports: &mut Reports,
        counters: &mut Counters,
    ) -> io::Result<usize> {
        if self.batch.want > 1 || self.control {
            return self.fill_many(fd, reports, counters);
        }
        // All that a host with one message at a time receives.
        let envelope = &mut self.envelopes[0];
        match sys::receive_from(fd, envelope, &mut self.buffer[..STRIDE]) {
            Ok(()) => {
                let length = envelope.length;
                self.batch.adapt(1, length, self.envelopes.len());
                Ok(1)
            }
            Err(errno) if errno.0 == libc::EAGAIN => {
                self.batch = Batch::SMALLEST;
                Ok(0)
            }
            Err(errno) => {
                heed(errno, reports, counters)?;
                self.fill_many(fd, reports, counters)
            }
        }
    }

    #[inline(never)]
    fn fill_many(
        &mut self,
        fd: BorrowedFd<'_>,
        reports: &mut Reports,
        counters: &mut Counters,
    ) -> io::Result<usize> {
        for _ in 0..REPEATS_MAX {
            let arrived = match &mut self.envelopes[..self.batch.want] {
                [envelope] if !self.control => {
                    sys::receive_from(fd, envelope, &mut self.buffer[..STRIDE]).map(|()| 1)
                }
                envelopes => sys::receive(fd, envelopes, &mut self.buffer, STRIDE),
            };
            match arrived {
                Ok(count) => {
                    let filled = &self.envelopes[..count];
                    let bytes = filled.iter().map(|envelope| envelope.length).sum();
                    self.batch.adapt(count, bytes, self.envelopes.len());
                    return Ok(count);
                }
                Err(errno) if errno.0 == libc::EAGAIN => {
                    self.batch = Batch::SMALLEST;
                    return Ok(0);
                }
                Err(errno) => heed(errno, reports, counters)?,
            }
        }
        Ok(0)
    }

    /// Looks at what arrived first: its start goes to `start`, the length of its envelope is that of all
    /// of it.
    pub(crate) fn look(
        &mut self,
        fd: BorrowedFd<'_>,
        start: &mut [u8],
        reports: &mut Reports,
        counters: &mut Counters,
    ) -> io::Result<Option<&Envelope>> {
        match sys::peek(fd, &mut self.envelopes[0], start) {
            Ok(()) => Ok(Some(&self.envelopes[0])),
            Err(errno) if errno.0 == libc::EAGAIN => Ok(None),
            Err(errno) => heed(errno, reports, counters).map(|()| None),
        }
    }

    /// Takes one buffer, laid out as `ahead` says; what it has no place for goes into the first buffer.
    /// Returns how many bytes lie in their places and how many there, if anything came.
    pub(crate) fn fill_ahead(
        &mut self,
        fd: BorrowedFd<'_>,
        ahead: &mut Ahead<'_>,
        reports: &mut Reports,
        counters: &mut Counters,
    ) -> io::Result<Option<(usize, usize)>> {
        let mut slices: [_; 2 * MAX_SEGMENTS + 1] = array::from_fn(|_| IoSliceMut::new(&mut []));
        let (mut count, mut placed) = (0, 0);
        for (header, payload) in ahead.places() {
            placed += header.len() + payload.len();
            slices[count] = IoSliceMut::new(header);
            slices[count + 1] = IoSliceMut::new(payload);
            count += 2;
        }
        slices[count] = IoSliceMut::new(&mut self.buffer[..STRIDE]);
        let envelope = &mut self.envelopes[0];
        match sys::receive_apart(fd, envelope, &mut slices[..=count]) {
            Ok(()) => {
                let placed = placed.min(envelope.length);
                Ok(Some((placed, envelope.length - placed)))
            }
            Err(errno) if errno.0 == libc::EAGAIN => Ok(None),
            Err(errno) => heed(errno, reports, counters).map(|()| None),
        }
    }

    /// The first buffer.
    pub(crate) fn first(&self) -> (&Envelope, &[u8]) {
        (&self.envelopes[0], &self.buffer[..STRIDE])
    }

    /// The first `count` buffers.
    pub(crate) fn filled(&self, count: usize) -> impl Iterator<Item = (&Envelope, &[u8])> {
        let buffers = self.buffer.chunks_exact(STRIDE);
        self.envelopes[..count].iter().zip(buffers)
    }
}

/// A call brought no datagram but this: it is repeated, unless that is an error.
#[cold]
fn heed(errno: Errno, reports: &mut Reports, counters: &mut Counters) -> io::Result<()> {
    if may_be_pending(errno) {
        reports.waiting = true;
        counters.pending_errors += 1;
    } else if errno.0 != libc::EINTR {
        return Err(errno.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_grows_only_while_calls_come_back_full() {
        let mut batch = Batch::SMALLEST;
        let mut wants = Vec::new();
        for _ in 0..8 {
            batch.adapt(batch.want, 0, 16);
            wants.push(batch.want);
        }
        assert_eq!(wants, [1, 1, 1, 2, 4, 8, 16, 16]);
        batch.adapt(5, 0, 16);
        assert_eq!(batch.want, 5);
        batch.adapt(0, 0, 16);
        assert_eq!(batch.want, 1);
    }

    #[test]
    fn a_batch_of_too_many_bytes_shrinks() {
        let mut batch = Batch {
            want: 16,
            full_calls: 9,
        };
        batch.adapt(16, ENOUGH_BYTES + 1, 16);
        assert_eq!(batch.want, 8);
        batch.adapt(8, ENOUGH_BYTES, 16);
        assert_eq!(batch.want, 8);
        batch.adapt(1, ENOUGH_BYTES + 1, 16);
        assert_eq!(batch.want, 1);
    }
}
