//! The Homa transport protocol as a value.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

mod ack;
mod address;
mod api;
mod budget;
mod burst;
mod chunks;
mod config;
mod counters;
mod cutoffs;
mod engine;
mod grant;
mod hash;
mod heap;
mod inbound;
mod list;
mod outbound;
mod outbox;
mod pacer;
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
mod wheel;
pub mod wire;

pub use address::{Address, Path, SocketId};
pub use api::{
    Call, CallError, Event, Failure, Reason, ReplyError, RpcKey, Seed, Unreachable, Usage,
};
pub use burst::{Burst, BurstPacket, MAX_BURST_PACKETS, Payload};
pub use config::{Config, ConfigError};
pub use counters::Counters;
pub use engine::Engine;
pub use receive::{Place, Placement};
pub use time::Instant;
