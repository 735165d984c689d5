//! A host of the lab: one process that serves, and calls all others.

use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::thread;

use clap::Args;
use homa::{Config, LinkKind};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::protocol::{Carrier, Tcp};
use super::wire::message_wire_bytes;
use crate::answer::Answer;
use crate::child;
use crate::cpu;
use crate::failure::Failure;
use crate::network::star;
use crate::traffic::client::{Client, DRAIN_MAX};
use crate::traffic::homa::{HomaServer, HomaTransport};
use crate::traffic::plan::{Arrival, Pattern, Planner, spread};
use crate::traffic::quic::{QuicServer, QuicTransport};
use crate::traffic::tally::{Bins, PARTS_COUNT, Problems, Recorded, Tally, Unloaded, part_of};
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

/// Settings of a network namespace, and the default of the second.
const ECN_SETTING: &str = "/proc/sys/net/ipv4/tcp_ecn";
pub(super) const RTO_MIN_SETTING: &str = "/proc/sys/net/ipv4/tcp_rto_min_us";
const RTO_MIN_US: u32 = 200_000;

/// What takes longer on an idle link is not tried, but reckoned from what is.
const UNLOADED_WIRE_MAX: Duration = Duration::from_millis(100);

/// How often and how long the fastest round trip of a size is tried.
const UNLOADED_TRIES: u32 = 50;
const UNLOADED_TURN: Duration = Duration::from_millis(200);

/// The process of a host.
#[derive(Args, Debug)]
pub(crate) struct LabHost {
    /// What to do, as JSON.
    job: String,
}

/// What a host is told.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Job {
    pub(super) host: u8,
    pub(super) hosts: u8,
    /// Which of the processes of its host it is; it calls those of that number.
    pub(super) process: u16,
    /// Whether only host 0 is called, by all others.
    pub(super) incast: bool,
    pub(super) carrier: Carrier,
    pub(super) workload: String,
    pub(super) seed: u64,
    pub(super) link_bits_per_second: u64,
    /// The processors that the host may use.
    pub(super) cpus: Vec<usize>,
    /// Whether it runs before other programs there: not where the switch runs, too.
    pub(super) goes_first: bool,
    /// Nothing to find the fastest round trips to host 1, on host 0, with nothing else under way.
    pub(super) load: Option<Load>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Load {
    /// Which arrivals: the same for all protocols in a round.
    pub(super) slice: u32,
    /// Payload of requests of this process.
    pub(super) bytes_per_second: f64,
    /// Longer messages are not short.
    pub(super) short_max: usize,
    pub(super) warm_up: Duration,
    pub(super) window: Duration,
    pub(super) cool_down: Duration,
    /// How long what is under way at the end may take.
    pub(super) drain: Duration,
    /// Sizes and their fastest round trips in nanoseconds.
    pub(super) unloaded: Vec<(usize, u64)>,
}

impl Load {
    /// That share of it.
    pub(super) fn share(&self, share: f64) -> Self {
        Self {
            bytes_per_second: self.bytes_per_second * share,
            ..self.clone()
        }
    }

    /// What slowdown is reckoned from.
    pub(super) fn base(&self) -> Unloaded {
        let points = self.unloaded.iter();
        let points = points.map(|(size, nanos)| (*size, Duration::from_nanos(*nanos)));
        Unloaded::new(points.collect())
    }

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
        recorded: Box<Recorded>,
        /// Of requests planned in each part of the time that counts.
        offered_bytes: Box<[u64; PARTS_COUNT]>,
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
    if job.goes_first {
        // Where that is not allowed the report tells how long hosts wait for their processor.
        let _ = cpu::go_first();
    }
    let ready = prepare(&job).map_err(Failure::work("cannot serve"))?;
    child::tell(&())?;
    child::wait_for_word()?;
    child::end_with_parent().map_err(Failure::work("cannot watch the parent"))?;
    // It stays until the end: what is under way is not broken off.
    let mut transport = connect(&job, &ready);
    let found = match &mut transport {
        Ok(transport) => work(&job, &ready, transport.as_mut()),
        Err(error) => Err(io::Error::other(error.to_string())),
    };
    let found = found.unwrap_or_else(|error| Found::Nothing(error.to_string()));
    child::tell(&found)?;
    // It serves on until then.
    loop {
        thread::park();
    }
}

/// The Homa host, where that is the protocol.
fn prepare(job: &Job) -> io::Result<Option<homa::Host>> {
    let address = SocketAddr::from((star::address(job.host), PORT + job.process));
    match job.carrier {
        Carrier::Homa { levels } => {
            let config = config(job.link_bits_per_second, levels);
            let host = crate::traffic::homa::host(LinkKind::Udp, config, SPIN)?;
            let server = HomaServer::on(&host, address)?;
            thread::spawn(move || tell_end(server.serve(Answer::Checksum)));
            Ok(Some(host))
        }
        Carrier::Tcp(kind) => {
            set_up(kind)?;
            let listener = TcpListener::bind(address)?;
            let congestion = kind.congestion;
            thread::spawn(move || {
                tell_end(tcp::serve(&listener, Answer::Checksum, congestion, SPIN));
            });
            Ok(None)
        }
        Carrier::Quic => {
            let server = QuicServer::on(address)?;
            thread::spawn(move || tell_end(server.serve(Answer::Checksum)));
            Ok(None)
        }
    }
}

/// Has the host's own system treat its connections that way.
fn set_up(kind: Tcp) -> io::Result<()> {
    // Two of ECN: as servers only, the system's own default.
    fs::write(ECN_SETTING, if kind.ecn { "1" } else { "2" })?;
    let rto_min = kind.rto_min_us.unwrap_or(RTO_MIN_US).to_string();
    match fs::write(RTO_MIN_SETTING, rto_min) {
        // Kernels before 6.11 have none, and their own is what is wanted.
        Err(error) if error.kind() == io::ErrorKind::NotFound && kind.rto_min_us.is_none() => {
            Ok(())
        }
        written => written,
    }
}

fn tell_end(ended: io::Result<()>) {
    if let Err(error) = ended {
        eprintln!("homa: a server of the lab stopped: {error}");
    }
}

/// What Homa is told of the network; everything else is as for any process.
pub(super) fn config(link_bits_per_second: u64, levels: u8) -> Config {
    let bytes_in = |time: Duration| (link_bits_per_second as f64 / 8.0 * time.as_secs_f64()) as u32;
    let round_trip = ROUND_TRIP_BYTES + bytes_in(ROUND_TRIP);
    let known = Config::data_center(link_bits_per_second, round_trip);
    let shipped = Config::user_space();
    // All that is granted may stand in one queue; asking before that has left, and again on top of
    // it, makes the queue longer.
    let usual = known.max_incoming_bytes - known.spare_incoming_bytes;
    let nanos = 2 * 8_000_000_000 * u64::from(usual) / link_bits_per_second;
    Config {
        resend_interval: shipped.resend_interval.max(Duration::from_nanos(nanos)),
        timeout: shipped.timeout,
        pacer_backlog: PACER_BACKLOG,
        ack_interval: ACK_INTERVAL,
        ..known
    }
    .with_levels(levels)
}

fn work(job: &Job, host: &Option<homa::Host>, transport: &mut dyn Transport) -> io::Result<Found> {
    let workload = workload::named(&job.workload).map_err(io::Error::other)?;
    let pattern = Pattern::new(job.seed);
    let planner = Planner {
        workload: &workload,
        pattern: &pattern,
        seed: seed_of(job.seed, job.host, job.process),
    };
    let mut problems = Problems::default();
    let mut client = Client {
        transport,
        pattern: &pattern,
        problems: &mut problems,
        answer: Answer::Checksum,
        left_over: false,
        drain: job.load.as_ref().map_or(DRAIN_MAX, |load| load.drain),
        spin: SPIN,
    };
    let mut found = match &job.load {
        None => unloaded(&mut client, &planner, job.link_bits_per_second)?,
        Some(load) => loaded(&mut client, &planner, job, load, host)?,
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

/// Every process has arrivals of its own.
pub(super) const fn seed_of(seed: u64, host: u8, process: u16) -> u64 {
    seed.wrapping_add((host as u64) << 32)
        .wrapping_add((process as u64) << 40)
}

fn connect(job: &Job, host: &Option<homa::Host>) -> io::Result<Box<dyn Transport>> {
    let others = match (&job.load, job.incast) {
        (None, _) => 1..2,
        (Some(_), true) => 0..1,
        (Some(_), false) => 0..job.hosts,
    };
    let others = others.filter(|other| *other != job.host);
    let servers: Vec<_> = others
        .map(|other| SocketAddr::from((star::address(other), PORT + job.process)))
        .collect();
    match (job.carrier, host) {
        (Carrier::Homa { .. }, Some(host)) => Ok(Box::new(HomaTransport::on(host, servers)?)),
        (Carrier::Homa { .. }, None) => Err(io::Error::other("there is no Homa here")),
        (Carrier::Tcp(kind), _) => {
            let (connections, congestion) = (kind.connections, kind.congestion);
            let transport = TcpTransport::connect(&servers, connections, congestion, SPIN)?;
            Ok(Box::new(transport))
        }
        (Carrier::Quic, _) => Ok(Box::new(QuicTransport::connect(&servers)?)),
    }
}

fn unloaded(
    client: &mut Client<'_>,
    planner: &Planner<'_>,
    link_bits_per_second: u64,
) -> io::Result<Found> {
    let wire_max = link_bits_per_second as f64 / 8.0 * UNLOADED_WIRE_MAX.as_secs_f64();
    let mut sizes = spread(planner.workload);
    sizes.retain(|size| f64::from(message_wire_bytes(*size)) <= wire_max);
    let mut found = Vec::new();
    for message in planner.one_of_each(&sizes) {
        let rtt = client.fastest_rtt(&message, UNLOADED_TURN, UNLOADED_TRIES)?;
        let rtt = rtt.ok_or(io::ErrorKind::TimedOut)?;
        found.push((message.size, rtt.as_nanos() as u64));
    }
    Ok(Found::Unloaded(found))
}

fn loaded(
    client: &mut Client<'_>,
    planner: &Planner<'_>,
    job: &Job,
    load: &Load,
    host: &Option<homa::Host>,
) -> io::Result<Found> {
    let (length, counted) = (load.length(), load.counted());
    let plan = planner.slice(load.slice, length, load.bytes_per_second);
    let bins = Bins::with_first(planner.workload, load.short_max);
    let mut tally = Tally::new(&bins, &load.base());
    let cpu_before = cpu_time()?;
    let counts_before = Counts::read(host.as_ref(), star::DEVICE)?;
    client.open_loop(&plan, length, counted.clone(), &mut tally)?;
    Ok(Found::Loaded {
        recorded: Box::new(tally.to_recorded()),
        offered_bytes: Box::new(offered_bytes(&plan, &counted)),
        cpu_s: (cpu_time()? - cpu_before).as_secs_f64(),
        failed_count: 0,
        first_failure: None,
        counts: Counts::read(host.as_ref(), star::DEVICE)?
            .since(counts_before)
            .of_process(job.process),
    })
}

/// Bytes of requests planned in each part of the time that counts.
pub(super) fn offered_bytes(plan: &[Arrival], counted: &Range<Duration>) -> [u64; PARTS_COUNT] {
    let mut bytes = [0; PARTS_COUNT];
    for arrival in plan {
        if let Some(part) = part_of(counted, arrival.at) {
            bytes[part] += arrival.message.size as u64;
        }
    }
    bytes
}

fn cpu_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}
