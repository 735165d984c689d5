//! `homa bench mix`: a published workload between one client and one server.
//!
//! In order: what TCP carries in bulk, the fastest unloaded round trips, then turns under load in
//! which the protocols alternate with the same arrivals. Requests have the sizes of the workload;
//! a response is the checksum of its request, so that the load goes one way, as in bulk.

mod report;
mod turn;

use core::time::Duration;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use self::report::Report;
use self::turn::Protocol;
use super::args::Mix;
use super::bulk;
use super::placement::Placement;
use super::stage::Stage;
use super::statistics::median;
use super::suite::{Extent, Figure, GIGABYTE, Suite, Task as AnyTask, Variant};
use crate::congestion::Congestion::Cubic;
use crate::failure::Failure;
use crate::output::OutputFile;
use crate::workload::MESSAGE_MAX_BYTES;

/// Messages of at most this many bytes are short.
const SHORT_MAX_BYTES: usize = 1500;

/// How long a turn is measured, unless something else is asked for.
const WINDOW: Duration = Duration::from_secs(1);

/// Turns that find out what TCP carries.
const CAPACITY_TURNS: u32 = 3;

pub(super) const SUITE: Suite = Suite {
    name: "mix",
    title: "A workload between one client and one server, its requests one way",
    figure: Figure {
        unit: "p99 µs of short messages",
        of: |sample| sample.p99_us,
        lower_is_better: true,
    },
    work: GIGABYTE,
    message_bytes: MESSAGE_MAX_BYTES,
    outstanding: 1,
    variants: VARIANTS,
    ratios: &[],
};

const VARIANTS: &[Variant] = &[
    Variant::new(
        "homa",
        |job| turn::serve(job, Protocol::Homa),
        |job, meter| turn::measure(job, meter, Protocol::Homa),
    ),
    Variant::new(
        "tcp_multiplexed",
        |job| turn::serve(job, Protocol::Tcp { connections: 1 }),
        |job, meter| turn::measure(job, meter, Protocol::Tcp { connections: 1 }),
    )
    .over(Cubic),
    Variant::new(
        "tcp_pool",
        |job| turn::serve(job, Protocol::Tcp { connections: 32 }),
        |job, meter| turn::measure(job, meter, Protocol::Tcp { connections: 32 }),
    )
    .over(Cubic),
];

/// What is to be done in a turn.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Task {
    workload: String,
    seed: u64,
    /// Nothing to find the fastest round trips.
    load: Option<Load>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Load {
    bytes_per_second: f64,
    /// Which arrivals: the same for all protocols in a round.
    slice: u32,
    /// Sizes and their fastest round trips in nanoseconds.
    unloaded: Vec<(usize, u64)>,
}

/// What was found out in a turn.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Found {
    /// Sizes and their fastest round trips in nanoseconds.
    Unloaded(Vec<(usize, u64)>),
    Loaded(Loaded),
}

/// What was found out under load.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Loaded {
    short_count: u64,
    short_p50_us: f64,
    short_p99_us: f64,
    /// Mean slowdown of all messages.
    mean_slowdown: f64,
    /// How late 99 of 100 RPCs were started at most; their latencies count from when they were due.
    late_p99_us: f64,
    /// RPCs that had no answer when the turn was over.
    unfinished_count: u64,
}

/// Measures, prints the table, and writes the files that were asked for.
///
/// # Errors
/// The measurement failed or was disturbed too much, or a file cannot be written.
pub(super) fn run(arguments: &Mix) -> Result<(), Failure> {
    let common = &arguments.common;
    let json_file = OutputFile::create(common.json.as_deref())?;
    let html_file = OutputFile::create(common.html.as_deref())?;
    let report = measure(arguments)?;
    io::stdout()
        .write_all(report.to_string().as_bytes())
        .map_err(Failure::work("cannot print"))?;
    if let Some(file) = json_file {
        file.write_json(&report)?;
    }
    if let Some(file) = html_file {
        file.write(report.to_html().as_bytes())?;
    }
    Ok(())
}

fn measure(arguments: &Mix) -> Result<Report, Failure> {
    let common = &arguments.common;
    let window = common.seconds.unwrap_or(WINDOW);
    let mut stage = Stage::set(common, window, 1, Placement::pair())?;
    let chosen = stage.choose(&SUITE, &common.only, 1)?;
    let variants = chosen.len() as u32;
    let loaded_turns = common.rounds * arguments.load.len() as u32 * variants;
    let progress = stage.expect(2 * CAPACITY_TURNS + variants + loaded_turns);

    progress.say("what TCP carries");
    let capacity = capacity(&mut stage)?;
    progress.say("unloaded round trips");
    let unloaded = unloaded(&mut stage, arguments, &chosen)?;
    let mut report = Report::new(arguments, capacity, &unloaded);
    for slice in 0..common.rounds {
        for load in &arguments.load {
            for variant in &chosen {
                progress.say(variant.name);
                let task = arguments.task(Some(Load {
                    bytes_per_second: capacity * load,
                    slice,
                    unloaded: unloaded.clone(),
                }));
                let sample = stage.sample(&SUITE, variant, EXTENT, &task)?;
                report.add(*load, variant, &sample);
            }
        }
    }
    progress.finish();
    report.finish(stage.conditions);
    Ok(report)
}

const EXTENT: Extent = Extent {
    outstanding: 1,
    peers: 1,
};

/// Bytes per second that TCP carries in bulk, the faster of spinning and blocking.
fn capacity(stage: &mut Stage) -> Result<f64, Failure> {
    let suite = &bulk::SUITE;
    let mut fastest: f64 = 0.0;
    for name in ["tcp_spin", "tcp_block"] {
        let variant = suite.variant(name).expect("the suite has it");
        let mut rates = Vec::new();
        for _ in 0..CAPACITY_TURNS {
            let sample = stage.sample(suite, variant, EXTENT, &AnyTask::Compare)?;
            rates.push(sample.bytes as f64 / sample.seconds);
        }
        fastest = fastest.max(median(&rates));
    }
    Ok(fastest)
}

/// The fastest round trip of each size, whichever protocol made it.
fn unloaded(
    stage: &mut Stage,
    arguments: &Mix,
    variants: &[&'static Variant],
) -> Result<Vec<(usize, u64)>, Failure> {
    let mut fastest: Vec<(usize, u64)> = Vec::new();
    for variant in variants {
        let sample = stage.sample(&SUITE, variant, EXTENT, &arguments.task(None))?;
        let Some(Found::Unloaded(found)) = sample.mixed else {
            return Err(Failure::Work(format!(
                "{} did something else",
                variant.name
            )));
        };
        if fastest.is_empty() {
            fastest.clone_from(&found);
        }
        for ((_, fastest), (_, nanos)) in fastest.iter_mut().zip(found) {
            *fastest = nanos.min(*fastest);
        }
    }
    Ok(fastest)
}

impl Mix {
    fn task(&self, load: Option<Load>) -> AnyTask {
        AnyTask::Mix(Task {
            workload: self.workload.clone(),
            seed: self.seed,
            load,
        })
    }
}
