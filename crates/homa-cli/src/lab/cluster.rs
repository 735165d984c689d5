//! A cluster that runs: hosts, the switch between them, and one turn of what is to be compared.

use homa_sim::{BufferConfig, LinkConfig};

use super::args::Compare;
use super::check::{BUSY_MAX, LATE_MAX_US};
use super::host::{Found, Job, Load};
use super::network::{Layout, Network};
use super::placement::Placement;
use super::protocol::{Carrier, Part, Protocol};
use super::running::{Span, Standing};
use super::shield::Shielded;
use super::wire::message_wire_bytes;
use crate::awake::Awake;
use crate::child::ChildProcess;
use crate::failure::Failure;
use crate::network::namespace::Namespace;
use crate::traffic::plan::spread;
use crate::workload;

/// How often a turn is tried in which the switch was late, and a round trip that nobody answered.
const TRIES_MAX: u32 = 6;

/// A cluster that runs.
pub(super) struct Cluster {
    network: Network,
    _awake: Awake,
    job: Job,
    processes: u16,
}

/// One turn: what each part's processes found, and what the switch did.
pub(super) struct Turn {
    /// By the index of the part.
    pub(super) found: Vec<(usize, Found)>,
    pub(super) span: Span,
}

impl Turn {
    /// Whether the switch was too late, or had too little time to spare, to be believed.
    pub(super) fn is_late(&self) -> bool {
        self.span.late_p99_us > LATE_MAX_US || self.span.busy > BUSY_MAX
    }
}

impl Cluster {
    /// Lays the network and starts the switch; no host runs yet.
    pub(super) fn start(
        arguments: &Compare,
        name: &str,
        link: LinkConfig,
        buffer: BufferConfig,
    ) -> Result<Self, Failure> {
        let placement = Placement::of_machine();
        let layout = Layout {
            switch: arguments.switch,
            hosts: arguments.hosts,
            link,
            buffer,
            is_shared: arguments.share,
        };
        let network = Network::lay(&layout, &placement)?;
        Ok(Self {
            _awake: Awake::keep(&placement.hosts),
            network,
            job: Job {
                host: 0,
                hosts: arguments.hosts,
                process: 0,
                incast: arguments.incast,
                carrier: Carrier::Homa { levels: 8 },
                workload: name.to_owned(),
                seed: arguments.seed,
                link_bits_per_second: link.bits_per_second,
                goes_first: placement.is_apart(),
                cpus: placement.hosts,
                load: None,
            },
            processes: arguments.processes,
        })
    }

    /// How the switch has its processor.
    pub(super) const fn standing(&self) -> Standing {
        self.network.standing()
    }

    /// Who was kept off it; `None` if that was not tried.
    pub(super) fn shielded(&self) -> Option<Shielded> {
        self.network.shielded()
    }

    /// The fastest round trip of each size, whichever of Homa and TCP makes it, in nanoseconds.
    pub(super) fn unloaded(&self) -> Result<Vec<(usize, u64)>, Failure> {
        let mut fastest: Vec<(usize, u64)> = Vec::new();
        for protocol in [Protocol::Homa, Protocol::CubicPair] {
            let found = self.unloaded_of(protocol)?;
            if fastest.is_empty() {
                fastest.clone_from(&found);
            }
            for ((_, fastest), (_, nanos)) in fastest.iter_mut().zip(found) {
                *fastest = nanos.min(*fastest);
            }
        }
        let workload = workload::named(&self.job.workload).map_err(Failure::Usage)?;
        let link = LinkConfig {
            bits_per_second: self.job.link_bits_per_second,
            delay: 0,
        };
        Ok(with_longer(fastest, &spread(&workload), link))
    }

    /// Tried again where the machine was too busy for an answer in seconds.
    fn unloaded_of(&self, protocol: Protocol) -> Result<Vec<(usize, u64)>, Failure> {
        for tries_left in (0..TRIES_MAX).rev() {
            let mut pair = self.start_hosts(&protocol.parts(), None, 2)?;
            let (_, first) = &mut pair[0];
            first.say_go()?;
            match first.hear()? {
                Found::Unloaded(found) => return Ok(found),
                Found::Nothing(_) if tries_left > 0 => {}
                other => return Err(unexpected(protocol, other)),
            }
        }
        unreachable!("the last try returns")
    }

    /// One turn.
    fn turn(&self, protocol: Protocol, load: &Load) -> Result<Turn, Failure> {
        let count = self.job.hosts;
        let mut hosts = self.start_hosts(&protocol.parts(), Some(load), count)?;
        self.network.settle()?;
        hosts.iter_mut().try_for_each(|(_, host)| host.say_go())?;
        let found = hosts.iter_mut().map(|(part, host)| {
            let found = host.hear()?;
            match found {
                Found::Loaded { .. } => Ok((*part, found)),
                other => Err(unexpected(protocol, other)),
            }
        });
        let found = found.collect::<Result<_, Failure>>()?;
        let span = self.network.span()?;
        Ok(Turn { found, span })
    }

    /// One turn, again while the switch is late, `rejected` each time; `None` if it always is.
    pub(super) fn turn_in_time(
        &self,
        protocol: Protocol,
        load: &Load,
        allow_late: bool,
        mut rejected: impl FnMut(&Span),
    ) -> Result<Option<Turn>, Failure> {
        for _ in 0..TRIES_MAX {
            let turn = self.turn(protocol, load)?;
            if allow_late || !turn.is_late() {
                return Ok(Some(turn));
            }
            rejected(&turn.span);
        }
        Ok(None)
    }

    /// Starts the processes of the first `count` hosts, all of each part.
    fn start_hosts(
        &self,
        parts: &[Part],
        load: Option<&Load>,
        count: u8,
    ) -> Result<Vec<(usize, ChildProcess<()>)>, Failure> {
        let processes = load.map_or(1, |_| self.processes);
        let mut started = Vec::new();
        for (host, namespace) in (0..count).zip(&self.network.hosts) {
            for (index, part) in parts.iter().enumerate() {
                for number in 0..processes {
                    let sends = !self.job.incast || host > 0;
                    let share = if sends {
                        part.share / f64::from(processes)
                    } else {
                        0.0
                    };
                    let job = Job {
                        host,
                        process: index as u16 * processes + number,
                        carrier: part.carrier,
                        load: load.map(|load| load.share(share)),
                        ..self.job.clone()
                    };
                    started.push((index, start(namespace, &job)?));
                }
            }
        }
        Ok(started)
    }
}

fn start(namespace: &Namespace, job: &Job) -> Result<ChildProcess<()>, Failure> {
    let job = serde_json::to_string(job).map_err(Failure::work("JSON"))?;
    let start = || ChildProcess::start(&["internal-lab-host", &job]);
    let entered = namespace.enter(start);
    entered.map_err(Failure::work("cannot enter a network namespace"))?
}

/// Adds those of `sizes` that are longer than all that was measured: what the longest of these took,
/// and the rest of the message on the link.
fn with_longer(
    mut fastest: Vec<(usize, u64)>,
    sizes: &[usize],
    link: LinkConfig,
) -> Vec<(usize, u64)> {
    let wire = |size| link.serialization(message_wire_bytes(size));
    if let Some((longest, nanos)) = fastest.last().copied() {
        let longer = sizes.iter().filter(|size| **size > longest);
        fastest.extend(longer.map(|size| (*size, nanos + wire(*size) - wire(longest))));
    }
    fastest
}

fn unexpected(protocol: Protocol, found: Found) -> Failure {
    let why = match found {
        Found::Nothing(why) => why,
        Found::Unloaded(_) | Found::Loaded { .. } => "it did something else".to_owned(),
    };
    Failure::Work(format!("{}: {why}", protocol.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_of_long_messages_are_reckoned_from_shorter_ones() {
        let link = LinkConfig {
            bits_per_second: 8_000_000,
            delay: 0,
        };
        let found = with_longer(
            vec![(100, 1_000), (1_416, 9_000)],
            &[100, 1_416, 14_160],
            link,
        );
        // Nine more full packets, at a byte a microsecond.
        assert_eq!(found[2], (14_160, 9_000 + 9 * 1_538_000));
        assert_eq!(found.len(), 3);
    }
}
