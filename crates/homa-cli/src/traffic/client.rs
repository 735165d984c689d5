//! Drives one transport in three ways: as much as it carries, one RPC at a time, and on a timetable.
//!
//! The same code drives both protocols, so that a difference between them is theirs. It decides
//! what counts as an answer; what the figures mean is decided in `tally.rs`.

use core::ops::Range;
use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::time::Instant;

use super::plan::{Arrival, Message, Pattern};
use super::tally::{Problems, Tally, part_of};
use super::transport::Transport;
use crate::answer::Answer;

/// RPCs under way at once, at most; further arrivals wait, and are charged for the wait.
const OUTSTANDING_MAX_COUNT: usize = 10_000;

/// Message bytes under way at once, at most: what a machine holds several times over.
pub(crate) const OUTSTANDING_MAX_BYTES: usize = 256 << 20;

/// RPCs that keep a transport busy when its goodput is measured: enough that more do not help.
const GOODPUT_OUTSTANDING_COUNT: usize = 128;

/// The same in bytes, so that workloads of long messages do not just fill buffers.
const GOODPUT_OUTSTANDING_BYTES: usize = 16 << 20;

/// RPCs started in a row before completions have their turn.
const STARTS_PER_TURN: usize = 32;

/// How long that is on networks where the longest message takes a fraction of a second.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(2);

/// A client in the middle of one run.
struct Run<'a> {
    transport: &'a mut dyn Transport,
    pattern: &'a Pattern,
    problems: &'a mut Problems,
    answer: Answer,
    drain: Duration,
    left_over: &'a mut bool,
    outstanding: HashMap<u64, (Message, Instant)>,
    outstanding_bytes: usize,
}

/// A client with its transport.
pub(crate) struct Client<'a> {
    pub(crate) transport: &'a mut dyn Transport,
    pub(crate) pattern: &'a Pattern,
    pub(crate) problems: &'a mut Problems,
    /// What the server answers with.
    pub(crate) answer: Answer,
    /// Set when RPCs were given up: their answers may still come.
    pub(crate) left_over: bool,
    /// How long RPCs may take to complete after the last arrival; what takes longer is given up.
    pub(crate) drain: Duration,
    /// How long before an RPC is due to stop sleeping.
    pub(crate) spin: Duration,
}

impl Client<'_> {
    /// Keeps the transport busy with `messages`, over and over, and returns the goodput: bytes of
    /// requests answered per second, after the first quarter of `length`.
    ///
    /// # Errors
    /// The transport is broken.
    pub(crate) fn goodput(&mut self, messages: &[Message], length: Duration) -> io::Result<f64> {
        let started = Instant::now();
        let (counted_from, end) = (started + length / 4, started + length);
        let (mut run, mut bytes) = (self.run(), 0);
        let mut next = messages.iter().cycle();
        while Instant::now() < end {
            while run.outstanding.len() < GOODPUT_OUTSTANDING_COUNT
                && run.outstanding_bytes < GOODPUT_OUTSTANDING_BYTES
            {
                let message = next.next().expect("a cycle does not end");
                run.start(message, Instant::now())?;
            }
            run.poll(end, &mut |message, done| {
                if (counted_from..end).contains(&done.at) {
                    bytes += message.size;
                }
            })?;
        }
        run.drain()?;
        Ok(bytes as f64 / (end - counted_from).as_secs_f64())
    }

    /// The fastest round trip of `message` when nothing else is under way, tried for `length` or
    /// `tries_max` times; `None` if none was answered.
    ///
    /// # Errors
    /// The transport is broken.
    pub(crate) fn fastest_rtt(
        &mut self,
        message: &Message,
        length: Duration,
        tries_max: u32,
    ) -> io::Result<Option<Duration>> {
        let end = Instant::now() + length;
        let (mut run, mut fastest) = (self.run(), None);
        for _ in 0..tries_max {
            let started = Instant::now();
            if started >= end && fastest.is_some() {
                break;
            }
            run.start(message, started)?;
            while !run.outstanding.is_empty() && started.elapsed() < run.drain {
                run.poll(started + run.drain, &mut |_, done| {
                    fastest = Some(fastest.map_or(done.latency, |f: Duration| f.min(done.latency)));
                })?;
            }
            if !run.outstanding.is_empty() {
                run.give_up();
                break;
            }
        }
        Ok(fastest)
    }

    /// Starts every RPC of `plan` at its time, whatever happened to those before, and enters what
    /// becomes of them in `tally`, but for those planned outside of `counted`: they warm up,
    /// or keep the others company at the end. Those are not waited for.
    /// Latency counts from the planned time.
    ///
    /// # Errors
    /// The transport is broken.
    pub(crate) fn open_loop(
        &mut self,
        plan: &[Arrival],
        length: Duration,
        counted: Range<Duration>,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let begin = Instant::now();
        let (last_end, mut end) = (begin + length + self.drain, begin + length);
        let spin = self.spin;
        let is_awaited = |since: &Instant| *since - begin < counted.end;
        let (mut run, mut waiting) = (self.run(), plan.iter().peekable());
        loop {
            let now = Instant::now();
            for _ in 0..STARTS_PER_TURN {
                let due = |arrival: &&Arrival| begin + arrival.at <= now;
                let Some(arrival) = (!run.is_full()).then(|| waiting.next_if(due)).flatten() else {
                    break;
                };
                tally.record_start(now - (begin + arrival.at));
                run.start(&arrival.message, begin + arrival.at)?;
            }
            let next = waiting.peek().map(|arrival| begin + arrival.at);
            let is_over = || !run.outstanding.values().any(|(_, since)| is_awaited(since));
            if now >= last_end || (next.is_none() && now >= begin + length && is_over()) {
                break;
            }
            let until = next.filter(|_| !run.is_full()).unwrap_or(last_end);
            run.poll(wake_before(until, now, spin), &mut |message, done| {
                if counted.contains(&(done.at - done.latency - begin)) {
                    tally.record_answer(message.size, done.latency);
                }
                if let Some(part) = part_of(&counted, done.at - begin) {
                    tally.record_carried(message.size, part);
                }
                end = end.max(done.at);
            })?;
        }
        *run.left_over |= !run.outstanding.is_empty();
        let left = run.outstanding.values().map(|(_, since)| *since);
        let left = waiting.map(|arrival| begin + arrival.at).chain(left);
        tally.record_end(end - begin, left.filter(is_awaited).count());
        Ok(())
    }

    fn run(&mut self) -> Run<'_> {
        Run {
            transport: self.transport,
            pattern: self.pattern,
            problems: self.problems,
            answer: self.answer,
            drain: self.drain,
            left_over: &mut self.left_over,
            outstanding: HashMap::new(),
            outstanding_bytes: 0,
        }
    }
}

/// Waking up takes a while, so sleep ends early and the rest is spent spinning.
fn wake_before(until: Instant, now: Instant, spin: Duration) -> Instant {
    until
        .checked_sub(spin)
        .filter(|early| *early > now)
        .unwrap_or(until)
}

/// When an answer came, and how long it took since the time that the RPC was to start.
struct Done {
    at: Instant,
    latency: Duration,
}

impl Run<'_> {
    fn is_full(&self) -> bool {
        self.outstanding.len() >= OUTSTANDING_MAX_COUNT
            || self.outstanding_bytes >= OUTSTANDING_MAX_BYTES
    }

    fn start(&mut self, message: &Message, since: Instant) -> io::Result<()> {
        self.outstanding_bytes += message.size;
        self.outstanding.insert(message.number, (*message, since));
        self.transport
            .start(message.number, &self.pattern.message(message))
    }

    /// Verifies what comes until something came or `until` passed; `answered` gets what is right.
    fn poll(&mut self, until: Instant, answered: &mut dyn FnMut(&Message, Done)) -> io::Result<()> {
        let Self {
            transport,
            problems,
            answer,
            outstanding,
            outstanding_bytes,
            ..
        } = self;
        transport.poll(until, &mut |number, response| {
            let at = Instant::now();
            let Some((message, since)) = outstanding.remove(&number) else {
                problems.corrupt(format!("RPC {number} was answered, but not under way"));
                return;
            };
            *outstanding_bytes -= message.size;
            match response {
                Ok(bytes) if message.is_answered_by(bytes, *answer) => {
                    answered(
                        &message,
                        Done {
                            at,
                            latency: at - since,
                        },
                    );
                }
                Ok(bytes) => problems.corrupt(format!(
                    "the response of RPC {number} is not its request: {} of {} bytes came",
                    bytes.len(),
                    message.size
                )),
                Err(why) => problems.error(format!("RPC {number} failed: {why}")),
            }
        })
    }

    /// Waits for what is under way, so that it does not disturb what is measured next.
    fn drain(&mut self) -> io::Result<()> {
        let end = Instant::now() + self.drain;
        while !self.outstanding.is_empty() && Instant::now() < end {
            self.poll(end, &mut |_, _| {})?;
        }
        self.give_up();
        Ok(())
    }

    fn give_up(&mut self) {
        let left = self.outstanding.len();
        if left > 0 {
            *self.left_over = true;
            self.problems
                .error(format!("{left} RPCs had no answer after {:?}", self.drain));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::traffic::plan::Contents;
    use crate::traffic::tally::{Bins, Unloaded};
    use crate::traffic::transport::Deliver;
    use homa_sim::Random;
    use homa_sim::Workload;

    /// What becomes of one request: the answers to it.
    type Behaviour = fn(u64, Vec<u8>) -> Vec<(u64, Result<Vec<u8>, String>)>;

    /// A server in this process, which may answer wrongly.
    struct Echo {
        waiting: VecDeque<(u64, Vec<u8>)>,
        behaviour: Behaviour,
    }

    impl Transport for Echo {
        fn start(&mut self, number: u64, message: &Contents<'_>) -> io::Result<()> {
            self.waiting.push_back((number, message.to_vec()));
            Ok(())
        }

        fn poll(&mut self, _: Instant, deliver: &mut Deliver<'_>) -> io::Result<()> {
            for (number, message) in self.waiting.drain(..) {
                for (number, response) in (self.behaviour)(number, message) {
                    deliver(number, response.as_deref().map_err(Clone::clone));
                }
            }
            Ok(())
        }
    }

    fn arrivals(pattern: &Pattern) -> Vec<Arrival> {
        let workload = Workload::parse("ten", "size_bytes,cumulative_fraction\n10,1\n").unwrap();
        let planner = crate::traffic::plan::Planner {
            workload: &workload,
            pattern,
            seed: 1,
        };
        let mut random = Random::new(1, 1);
        let messages = planner.messages(100);
        messages
            .into_iter()
            .map(|message| Arrival {
                at: Duration::from_nanos(random.bits() % 1000),
                message,
            })
            .collect()
    }

    fn run(behaviour: Behaviour) -> (Tally, Problems) {
        let pattern = Pattern::new(1);
        let (mut problems, mut echo) = (
            Problems::default(),
            Echo {
                waiting: VecDeque::new(),
                behaviour,
            },
        );
        let unloaded = Unloaded::new(vec![(10, Duration::from_micros(1))]);
        let mut tally = Tally::new(&Bins::new(vec![10]), &unloaded);
        let mut plan = arrivals(&pattern);
        plan.sort_by_key(|arrival| arrival.at);
        let mut client = Client {
            transport: &mut echo,
            pattern: &pattern,
            problems: &mut problems,
            answer: Answer::Echo,
            left_over: false,
            drain: DRAIN_MAX,
            spin: Duration::ZERO,
        };
        client
            .open_loop(
                &plan,
                Duration::from_micros(1),
                Duration::ZERO..Duration::MAX,
                &mut tally,
            )
            .unwrap();
        (tally, problems)
    }

    #[test]
    fn every_planned_rpc_is_started_and_counted_once() {
        let (tally, problems) = run(|number, message| vec![(number, Ok(message))]);
        assert_eq!(tally.answered_count(), 100);
        assert_eq!((problems.errors, problems.corrupt), (0, 0));
    }

    #[test]
    fn a_wrong_response_is_corrupt_and_not_counted() {
        let (tally, problems) = run(|number, mut message| {
            message[3] ^= u8::from(number == 7);
            vec![(number, Ok(message))]
        });
        assert_eq!(
            (tally.answered_count(), problems.errors, problems.corrupt),
            (99, 0, 1)
        );
        assert!(
            problems
                .first()
                .unwrap()
                .starts_with("the response of RPC 7 is not its request")
        );
    }

    #[test]
    fn a_second_answer_is_corrupt() {
        let (tally, problems) =
            run(|number, message| vec![(number, Ok(message.clone())), (number, Ok(message))]);
        assert_eq!((tally.answered_count(), problems.corrupt), (100, 100));
    }

    #[test]
    fn a_failed_rpc_is_an_error() {
        let (tally, problems) = run(|number, message| {
            vec![(
                number,
                if number == 3 {
                    Err("lost".to_owned())
                } else {
                    Ok(message)
                },
            )]
        });
        assert_eq!(
            (tally.answered_count(), problems.errors, problems.corrupt),
            (99, 1, 0)
        );
        assert_eq!(problems.first(), Some("RPC 3 failed: lost"));
    }
}
