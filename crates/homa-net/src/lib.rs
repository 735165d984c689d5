//! Datagrams in and out, in batches, on Linux.
//!
//! This crate decides how bytes reach the network with the fewest system calls. It knows nothing
//! of Homa: not a timer, not what a datagram means; of a header no more than the two ports and the
//! checksum, and those only where IP carries the datagram itself.
//!
//! [`Link`] is what a host needs of a datagram network. [`Udp`](udp::Udp) is the one that works on
//! every machine, [`Ip`](ip::Ip) and [`Tunnel`](tunnel::Tunnel) reach Homa in kernels, [`Memory`](memory::Memory) joins two hosts in one process, and
//! [`Faults`](faults::Faults) wraps either to lose, reorder and duplicate datagrams on purpose.
//! [`KernelSocket`](kernel::KernelSocket) is no link: there the kernel speaks Homa itself.
//! [`wait`](mod@wait) sleeps until a link has something to do. [`Tun`](tun::Tun) is a network device
//! with a process at its other end, for those who build networks.
//!
//! ```
//! use core::time::Duration;
//! use homa_net::udp::{Options, Udp};
//! use homa_net::wait::{Watch, wait};
//! use homa_net::{Link, Transmit};
//! use std::io::IoSlice;
//!
//! let mut here = Udp::bind("127.0.0.1:0".parse()?, &Options::default())?;
//! let mut there = Udp::bind("127.0.0.1:0".parse()?, &Options::default())?;
//!
//! let datagram = Transmit {
//!     to: there.local_addr(),
//!     from: None,
//!     traffic_class: 0,
//!     segment_bytes: None,
//!     slices: &[IoSlice::new(b"hello, "), IoSlice::new(b"world")],
//! };
//! let sent = here.send(&[datagram], &mut |_, refusal| panic!("{refusal}"));
//! assert_eq!(sent, 1);
//!
//! wait(&mut [Watch::readable(there.fd())], Some(Duration::from_secs(1)))?;
//! let mut text = Vec::new();
//! there.receive(&mut |received| text.extend_from_slice(received.bytes))?;
//! assert_eq!(text, b"hello, world");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg(target_os = "linux")]

mod ahead;
pub mod faults;
mod inbox;
pub mod ip;
pub mod kernel;
mod kind;
mod link;
pub mod memory;
mod outcome;
mod ports;
pub mod sniff;
mod sys;
pub mod tun;
pub mod tunnel;
pub mod udp;
pub mod wait;
mod zeroed;

pub use ahead::{Ahead, Laid};
pub use kind::{LinkKind, UnknownLink};
pub use link::{
    Capabilities, Counters, Framing, Link, MAX_BATCH_BYTES, MAX_SEGMENTS, OFFENDING_MAX_BYTES,
    Received, Refusal, Transmit, Undeliverable, Unreachable,
};
pub use zeroed::zeroed;
