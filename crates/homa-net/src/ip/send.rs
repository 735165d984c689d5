//! Sending: each packet is copied, given its checksum, and handed over with others in one call.

use core::net::{IpAddr, SocketAddr};
use std::io::IoSlice;
use std::os::fd::AsFd;

use super::sources::Sources;
use super::{Ip, checksum};
use crate::link::{Refusal, Transmit};
use crate::outcome::Outcome;
use crate::ports;
use crate::sys::{self, Envelope, Errno, MESSAGES_MAX, SocketName};
use crate::udp::family::Family;
use crate::udp::send::push_source;
use crate::udp::verdict::{PENDING_REPEATS_MAX, Verdict, verdict};

/// Memory that sending reuses from call to call, and what packets leave with unless told otherwise.
pub(super) struct Outbox {
    envelope: Box<Envelope>,
    /// The packets of one transmit behind each other.
    flat: Vec<u8>,
    sources: Sources,
    class: u8,
}

impl Outbox {
    /// For a socket bound to `local` whose packets leave with `class`.
    pub(super) fn new(local: IpAddr, class: u8) -> Self {
        Self {
            envelope: Box::new(Envelope::EMPTY),
            flat: Vec::new(),
            sources: Sources::new(local),
            class,
        }
    }
}

impl Ip {
    pub(super) fn send_batch(
        &mut self,
        batch: &[Transmit<'_>],
        refused: &mut dyn FnMut(usize, Refusal),
    ) -> usize {
        if let [transmit] = batch
            && let Some((bytes, from)) = self.plain(transmit)
        {
            return match self.send_plain(transmit.to, bytes, from) {
                Ok(()) => 1,
                Err(errno) => {
                    let outcome = self.send_again(transmit, errno);
                    usize::from(self.has_dealt((0, transmit), outcome, refused))
                }
            };
        }
        for (index, transmit) in batch.iter().enumerate() {
            let outcome = self.send_transmit(transmit);
            if outcome != Outcome::Sent && !self.has_dealt((index, transmit), outcome, refused) {
                return index;
            }
        }
        batch.len()
    }

    /// The bytes of a packet that leaves without a control message and lies in one piece, as all do
    /// that a host with one message at a time sends, and the address that it leaves from.
    fn plain<'a>(&mut self, transmit: &Transmit<'a>) -> Option<(&'a [u8], IpAddr)> {
        let [slice] = transmit.slices else {
            return None;
        };
        let plain = transmit.segment_bytes.is_none()
            && transmit.traffic_class == self.outbox.class
            && transmit.to.is_ipv4() == self.local.is_ipv4();
        if !plain {
            return None;
        }
        let from = self.outbox.sources.of(transmit.to).ok()?;
        let leaves = transmit.from.is_none_or(|given| given == from);
        leaves.then_some((slice, from))
    }

    fn send_plain(&mut self, to: SocketAddr, bytes: &[u8], from: IpAddr) -> Result<(), Errno> {
        self.outbox.flat.clear();
        self.outbox.flat.extend_from_slice(bytes);
        checksum::fill(&mut self.outbox.flat, from, to.ip());
        let name = SocketName::encode(ports::at(to, 0));
        sys::send_to(self.socket.as_fd(), &name, &self.outbox.flat)?;
        self.counters.datagrams_sent += 1;
        Ok(())
    }

    /// The kernel refused `transmit` with `errno`: finds out whether that is its last word.
    #[cold]
    fn send_again(&mut self, transmit: &Transmit<'_>, errno: Errno) -> Outcome {
        match verdict(errno, false, true) {
            Verdict::Full => return Outcome::Full,
            Verdict::Refused(refusal) => return Outcome::Refused(refusal),
            Verdict::Interrupted | Verdict::Segmentation => {}
            Verdict::MayBePending(_) => {
                self.reports.waiting = true;
                self.counters.pending_errors += 1;
            }
        }
        self.send_transmit(transmit)
    }

    #[cold]
    fn has_dealt(
        &mut self,
        (index, transmit): (usize, &Transmit<'_>),
        outcome: Outcome,
        refused: &mut dyn FnMut(usize, Refusal),
    ) -> bool {
        if let Outcome::Refused(_) = outcome {
            // The route may have changed, and with it the address to send from.
            self.outbox.sources.forget(transmit.to.ip());
        }
        outcome.is_dealt_with(index, &mut self.counters, refused)
    }

    fn send_transmit(&mut self, transmit: &Transmit<'_>) -> Outcome {
        let from = match self.address(transmit) {
            Ok(from) => from,
            Err(refusal) => return Outcome::Refused(refusal),
        };
        let stride = transmit.stride().max(1);
        self.outbox.flat.clear();
        for slice in transmit.slices {
            self.outbox.flat.extend_from_slice(slice);
        }
        for packet in self.outbox.flat.chunks_mut(stride) {
            checksum::fill(packet, from, transmit.to.ip());
        }
        let whole = self.outbox.flat.len();
        let mut done = 0;
        while done < whole {
            match self.send_some(stride, done) {
                Ok(bytes) => done += bytes,
                // What left cannot be taken back, and offering the rest again would send it twice.
                Err(_) if done > 0 => return Outcome::Refused(Refusal::Dropped),
                Err(outcome) => return outcome,
            }
        }
        Outcome::Sent
    }

    /// Hands over packets from byte `start` of those laid out; returns how many bytes they have.
    fn send_some(&mut self, stride: usize, start: usize) -> Result<usize, Outcome> {
        let mut last = Refusal::Dropped;
        for _ in 0..PENDING_REPEATS_MAX {
            let errno = match self.try_send(stride, start) {
                Ok(bytes) => return Ok(bytes),
                Err(errno) => errno,
            };
            match verdict(errno, false, true) {
                Verdict::Full => return Err(Outcome::Full),
                Verdict::Refused(refusal) => return Err(Outcome::Refused(refusal)),
                Verdict::Interrupted | Verdict::Segmentation => {}
                Verdict::MayBePending(refusal) => {
                    self.reports.waiting = true;
                    self.counters.pending_errors += 1;
                    last = refusal;
                }
            }
        }
        // Reported again and again: it is about this packet after all.
        Err(Outcome::Refused(last))
    }

    fn try_send(&mut self, stride: usize, start: usize) -> Result<usize, Errno> {
        let (fd, envelope) = (self.socket.as_fd(), &*self.outbox.envelope);
        let rest = &self.outbox.flat[start..];
        let sent = if rest.len() <= stride {
            if envelope.control.is_empty() {
                sys::send_to(fd, &envelope.name, rest)?;
            } else {
                sys::send(fd, envelope, &[IoSlice::new(rest)])?;
            }
            1
        } else {
            let mut slices = [IoSlice::new(&[]); MESSAGES_MAX];
            let mut count = 0;
            for (slice, packet) in slices.iter_mut().zip(rest.chunks(stride)) {
                *slice = IoSlice::new(packet);
                count += 1;
            }
            let packets = slices[..count].iter().map(core::slice::from_ref);
            sys::send_many(fd, packets.map(|packet| (envelope, packet)))?
        };
        self.counters.datagrams_sent += sent as u64;
        Ok((sent * stride).min(rest.len()))
    }

    /// Writes the envelope of `transmit`: where to, where from, which class. Returns the address that
    /// it leaves from.
    fn address(&mut self, transmit: &Transmit<'_>) -> Result<IpAddr, Refusal> {
        let is_v4 = self.local.is_ipv4();
        let foreign = |ip: IpAddr| ip.is_ipv4() != is_v4;
        if foreign(transmit.to.ip()) || transmit.from.is_some_and(foreign) {
            return Err(Refusal::WrongFamily);
        }
        let usual = self.outbox.sources.of(transmit.to);
        let from = transmit.from.map_or(usual, Ok)?;
        // To the kernel the port of a raw IPv6 socket is its protocol, or 0.
        self.outbox.envelope.name = SocketName::encode(ports::at(transmit.to, 0));
        let (control, family) = (&mut self.outbox.envelope.control, Family::of(from));
        control.clear();
        if transmit.traffic_class != self.outbox.class {
            let class = i32::from(transmit.traffic_class).to_ne_bytes();
            control.push(family.level, family.class, &class);
        }
        if usual != Ok(from) {
            push_source(control, family, from);
        }
        Ok(from)
    }
}
