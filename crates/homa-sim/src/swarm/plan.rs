//! What a seed means: topology, packet size, configuration, calls, faults. Drawn once, so that a
//! run depends on nothing else.

use core::time::Duration;

use homa_proto::{Config, REFERENCE_CUTOFFS};

use super::Options;
use super::weather::{Weather, draw_faults, draw_limits, draw_mishaps};
use crate::fault::{FaultConfig, PathLimit};
use crate::host::{ENGINES_MAX, HostConfig, SocketConfig};
use crate::link::LinkConfig;
use crate::random::Random;
use crate::switch::BufferConfig;
use crate::topology::{Shape, Spread, Topology};

/// The port that every host serves.
pub(crate) const PORT: u16 = 4_000;
/// A second port, from which calls are made too.
pub(crate) const OTHER_PORT: u16 = 40_000;

/// When a run begins, in nanoseconds.
pub(crate) const START: u64 = 1_000_000_000;

pub(super) const MICROSECOND: u64 = 1_000;
pub(super) const MILLISECOND: u64 = 1_000_000;

/// How long a host is busy when it is flooded, in nanoseconds.
pub(crate) const FLOOD_TIME: u64 = 10 * MILLISECOND;

/// More than a packet spends in the queues of its way, in nanoseconds.
const QUEUES_TIME: u64 = 100 * MILLISECOND;

/// Sequences of random numbers for rare things.
const LATE_COPIES: u64 = 253;
const SHORT_CRASH: u64 = 414;
const BUDGET: u64 = 560;
const SPARE: u64 = 731;

/// Bytes of all messages of a run, about.
const RUN_BYTES: u64 = 6_000_000;

/// What a server's application does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// It answers after so many nanoseconds.
    Answer(u64),
    /// It drops the request after so many.
    Drop(u64),
}

/// A call that a client is going to make, and all that will come of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deal {
    pub(crate) at: u64,
    pub(crate) client: u32,
    pub(crate) server: u32,
    pub(crate) request: u32,
    pub(crate) response: u32,
    pub(crate) service: Service,
    /// Nanoseconds after which the client loses interest.
    pub(crate) deadline: Option<u64>,
    /// Nanoseconds after which the client aborts.
    pub(crate) abort: Option<u64>,
    pub(crate) idempotent: bool,
    /// Nanoseconds for which applications keep the buffers of what they got.
    pub(crate) hold: u64,
    /// The client's engine.
    pub(crate) engine: usize,
    /// Which of the client's sockets.
    pub(crate) socket: usize,
    /// Port of the server that is called; an unusual one is not served.
    pub(crate) port: u16,
}

/// A thing that happens to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// It does nothing for so many nanoseconds.
    Pause(u64),
    /// It is gone, and starts anew after so many.
    Crash(u64),
    /// Every second host is cut off for so many.
    Partition(u64),
    /// It stores nothing for so many.
    Refuse(u64),
}

/// A thing that somebody does on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A host closes the second of its ports.
    Close,
    /// A host is busy while the hostile one asks it about hundreds of RPCs that never were.
    Flood,
}

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) topology: Topology,
    pub(crate) buffer: BufferConfig,
    /// Payload bytes of a packet.
    pub(crate) segment: u32,
    pub(crate) hosts: Vec<HostConfig>,
    pub(crate) deals: Vec<Deal>,
    /// The last of which a fresh network gets, one for each host.
    pub(crate) probes: Vec<Deal>,
    pub(crate) faults: FaultConfig,
    pub(crate) limits: Vec<(u32, PathLimit)>,
    pub(crate) mishaps: Vec<(u64, u32, Mishap)>,
    pub(crate) deeds: Vec<(u64, u32, Deed)>,
    /// A host without an engine, which sends well-formed lies.
    pub(crate) hostile: Option<u32>,
    /// How many it sends.
    pub(crate) lies: u32,
    /// When the network heals.
    pub(crate) heal_at: u64,
}

impl Plan {
    /// The run that `seed` means, but for what the options say.
    pub(crate) fn draw(seed: u64, options: Options) -> Self {
        let Options { fair, shape, .. } = options;
        let random = &mut Random::new(seed, 1);
        let mut weather = Weather::draw(random);
        if fair {
            weather = Weather::default();
        }
        let mut topology = draw_topology(random);
        topology.shape = shape.unwrap_or(topology.shape);
        let count = topology.hosts();
        let segment = draw_segment(random);
        let hostile = (weather.hostile && count > 2).then(|| random.below(count.into()) as u32);
        let base = draw_config(random, &topology, weather);
        let hosts = (0..count)
            .map(|_| draw_host(random, &topology, &base, weather))
            .collect();
        let span = random.between(200 * MICROSECOND, 60 * MILLISECOND);
        let deals = draw_deals(random, count, span, hostile, weather, &base);
        let mishaps = draw_mishaps(random, count, span, weather);
        let healed = mishaps.iter().map(|&(at, _, mishap)| match mishap {
            Mishap::Pause(time)
            | Mishap::Crash(time)
            | Mishap::Partition(time)
            | Mishap::Refuse(time) => at + time,
        });
        let heal_at = healed.max().unwrap_or(0).max(START + span) + MILLISECOND;
        let probes = (0..count)
            .filter(|&host| count > 2 || hostile.is_none() || Some(host) != hostile)
            .map(|client| draw_deal(random, client, count, 0, hostile, &base))
            .map(|deal| Deal {
                service: Service::Answer(0),
                deadline: None,
                abort: None,
                port: PORT,
                ..deal
            })
            .collect();
        let mut plan = Self {
            seed,
            topology,
            buffer: draw_buffer(random, topology.edge.bits_per_second, weather),
            segment,
            hosts,
            deals,
            probes,
            faults: draw_faults(random, weather),
            limits: draw_limits(random, count, segment, weather),
            mishaps,
            deeds: Vec::new(),
            hostile,
            lies: random.magnitude(400) as u32,
            heal_at,
        };
        if fair {
            plan.make_fair();
        }
        plan.draw_engines(options.engines);
        plan.draw_rarities(weather);
        plan
    }

    /// Adds what would hardly ever happen by itself. From a sequence of its own, too.
    fn draw_rarities(&mut self, weather: Weather) {
        let random = &mut Random::new(self.seed, 6);
        let count = self.topology.hosts();
        let span = self.heal_at - START;
        let mut deed = |deed| {
            let at = START + random.below(span);
            (at, random.below(count.into()) as u32, deed)
        };
        let (flood, close) = (deed(Deed::Flood), deed(Deed::Close));
        if self.hostile.is_some_and(|hostile| hostile != flood.1) && random.chance(400) {
            self.deeds.push(flood);
            self.heal_at = self.heal_at.max(flood.0 + 2 * FLOOD_TIME);
        }
        if weather.mishaps && random.chance(300) {
            self.deeds.push(close);
        }
        // Where packets come twice, one that finds a dead host says nothing of its copy.
        let single = self.faults.duplicate_permille == 0;
        self.faults.tells_of_the_dead = weather.mishaps && single;
        if weather.tiny_tables && random.chance(250) {
            let ranges = random.between(1, 3) as u32;
            for engine in self.hosts.iter_mut().flat_map(|host| &mut host.engines) {
                engine.max_gaps = ranges;
            }
        }
        self.draw_late_rarities(weather);
    }

    /// Adds more of them, from sequences in which the seeds that found defects go on to mean the
    /// same runs.
    fn draw_late_rarities(&mut self, weather: Weather) {
        let rarely = |purpose| {
            let mut random = Random::new(self.seed, purpose);
            random.chance(300).then_some(random)
        };
        let (copies, crash, budget) = (rarely(LATE_COPIES), rarely(SHORT_CRASH), rarely(BUDGET));
        let spare = rarely(SPARE);
        if let Some(mut random) = crash.filter(|_| weather.mishaps) {
            self.add_short_crash(&mut random);
        }
        if let Some(mut random) = budget.filter(|_| weather.tiny_tables) {
            self.tighten_budget(random.below(50_000));
        }
        if spare.is_some() {
            for host in &mut self.hosts {
                // Several know too little of each other to keep the order within what is spare.
                if let [engine] = host.engines.as_mut_slice() {
                    engine.spare_incoming_bytes = engine.max_incoming_bytes / 2;
                }
            }
        }
        if copies.is_some() && self.faults.duplicate_permille > 0 {
            self.faults.duplicate_delay_max = self.latest_copy();
        }
    }

    /// Leaves receivers room for the longest message of the run, and for `more` bytes.
    fn tighten_budget(&mut self, more: u64) {
        let deals = self.deals.iter().chain(&self.probes);
        let lengths = deals.map(|deal| deal.request.max(deal.response));
        let longest = lengths.max().unwrap_or(1);
        for engine in self.hosts.iter_mut().flat_map(|host| &mut host.engines) {
            engine.max_message_bytes = engine.max_message_bytes.min(longest);
            engine.receive_budget_bytes = u64::from(engine.max_message_bytes) + more;
        }
    }

    /// A crash so short and so early that the host has much to do before and after it.
    fn add_short_crash(&mut self, random: &mut Random) {
        let calls = self.deals.len() as u64;
        let middle = random.between(calls / 4, calls * 3 / 4) as usize;
        if let Some(deal) = self.deals.get(middle) {
            let time = random.magnitude(2 * MILLISECOND);
            let (at, host) = (deal.at, random.pick(&[deal.client, deal.server]));
            self.mishaps.push((at, host, Mishap::Crash(time)));
            self.mishaps.sort_by_key(|&(at, ..)| at);
            self.heal_at = self.heal_at.max(at + time + MILLISECOND);
        }
    }

    /// How late a copy may come, in nanoseconds: a packet's lifetime, less what it may spend in
    /// queues and at hosts that pause.
    fn latest_copy(&self) -> u64 {
        let configs = self.hosts.iter().flat_map(|host| &host.engines);
        let lifetime = configs.map(|config| config.packet_lifetime.as_nanos() as u64);
        let pauses = self.mishaps.iter().map(|&(_, _, mishap)| match mishap {
            Mishap::Pause(time) => time,
            _ => 0,
        });
        let spent = pauses.sum::<u64>() + FLOOD_TIME + QUEUES_TIME;
        let left = lifetime.min().unwrap_or(0).saturating_sub(spent);
        left.max(self.faults.duplicate_delay_max)
    }

    /// Gives hosts several engines, and each call one of its client's. From a sequence of its own,
    /// so that all else is the same with any number of engines.
    fn draw_engines(&mut self, asked: Option<usize>) {
        let random = &mut Random::new(self.seed, 5);
        let several = random.chance(500);
        for host in &mut self.hosts {
            let drawn = random.between(1, ENGINES_MAX as u64) as usize;
            let count = asked.unwrap_or(if several { drawn } else { 1 });
            let config = host.engines.pop();
            host.engines = config.into_iter().cycle().take(count).collect();
        }
        for deal in self.deals.iter_mut().chain(&mut self.probes) {
            let count = self.hosts[deal.client as usize].engines.len();
            deal.engine = random.below(count as u64) as usize;
        }
    }

    /// Nobody gives up, nothing overtakes, and there is room for all.
    fn make_fair(&mut self) {
        self.topology.spread = Spread::PerFlow;
        self.buffer.bytes = FAIR_BUFFER_BYTES;
        if let Some(first) = self.hosts.first().cloned() {
            self.hosts.fill(first);
        }
        self.deals.truncate(FAIR_CALLS);
        for deal in &mut self.deals {
            deal.deadline = None;
            deal.abort = None;
            if let Service::Drop(time) = deal.service {
                deal.service = Service::Answer(time);
            }
        }
    }
}

/// Calls of a run without faults: so few that queues stay short.
const FAIR_CALLS: usize = 60;
const FAIR_BUFFER_BYTES: u64 = 64_000_000;

fn draw_topology(random: &mut Random) -> Topology {
    let shape = match random.below(8) {
        0 | 1 => Shape::Pair,
        2..=4 => Shape::Star {
            hosts: random.between(2, 9) as u32,
        },
        5 | 6 => Shape::LeafSpine {
            racks: random.between(2, 3) as u32,
            hosts_per_rack: random.between(1, 4) as u32,
            spines: random.between(1, 3) as u32,
        },
        _ => Shape::FatTree { radix: 4 },
    };
    let rate = random.pick(&[1, 10, 10, 25, 100]) * 1_000_000_000;
    let delay = random.between(50, 5_000);
    Topology {
        shape,
        edge: LinkConfig {
            bits_per_second: rate,
            delay,
        },
        core: LinkConfig {
            bits_per_second: rate * random.pick(&[1, 1, 4]),
            delay,
        },
        spread: random.pick(&[Spread::PerFlow, Spread::PerPacket]),
    }
}

fn draw_segment(random: &mut Random) -> u32 {
    random.pick(&[1_416, 1_416, 1_400, 8_916, 1_196, 500, 4_000])
}

fn draw_buffer(random: &mut Random, rate: u64, weather: Weather) -> BufferConfig {
    BufferConfig {
        bytes: if weather.tiny_buffers {
            random.between(10_000, 200_000)
        } else {
            // What a link carries in 20 ms: packets never wait for longer than they may live.
            rate / 400
        },
        alpha_eighths: random.pick(&[4, 8, 16]),
    }
}

fn draw_config(random: &mut Random, topology: &Topology, weather: Weather) -> Config {
    let ms = |n| Duration::from_millis(n);
    let resend = random.pick(&[1, 2, 5, 5, 5, 10]);
    let mut config = Config {
        link_bits_per_second: random.chance(600).then_some(topology.edge.bits_per_second),
        resend_interval: ms(resend),
        // Long enough to ask four times and find out that long packets do not pass.
        timeout: ms(resend * random.between(7, 20)),
        ack_interval: ms(random.between(1, 4)),
        ping_interval_max: ms(resend.max(random.pick(&[20, 100, 250]))),
        service_silence: ms(random.pick(&[1_000, 2_000, 5_000])),
        packet_lifetime: ms(random.pick(&[500, 1_000, 1_000])),
        peer_idle: ms(random.pick(&[1_100, 2_000, 10_000])),
        cutoffs: random.pick(&[None, Some(REFERENCE_CUTOFFS)]),
        ..Config::default()
    };
    if random.chance(500) {
        config.unscheduled_bytes = random.pick(&[1, 500, 5_000, 10_000, 60_000, 100_000]);
        config.max_incoming_bytes = random.pick(&[5_000, 50_000, 100_000, 400_000, 1_000_000]);
        let is_small = config.max_incoming_bytes <= 50_000;
        config.grant_patience = is_small.then_some(Duration::from_micros(20));
    }
    if random.chance(300) {
        config.incast_rpcs = random.pick(&[0, 2, 5, 20]);
        config.incast_unscheduled_bytes = random.pick(&[64, 512, 2_000]);
    }
    if random.chance(300) {
        config.overcommitment = random.between(1, 8) as u8;
        config.window_bytes = random.pick(&[None, None, Some(20_000), Some(100_000)]);
    }
    if random.chance(300) {
        config.fifo_grant_permille = random.pick(&[0, 50, 200, 500]);
        config.fifo_grant_bytes = random.pick(&[5_000, 50_000]);
        config.pacer_fifo_permille = random.pick(&[0, 50, 500]);
    }
    if random.chance(300) {
        config.priorities = random.between(1, 8) as u8;
        config.cutoffs = random.pick(&[
            None,
            Some([0, 0, 0, 0, 1_000_000, 100_000, 10_000, 1_000]),
            Some([0; 8]),
            Some([1_000_000; 8]),
        ]);
    }
    if random.chance(200) {
        config.burst_packets = random.between(1, 64) as u8;
        config.burst_bytes = random.between(1_500, 65_507) as u32;
        config.short_message_bytes = random.pick(&[0, 100, 1_000, 1_400]);
    }
    if random.chance(100) {
        config.quiet_start = ms(random.between(1, 30));
    }
    if random.chance(200) {
        config.max_message_bytes = random.pick(&[20_000, 100_000, 2_000_000]);
    }
    if weather.tiny_tables {
        shrink_tables(random, &mut config);
    }
    config
}

fn shrink_tables(random: &mut Random, config: &mut Config) {
    for _ in 0..random.between(1, 4) {
        match random.below(8) {
            0 => config.max_client_rpcs = random.between(1, 20) as u32,
            1 => config.max_server_rpcs = random.between(1, 20) as u32,
            2 => config.max_server_rpcs_per_peer = random.between(1, 5) as u32,
            3 => config.max_peers = random.between(1, 4) as u32,
            4 => config.max_gaps = random.between(1, 10) as u32,
            5 => config.max_gaps_per_message = random.between(1, 3) as u16,
            6 => config.max_tombstone_blocks = random.between(1, 6) as u32,
            _ => {
                config.receive_budget_bytes =
                    u64::from(config.max_message_bytes) + random.below(50_000);
            }
        }
    }
}

fn draw_host(
    random: &mut Random,
    topology: &Topology,
    base: &Config,
    weather: Weather,
) -> HostConfig {
    let mut config = base.clone();
    if random.chance(100) {
        let other = draw_config(random, topology, weather);
        // What all hosts must agree on stays.
        config = Config {
            packet_lifetime: base.packet_lifetime,
            ..other
        };
    }
    HostConfig {
        engines: vec![config],
        sockets: vec![
            SocketConfig {
                port: PORT,
                accepts_requests: true,
            },
            SocketConfig {
                port: OTHER_PORT,
                accepts_requests: false,
            },
        ],
        link: topology.edge,
        queue_max_bytes: if weather.tiny_buffers {
            200_000
        } else {
            2_000_000
        },
        send_delay: random.pick(&[0, 500, 1_500]),
        receive_delay: random.pick(&[0, 500, 1_500]),
    }
}

fn draw_length(random: &mut Random, base: &Config) -> u32 {
    let max = u64::from(base.max_message_bytes);
    let length = match random.below(10) {
        0..=3 => random.magnitude(1_000),
        4..=6 => random.magnitude(40_000),
        7 => u64::from(base.unscheduled_bytes) + random.below(3),
        8 => random.pick(&[999, 1_000, 1_400, 1_416, 1_417, 39_648, 40_000]),
        _ => random.magnitude(1_000_000),
    };
    length.clamp(1, max) as u32
}

fn draw_deal(
    random: &mut Random,
    client: u32,
    count: u32,
    at: u64,
    hostile: Option<u32>,
    base: &Config,
) -> Deal {
    let mut server = (client + 1 + random.below(u64::from(count) - 1) as u32) % count;
    // Few honest calls go to a liar: nothing can be said of them.
    if Some(server) == hostile && !random.chance(200) {
        server = (server + 1) % count;
    }
    if server == client {
        server = (server + 1) % count;
    }
    let service = match random.below(20) {
        0 => random.between(5 * MILLISECOND, 150 * MILLISECOND),
        1..=5 => random.between(0, 2 * MILLISECOND),
        _ => 0,
    };
    Deal {
        at,
        client,
        server,
        request: draw_length(random, base),
        response: draw_length(random, base),
        service: if random.chance(20) {
            Service::Drop(service)
        } else {
            Service::Answer(service)
        },
        deadline: random
            .chance(60)
            .then(|| random.between(10 * MICROSECOND, 50 * MILLISECOND)),
        abort: random
            .chance(30)
            .then(|| random.between(0, 5 * MILLISECOND)),
        idempotent: random.chance(100),
        hold: if random.chance(100) {
            random.below(5 * MILLISECOND)
        } else {
            0
        },
        engine: 0,
        socket: usize::from(random.chance(200)),
        port: PORT,
    }
}

fn draw_deals(
    random: &mut Random,
    count: u32,
    span: u64,
    hostile: Option<u32>,
    weather: Weather,
    base: &Config,
) -> Vec<Deal> {
    let limit = random.magnitude(600).max(5);
    let incast = random
        .chance(200)
        .then(|| random.below(count.into()) as u32);
    let bunched = random.chance(200);
    let (mut deals, mut bytes) = (Vec::new(), 0);
    while (deals.len() as u64) < limit && bytes < RUN_BYTES {
        let at = if bunched && random.chance(700) {
            START + span / 2
        } else {
            START + random.below(span)
        };
        let client = random.below(count.into()) as u32;
        let mut deal = draw_deal(random, client, count, at, hostile, base);
        if let Some(server) = incast.filter(|&server| server != client) {
            deal.server = server;
        }
        if weather.mishaps && random.chance(20) {
            deal.port = random.pick(&[OTHER_PORT, 9]);
        }
        bytes += u64::from(deal.request) + u64::from(deal.response);
        deals.push(deal);
    }
    deals.sort_by_key(|deal| deal.at);
    deals
}
