//! A workload as traffic between a client and a server, over Homa and over TCP: what `demo` and
//! `bench mix` have in common.

pub(crate) mod client;
mod frame;
pub(crate) mod homa;
pub(crate) mod plan;
mod poller;
pub(crate) mod tally;
pub(crate) mod tcp;
pub(crate) mod transport;

pub(crate) use poller::SPIN;
