//! What several tests need: messages whose bytes can be checked, and a server that echoes.
#![allow(dead_code, reason = "no test uses all of it")]

use core::net::SocketAddr;
use core::time::Duration;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use homa::blocking::Server;
use homa::{Builder, Config, Host, faults};

/// A message of `length` bytes that no other `seed` has.
pub(crate) fn message(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64*: any generator whose bytes differ from offset to offset would do.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// What the echo server answers to `request`: another message, so that a client that is handed its
/// own request notices.
pub(crate) fn answer(request: &[u8]) -> Vec<u8> {
    request.iter().map(|byte| byte ^ 0x5a).collect()
}

/// A server that answers every request in one thread, until it is closed.
pub(crate) struct Echo {
    pub(crate) host: Host,
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    thread: Option<JoinHandle<u64>>,
}

impl Echo {
    pub(crate) fn new(host: Host, address: &str) -> Self {
        let server = Server::bind_on(&host, address).unwrap();
        let own = server.clone();
        let thread = thread::spawn(move || {
            let mut count = 0;
            while let Ok(request) = own.recv() {
                count += 1;
                // A client that has gone is no concern of the server.
                let _ = request.responder.reply(&answer(&request.message));
            }
            count
        });
        Self {
            address: server.local_addr(),
            host,
            server,
            thread: Some(thread),
        }
    }

    /// On a host of its own, on the loopback.
    pub(crate) fn plain() -> Self {
        Self::new(Host::builder().build().unwrap(), "127.0.0.1:0")
    }

    /// Closes the server and returns how many requests it received.
    pub(crate) fn stop(mut self) -> u64 {
        self.server.close();
        self.thread.take().unwrap().join().unwrap()
    }
}

/// A host whose arriving packets are lost, overtaken and doubled.
pub(crate) fn faulty(seed: u64) -> Builder {
    with_faults(Host::builder(), seed)
}

/// One packet in ten lost, one overtaken, one doubled.
pub(crate) fn with_faults(builder: Builder, seed: u64) -> Builder {
    builder.faults(faults::Config {
        drop_millionths: 100_000,
        reorder_millionths: 100_000,
        duplicate_millionths: 100_000,
        seed,
    })
}

/// A host that takes messages of `bytes`.
pub(crate) fn sized(bytes: u32) -> Builder {
    Host::builder().config(Config {
        max_message_bytes: bytes,
        receive_budget_bytes: 8 * u64::from(bytes),
        ..Config::user_space()
    })
}

/// Whether `condition` holds within twenty seconds. It asks again at every change of the clock it can
/// see, and fails rather than hangs.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if condition() {
            return true;
        }
        thread::yield_now();
    }
    false
}

/// Bytes of receive budget and RPCs that a host still holds.
pub(crate) fn held(host: &Host) -> (u32, u32, u64) {
    let usage = host.usage().unwrap();
    (
        usage.client_rpcs,
        usage.server_rpcs,
        usage.budget_used_bytes,
    )
}
