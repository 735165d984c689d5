//! `homa bench rtt`: round trips of 100 bytes, Homa beside the bare sockets, in one run.
//!
//! Every variant has a short turn, then all have another, so that a disturbance hits all of them;
//! what counts is the ratio of two variants within a round.

mod engine;
mod homa;
mod report;
mod tcp;
mod turn;
mod udp;
mod variant;

use core::net::SocketAddr;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

pub(crate) use self::engine::{engine, engine_point};
use self::report::Report;
use self::turn::TURN;
use self::variant::Variant;
use crate::args::{BenchRtt, RttServer};
use crate::child::{self, ServerProcess};
use crate::cpu;
use crate::failure::Failure;
use crate::output::OutputFile;
use crate::progress::Progress;

/// Each way.
const MESSAGE_BYTES: usize = 100;

/// What a server process tells its parent.
#[derive(Debug, Deserialize, Serialize)]
struct Address {
    address: SocketAddr,
}

/// Measures, prints the table, and writes the file that was asked for.
///
/// # Errors
/// A server cannot be started or does not answer, or the file cannot be written.
pub(crate) fn rtt(arguments: &BenchRtt) -> Result<(), Failure> {
    let json_file = OutputFile::create(arguments.json.as_deref())?;
    let cpus = cpu::pair();
    if let Some([client, _]) = cpus {
        cpu::pin(client).map_err(Failure::work("cannot pin the client"))?;
    }
    let progress = Progress::start(TURN * Variant::ALL.len() as u32 * arguments.rounds);
    let mut report = Report::new(arguments.rounds, cpus);
    for _ in 0..arguments.rounds {
        for variant in Variant::ALL {
            progress.say(variant.name());
            report.add(variant, &turn(variant, cpus)?);
        }
    }
    progress.finish();
    let mut output = io::stdout();
    output
        .write_all(report.to_string().as_bytes())
        .map_err(Failure::work("cannot print"))?;
    if let Some(file) = json_file {
        file.write(report.to_json().map_err(Failure::work("JSON"))?.as_bytes())?;
    }
    Ok(())
}

/// One turn of one variant, against a server process of its own.
fn turn(variant: Variant, cpus: Option<[usize; 2]>) -> Result<turn::Turn, Failure> {
    let cpu = cpus.map(|[_, server]| server.to_string());
    let mut arguments = vec!["internal-rtt-server", variant.name()];
    arguments.extend(cpu.iter().map(String::as_str));
    let server = ServerProcess::<Address>::start(&arguments)?;
    variant
        .measure(server.addresses.address)
        .map_err(Failure::work(variant.name()))
}

/// The server process of one turn: echoes until its parent is gone.
///
/// # Errors
/// It cannot be pinned, or its socket cannot be bound.
pub(crate) fn rtt_server(arguments: &RttServer) -> Result<(), Failure> {
    if let Some(number) = arguments.cpu {
        cpu::pin(number).map_err(Failure::work("cannot pin the server"))?;
    }
    let variant = Variant::named(&arguments.variant)
        .ok_or_else(|| Failure::Usage(format!("no variant is called {}", arguments.variant)))?;
    let address = variant.serve().map_err(Failure::work(variant.name()))?;
    child::live_with_parent(&Address { address })
}
