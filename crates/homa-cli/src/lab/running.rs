//! The fabric in real time: a thread of real-time priority that reads every TUN device, and writes
//! to it what has arrived.

use core::time::Duration;
use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Instant;

use hdrhistogram::Histogram;
use homa_net::tun::Tun;
use homa_sim::SwitchCounters;
use nix::time::{ClockId, clock_gettime};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

use super::fabric::Fabric;

/// Room for the longest packet that a device gives.
const BUFFER_BYTES: usize = 2048;

/// Waking up takes about this long, so that the rest of a wait is spent looking again and again.
const SPIN: Duration = Duration::from_micros(5);

/// How long the thread sleeps without looking at whether it is to end.
const SLEEP_MAX: Duration = Duration::from_millis(5);

/// What the fabric did in a span of time.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Span {
    pub(super) forwarded: u64,
    pub(super) dropped: u64,
    pub(super) buffer_max_bytes: u64,
    /// Bytes that wait in the switch at its end.
    pub(super) held_bytes: u64,
    /// Packets that a host refused: its device was down, or the system out of memory.
    pub(super) refused: u64,
    /// How much later than planned packets were delivered.
    pub(super) late_p50_us: f64,
    pub(super) late_p99_us: f64,
    /// CPU time over time.
    pub(super) cpu: f64,
}

/// A running fabric. Dropping it ends the thread.
pub(super) struct Running {
    ask: Option<Sender<Sender<Span>>>,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
    /// Whether the thread runs before all others.
    pub(super) is_real_time: bool,
}

impl Running {
    /// Starts the thread.
    pub(super) fn start(fabric: Fabric, tuns: Vec<Tun>) -> io::Result<Self> {
        let (ask, asked) = channel();
        let (tell, told) = channel();
        let thread = thread::Builder::new().spawn(move || {
            // Whoever started this waits for it.
            let _ = tell.send(become_real_time());
            Shell::new(fabric, tuns, asked).run()
        })?;
        Ok(Self {
            ask: Some(ask),
            thread: Some(thread),
            is_real_time: told.recv().map_err(io::Error::other)?,
        })
    }

    /// What happened since this was asked last; counting begins anew.
    pub(super) fn span(&self) -> io::Result<Span> {
        let (tell, told) = channel();
        let ask = self.ask.as_ref().expect("it is there until the end");
        ask.send(tell).map_err(io::Error::other)?;
        told.recv().map_err(io::Error::other)
    }

    /// Waits until nothing waits in the switch; counting begins anew.
    pub(super) fn settle(&self) -> io::Result<()> {
        while self.span()?.held_bytes > 0 {
            thread::sleep(SLEEP_MAX);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            // An error was told to whoever asked for a span in vain.
            let _ = thread.join();
        }
    }
}

fn become_real_time() -> bool {
    let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, fifo).is_ok()
}

/// What the thread has.
struct Shell {
    fabric: Fabric,
    tuns: Vec<Tun>,
    asked: Receiver<Sender<Span>>,
    start: Instant,
    buffer: Vec<u8>,
    late_ns: Histogram<u64>,
    refused: u64,
    span_began: Instant,
    cpu_before: Duration,
}

impl Shell {
    fn new(fabric: Fabric, tuns: Vec<Tun>, asked: Receiver<Sender<Span>>) -> Self {
        let now = Instant::now();
        Self {
            fabric,
            tuns,
            asked,
            start: now,
            buffer: vec![0; BUFFER_BYTES],
            late_ns: Histogram::new_with_max(10_000_000_000, 3).expect("the range is valid"),
            refused: 0,
            span_began: now,
            cpu_before: Duration::ZERO,
        }
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            match self.asked.try_recv() {
                Ok(tell) => {
                    let span = self.span()?;
                    // Whoever asked may have gone.
                    let _ = tell.send(span);
                }
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            let taken = self.take()?;
            let given = self.give();
            if !taken && !given {
                self.sleep()?;
            }
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Takes packets from every host whose uplink should have more; whether there was any.
    fn take(&mut self) -> io::Result<bool> {
        let (now, mut any) = (self.now(), false);
        for (host, tun) in self.tuns.iter().enumerate() {
            if self.fabric.uplink_free_at(host) > now {
                continue;
            }
            while self.fabric.uplink_has_room(now, host) {
                match tun.receive(&mut self.buffer) {
                    Ok(count) => self.fabric.handle_packet(now, host, &self.buffer[..count]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
                any = true;
            }
        }
        Ok(any)
    }

    /// Gives hosts what has arrived there; whether there was any.
    fn give(&mut self) -> bool {
        let (now, mut any) = (self.now(), false);
        while let Some((host, at, bytes)) = self.fabric.poll(now) {
            self.late_ns.saturating_record(now - at);
            self.refused += u64::from(self.tuns[host].send(bytes).is_err());
            any = true;
        }
        any
    }

    /// Waits for a packet or for the time of the next event.
    fn sleep(&self) -> io::Result<()> {
        let now = self.now();
        let uplinks = (0..self.tuns.len()).map(|host| self.fabric.uplink_free_at(host));
        let busy = uplinks.clone().filter(|free_at| *free_at > now).min();
        let next = self.fabric.poll_timeout().into_iter().chain(busy).min();
        let wait = next.map_or(SLEEP_MAX, |at| Duration::from_nanos(at.saturating_sub(now)));
        let Some(wait) = wait.min(SLEEP_MAX).checked_sub(SPIN) else {
            return Ok(());
        };
        let hosts = self.tuns.iter().zip(uplinks);
        let free = hosts.filter(|(_, free_at)| *free_at <= now);
        let mut watched: Vec<_> = free
            .map(|(tun, _)| PollFd::new(tun, PollFlags::IN))
            .collect();
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: wait.subsec_nanos().into(),
        };
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn span(&mut self) -> io::Result<Span> {
        let cpu: Duration = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into();
        let SwitchCounters {
            forwarded,
            dropped,
            buffer_max_bytes,
            ..
        } = self.fabric.counters();
        let micros = |quantile| self.late_ns.value_at_quantile(quantile) as f64 / 1e3;
        let span = Span {
            forwarded,
            dropped,
            buffer_max_bytes,
            held_bytes: self.fabric.held_bytes(),
            refused: self.refused,
            late_p50_us: micros(0.5),
            late_p99_us: micros(0.99),
            cpu: (cpu - self.cpu_before).as_secs_f64() / self.span_began.elapsed().as_secs_f64(),
        };
        self.late_ns.reset();
        self.fabric.restart();
        (self.refused, self.cpu_before, self.span_began) = (0, cpu, Instant::now());
        Ok(span)
    }
}
