//! The protocols on the same cluster, with the same arrivals, in turns.

use core::time::Duration;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use homa_sim::{BufferConfig, LinkConfig, Workload};

use super::args::Compare;
use super::case::Case;
use super::cluster::{Cluster, Turn};
use super::host::{Found, Load, RTO_MIN_SETTING, config, seed_of};
use super::placement::Placement;
use super::protocol::{Carrier, Protocol};
use super::rates::Rates;
use super::report::Report;
use super::sustained;
use super::virtual_time::{self, Scene};
use super::wire::message_wire_bytes;
use crate::congestion::Congestion;
use crate::failure::Failure;
use crate::output::OutputFile;
use crate::progress::Progress;
use crate::traffic::plan::{Pattern, Planner};
use crate::traffic::tally::{Bins, Tally, Unloaded};
use crate::workload;

pub(super) const WARM_UP: Duration = Duration::from_secs(1);
pub(super) const COOL_DOWN: Duration = Duration::from_millis(500);

/// What the row of the simulated hosts is called.
pub(super) const VIRTUAL: &str = "homa_virtual";

/// Levels of the simulated hosts.
const LEVELS: u8 = 8;

/// Measures, prints the report, and writes the files that were asked for.
///
/// # Errors
/// The network cannot be made, a host does not do its work, or the switch is always late.
pub(super) fn run(arguments: &Compare) -> Result<(), Failure> {
    let json_file = OutputFile::create(arguments.json.as_deref())?;
    let html_file = OutputFile::create(arguments.html.as_deref())?;
    let (protocols, left_out) = available(&arguments.protocols);
    let mut report = Report::new(arguments, left_out);
    for name in &arguments.workload {
        for buffer in &arguments.buffer {
            report
                .cases
                .push(measure(arguments, &protocols, name, *buffer)?);
        }
    }
    report.compare();
    io::stdout()
        .write_all(report.to_string().as_bytes())
        .map_err(Failure::work("cannot print"))?;
    if let Some(file) = json_file {
        file.write_json(&report)?;
    }
    if let Some(file) = html_file {
        file.write(report.to_html()?.as_bytes())?;
    }
    report.verdict()
}

/// Those of `wanted` that this kernel can do, and what to say of the others.
fn available(wanted: &[Protocol]) -> (Vec<Protocol>, Vec<String>) {
    let listed = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    let listed = listed.unwrap_or_default();
    let has_rto_min = Path::new(RTO_MIN_SETTING).exists();
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for protocol in wanted {
        let lacks = protocol.parts().iter().find_map(|part| match part.carrier {
            Carrier::Tcp(tcp) if tcp.rto_min_us.is_some() && !has_rto_min => {
                Some("kernels from 6.11 on have the setting net.ipv4.tcp_rto_min_us")
            }
            Carrier::Tcp(tcp)
                if tcp.congestion == Congestion::Bbr
                    && !listed.split_whitespace().any(|name| name == "bbr") =>
            {
                Some("this kernel has no bbr")
            }
            Carrier::Quic if !cfg!(feature = "rivals") => {
                Some("this build lacks it; cargo build --release --features homa-cli/rivals")
            }
            _ => None,
        });
        match lacks {
            Some(why) => left_out.push(format!("{} left out: {why}", protocol.name())),
            None => kept.push(*protocol),
        }
    }
    (kept, left_out)
}

/// One workload on a switch with that buffer.
fn measure(
    arguments: &Compare,
    protocols: &[Protocol],
    name: &str,
    buffer_bytes: u32,
) -> Result<Case, Failure> {
    let workload = workload::named(name).map_err(Failure::Usage)?;
    let rates = Rates::of(arguments, &workload, arguments.load);
    let scene = Scene {
        link: LinkConfig {
            bits_per_second: rates.link as u64,
            delay: 0,
        },
        buffer: BufferConfig {
            bytes: buffer_bytes.into(),
            alpha_eighths: 8,
        },
        software: Duration::ZERO,
    };
    let cluster = Cluster::start(arguments, name, scene.link, scene.buffer)?;
    let short_max = arguments.short_max as usize;
    let bins = Bins::with_first(&workload, short_max);
    let turn = WARM_UP + turn_seconds(arguments, &workload, &bins, &rates) + COOL_DOWN;
    let load = Load {
        slice: 0,
        bytes_per_second: rates.payload,
        short_max,
        warm_up: WARM_UP,
        window: turn - WARM_UP - COOL_DOWN,
        cool_down: COOL_DOWN,
        drain: rates.drain(),
        unloaded: Vec::new(),
    };
    let progress = Progress::start(turn * arguments.rounds * protocols.len() as u32);
    progress.say("unloaded round trips");
    let load = Load {
        unloaded: cluster.unloaded()?,
        ..load
    };
    let mut case = Case::new(arguments, name, buffer_bytes, &rates, &load);
    case.is_real_time = cluster.is_real_time();
    let mut tallies = Tallies::new(&bins, &load);
    for slice in 0..arguments.rounds {
        let load = Load {
            slice,
            ..load.clone()
        };
        for protocol in protocols {
            progress.say(protocol.label());
            let rejected = |_: &_| case.rejected_count += 1;
            match cluster.turn_in_time(*protocol, &load, arguments.allow_late, rejected)? {
                Some(turn) => take(*protocol, turn, &mut tallies, &mut case),
                None => case.always_late.push(protocol.name()),
            }
        }
    }
    if arguments.sustained {
        case.sustained = sustained::search(arguments, &cluster, protocols, &workload, &load)?;
    }
    progress.finish();
    for (row, tally) in &tallies.by_row {
        case.finish(row, tally);
    }
    if protocols.contains(&Protocol::Homa) && !arguments.incast && arguments.processes == 1 {
        imagine(arguments, &workload, &load, &scene, &bins, &mut case)?;
    }
    Ok(case)
}

/// How long a turn counts: what was asked for, or as long as it takes for enough short messages.
fn turn_seconds(arguments: &Compare, workload: &Workload, bins: &Bins, rates: &Rates) -> Duration {
    if let Some(seconds) = arguments.seconds {
        return seconds / arguments.rounds;
    }
    let share = bins.first_share(workload);
    let wanted = super::ratios::samples_min(workload.mean_bytes()) as f64 * SAMPLES_SPARE;
    let seconds = wanted / (rates.messages * share) / f64::from(arguments.rounds);
    let longest = TURNS_MAX_SECONDS / f64::from(arguments.rounds);
    Duration::from_secs_f64(seconds.clamp(TURN_MIN_SECONDS, longest).ceil())
}

/// So many more short messages are planned than a verdict takes, as they come by chance.
const SAMPLES_SPARE: f64 = 1.1;

/// With three protocols and two buffers a workload then takes 25 minutes, and one with few short
/// messages has no verdict.
const TURNS_MAX_SECONDS: f64 = 220.0;

/// A shorter turn is mostly begin and end.
const TURN_MIN_SECONDS: f64 = 4.0;

/// A tally for each row.
struct Tallies {
    bins: Bins,
    base: Unloaded,
    by_row: Vec<(&'static str, Tally)>,
}

impl Tallies {
    fn new(bins: &Bins, load: &Load) -> Self {
        Self {
            bins: bins.clone(),
            base: load.base(),
            by_row: Vec::new(),
        }
    }

    fn of(&mut self, row: &'static str) -> &mut Tally {
        let known = self.by_row.iter().position(|(name, _)| *name == row);
        let index = known.unwrap_or_else(|| {
            self.by_row.push((row, Tally::new(&self.bins, &self.base)));
            self.by_row.len() - 1
        });
        &mut self.by_row[index].1
    }
}

/// Enters a turn.
fn take(protocol: Protocol, turn: Turn, tallies: &mut Tallies, case: &mut Case) {
    let (is_late, parts) = (turn.is_late(), protocol.parts());
    for (part, found) in turn.found {
        let row = parts[part].row;
        if let Found::Loaded {
            recorded,
            offered_bytes,
            cpu_s,
            failed_count,
            first_failure,
            counts,
        } = found
        {
            tallies.of(row).merge(&recorded);
            case.add(row, offered_bytes, cpu_s, counts);
            case.fail(row, failed_count, first_failure);
        }
    }
    for part in parts {
        case.admit(part.row, &turn.span);
    }
    case.late_count += u32::from(is_late);
}

/// What each end's software takes for a packet when nothing else is under way: a fourth of what the
/// fastest round trip takes beyond the links' time.
fn software_time(unloaded: &[(usize, u64)], link: LinkConfig) -> Duration {
    let (size, fastest) = unloaded[0];
    let wire = 2 * link.serialization(message_wire_bytes(size));
    Duration::from_nanos(fastest.saturating_sub(wire) / 4)
}

/// The turns of Homa in virtual time.
fn imagine(
    arguments: &Compare,
    workload: &Workload,
    load: &Load,
    scene: &Scene,
    bins: &Bins,
    case: &mut Case,
) -> Result<(), Failure> {
    let pattern = Pattern::new(arguments.seed);
    let mut tally = Tally::new(bins, &load.base());
    let (counted, length) = (load.counted(), load.length());
    let config = config(scene.link.bits_per_second, LEVELS);
    let scene = Scene {
        software: software_time(&load.unloaded, scene.link),
        ..*scene
    };
    for slice in 0..arguments.rounds {
        let plans: Vec<_> = (0..arguments.hosts)
            .map(|host| {
                let planner = Planner {
                    workload,
                    pattern: &pattern,
                    seed: seed_of(arguments.seed, host, 0),
                };
                planner.slice(slice, length, load.bytes_per_second)
            })
            .collect();
        let end = length + load.drain;
        let ran = virtual_time::run(&scene, &config, &plans, &counted, end, &mut tally);
        let failed_count = ran.map_err(|error| Failure::Work(error.to_string()))?;
        let arrivals = plans.iter().flatten();
        let offered = arrivals.filter(|arrival| counted.contains(&arrival.at));
        let bytes = offered.map(|arrival| arrival.message.size as u64).sum();
        case.imagine(VIRTUAL, bytes, failed_count);
    }
    case.finish(VIRTUAL, &tally);
    Ok(())
}

/// Which processors hosts and switch have, in words.
pub(super) fn placement() -> String {
    let Placement { switch, hosts } = Placement::of_machine();
    format!("the switch on processor {switch:?}, the hosts on {hosts:?}")
}
