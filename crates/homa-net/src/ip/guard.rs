//! Answers packets for ports that nobody on this machine owns with "port unreachable", as a kernel
//! would, so that their senders need not wait for a timeout.
//!
//! It decides who does it and how often; it never answers for a port that has an owner.
//!
//! # Design
//!
//! *A thread of each process that has raw links waits for the office; one holds it.* The others are
//! connected to it, and the end of the connection tells them that it is free.
//!
//! *Packets of owned ports do not wake the guard.* The first one does; then the port is known to have
//! an owner and the filter of the guard's sockets leaves it out, until the connection to the owner
//! ends. The guard ends its side only when the filter lets the port through again, and an owner that
//! goes orderly waits for that.
//!
//! *The links of a process are counted under one lock*, under which its thread also ends: a link
//! opened while the last one closes would otherwise find the office held by a thread that is about to
//! leave it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::claim::{Claim, Office};
use super::{HOMA, checksum, filter};
use crate::ports;
use crate::sys::{self, Envelope, Errno, SocketName};
use crate::udp::family::Family;
use crate::udp::receive;
use crate::udp::send::push_source;
use crate::wait::{WATCHES_MAX, Wakeup, Watch, wait};

/// Answers of one second, and at once: an attacker who forges senders must not make us one.
const ANSWERS_PER_SECOND: u32 = 100;
const ANSWERS_AT_ONCE: u32 = 50;

/// How soon to try again when the holder of the office left while we asked for it, or is asked by too
/// many.
const RETRY: Duration = Duration::from_millis(20);

/// Bytes of a packet that are looked at: more than any answer quotes.
const LOOK_BYTES: usize = 2_048;
/// Bytes of the offending packet in an answer, so that the answer is within 576 and 1280 bytes.
const QUOTE_V4_BYTES: usize = 548;
const QUOTE_V6_BYTES: usize = 1_232;

/// Owners whose end is waited for, besides two sockets and the order to stop.
const OWNERS_MAX: usize = WATCHES_MAX - 3;
const _: () = assert!(OWNERS_MAX <= filter::PORTS_MAX);

/// The guard of this process and the number of links that it is for.
static SHARED: Mutex<Option<(Thread, usize)>> = Mutex::new(None);

/// A link's share of the guard of its process, which ends with the last one.
pub(super) struct Guard(());

impl Guard {
    /// A share of the guard of this process, started if there is none.
    pub(super) fn shared() -> io::Result<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *shared {
            Some((_, links)) => *links += 1,
            none => *none = Some((Thread::start()?, 1)),
        }
        Ok(Self(()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, links)) = &mut *shared {
            *links -= 1;
            if *links == 0 {
                *shared = None;
            }
        }
    }
}

/// The thread of this process that waits for the office or holds it.
struct Thread {
    stop: Arc<Wakeup>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start() -> io::Result<Self> {
        let stop = Arc::new(Wakeup::new()?);
        let own = Arc::clone(&stop);
        // Here, so that answers are given from the first packet on.
        let first = Server::take_office();
        let handle = thread::Builder::new()
            .name("homa-ip-guard".to_owned())
            .spawn(move || {
                // What ends it early is a lack of descriptors or rights. Packets to ports of nobody
                // then time out, as they would without an answer of ours.
                let _ = first.and_then(|first| match first {
                    Some(mut server) => server.serve(&own),
                    None => wait_and_serve(&own),
                });
            })?;
        Ok(Self {
            stop,
            handle: Some(handle),
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.wake();
        // It waits for nothing but its successor in the office, and for that not long.
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

/// Waits for the office, then serves, until told to stop.
fn wait_and_serve(stop: &Wakeup) -> io::Result<()> {
    let mut holder = None;
    loop {
        let server = Server::take_office()?;
        // The one before waits for this, and answers until then.
        drop(holder);
        if let Some(mut server) = server {
            return server.serve(stop);
        }
        holder = match Office::Guard.owner() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            holder => holder?,
        };
        let mut watches = vec![Watch::readable(stop.fd())];
        watches.extend(
            holder
                .as_ref()
                .map(|holder| Watch::readable(holder.as_fd())),
        );
        wait(&mut watches, holder.is_none().then_some(RETRY))?;
        if watches[0].ready.readable {
            return Ok(());
        }
    }
}

/// The holder of the office.
struct Server {
    /// `None` once the office is given back.
    claim: Option<Claim>,
    /// One of each family that the machine has.
    sockets: Vec<Socket>,
    /// Ports known to be owned, with a connection that ends with the owner.
    owners: BTreeMap<u16, UnixStream>,
    bucket: Bucket,
}

/// What it hears and answers with, of one family.
struct Socket {
    is_v4: bool,
    homa: OwnedFd,
    icmp: OwnedFd,
}

impl Server {
    /// Takes the office, if nobody has it.
    fn take_office() -> io::Result<Option<Self>> {
        match Office::Guard.claim() {
            Ok(claim) => Self::new(claim).map(Some),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn new(claim: Claim) -> io::Result<Self> {
        let v4 = Socket::open(true);
        let sockets = match (v4, Socket::open(false)) {
            (Err(error), Err(_)) => return Err(error),
            (v4, v6) => [v4, v6].into_iter().flatten().collect(),
        };
        Ok(Self {
            claim: Some(claim),
            sockets,
            owners: BTreeMap::new(),
            bucket: Bucket::new(Instant::now()),
        })
    }

    fn serve(&mut self, stop: &Wakeup) -> io::Result<()> {
        let mut envelope = Box::new(Envelope::EMPTY);
        let mut buffer = vec![0; LOOK_BYTES];
        let mut hear_all = |this: &mut Self| this.hear_all(&mut envelope, &mut buffer);
        loop {
            let ready = self.wait(stop)?;
            if ready.stop {
                self.claim = None;
                // What came while a successor took over.
                return hear_all(self).map(drop);
            }
            let ended = ready.ended.iter();
            let ended: Vec<_> = ended.filter_map(|port| self.owners.remove(port)).collect();
            if hear_all(self)? || !ended.is_empty() {
                self.attach_filters()?;
            }
            // Now those who go may: their ports are heard again.
            drop(ended);
        }
    }

    /// Deals with all packets that are there; returns whether that changed what is to be filtered.
    fn hear_all(&mut self, envelope: &mut Envelope, buffer: &mut [u8]) -> io::Result<bool> {
        let mut is_changed = false;
        for index in 0..self.sockets.len() {
            while self.hear(index, envelope, buffer)? {
                is_changed |= self.take(index, envelope, &buffer[..envelope.length])?;
            }
        }
        Ok(is_changed)
    }

    fn wait(&self, stop: &Wakeup) -> io::Result<Ready> {
        let mut watches = vec![Watch::readable(stop.fd())];
        let sockets = self.sockets.iter().map(|socket| socket.homa.as_fd());
        let owners = self.owners.values().map(AsFd::as_fd);
        watches.extend(sockets.chain(owners).map(Watch::readable));
        wait(&mut watches, None)?;
        let ended = self.owners.keys().zip(&watches[1 + self.sockets.len()..]);
        let is_over = |watch: &Watch<'_>| watch.ready.readable || watch.ready.error;
        Ok(Ready {
            stop: watches[0].ready.readable,
            ended: ended
                .filter(|(_, watch)| is_over(watch))
                .map(|(&port, _)| port)
                .collect(),
        })
    }

    /// Receives a packet; false if none is left.
    fn hear(&self, index: usize, envelope: &mut Envelope, buffer: &mut [u8]) -> io::Result<bool> {
        let fd = self.sockets[index].homa.as_fd();
        let length = buffer.len();
        match sys::receive(fd, core::slice::from_mut(envelope), buffer, length) {
            Ok(_) => Ok(true),
            Err(errno) if matches!(errno.0, libc::EAGAIN | libc::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Answers a packet, or notes who owns its port; returns whether that changed what is to be
    /// filtered.
    fn take(&mut self, index: usize, envelope: &Envelope, bytes: &[u8]) -> io::Result<bool> {
        let Some(stray) = Stray::read(self.sockets[index].is_v4, envelope, bytes) else {
            return Ok(false);
        };
        if self.owners.contains_key(&stray.port) {
            return Ok(false);
        }
        match Office::Port(stray.port).owner() {
            Ok(None) => {}
            // Beyond the limit the guard is woken for packets of some owners, no more.
            Ok(Some(owner)) if self.owners.len() < OWNERS_MAX => {
                self.owners.insert(stray.port, owner);
                return Ok(true);
            }
            Ok(Some(_)) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        if self.bucket.take(Instant::now()) {
            // A failure is that of a route: the sender then waits for its timeout.
            let _ = self.sockets[index].answer(&stray);
        }
        Ok(false)
    }

    fn attach_filters(&self) -> io::Result<()> {
        let ports: Vec<u16> = self.owners.keys().copied().collect();
        self.sockets
            .iter()
            .try_for_each(|socket| filter::all_but(socket.homa.as_fd(), socket.is_v4, &ports))
    }
}

/// What a wait found.
struct Ready {
    stop: bool,
    /// Ports whose owner went.
    ended: Vec<u16>,
}

impl Socket {
    fn open(is_v4: bool) -> io::Result<Self> {
        let any = if is_v4 {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        let family = Family::of(any);
        let homa = sys::socket(family.domain, libc::SOCK_RAW, HOMA)?;
        let answers = if is_v4 {
            libc::IPPROTO_ICMP
        } else {
            libc::IPPROTO_ICMPV6
        };
        let icmp = sys::socket(family.domain, libc::SOCK_RAW, answers)?;
        // It only sends; what it would hear would fill its buffer.
        sys::set_option(icmp.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 0)?;
        filter::all_but(homa.as_fd(), is_v4, &[])?;
        if !is_v4 {
            sys::set_option(homa.as_fd(), family.level, family.receive_destination, 1)?;
            sys::set_option(homa.as_fd(), family.level, family.receive_class, 1)?;
        }
        Ok(Self { is_v4, homa, icmp })
    }

    fn answer(&self, stray: &Stray<'_>) -> Result<(), Errno> {
        let mut envelope = Envelope::EMPTY;
        envelope.name = SocketName::encode(stray.from);
        push_source(&mut envelope.control, Family::of(stray.to), stray.to);
        let message = stray.unreachable();
        sys::send(self.icmp.as_fd(), &envelope, &[io::IoSlice::new(&message)])
    }
}

/// A packet for a port that may have no owner.
struct Stray<'a> {
    /// With port 0.
    from: SocketAddr,
    to: IpAddr,
    port: u16,
    traffic_class: u8,
    /// From the IP header on under IPv4, without it under IPv6.
    bytes: &'a [u8],
}

impl<'a> Stray<'a> {
    /// `None` for what may not be answered: packets to many, or without a port.
    fn read(is_v4: bool, envelope: &Envelope, bytes: &'a [u8]) -> Option<Self> {
        let received = receive::read(envelope, bytes, None)?;
        let (homa, to, traffic_class) = if is_v4 {
            super::receive::behind_ipv4(bytes)?
        } else {
            (bytes, received.to, received.traffic_class)
        };
        let (to, mut from) = (to?, received.from);
        from.set_port(0);
        let (_, port) = ports::of(homa)?;
        let is_answered = !to.is_multicast() && to != IpAddr::V4(Ipv4Addr::BROADCAST);
        is_answered.then_some(Self {
            from,
            to,
            port,
            traffic_class,
            bytes,
        })
    }

    /// The ICMP message that says so: type, code, checksum, four bytes of nothing, and the offending
    /// packet from its IP header on.
    fn unreachable(&self) -> Vec<u8> {
        let (IpAddr::V6(from), IpAddr::V6(to)) = (self.from.ip(), self.to) else {
            let quote = &self.bytes[..self.bytes.len().min(QUOTE_V4_BYTES)];
            let mut message = [&[3, 3, 0, 0, 0, 0, 0, 0], quote].concat();
            let checksum = checksum::of(&message);
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
            return message;
        };
        let quote = &self.bytes[..self.bytes.len().min(QUOTE_V6_BYTES - 40)];
        // The kernel writes the checksum of ICMPv6 itself. Of the header it does not show the hop
        // limit and the flow label.
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
        let mut envelope = Envelope::EMPTY;
        envelope.name = SocketName::encode("10.0.0.1:0".parse().unwrap());
        envelope.length = bytes.len();
        let stray = Stray::read(true, &envelope, &bytes).expect("it may be answered");
        assert_eq!((stray.port, stray.to), (99, "10.0.0.2".parse().unwrap()));
        let message = stray.unreachable();
        assert_eq!(message[..2], [3, 3]);
        assert_eq!(message[8..], bytes);
        assert_eq!(checksum::of(&message), 0);
    }

    #[test]
    fn an_answer_over_ipv6_rebuilds_the_header() {
        let homa = [0x80, 0, 0, 99, 1, 2, 3, 4];
        let stray = Stray {
            from: "[fd00::1]:0".parse().unwrap(),
            to: "fd00::2".parse().unwrap(),
            port: 99,
            traffic_class: 0xe0,
            bytes: &homa,
        };
        let message = stray.unreachable();
        assert_eq!(message[..2], [1, 4]);
        assert_eq!(message[8..16], [0x6e, 0, 0, 0, 0, 8, 146, 64]);
        assert_eq!(message[48..], homa);
    }
}
