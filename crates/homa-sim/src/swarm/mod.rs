//! The swarm: runs that a seed draws, first with faults, then healed, under the laws.

mod agent;
mod coverage;
mod hostile;
mod many;
pub(crate) mod plan;
mod plant;
mod report;
mod weather;

use std::collections::VecDeque;

use homa_capture::Capture;
use homa_proto::Seed;

use crate::fault::Faults;
use crate::laws::Violation;
use crate::random::Random;
use crate::topology::{BadTopology, Shape, Topology};
use crate::world::{BadWorld, World};
use agent::Swarm;
pub use coverage::Coverage;
pub(crate) use hostile::need_ack;
pub use many::{Found, Sum, hunt, many};
use plan::{Deal, Deed, FLOOD_TIME, Mishap, Plan, START};
pub use plant::Plant;

/// How long RPCs may take to end in a healed network, in nanoseconds: six times the longest silence
/// for which a seed has anybody wait.
const ENDING_TIME: u64 = 30_000_000_000;

/// How long tables may take to empty after that.
const EMPTYING_TIME: u64 = 60_000_000_000;

const STEP: u64 = 50_000_000;

/// How a run is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The planted bug, if one is to be there.
    pub plant: Option<Plant>,
    /// The shape of the network, instead of what the seed draws.
    pub shape: Option<Shape>,
    /// Engines of every host, 1 to [`ENGINES_MAX`](crate::ENGINES_MAX), instead of what the seed
    /// draws.
    pub engines: Option<usize>,
    /// Leaves out everything that may go wrong.
    pub fair: bool,
    /// Keeps packets for [`Outcome::trace`].
    pub trace: bool,
    /// Keeps packets for [`Outcome::capture`].
    pub capture: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The first law that did not hold.
    pub violation: Option<Violation>,
    /// A sum over every packet and event.
    pub sum: u64,
    /// Packets handed to engines.
    pub packets: u64,
    /// What was reached.
    pub coverage: Coverage,
    /// The packets around the violation, one a line, if a trace was asked for.
    pub trace: Vec<String>,
    /// The capture, if one was asked for.
    pub capture: Option<Capture>,
}

/// Makes the run that `seed` means.
///
/// # Errors
/// The seed drew a world that cannot be: a defect of the swarm itself.
pub fn run(seed: u64, options: Options) -> Result<Outcome, BadWorld> {
    let plan = Plan::draw(seed, options);
    let mut world = build(&plan, options)?;
    play(&mut world, &plan);
    for host in 0..plan.topology.hosts() {
        count(&mut world, host);
    }
    let packets = world.delivered();
    let agent = &mut world.agent;
    agent.coverage.limits(agent.laws.limits_met());
    let trace = match (&agent.laws.violation, &agent.trace) {
        (Some(violation), Some(trace)) => report::lines(violation, trace, &agent.laws),
        _ => Vec::new(),
    };
    Ok(Outcome {
        seed,
        violation: agent.laws.violation.clone(),
        sum: agent.laws.sum,
        packets,
        coverage: agent.coverage.clone(),
        trace,
        capture: agent.capture.take(),
    })
}

/// What a seed means, in some lines, for whoever looks into a run: all that it draws but the calls.
pub fn describe(seed: u64, options: Options) -> String {
    let plan = Plan::draw(seed, options);
    let engines: Vec<usize> = plan.hosts.iter().map(|host| host.engines.len()).collect();
    let config = plan.hosts.first().and_then(|host| host.engines.first());
    format!(
        "{:?}\n{:?}\nengines {engines:?}, segment {}, {} calls, heals at {} ns\n{:?}\nmishaps {:?}, deeds {:?}, \
         limits {:?}\nhostile {:?} with {} lies\n{config:?}",
        plan.topology,
        plan.buffer,
        plan.segment,
        plan.deals.len(),
        plan.heal_at,
        plan.faults,
        plan.mishaps,
        plan.deeds,
        plan.limits,
        plan.hostile,
        plan.lies,
    )
}

/// Most hosts of a network that a swarm is run on.
const HOSTS_MAX_COUNT: u32 = 128;

/// Looks whether a swarm can be run on a network of this shape.
///
/// # Errors
/// There can be no such network, or it is too large for a swarm.
pub fn check_shape(shape: Shape) -> Result<(), BadTopology> {
    let topology = Topology {
        shape,
        ..Plan::draw(1, Options::default()).topology
    };
    topology.check()?;
    if topology.hosts() > HOSTS_MAX_COUNT {
        return Err(BadTopology::new("a swarm has at most 128 hosts"));
    }
    Ok(())
}

/// A run, and a second one to see that nothing but the seed decides.
///
/// # Errors
/// As [`run`].
pub fn run_twice(seed: u64, options: Options) -> Result<Outcome, BadWorld> {
    let mut first = run(seed, options)?;
    let second = run(seed, options)?;
    if first.violation.is_none() && first.sum != second.sum {
        first.violation = Some(Violation {
            law: "two runs of a seed are the same",
            at: 0,
            host: 0,
            calls: Vec::new(),
            seen: format!("{:x} and {:x}", first.sum, second.sum),
        });
    }
    Ok(first)
}

fn seed_of(plan: &Plan, host: u32, life: u32) -> Seed {
    let mut random = Random::new(plan.seed, 100 + u64::from(host) + (u64::from(life) << 32));
    Seed([random.bits(), random.bits()])
}

fn build(plan: &Plan, options: Options) -> Result<World<Swarm>, BadWorld> {
    let mut agent = Swarm::new(plan, options.plant);
    agent.trace = options.trace.then(VecDeque::new);
    agent.capture = options.capture.then(Capture::new);
    let mut hosts = Vec::new();
    for (number, host) in plan.hosts.iter().enumerate() {
        let mut host = host.clone();
        if let Some(plant) = options.plant {
            host.engines.iter_mut().for_each(|it| plant.spoil(it));
        }
        hosts.push((host, seed_of(plan, number as u32, 0)));
    }
    let mut world = World::new(plan.topology, plan.buffer, hosts, START, agent)?;
    let random = Random::new(plan.seed, 3);
    let mut faults = Faults::new(plan.faults, plan.topology.hosts(), random);
    for &(host, limit) in &plan.limits {
        faults.limit(host, limit);
    }
    world.set_faults(faults);
    Ok(world)
}

/// What happens to the network at a moment.
#[derive(Clone, Copy)]
enum Act {
    Begins(u32, Mishap),
    Restart(u32),
    Does(u32, Deed),
    Rejoin,
    Lie,
    Heal,
}

fn script(plan: &Plan) -> Vec<(u64, Act)> {
    let mut acts = Vec::new();
    for &(at, host, mishap) in &plan.mishaps {
        acts.push((at, Act::Begins(host, mishap)));
        match mishap {
            Mishap::Crash(time) => acts.push((at + time, Act::Restart(host))),
            Mishap::Partition(time) => acts.push((at + time, Act::Rejoin)),
            Mishap::Pause(_) | Mishap::Refuse(_) => {}
        }
    }
    let deeds = plan.deeds.iter();
    acts.extend(deeds.map(|&(at, host, deed)| (at, Act::Does(host, deed))));
    if plan.hostile.is_some() {
        let mut random = Random::new(plan.seed, 4);
        let span = plan.heal_at - START;
        acts.extend((0..plan.lies).map(|_| (START + random.below(span), Act::Lie)));
    }
    acts.push((plan.heal_at, Act::Heal));
    acts.sort_by_key(|&(at, _)| at);
    acts
}

fn play(world: &mut World<Swarm>, plan: &Plan) {
    schedule(world, plan, &plan.deals, 0);
    for (at, act) in script(plan) {
        advance(world, at);
        if world.agent.laws.violation.is_some() {
            return;
        }
        perform(world, plan, act);
    }
    settle(world, ENDING_TIME);
    if world.agent.laws.violation.is_some() {
        return;
    }
    // The healed network has forgotten what was.
    let forgotten = plan.hosts.iter().flat_map(|host| &host.engines);
    let longest = forgotten.map(|config| config.packet_lifetime.as_nanos() as u64);
    let at = world.now() + longest.max().unwrap_or(0) + STEP;
    advance(world, at);
    let probes: Vec<Deal> = plan
        .probes
        .iter()
        .map(|deal| Deal { at, ..*deal })
        .collect();
    world.agent.laws.add_deals(at, &probes);
    schedule(world, plan, &probes, plan.deals.len() as u32);
    advance(world, at + STEP);
    settle(world, ENDING_TIME);
    advance(world, world.now() + EMPTYING_TIME);
    judge(world, plan);
}

/// Lets time pass; packets that a planted bug makes go out on the way.
fn advance(world: &mut World<Swarm>, until: u64) {
    if world.agent.plant.is_none() {
        world.run_until(until);
        return;
    }
    while let Some(next) = world.next().filter(|&next| next <= until) {
        world.run_until(next);
        for packet in core::mem::take(&mut world.agent.extra) {
            let now = world.now();
            world.agent.laws.extra(now, &packet);
            world.inject(packet);
        }
        if world.agent.laws.violation.is_some() {
            return;
        }
    }
    world.run_until(until);
}

fn schedule(world: &mut World<Swarm>, plan: &Plan, deals: &[Deal], first: u32) {
    for (deal, call) in deals.iter().zip(first..) {
        if plan.hostile != Some(deal.client) {
            world.with(deal.client, deal.engine, |agent, cx| {
                agent.plan_call(cx, call)
            });
        }
    }
}

/// Lets time pass until all calls have ended.
fn settle(world: &mut World<Swarm>, time: u64) {
    let end = world.now() + time;
    while world.now() < end && world.agent.laws.violation.is_none() {
        advance(world, world.now() + STEP);
        if world.agent.laws.all_ended() {
            return;
        }
    }
    let now = world.now();
    world.agent.laws.check_ended(now);
}

fn perform(world: &mut World<Swarm>, plan: &Plan, act: Act) {
    let now = world.now();
    match act {
        Act::Begins(host, Mishap::Pause(time)) => {
            world.agent.laws.paused(now, host, now + time);
            world.pause(host, now + time);
        }
        Act::Begins(host, Mishap::Crash(_)) => {
            if world.is_up(host) {
                count(world, host);
                world.crash(host);
                world.agent.laws.crashed(now, host);
            }
        }
        Act::Restart(host) => {
            if world.agent.plant == Some(Plant::Revives) && !world.is_up(host) {
                world.revive(host);
                world.agent.laws.restarted(host);
            } else if !world.is_up(host) {
                let alike = world.agent.plant == Some(Plant::StartsAlike);
                let life = if alike {
                    0
                } else {
                    world.agent.laws.life(host)
                };
                let seed = seed_of(plan, host, life);
                // Its configuration was good the first time.
                if world.restart(host, seed).is_ok() {
                    world.agent.laws.restarted(host);
                }
            }
        }
        Act::Begins(_, Mishap::Partition(_)) => {
            if let Some(faults) = world.faults() {
                faults.partition(|host| (host % 2) as u8);
            }
        }
        Act::Rejoin => {
            if let Some(faults) = world.faults() {
                faults.partition(|_| 0);
            }
        }
        Act::Begins(host, Mishap::Refuse(time)) => {
            world.agent.refuses_until[host as usize] = now + time;
        }
        Act::Does(host, deed) => do_deed(world, plan, host, deed),
        Act::Lie => {
            if let Some(packet) = world.agent.lie(plan.topology.hosts()) {
                world.inject(packet);
            }
        }
        Act::Heal => {
            if let Some(faults) = world.faults() {
                faults.heal();
            }
            world.agent.laws.healed(now);
        }
    }
}

fn do_deed(world: &mut World<Swarm>, plan: &Plan, host: u32, deed: Deed) {
    let now = world.now();
    match (deed, plan.hostile) {
        (Deed::Flood, Some(hostile)) => {
            world.agent.laws.paused(now, host, now + FLOOD_TIME);
            world.pause(host, now + FLOOD_TIME);
            for packet in world.agent.flood(hostile, host) {
                world.inject(packet);
            }
        }
        (Deed::Close, _) if world.is_up(host) && plan.hostile != Some(host) => {
            world.agent.laws.closed(now, host);
            for engine in 0..plan.hosts[host as usize].engines.len() {
                world.with(host, engine, Swarm::close);
            }
        }
        (Deed::Flood | Deed::Close, _) => {}
    }
}

/// Takes what a host's engines counted into the table of what was reached.
fn count(world: &mut World<Swarm>, host: u32) {
    let counters: Vec<_> = world
        .engines(host)
        .map(|it| it.counters().clone())
        .collect();
    for counters in counters {
        world.agent.coverage.counters(&counters);
    }
}

/// Nothing is left.
fn judge(world: &mut World<Swarm>, plan: &Plan) {
    let now = world.now();
    for host in 0..plan.topology.hosts() {
        let left: Vec<_> = world
            .engines(host)
            .map(|engine| (engine.usage(), engine.poll_timeout().is_some()))
            .collect();
        for (usage, waits) in left {
            world.agent.laws.check_empty(now, host, &usage, waits);
        }
    }
    if !world.is_quiet() || world.in_flight() > 0 {
        world.agent.laws.stuck(now, 0);
    }
}
