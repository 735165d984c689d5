//! The API for threads: everything blocks until it is done.
//!
//! A thread that waits drives the protocol itself: it polls the sockets for a moment
//! ([`Builder::spin`](crate::Builder::spin)), then sleeps until something comes. While no thread
//! waits, a background thread keeps what is under way going.
//!
//! ```
//! use homa::blocking::{Client, Server};
//!
//! let server = Server::bind("127.0.0.1:0")?;
//! let address = server.local_addr();
//! std::thread::spawn(move || {
//!     while let Ok(request) = server.recv() {
//!         let answer = request.message.to_ascii_uppercase();
//!         // The only errors are about clients that have gone.
//!         let _ = request.responder.reply(&answer);
//!     }
//! });
//!
//! let client = Client::new()?;
//! assert_eq!(*client.call(address, b"hello")?, *b"HELLO");
//!
//! // Many at once: each handle gets its own response …
//! let pending: Vec<_> = (0..100).map(|_| client.start(address, b"x")).collect::<Result<_, _>>()?;
//! for call in pending {
//!     assert_eq!(*call.wait()?, *b"X");
//! }
//! // … or whoever asks next gets the next one that is over.
//! client.submit(address, b"y", 7)?;
//! let done = client.next_completion(None)?.expect("waits as long as it takes");
//! assert_eq!((done.cookie, &*done.result?), (7, &b"Y"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arriving;
mod client;
mod server;

pub use arriving::Arriving;
pub use client::{Client, Pending};
pub use server::{Request, Responder, Server};
