//! A host of the lab: one process that serves, and calls all others.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::net::TcpListener;
use std::thread;

use clap::{Args, ValueEnum};
use homa::{Config, LinkKind};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::wire::PACKET_MAX_BYTES;
use crate::answer::Answer;
use crate::child;
use crate::failure::Failure;
use crate::network::star;
use crate::traffic::client::Client;
use crate::traffic::homa::{HomaServer, HomaTransport};
use crate::traffic::plan::{Pattern, Planner, spread};
use crate::traffic::tally::{Bins, Problems, Recorded, Tally, Unloaded};
use crate::traffic::tcp::{self, TcpTransport};
use crate::traffic::transport::Transport;
use crate::workload;

/// Every host serves at this port of its own address.
const PORT: u16 = 4000;

/// The round trip, scheduling of processes included, that Homa is told.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// There are more hosts than processors: whoever spins takes the time of the others.
const SPIN: Duration = Duration::ZERO;

/// Slow links still carry a packet while another one is cut.
const ROUND_TRIP_MIN_BYTES: u32 = 2 * PACKET_MAX_BYTES as u32;

/// How often and how long the fastest round trip of a size is tried.
const UNLOADED_TRIES: u32 = 50;
const UNLOADED_TURN: Duration = Duration::from_millis(200);

/// The process of a host.
#[derive(Args, Debug)]
pub(crate) struct LabHost {
    /// What to do, as JSON.
    job: String,
}

/// What carries the traffic.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
pub(crate) enum Protocol {
    /// Homa over UDP, told the rate of the links.
    #[value(name = "homa")]
    Homa,
    /// TCP with cubic, one connection to each host.
    #[value(name = "tcp_cubic_pair")]
    TcpPair,
    /// TCP with cubic, eight connections to each host.
    #[value(name = "tcp_cubic_pool")]
    TcpPool,
}

impl Protocol {
    /// Its name in tables, files and on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Homa => "homa",
            Self::TcpPair => "tcp_cubic_pair",
            Self::TcpPool => "tcp_cubic_pool",
        }
    }
}

/// What a host is told.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Job {
    pub(super) host: u8,
    pub(super) hosts: u8,
    pub(super) protocol: Protocol,
    pub(super) workload: String,
    pub(super) seed: u64,
    pub(super) link_bits_per_second: u64,
    /// Nothing to find the fastest round trips to host 1, on host 0, with nothing else under way.
    pub(super) load: Option<Load>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Load {
    /// Which arrivals: the same for all protocols in a round.
    pub(super) slice: u32,
    /// Payload of requests.
    pub(super) bytes_per_second: f64,
    pub(super) warm_up: Duration,
    pub(super) window: Duration,
    pub(super) cool_down: Duration,
    /// Sizes and their fastest round trips in nanoseconds.
    pub(super) unloaded: Vec<(usize, u64)>,
}

/// What a host found out.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Found {
    /// Sizes and their fastest round trips in nanoseconds.
    Unloaded(Vec<(usize, u64)>),
    Loaded {
        recorded: Recorded,
        offered_bytes: u64,
        cpu_s: f64,
        /// RPCs that failed, and why the first one did.
        failed_count: u64,
        first_failure: Option<String>,
    },
    /// It did not work.
    Nothing(String),
}

/// The process: serves, tells so, waits for the word, does its part and tells what it found; serves
/// on until its parent is gone.
///
/// # Errors
/// The parent does not listen.
pub(crate) fn run(arguments: &LabHost) -> Result<(), Failure> {
    let job: Job = serde_json::from_str(&arguments.job).map_err(Failure::work("bad job"))?;
    let ready = prepare(&job).map_err(Failure::work("cannot serve"))?;
    child::tell(&())?;
    child::wait_for_word()?;
    let found = work(&job, &ready).unwrap_or_else(|error| Found::Nothing(error.to_string()));
    child::live_with_parent(&found)
}

/// The Homa host, where that is the protocol.
fn prepare(job: &Job) -> io::Result<Option<homa::Host>> {
    let address = SocketAddr::from((star::address(job.host), PORT));
    if job.protocol == Protocol::Homa {
        let host =
            crate::traffic::homa::host(LinkKind::Udp, config(job.link_bits_per_second), SPIN)?;
        let server = HomaServer::on(&host, address)?;
        thread::spawn(move || tell_end(server.serve(Answer::Checksum)));
        return Ok(Some(host));
    }
    let listener = TcpListener::bind(address)?;
    thread::spawn(move || tell_end(tcp::serve(&listener, Answer::Checksum, SPIN)));
    Ok(None)
}

fn tell_end(ended: io::Result<()>) {
    if let Err(error) = ended {
        eprintln!("homa: a server of the lab stopped: {error}");
    }
}

/// What Homa is told of the network; everything else is as for any process.
fn config(link_bits_per_second: u64) -> Config {
    let round_trip = link_bits_per_second as f64 / 8.0 * ROUND_TRIP.as_secs_f64();
    let round_trip = (round_trip as u32).max(ROUND_TRIP_MIN_BYTES);
    let known = Config::data_center(link_bits_per_second, round_trip);
    let shipped = Config::user_space();
    Config {
        resend_interval: shipped.resend_interval,
        timeout: shipped.timeout,
        ..known
    }
}

fn work(job: &Job, host: &Option<homa::Host>) -> io::Result<Found> {
    let workload = workload::named(&job.workload).map_err(io::Error::other)?;
    let pattern = Pattern::new(job.seed);
    let planner = Planner {
        workload: &workload,
        pattern: &pattern,
        // Every host has arrivals of its own.
        seed: job.seed.wrapping_add(u64::from(job.host) << 32),
    };
    let mut problems = Problems::default();
    let mut transport = connect(job, host)?;
    let mut client = Client {
        transport: transport.as_mut(),
        pattern: &pattern,
        problems: &mut problems,
        answer: Answer::Checksum,
        left_over: false,
    };
    let mut found = match &job.load {
        None => unloaded(&mut client, &planner)?,
        Some(load) => loaded(&mut client, &planner, load)?,
    };
    match (&mut found, problems.first()) {
        (_, None) => {}
        // What fails under load is a figure; damage never is.
        (
            Found::Loaded {
                failed_count,
                first_failure,
                ..
            },
            Some(problem),
        ) if problems.corrupt == 0 => {
            *failed_count = problems.errors;
            *first_failure = Some(problem.to_owned());
        }
        (_, Some(problem)) => return Err(io::Error::other(problem.to_owned())),
    }
    Ok(found)
}

fn connect(job: &Job, host: &Option<homa::Host>) -> io::Result<Box<dyn Transport>> {
    let others = match job.load {
        None => 1..2,
        Some(_) => 0..job.hosts,
    };
    let others = others.filter(|other| *other != job.host);
    let servers: Vec<_> = others
        .map(|other| SocketAddr::from((star::address(other), PORT)))
        .collect();
    Ok(match (job.protocol, host) {
        (Protocol::Homa, Some(host)) => Box::new(HomaTransport::on(host, servers)?),
        (Protocol::TcpPool, _) => Box::new(TcpTransport::connect(&servers, 8, SPIN)?),
        _ => Box::new(TcpTransport::connect(&servers, 1, SPIN)?),
    })
}

fn unloaded(client: &mut Client<'_>, planner: &Planner<'_>) -> io::Result<Found> {
    let mut found = Vec::new();
    for message in planner.one_of_each(&spread(planner.workload)) {
        let rtt = client.fastest_rtt(&message, UNLOADED_TURN, UNLOADED_TRIES)?;
        let rtt = rtt.ok_or(io::ErrorKind::TimedOut)?;
        found.push((message.size, rtt.as_nanos() as u64));
    }
    Ok(Found::Unloaded(found))
}

fn loaded(client: &mut Client<'_>, planner: &Planner<'_>, load: &Load) -> io::Result<Found> {
    let length = load.warm_up + load.window + load.cool_down;
    let counted = load.warm_up..load.warm_up + load.window;
    let plan = planner.slice(load.slice, length, load.bytes_per_second);
    let points = load.unloaded.iter();
    let points = points.map(|(size, nanos)| (*size, Duration::from_nanos(*nanos)));
    let unloaded = Unloaded::new(points.collect());
    let mut tally = Tally::new(&Bins::of(planner.workload), &unloaded);
    let cpu_before = cpu_time()?;
    client.open_loop(&plan, length, counted.clone(), &mut tally)?;
    let offered = plan.iter().filter(|arrival| counted.contains(&arrival.at));
    Ok(Found::Loaded {
        recorded: tally.to_recorded(),
        offered_bytes: offered.map(|arrival| arrival.message.size as u64).sum(),
        cpu_s: (cpu_time()? - cpu_before).as_secs_f64(),
        failed_count: 0,
        first_failure: None,
    })
}

fn cpu_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}
