//! The same turn in virtual time: the engine with the configuration of the lab's hosts and the very
//! messages of the lab, on the simulator's own network. What differs is what the lab is to show:
//! processes that wait for a processor, and a kernel under them.

use core::ops::Range;
use core::time::Duration;

use homa_proto::{Event, Place, RpcKey, Seed};
use homa_sim::{
    Agent, BadWorld, BufferConfig, Context, HostConfig, LinkConfig, NO_MESSAGE, Packet, Seen,
    Shape, SocketConfig, Spread, Topology, World,
};

use super::wire::SEGMENT_BYTES;
use crate::traffic::plan::{Arrival, destination};
use crate::traffic::tally::Tally;

const PORT: u16 = 4000;

/// Bytes of a response: the checksum.
const RESPONSE_BYTES: u32 = 4;

/// Nothing is lost in a host.
const QUEUE_MAX_BYTES: u32 = 1 << 30;

/// A turn's network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) link: LinkConfig,
    pub(super) buffer: BufferConfig,
    /// What a host's software takes for a packet, at either end.
    pub(super) software: Duration,
}

/// What hosts do with their messages.
struct Applications<'a> {
    tally: &'a mut Tally,
    counted: Range<Duration>,
    /// When the first message could be sent.
    start: u64,
    /// The arrival that each host's RPCs carry, by the index of the RPC.
    asked: Vec<Vec<Option<Arrival>>>,
    failed_count: u64,
}

impl Applications<'_> {
    fn send(&mut self, cx: &mut Context<'_>, arrival: &Arrival, hosts: u32) {
        let other = destination(arrival.message.number, hosts as usize - 1) as u32;
        // All hosts but the sender, in their order.
        let to = other + u32::from(other >= cx.host);
        let call = cx.request(to, PORT, arrival.message.size as u32, SEGMENT_BYTES);
        match cx.call(call, NO_MESSAGE) {
            Ok(rpc) => {
                let asked = &mut self.asked[cx.host as usize];
                if asked.len() <= rpc.index() {
                    asked.resize(rpc.index() + 1, None);
                }
                asked[rpc.index()] = Some(*arrival);
            }
            Err(_) => self.failed_count += 1,
        }
    }

    fn end(&mut self, cx: &Context<'_>, rpc: RpcKey) {
        let asked = self.asked[cx.host as usize].get_mut(rpc.index());
        let Some(arrival) = asked.and_then(Option::take) else {
            return;
        };
        if self.counted.contains(&arrival.at) {
            let latency = Duration::from_nanos(cx.now - self.start) - arrival.at;
            self.tally.record_answer(arrival.message.size, latency);
        }
    }
}

impl Agent for Applications<'_> {
    fn store(&mut self, _: &mut Seen, _: &Place, _: &Packet) -> bool {
        true
    }

    fn event(&mut self, cx: &mut Context<'_>, event: Event) {
        match event {
            Event::Request { rpc, length, .. } => {
                let now = cx.time();
                cx.engine().give_back(now, u64::from(length));
                // A client that is gone needs no answer.
                let _ = cx.reply(rpc, RESPONSE_BYTES, SEGMENT_BYTES, NO_MESSAGE);
            }
            Event::Response { rpc, length } => {
                let now = cx.time();
                cx.engine().give_back(now, u64::from(length));
                self.end(cx, rpc);
            }
            Event::Failed { .. } => self.failed_count += 1,
            Event::Ended { .. } => {}
        }
    }

    fn stuck(&mut self, _: u64, _: u32) {
        self.failed_count += 1;
    }
}

/// Sends every host's `plans` at their times, for at most `length`, and enters the answers to those
/// planned in `counted`. Returns how many RPCs failed.
///
/// # Errors
/// A network that cannot be.
pub(super) fn run(
    scene: &Scene,
    engine: &homa::Config,
    plans: &[Vec<Arrival>],
    counted: &Range<Duration>,
    length: Duration,
    tally: &mut Tally,
) -> Result<u64, BadWorld> {
    let hosts = plans.len() as u32;
    let host = HostConfig {
        engines: vec![engine.clone()],
        sockets: vec![SocketConfig {
            port: PORT,
            accepts_requests: true,
        }],
        link: scene.link,
        queue_max_bytes: QUEUE_MAX_BYTES,
        send_delay: scene.software.as_nanos() as u64,
        receive_delay: scene.software.as_nanos() as u64,
    };
    let topology = Topology {
        shape: Shape::Star { hosts },
        edge: scene.link,
        core: scene.link,
        spread: Spread::PerPacket,
    };
    let start = 1;
    let applications = Applications {
        tally,
        counted: counted.clone(),
        start,
        asked: vec![Vec::new(); plans.len()],
        failed_count: 0,
    };
    let seeds = (0..u64::from(hosts)).map(|number| (host.clone(), Seed([number, 1])));
    let mut world = World::new(topology, scene.buffer, seeds.collect(), start, applications)?;
    let numbered = (0..hosts).zip(plans);
    let mut arrivals: Vec<(u32, &Arrival)> = numbered
        .flat_map(|(host, plan)| plan.iter().map(move |arrival| (host, arrival)))
        .collect();
    arrivals.sort_by_key(|(host, arrival)| (arrival.at, *host));
    for (host, arrival) in arrivals {
        world.run_until(start + arrival.at.as_nanos() as u64);
        world.with(host, 0, |applications, cx| {
            applications.send(cx, arrival, hosts)
        });
    }
    world.run_until(start + length.as_nanos() as u64);
    Ok(world.agent.failed_count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::plan::{Pattern, Planner};
    use crate::traffic::tally::{Bins, Unloaded};
    use homa_sim::Workload;

    /// Messages of one size between three hosts, at that share of links of 100 Mbit/s.
    fn measure(load: f64) -> Tally {
        let workload = Workload::parse("one", "size_bytes,cumulative_fraction\n1000,1\n").unwrap();
        let pattern = Pattern::new(1);
        let plans: Vec<_> = (0..3)
            .map(|seed| {
                let planner = Planner {
                    workload: &workload,
                    pattern: &pattern,
                    seed,
                };
                planner.slice(0, Duration::from_millis(500), load * 12.5e6)
            })
            .collect();
        let unloaded = Unloaded::new(vec![(1000, Duration::from_micros(400))]);
        let mut tally = Tally::new(&Bins::new(vec![1000]), &unloaded);
        let link = LinkConfig {
            bits_per_second: 100_000_000,
            delay: 0,
        };
        let scene = Scene {
            link,
            buffer: BufferConfig {
                bytes: 1_500_000,
                alpha_eighths: 8,
            },
            software: Duration::from_micros(20),
        };
        let config = homa::Config::data_center(link.bits_per_second, 10_000);
        let counted = Duration::from_millis(100)..Duration::from_millis(400);
        let failed = run(
            &scene,
            &config,
            &plans,
            &counted,
            Duration::from_secs(1),
            &mut tally,
        );
        assert_eq!(failed.unwrap(), 0);
        let sent = plans.iter().flatten();
        let sent = sent.filter(|arrival| counted.contains(&arrival.at)).count();
        assert_eq!(tally.answered_count(), sent as u64);
        tally
    }

    #[test]
    fn every_message_is_answered_and_waits_longer_when_more_are_sent() {
        let (idle, busy) = (measure(0.05).mean_slowdown(), measure(0.6).mean_slowdown());
        // A thousand bytes and the answer take two links each, 89 and 10 µs, and the software.
        assert!((0.6..0.9).contains(&idle), "{idle}");
        assert!(busy > 1.2 * idle, "{busy} and {idle}");
    }
}
