//! `homa bench overload`: twice the load that a server can take, and what becomes of it.
//!
//! In order: the goodput of the server while just enough is under way; then twice as many calls a
//! second, whatever comes back; then the end, until every table is empty. The server is a process of its
//! own whose application takes a fixed time for each request, so that the application is what is
//! overloaded, and not the processor that client and server share.

mod client;
mod report;
pub(crate) mod server;

use core::time::Duration;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use homa::blocking::Client;
use homa::{Config, Host};

use crate::child::ChildProcess;
use crate::failure::Failure;
use crate::output::OutputFile;
use crate::progress::Progress;
use client::Load;
use report::Report;
use server::{Listening, Stand};

/// Bytes of a request, and of its response.
const MESSAGE_BYTES: usize = 1_000;

/// RPCs that the client may have under way, and those that the server may.
const CLIENT_RPCS: u32 = 1_024;
const SERVER_RPCS: u32 = 256;

/// What each end may hold of messages that come, of those that go, and of idle buffers.
const BUDGET_BYTES: u64 = 4 << 20;

/// Tables are to be empty after so long: the last acks, the ids of what ran, and idle peers.
const EMPTY_MAX: Duration = Duration::from_secs(20);

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Offer a server twice what it can take: is its memory bounded, its goodput kept, and do calls that
/// it has no room for fail at once?
///
/// Exit code 0: all of that holds; 1: it does not; 2: wrong usage.
#[derive(Args, Clone, Debug)]
pub(crate) struct Overload {
    /// How long twice the load is offered, in seconds.
    #[arg(long, value_name = "N", default_value = "60", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,

    /// How long the application takes for a request, in microseconds.
    #[arg(long, value_name = "MICROS", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) service: u32,

    /// The share of the goodput that must be left under twice the load.
    #[arg(long, value_name = "FRACTION", default_value = "0.9", value_parser = share)]
    pub(crate) least: f64,

    /// Write the figures to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

fn share(word: &str) -> Result<f64, String> {
    let share = word
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share is a number from 0 to 1".to_owned())
}

/// The server process of the run.
#[derive(Args, Debug)]
pub(crate) struct OverloadServer {
    #[arg(long)]
    pub(crate) service: u32,
}

/// Runs, prints what came of it, and writes the file that was asked for.
///
/// # Errors
/// The server cannot be started, a file cannot be written, or what must hold does not.
pub(crate) fn run(arguments: &Overload) -> Result<(), Failure> {
    let json_file = OutputFile::create(arguments.json.as_deref())?;
    let report = measure(arguments)?;
    io::stdout()
        .write_all(report.to_string().as_bytes())
        .map_err(Failure::work("cannot print"))?;
    if let Some(file) = json_file {
        file.write_json(&report)?;
    }
    match report.broken(arguments.least) {
        Some(what) => Err(Failure::Work(what)),
        None => Ok(()),
    }
}

fn measure(arguments: &Overload) -> Result<Report, Failure> {
    let seconds = Duration::from_secs(arguments.seconds.into());
    let calm = (seconds / 10).max(Duration::from_secs(1));
    let service = arguments.service.to_string();
    let words = ["internal-overload-server", "--service", &service];
    let mut server = ChildProcess::<Listening>::start(&words)?;
    let host = host().map_err(Failure::work("cannot start"))?;
    let client = Client::on(&host).map_err(Failure::work("cannot call"))?;
    let mut load = Load::new(&host, &client, server.told.address);
    let progress = Progress::start(calm + seconds + Duration::from_secs(4));

    progress.say("just enough");
    let enough = load.closed(calm).map_err(Failure::work("calls"))?;
    let peak = enough.per_second();
    if enough.good == 0 {
        return Err(Failure::Work("no call was answered".into()));
    }
    progress.say("twice that");
    let twice = load
        .open(seconds, 2.0 * peak)
        .map_err(Failure::work("calls"))?;
    progress.say("until all is empty");
    load.finish().map_err(Failure::work("calls"))?;
    let ended = Instant::now();
    let memory = load.stand();
    let empty = server::wait_until_empty(&host, EMPTY_MAX);
    server.say_go()?;
    let server_stand: Stand = server.hear()?;
    progress.finish();
    Ok(Report::new(
        peak,
        2.0 * peak,
        twice,
        [memory.emptied(empty), server_stand],
        ended.elapsed(),
    ))
}

/// A host with small budgets, so that they are felt.
fn host() -> Result<Host, homa::BindError> {
    let config = Config {
        max_client_rpcs: CLIENT_RPCS,
        max_server_rpcs: SERVER_RPCS,
        max_server_rpcs_per_peer: SERVER_RPCS,
        receive_budget_bytes: BUDGET_BYTES,
        peer_idle: Duration::from_secs(2),
        ..Config::user_space()
    };
    Host::builder()
        .config(config)
        .send_budget_bytes(BUDGET_BYTES)
        .pool_bytes(BUDGET_BYTES as usize)
        .inspectable(true)
        .build()
}
