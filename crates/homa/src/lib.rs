//! Homa for applications: remote procedure calls whose short messages stay fast while the network
//! is full.
//!
//! A *client* sends a request to a server and gets one response; a *server* receives requests and
//! must answer each. There are no connections: one client calls any number of servers, in any
//! order, and its calls do not wait for each other. Each request runs at most once in a server's
//! life.
//!
//! ```
//! use homa::{Client, Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A server.
//! let server = Server::bind("127.0.0.1:0").await?;
//! let address = server.local_addr();
//! tokio::spawn(async move {
//!     while let Ok(request) = server.recv().await {
//!         tokio::spawn(async move {
//!             let answer = request.message.to_ascii_uppercase();
//!             // The only errors are about clients that have gone.
//!             let _ = request.responder.reply(&answer).await;
//!         });
//!     }
//! });
//!
//! // A client.
//! let client = Client::new()?;
//! let response = client.call(address, b"hello").await?;
//! assert_eq!(*response, *b"HELLO");
//! # Ok(())
//! # }
//! ```
//!
//! - [`blocking`] is the same for threads.
//! - [`Message`] is a view of the bytes received; dropping it makes room for more.
//! - [`CallError`] says why there is no response, who is to blame, and whether the request may
//!   have run.
//! - [`CallOptions`] sets a deadline; [`Host::builder`] sets everything else, and lets several
//!   clients and servers share one send queue and one set of grants.
//!
//! With `HOMA_CAPTURE=FILE` in its environment every program on this library writes its packets to
//! FILE, as pcapng ([`Builder::capture`] does so from inside). `homa dump` and Wireshark read it.
//!
//! With `HOMA_INSPECT=1` there ([`Builder::inspectable`]), `homa ss` shows what such a program has under
//! way.
//!
//! Over UDP, by default, no privileges are needed. [`LinkKind::Ip`] speaks with Homa in kernels.
#![forbid(unsafe_code)]

mod arriving;
pub mod blocking;
mod budget;
mod calls;
mod capture;
#[cfg(feature = "tokio")]
mod client;
mod clock;
mod closing;
mod counters;
mod driver;
pub mod error;
mod group;
mod hold;
mod host;
mod incoming;
pub mod inspect;
mod links;
mod messages;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(all(test, homa_model))]
mod model;
mod options;
mod outgoing;
mod parties;
mod pool;
mod requests;
mod routes;
#[cfg(feature = "tokio")]
mod runtime;
mod seat;
#[cfg(feature = "tokio")]
mod server;
mod shared;
mod slab;
mod spin;
mod state;
mod stock;
mod sync;
mod timer;
mod waiting;

#[cfg(feature = "tokio")]
pub use arriving::tasks::Arriving;
pub use calls::{Completion, Submission};
#[cfg(feature = "tokio")]
pub use client::{Client, Pending};
pub use counters::{Counters, HostCounters};
pub use error::{BindError, Blame, CallError, RecvError, ReplyError};
pub use homa_net::{
    Ahead, Capabilities, Counters as LinkCounters, Framing, Laid, Link, LinkKind, Received,
    Refusal, Transmit, Undeliverable, Unreachable, faults, memory, sniff, udp,
};
pub use homa_proto::{Config, Counters as EngineCounters, Usage};
pub use host::Host;
pub use options::{Builder, CallOptions, default_config};
pub use pool::Message;
#[cfg(feature = "tokio")]
pub use server::{Request, Responder, Server};
pub use shared::Source;

/// The examples of the README, so that they stay true.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// Those of the tour.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/tour.md")]
struct Tour;
