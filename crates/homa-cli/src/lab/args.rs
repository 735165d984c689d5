//! The arguments of `homa lab`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::network::star::HOSTS_MAX;

/// An emulated cluster: real processes joined by a switch whose queues are known exactly.
#[derive(Args, Debug)]
pub(crate) struct Lab {
    #[command(subcommand)]
    pub(crate) what: What,
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

    /// Write the figures to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
