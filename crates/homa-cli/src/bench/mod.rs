//! `homa bench`: Homa beside the bare sockets and beside what else there is, in one run.
//!
//! One process conducts; for each turn of each variant it starts a server and a client process,
//! each at its place in the network and on its processor.

pub(crate) mod args;
mod batch;
mod bulk;
mod clocks;
mod conditions;
mod doctor;
mod engine;
mod homa;
mod kernel;
mod meter;
mod mix;
mod page;
mod placement;
pub(crate) mod process;
mod rate;
mod report;
#[cfg(feature = "rivals")]
mod rivals;
mod rtt;
mod run;
mod sockets;
mod stage;
mod statistics;
mod suite;
mod tasks;

use std::io::{self, Write};

use self::args::{BenchLink, Benchmark, Common, Pair, Rate};
pub(crate) use self::engine::engine_point;
use self::placement::Placement;
use self::suite::{Extent, Suite};
use crate::failure::Failure;
use crate::output::OutputFile;
use crate::overload;

static SUITES: [Suite; 8] = [
    rtt::SUITE,
    rtt::KERNEL,
    bulk::SUITE,
    bulk::KERNEL,
    rate::SUITE,
    rate::ENGINES,
    rate::THREADS,
    mix::SUITE,
];

/// Peers of a benchmark that needs many and was not told how many.
const MANY_PEERS: u8 = 64;

fn suite_named(name: &str) -> Option<&'static Suite> {
    SUITES.iter().find(|suite| suite.name == name)
}

/// Measures, prints the table, and writes the files that were asked for.
///
/// # Errors
/// The measurement failed or was disturbed too much, or a file cannot be written.
pub(crate) fn run(what: &Benchmark) -> Result<(), Failure> {
    match what {
        Benchmark::Rtt(arguments) => pair(["rtt", "rtt-kernel"], arguments),
        Benchmark::Bulk(arguments) => pair(["bulk", "bulk-kernel"], arguments),
        Benchmark::Rate(arguments) => rate(arguments),
        Benchmark::Mix(arguments) => mix::run(arguments),
        Benchmark::Doctor(arguments) => doctor::run(arguments),
        Benchmark::Overload(arguments) => overload::run(arguments),
        Benchmark::Engine(arguments) => engine::engine(arguments),
    }
}

/// One client and one server, with the library or with the kernel's sockets.
fn pair([library, kernel]: [&str; 2], arguments: &Pair) -> Result<(), Failure> {
    let name = match arguments.link {
        BenchLink::Udp => library,
        BenchLink::Kernel => {
            kernel::check()?;
            kernel
        }
    };
    compare(name, &arguments.common, None, 1, Placement::pair())
}

fn rate(arguments: &Rate) -> Result<(), Failure> {
    if arguments.threads {
        return compare("threads", &arguments.common, None, 1, Placement::pair());
    }
    let outstanding = Some(arguments.outstanding.into());
    let Some(engines) = arguments.engines else {
        let peers = arguments.peers.unwrap_or(1);
        return compare(
            "rate",
            &arguments.common,
            outstanding,
            peers,
            Placement::pair(),
        );
    };
    let common = Common {
        only: [1, engines]
            .map(|count| format!("engines_{count}"))
            .to_vec(),
        ..arguments.common.clone()
    };
    let peers = arguments.peers.unwrap_or(MANY_PEERS);
    compare(
        "engines",
        &common,
        outstanding,
        peers,
        Placement::of_engines(engines)?,
    )
}

fn compare(
    name: &str,
    common: &Common,
    outstanding: Option<usize>,
    peers: u8,
    placement: Placement,
) -> Result<(), Failure> {
    let suite = suite_named(name).expect("the table of suites holds every benchmark");
    let json_file = OutputFile::create(common.json.as_deref())?;
    let html_file = OutputFile::create(common.html.as_deref())?;
    let extent = Extent {
        outstanding: outstanding.unwrap_or(suite.outstanding),
        peers,
    };
    let report = run::run(suite, common, extent, placement)?;
    io::stdout()
        .write_all(report.to_string().as_bytes())
        .map_err(Failure::work("cannot print"))?;
    if let Some(file) = json_file {
        file.write_json(&report)?;
    }
    if let Some(file) = html_file {
        file.write(page::page(&report).as_bytes())?;
    }
    Ok(())
}
