//! Congestion that is not at the last hop: hosts of one rack send to those of another over an
//! uplink that carries a fourth of what they could, and one flow like TCP's shares it.
//!
//! The flow is a Reno with an acknowledgement for each packet: its window doubles until the first
//! loss, then grows by a packet a round trip, and is halved once a round trip with losses.

use homa_proto::wire::Priority;
use homa_proto::{Config, Event, Place, Seed};

use super::setup::{PORT, SEGMENT_BYTES, Setup};
use crate::agent::{Agent, Drop, Leaving, Seen};
use crate::host::Context;
use crate::packet::{NO_MESSAGE, Packet};
use crate::random::Random;
use crate::switch::BufferConfig;
use crate::topology::Shape;
use crate::world::{BadWorld, World};

/// Hosts of a rack; all of one send to those of the other, the last with TCP and the others with
/// Homa.
const RACK: u32 = 8;

/// The uplink carries a fourth of what the rack's hosts could send.
const UPLINK_BITS_PER_SECOND: u64 = RACK as u64 * 10_000_000_000 / 4;

/// Messages that every host always has under way, and their length.
const MESSAGES: u32 = 4;
const MESSAGE_BYTES: u32 = 1_000_000;

/// Nanoseconds until all have found their pace, and those that are measured.
const WARM_UP_NANOS: u64 = 20_000_000;
const MEASURED_NANOS: u64 = 60_000_000;

/// A packet of the flow like TCP's: its headers, its payload, and the most of them under way.
const TCP_HEADER: [u8; 40] = [0; 40];
const TCP_PAYLOAD_BYTES: u32 = 1_460;
const TCP_WINDOW_MAX: f64 = 2_000.0;
const TCP_WINDOW_FIRST: f64 = 10.0;
/// "The flow's packet", where the message stands.
const TCP: u32 = NO_MESSAGE - 1;
/// Where a header says that it is an acknowledgement.
const ACK_PLACE: usize = TCP_HEADER.len() - 1;
/// Round trip before the first one is measured.
const TCP_RTT_FIRST_NANOS: u64 = 50_000;

/// What shares the uplink, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contest {
    /// Levels of priority that the network has, 1 to 8; the flow has the lowest.
    pub levels: u8,
    /// Thousandths of each link that switches keep for the lowest level while packets wait there.
    /// Above 0 that level is the flow's alone, Homa has those above it, and there are at least two.
    pub reserved_permille: u16,
    /// Bytes of the buffer of every switch.
    pub buffer_bytes: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContestRow {
    /// Payload that arrived for the first time, as a share of what the uplink carries.
    pub goodput: f64,
    /// What the flow got of an eighth of that.
    pub tcp_fair_share: f64,
    /// Part of Homa's DATA packets that were sent again.
    pub resent: f64,
    /// Packets that found no room.
    pub drops: u64,
    /// Most bytes that waited at a port.
    pub queue_max_bytes: u64,
}

/// The sender of the flow.
struct Flow {
    window: f64,
    threshold: f64,
    in_flight: u32,
    next: u32,
    /// A packet whose round trip is measured, and when it was sent.
    probe: Option<(u32, u64)>,
    rtt: u64,
    /// Losses before it belong to one that was heeded.
    heeded_until: u64,
}

impl Flow {
    fn acknowledge(&mut self, now: u64, number: u32) {
        self.in_flight -= 1;
        let grows = if self.window < self.threshold {
            1.0
        } else {
            1.0 / self.window
        };
        self.window = (self.window + grows).min(TCP_WINDOW_MAX);
        if let Some((probe, sent_at)) = self.probe
            && probe == number
        {
            self.rtt = (7 * self.rtt + (now - sent_at)) / 8;
            self.probe = None;
        }
    }

    fn lose(&mut self, now: u64) {
        self.in_flight -= 1;
        self.probe = None;
        if now >= self.heeded_until {
            self.window = (self.window / 2.0).max(2.0);
            self.threshold = self.window;
            self.heeded_until = now + self.rtt;
        }
    }

    /// The next packet, if the window allows one.
    fn next(&mut self, now: u64) -> Option<Packet> {
        if f64::from(self.in_flight) + 1.0 > self.window {
            return None;
        }
        let mut packet = Packet::new(&TCP_HEADER, RACK - 1, 2 * RACK - 1, Priority::LOWEST);
        packet.message = TCP;
        packet.payload_bytes = TCP_PAYLOAD_BYTES;
        packet.offset = self.next;
        self.probe.get_or_insert((self.next, now));
        self.next = self.next.wrapping_add(1);
        self.in_flight += 1;
        Some(packet)
    }
}

/// The applications and the flow.
struct Rivals {
    /// The lowest level that is Homa's.
    lowest: u8,
    ends: Random,
    flow: Flow,
    /// Acknowledgements that are to be sent.
    acks: Vec<Packet>,
    homa_bytes: u64,
    tcp_bytes: u64,
    drops: u64,
    stuck: bool,
}

impl Rivals {
    fn send(&mut self, cx: &mut Context<'_>) {
        let to = RACK + self.ends.below(u64::from(RACK - 1)) as u32;
        let call = cx.request(to, PORT, MESSAGE_BYTES, SEGMENT_BYTES);
        // Tables have room for a few messages a host.
        let _ = cx.call(call, NO_MESSAGE);
    }
}

impl Agent for Rivals {
    const WATCHES: bool = false;

    fn store(&mut self, _: &mut Seen, place: &Place, _: &Packet) -> bool {
        self.homa_bytes += u64::from(place.length);
        true
    }

    fn event(&mut self, cx: &mut Context<'_>, event: Event) {
        let now = cx.time();
        match event {
            Event::Request { rpc, length, .. } => {
                cx.engine().give_back(now, length.into());
                // A client that is gone needs no answer.
                let _ = cx.reply(rpc, 1, SEGMENT_BYTES, NO_MESSAGE);
            }
            Event::Response { length, .. } => {
                cx.engine().give_back(now, length.into());
                self.send(cx);
            }
            Event::Failed { .. } => self.send(cx),
            Event::Ended { .. } => {}
        }
    }

    fn leaving(&mut self, _: u64, _: &Leaving, packet: &mut Packet) -> bool {
        packet.priority += self.lowest;
        true
    }

    fn arriving(&mut self, now: u64, packet: &mut Packet) -> bool {
        if packet.message != TCP {
            return true;
        }
        if packet.header()[ACK_PLACE] == 1 {
            self.flow.acknowledge(now, packet.offset);
        } else {
            self.tcp_bytes += u64::from(packet.payload_bytes);
            let mut ack = Packet::new(&TCP_HEADER, packet.to, packet.from, Priority::LOWEST);
            ack.header_mut()[ACK_PLACE] = 1;
            ack.message = TCP;
            ack.offset = packet.offset;
            self.acks.push(ack);
        }
        false
    }

    fn dropped(&mut self, now: u64, packet: &Packet, _: Drop) {
        self.drops += 1;
        if packet.message == TCP {
            self.flow.lose(now);
        }
    }

    fn stuck(&mut self, _: u64, _: u32) {
        self.stuck = true;
    }

    fn is_over(&self) -> bool {
        self.stuck
    }
}

/// Has all send for 80 ms, of which the last 60 are measured.
///
/// # Errors
/// A setup that cannot be.
pub fn contest(what: Contest) -> Result<ContestRow, BadWorld> {
    let mut world = rack(what)?;
    for host in (0..RACK - 1).flat_map(|host| [host; MESSAGES as usize]) {
        world.with(host, 0, |rivals, cx| rivals.send(cx));
    }
    run(&mut world, WARM_UP_NANOS);
    let sent_before = sent(&world);
    world.restart_counters();
    let rivals = &mut world.agent;
    (rivals.homa_bytes, rivals.tcp_bytes, rivals.drops) = (0, 0, 0);
    run(&mut world, WARM_UP_NANOS + MEASURED_NANOS);
    let (all, again) = sent(&world);
    let rivals = &world.agent;
    let carried =
        |bytes: u64| bytes as f64 * 8e9 / (UPLINK_BITS_PER_SECOND as f64 * MEASURED_NANOS as f64);
    Ok(ContestRow {
        goodput: carried(rivals.homa_bytes + rivals.tcp_bytes),
        tcp_fair_share: carried(rivals.tcp_bytes) * f64::from(RACK),
        resent: (again - sent_before.1) as f64 / (all - sent_before.0).max(1) as f64,
        drops: rivals.drops,
        queue_max_bytes: world.switch_counters().port_max_bytes,
    })
}

fn rack(what: Contest) -> Result<World<Rivals>, BadWorld> {
    let mut setup = Setup::of(Shape::LeafSpine {
        racks: 2,
        hosts_per_rack: RACK,
        spines: 1,
    });
    setup.topology.core.bits_per_second = UPLINK_BITS_PER_SECOND;
    let rate = setup.topology.edge.bits_per_second;
    let round_trip = super::setup::ROUND_TRIP_BYTES;
    let lowest = u8::from(what.reserved_permille > 0);
    let levels = what.levels.saturating_sub(lowest).max(1);
    let config = Config::data_center(rate, round_trip).with_levels(levels);
    let host = setup.host(config);
    let hosts = (0..2 * RACK).map(|number| (host.clone(), Seed([u64::from(number), 7])));
    let buffer = BufferConfig {
        bytes: what.buffer_bytes,
        alpha_eighths: 8,
    };
    let agent = Rivals {
        lowest,
        ends: Random::new(1, 14),
        flow: Flow {
            window: TCP_WINDOW_FIRST,
            threshold: f64::MAX,
            in_flight: 0,
            next: 0,
            probe: None,
            rtt: TCP_RTT_FIRST_NANOS,
            heeded_until: 0,
        },
        acks: Vec::new(),
        homa_bytes: 0,
        tcp_bytes: 0,
        drops: 0,
        stuck: false,
    };
    let mut world = World::new(setup.topology, buffer, hosts.collect(), 1, agent)?;
    world.reserve(what.reserved_permille);
    Ok(world)
}

/// DATA packets that all hosts sent, and those of them that were sent again.
fn sent(world: &World<Rivals>) -> (u64, u64) {
    let engines = (0..world.hosts()).flat_map(|host| world.engines(host));
    engines.fold((0, 0), |(all, again), engine| {
        let counters = engine.counters();
        let resent = counters.data_resent;
        (all + counters.data_sent + resent, again + resent)
    })
}

/// Lets time pass to `until`; the flow's packets are sent as soon as they may be.
fn run(world: &mut World<Rivals>, until: u64) {
    loop {
        let now = world.now();
        for ack in core::mem::take(&mut world.agent.acks) {
            world.inject(ack);
        }
        while let Some(packet) = world.agent.flow.next(now) {
            world.inject(packet);
        }
        match world.next() {
            Some(next) if next <= until && !world.agent.stuck => world.run_until(next),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_doubles_until_the_first_loss_and_is_halved_once_a_round_trip() {
        let mut flow = rack(Contest {
            levels: 1,
            reserved_permille: 0,
            buffer_bytes: 1 << 20,
        })
        .unwrap()
        .agent
        .flow;
        let fill = |flow: &mut Flow| core::iter::from_fn(|| flow.next(0)).count();
        assert_eq!(fill(&mut flow), 10);
        (0..10).for_each(|number| flow.acknowledge(100_000, number));
        assert_eq!(fill(&mut flow), 20);
        (0..5).for_each(|_| flow.lose(200_000));
        assert_eq!(flow.window, 10.0);
        flow.lose(200_000 + flow.rtt);
        assert_eq!(flow.window, 5.0);
    }
}
