//! `homa bench engine`: the engine alone, both ends on one core, without sockets and copies.
//!
//! Codec, tables, tombstones and timers are what they are in use; the clock is virtual and moves.
//! Every figure comes from a process of its own (`point.rs`), so that none finds memory that another
//! one left behind.

mod point;
mod report;
mod world;

use core::time::Duration;
use std::io::{self, Write};

use self::point::{Instrument, Task, TimedRun};
use self::report::{Pace, Row, Sweep};
use self::world::Scale;
use crate::bench::args::{BenchEngine, EnginePoint};
use crate::cpu;
use crate::failure::Failure;
use crate::output::OutputFile;
use crate::progress::Progress;

/// What the headline figure is measured with.
const USUAL: Scale = Scale {
    outstanding: 100,
    peers: 100,
    lifetime_ms: 1_000,
    patient: false,
};

/// RPCs under way and peers of the sweep, from few to very many.
const SWEEP: [(u32, u32); 6] = [
    (10, 1),
    (100, 10),
    (1_000, 100),
    (10_000, 1_000),
    (100_000, 10_000),
    (1_000_000, 100_000),
];

/// RPCs under way, peers, and the instructions that an RPC takes, counted by callgrind: to be
/// lowered with every gain.
const GUARDED: [(u32, u32, f64); 3] = [
    (10, 1, 2_647.0),
    (100, 100, 2_782.0),
    (10_000, 1_000, 3_426.0),
];

/// Another version of the compiler may move a count by a few per cent; a slip costs more.
const GUARD_MARGIN: f64 = 1.05;

/// How long a round of a point takes, about, for the progress bar.
const ROUND: Duration = Duration::from_millis(1_500);

/// Measures, prints, and writes the files that were asked for.
///
/// # Errors
/// A measuring process does not start or fails, or a file cannot be written.
pub(crate) fn engine(arguments: &BenchEngine) -> Result<(), Failure> {
    let json_file = OutputFile::create(arguments.json.as_deref())?;
    let html_file = OutputFile::create(arguments.html.as_deref())?;
    if let Some(first) = cpu::allowed().first() {
        cpu::pin(&[*first]).map_err(Failure::work("cannot pin this process"))?;
    }
    if arguments.guard {
        return guard();
    }
    let instrument = Instrument::find();
    let (text, json, html) = if arguments.sweep {
        sweep(arguments.rounds, instrument)?.render()?
    } else {
        pace(arguments.rounds, instrument)?.render()?
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::work("cannot print"))?;
    if let Some(file) = json_file {
        file.write(json.as_bytes())?;
    }
    if let Some(file) = html_file {
        file.write(html.as_bytes())?;
    }
    Ok(())
}

/// One measurement, in a process of its own.
///
/// # Errors
/// The task cannot be read, or the system does not tell how much memory is used.
pub(crate) fn engine_point(arguments: &EnginePoint) -> Result<(), Failure> {
    point::run(&arguments.task)
}

/// Holds the instructions of an RPC to their bounds.
fn guard() -> Result<(), Failure> {
    let mut slower = Vec::new();
    for (outstanding, peers, usual) in GUARDED {
        let scale = Scale {
            outstanding,
            peers,
            ..USUAL
        };
        let counted = count(Some(Instrument::Callgrind), scale)?.unwrap_or(f64::INFINITY);
        let line = format!(
            "{outstanding} RPCs at {peers} peers: {counted:.0} instructions each, usually {usual:.0}"
        );
        writeln!(io::stdout(), "{line}").map_err(Failure::work("cannot print"))?;
        if counted > usual * GUARD_MARGIN {
            slower.push(line);
        }
    }
    if slower.is_empty() {
        return Ok(());
    }
    Err(Failure::Work(format!(
        "more than {:.0} % above what is usual: {}",
        (GUARD_MARGIN - 1.0) * 100.0,
        slower.join("; ")
    )))
}

fn pace(rounds: u32, instrument: Option<Instrument>) -> Result<Pace, Failure> {
    let progress = Progress::start(ROUND * (rounds + 12));
    progress.say("round trips");
    let nanos = point::timed(TimedRun {
        scale: USUAL,
        // Until tombstones are forgotten as fast as they are made.
        warm_up: 4_500_000,
        rpcs: 1_000_000,
        rounds,
    })?;
    progress.say("instructions");
    let instructions = count(instrument, USUAL)?;
    progress.finish();
    Ok(Pace {
        scale: USUAL,
        nanos_per_rpc: nanos,
        instructions,
        instrument,
    })
}

fn sweep(rounds: u32, instrument: Option<Instrument>) -> Result<Sweep, Failure> {
    let points = SWEEP.len() as u32;
    let progress = Progress::start(ROUND * (points * rounds + 60));
    let mut rows = SWEEP.map(|(outstanding, peers)| Row::new(outstanding, peers));
    // All points in turn, and then again, so that a disturbance hits all of them.
    for _ in 0..rounds {
        for row in &mut rows {
            progress.say("round trips");
            let outstanding = u64::from(row.outstanding);
            let nanos = point::timed(TimedRun {
                scale: row.scale(),
                warm_up: outstanding.max(500_000),
                rpcs: outstanding.max(500_000),
                rounds: 1,
            })?;
            row.nanos_per_rpc.extend(nanos);
        }
    }
    progress.say("instructions");
    for row in &mut rows {
        row.instructions = count(instrument, row.scale())?;
    }
    progress.say("memory");
    // Whoever has to rest until all is forgotten should not have to rest for long.
    let memory = point::memory(Scale {
        lifetime_ms: 10,
        patient: false,
        ..rows[SWEEP.len() - 1].scale()
    })?;
    progress.finish();
    Ok(Sweep {
        rows: rows.into(),
        memory,
        instrument,
    })
}

/// Instructions for one RPC, if they can be counted here.
fn count(instrument: Option<Instrument>, scale: Scale) -> Result<Option<f64>, Failure> {
    let Some(instrument) = instrument else {
        return Ok(None);
    };
    // Tombstones are forgotten earlier than in the timed runs, so that as many go as come.
    let scale = Scale {
        lifetime_ms: 10,
        ..scale
    };
    let run = |rpcs| {
        let task = Task::Timed(TimedRun {
            scale,
            warm_up: 100_000,
            rpcs,
            rounds: 1,
        });
        instrument.count(&task)
    };
    // What start and warm-up take is in both counts.
    const MORE: u64 = 100_000;
    let (few, many) = (run(1)?, run(1 + MORE)?);
    Ok(Some(many.saturating_sub(few) as f64 / MORE as f64))
}
