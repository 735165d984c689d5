//! The arguments of every sub-command, and wrong usage told in one line.

use core::time::Duration;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use homa_sim::figures::{Protocol, Variant};
use homa_sim::swarm::Plant;
use homa_sim::{ENGINES_MAX, Shape, Workload};

use crate::bench::args::{Bench, EnginePoint, Process};
use crate::failure::Failure;
use crate::host::{HostOptions, LinkOption};
use crate::lab::Lab;
use crate::lab::host::LabHost;
use crate::overload::OverloadServer;
use crate::ss::Ss;
use crate::workload;

/// Loads above 1 are for looking at overload.
const LOAD_MAX: f64 = 2.0;

const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// Homa: remote procedure calls whose short messages stay fast while the network is full.
#[derive(Debug, Parser)]
#[command(name = "homa", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Serve),
    Call(Call),
    Demo(Demo),
    Bench(Bench),
    Lab(Lab),
    Sim(Sim),
    Dump(Dump),
    Ss(Ss),
    #[command(name = "internal-demo-server", hide = true)]
    DemoServer(DemoServer),
    #[command(name = "internal-lab-host", hide = true)]
    LabHost(LabHost),
    #[command(name = "internal-overload-server", hide = true)]
    OverloadServer(OverloadServer),
    #[command(name = "internal-bench-server", hide = true)]
    BenchServer(Process),
    #[command(name = "internal-bench-client", hide = true)]
    BenchClient(Process),
    #[command(name = "internal-engine-point", hide = true)]
    EnginePoint(EnginePoint),
}

/// The server process of `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoServer {
    #[command(flatten)]
    pub(crate) link: LinkOption,
}

/// Answer requests: with the request itself, or with the file that it names.
///
/// Ends on SIGINT or SIGTERM, after the responses under way.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Where to listen, such as 127.0.0.1:4000, [::]:4000 or localhost:4000; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: String,

    /// Serve the files under DIR by name; a request that names none is refused, and said so here.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Protocol engines, each with a thread of its own: no more than there are processors to spare.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) engines: u8,

    /// Answer HTTP requests for /metrics at ADDR with OpenMetrics text, as Prometheus reads it.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) metrics: Option<String>,

    #[command(flatten)]
    pub(crate) host: HostOptions,
}

/// Send one request and write its response to standard output.
///
/// The message is the argument, or a file, or standard input. Exit code 0: the response is written;
/// 1: there is none; 2: wrong usage.
#[derive(Args, Debug)]
pub(crate) struct Call {
    /// The server, such as 127.0.0.1:4000 or host.example:4000.
    #[arg(value_name = "ADDR", value_parser = address)]
    pub(crate) server: String,

    /// The request; without it and without --file, standard input is sent.
    #[arg(value_name = "MESSAGE", conflicts_with = "file")]
    pub(crate) message: Option<String>,

    /// Send the contents of FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Write the response to FILE instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Give up after SECONDS.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) timeout: Duration,

    #[command(flatten)]
    pub(crate) host: HostOptions,
}

/// Carry a real workload between two processes, over Homa and over TCP, and compare them.
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// The message sizes: w1 to w5, or a file of rows size_bytes,cumulative_fraction.
    #[arg(long, value_name = "w1..w5|FILE.csv", default_value = "w4", value_parser = workload::named)]
    pub(crate) workload: Workload,

    /// Offered load, as a fraction of what TCP carries of this workload on this machine.
    #[arg(long, value_name = "FRACTION", default_value = "0.5", value_parser = load)]
    pub(crate) load: f64,

    /// How long to measure, in seconds, both protocols together.
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,

    /// Fixes sizes, arrival times and contents of all messages.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,

    /// Which protocols to measure under load.
    #[arg(long, value_name = "WHICH", default_value = "both")]
    pub(crate) protocol: Which,

    #[command(flatten)]
    pub(crate) link: LinkOption,

    /// Write the figures to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with a graph of slowdown by message size to FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// Protocols to measure.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Which {
    Homa,
    Tcp,
    Both,
}

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

/// Show the Homa packets of a capture, pcap or pcapng, or of an interface: one line each.
///
/// Packets over IP protocol 146, UDP, the UDP tunnel and TCP hijacking are found by themselves. Exit
/// code 0: the whole file was shown; 1: only as much as could be read; 2: wrong usage.
#[derive(Args, Debug)]
pub(crate) struct Dump {
    /// The capture; - is standard input.
    #[arg(value_name = "FILE", required_unless_present = "live")]
    pub(crate) file: Option<PathBuf>,

    /// Watch an interface instead, until SIGINT or SIGTERM; takes CAP_NET_RAW.
    #[arg(long, value_name = "INTERFACE", conflicts_with = "file")]
    pub(crate) live: Option<String>,

    /// Watch for so long.
    #[arg(long, value_name = "SECONDS", requires = "live", value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,

    /// Print each as a JSON object with every field of its header.
    #[arg(long)]
    pub(crate) json: bool,

    /// Print RPCs instead of packets: the timeline of each, with gaps, grants and resends.
    #[arg(long)]
    pub(crate) rpcs: bool,
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

/// Reads the command line.
///
/// # Errors
/// One line that says what is wrong and what to type instead. Help and version are no errors: they
/// are printed, and `None` comes back.
pub(crate) fn parse(words: &[OsString]) -> Result<Option<Arguments>, Failure> {
    let error = match Arguments::try_parse_from(words) {
        Ok(arguments) => return Ok(Some(arguments)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            error.print().map_err(Failure::work("cannot print help"))?;
            Ok(None)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => Err(
            Failure::Usage(format!("a command is missing; type: {}", commands(words))),
        ),
        ErrorKind::InvalidSubcommand => Err(Failure::Usage(format!(
            "there is no such command; type: {}",
            commands(words)
        ))),
        _ => Err(Failure::Usage(one_line(&error.render().to_string(), words))),
    }
}

/// The command that `words` reached before they went wrong.
fn command_reached(words: &[OsString]) -> (String, clap::Command) {
    let (mut path, mut command) = (String::from("homa"), Arguments::command());
    for word in words.iter().skip(1) {
        let Some(next) = word
            .to_str()
            .and_then(|word| command.find_subcommand(word))
            .cloned()
        else {
            break;
        };
        path = format!("{path} {}", next.get_name());
        command = next;
    }
    (path, command)
}

/// The commands that could have followed.
fn commands(words: &[OsString]) -> String {
    let (path, command) = command_reached(words);
    let shown = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let names: Vec<&str> = shown.map(clap::Command::get_name).collect();
    format!("{path} {}", names.join("|"))
}

/// The paragraphs that clap writes, told in one line.
fn one_line(rendered: &str, words: &[OsString]) -> String {
    let paragraphs = rendered
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let (mut problem, mut usage) = (String::new(), None);
    for paragraph in paragraphs {
        if let Some(text) = paragraph.strip_prefix("error: ") {
            problem.push_str(text);
        } else if let Some(text) = paragraph.strip_prefix("Usage: ") {
            usage = Some(text.to_owned());
        } else if paragraph.starts_with("tip: ") {
            problem.push_str(&format!(" ({paragraph})"));
        }
    }
    let usage = usage.unwrap_or_else(|| format!("{} --help", command_reached(words).0));
    format!("{problem}; type: {usage}")
}

/// A host and a port; whether there is such a host shows when it is used.
fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("an address is HOST:PORT, such as 127.0.0.1:4000 or [::1]:4000".to_owned()),
    }
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

/// Reads a load.
///
/// # Errors
/// It is no number, or out of range.
pub(crate) fn load(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= LOAD_MAX => Ok(value),
        _ => Err(format!("a load is a number above 0 and up to {LOAD_MAX}")),
    }
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let duration = text
        .parse::<f64>()
        .ok()
        .and_then(|value| Duration::try_from_secs_f64(value).ok());
    duration
        .filter(|duration| !duration.is_zero() && *duration <= TIMEOUT_MAX)
        .ok_or_else(|| {
            format!(
                "a timeout is a number of seconds, up to {}",
                TIMEOUT_MAX.as_secs()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: &str) -> String {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let failure = parse(&words).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        let text = failure.to_string();
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_missing_command_lists_the_commands() {
        assert_eq!(
            problem("homa"),
            "a command is missing; type: homa serve|call|demo|bench|lab|sim|dump|ss"
        );
        assert_eq!(
            problem("homa bench"),
            "a command is missing; type: homa bench rtt|bulk|rate|mix|engine|doctor|overload"
        );
    }

    #[test]
    fn wrong_words_are_told_in_one_line_with_what_to_type() {
        let cases = [
            (
                "homa serve",
                "not provided: --listen <ADDR>; type: homa serve --listen <ADDR>",
            ),
            (
                "homa dome",
                "there is no such command; type: homa serve|call|demo|bench|lab|sim|dump|ss",
            ),
            (
                "homa demo --sceonds 3",
                "unexpected argument '--sceonds' found",
            ),
            (
                "homa demo --protocol udp",
                "[possible values: homa, tcp, both]; type: homa demo --help",
            ),
            (
                "homa call",
                "not provided: <ADDR>; type: homa call <ADDR> [MESSAGE]",
            ),
            ("homa call a:1 b --file c", "cannot be used with"),
        ];
        for (line, expected) in cases {
            let found = problem(line);
            assert!(found.contains(expected), "{line}: {found}");
        }
    }

    #[test]
    fn bad_values_are_wrong_usage() {
        let cases = [
            (
                "homa demo --workload w9",
                "neither one of w1 to w5 nor a .csv file",
            ),
            ("homa call a:1 x --link tcp", "tcp"),
            (
                "homa serve --listen a:1 --max-message 0",
                "0 is not in 1..=1073741824",
            ),
            (
                "homa demo --load 0",
                "a load is a number above 0 and up to 2",
            ),
            (
                "homa demo --load nan",
                "a load is a number above 0 and up to 2",
            ),
            ("homa demo --seconds 0", "0 is not in 1..=600"),
            (
                "homa bench rtt --rounds 0",
                "0 is not in 1..=100; type: homa bench rtt --help",
            ),
            ("homa call a:1 --timeout -1", "'-1'"),
            (
                "homa sim swarm --shard 3/2",
                "a shard is I/N, with I from 1 to N",
            ),
            (
                "homa sim swarm --shard 0/2",
                "a shard is I/N, with I from 1 to N",
            ),
            (
                "homa sim swarm --plant moth",
                "no planted bug has this name",
            ),
            ("homa sim swarm --topology ring:3", "a topology is pair"),
            ("homa sim swarm --seeds 0", "0 is not in 1..="),
            (
                "homa call a:1 --timeout 1e9",
                "a timeout is a number of seconds, up to 86400",
            ),
        ];
        for (line, expected) in cases {
            let found = problem(line);
            assert!(found.contains(expected), "{line}: {found}");
        }
    }
}
