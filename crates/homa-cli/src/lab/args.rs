//! The arguments of `homa lab`.

use core::time::Duration;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::network::SwitchKind;
use super::protocol::Protocol;
use crate::network::star::HOSTS_MAX;
use crate::workload;

/// Homa and TCP on an emulated cluster: real processes, joined by a switch whose queues are known
/// exactly. It takes root, or user namespaces and /dev/net/tun.
///
/// Exit code 0: measured; 1: not, or the switch was too late to be believed; 2: wrong usage.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Lab {
    #[command(subcommand)]
    pub(crate) what: Option<What>,

    #[command(flatten)]
    pub(crate) compare: Compare,
}

#[derive(Args, Debug)]
pub(crate) struct Compare {
    /// The message sizes: w1 to w5, or files of rows size_bytes,cumulative_fraction.
    #[arg(long, value_name = "w1..w5|FILE.csv,...", default_value = "w4", value_delimiter = ',', value_parser = workload::name)]
    pub(crate) workload: Vec<String>,

    /// Offered load, as a fraction of every link, headers and responses included.
    #[arg(long, value_name = "FRACTION", default_value = "0.8", value_parser = crate::args::load)]
    pub(crate) load: f64,

    /// Hosts, each a process that calls all others.
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u8).range(3..=HOSTS_MAX as i64))]
    pub(crate) hosts: u8,

    /// Rate of every link, in Mbit/s; without it as fast as the processors allow with this
    /// workload, up to 100.
    #[arg(long, value_name = "MBIT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: Option<u32>,

    /// Bytes of the switch's buffer, which all its ports share.
    #[arg(long, value_name = "BYTES,...", default_value = "1500000,256000", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(20_000..=100_000_000))]
    pub(crate) buffer: Vec<u32>,

    /// What to measure.
    #[arg(
        long,
        value_name = "NAME,...",
        default_value = "homa,tcp_cubic_pair,tcp_cubic_pool",
        value_delimiter = ','
    )]
    pub(crate) protocols: Vec<Protocol>,

    /// How long to measure each protocol with each buffer, in seconds, and two at once for twice as
    /// long; without it as long as it takes for enough short messages.
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,

    /// Turns that this time is divided into, so that whatever else the machine does hits all
    /// protocols; without it so many that none takes more than 12 seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: Option<u32>,

    /// Short messages are the smallest tenth, and no longer than this.
    #[arg(long, value_name = "BYTES", default_value = "1500", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) short_max: u32,

    /// All hosts call one, which gets this load of its link.
    #[arg(long)]
    pub(crate) incast: bool,

    /// Processes of each host, which share its load; each calls those of its number.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=8))]
    pub(crate) processes: u16,

    /// Look also for the highest load that each protocol carries as fast as it is offered.
    #[arg(long)]
    pub(crate) sustained: bool,

    /// Fixes sizes, arrival times and contents of all messages.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,

    /// What joins the hosts.
    #[arg(long, value_name = "exact|htb", default_value = "exact")]
    pub(crate) switch: SwitchKind,

    /// Let other programs run on the switch's processor, too. Otherwise all threads of the machine are
    /// kept off it for the time of the run, as far as this user may.
    #[arg(long)]
    pub(crate) share: bool,

    /// Keep turns in which the switch was late, and say so, instead of repeating them.
    #[arg(long)]
    pub(crate) allow_late: bool,

    /// Write the figures to FILE as JSON, again after each workload and buffer.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with graphs of slowdown by message size and of the latencies of short messages
    /// to FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds.into())),
        _ => Err("a time is a number of seconds, from 1 to 3600".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    Check(Check),
}

/// Whether this machine can run the lab: rates, strict priorities, the shared buffer and the
/// latency of an idle network, measured with real sockets against what the switch promises.
///
/// Exit code 0: all as promised; 1: not, or the machine is too slow for these rates; 2: wrong usage.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Hosts, each with an uplink and a downlink.
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u8).range(3..=HOSTS_MAX as i64))]
    pub(crate) hosts: u8,

    /// Rate of every link, in Mbit/s.
    #[arg(long, value_name = "MBIT", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,

    /// Bytes of the switch's buffer, which all its ports share.
    #[arg(long, value_name = "BYTES", default_value = "1500000", value_parser = clap::value_parser!(u32).range(20_000..=100_000_000))]
    pub(crate) buffer: u32,

    /// What joins the hosts.
    #[arg(long, value_name = "exact|htb", default_value = "exact")]
    pub(crate) switch: SwitchKind,

    /// Let other programs run on the switch's processor, too. Otherwise all threads of the machine are
    /// kept off it for the time of the run, as far as this user may.
    #[arg(long)]
    pub(crate) share: bool,

    /// Write the figures to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
