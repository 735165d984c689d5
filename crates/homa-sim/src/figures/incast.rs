//! Incast: one client asks many servers at once, and each answers at the same time. Shows which
//! part of the client's link the responses fill, and what is lost, with incast control and without.

use homa_proto::{Config, Event, Place, Seed};

use super::setup::{HOMA_CUT, PORT, SEGMENT_BYTES};
use crate::agent::{Agent, Drop, Seen};
use crate::host::{Context, HostConfig, SocketConfig};
use crate::link::LinkConfig;
use crate::packet::{NO_MESSAGE, Packet};
use crate::switch::BufferConfig;
use crate::topology::{Shape, Spread, Topology};
use crate::world::{BadWorld, World};

const BITS_PER_SECOND: u64 = 10_000_000_000;

/// Payload of a request.
const REQUEST_BYTES: u32 = 100;

/// Every link has so many nanoseconds of delay, and so many a host's software on either side.
const LINK_NANOS: u64 = 500;
const HOST_NANOS: u64 = 1_500;

/// One switch, of whose buffer one port's queue takes at most half.
const BUFFER: BufferConfig = BufferConfig {
    bytes: 4_000_000,
    alpha_eighths: 8,
};

/// What is asked of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incast {
    /// Servers, at least 1.
    pub servers: u32,
    /// Payload of each response.
    pub response_bytes: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IncastRow {
    /// Servers asked.
    pub servers: u32,
    /// Share of the client's link that the responses filled, from the question to the last answer.
    pub link_share: f64,
    /// Packets that the switch had no room for.
    pub drops: u64,
    /// Most bytes that waited for the client's link.
    pub queue_max_bytes: u64,
    /// Calls that failed.
    pub failures: u64,
}

/// Host 0 is the client; the others answer.
struct Crowd {
    answer_bytes: u32,
    over: u32,
    failures: u64,
    ended_at: u64,
    drops: u64,
    stuck: bool,
}

impl Agent for Crowd {
    const WATCHES: bool = false;

    fn store(&mut self, _: &mut Seen, _: &Place, _: &Packet) -> bool {
        true
    }

    fn event(&mut self, cx: &mut Context<'_>, event: Event) {
        let now = cx.time();
        match event {
            Event::Request { rpc, length, .. } => {
                cx.engine().give_back(now, length.into());
                // A client that is gone needs no answer.
                let _ = cx.reply(rpc, self.answer_bytes, SEGMENT_BYTES, NO_MESSAGE);
            }
            Event::Response { length, .. } => {
                cx.engine().give_back(now, length.into());
                self.over += 1;
                self.ended_at = cx.now;
            }
            Event::Failed { .. } => {
                self.over += 1;
                self.failures += 1;
                self.ended_at = cx.now;
            }
            Event::Ended { .. } => {}
        }
    }

    fn dropped(&mut self, _: u64, _: &Packet, _: Drop) {
        self.drops += 1;
    }

    fn stuck(&mut self, _: u64, _: u32) {
        self.stuck = true;
    }

    fn is_over(&self) -> bool {
        self.stuck
    }
}

/// The configuration of hosts that know their links, and the same without incast control.
pub fn incast_configs() -> [(&'static str, Config); 2] {
    let known = Config::data_center(BITS_PER_SECOND, super::setup::ROUND_TRIP_BYTES);
    let without = Config {
        incast_rpcs: u32::MAX,
        ..known.clone()
    };
    [("control", known), ("no control", without)]
}

/// Has the client ask all servers at once, after each has been asked for a byte twice, so that
/// all know their addresses.
///
/// # Errors
/// A setup that cannot be.
pub fn incast(what: Incast, config: &Config) -> Result<IncastRow, BadWorld> {
    let mut world = crowd(what.servers, config)?;
    ask_all(&mut world, 1);
    ask_all(&mut world, 1);
    let start = world.now();
    world.restart_counters();
    ask_all(&mut world, what.response_bytes);
    let took = world.agent.ended_at.saturating_sub(start).max(1);
    let wire = HOMA_CUT.wire_bytes(what.response_bytes) * u64::from(what.servers);
    Ok(IncastRow {
        servers: what.servers,
        link_share: wire as f64 * 8e9 / BITS_PER_SECOND as f64 / took as f64,
        drops: world.agent.drops,
        queue_max_bytes: world.switch_counters().port_max_bytes,
        failures: world.agent.failures,
    })
}

fn crowd(servers: u32, config: &Config) -> Result<World<Crowd>, BadWorld> {
    let link = LinkConfig {
        bits_per_second: BITS_PER_SECOND,
        delay: LINK_NANOS,
    };
    let topology = Topology {
        shape: Shape::Star { hosts: servers + 1 },
        edge: link,
        core: link,
        spread: Spread::PerPacket,
    };
    let host = HostConfig {
        engines: vec![config.clone()],
        sockets: vec![SocketConfig {
            port: PORT,
            accepts_requests: true,
        }],
        link,
        queue_max_bytes: 1 << 20,
        send_delay: HOST_NANOS,
        receive_delay: HOST_NANOS,
    };
    let hosts = (0..=servers).map(|number| (host.clone(), Seed([u64::from(number), 5])));
    let agent = Crowd {
        answer_bytes: 1,
        over: 0,
        failures: 0,
        ended_at: 0,
        drops: 0,
        stuck: false,
    };
    World::new(topology, BUFFER, hosts.collect(), 0, agent)
}

/// The client asks every server once and waits for all.
fn ask_all(world: &mut World<Crowd>, answer_bytes: u32) {
    world.agent.answer_bytes = answer_bytes;
    let servers = world.hosts() - 1;
    let asked = world.agent.over + servers;
    world.with(0, 0, |crowd, cx| {
        for server in 1..=servers {
            let call = cx.request(server, PORT, REQUEST_BYTES, SEGMENT_BYTES);
            if cx.call(call, NO_MESSAGE).is_err() {
                crowd.over += 1;
                crowd.failures += 1;
            }
        }
    });
    while world.agent.over < asked && !world.agent.stuck {
        let Some(next) = world.next() else {
            return;
        };
        world.run_until(next);
    }
}
