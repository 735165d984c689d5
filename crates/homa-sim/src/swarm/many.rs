//! Many runs, over all processors: their sum, or the first that a planted bug shows in.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::panic;
use std::sync::Mutex;
use std::thread;

use super::coverage::Coverage;
use super::plant::Plant;
use super::{Options, Outcome, Violation, run, run_twice};

/// One in so many seeds is run twice, to see that nothing but the seed decides.
const TWICE: u64 = 8;

/// Runs without faults in which a planted bug may show.
const FAIR_SEEDS: usize = 40;

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// Runs made.
    pub runs: u64,
    /// Packets handed to engines in all of them.
    pub packets: u64,
    /// How many runs reached each thing.
    pub coverage: Coverage,
    /// Seeds in which a law did not hold, in order, with what was seen.
    pub broken: Vec<(u64, Violation)>,
}

/// A run that ends even if the engine panics: that breaks a law, too.
fn run_safely(seed: u64, options: Options, twice: bool) -> Result<Outcome, Violation> {
    let made = panic::catch_unwind(|| {
        if twice {
            run_twice(seed, options)
        } else {
            run(seed, options)
        }
    });
    let seen = match made {
        Ok(Ok(outcome)) => return Ok(outcome),
        Ok(Err(bad)) => format!("there is no such world: {bad}"),
        Err(_) => "the message is above".to_owned(),
    };
    Err(Violation {
        law: "nothing panics",
        at: 0,
        host: 0,
        call: None,
        seen,
    })
}

/// Makes the runs of all `seeds` on `threads` threads; `done` is called after each.
pub fn many(seeds: &[u64], options: Options, threads: usize, done: impl Fn() + Sync) -> Sum {
    let next = AtomicUsize::new(0);
    let sum = Mutex::new(Sum::default());
    let work = || {
        let mut own = Sum::default();
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            own.add(seed, run_safely(seed, options, seed.is_multiple_of(TWICE)));
            done();
        }
        if let Ok(mut sum) = sum.lock() {
            sum.merge(own);
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut sum = sum.into_inner().unwrap_or_default();
    sum.broken.sort_by_key(|&(seed, _)| seed);
    sum
}

impl Sum {
    fn add(&mut self, seed: u64, made: Result<Outcome, Violation>) {
        self.runs += 1;
        let broken = match made {
            Ok(outcome) => {
                self.packets += outcome.packets;
                self.coverage.count_run(&outcome.coverage);
                outcome.violation
            }
            Err(violation) => Some(violation),
        };
        self.broken
            .extend(broken.map(|violation| (seed, violation)));
    }

    fn merge(&mut self, other: Self) {
        self.runs += other.runs;
        self.packets += other.packets;
        self.coverage.merge(&other.coverage);
        self.broken.extend(other.broken);
    }
}

/// What came of a planted bug.
#[derive(Clone, Debug)]
pub struct Found {
    /// The bug.
    pub plant: Plant,
    /// Runs until a law was broken, with the seed and the law; `None`: it went unnoticed.
    pub caught: Option<(u64, u64, Violation)>,
    /// Whether it shows in runs without faults, too.
    pub shows_in_fair_runs: bool,
}

/// Looks for each of `plants` in the runs of `seeds`, one after the other until a law is broken.
pub fn hunt(
    plants: &[Plant],
    seeds: &[u64],
    options: Options,
    threads: usize,
    done: impl Fn() + Sync,
) -> Vec<Found> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let work = || {
        while let Some(&plant) = plants.get(next.fetch_add(1, Ordering::Relaxed)) {
            let one = hunt_one(plant, seeds, options);
            if let Ok(mut found) = found.lock() {
                found.push(one);
            }
            done();
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut found = found.into_inner().unwrap_or_default();
    found.sort_by_key(|one: &Found| plants.iter().position(|plant| *plant == one.plant));
    found
}

fn hunt_one(plant: Plant, seeds: &[u64], options: Options) -> Found {
    let options = Options {
        plant: Some(plant),
        ..options
    };
    let twice = plant == Plant::AsksTheOutside;
    let breaks = |seed: u64, options: Options| match run_safely(seed, options, twice) {
        Ok(outcome) => outcome.violation,
        Err(violation) => Some(violation),
    };
    let caught = seeds
        .iter()
        .zip(1..)
        .find_map(|(&seed, runs)| breaks(seed, options).map(|violation| (runs, seed, violation)));
    let fair = Options {
        fair: true,
        ..options
    };
    Found {
        plant,
        caught,
        shows_in_fair_runs: seeds
            .iter()
            .take(FAIR_SEEDS)
            .any(|&seed| breaks(seed, fair).is_some()),
    }
}
