//! The papers' figures: slowdown by message size, queues, bytes by level, under open-loop load.
//!
//! Messages are one-way, as in the SIGCOMM 2018 paper: a request whose delivery to the server is
//! the end, with a response of one byte that counts as load. Load counts every byte on the wire,
//! headers and control packets too. The slowdown of a message is its time divided by the best
//! possible one in the same network. Messages that do not end count as slow.

mod best;
mod cables;
mod contest;
mod course;
mod dctcp;
mod homa;
mod incast;
mod moments;
mod null;
mod oracle;
mod outcome;
mod row;
mod setup;
mod slowdown;
mod srpt;
mod traffic;

use core::str::FromStr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::{fmt, iter};
use std::panic::resume_unwind;
use std::thread;

use course::drive;
use dctcp::Dctcp;
use homa::Applications;
use null::Null;
use outcome::{Outcome, Span};
use srpt::{Srpt, under_way};
use traffic::Traffic;

pub use contest::{Contest, ContestRow, contest};
pub use incast::{Incast, IncastRow, incast, incast_configs};
pub use moments::Moment;
pub use row::{Bin, Row};
pub use setup::{CutoffChoice, Setup, Variant};

use crate::workload::Workload;
use crate::world::{BadWorld, World};

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The shipped engine.
    Homa,
    /// An ideal network: a lower bound.
    Srpt,
    /// DCTCP: what users have.
    Dctcp,
    /// Packets that nobody controls: what the network alone costs to simulate.
    Null,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Homa => "homa",
            Self::Srpt => "srpt",
            Self::Dctcp => "dctcp",
            Self::Null => "null",
        })
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "homa" => Ok(Self::Homa),
            "srpt" => Ok(Self::Srpt),
            "dctcp" => Ok(Self::Dctcp),
            "null" => Ok(Self::Null),
            _ => Err(format!(
                "there is no protocol '{name}': they are homa, srpt, dctcp, null"
            )),
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Point {
    /// The messages.
    pub workload: Workload,
    /// Share of the hosts' links that is in use, 0 to 1.
    pub load: f64,
    /// What carries them.
    pub protocol: Protocol,
    /// How it is configured.
    pub variant: Variant,
}

/// How much work is spent on a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Runs, at least 1: their messages differ, and their sum is the point's row.
    pub seeds: u64,
    /// The time that is measured is divided by this, at least 1.
    pub shorter: u64,
    /// Threads that make runs at the same time.
    pub threads: usize,
}

/// How long a workload is measured at each seed: long enough for its longest messages to be as
/// many as they are in the long run, and for 10,000 messages in a twentieth of all over three seeds
/// (2,000 of W5, whose messages are the longest).
fn span(workload: &Workload, shorter: u64) -> Span {
    let full = match workload.size_max() {
        0..=200_000 => Span::of_micros(4_000, 1_000, 1_500),
        200_001..=5_000_000 => Span::of_micros(5_000, 1_500, 4_000),
        5_000_001..=9_999_999 => Span::of_micros(12_000, 70_000, 25_000),
        10_000_000 => Span::of_micros(12_000, 80_000, 40_000),
        10_000_001..=20_000_000 => Span::of_micros(7_000, 6_000, 10_000),
        _ => Span::of_micros(50_000, 290_000, 100_000),
    };
    full.shorter(shorter)
}

/// From this load on there is always more to do than can be done. What a network carries then is
/// the most that it sustains: with less its backlog shrinks (the saturation rule).
pub const OVERLOAD: f64 = 1.0;

/// The part of its links that a real network makes use of where there is always something to do, about:
/// senders are busy with others when a receiver waits for them. A run begins with what an ideal
/// network with so much less of its links would have under way: then the backlog is about as large
/// as it stays. With what the whole of the links would leave, W4 carried 0.67 at first where 0.8 was
/// asked for, and its backlog still grew when the run was over.
const SUSTAINED: f64 = 0.9;

/// For how many nanoseconds the ideal network has had messages when a run begins: until those with
/// the longest times in it are as many as they will ever be.
fn history_nanos(workload: &Workload) -> u64 {
    match workload.size_max() {
        0..=200_000 => 2_000_000,
        200_001..=5_000_000 => 10_000_000,
        5_000_001..=10_000_000 => 400_000_000,
        10_000_001..=20_000_000 => 60_000_000,
        _ => 3_000_000_000,
    }
}

/// Bytes on the wire in all for each byte of messages on it, seen in a short run whose hosts know
/// their cutoffs. Larger networks than the paper's have the same: they are spared the run.
///
/// # Errors
/// A setup that cannot be.
fn overhead(setup: &Setup, round_trips: bool, workload: &Workload) -> Result<f64, BadWorld> {
    let variant = Variant {
        cutoffs: CutoffChoice::Oracle,
        round_trips,
        ..Variant::plain()
    };
    let paper = Setup::paper();
    let is_larger = setup.topology.hosts() > paper.topology.hosts();
    let setup = if is_larger { &paper } else { setup };
    let guess = bare_rate(setup, round_trips, workload, 0.64);
    let mut world = homa::world(setup, &variant, workload, 0)?;
    let start = world.now();
    let mut traffic = Traffic::new(workload, 0, setup.ends(), start, guess);
    let pilot = span(workload, 40).from(start);
    let seen = drive(&mut world, &[], &mut traffic, pilot, &|_| ());
    Ok(seen.wire_bytes.max(1) as f64 / seen.message_wire_bytes.max(1) as f64)
}

/// Messages of the whole network in a second that make a load if they bring nothing else.
fn bare_rate(setup: &Setup, round_trips: bool, workload: &Workload, load: f64) -> f64 {
    let capacity =
        f64::from(setup.topology.hosts()) * setup.topology.edge.bits_per_second as f64 / 8.0;
    let one_way: f64 = workload
        .rows()
        .map(|(size, share)| share * setup::HOMA_CUT.wire_bytes(size as u32) as f64)
        .sum();
    let ways = if round_trips { 2.0 } else { 1.0 };
    capacity * load / (ways * one_way)
}

/// Messages of the whole network in a second for each point. All variants and protocols carry the
/// same messages.
///
/// # Errors
/// A setup that cannot be.
fn rates(setup: &Setup, points: &[Point], threads: usize) -> Result<Vec<f64>, BadWorld> {
    let kind = |point: &Point| (point.workload.name().to_owned(), point.variant.round_trips);
    let mut kinds: Vec<usize> = Vec::new();
    for (index, point) in points.iter().enumerate() {
        if kinds.iter().all(|&it| kind(&points[it]) != kind(point)) {
            kinds.push(index);
        }
    }
    let found = in_parallel(kinds.len(), threads, |place| {
        let Point {
            workload, variant, ..
        } = &points[kinds[place]];
        overhead(setup, variant.round_trips, workload)
    });
    let overheads = found.into_iter().collect::<Result<Vec<f64>, _>>()?;
    let rates = points.iter().map(|point| {
        let of = kinds
            .iter()
            .position(|&it| kind(&points[it]) == kind(point));
        let Point {
            workload, variant, ..
        } = point;
        let bare = bare_rate(setup, variant.round_trips, workload, point.load);
        bare / of.map_or(1.0, |of| overheads[of])
    });
    Ok(rates.collect())
}

/// Makes the runs of all points. `progress` is told the share of the work
/// that is done, 0 to 1.
///
/// # Errors
/// A setup that cannot be.
pub fn run(
    setup: &Setup,
    points: &[Point],
    effort: Effort,
    progress: &(dyn Fn(f64) + Sync),
) -> Result<Vec<Row>, BadWorld> {
    let Effort { seeds, threads, .. } = effort;
    let rates = rates(setup, points, threads)?;
    let jobs = points.len() * seeds as usize;
    let done: Vec<AtomicU64> = (0..jobs).map(|_| AtomicU64::new(0)).collect();
    let made = in_parallel(jobs, threads, |job| {
        let (index, seed) = (job / seeds as usize, job as u64 % seeds + 1);
        let point = &points[index];
        let tell = |share: f64| {
            done[job].store((share * 1e6) as u64, Ordering::Relaxed);
            let sum: u64 = done.iter().map(|it| it.load(Ordering::Relaxed)).sum();
            progress(sum as f64 / 1e6 / jobs as f64);
        };
        run_one(setup, point, seed, rates[index], effort.shorter, &tell)
    });
    let made = made.into_iter().collect::<Result<Vec<Outcome>, _>>()?;
    let rows = points.iter().zip(made.chunks(seeds as usize));
    let rows = rows.map(|(point, outcomes)| {
        let mut sum = Outcome::new();
        outcomes.iter().for_each(|outcome| sum.add(outcome));
        Row::new(setup, point, &sum)
    });
    Ok(rows.collect())
}

/// One run of a point.
///
/// # Errors
/// A setup that cannot be.
fn run_one(
    setup: &Setup,
    point: &Point,
    seed: u64,
    per_second: f64,
    shorter: u64,
    progress: &dyn Fn(f64),
) -> Result<Outcome, BadWorld> {
    let workload = &point.workload;
    let traffic = |seed, start| Traffic::new(workload, seed, setup.ends(), start, per_second);
    let history = per_second * history_nanos(workload) as f64 / 1e9;
    let overhead = bare_rate(setup, point.variant.round_trips, workload, point.load) / per_second;
    let speed = match point.protocol {
        Protocol::Srpt => 1.0,
        Protocol::Homa | Protocol::Dctcp | Protocol::Null => SUSTAINED / overhead,
    };
    let past = under_way(setup, speed, &mut traffic(!seed, 0), history as u64);
    let mut span = span(workload, shorter);
    if point.load >= OVERLOAD {
        // Not to wait for messages that may never end.
        span.over_at = span.ends_at;
    }
    let mut coming = traffic(seed, 0);
    Ok(match point.protocol {
        Protocol::Homa => {
            let mut world = homa::world(setup, &point.variant, workload, seed)?;
            if let Some(before) = &point.variant.before {
                learn_before(setup, &mut world, before, (seed, point.load), shorter);
            }
            let start = world.now();
            let mut coming = traffic(seed, start);
            drive(&mut world, &past, &mut coming, span.from(start), progress)
        }
        Protocol::Srpt => {
            let mut srpt = Srpt::new(setup, 0);
            drive(&mut srpt, &past, &mut coming, span, progress)
        }
        Protocol::Dctcp => {
            let mut dctcp = Dctcp::new(setup, 0);
            drive(&mut dctcp, &past, &mut coming, span, progress)
        }
        Protocol::Null => {
            let mut null = Null::new(setup, 0);
            drive(&mut null, &past, &mut coming, span, progress)
        }
    })
}

/// Has hosts exchange another workload until they have learned its cutoffs.
fn learn_before(
    setup: &Setup,
    world: &mut World<Applications>,
    before: &Workload,
    (seed, load): (u64, f64),
    shorter: u64,
) {
    let start = world.now();
    let Span { begins_at, .. } = span(before, shorter);
    let span = Span {
        starts_at: 0,
        begins_at,
        ends_at: begins_at,
        over_at: begins_at,
    };
    // Its responses and control packets count little: what it is to teach are lengths.
    let per_second = bare_rate(setup, false, before, 0.8 * load);
    let mut traffic = Traffic::new(before, seed, setup.ends(), start, per_second);
    drive(world, &[], &mut traffic, span.from(start), &|_| ());
}

/// Does all of the work, `threads` pieces at a time; the results are in the order of their numbers.
fn in_parallel<T: Send>(count: usize, threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let (next, work) = (&next, &work);
    let mut results = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.clamp(1, count.max(1)))
            .map(|_| {
                scope.spawn(move || {
                    let numbers = iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                    let numbers = numbers.take_while(|&number| number < count);
                    numbers
                        .map(|number| (number, work(number)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let joined = workers.into_iter().map(|worker| match worker.join() {
            Ok(results) => results,
            Err(panic) => resume_unwind(panic),
        });
        joined.flatten().collect::<Vec<_>>()
    });
    results.sort_by_key(|&(number, _)| number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_that_is_offered_with_all_that_messages_bring_is_the_one_that_was_asked_for() {
        let setup = Setup::of("leaf-spine:3x16x4".parse().unwrap());
        for name in ["w1", "w2"] {
            let point = Point {
                workload: Workload::named(name).unwrap(),
                load: 0.8,
                protocol: Protocol::Homa,
                variant: Variant::plain(),
            };
            let rate = rates(&setup, core::slice::from_ref(&point), 1).unwrap()[0];
            let outcome = run_one(&setup, &point, 1, rate, 10, &|_| ()).unwrap();
            let brought = outcome.wire_bytes as f64 / outcome.message_wire_bytes as f64;
            // Not of the messages that this seed happens to draw: of all that there could be.
            let offered = rate / bare_rate(&setup, false, &point.workload, 1.0) * brought;
            assert!((offered / 0.8 - 1.0).abs() < 0.02, "{name}: {offered}");
        }
    }
}
