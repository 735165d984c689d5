//! The protocols on the same cluster, with the same arrivals, in turns.

use core::time::Duration;
use std::io::{self, Write};

use homa_sim::{BufferConfig, LinkConfig, Workload};

use super::args::Compare;
use super::check::{BUSY_MAX, DEVICE_QUEUE_PACKETS, LATE_MAX_US};
use super::fabric::Fabric;
use super::host::{Found, Job, Load, Protocol, config, seed_of};
use super::placement::Placement;
use super::report::{Case, Report};
use super::running::Running;
use super::virtual_time::{self, Scene};
use super::wire::message_wire_bytes;
use crate::awake::Awake;
use crate::child::ChildProcess;
use crate::failure::Failure;
use crate::network::namespace::Namespace;
use crate::network::star;
use crate::output::OutputFile;
use crate::progress::Progress;
use crate::traffic::client::DRAIN_MAX;
use crate::traffic::plan::{Pattern, Planner};
use crate::traffic::tally::{Bins, Tally, Unloaded};
use crate::workload;

const WARM_UP: Duration = Duration::from_secs(1);
const COOL_DOWN: Duration = Duration::from_millis(500);

/// How often a turn is tried in which the switch was late.
const TRIES_MAX: u32 = 8;

/// What the row of the simulated hosts is called.
pub(super) const VIRTUAL: &str = "homa_virtual";

/// The fastest links, and the most RPCs a second in the whole cluster: what a machine with two
/// processors does without being the bottleneck.
const RATE_MAX: f64 = 100e6;
const RPCS_MAX: f64 = 12_000.0;

/// Measures, prints the report, and writes the files that were asked for.
///
/// # Errors
/// The network cannot be made, a host does not do its work, or the switch is always late.
pub(super) fn run(arguments: &Compare) -> Result<(), Failure> {
    let json_file = OutputFile::create(arguments.json.as_deref())?;
    let html_file = OutputFile::create(arguments.html.as_deref())?;
    let mut report = Report::new(arguments);
    for name in &arguments.workload {
        for buffer in &arguments.buffer {
            report.cases.push(measure(arguments, name, *buffer)?);
        }
    }
    report.compare();
    io::stdout()
        .write_all(report.to_string().as_bytes())
        .map_err(Failure::work("cannot print"))?;
    if let Some(file) = json_file {
        let json = serde_json::to_string_pretty(&report).map_err(Failure::work("JSON"))?;
        file.write((json + "\n").as_bytes())?;
    }
    if let Some(file) = html_file {
        file.write(report.to_html()?.as_bytes())?;
    }
    Ok(())
}

/// One workload on a switch with that buffer.
fn measure(arguments: &Compare, name: &str, buffer_bytes: u32) -> Result<Case, Failure> {
    let workload = workload::named(name).map_err(Failure::Usage)?;
    let rates = Rates::of(arguments, &workload);
    let link = LinkConfig {
        bits_per_second: rates.link as u64,
        delay: 0,
    };
    let buffer = BufferConfig {
        bytes: buffer_bytes.into(),
        alpha_eighths: 8,
    };
    let mut lab = Cluster::start(arguments, name, link, buffer)?;
    let window = arguments.seconds / arguments.rounds;
    let turn = WARM_UP + window + COOL_DOWN;
    let progress = Progress::start(turn * arguments.rounds * arguments.protocols.len() as u32);
    progress.say("unloaded round trips");
    let unloaded = lab.unloaded(&arguments.protocols)?;
    let points = unloaded.iter();
    let points = points.map(|(size, nanos)| (*size, Duration::from_nanos(*nanos)));
    let base = Unloaded::new(points.collect());
    let bins = Bins::of(&workload);
    let mut case = Case::new(name, buffer_bytes, &rates, &unloaded);
    let mut tallies: Vec<Tally> = arguments
        .protocols
        .iter()
        .map(|_| Tally::new(&bins, &base))
        .collect();
    let turn_of = |slice| Load {
        slice,
        bytes_per_second: rates.payload,
        warm_up: WARM_UP,
        window,
        cool_down: COOL_DOWN,
        unloaded: unloaded.clone(),
    };
    for slice in 0..arguments.rounds {
        let load = turn_of(slice);
        for (protocol, tally) in arguments.protocols.iter().zip(&mut tallies) {
            progress.say(protocol.name());
            lab.loaded(*protocol, &load, tally, &mut case, arguments.allow_late)?;
        }
    }
    progress.finish();
    for (protocol, tally) in arguments.protocols.iter().zip(&tallies) {
        case.finish(protocol.name(), tally);
    }
    if arguments.protocols.contains(&Protocol::Homa) {
        let scene = Scene {
            link,
            buffer,
            software: software_time(&unloaded, link),
        };
        let mut tally = Tally::new(&bins, &base);
        imagine(
            arguments,
            &workload,
            &turn_of(0),
            &scene,
            &mut tally,
            &mut case,
        )?;
        case.finish(VIRTUAL, &tally);
    }
    Ok(case)
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
    tally: &mut Tally,
    case: &mut Case,
) -> Result<(), Failure> {
    let pattern = Pattern::new(arguments.seed);
    let (counted, length) = (load.counted(), load.length());
    let config = config(scene.link.bits_per_second);
    for slice in 0..arguments.rounds {
        let plans: Vec<_> = (0..arguments.hosts)
            .map(|host| {
                let planner = Planner {
                    workload,
                    pattern: &pattern,
                    seed: seed_of(arguments.seed, host),
                };
                planner.slice(slice, length, load.bytes_per_second)
            })
            .collect();
        let ran = virtual_time::run(scene, &config, &plans, &counted, length + DRAIN_MAX, tally);
        let failed_count = ran.map_err(|error| Failure::Work(error.to_string()))?;
        let arrivals = plans.iter().flatten();
        let offered = arrivals.filter(|arrival| counted.contains(&arrival.at));
        let bytes = offered.map(|arrival| arrival.message.size as u64).sum();
        case.imagine(VIRTUAL, bytes, failed_count);
    }
    Ok(())
}

/// How fast links and arrivals are.
pub(super) struct Rates {
    /// Bits per second of each link.
    pub(super) link: f64,
    /// Payload bytes of requests that each host offers per second.
    pub(super) payload: f64,
}

impl Rates {
    fn of(arguments: &Compare, workload: &Workload) -> Self {
        let sizes = (0..1000).map(|step| workload.quantile((f64::from(step) + 0.5) / 1000.0));
        let wire = sizes
            .map(|size| f64::from(message_wire_bytes(size)))
            .sum::<f64>()
            / 1000.0;
        let per_host = RPCS_MAX / f64::from(arguments.hosts);
        let slow_enough = per_host * wire * 8.0 / arguments.load;
        let asked = arguments.rate.map(|mbit| f64::from(mbit) * 1e6);
        let link = asked.unwrap_or_else(|| slow_enough.min(RATE_MAX)).round();
        let rpcs = link * arguments.load / 8.0 / wire;
        Self {
            link,
            payload: rpcs * workload.mean_bytes(),
        }
    }
}

/// A cluster that runs.
struct Cluster {
    hosts: Vec<Namespace>,
    running: Running,
    _awake: Awake,
    job: Job,
}

impl Cluster {
    /// Lays the network and starts the switch; no host runs yet.
    fn start(
        arguments: &Compare,
        name: &str,
        link: LinkConfig,
        buffer: BufferConfig,
    ) -> Result<Self, Failure> {
        let laid = star::lay(arguments.hosts, DEVICE_QUEUE_PACKETS);
        let (hosts, tuns) = laid.map_err(Failure::work("cannot lay the network"))?;
        let fabric = Fabric::new(arguments.hosts, link, buffer);
        let placement = Placement::of_machine();
        let running = Running::start(fabric, tuns, &placement)
            .map_err(Failure::work("cannot start the switch"))?;
        Ok(Self {
            _awake: Awake::keep(&placement.hosts),
            hosts,
            running,
            job: Job {
                host: 0,
                hosts: arguments.hosts,
                protocol: Protocol::Homa,
                workload: name.to_owned(),
                seed: arguments.seed,
                link_bits_per_second: link.bits_per_second,
                cpus: placement.hosts,
                load: None,
            },
        })
    }

    /// The fastest round trip of each size, whichever protocol made it.
    fn unloaded(&mut self, protocols: &[Protocol]) -> Result<Vec<(usize, u64)>, Failure> {
        let mut fastest: Vec<(usize, u64)> = Vec::new();
        for protocol in protocols {
            let found = self.unloaded_of(*protocol)?;
            if fastest.is_empty() {
                fastest.clone_from(&found);
            }
            for ((_, fastest), (_, nanos)) in fastest.iter_mut().zip(found) {
                *fastest = nanos.min(*fastest);
            }
        }
        Ok(fastest)
    }

    /// Tried again where the machine was too busy for an answer in seconds.
    fn unloaded_of(&self, protocol: Protocol) -> Result<Vec<(usize, u64)>, Failure> {
        for tries_left in (0..TRIES_MAX).rev() {
            let mut pair = self.start_hosts(protocol, None, 2)?;
            pair[0].say_go()?;
            match pair[0].hear()? {
                Found::Unloaded(found) => return Ok(found),
                Found::Nothing(_) if tries_left > 0 => {}
                other => return Err(unexpected(protocol, other)),
            }
        }
        unreachable!("the last try returns")
    }

    /// One turn of a protocol, again if the switch was late.
    fn loaded(
        &mut self,
        protocol: Protocol,
        load: &Load,
        tally: &mut Tally,
        case: &mut Case,
        allow_late: bool,
    ) -> Result<(), Failure> {
        for _ in 0..TRIES_MAX {
            let count = self.job.hosts;
            let mut hosts = self.start_hosts(protocol, Some(load), count)?;
            self.running.settle().map_err(Failure::work("the switch"))?;
            hosts.iter_mut().try_for_each(ChildProcess::say_go)?;
            let found: Result<Vec<Found>, Failure> =
                hosts.iter_mut().map(ChildProcess::hear).collect();
            let (found, span) = (found?, self.running.span());
            let span = span.map_err(Failure::work("the switch"))?;
            let is_late = span.late_p99_us > LATE_MAX_US || span.busy > BUSY_MAX;
            if is_late && !allow_late {
                case.reject();
                continue;
            }
            for found in found {
                match found {
                    Found::Loaded {
                        recorded,
                        offered_bytes,
                        cpu_s,
                        failed_count,
                        first_failure,
                        counts,
                    } => {
                        tally.merge(&recorded);
                        case.add(protocol, offered_bytes, cpu_s, counts);
                        case.fail(protocol, failed_count, first_failure);
                    }
                    other => return Err(unexpected(protocol, other)),
                }
            }
            case.admit(protocol, &span, is_late);
            return Ok(());
        }
        Err(Failure::Work(format!(
            "the switch was late {TRIES_MAX} times running, or used more than {:.0} % of its \
             processor: the results would not be true; try a lower --rate, fewer --hosts or a quiet \
             machine, or keep them with --allow-late",
            BUSY_MAX * 100.0
        )))
    }

    /// Starts the processes of the first `count` hosts.
    fn start_hosts(
        &self,
        protocol: Protocol,
        load: Option<&Load>,
        count: u8,
    ) -> Result<Vec<ChildProcess<()>>, Failure> {
        let started = (0..count).zip(&self.hosts).map(|(host, namespace)| {
            let job = Job {
                host,
                protocol,
                load: load.cloned(),
                ..self.job.clone()
            };
            let job = serde_json::to_string(&job).map_err(Failure::work("JSON"))?;
            let start = || ChildProcess::start(&["internal-lab-host", &job]);
            let entered = namespace.enter(start);
            entered.map_err(Failure::work("cannot enter a network namespace"))?
        });
        started.collect()
    }
}

fn unexpected(protocol: Protocol, found: Found) -> Failure {
    let why = match found {
        Found::Nothing(why) => why,
        Found::Unloaded(_) | Found::Loaded { .. } => "it did something else".to_owned(),
    };
    Failure::Work(format!("{}: {why}", protocol.name()))
}
