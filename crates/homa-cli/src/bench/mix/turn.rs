//! The two processes of a turn: the traffic of the demo, through the network of the benchmark.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::net::TcpListener;

use homa::{Config, Host, LinkKind};

use super::{Found, Load, Loaded, SHORT_MAX_BYTES};
use crate::answer::Answer;
use crate::bench::meter::{Meter, Sample};
use crate::bench::sockets::spawn_server;
use crate::bench::suite::{Job, Task as AnyTask};
use crate::congestion::Congestion;
use crate::traffic::SPIN;
use crate::traffic::client::{Client, DRAIN_MAX};
use crate::traffic::homa::{HomaServer, HomaTransport, host};
use crate::traffic::plan::{Pattern, Planner, spread};
use crate::traffic::tally::{Bins, Problems, Tally, Unloaded};
use crate::traffic::tcp::{self, TcpTransport};
use crate::traffic::transport::Transport;
use crate::workload::{self, MESSAGE_MAX_BYTES};

/// How long and how often the fastest round trip of a size is tried.
const UNLOADED_TURN: Duration = Duration::from_millis(50);
const UNLOADED_TRIES: u32 = 200;

fn new_host() -> io::Result<Host> {
    host(LinkKind::Udp, Config::user_space(), SPIN)
}

/// A protocol under measurement.
#[derive(Clone, Copy)]
pub(super) enum Protocol {
    Homa,
    Tcp { connections: usize },
}

impl Protocol {
    fn connect(self, server: SocketAddr) -> io::Result<Box<dyn Transport>> {
        Ok(match self {
            Self::Homa => Box::new(HomaTransport::on(&new_host()?, vec![server])?),
            Self::Tcp { connections } => Box::new(TcpTransport::connect(
                &[server],
                connections,
                Congestion::Cubic,
                SPIN,
            )?),
        })
    }
}

/// Starts a server that answers with checksums.
pub(super) fn serve(job: &Job, protocol: Protocol) -> io::Result<Vec<u16>> {
    let port = match protocol {
        Protocol::Homa => {
            let server = HomaServer::on(&new_host()?, SocketAddr::new(job.listen, 0))?;
            let port = server.address().port();
            spawn_server(move || server.serve(Answer::Checksum));
            port
        }
        Protocol::Tcp { .. } => {
            let listener = TcpListener::bind(SocketAddr::new(job.listen, 0))?;
            let port = listener.local_addr()?.port();
            spawn_server(move || tcp::serve(&listener, Answer::Checksum, Congestion::Cubic, SPIN));
            port
        }
    };
    Ok(vec![port])
}

/// Does the task.
pub(super) fn measure(job: &Job, mut meter: Meter, protocol: Protocol) -> io::Result<Sample> {
    let AnyTask::Mix(task) = &job.task else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let workload = workload::named(&task.workload).map_err(io::Error::other)?;
    let pattern = Pattern::new(task.seed);
    let planner = Planner {
        workload: &workload,
        pattern: &pattern,
        seed: task.seed,
    };
    let (mut problems, mut transport) = (Problems::default(), protocol.connect(job.server())?);
    let mut client = Client {
        transport: transport.as_mut(),
        pattern: &pattern,
        problems: &mut problems,
        answer: Answer::Checksum,
        left_over: false,
        drain: DRAIN_MAX,
        spin: SPIN,
    };
    let found = match &task.load {
        None => Found::Unloaded(fastest(&mut client, &planner, &mut meter)?),
        Some(load) => Found::Loaded(under_load(&mut client, &planner, &mut meter, job, load)?),
    };
    if let Some(problem) = problems.first() {
        return Err(io::Error::other(problem.to_owned()));
    }
    let mut sample = meter.finish()?;
    sample.mixed = Some(found);
    Ok(sample)
}

fn fastest(
    client: &mut Client<'_>,
    planner: &Planner<'_>,
    meter: &mut Meter,
) -> io::Result<Vec<(usize, u64)>> {
    meter.open()?;
    let mut found = Vec::new();
    for message in planner.one_of_each(&spread(planner.workload)) {
        let rtt = client.fastest_rtt(&message, UNLOADED_TURN, UNLOADED_TRIES)?;
        let rtt = rtt.ok_or(io::ErrorKind::TimedOut)?;
        found.push((message.size, rtt.as_nanos() as u64));
        meter.count(1, message.size as u64);
    }
    meter.close()?;
    Ok(found)
}

fn under_load(
    client: &mut Client<'_>,
    planner: &Planner<'_>,
    meter: &mut Meter,
    job: &Job,
    load: &Load,
) -> io::Result<Loaded> {
    let length = job.turn.warm_up + job.turn.window;
    let plan = planner.slice(load.slice, length, load.bytes_per_second);
    let points = load.unloaded.iter();
    let points = points.map(|(size, nanos)| (*size, Duration::from_nanos(*nanos)));
    let unloaded = Unloaded::new(points.collect());
    let mut tally = Tally::new(
        &Bins::new(vec![SHORT_MAX_BYTES, MESSAGE_MAX_BYTES]),
        &unloaded,
    );
    meter.open()?;
    client.open_loop(&plan, length, job.turn.warm_up..length, &mut tally)?;
    let bytes = plan.iter().map(|arrival| arrival.message.size as u64);
    meter.count(tally.answered_count(), bytes.sum());
    meter.close()?;
    let short = tally.figures()[0];
    Ok(Loaded {
        short_count: short.count,
        short_p50_us: short.p50_us,
        short_p99_us: short.p99_us,
        mean_slowdown: tally.mean_slowdown(),
        late_p99_us: tally.late_p99_us(),
        unfinished_count: tally.unfinished_count(),
    })
}
