//! A packet for a port that may have no owner, and the answer to it.
//!
//! It decides what is answered, with what, and how often.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use crate::ip::{HOMA, checksum};
use crate::ports;
use crate::sys::{self, Envelope, Errno, SocketName};
use crate::udp::family::Family;
use crate::udp::send::push_source;

/// Answers of one second, and at once: an attacker who forges senders must not make us one.
const ANSWERS_PER_SECOND: u32 = 100;
const ANSWERS_AT_ONCE: u32 = 50;

/// Bytes of the offending packet in an answer, so that the answer is within 576 and 1280 bytes.
const QUOTE_V4_BYTES: usize = 548;
const QUOTE_V6_BYTES: usize = 1_232;

/// A packet that came to a link and is for another port.
#[derive(Clone, Copy, Debug)]
pub(in crate::ip) struct Stray<'a> {
    pub(in crate::ip) from: IpAddr,
    pub(in crate::ip) to: IpAddr,
    pub(in crate::ip) traffic_class: u8,
    /// From the IP header on under IPv4, without it under IPv6.
    pub(in crate::ip) bytes: &'a [u8],
    /// The Homa packet among these bytes.
    pub(in crate::ip) homa: &'a [u8],
}

/// "Port unreachable" to the sender of a stray.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) port: u16,
    /// Where the stray was sent to, which answers.
    pub(super) at: IpAddr,
    to: IpAddr,
    /// The ICMP message.
    message: Vec<u8>,
}

impl Stray<'_> {
    /// What to answer; `None` for what may not be answered: packets to many, or without a port.
    pub(super) fn answer(&self) -> Option<Answer> {
        let (_, port) = ports::of(self.homa)?;
        let is_answered = !self.to.is_multicast() && self.to != IpAddr::V4(Ipv4Addr::BROADCAST);
        let message = match (self.from, self.to) {
            (IpAddr::V4(_), IpAddr::V4(_)) => self.unreachable_v4(),
            (IpAddr::V6(from), IpAddr::V6(to)) => self.unreachable_v6(from, to),
            _ => return None,
        };
        is_answered.then_some(Answer {
            port,
            at: self.to,
            to: self.from,
            message,
        })
    }

    /// Type, code, checksum, four bytes of nothing, and the offending packet from its IP header on.
    fn unreachable_v4(&self) -> Vec<u8> {
        let quote = &self.bytes[..self.bytes.len().min(QUOTE_V4_BYTES)];
        let mut message = [&[3, 3, 0, 0, 0, 0, 0, 0], quote].concat();
        let checksum = checksum::of(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        message
    }

    /// The same over IPv6, where the kernel writes the checksum. Of the offending packet's header it
    /// does not show the hop limit and the flow label.
    fn unreachable_v6(&self, from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
        let quote = &self.bytes[..self.bytes.len().min(QUOTE_V6_BYTES - 40)];
        let length = u16::try_from(self.bytes.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes();
        let class = self.traffic_class;
        let first = [
            0x60 | class >> 4,
            class << 4,
            0,
            0,
            length[0],
            length[1],
            HOMA as u8,
            64,
        ];
        let start = [1, 4, 0, 0, 0, 0, 0, 0];
        [&start, &first, &from.octets()[..], &to.octets(), quote].concat()
    }
}

/// What answers leave by, and how many may.
pub(super) struct Voice {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
    bucket: Bucket,
}

impl Voice {
    /// One of each family that the machine has.
    pub(super) fn new() -> Self {
        Self {
            v4: socket(libc::AF_INET, libc::IPPROTO_ICMP).ok(),
            v6: socket(libc::AF_INET6, libc::IPPROTO_ICMPV6).ok(),
            bucket: Bucket::new(Instant::now()),
        }
    }

    /// Sends the answer, unless there were too many.
    pub(super) fn say(&mut self, answer: &Answer) {
        let socket = if answer.to.is_ipv4() {
            &self.v4
        } else {
            &self.v6
        };
        let Some(socket) = socket else {
            return;
        };
        if !self.bucket.take(Instant::now()) {
            return;
        }
        let mut envelope = Envelope::EMPTY;
        envelope.name = SocketName::encode(SocketAddr::new(answer.to, 0));
        push_source(&mut envelope.control, Family::of(answer.at), answer.at);
        // A failure is that of a route: the sender then waits for its timeout.
        let _ = sys::send(socket.as_fd(), &envelope, &[IoSlice::new(&answer.message)]);
    }
}

/// A raw socket that only sends: what it would hear would fill its buffer.
fn socket(domain: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    let socket = sys::socket(domain, libc::SOCK_RAW, protocol)?;
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 0)?;
    Ok(socket)
}

/// Limits the rate of answers.
struct Bucket {
    answers: u32,
    since: Instant,
}

impl Bucket {
    const fn new(now: Instant) -> Self {
        Self {
            answers: ANSWERS_AT_ONCE,
            since: now,
        }
    }

    /// Whether another answer may go now.
    fn take(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.since).as_secs_f64() * f64::from(ANSWERS_PER_SECOND);
        if earned >= 1.0 {
            self.answers = self
                .answers
                .saturating_add(earned as u32)
                .min(ANSWERS_AT_ONCE);
            self.since = now;
        }
        let is_left = self.answers > 0;
        self.answers = self.answers.saturating_sub(1);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn answers_are_few_and_come_back_with_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let at_once = (0..1_000).filter(|_| bucket.take(start)).count();
        assert_eq!(at_once, ANSWERS_AT_ONCE as usize);
        let later = start + Duration::from_millis(105);
        assert_eq!((0..1_000).filter(|_| bucket.take(later)).count(), 10);
    }

    #[test]
    fn an_answer_quotes_the_packet_with_its_ip_header() {
        let homa = [0x80, 0, 0, 99, 1, 2, 3, 4];
        let header = [&[0x45_u8, 0][..], &[0; 10], &[10, 0, 0, 1], &[10, 0, 0, 2]].concat();
        let bytes = [&header[..], &homa].concat();
        let stray = Stray {
            from: "10.0.0.1".parse().unwrap(),
            to: "10.0.0.2".parse().unwrap(),
            traffic_class: 0,
            bytes: &bytes,
            homa: &homa,
        };
        let answer = stray.answer().expect("it may be answered");
        assert_eq!(
            (answer.port, answer.at, answer.to),
            (99, stray.to, stray.from)
        );
        assert_eq!(answer.message[..2], [3, 3]);
        assert_eq!(answer.message[8..], bytes);
        assert_eq!(checksum::of(&answer.message), 0);
        let to_many = Stray {
            to: "224.0.0.1".parse().unwrap(),
            ..stray
        };
        assert!(to_many.answer().is_none());
    }

    #[test]
    fn an_answer_over_ipv6_rebuilds_the_header() {
        let homa = [0x80, 0, 0, 99, 1, 2, 3, 4];
        let stray = Stray {
            from: "fd00::1".parse().unwrap(),
            to: "fd00::2".parse().unwrap(),
            traffic_class: 0xe0,
            bytes: &homa,
            homa: &homa,
        };
        let message = stray.answer().expect("it may be answered").message;
        assert_eq!(message[..2], [1, 4]);
        assert_eq!(message[8..16], [0x6e, 0, 0, 0, 0, 8, 146, 64]);
        assert_eq!(message[48..], homa);
    }
}
