//! The virtual network: any number of simulated hosts, each round the unchanged engine of
//! `homa-proto`, deterministic from a seed.
//!
//! [`World`] moves time from event to event. Links, switches and faults have one shape: a packet
//! goes in with its time, and what comes out is polled for or answered with its time. No payload
//! exists; a packet carries the true message and offset of its bytes beside the header, so that
//! laws can tell whether the right bytes arrived.
#![forbid(unsafe_code)]

mod agent;
mod capture;
mod events;
pub mod fault;
pub mod figures;
mod host;
mod laws;
mod link;
mod network;
mod packet;
mod random;
pub mod swarm;
mod switch;
mod topology;
mod workload;
mod world;

pub use agent::{Agent, Drop, Leaving, Seen};
pub use host::{Context, ENGINES_MAX, HostConfig, SocketConfig, address, host_at};
pub use laws::Violation;
pub use link::{Link, LinkConfig};
pub use packet::{HEADER_MAX_BYTES, NO_MESSAGE, Packet};
pub use random::Random;
pub use switch::{BufferConfig, Departure, PortCounters, Switch, SwitchCounters};
pub use topology::{BadTopology, HOSTS_MAX_COUNT, Shape, Spread, Topology};
pub use workload::{BadWorkload, Workload};
pub use world::{BadWorld, PACKET_OVERHEAD_BYTES, World};
