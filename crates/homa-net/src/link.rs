//! The contract between a host and a datagram link, and the values that cross it.
//!
//! It decides what a batch is, and what becomes of each datagram of it; it does not decide how
//! either is done.
//!
//! # Design
//!
//! *A batch never stops at a bad datagram.* [`Link::send`] has no error to return: the link names
//! each datagram that it could not send, with the cause, and goes on behind it. A return value
//! that mixes "full" with "this one failed" was the road not taken; every caller of such a
//! function has to untangle the two.
//!
//! *One call of the sink per buffer, not per datagram.* The kernel coalesces datagrams of one
//! sender and one traffic class into one buffer, up to 64 of them. The host looks up the sender
//! once and then walks the buffer with [`Received::segments`], which inlines; a call through a
//! `dyn FnMut` for every datagram would cost about as much as the walk itself.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use crate::ahead::{Ahead, Laid};

/// The most datagrams that one [`Transmit`] or one [`Received`] stands for: what Linux accepts in
/// one segmented send.
pub const MAX_SEGMENTS: usize = 64;

/// The most bytes of one [`Transmit`], all its datagrams together, that leave in one piece: the
/// largest UDP payload under IPv4 (65,535 − 20 − 8). The same limit is kept for IPv6.
pub const MAX_BATCH_BYTES: usize = 65_507;

/// The most bytes of a failed datagram that [`Undeliverable::offending`] carries.
pub const OFFENDING_MAX_BYTES: usize = 64;

/// A datagram network as a host sees it: batches out, batches in, nothing blocks.
///
/// One owner drives a link; it is `Send`, so the owner may be another thread than yesterday's.
pub trait Link: Send {
    /// Sends `batch` in order, from its start, until all of it is dealt with or the link is full.
    ///
    /// Returns how many transmits were dealt with, sent or refused. Fewer than `batch.len()` means
    /// that the link is full: offer the rest again once [`fd`](Self::fd) is writable. A refused
    /// one is passed to `refused` with its index in `batch`, exactly once; those behind it are
    /// sent all the same. "Sent" means that the local network stack took it, no more.
    ///
    /// Transmits of more segments or bytes than [`capabilities`](Self::capabilities) allow are
    /// sent as single datagrams: correct, but slow.
    fn send(&mut self, batch: &[Transmit<'_>], refused: &mut dyn FnMut(usize, Refusal)) -> usize;

    /// Hands what has arrived to `sink`, without waiting, up to a fixed number of buffers.
    ///
    /// Returns the number of datagrams. Only 0 says that nothing is left: call again until then
    /// before you wait on [`fd`](Self::fd), for a wrapper may hold datagrams that no readiness of
    /// the descriptor announces.
    ///
    /// # Errors
    ///
    /// What the operating system says when it cannot receive at all (out of memory). Errors of
    /// single datagrams come out of [`poll_errors`](Self::poll_errors) instead.
    fn receive(&mut self, sink: &mut dyn FnMut(Received<'_>)) -> io::Result<usize>;

    /// Looks at the buffer that [`receive`](Self::receive) would hand over first and leaves it there: its
    /// first bytes go to `start`, which bounds the bytes of what is returned; who sent it and the size of
    /// its datagrams are told as there.
    ///
    /// `None`: nothing has arrived, or the link cannot look
    /// ([`receives_ahead`](Self::receives_ahead)).
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    fn peek<'a>(&mut self, start: &'a mut [u8]) -> io::Result<Option<Received<'a>>> {
        let _ = start;
        Ok(None)
    }

    /// Receives one buffer straight into where its datagrams belong, after a [look](Self::peek) at it.
    ///
    /// The buffer is laid out as if it were cut: the first [`Ahead::header_bytes`] behind the headers
    /// there are, then the rest of [`Ahead::segment_bytes`] behind the payload there is, and so on, for
    /// as many datagrams as there is whole room for; what is left stays with the link. If datagrams
    /// turn out not to belong there, [`Laid::gather`] puts them together again.
    ///
    /// `None`: nothing was received; ask [`receive`](Self::receive) what is left.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Panics
    ///
    /// If headers have no bytes, or datagrams none behind them.
    fn receive_ahead(&mut self, ahead: &mut Ahead<'_>) -> io::Result<Option<Laid<'_>>> {
        let _ = ahead;
        Ok(None)
    }

    /// Whether [`peek`](Self::peek) and [`receive_ahead`](Self::receive_ahead) bring anything. It may
    /// become true while the link runs.
    fn receives_ahead(&self) -> bool {
        false
    }

    /// Hands reports about datagrams that were sent and did not arrive to `sink`; returns their
    /// number, bounded for one call.
    ///
    /// Call it behind [`receive`](Self::receive), which learns that reports wait: before every wait, and
    /// now and then while there is none. While no report waits, this costs nothing. While one waits,
    /// [`fd`](Self::fd) polls as erroneous and every wait ends at once, so a host that never calls it
    /// never sleeps.
    ///
    /// # Errors
    ///
    /// What the operating system says when the reports cannot be read.
    fn poll_errors(&mut self, sink: &mut dyn FnMut(Undeliverable<'_>)) -> io::Result<usize>;

    /// The address that this link is bound to; its IP address may be unspecified (`0.0.0.0`, `::`).
    fn local_addr(&self) -> SocketAddr;

    /// What to wait on: readable when [`receive`](Self::receive) has something, writable when
    /// [`send`](Self::send) has room, erroneous when [`poll_errors`](Self::poll_errors) has a
    /// report. It must not be read, written or closed.
    fn fd(&self) -> BorrowedFd<'_>;

    /// What this link can do. It may change while the link runs (a device may refuse
    /// segmentation), so ask before each batch rather than once; it is a plain copy.
    fn capabilities(&self) -> Capabilities;

    /// The largest IP packet, headers included, that the route to `to` takes, in bytes. It costs
    /// some microseconds: call it once per peer.
    ///
    /// # Errors
    ///
    /// No route, or an address of the wrong family.
    fn route_mtu(&self, to: IpAddr) -> io::Result<u32>;

    /// What this link has counted since it was made. Costs a system call or two.
    fn counters(&self) -> Counters;

    /// Under which headers datagrams of this link travel.
    fn framing(&self) -> Framing {
        Framing::Udp
    }
}

impl<L: Link + ?Sized> Link for Box<L> {
    fn send(&mut self, batch: &[Transmit<'_>], refused: &mut dyn FnMut(usize, Refusal)) -> usize {
        (**self).send(batch, refused)
    }

    fn receive(&mut self, sink: &mut dyn FnMut(Received<'_>)) -> io::Result<usize> {
        (**self).receive(sink)
    }

    fn peek<'a>(&mut self, start: &'a mut [u8]) -> io::Result<Option<Received<'a>>> {
        (**self).peek(start)
    }

    fn receive_ahead(&mut self, ahead: &mut Ahead<'_>) -> io::Result<Option<Laid<'_>>> {
        (**self).receive_ahead(ahead)
    }

    fn receives_ahead(&self) -> bool {
        (**self).receives_ahead()
    }

    fn poll_errors(&mut self, sink: &mut dyn FnMut(Undeliverable<'_>)) -> io::Result<usize> {
        (**self).poll_errors(sink)
    }

    fn local_addr(&self) -> SocketAddr {
        (**self).local_addr()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        (**self).fd()
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn route_mtu(&self, to: IpAddr) -> io::Result<u32> {
        (**self).route_mtu(to)
    }

    fn counters(&self) -> Counters {
        (**self).counters()
    }

    fn framing(&self) -> Framing {
        (**self).framing()
    }
}

/// What is between the IP header and a datagram of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// A UDP header with the ports of the addresses.
    #[default]
    Udp,
    /// A UDP header with [`TUNNEL_PORT`](crate::tunnel::TUNNEL_PORT) at both ends; the datagram
    /// begins with the ports of the addresses.
    Tunnel,
    /// Nothing; the datagram begins with the ports of the addresses.
    Ip,
}

impl Framing {
    /// Bytes between the IP header and the datagram.
    #[must_use]
    pub const fn header_bytes(self) -> u32 {
        match self {
            Self::Udp | Self::Tunnel => 8,
            Self::Ip => 0,
        }
    }
}

/// One datagram to send, or several of one size to one destination.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// Where it goes; of the link's own address family.
    pub to: SocketAddr,
    /// The local address it leaves from; `None` lets the route decide. A reply names the address
    /// that was addressed ([`Received::to`]), or its client would not know it again.
    pub from: Option<IpAddr>,
    /// The whole traffic-class byte of the IP header (TOS in IPv4): DSCP in the upper six bits,
    /// ECN in the lower two.
    pub traffic_class: u8,
    /// `Some(n)`: `slices` hold several datagrams, each of `n` bytes but the last, which may be
    /// shorter. `None`: one datagram. Zero counts as `None`.
    pub segment_bytes: Option<u16>,
    /// The bytes, in order. Slices need not end where datagrams end.
    pub slices: &'a [IoSlice<'a>],
}

impl Transmit<'_> {
    /// Bytes of all datagrams together.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.slices.iter().map(|slice| slice.len()).sum()
    }

    /// The size of each datagram but the last; for a single datagram its own size.
    #[must_use]
    pub fn stride(&self) -> usize {
        match self.segment_bytes {
            Some(bytes) if bytes > 0 => usize::from(bytes),
            _ => self.total_bytes(),
        }
    }

    /// The number of datagrams this stands for, at least 1.
    #[must_use]
    pub fn datagram_count(&self) -> usize {
        match self.segment_bytes {
            Some(bytes) if bytes > 0 => datagrams_in(self.total_bytes(), usize::from(bytes)),
            _ => 1,
        }
    }
}

/// One datagram that arrived, or several of one size from one sender that the kernel coalesced.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// The local address it was sent to, if the link can tell.
    pub to: Option<IpAddr>,
    /// The whole traffic-class byte of the IP header; 0 if the link was not asked to tell.
    pub traffic_class: u8,
    /// The size of each datagram in `bytes` but the last, which may be shorter.
    pub segment_bytes: usize,
    /// The payload of all datagrams, in the order in which they arrived.
    pub bytes: &'a [u8],
}

impl<'a> Received<'a> {
    /// The datagrams, one after the other. An empty datagram yields none.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.segment_bytes.max(1))
    }

    /// The number of datagrams, at least 1 (an empty datagram counts).
    #[must_use]
    pub fn datagram_count(&self) -> usize {
        datagrams_in(self.bytes.len(), self.segment_bytes)
    }
}

/// How many datagrams `total` bytes make when all but the last have `stride` bytes; at least 1.
pub(crate) fn datagrams_in(total: usize, stride: usize) -> usize {
    // Nearly always one, and a division takes as long as all else about it.
    if total <= stride {
        return 1;
    }
    total.div_ceil(stride.max(1))
}

/// A datagram that left, and of which the network said that it did not arrive.
///
/// A hint, not a proof: whoever guesses addresses and ports can forge such a report. It is good
/// for failing early what would fail anyway, and for nothing that cannot be undone.
#[derive(Clone, Copy, Debug)]
pub struct Undeliverable<'a> {
    /// Where the datagram was to go.
    pub to: SocketAddr,
    /// Why it did not.
    pub cause: Unreachable,
    /// Who says so: a router on the way, or the destination itself.
    pub reporter: Option<IpAddr>,
    /// The first bytes of its payload, at most [`OFFENDING_MAX_BYTES`]; empty if the reporter
    /// quoted none.
    pub offending: &'a [u8],
}

/// Why a destination could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Nobody has the destination port open.
    Port,
    /// The destination host does not answer, or no route leads to it.
    Host,
    /// No route leads to the destination's network.
    Network,
    /// The destination host does not speak UDP.
    Protocol,
    /// A firewall or a router's policy forbids it.
    Prohibited,
    /// The datagram is larger than a link on the way takes.
    PacketTooBig {
        /// The largest IP packet that goes through, headers included, in bytes; 0 if the router
        /// did not say.
        mtu: u32,
    },
    /// Something else, by the type and code of the ICMP message.
    Other {
        /// ICMP (or ICMPv6) type.
        kind: u8,
        /// ICMP (or ICMPv6) code.
        code: u8,
    },
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port => f.write_str("nobody listens on the destination port"),
            Self::Host => f.write_str("the destination host cannot be reached"),
            Self::Network => f.write_str("no route leads to the destination network"),
            Self::Protocol => f.write_str("the destination host does not speak UDP"),
            Self::Prohibited => f.write_str("a firewall on the way forbids it"),
            Self::PacketTooBig { mtu: 0 } => {
                f.write_str("the datagram is larger than a link on the way takes")
            }
            Self::PacketTooBig { mtu } => {
                write!(
                    f,
                    "a link on the way takes IP packets of at most {mtu} bytes"
                )
            }
            Self::Other { kind, code } => write!(f, "ICMP type {kind} code {code}"),
        }
    }
}

/// Why the local network stack did not take a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No route, or one that this machine knows to be dead.
    Unreachable(Unreachable),
    /// Larger than the device's MTU, or than any UDP datagram can be.
    TooBig,
    /// A local firewall rule, or a broadcast address.
    Forbidden,
    /// [`Transmit::from`] is not an address of this machine.
    SourceNotLocal,
    /// [`Transmit::to`] or [`Transmit::from`] is of another address family than the link.
    WrongFamily,
    /// A queue of this machine overflowed; all or a part of the transmit is lost, as it might
    /// have been in any switch.
    Dropped,
    /// Something else, as the operating system's error number.
    Other(i32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(cause) => cause.fmt(f),
            Self::TooBig => f.write_str("the datagram is larger than the device's MTU"),
            Self::Forbidden => f.write_str("a firewall of this machine forbids it"),
            Self::SourceNotLocal => f.write_str("the source is not an address of this machine"),
            Self::WrongFamily => f.write_str("the address is of another family than the link"),
            Self::Dropped => f.write_str("a queue of this machine overflowed"),
            Self::Other(errno) => io::Error::from_raw_os_error(*errno).fmt(f),
        }
    }
}

impl core::error::Error for Unreachable {}
impl core::error::Error for Refusal {}

/// What a link can do, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The most datagrams of one [`Transmit`] that leave in one piece; 1 = no segmentation.
    pub max_segments: usize,
    /// The most bytes of one [`Transmit`] that leave in one piece.
    pub max_batch_bytes: usize,
    /// Whether arriving datagrams may be coalesced.
    pub coalesces: bool,
    /// Room for datagrams that wait to be received, in bytes *as the link accounts them*. Linux
    /// charges each datagram the memory it sits in: about twice its payload for full packets,
    /// some hundred bytes for empty ones. Budget half of it for payload.
    pub receive_buffer_bytes: usize,
    /// Room for datagrams that wait to leave, in bytes, accounted likewise.
    pub send_buffer_bytes: usize,
}

/// What a link has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that the local network stack took, each segment counted.
    pub datagrams_sent: u64,
    /// Datagrams handed to a sink, each segment counted, injected duplicates too.
    pub datagrams_received: u64,
    /// Transmits that were refused for good (see [`Refusal`]).
    pub transmits_refused: u64,
    /// Calls of [`Link::send`] that ended early because the link was full.
    pub send_full: u64,
    /// Transmits of several segments that the device refused and that went out one by one; after
    /// the first, [`Capabilities::max_segments`] is 1.
    pub segmentation_refused: u64,
    /// Calls that failed with an error that may have been about an earlier datagram, and were
    /// repeated.
    pub pending_errors: u64,
    /// Reports handed out by [`Link::poll_errors`].
    pub undeliverable: u64,
    /// Arrived datagrams that found the receive buffer full.
    pub receive_overflows: u64,
    /// Arrived datagrams that could not be read (a sender address of no known family).
    pub malformed: u64,
    /// Arrived datagrams thrown away on purpose.
    pub faults_dropped: u64,
    /// Arrived datagrams held back on purpose behind later ones.
    pub faults_reordered: u64,
    /// Arrived datagrams handed out twice on purpose.
    pub faults_duplicated: u64,
}
