//! The two processes of a turn, and what they tell the one that conducts the benchmark.

use core::time::Duration;
use std::io::{self, Read};
use std::process;
use std::thread;

use serde::{Deserialize, Serialize};

use super::args::Process;
use super::meter::{Meter, RESPONSE_MAX, Sample};
use super::suite::{Job, Variant};
use super::suite_named;
use crate::child;
use crate::cpu;
use crate::failure::Failure;

/// What a server tells.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Listening {
    /// Its number, by which its clock is read.
    pub(super) process: i32,
    pub(super) ports: Vec<u16>,
}

/// What a client tells.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Measured(pub(super) Result<Sample, String>);

/// The server process of one turn: serves until its parent is gone.
///
/// # Errors
/// It cannot be pinned, or its socket cannot be bound.
pub(crate) fn server(arguments: &Process) -> Result<(), Failure> {
    let (job, variant) = prepare(arguments)?;
    let ports = (variant.serve)(&job).map_err(Failure::work(variant.name))?;
    child::live_with_parent(&Listening {
        process: process::id() as i32,
        ports,
    })
}

/// The client process of one turn.
///
/// # Errors
/// It cannot be pinned, or its parent does not listen.
pub(crate) fn client(arguments: &Process) -> Result<(), Failure> {
    let (job, variant) = prepare(arguments)?;
    let longest = job.turn.warm_up + job.turn.window + 4 * RESPONSE_MAX;
    thread::spawn(move || end_after(longest));
    thread::spawn(end_with_parent);
    let meter = Meter::begin(job.turn, job.clocks.clone());
    let measured = (variant.measure)(&job, meter);
    child::tell(&Measured(measured.map_err(|error| error.to_string())))
}

fn prepare(arguments: &Process) -> Result<(Job, &'static Variant), Failure> {
    let job: Job = serde_json::from_str(&arguments.job).map_err(Failure::work("bad job"))?;
    cpu::pin(&job.cpus).map_err(Failure::work("cannot pin a process"))?;
    let variant = suite_named(&job.suite)
        .and_then(|suite| suite.variant(&job.variant))
        .ok_or_else(|| Failure::Usage(format!("no variant is called {}", job.variant)))?;
    Ok((job, variant))
}

/// A client that waits for ever for a lost message is no use to anyone.
fn end_after(longest: Duration) {
    thread::sleep(longest);
    let late = Measured(Err("no response came in time".to_owned()));
    // The process ends, whether it was heard or not.
    let _ = child::tell(&late);
    process::exit(1);
}

fn end_with_parent() {
    let _ = io::stdin().read(&mut [0]);
    process::exit(1);
}
