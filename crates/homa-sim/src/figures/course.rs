//! What all protocols have in common: messages come in, are carried, and their times are written
//! down.

use std::fs;
use std::time::Instant;

use super::best::{Cut, best_time};
use super::moments::{Flow, Watch};
use super::outcome::{Outcome, Span};
use super::setup::Setup;
use super::traffic::{Arrival, Traffic};

/// Something that carries messages in virtual time.
pub(crate) trait Carrier {
    /// Lets time pass.
    fn run_until(&mut self, at: u64);

    /// An application sends a message, at its time.
    fn begin(&mut self, arrival: Arrival, measured: bool);

    /// The messages under way.
    fn ledger(&mut self) -> &mut Ledger;

    /// How long `tell_all` takes; `None` where there is nothing to tell.
    fn telling_nanos(&self) -> Option<u64> {
        None
    }

    /// What hosts learned so far is made known to all, as it is in a network that runs for long. A
    /// pair of hosts exchanges a message of W5 in 400 ms, and its sender learns only from that what
    /// cutoffs its receiver has now: longer than all of a run.
    fn tell_all(&mut self) {}

    /// The network begins to count.
    fn start_counting(&mut self);

    /// The network has counted for the time of `span`.
    fn stop_counting(&mut self, span: &Span);

    /// Whether a host's link is idle although messages to it wait for grants.
    fn is_wasting(&self, _host: u32) -> bool {
        false
    }

    /// Whether it makes no progress.
    fn is_stuck(&self) -> bool {
        false
    }
}

/// A message on its way.
#[derive(Clone, Copy)]
struct Message {
    arrival: Arrival,
    measured: bool,
}

/// The messages under way, and what came of those that are over.
pub(crate) struct Ledger {
    setup: Setup,
    cut: Cut,
    /// Whether there and back again is what is measured.
    round_trips: bool,
    messages: Vec<Message>,
    free: Vec<u32>,
    /// Messages measured and not over.
    open: u64,
    /// Nothing else is counted before it.
    pub(crate) counts: bool,
    /// Counted from the beginning.
    pub(crate) flow: Flow,
    pub(crate) outcome: Outcome,
}

impl Ledger {
    pub(crate) fn new(setup: &Setup, cut: Cut, round_trips: bool) -> Self {
        Self {
            setup: setup.clone(),
            cut,
            round_trips,
            messages: Vec::new(),
            free: Vec::new(),
            open: 0,
            counts: false,
            flow: Flow::default(),
            outcome: Outcome::new(),
        }
    }

    /// Enters a message; the answer names it until its end.
    pub(crate) fn begin(&mut self, arrival: Arrival, measured: bool) -> u32 {
        let message = Message { arrival, measured };
        self.open += u64::from(measured);
        self.flow.sent_bytes += u64::from(arrival.bytes);
        if measured {
            let ways = 1 + u64::from(self.round_trips);
            self.outcome.offered_bytes += ways * self.cut.wire_bytes(arrival.bytes);
        }
        match self.free.pop() {
            Some(place) => {
                self.messages[place as usize] = message;
                place
            }
            None => {
                self.messages.push(message);
                (self.messages.len() - 1) as u32
            }
        }
    }

    /// The best possible time of what is measured of a message.
    pub(crate) fn best(&self, arrival: &Arrival) -> u64 {
        let one_way = |from, to| {
            best_time(&self.setup.topology, from, to, arrival.bytes, &self.cut)
                + self.setup.receive_nanos()
        };
        let back = if self.round_trips {
            one_way(arrival.to, arrival.from)
        } else {
            0
        };
        one_way(arrival.from, arrival.to) + back
    }

    /// A message is over; a name that was never given is none.
    pub(crate) fn end(&mut self, now: u64, place: u32) {
        let Some(&Message { arrival, measured }) = self.messages.get(place as usize) else {
            return;
        };
        self.free.push(place);
        if measured {
            self.open -= 1;
            let slowdown = (now - arrival.at) as f64 / self.best(&arrival) as f64;
            self.outcome.slowdowns.record(arrival.hundredth, slowdown);
        }
    }

    /// Counts what did not end.
    fn give_up(&mut self, now: u64) {
        let mut open = vec![true; self.messages.len()];
        for &place in &self.free {
            open[place as usize] = false;
        }
        for (message, open) in self.messages.iter().zip(open) {
            if open && message.measured {
                let arrival = &message.arrival;
                let slowdown = (now - arrival.at) as f64 / self.best(arrival) as f64;
                let slowdowns = &mut self.outcome.slowdowns;
                slowdowns.record_endless(arrival.hundredth, slowdown);
                self.outcome.unfinished += 1;
            }
        }
    }
}

/// Nanoseconds of a processor that this thread has taken; where the system does not tell, those
/// that passed since `began`.
fn cpu_nanos(began: Instant) -> u64 {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let first = told.as_deref().and_then(|text| text.split(' ').next());
    let taken = first.and_then(|nanos| nanos.parse().ok());
    taken.unwrap_or_else(|| began.elapsed().as_nanos() as u64)
}

/// Has messages carried for the time of `span`: those that are `under_way` when it begins, then
/// those of `traffic`. `progress` is told the share of the time that passed.
///
/// Whoever sends a message finds the network as it is on average (Poisson arrivals see time
/// averages): so that is when links are looked at.
pub(crate) fn drive(
    carrier: &mut impl Carrier,
    under_way: &[Arrival],
    traffic: &mut Traffic<'_>,
    span: Span,
    progress: &dyn Fn(f64),
) -> Outcome {
    let began = Instant::now();
    let (mut told, mut last) = (span.starts_at, span.starts_at);
    let mut watch = Watch::new(&span);
    let tells_at = carrier
        .telling_nanos()
        .map_or(span.starts_at, |nanos| span.tells_at(nanos));
    carrier.run_until(span.starts_at);
    for arrival in under_way {
        let at = span.starts_at;
        carrier.begin(Arrival { at, ..*arrival }, false);
    }
    loop {
        let arrival = traffic.next();
        if last < tells_at && arrival.at >= tells_at {
            carrier.run_until(tells_at);
            carrier.tell_all();
        }
        if last < span.begins_at && arrival.at >= span.begins_at {
            carrier.run_until(span.begins_at);
            carrier.start_counting();
            let ledger = carrier.ledger();
            ledger.counts = true;
            ledger.outcome.cpu_nanos = cpu_nanos(began);
        }
        if last < span.ends_at && arrival.at >= span.ends_at {
            carrier.run_until(span.ends_at);
            carrier.stop_counting(&span);
            let ledger = carrier.ledger();
            ledger.counts = false;
            ledger.outcome.cpu_nanos = cpu_nanos(began) - ledger.outcome.cpu_nanos;
        }
        last = arrival.at;
        let all_ended = span.has_ended(arrival.at) && carrier.ledger().open == 0;
        if arrival.at >= span.over_at || all_ended || carrier.is_stuck() {
            break;
        }
        carrier.run_until(arrival.at);
        if span.holds(arrival.at) {
            let wasted = carrier.is_wasting(arrival.to);
            let outcome = &mut carrier.ledger().outcome;
            outcome.looks += 1;
            outcome.wasted += u64::from(wasted);
        }
        carrier.begin(arrival, span.holds(arrival.at));
        if watch.is_due(arrival.at) {
            watch.look(arrival.at, &carrier.ledger().flow);
        }
        if arrival.at - told > 10_000 {
            told = arrival.at;
            progress(span.share(arrival.at));
        }
    }
    carrier.run_until(last);
    carrier.ledger().give_up(last);
    carrier.ledger().outcome.seen = watch.seen;
    progress(1.0);
    carrier.ledger().outcome.clone()
}
