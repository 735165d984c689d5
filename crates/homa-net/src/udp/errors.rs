//! Reports about datagrams that did not arrive: the socket's error queue.

use core::net::IpAddr;
use std::io;
use std::os::fd::BorrowedFd;

use crate::link::{OFFENDING_MAX_BYTES, Undeliverable, Unreachable};
use crate::sys::{self, Control, Envelope};

/// The most reports of one call: a flood of them must not keep the host from its packets.
const REPORTS_PER_CALL: usize = 64;

/// `sock_extended_err` is 16 bytes; the address of who reported follows it.
const EXTENDED_ERROR_BYTES: usize = 16;

/// What is known of the error queue.
pub(crate) struct Reports {
    /// Whether the queue may hold something. The kernel raises a pending error whenever it queues a
    /// report, and a call that meets one sets this, so a false value is certain.
    pub(crate) waiting: bool,
    envelope: Box<Envelope>,
    offending: [u8; OFFENDING_MAX_BYTES],
}

impl Reports {
    pub(crate) fn new() -> Self {
        Self {
            waiting: false,
            envelope: Box::new(Envelope::EMPTY),
            offending: [0; OFFENDING_MAX_BYTES],
        }
    }
}

impl Reports {
    /// Hands what waits in the socket's error queue to `sink`; returns how many reports that were.
    pub(crate) fn drain(
        &mut self,
        socket: BorrowedFd<'_>,
        sink: &mut dyn FnMut(Undeliverable<'_>),
    ) -> io::Result<usize> {
        if !self.waiting {
            return Ok(0);
        }
        let mut count = 0;
        for _ in 0..REPORTS_PER_CALL {
            match sys::receive_error(socket, &mut self.envelope, &mut self.offending) {
                Ok(()) => {}
                Err(errno) if errno.0 == libc::EAGAIN => {
                    self.waiting = false;
                    break;
                }
                Err(errno) if errno.0 == libc::EINTR => continue,
                Err(errno) => return Err(errno.into()),
            }
            let (Some(to), Some((cause, reporter))) =
                (self.envelope.name.decode(), cause(&self.envelope.control))
            else {
                continue;
            };
            count += 1;
            sink(Undeliverable {
                to,
                cause,
                reporter,
                offending: &self.offending[..self.envelope.length],
            });
        }
        Ok(count)
    }
}

/// What the network says; `None` for the kernel's own reports, which the failed send told already.
fn cause(control: &Control) -> Option<(Unreachable, Option<IpAddr>)> {
    let report = control.messages().find(|message| {
        matches!(
            (message.level, message.kind),
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
        )
    })?;
    let (error, reporter) = report.data.split_first_chunk::<EXTENDED_ERROR_BYTES>()?;
    let [_, _, _, _, origin, kind, code, _, i0, i1, i2, i3, ..] = *error;
    let info = u32::from_ne_bytes([i0, i1, i2, i3]);
    let cause = match origin {
        libc::SO_EE_ORIGIN_ICMP => icmp(kind, code, info),
        libc::SO_EE_ORIGIN_ICMP6 => icmp6(kind, code, info),
        _ => return None,
    };
    Some((
        cause,
        sys::decode_name(reporter).map(|address| address.ip()),
    ))
}

/// RFC 792 and RFC 1812 §5.2.7: type 3 is "destination unreachable".
fn icmp(kind: u8, code: u8, info: u32) -> Unreachable {
    match (kind, code) {
        (3, 0 | 6 | 11) => Unreachable::Network,
        (3, 1 | 5 | 7 | 8 | 12) => Unreachable::Host,
        (3, 2) => Unreachable::Protocol,
        (3, 3) => Unreachable::Port,
        (3, 4) => Unreachable::PacketTooBig { mtu: info },
        (3, 9 | 10 | 13) => Unreachable::Prohibited,
        _ => Unreachable::Other { kind, code },
    }
}

/// RFC 4443 §3: type 1 is "destination unreachable", 2 "packet too big".
fn icmp6(kind: u8, code: u8, info: u32) -> Unreachable {
    match (kind, code) {
        (1, 0) => Unreachable::Network,
        (1, 1 | 5 | 6) => Unreachable::Prohibited,
        (1, 2 | 3) => Unreachable::Host,
        (1, 4) => Unreachable::Port,
        (2, _) => Unreachable::PacketTooBig { mtu: info },
        // A parameter problem whose code is "unrecognized next header".
        (4, 1) => Unreachable::Protocol,
        _ => Unreachable::Other { kind, code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(level: i32, kind: i32, error: [u8; 16], reporter: &str) -> Control {
        let mut control = Control::EMPTY;
        let name = sys::SocketName::encode(reporter.parse().unwrap());
        let mut data = error.to_vec();
        data.extend_from_slice(name.valid_bytes());
        control.push(level, kind, &data);
        control
    }

    #[test]
    fn a_router_that_names_its_mtu_is_understood_in_both_families() {
        let [m0, m1, m2, m3] = 1400_u32.to_ne_bytes();
        let v4 = [0, 0, 0, 0, 2, 3, 4, 0, m0, m1, m2, m3, 0, 0, 0, 0];
        let control = report(libc::SOL_IP, libc::IP_RECVERR, v4, "192.0.2.1:0");
        let too_big = Unreachable::PacketTooBig { mtu: 1400 };
        assert_eq!(
            cause(&control),
            Some((too_big, Some("192.0.2.1".parse().unwrap())))
        );

        let v6 = [0, 0, 0, 0, 3, 2, 0, 0, m0, m1, m2, m3, 0, 0, 0, 0];
        let control = report(libc::SOL_IPV6, libc::IPV6_RECVERR, v6, "[2001:db8::1]:0");
        assert_eq!(
            cause(&control),
            Some((too_big, Some("2001:db8::1".parse().unwrap())))
        );
    }

    #[test]
    fn a_report_of_the_local_kernel_or_one_cut_short_is_passed_over() {
        let local = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let control = report(libc::SOL_IP, libc::IP_RECVERR, local, "192.0.2.1:0");
        assert_eq!(cause(&control), None);
        let mut short = Control::EMPTY;
        short.push(libc::SOL_IP, libc::IP_RECVERR, &[0; 15]);
        assert_eq!(cause(&short), None);
    }

    #[test]
    fn every_icmp_code_has_one_meaning() {
        let table = [
            (icmp(3, 0, 0), Unreachable::Network),
            (icmp(3, 1, 0), Unreachable::Host),
            (icmp(3, 2, 0), Unreachable::Protocol),
            (icmp(3, 3, 0), Unreachable::Port),
            (icmp(3, 13, 0), Unreachable::Prohibited),
            (icmp(11, 0, 0), Unreachable::Other { kind: 11, code: 0 }),
            (icmp6(1, 0, 0), Unreachable::Network),
            (icmp6(1, 1, 0), Unreachable::Prohibited),
            (icmp6(1, 3, 0), Unreachable::Host),
            (icmp6(1, 4, 0), Unreachable::Port),
            (icmp6(4, 1, 0), Unreachable::Protocol),
            (icmp6(3, 0, 0), Unreachable::Other { kind: 3, code: 0 }),
        ];
        for (read, meant) in table {
            assert_eq!(read, meant);
        }
    }
}
