//! The network: an uplink from each host to one switch, and a downlink to each.
//!
//! It reads no clock: packets go in with their time, and come out by being polled for. What happens
//! inside happens at its own time, however late it is asked for, so that rates stay exact.
//!
//! *Design*: what a host sends waits in queues of its own, as at a network card: eight of strict
//! priority, bounded, or short messages of one protocol would wait behind all that another one has
//! handed over. They are a switch of one port, with thresholds like the real one's: no level's
//! packets ever find all room taken by another level's.

use core::cmp::Reverse;
use core::mem;
use std::collections::BinaryHeap;

use homa_sim::{BufferConfig, Departure, LinkConfig, Switch, SwitchCounters};

use super::wire::{Label, PACKET_MAX_BYTES, mark, wire_bytes};

/// Bytes that wait at a port when packets that may be marked are: the threshold of DCTCP for links of
/// this kind, some twenty full packets.
pub(super) const MARK_BYTES: u64 = 30_000;

/// Packets that may wait in a host's device.
pub(super) const DEVICE_QUEUE_PACKETS: u32 = 100;

/// What waits for an uplink: as many full packets of one level, and those of other levels while half of
/// what is left has room for them.
pub(super) const UPLINK_BUFFER: BufferConfig = BufferConfig {
    bytes: 2 * (DEVICE_QUEUE_PACKETS * wire_bytes(PACKET_MAX_BYTES)) as u64,
    alpha_eighths: 8,
};

/// All packets on their way, at most; more are dropped.
const PACKETS_MAX: usize = 1 << 18;

/// What is to happen, and when, in nanoseconds; the number keeps those of one time in their order.
type Event = Reverse<(u64, u64, What)>;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum What {
    /// An uplink may take its next packet.
    UplinkIsIdle { host: usize },
    /// A packet is at the switch.
    Arrives { packet: usize },
    /// A port may take its next packet.
    PortIsIdle { port: usize },
    /// A packet is at its host.
    Delivered { packet: usize },
}

#[derive(Clone)]
struct Packet {
    label: Label,
    bytes: Vec<u8>,
}

/// A switch, and the ports that an event will look at.
struct Ports {
    switch: Switch<usize>,
    watched: Vec<bool>,
}

impl Ports {
    fn new(count: usize, link: LinkConfig, buffer: BufferConfig) -> Self {
        Self {
            switch: Switch::new((0..count).map(|_| link), buffer),
            watched: vec![false; count],
        }
    }

    /// The packet that leaves by a port now, and when to look at the port again if no event will.
    fn depart(&mut self, at: u64, port: usize) -> (Option<Departure<usize>>, Option<u64>) {
        let departure = self.switch.poll(at, port);
        let idle = self.switch.poll_timeout(port);
        let idle = idle.filter(|_| !mem::replace(&mut self.watched[port], true));
        (departure, idle)
    }
}

/// The network.
pub(super) struct Fabric {
    /// Each of one port.
    uplinks: Vec<Ports>,
    downlinks: Ports,
    packets: Vec<Packet>,
    free: Vec<usize>,
    events: BinaryHeap<Event>,
    event_count: u64,
    /// The time of the last event: the network lives up to there.
    now: u64,
    /// The packet that was polled last.
    delivered: Option<usize>,
}

impl Fabric {
    /// A network of idle links.
    pub(super) fn new(hosts: u8, link: LinkConfig, buffer: BufferConfig) -> Self {
        let uplinks = (0..hosts).map(|_| Ports::new(1, link, UPLINK_BUFFER));
        Self {
            uplinks: uplinks.collect(),
            downlinks: Ports::new(hosts.into(), link, buffer),
            packets: Vec::new(),
            free: Vec::new(),
            events: BinaryHeap::new(),
            event_count: 0,
            now: 0,
            delivered: None,
        }
    }

    /// A host sent a packet at `now`, which may be some time ago, but not before what was polled last.
    pub(super) fn handle_packet(&mut self, now: u64, from: usize, bytes: &[u8]) {
        let Some(label) = Label::read(bytes).filter(|label| self.has(label.to)) else {
            return;
        };
        let Some(packet) = self.place() else {
            return;
        };
        let place = &mut self.packets[packet];
        place.label = label;
        place.bytes.clear();
        place.bytes.extend(bytes);
        let (now, wire) = (now.max(self.now), wire_bytes(bytes.len()));
        self.catch_up(now, from);
        let uplink = &mut self.uplinks[from].switch;
        match uplink.input(now, 0, label.level, wire, packet) {
            Ok(()) => self.ascend(now, from),
            Err(packet) => self.free.push(packet),
        }
    }

    /// The next packet that is at its host by `now`: the host, since when, and its bytes.
    pub(super) fn poll(&mut self, now: u64) -> Option<(usize, u64, &[u8])> {
        self.free.extend(self.delivered.take());
        while let Some(Reverse((at, _, what))) = self.events.peek().copied() {
            if at > now {
                return None;
            }
            self.events.pop();
            self.now = at;
            match what {
                What::UplinkIsIdle { host } => {
                    self.uplinks[host].watched[0] = false;
                    self.ascend(at, host);
                }
                What::Arrives { packet } => self.arrives(at, packet),
                What::PortIsIdle { port } => {
                    self.downlinks.watched[port] = false;
                    self.depart(at, port);
                }
                What::Delivered { packet } => {
                    self.delivered = Some(packet);
                    let Packet { label, bytes } = &self.packets[packet];
                    return Some((label.to.into(), at, bytes));
                }
            }
        }
        None
    }

    /// When to poll again.
    pub(super) fn poll_timeout(&self) -> Option<u64> {
        self.events.peek().map(|Reverse((at, ..))| *at)
    }

    /// Bytes that wait in the switch and at the uplinks.
    pub(super) fn held_bytes(&self) -> u64 {
        let uplinks = self.uplinks.iter().map(|it| it.switch.used_bytes());
        self.downlinks.switch.used_bytes() + uplinks.sum::<u64>()
    }

    /// What the switch counted.
    pub(super) fn counters(&self) -> SwitchCounters {
        self.downlinks.switch.counters()
    }

    /// Packets that found no room at the uplinks.
    pub(super) fn uplinks_dropped(&self) -> u64 {
        let uplinks = self.uplinks.iter();
        uplinks.map(|it| it.switch.counters().dropped).sum()
    }

    /// Begins to count anew.
    pub(super) fn restart(&mut self) {
        self.downlinks.switch.restart(self.now);
        for it in &mut self.uplinks {
            it.switch.restart(self.now);
        }
    }

    fn has(&self, host: u8) -> bool {
        usize::from(host) < self.uplinks.len()
    }

    fn arrives(&mut self, at: u64, packet: usize) {
        let Packet { label, bytes } = &self.packets[packet];
        let (port, wire) = (usize::from(label.to), wire_bytes(bytes.len()));
        let switch = &mut self.downlinks.switch;
        match switch.input(at, port, label.level, wire, packet) {
            Ok(()) => {
                if switch.queued_bytes(port) > MARK_BYTES {
                    mark(&mut self.packets[packet].bytes);
                }
                self.depart(at, port);
            }
            Err(packet) => self.free.push(packet),
        }
    }

    /// Has the packets leave an uplink that did by `now`, each at its own time.
    fn catch_up(&mut self, now: u64, host: usize) {
        let next = |it: &Self| it.uplinks[host].switch.poll_timeout(0);
        while let Some(at) = next(self).filter(|at| *at <= now) {
            self.ascend(at, host);
        }
    }

    /// Has the next packet of an uplink leave, or sees to it that it does later.
    fn ascend(&mut self, at: u64, host: usize) {
        let left = self.uplinks[host].depart(at, 0);
        let arrives = |packet| What::Arrives { packet };
        self.follow(left, arrives, What::UplinkIsIdle { host });
    }

    /// The same for a downlink.
    fn depart(&mut self, at: u64, port: usize) {
        let left = self.downlinks.depart(at, port);
        let delivered = |packet| What::Delivered { packet };
        self.follow(left, delivered, What::PortIsIdle { port });
    }

    /// Expects what becomes of a packet that left, and the port to be idle.
    fn follow(
        &mut self,
        (departure, idle_at): (Option<Departure<usize>>, Option<u64>),
        becomes: impl FnOnce(usize) -> What,
        idle: What,
    ) {
        if let Some(it) = departure {
            self.expect(it.arrives_at, becomes(it.packet));
        }
        if let Some(at) = idle_at {
            self.expect(at, idle);
        }
    }

    fn expect(&mut self, at: u64, what: What) {
        self.event_count += 1;
        self.events.push(Reverse((at, self.event_count, what)));
    }

    fn place(&mut self) -> Option<usize> {
        if let Some(place) = self.free.pop() {
            return Some(place);
        }
        if self.packets.len() == PACKETS_MAX {
            return None;
        }
        self.packets.push(Packet {
            label: Label { to: 0, level: 0 },
            bytes: Vec::with_capacity(PACKET_MAX_BYTES),
        });
        Some(self.packets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::star;

    const LINK: LinkConfig = LinkConfig {
        bits_per_second: 100_000_000,
        delay: 1_000,
    };

    fn fabric(buffer_bytes: u64) -> Fabric {
        let buffer = BufferConfig {
            bytes: buffer_bytes,
            alpha_eighths: 8,
        };
        Fabric::new(4, LINK, buffer)
    }

    fn packet(to: u8, level: u8, mark: u8) -> Vec<u8> {
        let mut bytes = vec![mark; 962];
        (bytes[0], bytes[1]) = (0x45, level << 5);
        bytes[16..20].copy_from_slice(&star::address(to).octets());
        bytes
    }

    /// Everything that comes out, with its time.
    fn drain(fabric: &mut Fabric) -> Vec<(usize, u64, u8)> {
        let mut found = Vec::new();
        while let Some((host, at, bytes)) = fabric.poll(u64::MAX) {
            found.push((host, at, bytes[100]));
        }
        found
    }

    #[test]
    fn a_packet_crosses_two_links_however_late_it_is_polled() {
        let mut fabric = fabric(1 << 20);
        fabric.handle_packet(5_000, 0, &packet(1, 0, 9));
        assert!(fabric.poll(5_000).is_none());
        // 1,000 bytes on the wire take 80 µs at 100 Mbit/s, twice, and two delays of 1 µs.
        assert_eq!(drain(&mut fabric), [(1, 5_000 + 162_000, 9)]);
    }

    #[test]
    fn the_best_level_leaves_first_and_nothing_else_waits_for_it() {
        let mut fabric = fabric(1 << 20);
        for mark in 0..3 {
            fabric.handle_packet(0, 0, &packet(2, 0, mark));
            fabric.handle_packet(0, 1, &packet(2, 7, 10 + mark));
        }
        let order: Vec<u8> = drain(&mut fabric).iter().map(|found| found.2).collect();
        assert_eq!(order, [0, 10, 11, 12, 1, 2]);
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_its_place_used_again() {
        let mut fabric = fabric(4_000);
        for mark in 0..20 {
            for host in 0..3 {
                fabric.handle_packet(0, host, &packet(3, 0, mark));
            }
        }
        let found = drain(&mut fabric).len() as u64;
        let counters = fabric.counters();
        assert_eq!(counters.forwarded + counters.dropped, 60);
        assert!(
            counters.dropped > 20 && counters.forwarded == found,
            "{counters:?}"
        );
        // One queue may hold as much as stays free: half of the buffer.
        assert_eq!(counters.buffer_max_bytes, 2_000);
        assert!(fabric.poll(u64::MAX).is_none());
        assert_eq!(fabric.free.len(), fabric.packets.len());
    }

    #[test]
    fn a_short_message_does_not_wait_at_its_host_for_what_was_handed_over_before() {
        let mut fabric = fabric(1 << 20);
        (0..200).for_each(|mark| fabric.handle_packet(0, 0, &packet(1, 0, mark)));
        // Half of what there is at an uplink is for one level; one packet leaves at once.
        let waiting = (UPLINK_BUFFER.bytes + 1_000) / 2 / 1_000;
        assert_eq!(fabric.uplinks_dropped(), 200 - 1 - waiting);
        assert_eq!(fabric.held_bytes(), waiting * 1_000);
        // The second one began to leave before this came, whenever that is found out.
        fabric.handle_packet(90_000, 0, &packet(2, 7, 255));
        let found = drain(&mut fabric);
        let at = |mark| found.iter().find(|found| found.2 == mark).map(|it| it.1);
        // Each takes 80 µs on the uplink, as much on the downlink, and two delays.
        assert_eq!(at(1), Some(3 * 80_000 + 2_000));
        assert_eq!(at(255), Some(4 * 80_000 + 2_000));
        assert_eq!(at(2), Some(5 * 80_000 + 2_000));
        assert_eq!((found.len() as u64, fabric.held_bytes()), (waiting + 2, 0));
    }

    #[test]
    fn an_uplink_sends_what_waited_while_nobody_looked() {
        let mut fabric = fabric(1 << 20);
        fabric.handle_packet(0, 0, &packet(1, 0, 0));
        assert!(fabric.poll(9_000).is_none());
        // Found late, sent before: 80 µs each on the uplink, without a pause.
        (1..4).for_each(|mark| fabric.handle_packet(10_000, 0, &packet(2, 0, mark)));
        let found = drain(&mut fabric);
        assert_eq!(found[0], (1, 162_000, 0));
        assert_eq!(found[3], (2, 4 * 80_000 + 82_000, 3));
    }

    #[test]
    fn who_asks_for_it_is_told_of_a_long_queue() {
        let mut fabric = fabric(1 << 20);
        let count = MARK_BYTES as usize / 1_000 + 10;
        for host in 0..2 {
            for mark in 0..count as u8 {
                let mut packet = packet(3, 0, mark);
                packet[1] = 2;
                fabric.handle_packet(0, host, &packet);
            }
        }
        let (mut first, mut marked) = (None, 0);
        while let Some((_, _, bytes)) = fabric.poll(u64::MAX) {
            first.get_or_insert(bytes[1]);
            marked += usize::from(bytes[1] == 3);
        }
        assert_eq!(first, Some(2));
        assert!((5..count).contains(&marked), "{marked} of {count}");
    }

    #[test]
    fn packets_to_nowhere_are_not_carried() {
        let mut fabric = fabric(1 << 20);
        fabric.handle_packet(0, 0, &packet(4, 0, 0));
        fabric.handle_packet(0, 0, &[0x60; 60]);
        assert_eq!(fabric.poll_timeout(), None);
    }
}
