//! `homa sim swarm`: many seeds under the laws, or the hunt for planted bugs.

use core::num::NonZero;
use std::thread;

use homa_sim::swarm::{
    Found, Options, Outcome, Plant, Sum, check_shape, describe, hunt, many, run as one,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::failure::Failure;
use crate::output::OutputFile;
use crate::sim::args::{Hunted, SimSwarm};

/// Violations that are shown in full.
const SHOWN_COUNT: usize = 3;

/// Runs the swarm.
///
/// # Errors
/// Wrong usage, or a law that did not hold, or a planted bug that no law caught.
pub(crate) fn run(arguments: &SimSwarm) -> Result<(), Failure> {
    if let Some(shape) = arguments.topology {
        check_shape(shape).map_err(|why| Failure::Usage(why.to_string()))?;
    }
    let json = OutputFile::create(arguments.json.as_deref())?;
    let capture = OutputFile::create(arguments.capture.as_deref())?;
    let seeds = seeds(arguments)?;
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let options = Options {
        shape: arguments.topology,
        engines: arguments.engines.map(usize::from),
        fair: arguments.fair,
        ..Options::default()
    };
    match arguments.plant {
        None => judge(arguments, &seeds, options, threads, json, capture),
        Some(hunted) => seek(hunted, &seeds, options, threads, json, capture),
    }
}

/// The seeds of this shard.
fn seeds(arguments: &SimSwarm) -> Result<Vec<u64>, Failure> {
    let (first, count) = (arguments.from, arguments.seeds);
    let last = first
        .checked_add(count - 1)
        .ok_or_else(|| Failure::Usage(format!("{count} seeds from {first} go beyond 64 bits")))?;
    let shard = arguments.shard;
    let own = |seed: &u64| (seed - first) % shard.of == shard.number - 1;
    let seeds: Vec<u64> = (first..=last).filter(own).collect();
    if seeds.is_empty() {
        let of = shard.of;
        return Err(Failure::Usage(format!(
            "{count} seeds in {of} shards leave this one empty; make at most {count} shards"
        )));
    }
    Ok(seeds)
}

fn bar(length: usize, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {pos} of {len} [{bar:40}] {eta} left")
        .expect("the template is valid")
        .progress_chars("=> ");
    ProgressBar::new(length as u64)
        .with_style(style)
        .with_message(what)
}

fn judge(
    arguments: &SimSwarm,
    seeds: &[u64],
    options: Options,
    threads: usize,
    json: Option<OutputFile>,
    capture: Option<OutputFile>,
) -> Result<(), Failure> {
    let bar = bar(seeds.len(), "seeds");
    let sum = many(seeds, options, threads, || bar.inc(1));
    bar.finish_and_clear();
    println!("{:<48} seeds", "what the runs reached");
    for (name, count) in sum.coverage.iter() {
        println!("  {name:<46} {count}");
    }
    for (seed, violation) in sum.broken.iter().take(SHOWN_COUNT) {
        println!();
        println!("seed {seed}: {} did not hold", violation.law);
        println!(
            "  at {} ns, host {}: {}",
            violation.at, violation.host, violation.seen
        );
        println!("  to replay: {}", replay(arguments, *seed));
        for line in describe(*seed, options).lines() {
            println!("  {line}");
        }
        for line in trace(*seed, options) {
            println!("  {line}");
        }
    }
    if let Some(file) = capture {
        let seed = sum.broken.first().map_or(seeds[0], |&(seed, _)| seed);
        write_capture(file, seed, options)?;
    }
    if let Some(file) = json {
        file.write(report(&sum).to_string().as_bytes())?;
    }
    println!();
    println!(
        "{} runs, {} packets, {} broken",
        sum.runs,
        sum.packets,
        sum.broken.len()
    );
    let scarce = sum.coverage.scarce(arguments.cover.unwrap_or(0));
    for (name, count) in &scarce {
        println!("reached by {count} seeds only: {name}");
    }
    if !sum.broken.is_empty() {
        Err(Failure::Work(format!(
            "in {} of {} runs a law did not hold",
            sum.broken.len(),
            sum.runs
        )))
    } else if !scarce.is_empty() {
        Err(Failure::Work(format!(
            "{} things were reached by fewer seeds than asked for",
            scarce.len()
        )))
    } else {
        Ok(())
    }
}

/// The command that makes this one run again.
fn replay(arguments: &SimSwarm, seed: u64) -> String {
    let fair = if arguments.fair { " --fair" } else { "" };
    let shape = arguments.topology.as_ref();
    let topology = shape.map_or_else(String::new, |shape| format!(" --topology {shape}"));
    let engines = arguments
        .engines
        .map_or_else(String::new, |count| format!(" --engines {count}"));
    format!("homa sim swarm --seeds 1 --from {seed}{fair}{topology}{engines}")
}

/// A seed's packets around what went wrong. An engine that panics leaves none.
fn trace(seed: u64, options: Options) -> Vec<String> {
    let options = Options {
        trace: true,
        ..options
    };
    again(seed, options).map_or_else(Vec::new, |outcome| outcome.trace)
}

fn again(seed: u64, options: Options) -> Option<Outcome> {
    std::panic::catch_unwind(|| one(seed, options).ok())
        .ok()
        .flatten()
}

fn write_capture(file: OutputFile, seed: u64, options: Options) -> Result<(), Failure> {
    let options = Options {
        capture: true,
        ..options
    };
    let capture = again(seed, options).and_then(|outcome| outcome.capture);
    let capture = capture.ok_or_else(|| Failure::Work(format!("seed {seed} leaves no capture")))?;
    file.write(&capture.into_bytes())
}

fn report(sum: &Sum) -> serde_json::Value {
    let coverage: serde_json::Map<_, _> = sum
        .coverage
        .iter()
        .map(|(name, count)| (name.to_owned(), count.into()))
        .collect();
    let broken: Vec<_> = sum
        .broken
        .iter()
        .map(|(seed, it)| {
            json!({"seed": seed, "law": it.law, "at_ns": it.at, "host": it.host, "seen": it.seen})
        })
        .collect();
    json!({"runs": sum.runs, "packets": sum.packets, "broken": broken, "coverage": coverage})
}

fn seek(
    hunted: Hunted,
    seeds: &[u64],
    options: Options,
    threads: usize,
    json: Option<OutputFile>,
    capture: Option<OutputFile>,
) -> Result<(), Failure> {
    let plants: Vec<Plant> = match hunted {
        Hunted::One(plant) => vec![plant],
        Hunted::All => Plant::ALL.iter().map(|&(plant, ..)| plant).collect(),
    };
    let bar = bar(plants.len(), "planted bugs");
    let found = hunt(&plants, seeds, options, threads, || bar.inc(1));
    bar.finish_and_clear();
    for one in &found {
        println!("{:<24} {}", one.plant.name(), outcome_of(one));
    }
    if let (Some(file), Some(first)) = (capture, found.first()) {
        let options = Options {
            plant: Some(first.plant),
            ..options
        };
        let seed = first.caught.as_ref().map_or(seeds[0], |&(_, seed, _)| seed);
        write_capture(file, seed, options)?;
    }
    if let Some(file) = json {
        let rows: Vec<_> = found.iter().map(row).collect();
        file.write(json!({ "plants": rows }).to_string().as_bytes())?;
    }
    let caught = found.iter().filter(|one| one.caught.is_some()).count();
    let hidden = found.iter().filter(|one| !one.shows_in_fair_runs).count();
    println!(
        "{caught} of {} planted bugs caught, {hidden} of them unnoticed in runs without faults",
        found.len()
    );
    if caught == found.len() {
        Ok(())
    } else {
        Err(Failure::Work(format!(
            "{} planted bugs went unnoticed in {} seeds",
            found.len() - caught,
            seeds.len()
        )))
    }
}

fn outcome_of(found: &Found) -> String {
    let fair = if found.shows_in_fair_runs {
        "shows without faults"
    } else {
        "needs faults"
    };
    match &found.caught {
        Some((runs, seed, violation)) => {
            format!("run {runs:>3} (seed {seed}), {fair}: {}", violation.law)
        }
        None => format!("unnoticed, {fair}: {}", found.plant.about()),
    }
}

fn row(found: &Found) -> serde_json::Value {
    json!({
        "plant": found.plant.name(),
        "about": found.plant.about(),
        "runs": found.caught.as_ref().map(|caught| caught.0),
        "seed": found.caught.as_ref().map(|caught| caught.1),
        "law": found.caught.as_ref().map(|caught| caught.2.law),
        "shows_in_fair_runs": found.shows_in_fair_runs,
    })
}
