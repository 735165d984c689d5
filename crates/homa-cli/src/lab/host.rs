//! A host of the lab: one process that serves, and calls all others.

use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;
use std::io;
use std::net::TcpListener;
use std::thread;

use clap::{Args, ValueEnum};
use homa::{Config, LinkKind};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use crate::answer::Answer;
use crate::child;
use crate::cpu;
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

/// The round trip that Homa is told, beyond the time that its packets take on the links: mostly
/// waiting for a processor, at either end.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// What those packets take: a full one on two links, and the grant for the next one.
const ROUND_TRIP_BYTES: u32 = 2 * 1538 + 2 * 110;

/// How much is given to the link ahead of time. Processes wait for a processor about as long; with
/// nothing given ahead the link idles meanwhile, and never carried more than half of its rate.
const PACER_BACKLOG: Duration = Duration::from_micros(500);

/// Hosts here call each other a few hundred times a second: the next request brings the ack. After
/// the 2 ms of faster networks it would be asked for every time, by two packets more for each RPC.
const ACK_INTERVAL: Duration = Duration::from_millis(50);

/// There are more hosts than processors: whoever spins takes the time of the others.
const SPIN: Duration = Duration::ZERO;

/// Hosts go before other programs of the machine, whatever the protocol.
const NICENESS: i32 = -20;

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
    /// The processors that the host may use.
    pub(super) cpus: Vec<usize>,
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

impl Load {
    /// For how long messages are sent.
    pub(super) fn length(&self) -> Duration {
        self.warm_up + self.window + self.cool_down
    }

    /// When those are sent that count.
    pub(super) fn counted(&self) -> Range<Duration> {
        self.warm_up..self.warm_up + self.window
    }
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
        counts: Counts,
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
    cpu::pin(&job.cpus).map_err(Failure::work("cannot choose processors"))?;
    // Where that is not allowed, other programs take more of the processor.
    let _ = rustix::process::setpriority_process(None, NICENESS);
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
pub(super) fn config(link_bits_per_second: u64) -> Config {
    let bytes_in = |time: Duration| (link_bits_per_second as f64 / 8.0 * time.as_secs_f64()) as u32;
    let round_trip = ROUND_TRIP_BYTES + bytes_in(ROUND_TRIP);
    let known = Config::data_center(link_bits_per_second, round_trip);
    let shipped = Config::user_space();
    // All that is granted may stand in one queue; asking before that has left, and again on top of
    // it, makes the queue longer.
    let nanos = 2 * 8_000_000_000 * u64::from(known.max_incoming_bytes) / link_bits_per_second;
    Config {
        resend_interval: shipped.resend_interval.max(Duration::from_nanos(nanos)),
        timeout: shipped.timeout,
        pacer_backlog: PACER_BACKLOG,
        ack_interval: ACK_INTERVAL,
        ..known
    }
}

fn work(job: &Job, host: &Option<homa::Host>) -> io::Result<Found> {
    let workload = workload::named(&job.workload).map_err(io::Error::other)?;
    let pattern = Pattern::new(job.seed);
    let planner = Planner {
        workload: &workload,
        pattern: &pattern,
        seed: seed_of(job.seed, job.host),
    };
    let mut problems = Problems::default();
    let mut transport = connect(job, host)?;
    let mut client = Client {
        transport: transport.as_mut(),
        pattern: &pattern,
        problems: &mut problems,
        answer: Answer::Checksum,
        left_over: false,
        spin: SPIN,
    };
    let mut found = match &job.load {
        None => unloaded(&mut client, &planner)?,
        Some(load) => loaded(&mut client, &planner, load, host)?,
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

/// Every host has arrivals of its own.
pub(super) const fn seed_of(seed: u64, host: u8) -> u64 {
    seed.wrapping_add((host as u64) << 32)
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

fn loaded(
    client: &mut Client<'_>,
    planner: &Planner<'_>,
    load: &Load,
    host: &Option<homa::Host>,
) -> io::Result<Found> {
    let (length, counted) = (load.length(), load.counted());
    let plan = planner.slice(load.slice, length, load.bytes_per_second);
    let points = load.unloaded.iter();
    let points = points.map(|(size, nanos)| (*size, Duration::from_nanos(*nanos)));
    let unloaded = Unloaded::new(points.collect());
    let mut tally = Tally::new(&Bins::of(planner.workload), &unloaded);
    let cpu_before = cpu_time()?;
    let counts_before = Counts::read(host.as_ref(), star::DEVICE)?;
    client.open_loop(&plan, length, counted.clone(), &mut tally)?;
    let offered = plan.iter().filter(|arrival| counted.contains(&arrival.at));
    Ok(Found::Loaded {
        recorded: tally.to_recorded(),
        offered_bytes: offered.map(|arrival| arrival.message.size as u64).sum(),
        cpu_s: (cpu_time()? - cpu_before).as_secs_f64(),
        failed_count: 0,
        first_failure: None,
        counts: Counts::read(host.as_ref(), star::DEVICE)?.since(counts_before),
    })
}

fn cpu_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}
