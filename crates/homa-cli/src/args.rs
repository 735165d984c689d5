//! The arguments of every sub-command, and wrong usage told in one line.

use core::time::Duration;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use homa_sim::Workload;

use crate::bench::args::{Bench, EnginePoint, Process};
use crate::failure::Failure;
use crate::host::{HostOptions, LinkOption};
use crate::lab::Lab;
use crate::lab::host::LabHost;
use crate::lab::shield::LabShield;
use crate::overload::OverloadServer;
use crate::sim::args::Sim;
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
    #[command(name = "internal-lab-shield", hide = true)]
    LabShield(LabShield),
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
