//! The papers' figures: slowdown by message size, queues, bytes by level, under open-loop load.
//!
//! Messages are one-way, as in the SIGCOMM 2018 paper: a request whose delivery to the server is
//! the end, with a response of one byte that counts as load. Load counts every byte on the wire,
//! headers and control packets too. The slowdown of a message is its time divided by the best
//! possible one in the same network. Messages that do not end count as slow.

mod best;
mod course;
mod dctcp;
mod homa;
mod oracle;
mod outcome;
mod row;
mod setup;
mod slowdown;
mod srpt;
mod traffic;

use core::fmt;
use core::str::FromStr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Mutex;
use std::thread;

use course::drive;
use dctcp::Dctcp;
use outcome::{Outcome, Span};
use srpt::Srpt;
use traffic::Traffic;

pub use row::{Bin, Row};
pub use setup::{CutoffChoice, Setup, Variant};

use crate::workload::Workload;
use crate::world::BadWorld;

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The shipped engine.
    Homa,
    /// An ideal network: a lower bound.
    Srpt,
    /// DCTCP: what users have.
    Dctcp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Homa => "homa",
            Self::Srpt => "srpt",
            Self::Dctcp => "dctcp",
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
            _ => Err(format!(
                "there is no protocol '{name}': they are homa, srpt, dctcp"
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
/// many as they are in the long run, and for 10,000 messages in a twentieth of all over the seeds.
fn span(workload: &Workload, shorter: u64) -> Span {
    let full = match workload.size_max() {
        0..=200_000 => Span::of_micros(1_500, 2_000, 1_500),
        200_001..=5_000_000 => Span::of_micros(8_000, 6_000, 8_000),
        5_000_001..=9_999_999 => Span::of_micros(25_000, 70_000, 25_000),
        10_000_000 => Span::of_micros(30_000, 80_000, 40_000),
        10_000_001..=20_000_000 => Span::of_micros(25_000, 15_000, 25_000),
        _ => Span::of_micros(80_000, 270_000, 150_000),
    };
    full.shorter(shorter)
}

/// Messages of the whole network in a second that make a load.
///
/// # Errors
/// A setup that cannot be.
fn rate(setup: &Setup, variant: &Variant, workload: &Workload, load: f64) -> Result<f64, BadWorld> {
    let capacity =
        f64::from(setup.topology.hosts()) * setup.topology.edge.bits_per_second as f64 / 8.0;
    let one_way: f64 = workload
        .rows()
        .map(|(size, share)| share * setup::HOMA_CUT.wire_bytes(size as u32) as f64)
        .sum();
    let bytes = if variant.round_trips {
        2.0 * one_way
    } else {
        one_way
    };
    // What the responses and control packets add is seen in a short run.
    let pilot = span(workload, 40);
    let guess = capacity * load * 0.8 / bytes;
    let seen = homa::run(setup, variant, workload, 0, guess, pilot, &|_| ())?;
    let overhead = seen.wire_bytes as f64 / seen.message_wire_bytes.max(1) as f64;
    Ok(capacity * load / (bytes * overhead))
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
    let rates = Mutex::new(vec![None; points.len()]);
    in_parallel(points.len(), threads, |index| {
        let point = &points[index];
        let found = rate(setup, &point.variant, &point.workload, point.load);
        if let Ok(mut rates) = rates.lock() {
            rates[index] = Some(found);
        }
    });
    let rates = rates.into_inner().unwrap_or_default();
    let rates: Vec<f64> = rates.into_iter().flatten().collect::<Result<_, _>>()?;
    let jobs = points.len() * seeds as usize;
    let done: Vec<AtomicU64> = (0..jobs).map(|_| AtomicU64::new(0)).collect();
    let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(vec![None; points.len()]);
    in_parallel(jobs, threads, |job| {
        let (index, seed) = (job / seeds as usize, job as u64 % seeds + 1);
        let point = &points[index];
        let tell = |share: f64| {
            done[job].store((share * 1e6) as u64, Ordering::Relaxed);
            let sum: u64 = done.iter().map(|it| it.load(Ordering::Relaxed)).sum();
            progress(sum as f64 / 1e6 / jobs as f64);
        };
        let made = run_one(setup, point, seed, rates[index], effort.shorter, &tell);
        if let (Ok(made), Ok(mut outcomes)) = (made, outcomes.lock()) {
            match &mut outcomes[index] {
                Some(sum) => sum.add(&made),
                empty => *empty = Some(made),
            }
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_default();
    let rows = points
        .iter()
        .zip(outcomes)
        .filter_map(|(point, outcome)| Some(Row::new(setup, point, &outcome?)));
    Ok(rows.collect())
}

fn run_one(
    setup: &Setup,
    point: &Point,
    seed: u64,
    per_second: f64,
    shorter: u64,
    progress: &dyn Fn(f64),
) -> Result<Outcome, BadWorld> {
    let span = span(&point.workload, shorter);
    let (hosts, workload) = (setup.topology.hosts(), &point.workload);
    let ends = (hosts, setup.peers.min(hosts - 1));
    let mut traffic = Traffic::new(workload, seed, ends, 0, per_second);
    match point.protocol {
        Protocol::Homa => {
            let variant = &point.variant;
            homa::run(setup, variant, workload, seed, per_second, span, progress)
        }
        Protocol::Srpt => {
            let mut srpt = Srpt::new(setup, 0);
            Ok(drive(&mut srpt, &mut traffic, span, progress))
        }
        Protocol::Dctcp => {
            let mut dctcp = Dctcp::new(setup, 0);
            Ok(drive(&mut dctcp, &mut traffic, span, progress))
        }
    }
}

fn in_parallel(count: usize, threads: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    work(index);
                }
            });
        }
    });
}
