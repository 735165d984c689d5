//! The rounds of a benchmark: every variant has a turn, then all have another, so that a
//! disturbance hits all of them. A sample that was disturbed is measured again.

use core::time::Duration;
use std::io;
use std::thread;
use std::time::Instant;

use super::args::Common;
use super::awake::Awake;
use super::clocks::Clocks;
use super::meter::{Sample, Turn};
use super::process::{Listening, Measured};
use super::report::Report;
use super::sockets::Congestion;
use super::suite::{Job, Suite, Variant};
use crate::child::ChildProcess;
use crate::cpu;
use crate::failure::Failure;
use crate::network::Network;
use crate::progress::Progress;

/// The CPU time of others that a sample may have, as a fraction of the processors' time.
pub(super) const FOREIGN_MAX: f64 = 0.05;

/// How often a sample is tried, at most.
const TRIES_MAX: u32 = 8;

/// How often a turn may fail, at most.
const FAILURES_MAX: u32 = 3;

/// What a disturbance is given to pass.
const PAUSE: Duration = Duration::from_millis(200);

/// Extra time that disturbances may cost in all: so many times the run's own, and not less than …
const PATIENCE: u32 = 3;
const PATIENCE_MIN: Duration = Duration::from_secs(20);

/// Starting and ending the processes of a turn takes about this long.
const OVERHEAD: Duration = Duration::from_millis(30);

/// What is asked for beyond what every benchmark has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) outstanding: usize,
    /// Addresses of the server.
    pub(super) peers: u8,
}

/// Measures everything.
///
/// # Errors
/// The network cannot be made, a process does not do its work, or the machine is never quiet.
pub(super) fn run(
    suite: &'static Suite,
    common: &Common,
    extent: Extent,
) -> Result<Report, Failure> {
    let network = Network::lay(common.over, extent.peers)?;
    let cpus = cpu::pair();
    let _awake = Awake::keep(cpus.as_ref().map_or(&[], |cpus| &cpus[..]));
    let turn = Turn {
        warm_up: common.seconds / 5,
        window: common.seconds,
    };
    let mut report = Report::new(suite, common, extent, cpus);
    let chosen = choose(suite, common, extent, &network, &mut report)?;
    let expected = (turn.warm_up + turn.window + OVERHEAD) * chosen.len() as u32 * common.rounds;
    let progress = Progress::start(expected);
    let bench = Rounds {
        suite,
        network: &network,
        turn,
        clocks: Clocks::of_conductor(cpus),
        extent,
        allow_dirty: common.allow_dirty,
        end: Instant::now() + expected + (expected * PATIENCE).max(PATIENCE_MIN),
    };
    for _ in 0..common.rounds {
        for variant in &chosen {
            progress.say(variant.name);
            let sample = bench.sample(variant, &mut report)?;
            report.add(variant, sample);
        }
    }
    progress.finish();
    Ok(report)
}

/// The variants to measure. Those that cannot be are named in the report.
fn choose(
    suite: &'static Suite,
    common: &Common,
    extent: Extent,
    network: &Network,
    report: &mut Report,
) -> Result<Vec<&'static Variant>, Failure> {
    let known = |name: &&String| suite.variant(name).is_none();
    if let Some(unknown) = common.only.iter().find(known) {
        let names: Vec<&str> = suite.variants.iter().map(|variant| variant.name).collect();
        return Err(Failure::Usage(format!(
            "no variant of {} is called {unknown}; there are {}",
            suite.name,
            names.join(", ")
        )));
    }
    let wanted = suite.variants.iter().filter(|variant| {
        (common.only.is_empty() || common.only.iter().any(|name| name == variant.name))
            && (extent.peers == 1 || variant.many_peers)
    });
    if !cfg!(feature = "rivals") {
        report.leave_out(
            "quinn, tonic",
            "this build lacks them; `cargo build --release -p homa-cli --features rivals` adds them",
        );
    }
    let mut chosen = Vec::new();
    for variant in wanted {
        match is_possible(variant, network) {
            Ok(()) => chosen.push(variant),
            Err(why) => report.leave_out(variant.name, &why),
        }
    }
    Ok(chosen)
}

fn is_possible(variant: &Variant, network: &Network) -> Result<(), String> {
    let Some(name) = variant.congestion else {
        return Ok(());
    };
    let available = network.at_client(|| Congestion::is_available(name));
    available.and_then(|available| available).map_err(|error| {
        format!(
            "TCP may not use {name} here ({error}); `modprobe tcp_{name}` adds it, and sysctl \
             net.ipv4.tcp_allowed_congestion_control lets everyone choose it"
        )
    })
}

/// A run under way.
struct Rounds<'a> {
    suite: &'static Suite,
    network: &'a Network,
    turn: Turn,
    clocks: Clocks,
    extent: Extent,
    allow_dirty: bool,
    /// When patience with disturbances ends.
    end: Instant,
}

impl Rounds<'_> {
    /// A sample that nobody disturbed, or a disturbed one if those are allowed. A turn that fails,
    /// because the machine was busy for seconds or a packet of a floor was lost, has another try
    /// too; the report tells.
    fn sample(&self, variant: &Variant, report: &mut Report) -> Result<Sample, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let sample = match self.turn(variant) {
                Ok(sample) => sample,
                Err(Failure::Work(why)) if tries < FAILURES_MAX => {
                    report.fail(why);
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let clean = sample.usage.foreign <= FOREIGN_MAX;
            if clean || self.allow_dirty {
                return Ok(sample);
            }
            report.reject();
            if tries == TRIES_MAX || Instant::now() > self.end {
                return Err(Failure::Work(format!(
                    "the machine is not quiet: other programs, or other guests of the host, took \
                     {:.0} % of the two processors during {}, tried {tries} times, and up to {:.0} \
                     % is allowed; end them and start again, or keep what they disturbed with \
                     --allow-dirty; `homa bench doctor` says more",
                    sample.usage.foreign * 100.0,
                    variant.name,
                    FOREIGN_MAX * 100.0,
                )));
            }
            thread::sleep(PAUSE);
        }
    }

    /// One turn of one variant, in processes of its own.
    fn turn(&self, variant: &Variant) -> Result<Sample, Failure> {
        let mut job = Job {
            suite: self.suite.name.to_owned(),
            variant: variant.name.to_owned(),
            cpu: self.clocks.cpus.map(|[_, server]| server),
            listen: self.network.listen_address(self.extent.peers),
            servers: Vec::new(),
            turn: self.turn,
            clocks: self.clocks.clone(),
            message_bytes: self.suite.message_bytes,
            outstanding: self.extent.outstanding,
        };
        let server = start(&job, "internal-bench-server", |start| {
            self.network.at_server(start)
        })?;
        let Listening { process, ports } = &server.told;
        job.servers = self.network.server_addresses(ports, self.extent.peers);
        job.cpu = self.clocks.cpus.map(|[client, _]| client);
        job.clocks.server = *process;
        let client = start(&job, "internal-bench-client", |start| {
            self.network.at_client(start)
        })?;
        let Measured(result) = &client.told;
        result
            .clone()
            .map_err(|why| Failure::Work(format!("{}: {why}", variant.name)))
    }
}

/// Starts a process of a benchmark at its place, and waits for what it tells.
fn start<T: serde::de::DeserializeOwned + Send>(
    job: &Job,
    command: &'static str,
    at: impl FnOnce(
        Box<dyn FnOnce() -> Result<ChildProcess<T>, Failure> + Send + '_>,
    ) -> io::Result<Result<ChildProcess<T>, Failure>>,
) -> Result<ChildProcess<T>, Failure> {
    let job = serde_json::to_string(job).map_err(Failure::work("JSON"))?;
    let started = at(Box::new(|| ChildProcess::start(&[command, &job])));
    started.map_err(Failure::work("cannot enter a network namespace"))?
}
