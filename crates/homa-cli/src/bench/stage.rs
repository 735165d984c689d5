//! Where samples are taken: a network, two processors that stay awake, and processes of their own
//! for each turn. A sample that was disturbed is measured again.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::io;
use std::thread;
use std::time::Instant;

use homa::{LinkKind, udp};
use serde::de::DeserializeOwned;

use super::args::Common;
use super::clocks::Clocks;
use super::conditions::{Conditions, FOREIGN_MAX, is_dirty};
use super::meter::{Sample, Turn};
use super::placement::Placement;
use super::process::{Listening, Measured};
use super::suite::{Extent, Job, OVER_IP, Suite, Task, Variant};
use crate::awake::Awake;
use crate::child::ChildProcess;
use crate::failure::Failure;
use crate::network::Network;
use crate::progress::Progress;

/// How often a sample is tried, at most.
const TRIES_MAX: u32 = 20;

/// How often a turn may fail, at most.
const FAILURES_MAX: u32 = 3;

/// What a disturbance is given to pass: so much for every try before, and not more than …
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Extra time that disturbances may cost in all: so many times the run's own, and not less than …
const PATIENCE: u32 = 3;
const PATIENCE_MIN: Duration = Duration::from_secs(20);

/// Starting and ending the processes of a turn takes about this long.
const OVERHEAD: Duration = Duration::from_millis(30);

/// Everything that the turns of a run have in common.
pub(super) struct Stage {
    network: Network,
    _awake: Awake,
    clocks: Clocks,
    turn: Turn,
    allow_dirty: bool,
    /// When patience with disturbances ends.
    end: Instant,
    /// What the report will say about it.
    pub(super) conditions: Conditions,
}

impl Stage {
    /// Sets everything up. Called while the process has one thread, see [`Network::lay`].
    ///
    /// # Errors
    /// The network cannot be made.
    pub(super) fn set(
        common: &Common,
        window: Duration,
        peers: u8,
        placement: Placement,
    ) -> Result<Self, Failure> {
        let network = Network::lay(common.over, peers)?;
        Ok(Self {
            network,
            _awake: Awake::keep(&placement.cpus()),
            clocks: Clocks::of_conductor(placement.clone()),
            turn: Turn {
                warm_up: window / 5,
                window,
            },
            allow_dirty: common.allow_dirty,
            end: Instant::now(),
            conditions: Conditions::new(common, window.as_secs_f64(), placement),
        })
    }

    /// Says how many turns are to come.
    pub(super) fn expect(&mut self, turns: u32) -> Progress {
        let expected = (self.turn.warm_up + self.turn.window + OVERHEAD) * turns;
        self.end = Instant::now() + expected + (expected * PATIENCE).max(PATIENCE_MIN);
        Progress::start(expected)
    }

    /// Of the variants that were asked for those that are possible; the report names the others.
    ///
    /// # Errors
    /// There is none of a name that was asked for.
    pub(super) fn choose(
        &mut self,
        suite: &'static Suite,
        only: &[String],
        peers: u8,
    ) -> Result<Vec<&'static Variant>, Failure> {
        if let Some(unknown) = only.iter().find(|name| suite.variant(name).is_none()) {
            let names: Vec<&str> = suite.variants.iter().map(|variant| variant.name).collect();
            return Err(Failure::Usage(format!(
                "no variant of {} is called {unknown}; there are {}",
                suite.name,
                names.join(", ")
            )));
        }
        let wanted = suite.variants.iter().filter(|variant| {
            (only.is_empty() || only.iter().any(|name| name == variant.name))
                && (peers == 1 || variant.many_peers)
        });
        let mut chosen = Vec::new();
        for variant in wanted {
            match self.is_possible(variant) {
                Ok(()) => chosen.push(variant),
                Err(why) => self.conditions.leave_out(variant.name, &why),
            }
        }
        Ok(chosen)
    }

    fn is_possible(&self, variant: &Variant) -> Result<(), String> {
        if variant.name == OVER_IP {
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let opened = self
                .network
                .at_client(|| LinkKind::Ip.bind(any, &udp::Options::default()));
            return match opened {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            };
        }
        let Some(congestion) = variant.congestion else {
            return Ok(());
        };
        let available = self.network.at_client(|| congestion.try_here());
        available.and_then(|available| available).map_err(|error| {
            let name = congestion.name();
            format!(
                "TCP may not use {name} here ({error}); `modprobe tcp_{name}` adds it, and sysctl \
                 net.ipv4.tcp_allowed_congestion_control lets everyone choose it"
            )
        })
    }

    /// A sample that nobody disturbed, or a disturbed one if those are allowed. A turn that fails,
    /// because the machine was busy for seconds or a packet of a floor was lost, has another try
    /// too; the report tells.
    ///
    /// # Errors
    /// The turn fails again and again, or the machine is never quiet.
    pub(super) fn sample(
        &mut self,
        suite: &Suite,
        variant: &Variant,
        extent: Extent,
        task: &Task,
    ) -> Result<Sample, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let sample = match self.turn(suite, variant, extent, task) {
                Ok(sample) => sample,
                Err(Failure::Work(why)) if tries < FAILURES_MAX => {
                    self.conditions.fail(why);
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            if self.allow_dirty || !is_dirty(&sample) {
                self.conditions.admit(&sample);
                return Ok(sample);
            }
            self.conditions.reject();
            if tries >= TRIES_MAX || Instant::now() > self.end {
                return Err(never_quiet(variant, &sample, tries));
            }
            thread::sleep((PAUSE * tries).min(PAUSE_MAX));
        }
    }

    /// One turn of one variant, in processes of its own.
    fn turn(
        &self,
        suite: &Suite,
        variant: &Variant,
        extent: Extent,
        task: &Task,
    ) -> Result<Sample, Failure> {
        let mut job = Job {
            suite: suite.name.to_owned(),
            variant: variant.name.to_owned(),
            cpus: self.clocks.placement.server.clone(),
            listen: self.network.listen_address(extent.peers),
            servers: Vec::new(),
            turn: self.turn,
            clocks: self.clocks.clone(),
            message_bytes: suite.message_bytes,
            outstanding: extent.outstanding,
            task: task.clone(),
        };
        let server = start(&job, "internal-bench-server", |start| {
            self.network.at_server(start)
        })?;
        let Listening { process, ports } = &server.told;
        job.servers = self.network.server_addresses(ports, extent.peers);
        job.cpus.clone_from(&self.clocks.placement.client);
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

fn never_quiet(variant: &Variant, sample: &Sample, tries: u32) -> Failure {
    Failure::Work(format!(
        "the machine is not quiet: other programs, or other guests of the host, took {:.0} % of the \
         processors during {}, tried {tries} times, and up to {:.0} % is allowed; end them and \
         start again, or keep what they disturbed with --allow-dirty; `homa bench doctor` says more",
        sample.usage.foreign * 100.0,
        variant.name,
        FOREIGN_MAX * 100.0,
    ))
}

type Start<'a, T> = Box<dyn FnOnce() -> Result<ChildProcess<T>, Failure> + Send + 'a>;

/// Starts a process of a benchmark at its place, and waits for what it tells.
fn start<T: DeserializeOwned + Send>(
    job: &Job,
    command: &'static str,
    at: impl FnOnce(Start<'_, T>) -> io::Result<Result<ChildProcess<T>, Failure>>,
) -> Result<ChildProcess<T>, Failure> {
    let job = serde_json::to_string(job).map_err(Failure::work("JSON"))?;
    let started = at(Box::new(|| ChildProcess::start(&[command, &job])));
    started.map_err(Failure::work("cannot enter a network namespace"))?
}
