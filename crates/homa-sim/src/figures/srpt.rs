//! An ideal network as a lower bound: nothing but the receiver's link ever makes a message wait,
//! and that link always serves the message with the fewest bytes remaining, changing over without
//! cost. No order of service has a smaller mean time on one link; a real network has more places to
//! wait in.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use super::best::Cut;
use super::course::{Carrier, Ledger};
use super::outcome::Span;
use super::setup::{HOMA_CUT, Setup};
use super::traffic::{Arrival, Traffic};

/// How often links that get no new message are looked at.
const LOOK_NANOS: u64 = 50_000;

/// A message that waits for its link: picoseconds of work remaining, and how many it had.
type Job = Reverse<(u64, u32)>;

/// A receiver's link.
#[derive(Default)]
struct Link {
    jobs: BinaryHeap<Job>,
    /// Until when, in picoseconds, its work is done.
    at: u64,
}

impl Link {
    /// Works until `until`, in picoseconds; `end` is told what ended, and when.
    fn work(&mut self, until: u64, mut end: impl FnMut(u64, u32)) -> u64 {
        let mut worked = 0;
        while let Some(Reverse((remaining, job))) = self.jobs.pop() {
            let room = until - self.at;
            if remaining > room {
                worked += room;
                self.jobs.push(Reverse((remaining - room, job)));
                break;
            }
            self.at += remaining;
            worked += remaining;
            end(self.at, job);
        }
        self.at = until;
        worked
    }
}

/// The ideal network.
pub(crate) struct Srpt {
    links: Vec<Link>,
    /// Picoseconds that a byte takes.
    byte_picos: u64,
    cut: Cut,
    /// The work of each message, and what it was sent as.
    sent: Vec<(Arrival, u64)>,
    looked_at: u64,
    worked: u64,
    ledger: Ledger,
}

impl Srpt {
    pub(crate) fn new(setup: &Setup, start: u64) -> Self {
        Self::with_speed(setup, start, 1.0)
    }

    /// With a part of its links, above 0 and up to 1.
    fn with_speed(setup: &Setup, start: u64, speed: f64) -> Self {
        let rate = setup.topology.edge.bits_per_second as f64 * speed;
        let link = || Link {
            jobs: BinaryHeap::new(),
            at: start * 1_000,
        };
        Self {
            links: (0..setup.topology.hosts()).map(|_| link()).collect(),
            byte_picos: (8e12 / rate).round() as u64,
            cut: HOMA_CUT,
            sent: Vec::new(),
            looked_at: start,
            worked: 0,
            ledger: Ledger::new(setup, HOMA_CUT, false),
        }
    }

    fn work(&mut self, host: u32, until: u64) {
        let (ledger, sent) = (&mut self.ledger, &self.sent);
        let worked = self.links[host as usize].work(until * 1_000, |at, job| {
            let (arrival, work) = &sent[job as usize];
            // What it waited comes on top of the best possible time.
            let waited = (at - arrival.at * 1_000).saturating_sub(*work) / 1_000;
            let best = ledger.best(arrival);
            ledger.flow.arrived_bytes += u64::from(arrival.bytes);
            ledger.end(arrival.at + best + waited, job);
        });
        if self.ledger.counts {
            self.worked += worked;
        }
        self.ledger.flow.wire_bytes += worked / self.byte_picos;
    }

    fn work_all(&mut self, until: u64) {
        (0..self.links.len() as u32).for_each(|host| self.work(host, until));
        self.looked_at = until;
    }
}

impl Carrier for Srpt {
    fn run_until(&mut self, at: u64) {
        if at >= self.looked_at + LOOK_NANOS {
            self.work_all(at);
        }
    }

    fn begin(&mut self, arrival: Arrival, measured: bool) {
        self.work(arrival.to, arrival.at);
        let work = self.cut.wire_bytes(arrival.bytes) * self.byte_picos;
        let job = self.ledger.begin(arrival, measured);
        let place = job as usize;
        if self.sent.len() <= place {
            self.sent.resize(place + 1, (arrival, 0));
        }
        self.sent[place] = (arrival, work);
        self.links[arrival.to as usize]
            .jobs
            .push(Reverse((work, job)));
    }

    fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    fn start_counting(&mut self) {
        let at = self.looked_at;
        self.work_all(at.max(self.latest()));
        self.worked = 0;
    }

    fn stop_counting(&mut self, span: &Span) {
        self.work_all(span.ends_at.max(self.latest()));
        let outcome = &mut self.ledger.outcome;
        outcome.nanos = span.measured();
        outcome.edge.level_bytes[0] = self.worked / self.byte_picos;
    }
}

/// What messages lack that are under way after `messages` of `traffic`, as messages of their own:
/// with them a run begins as if it had lasted for long, with the part `speed` of the links. Without them the long messages of a heavy
/// tail would be missing until they have come, and with them a part of the load.
pub(crate) fn under_way(
    setup: &Setup,
    speed: f64,
    traffic: &mut Traffic<'_>,
    messages: u64,
) -> Vec<Arrival> {
    let mut srpt = Srpt::with_speed(setup, 0, speed);
    let mut now = 0;
    for _ in 0..messages {
        let arrival = traffic.next();
        now = arrival.at;
        srpt.begin(arrival, false);
    }
    srpt.work_all(now);
    let per_byte = srpt.byte_picos;
    let mut rests = Vec::new();
    for Reverse((work, job)) in srpt.links.iter().flat_map(|link| &link.jobs) {
        let (arrival, whole) = srpt.sent[*job as usize];
        let bytes = u64::from(arrival.bytes) * work / whole.max(per_byte);
        rests.push(Arrival {
            bytes: (bytes as u32).max(1),
            ..arrival
        });
    }
    // A heap's order is nobody's business.
    rests.sort_unstable_by_key(|rest| (rest.at, rest.from, rest.to));
    rests
}

impl Srpt {
    /// The latest moment that any link has come to.
    fn latest(&self) -> u64 {
        let latest = self.links.iter().map(|link| link.at).max();
        latest.unwrap_or(0).div_ceil(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(jobs: &[(u64, u64)]) -> Vec<(u64, u32)> {
        let (mut link, mut ended) = (Link::default(), Vec::new());
        for (job, &(at, work)) in jobs.iter().enumerate() {
            link.work(at, |at, job| ended.push((at, job)));
            link.jobs.push(Reverse((work, job as u32)));
        }
        link.work(1_000, |at, job| ended.push((at, job)));
        ended
    }

    #[test]
    fn the_message_with_the_fewest_bytes_remaining_goes_first_and_the_link_is_never_idle() {
        // 100 of the first are done when the second comes, which then has fewer remaining; the
        // third waits for the rest of the second.
        let found = ended(&[(0, 300), (100, 50), (120, 40)]);
        assert_eq!(found, [(150, 1), (190, 2), (390, 0)]);
        // One that has nearly ended is not held up by a shorter one.
        assert_eq!(ended(&[(0, 100), (90, 20)]), [(100, 0), (120, 1)]);
    }
}
