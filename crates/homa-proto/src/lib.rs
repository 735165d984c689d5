//! The Homa transport protocol as a value: packets, time and calls go in; packets, events and one
//! deadline come out.
//!
//! An [`Engine`] has no I/O, clock, thread, lock, float, `unsafe` or dependency, and no randomness
//! but the [`Seed`] it is handed. It moves *ranges, never bytes*: of an arriving packet it says
//! where the payload belongs, of a message to be sent which range goes next behind which header.
//! The host around it moves the bytes: over UDP, in the kernel, or, in a simulator, not at all.
//!
//! # A tour: one RPC between two engines
//!
//! ```
//! use core::net::{Ipv6Addr, SocketAddr};
//! use homa_proto::{Address, Burst, Call, Config, Engine, Event, Instant, Path, Seed};
//!
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! let address = |host, port| Address::from(SocketAddr::from(([10, 0, 0, host], port)));
//! let now = Instant::from_nanos(1_000);
//! let mut client = Engine::new(Config::default(), Seed([1, 2]))?;
//! let mut server = Engine::new(Config::default(), Seed([3, 4]))?;
//! let ours = client.open_socket(40_000, false).expect("the first socket");
//! let theirs = server.open_socket(4_000, true).expect("the first socket");
//! let local = Ipv6Addr::UNSPECIFIED;
//!
//! // The application speaks: a request of 11 bytes, which stay with the host under `rpc`.
//! let rpc = client
//!     .call(now, Call {
//!         path: Path { socket: ours, peer: address(2, 4_000), local },
//!         dest_port: 4_000,
//!         length: 11,
//!         segment_bytes: 1_400,
//!         deadline: None,
//!         idempotent: false,
//!     })
//!     .expect("there is room");
//!
//! // The engine answers what goes next: a header, and which bytes follow it.
//! let mut burst = Burst::new()?;
//! assert!(client.poll_transmit(now, &mut burst));
//! let packet = burst.packets().next().expect("a burst is never empty");
//! assert_eq!(packet.payload.expect("DATA has payload").length, 11);
//!
//! // The world speaks: the packet arrives. The host stores its payload and commits.
//! let path = Path { socket: theirs, peer: address(1, 40_000), local };
//! let placement = server
//!     .handle_packet(now, path, packet.header, packet.length() as u32)
//!     .expect("new bytes have a place");
//! assert_eq!((placement.place().offset, placement.place().message_length), (0, 11));
//! placement.commit();
//! assert!(matches!(server.poll_event(), Some(Event::Request { length: 11, .. })));
//!
//! // And when to come back, and why.
//! let (_wake, _reason) = client.poll_timeout().expect("a request is under way");
//! assert!(client.abort(now, rpc));
//! # Ok(())
//! # }
//! ```
//!
//! Rules for a host: after any call that changes the engine, drain
//! [`poll_transmit`](Engine::poll_transmit), then [`poll_event`](Engine::poll_event), and call
//! [`handle_timeout`](Engine::handle_timeout) when the moment of
//! [`poll_timeout`](Engine::poll_timeout) has come; give every received message's bytes back with
//! [`give_back`](Engine::give_back) once its buffer is free.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

mod ack;
mod address;
mod api;
mod application;
mod budget;
mod burst;
mod chunks;
mod complete;
mod config;
mod control;
mod counters;
mod cutoffs;
mod distance;
mod end;
mod engine;
mod flight;
mod grant;
mod hash;
mod heap;
mod host;
mod inbound;
mod inspect;
mod learner;
mod list;
mod outbound;
mod outbox;
mod owed;
mod pacer;
mod patience;
mod peer;
mod progress;
mod ranges;
mod receive;
mod rpc;
mod slab;
mod srpt;
mod time;
mod tombstone;
mod transmit;
mod turn;
mod wheel;
pub mod wire;

pub use ack::ForeignAck;
pub use address::{Address, Path, SocketId};
pub use api::{
    Call, CallError, Event, Failure, OutOfMemory, Reason, ReplyError, RpcKey, Seed, Unreachable,
    Usage,
};
pub use burst::{Burst, BurstPacket, MAX_BURST_PACKETS, Payload};
pub use config::{Config, ConfigError, REFERENCE_CUTOFFS};
pub use counters::Counters;
pub use engine::Engine;
pub use host::{HostView, Report, Urgency};
pub use inspect::{PeerView, ReceivingView, RpcView, SendingView, SocketView, Stage};
pub use learner::Sample;
pub use receive::{Place, Placement};
pub use time::Instant;
