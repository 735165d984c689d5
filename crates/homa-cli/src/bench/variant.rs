//! The variants: a protocol, and how its threads wait.

use core::net::SocketAddr;
use std::io;

use super::turn::Turn;
use super::{homa, tcp, udp};

/// How a thread waits for a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Waiting {
    /// Looks again and again.
    Spin,
    /// Sleeps in the kernel.
    Block,
    /// Sleeps in a current-thread tokio runtime.
    Tokio,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Variant {
    Homa(Waiting),
    /// Sockets that can talk to anyone, as Homa's can: the floor that Homa is judged against.
    Udp(Waiting),
    /// Sockets that talk to one peer only, which saves the kernel the route look-up.
    UdpConnected,
    Tcp(Waiting),
}

use Waiting::{Block, Spin, Tokio};

impl Variant {
    /// All of them, in the order of their turns.
    pub(super) const ALL: [Self; 10] = [
        Self::Homa(Spin),
        Self::Udp(Spin),
        Self::Tcp(Spin),
        Self::UdpConnected,
        Self::Homa(Block),
        Self::Udp(Block),
        Self::Tcp(Block),
        Self::Homa(Tokio),
        Self::Udp(Tokio),
        Self::Tcp(Tokio),
    ];

    /// Its name in tables and files.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Homa(Spin) => "homa_spin",
            Self::Homa(Block) => "homa_block",
            Self::Homa(Tokio) => "homa_tokio",
            Self::Udp(Spin) => "udp_spin",
            Self::Udp(Block) => "udp_block",
            Self::Udp(Tokio) => "udp_tokio",
            Self::UdpConnected => "udp_connected_spin",
            Self::Tcp(Spin) => "tcp_spin",
            Self::Tcp(Block) => "tcp_block",
            Self::Tcp(Tokio) => "tcp_tokio",
        }
    }

    /// The variant of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name() == name)
    }

    /// The pairs that the report gives ratios of: each variant over the bare socket that waits in
    /// the same way, and Homa over TCP too.
    pub(super) fn compared_with(self) -> Vec<[Self; 2]> {
        match self {
            Self::Homa(waiting) => vec![[self, Self::Udp(waiting)], [self, Self::Tcp(waiting)]],
            Self::Tcp(waiting) => vec![[self, Self::Udp(waiting)]],
            Self::UdpConnected => vec![[self, Self::Udp(Spin)]],
            Self::Udp(_) => Vec::new(),
        }
    }

    /// Starts an echo server on a thread of its own, and returns its address.
    ///
    /// # Errors
    /// The socket cannot be bound.
    pub(super) fn serve(self) -> io::Result<SocketAddr> {
        match self {
            Self::Homa(waiting) => homa::serve(waiting),
            Self::Udp(waiting) => udp::serve(waiting, false),
            Self::UdpConnected => udp::serve(Spin, true),
            Self::Tcp(waiting) => tcp::serve(waiting),
        }
    }

    /// Makes round trips to `server` for one turn.
    ///
    /// # Errors
    /// The server does not answer, or wrongly.
    pub(super) fn measure(self, server: SocketAddr) -> io::Result<Turn> {
        match self {
            Self::Homa(waiting) => homa::measure(server, waiting),
            Self::Udp(waiting) => udp::measure(server, waiting, false),
            Self::UdpConnected => udp::measure(server, Spin, true),
            Self::Tcp(waiting) => tcp::measure(server, waiting),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_is_found_by_its_name() {
        assert!(
            Variant::ALL
                .into_iter()
                .all(|v| Variant::named(v.name()) == Some(v))
        );
        assert_eq!(Variant::named("udp"), None);
    }
}
