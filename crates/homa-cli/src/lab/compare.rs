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
use super::network::SwitchKind;
use super::placement::Placement;
use super::protocol::{Carrier, LEVELS, Protocol};
use super::rates::Rates;
use super::ratios::samples_min;
use super::report::Report;
use super::running::Span;
use super::sustained;
use super::virtual_time::{self, Scene};
use super::wire::message_wire_bytes;
use crate::congestion::Congestion;
use crate::failure::Failure;
use crate::output::OutputFile;
use crate::progress::Progress;
use crate::traffic::plan::{Arrival, Pattern, Planner};
use crate::traffic::tally::{Bins, Tally, Unloaded};
use crate::workload;

pub(super) const WARM_UP: Duration = Duration::from_secs(1);
/// What two protocols carry of their halves counts once as much is under way as will be later: that
/// takes some of the longest messages.
const WARM_UP_TOGETHER: Duration = Duration::from_secs(5);
pub(super) const COOL_DOWN: Duration = Duration::from_millis(500);

/// What the row of the simulated hosts is called.
pub(super) const VIRTUAL: &str = "homa_virtual";

/// Measures, prints the report, and writes the files that were asked for.
///
/// # Errors
/// The network cannot be made, a host does not do its work, or the switch is always late.
pub(super) fn run(arguments: &Compare) -> Result<(), Failure> {
    let mut json_file = OutputFile::create(arguments.json.as_deref())?;
    let mut html_file = OutputFile::create(arguments.html.as_deref())?;
    let (protocols, left_out) = available(arguments);
    let mut report = Report::new(arguments, left_out);
    for name in &arguments.workload {
        let mut unloaded = None;
        for buffer in &arguments.buffer {
            let case = measure(arguments, &protocols, name, *buffer, &mut unloaded)?;
            report.cases.push(case);
            report.compare();
            if let Some(file) = &mut json_file {
                file.rewrite_json(&report)?;
            }
            if let Some(file) = &mut html_file {
                file.rewrite(report.to_html()?.as_bytes())?;
            }
        }
    }
    io::stdout()
        .write_all(report.to_string().as_bytes())
        .map_err(Failure::work("cannot print"))?;
    report.verdict()
}

/// Those protocols that this kernel and switch can do, and what to say of the others.
fn available(arguments: &Compare) -> (Vec<Protocol>, Vec<String>) {
    let listed = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    let listed = listed.unwrap_or_default();
    let has_rto_min = Path::new(RTO_MIN_SETTING).exists();
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for protocol in &arguments.protocols {
        let lacks = protocol.parts().iter().find_map(|part| match part.carrier {
            Carrier::Tcp(tcp) if tcp.ecn && arguments.switch == SwitchKind::Htb => {
                Some("HTB marks no packets")
            }
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
    unloaded: &mut Option<Vec<(usize, u64)>>,
) -> Result<Case, Failure> {
    let workload = workload::named(name).map_err(Failure::Usage)?;
    let rates = Rates::of(arguments, &workload, arguments.load);
    let scene = scene(&rates, buffer_bytes);
    let cluster = Cluster::start(arguments, name, scene.link, scene.buffer)?;
    let short_max = arguments.short_max as usize;
    let bins = Bins::with_first(&workload, short_max);
    let timetable = Timetable::of(arguments, &workload, &bins, &rates);
    let progress = Progress::start(timetable.length(protocols));
    let unloaded = match unloaded {
        Some(known) => known,
        None => {
            progress.say("unloaded round trips");
            unloaded.insert(cluster.unloaded()?)
        }
    };
    let load = Load {
        slice: 0,
        bytes_per_second: rates.payload,
        short_max,
        warm_up: WARM_UP,
        window: timetable.window,
        cool_down: COOL_DOWN,
        drain: rates.drain(),
        unloaded: unloaded.clone(),
    };
    let rounds = timetable.rounds;
    let mut case = Case::new(name, buffer_bytes, &rates, &load, rounds);
    (case.standing, case.shielded) = (cluster.standing(), cluster.shielded());
    let mut tallies = Tallies::new(&bins, &load);
    for (slice, protocol) in timetable.turns(protocols) {
        progress.say(protocol.label());
        let load = Load {
            slice,
            warm_up: warm_up(protocol),
            ..load.clone()
        };
        let rejected = |span: &Span| {
            case.reject(protocol, span);
            progress.expect_more(timetable.turn(protocol));
        };
        match cluster.turn_in_time(protocol, &load, arguments.allow_late, rejected)? {
            Some(turn) => take(protocol, turn, &mut tallies, &mut case),
            None => case.always_late.push(protocol.name()),
        }
    }
    if arguments.sustained {
        case.sustained =
            sustained::search(arguments, &cluster, protocols, &workload, &load, &progress)?;
    }
    progress.finish();
    for (row, tally) in &tallies.by_row {
        case.finish(row, tally);
    }
    if !arguments.incast && arguments.processes == 1 {
        let plans = |slice| plans(arguments, &workload, &load, slice);
        for imagined in IMAGINED.iter().filter(|it| protocols.contains(&it.of)) {
            let mut tally = Tally::new(&bins, &load.base());
            for slice in 0..rounds {
                imagined.turn(&plans(slice), &load, &scene, &mut tally, &mut case)?;
            }
            case.finish(imagined.row, &tally);
        }
    }
    Ok(case)
}

/// How long a turn of it runs before what counts.
fn warm_up(protocol: Protocol) -> Duration {
    if protocol.parts().len() > 1 {
        WARM_UP_TOGETHER
    } else {
        WARM_UP
    }
}

/// The network of these rates, with a switch that has so much buffer.
const fn scene(rates: &Rates, buffer_bytes: u32) -> Scene {
    Scene {
        link: LinkConfig {
            bits_per_second: rates.link as u64,
            delay: 0,
        },
        buffer: BufferConfig {
            bytes: buffer_bytes as u64,
            alpha_eighths: 8,
        },
        software: Duration::ZERO,
    }
}

/// How the time of the protocols is divided.
#[derive(Clone, Copy)]
struct Timetable {
    rounds: u32,
    /// What counts of a turn.
    window: Duration,
}

impl Timetable {
    /// As was asked for, or as it takes for enough short messages.
    fn of(arguments: &Compare, workload: &Workload, bins: &Bins, rates: &Rates) -> Self {
        let wanted = samples_min(workload.mean_bytes()) as f64 * SAMPLES_SPARE;
        let enough = wanted / (rates.messages * bins.first_share(workload));
        let enough = enough.clamp(TURN_MIN_SECONDS, TURNS_MAX_SECONDS);
        let seconds = arguments.seconds.map_or(enough, |it| it.as_secs_f64());
        let rounds = (seconds / TURN_MAX_SECONDS).ceil() as u32;
        let rounds = arguments.rounds.unwrap_or(rounds).max(1);
        Self {
            rounds,
            window: Duration::from_secs_f64((seconds * 10.0 / f64::from(rounds)).ceil() / 10.0),
        }
    }

    /// Whose turn it is, with which arrivals. Who shares the load with others has more turns, to have as
    /// many messages.
    fn turns(self, protocols: &[Protocol]) -> impl Iterator<Item = (u32, Protocol)> {
        (0..self.rounds).flat_map(move |round| {
            protocols.iter().flat_map(move |protocol| {
                let count = protocol.parts().len() as u32;
                (0..count).map(move |turn| (round + turn * self.rounds, *protocol))
            })
        })
    }

    /// About how long a turn takes.
    fn turn(self, protocol: Protocol) -> Duration {
        warm_up(protocol) + self.window + COOL_DOWN + BESIDE_A_TURN
    }

    /// About how long all of them take, if none is late.
    fn length(self, protocols: &[Protocol]) -> Duration {
        let turns = self.turns(protocols);
        turns.map(|(_, protocol)| self.turn(protocol)).sum()
    }
}

/// So many more short messages are planned than a verdict takes, as they come by chance.
const SAMPLES_SPARE: f64 = 1.1;

/// With three protocols and two buffers a workload then takes 25 minutes, and one with few short
/// messages has no verdict.
const TURNS_MAX_SECONDS: f64 = 180.0;

/// A shorter turn is mostly begin and end. Of a longer one more is lost when it was late, and it is late
/// more often: a hypervisor that takes a hundredth of the time in bursts spares some turns of ten
/// seconds, but none of half a minute.
const TURN_MIN_SECONDS: f64 = 4.0;
const TURN_MAX_SECONDS: f64 = 12.0;

/// What starting processes and waiting for the last messages take.
const BESIDE_A_TURN: Duration = Duration::from_secs(3);

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
            case.add(row, offered_bytes.iter().sum(), cpu_s, counts);
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

/// What all hosts send in a turn.
fn plans(arguments: &Compare, workload: &Workload, load: &Load, slice: u32) -> Vec<Vec<Arrival>> {
    let pattern = Pattern::new(arguments.seed);
    let plan = |host| {
        let planner = Planner {
            workload,
            pattern: &pattern,
            seed: seed_of(arguments.seed, host, 0),
        };
        planner.slice(slice, load.length(), load.bytes_per_second)
    };
    (0..arguments.hosts).map(plan).collect()
}

/// A protocol in virtual time.
struct Imagined {
    of: Protocol,
    row: &'static str,
    levels: u8,
}

const IMAGINED: [Imagined; 2] = [
    Imagined {
        of: Protocol::Homa,
        row: VIRTUAL,
        levels: LEVELS,
    },
    Imagined {
        of: Protocol::HomaOneLevel,
        row: "homa_1_level_virtual",
        levels: 1,
    },
];

impl Imagined {
    /// One turn of it.
    fn turn(
        &self,
        plans: &[Vec<Arrival>],
        load: &Load,
        scene: &Scene,
        tally: &mut Tally,
        case: &mut Case,
    ) -> Result<(), Failure> {
        let (counted, end) = (load.counted(), load.length() + load.drain);
        let config = config(scene.link.bits_per_second, self.levels);
        let scene = &Scene {
            software: software_time(&load.unloaded, scene.link),
            ..*scene
        };
        let ran = virtual_time::run(scene, &config, plans, &counted, end, tally);
        let failed_count = ran.map_err(|error| Failure::Work(error.to_string()))?;
        let arrivals = plans.iter().flatten();
        let offered = arrivals.filter(|arrival| counted.contains(&arrival.at));
        let bytes = offered.map(|arrival| arrival.message.size as u64).sum();
        case.imagine(self.row, bytes, failed_count);
        Ok(())
    }
}

/// Which processors hosts and switch have, in words.
pub(super) fn placement() -> String {
    let Placement { switch, hosts } = Placement::of_machine();
    format!("the switch on processor {switch:?}, the hosts on {hosts:?}")
}
