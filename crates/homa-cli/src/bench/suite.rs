//! What a benchmark is made of: variants, which are data and a pair of functions, and the ratios
//! that it shows.

use core::net::{IpAddr, SocketAddr};
use std::io;

use serde::{Deserialize, Serialize};

use super::clocks::Clocks;
use super::meter::{Meter, Sample, Turn};
use super::mix;
use crate::congestion::Congestion;

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

/// A benchmark.
pub(super) struct Suite {
    /// The word on the command line.
    pub(super) name: &'static str,
    /// What is measured, for the report.
    pub(super) title: &'static str,
    pub(super) figure: Figure,
    /// What CPU time is told for.
    pub(super) work: Work,
    /// Bytes of a message.
    pub(super) message_bytes: usize,
    /// RPCs under way at once, unless something else is asked for.
    pub(super) outstanding: usize,
    /// In the order of their turns.
    pub(super) variants: &'static [Variant],
    pub(super) ratios: &'static [Ratio],
}

/// The number that variants are compared by.
pub(super) struct Figure {
    pub(super) unit: &'static str,
    pub(super) of: fn(&Sample) -> f64,
    pub(super) lower_is_better: bool,
}

/// The work that CPU time is told for.
pub(super) struct Work {
    pub(super) unit: &'static str,
    /// How much of it a sample has.
    pub(super) of: fn(&Sample) -> f64,
}

/// The work of short RPCs.
pub(super) const MILLION_RPCS: Work = Work {
    unit: "million RPCs",
    of: |sample| sample.rpcs as f64 / 1e6,
};

/// The work of long messages.
pub(super) const GIGABYTE: Work = Work {
    unit: "GB",
    of: |sample| sample.bytes as f64 / 1e9,
};

/// A way of doing the same work.
#[derive(Clone, Copy)]
pub(super) struct Variant {
    /// Its name in tables, files and ratios.
    pub(super) name: &'static str,
    /// The congestion control that it needs.
    pub(super) congestion: Option<Congestion>,
    /// Whether it can talk to many peers at once.
    pub(super) many_peers: bool,
    /// Starts a server on threads of its own, and returns its ports.
    pub(super) serve: fn(&Job) -> io::Result<Vec<u16>>,
    /// Works against it until the meter says that it is enough.
    pub(super) measure: fn(&Job, Meter) -> io::Result<Sample>,
}

impl Variant {
    /// One that needs no congestion control and talks to one peer.
    pub(super) const fn new(
        name: &'static str,
        serve: fn(&Job) -> io::Result<Vec<u16>>,
        measure: fn(&Job, Meter) -> io::Result<Sample>,
    ) -> Self {
        Self {
            name,
            congestion: None,
            many_peers: false,
            serve,
            measure,
        }
    }

    /// The same, with a congestion control that it needs.
    pub(super) const fn over(self, congestion: Congestion) -> Self {
        Self {
            congestion: Some(congestion),
            ..self
        }
    }

    /// The same, where it can talk to many peers at once.
    pub(super) const fn to_many_peers(self) -> Self {
        Self {
            many_peers: true,
            ..self
        }
    }
}

/// The variant that goes over IP protocol 146 and spins; it takes CAP_NET_RAW.
pub(super) const OVER_IP: &str = "homa_ip";

/// A number that the report ends in: the figure of one variant over that of another.
pub(super) struct Ratio {
    pub(super) key: &'static str,
    /// The best of these …
    pub(super) of: &'static [&'static str],
    /// … over the best of these.
    pub(super) to: &'static [&'static str],
}

/// How much goes on at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// RPCs under way.
    pub(super) outstanding: usize,
    /// Addresses of the server.
    pub(super) peers: u8,
}

/// What is to be done in a turn.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Task {
    /// What the suite does.
    Compare,
    /// A part of `bench mix`.
    Mix(mix::Task),
}

/// What a process of a benchmark is told.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Job {
    pub(super) suite: String,
    pub(super) variant: String,
    /// The processors to stay on.
    pub(super) cpus: Vec<usize>,
    /// What the server binds to.
    pub(super) listen: IpAddr,
    /// Where the client finds it: one address for each peer.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) turn: Turn,
    pub(super) clocks: Clocks,
    /// Bytes of a message.
    pub(super) message_bytes: usize,
    /// RPCs under way at once.
    pub(super) outstanding: usize,
    pub(super) task: Task,
}

impl Suite {
    /// The variant of that name.
    pub(super) fn variant(&self, name: &str) -> Option<&'static Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }
}

impl Job {
    /// The server, for clients that talk to one.
    pub(super) fn server(&self) -> SocketAddr {
        self.servers[0]
    }
}

impl Ratio {
    /// A ratio with that key.
    pub(super) const fn of(
        key: &'static str,
        of: &'static [&'static str],
        to: &'static [&'static str],
    ) -> Self {
        Self { key, of, to }
    }
}
