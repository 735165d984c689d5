//! The network: an uplink from each host to one switch, and a downlink to each.
//!
//! It reads no clock: packets go in with their time, and come out by being polled for. What happens
//! inside happens at its own time, however late it is asked for, so that rates stay exact.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use homa_sim::{BufferConfig, Link, LinkConfig, Switch, SwitchCounters};

use super::wire::{Label, PACKET_MAX_BYTES, mark, wire_bytes};

/// Bytes that wait at a port when packets that may be marked are: the threshold of DCTCP for links of
/// this kind, some twenty full packets.
pub(super) const MARK_BYTES: u64 = 30_000;

/// Packets that an uplink takes ahead of time.
const UPLINK_AHEAD_PACKETS: u64 = 4;

/// All packets on their way, at most; more are dropped.
const PACKETS_MAX: usize = 1 << 18;

/// What is to happen, and when, in nanoseconds; the number keeps those of one time in their order.
type Event = Reverse<(u64, u64, What)>;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum What {
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

/// The network.
pub(super) struct Fabric {
    uplinks: Vec<Link>,
    /// Nanoseconds that the longest packet takes on a link.
    full_packet: u64,
    switch: Switch<usize>,
    /// Whether an event will look at the port.
    watched: Vec<bool>,
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
        Self {
            uplinks: (0..hosts).map(|_| Link::new(link)).collect(),
            full_packet: link.serialization(wire_bytes(PACKET_MAX_BYTES)),
            switch: Switch::new((0..hosts).map(|_| link), buffer),
            watched: vec![false; hosts.into()],
            packets: Vec::new(),
            free: Vec::new(),
            events: BinaryHeap::new(),
            event_count: 0,
            now: 0,
            delivered: None,
        }
    }

    /// When the uplink of a host should be given more: while its last packet leaves, so that it
    /// never idles for want of being served.
    pub(super) fn uplink_free_at(&self, host: usize) -> u64 {
        let link = &self.uplinks[host];
        link.idle_at().saturating_sub(self.full_packet)
    }

    /// Whether the uplink of a host takes another packet. It takes a few at once, so that there is
    /// less waking up; which packet follows which stays the same.
    pub(super) fn uplink_has_room(&self, now: u64, host: usize) -> bool {
        self.uplinks[host].idle_at() <= now + UPLINK_AHEAD_PACKETS * self.full_packet
    }

    /// A host sent a packet at `now`, which may be some time ago: its uplink was not idle then, but the
    /// switch has it no earlier than what it did last.
    pub(super) fn handle_packet(&mut self, now: u64, from: usize, bytes: &[u8]) {
        let Some(label) = Label::read(bytes).filter(|label| self.has(label.to)) else {
            return;
        };
        let at = self.uplinks[from].input(now, wire_bytes(bytes.len()));
        let Some(packet) = self.place() else {
            return;
        };
        let place = &mut self.packets[packet];
        place.label = label;
        place.bytes.clear();
        place.bytes.extend(bytes);
        self.expect(at.max(self.now), What::Arrives { packet });
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
                What::Arrives { packet } => self.arrives(at, packet),
                What::PortIsIdle { port } => {
                    self.watched[port] = false;
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

    /// Bytes that wait in the switch.
    pub(super) fn held_bytes(&self) -> u64 {
        self.switch.used_bytes()
    }

    /// What the switch counted.
    pub(super) fn counters(&self) -> SwitchCounters {
        self.switch.counters()
    }

    /// Begins to count anew.
    pub(super) fn restart(&mut self) {
        self.switch.restart(self.now);
    }

    fn has(&self, host: u8) -> bool {
        usize::from(host) < self.uplinks.len()
    }

    fn arrives(&mut self, at: u64, packet: usize) {
        let Packet { label, bytes } = &self.packets[packet];
        let (port, wire) = (usize::from(label.to), wire_bytes(bytes.len()));
        match self.switch.input(at, port, label.level, wire, packet) {
            Ok(()) => {
                if self.switch.queued_bytes(port) > MARK_BYTES {
                    mark(&mut self.packets[packet].bytes);
                }
                self.depart(at, port);
            }
            Err(packet) => self.free.push(packet),
        }
    }

    /// Has the next packet of a port leave, or sees to it that it does later.
    fn depart(&mut self, at: u64, port: usize) {
        if let Some(departure) = self.switch.poll(at, port) {
            let packet = departure.packet;
            self.expect(departure.arrives_at, What::Delivered { packet });
        }
        if let Some(idle) = self
            .switch
            .poll_timeout(port)
            .filter(|_| !self.watched[port])
        {
            self.watched[port] = true;
            self.expect(idle, What::PortIsIdle { port });
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
    fn an_uplink_takes_a_packet_while_the_one_before_leaves() {
        let mut fabric = fabric(1 << 20);
        assert_eq!(fabric.uplink_free_at(0), 0);
        (0..3).for_each(|mark| fabric.handle_packet(0, 0, &packet(1, 0, mark)));
        // Three packets take 240 µs; one of 1,538 bytes ahead of that.
        assert_eq!(fabric.uplink_free_at(0), 240_000 - 123_040);
        assert!(fabric.uplink_has_room(0, 0));
        (0..4).for_each(|mark| fabric.handle_packet(0, 0, &packet(1, 0, mark)));
        assert!(!fabric.uplink_has_room(0, 0) && fabric.uplink_has_room(80_000, 0));
    }

    #[test]
    fn an_uplink_sends_what_waited_while_nobody_looked() {
        let mut fabric = fabric(1 << 20);
        fabric.handle_packet(0, 0, &packet(1, 0, 0));
        assert_eq!(drain(&mut fabric), [(1, 162_000, 0)]);
        // Found later than the last event, sent before: 80 µs each on the uplink, without a pause. The
        // first is at the switch 1 µs late, so its port is idle 1 µs after the last one came.
        (1..4).for_each(|mark| fabric.handle_packet(10_000, 0, &packet(2, 0, mark)));
        assert_eq!(fabric.uplink_free_at(0), 320_000 - 123_040);
        let found = drain(&mut fabric);
        assert_eq!(found[2], (2, 403_000, 3));
        assert!(found[0].1 >= 162_000, "{found:?}");
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
