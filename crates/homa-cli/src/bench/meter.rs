//! What a client measures in its turn: a warm-up that does not count, then a window that does.

use core::time::Duration;
use std::io::{self, ErrorKind};
use std::time::Instant;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::clocks::{Clocks, Reading, Usage};
use super::mix;

/// A response that takes longer is lost.
pub(super) const RESPONSE_MAX: Duration = Duration::from_secs(3);

/// How long a turn lasts.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Turn {
    /// Caches, clocks, routes and congestion windows settle.
    pub(super) warm_up: Duration,
    /// What counts.
    pub(super) window: Duration,
}

/// What one turn found out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Sample {
    /// Length of the window.
    pub(super) seconds: f64,
    /// RPCs that ended in it.
    pub(super) rpcs: u64,
    /// Payload bytes that arrived in it, as far as the client has heard.
    pub(super) bytes: u64,
    /// Latency; 0 where only the rate was measured.
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) usage: Usage,
    /// What a turn of `bench mix` found out beside that.
    pub(super) mixed: Option<mix::Found>,
}

/// A turn under way.
pub(super) struct Meter {
    turn: Turn,
    clocks: Clocks,
    begun: Instant,
    start: Option<Reading>,
    end: Option<Reading>,
    rpcs: u64,
    bytes: u64,
    latency_ns: Histogram<u64>,
    /// A clock that cannot be read ends the turn.
    problem: Option<io::Error>,
}

impl Meter {
    /// Begins the warm-up.
    pub(super) fn begin(turn: Turn, clocks: Clocks) -> Self {
        let highest = 2 * RESPONSE_MAX.as_nanos() as u64;
        Self {
            turn,
            clocks,
            begun: Instant::now(),
            start: None,
            end: None,
            rpcs: 0,
            bytes: 0,
            latency_ns: Histogram::new_with_max(highest, 3).expect("the range is valid"),
            problem: None,
        }
    }

    /// Whether to go on; asked often, because here the window begins and ends.
    pub(super) fn goes_on(&mut self) -> bool {
        if self.end.is_some() || self.problem.is_some() {
            return false;
        }
        let now = Instant::now();
        match &self.start {
            None if now - self.begun >= self.turn.warm_up => {
                self.start = self.read();
                (self.rpcs, self.bytes) = (0, 0);
                self.latency_ns.reset();
            }
            Some(start) if now - start.at >= self.turn.window => {
                self.end = self.read();
                return false;
            }
            _ => {}
        }
        true
    }

    fn read(&mut self) -> Option<Reading> {
        let reading = self.clocks.read();
        reading.map_err(|error| self.problem = Some(error)).ok()
    }

    /// Begins the window now, for a turn that knows better when its warm-up is over.
    ///
    /// # Errors
    /// A clock cannot be read.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.start = Some(self.clocks.read()?);
        Ok(())
    }

    /// Ends the window now.
    ///
    /// # Errors
    /// A clock cannot be read.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.end = Some(self.clocks.read()?);
        Ok(())
    }

    /// RPCs have ended, that carried so many bytes.
    pub(super) const fn count(&mut self, rpcs: u64, bytes: u64) {
        if self.end.is_none() {
            self.rpcs += rpcs;
            self.bytes += bytes;
        }
    }

    /// An RPC has ended that took so long.
    pub(super) fn round_trip(&mut self, latency: Duration, bytes: u64) {
        self.count(1, bytes);
        self.latency_ns.saturating_record(latency.as_nanos() as u64);
    }

    /// What was found out.
    ///
    /// # Errors
    /// The turn was not finished, or nothing happened in it.
    pub(super) fn finish(self) -> io::Result<Sample> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let (Some(start), Some(end)) = (&self.start, &self.end) else {
            return Err(io::Error::other("the turn ended before its time"));
        };
        if self.rpcs == 0 && self.bytes == 0 {
            return Err(io::Error::new(ErrorKind::TimedOut, "nothing was answered"));
        }
        let micros = |quantile| self.latency_ns.value_at_quantile(quantile) as f64 / 1000.0;
        Ok(Sample {
            seconds: (end.at - start.at).as_secs_f64(),
            rpcs: self.rpcs,
            bytes: self.bytes,
            p50_us: micros(0.5),
            p99_us: micros(0.99),
            usage: self.clocks.usage(start, end),
            mixed: None,
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::placement::Placement;

    fn meter(warm_up: Duration) -> Meter {
        let clocks = Clocks {
            server: std::process::id() as i32,
            ..Clocks::of_conductor(Placement::pair())
        };
        let window = Duration::from_millis(1);
        Meter::begin(Turn { warm_up, window }, clocks)
    }

    #[test]
    fn what_happens_in_the_warm_up_or_after_the_end_does_not_count() {
        let mut meter = meter(Duration::from_millis(1));
        let mut before = 0;
        while meter.goes_on() && meter.start.is_none() {
            meter.count(1, 10);
            before += 1;
        }
        assert!(before > 0);
        meter.round_trip(Duration::from_micros(7), 100);
        while meter.goes_on() {}
        meter.count(1, 10);
        let sample = meter.finish().unwrap();
        assert_eq!((sample.rpcs, sample.bytes), (1, 100));
        assert!((sample.p50_us - 7.0).abs() < 0.01 && sample.seconds >= 0.001);
    }

    #[test]
    fn a_turn_without_answers_is_an_error() {
        let mut idle = meter(Duration::ZERO);
        while idle.goes_on() {}
        assert_eq!(idle.finish().unwrap_err().kind(), ErrorKind::TimedOut);
        let unfinished = meter(Duration::ZERO);
        assert!(unfinished.finish().is_err());
    }
}
