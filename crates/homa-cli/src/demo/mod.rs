//! `homa demo`: one workload between two processes, over Homa and over TCP, compared.
//!
//! In order: the goodput of each, the fastest unloaded round trips, then slices under load in which the
//! protocols take turns with the same arrivals.

mod html;
mod protocol;
mod report;
pub(crate) mod server;

use core::time::Duration;
use std::io::{self, Write};

use protocol::{POOL_CONNECTIONS, Protocol};
use report::{Report, UnloadedRow, gbps};
use server::Addresses;

use crate::answer::Answer;
use crate::args::{Demo, Which};
use crate::child::ChildProcess;
use crate::congestion::Congestion;
use crate::failure::Failure;
use crate::host::LinkOption;
use crate::output::OutputFile;
use crate::progress::Progress;
use crate::traffic::SPIN;
use crate::traffic::client::{Client, DRAIN_MAX};
use crate::traffic::plan::{Pattern, Planner, SPREAD_SIZES, spread};
use crate::traffic::tally::{Bins, Problems, Tally, Unloaded};
use crate::traffic::tcp::TcpTransport;
use crate::traffic::transport::Transport;

/// Turns that each protocol has at each of those sizes, and the limits of a turn.
const UNLOADED_TURNS: u32 = 6;
const UNLOADED_TRIES: u32 = 30;
const UNLOADED_TURN: Duration = Duration::from_millis(15);

/// Messages that are sent over and over to measure goodput.
const GOODPUT_MESSAGES: u64 = 4096;
const GOODPUT_LENGTH_MAX: Duration = Duration::from_millis(1500);

/// Runs the demo, prints its report, and writes the files that were asked for.
///
/// # Errors
/// The server cannot be started or reached, a file cannot be written, or any RPC failed or was
/// corrupt.
pub(crate) fn run(arguments: &Demo) -> Result<(), Failure> {
    let json_file = OutputFile::create(arguments.json.as_deref())?;
    let html_file = OutputFile::create(arguments.html.as_deref())?;
    let report = measure(arguments)?;
    io::stdout()
        .write_all(report.to_string().as_bytes())
        .map_err(Failure::work("cannot print the report"))?;
    if let Some(file) = json_file {
        file.write_json(&report)?;
    }
    if let Some(file) = html_file {
        file.write(html::page(&report)?.as_bytes())?;
    }
    match &report.first_problem {
        Some(_) => Err(Failure::Work("some RPCs failed; see above".into())),
        None => Ok(()),
    }
}

fn measure(arguments: &Demo) -> Result<Report, Failure> {
    let link = arguments.link;
    let words = ["internal-demo-server", "--link", link.link.word()];
    let server = ChildProcess::<Addresses>::start(&words)?;
    let pattern = Pattern::new(arguments.seed);
    let planner = Planner {
        workload: &arguments.workload,
        pattern: &pattern,
        seed: arguments.seed,
    };
    let slices = Slices::new(arguments);
    let goodput_length = (slices.total() / 8).min(GOODPUT_LENGTH_MAX);
    let progress = Progress::start(expected_time(goodput_length, &slices));
    let tcp = TcpTransport::connect(
        &[server.told.tcp],
        POOL_CONNECTIONS,
        Congestion::Cubic,
        SPIN,
    )
    .map_err(Failure::work("TCP"))?;
    let congestion = tcp.congestion();
    let mut demo = Measurement {
        server,
        link,
        planner,
        problems: Problems::default(),
        transports: vec![(Protocol::Tcp, Box::new(tcp))],
    };

    progress.say("goodput");
    let [homa_goodput, tcp_goodput] = demo.goodputs(goodput_length)?;
    let bytes_per_second = tcp_goodput * arguments.load;
    progress.say("unloaded round trips");
    let (unloaded_rows, unloaded) = demo.unloaded()?;
    progress.say("under load");
    let bins = Bins::of(&arguments.workload);
    let mut tallies: Vec<(Protocol, Tally)> = slices
        .protocols
        .iter()
        .map(|p| (*p, Tally::new(&bins, &unloaded)))
        .collect();
    demo.under_load(&slices, bytes_per_second, &mut tallies)?;
    progress.finish();

    let mut report = Report {
        workload: arguments.workload.name().to_owned(),
        seed: arguments.seed,
        seconds: arguments.seconds,
        load: arguments.load,
        offered_gbps: gbps(bytes_per_second),
        homa_goodput_gbps: gbps(homa_goodput),
        tcp_goodput_gbps: gbps(tcp_goodput),
        tcp_congestion: congestion,
        tcp_connections: POOL_CONNECTIONS,
        unloaded: unloaded_rows,
        rows: Vec::new(),
        totals: Vec::new(),
        errors: 0,
        corrupt: 0,
        first_problem: None,
    };
    tallies
        .iter()
        .for_each(|(protocol, tally)| report.add(*protocol, tally));
    report.add_problems(&demo.problems);
    Ok(report)
}

/// How the time under load is divided.
struct Slices {
    protocols: Vec<Protocol>,
    /// Slices of each protocol.
    count: u32,
    length: Duration,
}

impl Slices {
    /// Slices of about a second, so that whatever else the machine does hits both protocols.
    fn new(arguments: &Demo) -> Self {
        let protocols = match arguments.protocol {
            Which::Both => Protocol::ALL.to_vec(),
            Which::Homa => vec![Protocol::Homa],
            Which::Tcp => vec![Protocol::Tcp],
        };
        let each = Duration::from_secs(arguments.seconds.into()) / protocols.len() as u32;
        let count = u32::try_from(each.as_secs()).unwrap_or(u32::MAX).max(1);
        Self {
            protocols,
            count,
            length: each / count,
        }
    }

    fn total(&self) -> Duration {
        self.length * self.count * self.protocols.len() as u32
    }
}

fn expected_time(goodput_length: Duration, slices: &Slices) -> Duration {
    let turns = SPREAD_SIZES * UNLOADED_TURNS * Protocol::ALL.len() as u32;
    goodput_length * 2 + UNLOADED_TURN * turns / 2 + slices.total()
}

/// A demo under way.
struct Measurement<'a> {
    server: ChildProcess<Addresses>,
    link: LinkOption,
    planner: Planner<'a>,
    problems: Problems,
    transports: Vec<(Protocol, Box<dyn Transport>)>,
}

impl Measurement<'_> {
    /// Lets a client of `protocol` work. It is connected anew if it has no transport at the moment,
    /// and loses it if something is left under way, which would come back in the next measurement.
    fn with_client<T>(
        &mut self,
        protocol: Protocol,
        work: impl FnOnce(&mut Client<'_>) -> io::Result<T>,
    ) -> Result<T, Failure> {
        if !self.transports.iter().any(|(known, _)| *known == protocol) {
            let transport = protocol.connect(&self.server.told, self.link);
            let transport = transport.map_err(Failure::work(protocol))?;
            self.transports.push((protocol, transport));
        }
        let transport = self
            .transports
            .iter_mut()
            .find(|(known, _)| *known == protocol);
        let (_, transport) = transport.expect("it was there or has just been pushed");
        let mut client = Client {
            transport: transport.as_mut(),
            pattern: self.planner.pattern,
            problems: &mut self.problems,
            answer: Answer::Echo,
            left_over: false,
            drain: DRAIN_MAX,
            spin: SPIN,
        };
        let result = work(&mut client);
        if client.left_over {
            self.transports.retain(|(known, _)| *known != protocol);
        }
        result.map_err(Failure::work(protocol))
    }

    /// Bytes of requests per second that each protocol carries.
    fn goodputs(&mut self, length: Duration) -> Result<[f64; Protocol::ALL.len()], Failure> {
        let messages = self.planner.messages(GOODPUT_MESSAGES);
        let mut goodputs = [0.0; _];
        for (protocol, goodput) in Protocol::ALL.into_iter().zip(&mut goodputs) {
            *goodput = self.with_client(protocol, |client| client.goodput(&messages, length))?;
            if *goodput == 0.0 {
                return Err(Failure::Work(format!("{protocol} carried nothing")));
            }
        }
        Ok(goodputs)
    }

    fn unloaded(&mut self) -> Result<(Vec<UnloadedRow>, Unloaded), Failure> {
        let workload = self.planner.workload;
        let sizes = spread(workload);
        let (mut rows, mut points) = (Vec::new(), Vec::new());
        for message in self.planner.one_of_each(&sizes) {
            let mut fastest: [Option<Duration>; Protocol::ALL.len()] = [None; _];
            for _ in 0..UNLOADED_TURNS {
                for (protocol, fastest) in Protocol::ALL.into_iter().zip(&mut fastest) {
                    let rtt = self.with_client(protocol, |client| {
                        client.fastest_rtt(&message, UNLOADED_TURN, UNLOADED_TRIES)
                    })?;
                    *fastest = [*fastest, rtt].into_iter().flatten().min();
                }
            }
            let [homa_us, tcp_us] = fastest.map(|rtt| rtt.map(|rtt| rtt.as_secs_f64() * 1e6));
            rows.push(UnloadedRow {
                size: message.size,
                homa_us,
                tcp_us,
            });
            points.extend(
                fastest
                    .into_iter()
                    .flatten()
                    .min()
                    .map(|rtt| (message.size, rtt)),
            );
        }
        if points.is_empty() {
            return Err(Failure::Work(
                "no RPC was answered on an idle machine".into(),
            ));
        }
        Ok((rows, Unloaded::new(points)))
    }

    fn under_load(
        &mut self,
        slices: &Slices,
        bytes_per_second: f64,
        tallies: &mut [(Protocol, Tally)],
    ) -> Result<(), Failure> {
        for index in 0..slices.count {
            let plan = self.planner.slice(index, slices.length, bytes_per_second);
            for (protocol, tally) in &mut *tallies {
                self.with_client(*protocol, |client| {
                    client.open_loop(&plan, slices.length, Duration::ZERO..Duration::MAX, tally)
                })?;
            }
        }
        Ok(())
    }
}
