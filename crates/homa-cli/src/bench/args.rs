//! The arguments of `homa bench`.

use core::time::Duration;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::rate::ENGINE_COUNTS;
use crate::network::Over;
use crate::overload::Overload;
use crate::workload;

/// Measure one thing on this machine.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) what: Benchmark,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Benchmark {
    /// Round trips of 100 bytes, one at a time: Homa, bare UDP and TCP, each spinning, blocking and
    /// in tokio, interleaved.
    Rtt(Pair),
    /// Messages of 1,000,000 bytes, as many as go through: Homa, bare UDP and TCP, interleaved.
    Bulk(Pair),
    /// RPCs of 100 bytes, many at once: Homa, bare UDP and TCP, interleaved; or several engines, or
    /// several threads, beside one.
    Rate(Rate),
    /// A published workload between one client and one server, at several loads: Homa and TCP,
    /// interleaved. What counts is the latency of short messages and the slowdown of all.
    Mix(Mix),
    Engine(BenchEngine),
    Doctor(Doctor),
    Overload(Overload),
}

/// What all benchmarks have in common.
///
/// Exit code 0: measured; 1: not, or the machine was too busy; 2: wrong usage.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// What to measure over: virtual cables are made for the run, which takes root or user
    /// namespaces, and are gone with it.
    #[arg(long, value_name = "WHERE", default_value = "loopback")]
    pub(crate) over: Over,

    /// How often every variant takes its turn; the table shows median and range of the rounds.
    #[arg(long, value_name = "N", default_value = "7", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// How long a turn is measured, in seconds, after a warm-up of a fifth of that; 0.25, or 1 for
    /// mix, if not said.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,

    /// Measure only these variants, named as in the table; ratios that lack one are left out.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Keep samples that other programs disturbed, and say so, instead of measuring them again.
    #[arg(long)]
    pub(crate) allow_dirty: bool,

    /// Write the figures to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with the figures and a graph to FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Pair {
    #[command(flatten)]
    pub(crate) common: Common,

    /// What speaks Homa: the library over UDP, or the sockets of the kernel module, which are compared
    /// with those of UDP and TCP that wait.
    #[arg(long, value_name = "WORD", default_value = "udp")]
    pub(crate) link: BenchLink,
}

/// See [`Pair`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum BenchLink {
    Udp,
    Kernel,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Rate {
    #[command(flatten)]
    pub(crate) common: Common,

    /// RPCs under way at once.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) outstanding: u16,

    /// Servers' addresses that the RPCs go to in turn; several leave out what talks to one only.
    /// 1 if not said, 64 with --engines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=250))]
    pub(crate) peers: Option<u8>,

    /// Compare that many engines in one process, 2, 4 or 8, with one engine.
    #[arg(long, value_name = "N", conflicts_with = "only", value_parser = engines)]
    pub(crate) engines: Option<usize>,

    /// Compare 1, 2 and 4 threads of one client, which share its socket.
    #[arg(long, conflicts_with_all = ["engines", "peers", "outstanding"])]
    pub(crate) threads: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Mix {
    #[command(flatten)]
    pub(crate) common: Common,

    /// The message sizes: w1 to w5, or a file of rows size_bytes,cumulative_fraction.
    #[arg(long, value_name = "w1..w5|FILE.csv", default_value = "w4", value_parser = workload::name)]
    pub(crate) workload: String,

    /// Offered loads, as fractions of what TCP carries in bulk here.
    #[arg(long, value_name = "FRACTION,...", default_value = "0.3,0.6", value_delimiter = ',', value_parser = crate::args::load)]
    pub(crate) load: Vec<f64>,

    /// Fixes sizes, arrival times and contents of all messages.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,
}

/// The protocol engine alone: round trips of 100 bytes between two engines on one core.
///
/// Instructions are counted by perf where that works, else by valgrind where that is installed.
#[derive(Args, Debug)]
pub(crate) struct BenchEngine {
    /// From 10 RPCs under way at 1 peer to a million at 100,000: how time, instructions and memory
    /// grow. Takes some minutes.
    #[arg(long)]
    pub(crate) sweep: bool,

    /// Only count instructions, under valgrind, and fail where they are more than usual.
    #[arg(long, conflicts_with = "sweep")]
    pub(crate) guard: bool,

    /// How often to measure; median and range of the rounds are shown.
    #[arg(long, value_name = "N", default_value = "7", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// Write the figures to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with the figures to FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// One measurement of `bench engine`.
#[derive(Args, Debug)]
pub(crate) struct EnginePoint {
    /// What to measure, as JSON.
    pub(crate) task: String,
}

/// What spoils a measurement on this machine, and what to do about it.
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Write the findings to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// A process of a benchmark.
#[derive(Args, Debug)]
pub(crate) struct Process {
    /// What to do, as JSON.
    pub(crate) job: String,
}

fn engines(text: &str) -> Result<usize, String> {
    let count = text.parse().ok();
    count
        .filter(|count| ENGINE_COUNTS.contains(count))
        .ok_or_else(|| "a number of engines to compare with one is 2, 4 or 8".to_owned())
}

/// Shorter windows hold less than the clocks can tell.
const SECONDS_MIN: f64 = 0.02;
const SECONDS_MAX: f64 = 60.0;

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(value) if (SECONDS_MIN..=SECONDS_MAX).contains(&value) => {
            Ok(Duration::from_secs_f64(value))
        }
        _ => Err(format!(
            "a turn is a number of seconds from {SECONDS_MIN} to {SECONDS_MAX}"
        )),
    }
}
