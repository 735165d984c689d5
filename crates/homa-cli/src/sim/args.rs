//! The arguments of `homa sim`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use homa_sim::figures::{Protocol, Variant};
use homa_sim::swarm::Plant;
use homa_sim::{ENGINES_MAX, Shape};

use crate::args::load;

/// Run the engine on a virtual network.
#[derive(Args, Debug)]
pub(crate) struct Sim {
    #[command(subcommand)]
    pub(crate) what: Simulation,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Simulation {
    Swarm(SimSwarm),
    Figures(SimFigures),
    Incast(SimIncast),
    Contest(SimContest),
}

/// Homa and a flow like TCP's share an uplink that carries a fourth of what the hosts behind it
/// could send: what they carry together, what the flow gets, and what is sent again.
#[derive(Args, Debug)]
pub(crate) struct SimContest {
    /// Levels of priority that the network has; the flow has the lowest.
    #[arg(long, value_name = "1..8", default_value = "1,8", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) levels: Vec<u8>,

    /// Thousandths of each link that switches keep for the lowest level. Above 0 the flow has that
    /// level to itself, and what has one level only is left out.
    #[arg(long, value_name = "PERMILLE", default_value = "0,50", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(0..=1_000))]
    pub(crate) reserve: Vec<u16>,

    /// Bytes of each switch's buffer.
    #[arg(long, value_name = "BYTES", default_value = "300000,1000000,16000000", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(10_000..=1_000_000_000))]
    pub(crate) buffer: Vec<u64>,

    /// Write the figures to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// One client asks many servers at once: which part of its link the responses fill, with incast
/// control and without.
#[derive(Args, Debug)]
pub(crate) struct SimIncast {
    /// How many servers are asked.
    #[arg(long, value_name = "N", default_value = "10,30,100,300,1000", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) servers: Vec<u32>,

    /// Bytes of each response.
    #[arg(long, value_name = "BYTES", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) bytes: u32,

    /// Write the figures to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Runs that seeds draw, with faults, under the laws; or a hunt for planted bugs.
///
/// Exit code 0: every law held, or every planted bug was caught; 1: not; 2: wrong usage.
#[derive(Args, Debug)]
pub(crate) struct SimSwarm {
    /// How many seeds.
    #[arg(long, value_name = "N", default_value = "500", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) seeds: u64,

    /// The first seed.
    #[arg(long, value_name = "S", default_value = "1")]
    pub(crate) from: u64,

    /// Run the I-th of N equal parts of the seeds.
    #[arg(long, value_name = "I/N", default_value = "1/1", value_parser = shard)]
    pub(crate) shard: Shard,

    /// Fail if fewer than N of the seeds reach a state, a limit or a counter of the engine.
    #[arg(long, value_name = "N", conflicts_with = "plant")]
    pub(crate) cover: Option<u64>,

    /// Plant a bug round the engine, or all of them one after the other, and see a law catch it.
    #[arg(long, value_name = "NAME|all", value_parser = hunted)]
    pub(crate) plant: Option<Hunted>,

    /// Leave out everything that may go wrong.
    #[arg(long)]
    pub(crate) fair: bool,

    /// Engines of every host instead of what seeds draw.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=ENGINES_MAX as i64))]
    pub(crate) engines: Option<u8>,

    /// The shape of the network instead of what seeds draw: pair, star:HOSTS,
    /// leaf-spine:RACKSxHOSTSxSPINES or fat-tree:RADIX.
    #[arg(long, value_name = "SHAPE")]
    pub(crate) topology: Option<Shape>,

    /// Write the figures to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write the packets of the first broken run, or of the first run, to FILE as pcapng.
    #[arg(long, value_name = "FILE")]
    pub(crate) capture: Option<PathBuf>,
}

/// Slowdown by message size, queues and loads, as in the papers: 144 hosts at 10 Gbit/s, Poisson
/// arrivals, one-way messages. Load counts every byte on the wire.
#[derive(Args, Debug)]
pub(crate) struct SimFigures {
    /// Message sizes: one or more of w1 to w5, or .csv files, or all.
    #[arg(
        long,
        value_name = "w1..w5|FILE.csv|all",
        default_value = "w4",
        value_delimiter = ','
    )]
    pub(crate) workload: Vec<String>,

    /// Share of the hosts' links that is in use; at 1.0 and above there is always more to do than can
    /// be done, and what is carried is the most that is sustained.
    #[arg(long, value_name = "FRACTION", default_value = "0.8", value_delimiter = ',', value_parser = load)]
    pub(crate) load: Vec<f64>,

    /// What differs from the shipped configuration: default (nothing), oracle (cutoffs of one who
    /// knows the workload), levels-1 to levels-8, overcommit-1 to overcommit-8, rpc (responses as
    /// long as requests), after-w1 to after-w5 (hosts that know another workload until the run begins).
    #[arg(long, value_name = "NAME", default_value = "default", value_delimiter = ',', value_parser = Variant::named)]
    pub(crate) variant: Vec<Variant>,

    /// What carries the messages: homa; srpt (an ideal network, a lower bound); dctcp; null (packets
    /// that nobody controls: what the network alone costs to simulate).
    #[arg(
        long,
        value_name = "NAME",
        default_value = "homa,srpt,dctcp",
        value_delimiter = ','
    )]
    pub(crate) protocol: Vec<Protocol>,

    /// Runs of each line of the table, each with messages of its own.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) seeds: u64,

    /// Measure for a tenth of the time: a first look, with fewer samples than figures need.
    #[arg(long)]
    pub(crate) brief: bool,

    /// Another shape of the network: star:HOSTS, leaf-spine:RACKSxHOSTSxSPINES or fat-tree:RADIX.
    #[arg(long, value_name = "SHAPE")]
    pub(crate) topology: Option<Shape>,

    /// Hosts that each host sends to; all if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) peers: Option<u32>,

    /// Make the I-th of N equal parts of the lines.
    #[arg(long, value_name = "I/N", default_value = "1/1", value_parser = shard)]
    pub(crate) shard: Shard,

    /// Write the figures to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write the figures to FILE as one HTML page with graphs.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write each graph to a file of its own in DIR, which is there already.
    #[arg(long, value_name = "DIR")]
    pub(crate) pictures: Option<PathBuf>,
}

/// A part of the work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shard {
    /// From 1.
    pub(crate) number: u64,
    pub(crate) of: u64,
}

/// Which planted bugs to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hunted {
    One(Plant),
    All,
}

fn shard(text: &str) -> Result<Shard, String> {
    let parts = text.split_once('/');
    let numbers = parts.and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((number, of)) if (1..=of).contains(&number) => Ok(Shard { number, of }),
        _ => Err("a shard is I/N, with I from 1 to N".to_owned()),
    }
}

fn hunted(text: &str) -> Result<Hunted, String> {
    if text == "all" {
        return Ok(Hunted::All);
    }
    let names = Plant::ALL.map(|(_, name, _)| name).join(", ");
    Plant::named(text)
        .map(Hunted::One)
        .ok_or_else(|| format!("no planted bug has this name; there are {names}, and all"))
}
