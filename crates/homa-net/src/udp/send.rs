//! Sending: whole batches where the kernel takes them, and a way round each refusal.

use core::net::IpAddr;
use std::io::IoSlice;
use std::os::fd::AsFd;

use super::verdict::{PENDING_REPEATS_MAX, Verdict, verdict};
use super::{Family, UNSEGMENTED, Udp, route};
use crate::link::{MAX_BATCH_BYTES, Refusal, Transmit};
use crate::outcome::Outcome;
use crate::sys::{self, Control, Envelope, Errno, MESSAGES_MAX, SocketName};

/// Memory that sending reuses from call to call.
pub(super) struct Outbox {
    envelopes: Box<[Envelope]>,
    /// A batch that must be sent datagram by datagram, in one piece.
    flat: Vec<u8>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            envelopes: (0..MESSAGES_MAX).map(|_| Envelope::EMPTY).collect(),
            flat: Vec::new(),
        }
    }
}

/// Why a transmit did not go out the fast way.
enum Obstacle {
    /// The kernel said no.
    Errno(Errno),
    /// It has several segments, more than may leave in one piece.
    Segments,
    Refused(Refusal),
}

impl Udp {
    pub(super) fn send_batch(
        &mut self,
        batch: &[Transmit<'_>],
        refused: &mut dyn FnMut(usize, Refusal),
    ) -> usize {
        if let [transmit] = batch
            && let Some(bytes) = self.plain(transmit)
        {
            let name = SocketName::encode(transmit.to);
            return match sys::send_to(self.socket.as_fd(), &name, bytes) {
                Ok(()) => {
                    self.counters.datagrams_sent += 1;
                    1
                }
                Err(errno) => {
                    let outcome = self.settle(transmit, errno);
                    usize::from(outcome.is_dealt_with(0, &mut self.counters, refused))
                }
            };
        }
        self.send_many(batch, refused)
    }

    /// The bytes of a datagram that leaves without a control message and lies in one piece, as all
    /// do that a host with one message at a time sends.
    fn plain<'a>(&self, transmit: &Transmit<'a>) -> Option<&'a [u8]> {
        let local = self.local.ip();
        let [slice] = transmit.slices else {
            return None;
        };
        let plain = transmit.segment_bytes.is_none()
            && transmit.traffic_class == self.usual_class
            && transmit.to.is_ipv4() == local.is_ipv4()
            && transmit.from.is_none_or(|from| from == local);
        plain.then_some(&**slice)
    }

    #[inline(never)]
    fn send_many(
        &mut self,
        batch: &[Transmit<'_>],
        refused: &mut dyn FnMut(usize, Refusal),
    ) -> usize {
        let mut done = 0;
        while done < batch.len() {
            let outcome = match self.send_run(&batch[done..]) {
                Ok(count) => {
                    done += count;
                    continue;
                }
                Err(Obstacle::Errno(errno)) => self.settle(&batch[done], errno),
                Err(Obstacle::Segments) => self.send_segments(&batch[done]),
                Err(Obstacle::Refused(refusal)) => Outcome::Refused(refusal),
            };
            if !outcome.is_dealt_with(done, &mut self.counters, refused) {
                return done;
            }
            done += 1;
        }
        done
    }

    /// Sends transmits from the start of `batch` in one system call; returns how many, at least
    /// one. The obstacle concerns the first.
    fn send_run(&mut self, batch: &[Transmit<'_>]) -> Result<usize, Obstacle> {
        let (local, max_segments) = (self.local.ip(), self.capabilities.max_segments);
        let usual = self.usual_class;
        let mut count = 0;
        for (transmit, envelope) in batch.iter().zip(&mut self.outbox.envelopes) {
            match address(transmit, local, usual, max_segments, envelope) {
                Ok(()) => count += 1,
                Err(obstacle) if count == 0 => return Err(obstacle),
                Err(_) => break,
            }
        }
        let fd = self.socket.as_fd();
        let envelopes = &self.outbox.envelopes[..count];
        let sent = if let [envelope] = envelopes {
            match batch[0].slices {
                [slice] if envelope.control.is_empty() => sys::send_to(fd, &envelope.name, slice),
                slices => sys::send(fd, envelope, slices),
            }
            .map(|()| 1)
        } else {
            let slices = batch.iter().map(|transmit| transmit.slices);
            sys::send_many(fd, envelopes.iter().zip(slices))
        };
        let sent = sent.map_err(Obstacle::Errno)?;
        if sent < count {
            // The kernel keeps to itself why it stopped; a pending error is one of the reasons.
            self.reports.waiting = true;
        }
        self.count_sent(&batch[..sent]);
        Ok(sent)
    }

    fn count_sent(&mut self, transmits: &[Transmit<'_>]) {
        for transmit in transmits {
            self.counters.datagrams_sent += transmit.datagram_count() as u64;
        }
    }

    /// The kernel refused `transmit` with `errno`: finds out whether that is its last word.
    #[cold]
    fn settle(&mut self, transmit: &Transmit<'_>, errno: Errno) -> Outcome {
        let segmented = transmit.datagram_count() > 1;
        let mut errno = errno;
        for _ in 0..PENDING_REPEATS_MAX {
            match verdict(errno, segmented, transmit.from.is_some()) {
                Verdict::Full => return Outcome::Full,
                Verdict::Segmentation => return self.send_segments(transmit),
                Verdict::Refused(refusal) => return Outcome::Refused(refusal),
                Verdict::MayBePending(_) => {
                    self.reports.waiting = true;
                    self.counters.pending_errors += 1;
                }
                Verdict::Interrupted => {}
            }
            match self.send_run(core::slice::from_ref(transmit)) {
                Ok(_) => return Outcome::Sent,
                Err(Obstacle::Errno(next)) => errno = next,
                Err(Obstacle::Segments) => return self.send_segments(transmit),
                Err(Obstacle::Refused(refusal)) => return Outcome::Refused(refusal),
            }
        }
        // Reported again and again: it is about this datagram after all.
        Outcome::Refused(match verdict(errno, segmented, transmit.from.is_some()) {
            // Linux 6 says "no route" for IPv4 sources that are not its own.
            Verdict::MayBePending(Refusal::Unreachable(_))
                if transmit.from.is_some_and(|from| !route::is_local(from)) =>
            {
                Refusal::SourceNotLocal
            }
            Verdict::MayBePending(refusal) => refusal,
            _ => Refusal::Dropped,
        })
    }

    /// Sends the datagrams of `transmit` one by one.
    ///
    /// If the kernel takes the first one alone after it refused all in one piece, the device
    /// cannot segment: from then on nobody tries. If it refuses that one too, the datagram is to
    /// blame.
    fn send_segments(&mut self, transmit: &Transmit<'_>) -> Outcome {
        let mut flat = core::mem::take(&mut self.outbox.flat);
        flat.clear();
        for slice in transmit.slices {
            flat.extend_from_slice(slice);
        }
        let mut outcome = Outcome::Sent;
        for (index, segment) in flat.chunks(transmit.stride().max(1)).enumerate() {
            outcome = self.send_segment(transmit, segment);
            match outcome {
                Outcome::Sent if index == 0 => self.note_segmentation_refused(transmit),
                Outcome::Sent => {}
                // The first ones left and cannot be taken back: offering the rest again would
                // send them twice. The rest is lost instead.
                _ if index > 0 => {
                    outcome = Outcome::Refused(Refusal::Dropped);
                    break;
                }
                _ => break,
            }
        }
        self.outbox.flat = flat;
        outcome
    }

    fn send_segment(&mut self, transmit: &Transmit<'_>, segment: &[u8]) -> Outcome {
        let single = Transmit {
            segment_bytes: None,
            slices: &[IoSlice::new(segment)],
            ..*transmit
        };
        match self.send_run(core::slice::from_ref(&single)) {
            Ok(_) => Outcome::Sent,
            Err(Obstacle::Errno(errno)) => self.settle(&single, errno),
            Err(Obstacle::Segments) => Outcome::Refused(Refusal::TooBig),
            Err(Obstacle::Refused(refusal)) => Outcome::Refused(refusal),
        }
    }

    fn note_segmentation_refused(&mut self, transmit: &Transmit<'_>) {
        if fits_one_piece(transmit, self.capabilities.max_segments) {
            self.counters.segmentation_refused += 1;
            (
                self.capabilities.max_segments,
                self.capabilities.max_batch_bytes,
            ) = UNSEGMENTED;
        }
    }
}

/// Whether the kernel would be asked to take the whole of `transmit` at once.
fn fits_one_piece(transmit: &Transmit<'_>, max_segments: usize) -> bool {
    let count = transmit.datagram_count();
    count == 1 || (count <= max_segments && transmit.total_bytes() <= MAX_BATCH_BYTES)
}

/// Writes the envelope of `transmit`: where to, where from, which class, how it is segmented.
fn address(
    transmit: &Transmit<'_>,
    local: IpAddr,
    usual_class: u8,
    max_segments: usize,
    envelope: &mut Envelope,
) -> Result<(), Obstacle> {
    let v4 = local.is_ipv4();
    if transmit.to.is_ipv4() != v4 || transmit.from.is_some_and(|from| from.is_ipv4() != v4) {
        return Err(Obstacle::Refused(Refusal::WrongFamily));
    }
    if !fits_one_piece(transmit, max_segments) {
        return Err(Obstacle::Segments);
    }
    envelope.name = SocketName::encode(transmit.to);
    let control = &mut envelope.control;
    let family = Family::of(local);
    control.clear();
    // Each message costs the kernel some 30 ns: none that says what holds anyway.
    if transmit.traffic_class != usual_class {
        let class = i32::from(transmit.traffic_class).to_ne_bytes();
        control.push(family.level, family.class, &class);
    }
    if let Some(from) = transmit.from.filter(|from| *from != local) {
        push_source(control, family, from);
    }
    if let (2.., Some(bytes)) = (transmit.datagram_count(), transmit.segment_bytes) {
        control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &bytes.to_ne_bytes());
    }
    Ok(())
}

pub(crate) fn push_source(control: &mut Control, family: &Family, from: IpAddr) {
    let mut data = [0; 20];
    let data = match from {
        // `in_pktinfo`: interface (0: any), source address, unused when sending.
        IpAddr::V4(v4) => {
            data[4..8].copy_from_slice(&v4.octets());
            &data[..12]
        }
        // `in6_pktinfo`: source address, interface (0: any).
        IpAddr::V6(v6) => {
            data[..16].copy_from_slice(&v6.octets());
            &data[..]
        }
    };
    control.push(family.level, family.local_address, data);
}
