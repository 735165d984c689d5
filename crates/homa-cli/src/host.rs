//! The options that say how a host of this command is set up, and the host itself.

use core::time::Duration;

use clap::Args;
use homa::{Builder, Config, Host, LinkKind, default_config, faults};

use crate::args::seconds;
use crate::failure::Failure;

/// The most that the protocol engine can be told to allow, in bytes.
const MESSAGE_LIMIT_MAX: i64 = 1 << 30;

/// Room for messages on their way, in bytes, unless one message needs more.
const SEND_BUDGET_BYTES: u64 = 64 << 20;

/// How a host of this command is set up.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct HostOptions {
    #[command(flatten)]
    pub(crate) link: LinkOption,

    /// Longest message, either way; the other end has to allow as much.
    #[arg(long, value_name = "BYTES", default_value = "1000000", value_parser = clap::value_parser!(u32).range(1..=MESSAGE_LIMIT_MAX))]
    pub(crate) max_message: u32,

    /// Give a peer up that was silent for SECONDS; without it 1 over udp and 0.1 over ip and tunnel,
    /// as the kernel module does, which is short where the peer is a process on a busy machine.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) silence: Option<Duration>,

    /// Believe addresses without proof, for peers with a stripped kernel module, which cannot give one;
    /// only where the network drops packets with forged addresses.
    #[arg(long)]
    pub(crate) stripped_peers: bool,

    /// Lose, reorder and duplicate arriving packets on purpose, for tests; rates in millionths.
    #[arg(
        long,
        value_name = "drop=N,reorder=N,duplicate=N,seed=N",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) faults: faults::Config,
}

/// How datagrams travel.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct LinkOption {
    /// How packets travel: udp and tunnel (as in the kernel module, UDP port 54321) need no rights;
    /// ip is protocol 146, as the kernel module speaks it, and takes CAP_NET_RAW.
    #[arg(long, value_name = "WORD", default_value_t)]
    pub(crate) link: LinkKind,
}

impl HostOptions {
    /// A host set up like this.
    ///
    /// # Errors
    /// The system refuses descriptors or memory.
    pub(crate) fn build(&self) -> Result<Host, Failure> {
        self.builder()
            .build()
            .map_err(Failure::work("cannot start"))
    }

    /// A host of `count` engines.
    ///
    /// # Errors
    /// The link takes one only, or the system refuses descriptors or memory.
    pub(crate) fn build_engines(&self, count: u8) -> Result<Vec<Host>, Failure> {
        self.builder()
            .build_engines(count)
            .map_err(Failure::work("cannot start"))
    }

    fn builder(&self) -> Builder {
        let budget = SEND_BUDGET_BYTES.max(self.max_message.into());
        let usual = default_config(self.link.link);
        let config = Config {
            max_message_bytes: self.max_message,
            receive_budget_bytes: budget,
            stripped_peers: self.stripped_peers,
            timeout: self.silence.unwrap_or(usual.timeout),
            ..usual
        };
        Host::builder()
            .config(config)
            .link(self.link.link)
            .faults(self.faults)
            .inspectable(true)
            .send_budget_bytes(budget)
    }

    /// The longest message, in bytes.
    pub(crate) const fn message_limit(&self) -> usize {
        self.max_message as usize
    }
}
