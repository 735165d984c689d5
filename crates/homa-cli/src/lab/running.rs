//! The fabric in real time: a thread that reads every TUN device, and writes to it what has arrived.
//!
//! *Design*: on a processor of its own it never sleeps while packets are on their way. In a virtual
//! machine a packet cost it 13 to 26 µs with sleep between packets, most of that for timers and
//! wake-ups, and 5 without. Where others cannot be kept off that processor it runs before them, and
//! short naps leave a twentieth to whoever else is there, as the kernel demands of who has that right; a
//! scheduling deadline instead of a priority lets the kernel move the thread among the hosts. What a
//! packet causes at its host (TCP's next packets are made while its acknowledgement is handed in) is
//! done by the hosts' processors, see [`star::lay`](crate::network::star::lay).

use core::hint;
use core::time::Duration;
use std::fs;
use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Instant;

use hdrhistogram::Histogram;
use homa_net::tun::Tun;
use homa_sim::SwitchCounters;
use nix::sys::resource::{UsageWho, getrusage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use super::fabric::Fabric;
use super::placement::Placement;
use crate::cpu;

/// Room for the longest packet that a device gives.
const BUFFER_BYTES: usize = 2048;

/// On a processor of its own it looks again and again, until nothing has come or left for so long;
/// alone there, also while anything is on its way.
const SPIN: Duration = Duration::from_millis(1);

/// Packets that are taken from a host before the next one has its turn.
const TAKEN_MAX: usize = 64;

/// Where it runs before others it owes them one part in so many of its time. From a real-time thread that leaves less
/// than a twentieth of a second, the kernel takes the rest of it at a stretch, in favour of others or
/// of nobody.
const OTHERS_PART: u64 = 15;

/// It pays in naps, whenever nothing is due meanwhile, and in any case when it owes so much.
const NAP: Duration = Duration::from_micros(20);
const OWED_MAX: Duration = Duration::from_millis(2);

/// How long a nap takes in a virtual machine, with falling asleep and waking up.
const NAP_TAKES: Duration = Duration::from_micros(90);

/// What it slept longer than it owed counts up to here: the kernel reckons by the second.
const SAVED_MAX: Duration = Duration::from_millis(5);

/// Elsewhere it sleeps, and as waking up takes about this long, it does so before the time.
const EARLY: Duration = Duration::from_micros(5);

/// How long the thread sleeps without looking at whether it is to end.
const SLEEP_MAX: Duration = Duration::from_millis(5);

/// A look that takes longer makes packets late.
const STALL: Duration = Duration::from_micros(100);

/// What the switch did in a span of time; the kernel's own has 0 for what it does not tell.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Span {
    pub(super) forwarded: u64,
    pub(super) dropped: u64,
    /// Packets that found no room at the uplink of their host.
    pub(super) uplinks_dropped: u64,
    pub(super) buffer_max_bytes: u64,
    /// Bytes that wait in the switch and at the uplinks at its end.
    pub(super) held_bytes: u64,
    /// Packets that a host refused: its device was down, or the system out of memory.
    pub(super) refused: u64,
    /// How much later than planned packets were delivered.
    pub(super) late_p50_us: f64,
    pub(super) late_p99_us: f64,
    /// Share of the time in which it had something to do.
    pub(super) busy: f64,
    /// What kept it from its next look for longer than [`STALL`], in microseconds together: taking
    /// packets from hosts, giving them to hosts, and being away from its processor between the two;
    /// and the longest of all.
    pub(super) taking_us: f64,
    pub(super) giving_us: f64,
    pub(super) away_us: f64,
    pub(super) longest_us: f64,
    /// Times that it was taken from its processor.
    pub(super) preempted: u64,
    /// What a hypervisor took from all processors together, in milliseconds.
    pub(super) stolen_ms: f64,
}

/// How the thread has its processor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Standing {
    /// Alone: all others run elsewhere.
    Alone,
    /// Before all others.
    First,
    /// As any other.
    Any,
    /// It is no thread, but the kernel itself.
    Kernel,
}

/// A running fabric. Dropping it ends the thread.
pub(super) struct Running {
    ask: Option<Sender<Sender<Span>>>,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
    pub(super) standing: Standing,
}

impl Running {
    /// Starts the thread; `is_alone` says whether others are kept off its processor.
    pub(super) fn start(
        fabric: Fabric,
        tuns: Vec<Tun>,
        placement: &Placement,
        is_alone: bool,
    ) -> io::Result<Self> {
        let (ask, asked) = channel();
        let (tell, told) = channel();
        let placement = placement.clone();
        let thread = thread::Builder::new().spawn(move || {
            let place = take_place(&placement, is_alone);
            // Whoever started this waits for it.
            let _ = tell.send(place.standing);
            Shell::new(fabric, tuns, asked, place).run()
        })?;
        Ok(Self {
            ask: Some(ask),
            thread: Some(thread),
            standing: told.recv().map_err(io::Error::other)?,
        })
    }

    /// What happened since this was asked last; counting begins anew.
    pub(super) fn span(&self) -> io::Result<Span> {
        let (tell, told) = channel();
        let ask = self.ask.as_ref().expect("it is there until the end");
        ask.send(tell).map_err(io::Error::other)?;
        told.recv().map_err(io::Error::other)
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

/// The place of the thread among others.
#[derive(Clone, Copy)]
struct Place {
    standing: Standing,
    /// Whether the hosts run on other processors.
    is_apart: bool,
}

/// Has the calling thread take its place.
fn take_place(placement: &Placement, is_alone: bool) -> Place {
    let is_apart = placement.is_apart() && cpu::pin(&placement.switch).is_ok();
    let standing = if is_apart && is_alone {
        cpu::go_often();
        Standing::Alone
    } else if cpu::go_first() {
        Standing::First
    } else {
        Standing::Any
    };
    Place { standing, is_apart }
}

/// What the thread has.
struct Shell {
    fabric: Fabric,
    tuns: Vec<Tun>,
    asked: Receiver<Sender<Span>>,
    start: Instant,
    place: Place,
    buffer: Vec<u8>,
    late_ns: Histogram<u64>,
    refused: u64,
    busy_ns: u64,
    stalled: Stalled,
    preempted_before: u64,
    stolen_before: f64,
    span_began: u64,
}

/// What a thread owes the others of its processor; all times are nanoseconds.
#[derive(Default)]
struct Rest {
    /// When it was reckoned last: the time, and what of it the thread had the processor.
    at: u64,
    ran: u64,
    owed: i64,
}

impl Rest {
    /// The thread has slept. Not for as long as it wished to: falling asleep and waking up are work, too.
    fn slept(&mut self, now: u64, ran: u64) {
        let [passed, ran_since] = [now.saturating_sub(self.at), ran.saturating_sub(self.ran)];
        let slept = passed.saturating_sub(ran_since) as i64;
        self.owed = (self.owed_at(now) - slept).max(-(SAVED_MAX.as_nanos() as i64));
        (self.at, self.ran) = (now, ran);
    }

    /// Whether to nap, when the next thing is due at that time.
    fn is_due(&self, now: u64, next: impl FnOnce() -> Option<u64>) -> bool {
        let owed = self.owed_at(now);
        let is_due_late = || next().is_none_or(|at| at > now + NAP_TAKES.as_nanos() as u64);
        owed > OWED_MAX.as_nanos() as i64 || owed > 0 && is_due_late()
    }

    /// What it owes if it did not sleep since it was reckoned.
    fn owed_at(&self, now: u64) -> i64 {
        self.owed + (now.saturating_sub(self.at) / OTHERS_PART) as i64
    }
}

/// Nanoseconds of looks longer than [`STALL`], by what they were spent on.
#[derive(Default)]
struct Stalled {
    taking: u64,
    giving: u64,
    away: u64,
    longest: u64,
}

impl Stalled {
    /// A look ended: it began to take at `begun` after one that ended at `before`, and gave from
    /// `taken` to `end`.
    fn look(&mut self, [before, begun, taken, end]: [u64; 4]) {
        let mut stall = |from: u64, to: u64| {
            let long = to.saturating_sub(from);
            self.longest = self.longest.max(long);
            if long > STALL.as_nanos() as u64 {
                long
            } else {
                0
            }
        };
        let [away, taking, giving] = [stall(before, begun), stall(begun, taken), stall(taken, end)];
        self.away += away;
        self.taking += taking;
        self.giving += giving;
    }
}

impl Shell {
    fn new(fabric: Fabric, tuns: Vec<Tun>, asked: Receiver<Sender<Span>>, place: Place) -> Self {
        Self {
            fabric,
            tuns,
            asked,
            start: Instant::now(),
            place,
            buffer: vec![0; BUFFER_BYTES],
            late_ns: Histogram::new_with_max(10_000_000_000, 3).expect("the range is valid"),
            refused: 0,
            busy_ns: 0,
            stalled: Stalled::default(),
            preempted_before: 0,
            stolen_before: 0.0,
            span_began: 0,
        }
    }

    fn run(&mut self) -> io::Result<()> {
        let (mut active_at, mut looked_at, mut rest) = (0, 0, Rest::default());
        // When the last look began.
        let mut last = 0;
        loop {
            match self.asked.try_recv() {
                Ok(tell) => {
                    let span = self.span();
                    // Whoever asked may have gone.
                    let _ = tell.send(span);
                }
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            let begun = self.now();
            let took = self.take(since_when(last, begun))?;
            last = begun;
            let taken = self.now();
            let is_active = self.give(taken) || took;
            let end = if is_active { self.now() } else { taken };
            self.stalled.look([looked_at, begun, taken, end]);
            looked_at = end;
            if is_active {
                self.busy_ns += end - begun;
                active_at = end;
            }
            if self.may_sleep(end - active_at) {
                self.sleep()?;
                looked_at = self.now();
                last = looked_at;
                rest.slept(looked_at, cpu::ran_nanos());
            } else if self.owes() && rest.is_due(end, || self.fabric.poll_timeout()) {
                thread::sleep(NAP);
                rest.slept(self.now(), cpu::ran_nanos());
            } else {
                hint::spin_loop();
            }
        }
    }

    /// Whether to sleep when nothing came or left for so long.
    fn may_sleep(&self, idle_ns: u64) -> bool {
        let Place { standing, is_apart } = self.place;
        let has_spun = idle_ns > if is_apart { SPIN.as_nanos() as u64 } else { 0 };
        // Waking up makes late; whom it would keep from the processor is elsewhere.
        has_spun && (standing != Standing::Alone || self.fabric.poll_timeout().is_none())
    }

    /// Whether it takes time that the kernel would have it leave to others.
    fn owes(&self) -> bool {
        self.place.is_apart && self.place.standing == Standing::First
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Takes what every host sent, as of `since`; whether there was any.
    fn take(&mut self, since: u64) -> io::Result<bool> {
        let mut any = false;
        for (host, tun) in self.tuns.iter().enumerate() {
            for _ in 0..TAKEN_MAX {
                match tun.receive(&mut self.buffer) {
                    Ok(count) => {
                        self.fabric
                            .handle_packet(since, host, &self.buffer[..count]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
                any = true;
            }
        }
        Ok(any)
    }

    /// Gives hosts what has arrived there; whether there was any.
    fn give(&mut self, now: u64) -> bool {
        let mut any = false;
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
        let next = self.fabric.poll_timeout();
        let wait = next.map_or(SLEEP_MAX, |at| Duration::from_nanos(at.saturating_sub(now)));
        let Some(wait) = wait.min(SLEEP_MAX).checked_sub(EARLY) else {
            return Ok(());
        };
        let watched = self.tuns.iter();
        let mut watched: Vec<_> = watched.map(|tun| PollFd::new(tun, PollFlags::IN)).collect();
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: wait.subsec_nanos().into(),
        };
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn span(&mut self) -> Span {
        let now = self.now();
        let (preempted, stolen_ms) = (preempted_count(), stolen_ms());
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
            uplinks_dropped: self.fabric.uplinks_dropped(),
            buffer_max_bytes,
            held_bytes: self.fabric.held_bytes(),
            refused: self.refused,
            late_p50_us: micros(0.5),
            late_p99_us: micros(0.99),
            busy: self.busy_ns as f64 / (now - self.span_began).max(1) as f64,
            taking_us: self.stalled.taking as f64 / 1e3,
            giving_us: self.stalled.giving as f64 / 1e3,
            away_us: self.stalled.away as f64 / 1e3,
            longest_us: self.stalled.longest as f64 / 1e3,
            preempted: preempted - self.preempted_before,
            stolen_ms: stolen_ms - self.stolen_before,
        };
        self.late_ns.reset();
        self.fabric.restart();
        (self.refused, self.busy_ns, self.span_began) = (0, 0, now);
        (self.stalled, self.preempted_before) = (Stalled::default(), preempted);
        self.stolen_before = stolen_ms;
        span
    }
}

/// When packets came that are found at `now`, after a look that began at `before`: at present, unless
/// there was a stall. Its uplink then sent what waited: a link does not stop because its switch looks
/// elsewhere. Otherwise hosts that know its rate would give it as much as ever, and what they gave it in
/// the meantime would stand in front of it until they have nothing to send.
fn since_when(before: u64, now: u64) -> u64 {
    if now.saturating_sub(before) > STALL.as_nanos() as u64 {
        before
    } else {
        now
    }
}

/// How often the calling thread was taken from its processor.
fn preempted_count() -> u64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |used| used.involuntary_context_switches() as u64)
}

/// What a hypervisor took from all processors since the system began: the eighth number of
/// /proc/stat, in hundredths of a second.
fn stolen_ms() -> f64 {
    let all = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = all
        .split_whitespace()
        .nth(8)
        .and_then(|number| number.parse::<f64>().ok());
    ticks.unwrap_or(0.0) * 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_after_a_stall_came_when_it_began() {
        assert_eq!(since_when(1_000_000, 1_090_000), 1_090_000);
        assert_eq!(since_when(1_000_000, 54_000_000), 1_000_000);
    }

    #[test]
    fn a_thread_naps_where_nothing_is_due_and_pays_what_it_owes() {
        const MS: u64 = 1_000_000;
        let mut rest = Rest::default();
        let soon = || Some(15 * MS + 50_000);
        assert!(!rest.is_due(15 * MS, soon), "1 ms is owed");
        assert!(rest.is_due(15 * MS, || Some(15 * MS + 100_000)));
        assert!(rest.is_due(15 * MS, || None));
        assert!(rest.is_due(31 * MS, || Some(31 * MS)), "2 ms are owed");
        // Of 3 ms it was at work for 2, falling asleep.
        rest.slept(34 * MS, 33 * MS);
        assert!(rest.is_due(34 * MS, || None));
        rest.slept(36 * MS, 33 * MS);
        assert!(!rest.is_due(36 * MS, || None));
        // A long sleep is no licence to stay awake for seconds.
        rest.slept(10_000 * MS, 33 * MS);
        assert!(rest.is_due(10_080 * MS, || None));
    }

    #[test]
    fn long_looks_are_told_by_what_they_were_spent_on() {
        let mut stalled = Stalled::default();
        stalled.look([0, 150_000, 160_000, 400_000]);
        stalled.look([400_000, 500_000, 600_000, 700_000]);
        let Stalled {
            taking,
            giving,
            away,
            longest,
        } = stalled;
        assert_eq!(
            (away, taking, giving, longest),
            (150_000, 0, 240_000, 240_000)
        );
    }
}
