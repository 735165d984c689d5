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
        calls: Vec::new(),
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

/// One bug that is looked for in runs of one kind: all threads take seeds from it in turn.
struct Search<'a> {
    options: Options,
    seeds: &'a [u64],
    /// Number of the next seed that nobody has taken.
    next: AtomicUsize,
    /// Number of the first seed in which a law was broken; beyond the end: of none so far.
    first: AtomicUsize,
    violation: Mutex<Option<(usize, Violation)>>,
    /// Threads that may still be at it.
    threads: AtomicUsize,
}

impl<'a> Search<'a> {
    fn new(options: Options, seeds: &'a [u64], threads: usize) -> Self {
        Self {
            options,
            seeds,
            next: AtomicUsize::new(0),
            first: AtomicUsize::new(seeds.len()),
            violation: Mutex::new(None),
            threads: AtomicUsize::new(threads),
        }
    }

    /// Makes runs until none is left that could come before the first broken one. Every earlier
    /// seed was taken by somebody then, so that what is found does not depend on the threads.
    /// Returns whether this was the last thread to leave.
    fn take_part(&self) -> bool {
        let twice = self.options.plant == Some(Plant::AsksTheOutside);
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.first.load(Ordering::Relaxed) {
                return self.threads.fetch_sub(1, Ordering::Relaxed) == 1;
            }
            let violation = match run_safely(self.seeds[index], self.options, twice) {
                Ok(outcome) => outcome.violation,
                Err(violation) => Some(violation),
            };
            if let Some(violation) = violation {
                self.first.fetch_min(index, Ordering::Relaxed);
                self.keep(index, violation);
            }
        }
    }

    fn keep(&self, index: usize, violation: Violation) {
        if let Ok(mut kept) = self.violation.lock()
            && kept.as_ref().is_none_or(|&(other, _)| index < other)
        {
            *kept = Some((index, violation));
        }
    }

    /// Runs until a law was broken, with the seed and the law.
    fn caught(self) -> Option<(u64, u64, Violation)> {
        let (index, violation) = self.violation.into_inner().ok()??;
        Some((index as u64 + 1, self.seeds[index], violation))
    }
}

/// Looks for each of `plants` in the runs of `seeds`, in their order until a law is broken, and in
/// some without faults; `done` is called after each plant.
pub fn hunt(
    plants: &[Plant],
    seeds: &[u64],
    options: Options,
    threads: usize,
    done: impl Fn() + Sync,
) -> Vec<Found> {
    let threads = threads.max(1);
    let few = &seeds[..seeds.len().min(FAIR_SEEDS)];
    let pairs: Vec<(Search<'_>, Search<'_>)> = plants
        .iter()
        .map(|&plant| {
            let options = Options {
                plant: Some(plant),
                ..options
            };
            let fair = Options {
                fair: true,
                ..options
            };
            (
                Search::new(options, seeds, threads),
                Search::new(fair, few, threads),
            )
        })
        .collect();
    let work = || {
        for (any, fair) in &pairs {
            any.take_part();
            if fair.take_part() {
                done();
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    plants
        .iter()
        .zip(pairs)
        .map(|(&plant, (any, fair))| Found {
            plant,
            caught: any.caught(),
            shows_in_fair_runs: fair.caught().is_some(),
        })
        .collect()
}
