//! One figure of `bench engine`, measured in a process of its own: this very program, run again,
//! bare for time and memory or under an instrument that counts instructions.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::world::{Scale, World};
use crate::cpu;
use crate::failure::Failure;

/// Where glibc is told how to allocate, and what has it ask for huge pages. Tables of many megabytes
/// are read all over, and with pages of 4 kB each look takes a search for its page, too.
const TUNABLES: &str = "GLIBC_TUNABLES";
const HUGE_PAGES: &str = "glibc.malloc.hugetlb=1";

/// How the processes whose time is taken allocate: by the environment, or else with huge pages where
/// the system has them for whoever asks.
pub(super) fn tunables() -> String {
    env::var(TUNABLES).unwrap_or_else(|_| HUGE_PAGES.to_owned())
}

/// What a process is to measure.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Task {
    Timed(TimedRun),
    Memory(Scale),
    /// As `Memory`, but only the client's peers.
    ClientPeers(Scale),
}

/// Round trips, and what they take of the processor.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct TimedRun {
    pub(super) scale: Scale,
    /// RPCs that are not measured, beyond the first of each that is under way.
    pub(super) warm_up: u64,
    /// RPCs of a round.
    pub(super) rpcs: u64,
    pub(super) rounds: u32,
}

/// By how many bytes the process grew, for one of each.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Memory {
    pub(super) client_peer: f64,
    pub(super) server_peer: f64,
    pub(super) client_rpc: f64,
    pub(super) server_rpc: f64,
}

/// Nanoseconds for one RPC, for each round.
///
/// # Errors
/// The process does not start or fails.
pub(super) fn timed(run: TimedRun) -> Result<Vec<f64>, Failure> {
    start(&Task::Timed(run))
}

/// What peers and RPCs take at `scale`.
///
/// # Errors
/// The process does not start or fails.
pub(super) fn memory(scale: Scale) -> Result<Memory, Failure> {
    let [peers, client_rpcs, server_rpcs]: [f64; 3] = start(&Task::Memory(scale))?;
    let client_peers: f64 = start(&Task::ClientPeers(scale))?;
    let (peer_count, rpc_count) = (f64::from(scale.peers), f64::from(scale.outstanding));
    Ok(Memory {
        client_peer: client_peers / peer_count,
        server_peer: (peers - client_peers) / peer_count,
        client_rpc: client_rpcs / rpc_count,
        server_rpc: server_rpcs / rpc_count,
    })
}

/// Something that counts the instructions of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Instrument {
    /// The processor's own counter.
    Perf,
    /// Valgrind, where a virtual machine hides that counter.
    Callgrind,
}

impl Instrument {
    /// The better of those that work here.
    pub(super) fn find() -> Option<Self> {
        let works = |instrument: &Self| instrument.count_of(Command::new("true")).is_ok();
        [Self::Perf, Self::Callgrind].into_iter().find(works)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Perf => "perf",
            Self::Callgrind => "callgrind",
        }
    }

    /// All instructions of the process that does `task`.
    ///
    /// # Errors
    /// It does not start, or fails.
    pub(super) fn count(self, task: &Task) -> Result<u64, Failure> {
        self.count_of(command(task)?)
    }

    fn count_of(self, counted: Command) -> Result<u64, Failure> {
        let (program, options): (_, &[&str]) = match self {
            Self::Perf => ("perf", &["stat", "-x,", "-e", "instructions:u"]),
            Self::Callgrind => (
                "valgrind",
                &["--tool=callgrind", "--callgrind-out-file=/dev/null"],
            ),
        };
        let output = Command::new(program)
            .args(options)
            .arg(counted.get_program())
            .args(counted.get_args())
            .output()
            .map_err(Failure::work(program))?;
        let told = String::from_utf8_lossy(&output.stderr);
        let count = told.lines().find_map(|line| match self {
            Self::Perf => line.split_once(",,instructions")?.0.parse().ok(),
            Self::Callgrind => line.split_once("Collected : ")?.1.parse().ok(),
        });
        match count {
            Some(count) if output.status.success() => Ok(count),
            _ => Err(Failure::Work(format!("{program} counts nothing: {told}"))),
        }
    }
}

fn command(task: &Task) -> Result<Command, Failure> {
    let program = env::current_exe().map_err(Failure::work("cannot find this program"))?;
    let told = serde_json::to_string(task).map_err(Failure::work("cannot tell the task"))?;
    let mut command = Command::new(program);
    command.args(["internal-engine-point", &told]);
    // Huge pages would round what tables take by as much as two megabytes.
    if matches!(task, Task::Timed(_)) {
        command.env(TUNABLES, tunables());
    }
    Ok(command)
}

fn start<T: DeserializeOwned>(task: &Task) -> Result<T, Failure> {
    let output = command(task)?
        .stderr(Stdio::inherit())
        .output()
        .map_err(Failure::work("cannot start the measuring process"))?;
    serde_json::from_slice(&output.stdout).map_err(Failure::work("the measuring process"))
}

/// The other side: measures and tells.
///
/// # Errors
/// The task cannot be read, or the system does not tell how much memory is used.
pub(super) fn run(task: &str) -> Result<(), Failure> {
    let task = serde_json::from_str(task).map_err(Failure::work("cannot read the task"))?;
    let told = match task {
        Task::Timed(run) => serde_json::to_string(&run_timed(&run)),
        Task::Memory(scale) => serde_json::to_string(&run_memory(scale)?),
        Task::ClientPeers(scale) => serde_json::to_string(&run_client_peers(scale)?),
    };
    let line = told.map_err(Failure::work("cannot tell the result"))?;
    writeln!(io::stdout(), "{line}").map_err(Failure::work("cannot tell the result"))
}

fn run_timed(run: &TimedRun) -> Vec<f64> {
    let mut world = World::new(run.scale);
    // What is said once to each peer is not part of the pace.
    world.meet_everybody();
    world.call_all();
    world.bring_requests();
    advance(&mut world, run.warm_up);
    let round = |_| {
        let started = cpu::ran_nanos();
        let rpcs = advance(&mut world, run.rpcs);
        (cpu::ran_nanos() - started) as f64 / rpcs as f64
    };
    (0..run.rounds).map(round).collect()
}

/// At least so many round trips; returns how many there were.
fn advance(world: &mut World, rpcs: u64) -> u64 {
    let start = world.completed();
    while world.completed() < start + rpcs {
        world.round();
    }
    world.completed() - start
}

/// Bytes for all peers of both ends, once they are idle; then for the client's RPCs; then for those
/// of the server.
fn run_memory(scale: Scale) -> Result<[f64; 3], Failure> {
    let mut world = World::new(scale);
    let mut before = resident()?;
    let mut growth = || -> Result<f64, Failure> {
        let after = resident()?;
        Ok(after - core::mem::replace(&mut before, after))
    };
    world.meet_everybody();
    world.rest(100 + scale.lifetime_ms);
    let peers = growth()?;
    world.call_all();
    let client_rpcs = growth()?;
    world.bring_requests();
    Ok([peers, client_rpcs, growth()?])
}

fn run_client_peers(scale: Scale) -> Result<f64, Failure> {
    let mut world = World::new(scale);
    let before = resident()?;
    world.call_in_vain();
    Ok(resident()? - before)
}

/// Bytes of memory that the process has touched and not given back, page tables and code left out.
fn resident() -> Result<f64, Failure> {
    let status =
        fs::read_to_string("/proc/self/status").map_err(Failure::work("/proc/self/status"))?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes * 1024.0)
        .ok_or_else(|| Failure::Work("/proc/self/status does not tell RssAnon".to_owned()))
}
