//! A workload as traffic between a client and a server, over Homa, TCP and QUIC: what `demo`,
//! `lab` and `bench mix` have in common.

pub(crate) mod client;
mod frame;
pub(crate) mod homa;
pub(crate) mod plan;
mod poller;
#[cfg_attr(not(feature = "rivals"), path = "no_quic.rs")]
pub(crate) mod quic;
pub(crate) mod tally;
pub(crate) mod tcp;
pub(crate) mod transport;

pub(crate) use poller::SPIN;

/// What every UDP socket of ours asks for in each direction, as Homa's do.
pub(crate) const UDP_BUFFER_BYTES: usize = 4 << 20;
