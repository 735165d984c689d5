//! One variant's turn: round trips one after the other, timed, and checked to be echoes.

use core::time::Duration;
use std::io::{self, ErrorKind};
use std::thread;
use std::time::Instant;

use hdrhistogram::Histogram;

use super::MESSAGE_BYTES;
use crate::runtime;

/// How long a turn lasts, the warm-up included.
pub(super) const TURN: Duration = Duration::from_millis(250);

/// Round trips at the beginning that do not count: caches, clocks and routes settle.
const WARM_UP: Duration = Duration::from_millis(50);

/// A response that takes longer is lost.
pub(super) const RESPONSE_MAX: Duration = Duration::from_secs(1);

/// A turn under way, and what it found out.
pub(super) struct Turn {
    begin: Instant,
    request_sent: Instant,
    count: u64,
    latency_ns: Histogram<u64>,
}

impl Turn {
    /// Begins.
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        let highest = 2 * RESPONSE_MAX.as_nanos() as u64;
        let latency_ns = Histogram::new_with_max(highest, 3).expect("the range is valid");
        Self {
            begin: now,
            request_sent: now,
            count: 0,
            latency_ns,
        }
    }

    /// The next request, whose time runs from here; `None` when the turn is over.
    pub(super) fn request(&mut self) -> Option<[u8; MESSAGE_BYTES]> {
        let mut message = [0x5a; MESSAGE_BYTES];
        self.count += 1;
        message[..8].copy_from_slice(&self.count.to_be_bytes());
        self.request_sent = Instant::now();
        (self.request_sent - self.begin < TURN).then_some(message)
    }

    /// Its response has come.
    ///
    /// # Errors
    /// The response is not the request.
    pub(super) fn response(&mut self, request: &[u8], response: &[u8]) -> io::Result<()> {
        let latency = self.request_sent.elapsed();
        if request != response {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "a response is not its request",
            ));
        }
        if self.request_sent - self.begin >= WARM_UP {
            self.latency_ns.saturating_record(latency.as_nanos() as u64);
        }
        Ok(())
    }

    /// The latency, in µs, that `quantile` (0 to 1) of the round trips did not pass.
    pub(super) fn micros(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// Tries an operation until it no longer would block, at most until `RESPONSE_MAX` is over.
pub(super) fn spin<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return done,
        }
        if started.elapsed() > RESPONSE_MAX {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

/// The same for a server, which waits for as long as it takes.
pub(super) fn spin_patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

/// Runs the turn of an asynchronous client, which has no time-outs of its own.
pub(super) fn run_in_tokio(turn: impl Future<Output = io::Result<Turn>>) -> io::Result<Turn> {
    runtime::current_thread()?.block_on(async {
        tokio::time::timeout(TURN + RESPONSE_MAX, turn)
            .await
            .map_err(io::Error::from)?
    })
}

/// Runs a server on a thread of its own. It ends with its client, or with an error that is told.
pub(super) fn spawn_server(serve: impl FnOnce() -> io::Result<()> + Send + 'static) {
    thread::spawn(|| match serve() {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            eprintln!("homa: the server of the benchmark stopped: {error}");
        }
        _ => {}
    });
}
