//! The `homa` command: serve, call, demo, bench, sim, dump and ss.

mod answer;
mod args;
mod awake;
mod bench;
mod call;
mod child;
mod congestion;
mod cpu;
mod demo;
mod dump;
mod failure;
mod files;
mod graph;
mod host;
mod lab;
mod metrics;
mod network;
mod output;
mod overload;
mod page;
mod progress;
#[cfg(feature = "rivals")]
mod quic;
mod runtime;
mod serve;
mod sim;
mod ss;
mod stop;
mod traffic;
mod workload;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use args::Command;
use failure::Failure;

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("homa: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(words: &[OsString]) -> Result<(), Failure> {
    let Some(arguments) = args::parse(words)? else {
        return Ok(());
    };
    match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::DemoServer(arguments) => demo::server::run(arguments.link),
        Command::Bench(arguments) => bench::run(&arguments.what),
        Command::OverloadServer(arguments) => overload::server::run(&arguments),
        Command::BenchServer(arguments) => bench::process::server(&arguments),
        Command::BenchClient(arguments) => bench::process::client(&arguments),
        Command::EnginePoint(arguments) => bench::engine_point(&arguments),
        Command::Lab(arguments) => lab::run(&arguments),
        Command::LabHost(arguments) => lab::host::run(&arguments),
        Command::LabShield(arguments) => lab::shield::run(&arguments),
        Command::Sim(arguments) => sim::run(&arguments.what),
        Command::Dump(arguments) => dump::run(&arguments),
        Command::Ss(arguments) => ss::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Call(arguments) => call::run(&arguments),
    }
}
