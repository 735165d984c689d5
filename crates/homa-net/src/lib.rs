//! Datagrams in and out, in batches, on Linux.
//!
//! This crate decides how bytes reach the network with the fewest system calls. It knows nothing
//! of Homa: not a header, not a timer, not what a datagram means.
//!
//! [`Link`] is what a host needs of a datagram network.
#![cfg(target_os = "linux")]

mod link;

pub use link::{
    Capabilities, Counters, Link, MAX_BATCH_BYTES, MAX_SEGMENTS, OFFENDING_MAX_BYTES, Received,
    Refusal, Transmit, Undeliverable, Unreachable,
};
