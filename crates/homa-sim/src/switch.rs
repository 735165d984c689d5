//! A switch: at every port eight queues of strict priority, and one buffer that all ports share.
//! Decides which packet leaves a port next and which finds no room; where packets go is decided in
//! `topology`.
//!
//! The lowest level may have a share of each link for itself: strict priority would starve it.
//!
//! *Design*: output-queued, store and forward. A packet takes room from its arrival until its first
//! bit leaves. A queue may hold `alpha` times the free buffer (dynamic thresholds), so that one
//! crowded port never takes it all. The same switch runs in virtual and in real time: what goes in
//! carries its time, what comes out is polled for.

use crate::link::{Link, LinkConfig};

const LEVELS: usize = 8;

/// A switch's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferConfig {
    /// Bytes shared by all ports.
    pub bytes: u64,
    /// A queue may hold this many eighths of what is free: 8 means as much as is free.
    pub alpha_eighths: u64,
}

/// Why and how often packets were dropped, and how full the buffer was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchCounters {
    /// Packets that left.
    pub forwarded: u64,
    /// Packets that found no room.
    pub dropped: u64,
    /// Most bytes that the buffer ever held.
    pub buffer_max_bytes: u64,
    /// Most bytes that one port's queues ever held.
    pub port_max_bytes: u64,
}

/// What a port carried, and what waited there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Bytes that left, by level.
    pub level_bytes: [u64; LEVELS],
    /// Most bytes that ever waited.
    pub queue_max_bytes: u64,
    /// Bytes that waited, each times the nanoseconds for which it did.
    pub queue_byte_nanos: u64,
}

impl PortCounters {
    /// Adds another port's, or another run's; takes the larger of what is a maximum.
    pub fn add(&mut self, other: &Self) {
        for (sum, bytes) in self.level_bytes.iter_mut().zip(other.level_bytes) {
            *sum += bytes;
        }
        self.queue_max_bytes = self.queue_max_bytes.max(other.queue_max_bytes);
        self.queue_byte_nanos += other.queue_byte_nanos;
    }
}

/// A packet that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure<P> {
    /// The packet.
    pub packet: P,
    /// Its level.
    pub priority: u8,
    /// When its last bit arrives at the other end of the port's link.
    pub arrives_at: u64,
}

/// "Nobody": no packet waits, or no place is free.
const NOBODY: u32 = u32::MAX;

/// A packet that waits, in the ring of its level; or a free place, in the list of those.
#[derive(Clone, Copy)]
struct Place<P> {
    packet: P,
    wire_bytes: u32,
    /// The one that came next; behind the newest comes the oldest.
    next: u32,
}

/// The packets that wait at all ports. Places are used again, the last one first, so that they stay
/// in the cache: an array for each queue is entered where it was last used a turn ago.
struct Waiting<P> {
    places: Vec<Place<P>>,
    free: u32,
}

impl<P: Copy> Waiting<P> {
    /// Adds a packet behind the newest of a ring, and answers where it is.
    fn push(&mut self, newest: u32, packet: P, wire_bytes: u32) -> u32 {
        let place = self.free;
        let mut it = Place {
            packet,
            wire_bytes,
            next: place,
        };
        if let Some(free) = self.places.get(place as usize) {
            self.free = free.next;
            if newest != NOBODY {
                it.next = core::mem::replace(&mut self.places[newest as usize].next, place);
            }
            self.places[place as usize] = it;
            return place;
        }
        let place = self.places.len() as u32;
        it.next = match newest {
            NOBODY => place,
            _ => core::mem::replace(&mut self.places[newest as usize].next, place),
        };
        self.places.push(it);
        place
    }

    /// Takes the oldest of a ring that has one, and answers it and which is the newest then.
    fn pop(&mut self, newest: u32) -> (Place<P>, u32) {
        let oldest = self.places[newest as usize].next;
        let it = self.places[oldest as usize];
        let newest = if oldest == newest {
            NOBODY
        } else {
            self.places[newest as usize].next = it.next;
            newest
        };
        self.places[oldest as usize].next = core::mem::replace(&mut self.free, oldest);
        (it, newest)
    }
}

/// *Design*: four lines of the cache. A packet that goes straight through touches the first two, one
/// that waits the others too.
#[repr(C, align(64))]
struct Port {
    link: Link,
    /// Bytes of all queues, and since when so many.
    queued: u64,
    since: u64,
    queue_byte_nanos: u64,
    /// One bit for every queue that is not empty.
    occupied: u8,
    /// Bytes that left, by level.
    left_bytes: [u64; LEVELS],
    /// Bytes that wait, by level, and the packet that came last of those.
    level_bytes: [u64; LEVELS],
    newest: [u32; LEVELS],
    queue_max_bytes: u64,
    /// Bytes by which the lowest level is behind its share, times 1000; below 0: ahead of it.
    debt: i64,
}

impl Port {
    /// Whether the link is idle and nothing waits for it.
    fn is_idle(&self, now: u64) -> bool {
        self.occupied == 0 && self.link.idle_at() <= now
    }

    /// Has `queued` bytes wait from `now` on.
    fn set_queued(&mut self, now: u64, queued: u64) {
        self.queue_byte_nanos += self.queued * (now - self.since);
        (self.queued, self.since) = (queued, now);
    }

    /// The level whose turn it is, if a packet waits; the lowest one has `reserved` thousandths of
    /// the link.
    fn next_level(&self, reserved: u16) -> Option<usize> {
        let best = LEVELS.checked_sub(1 + self.occupied.leading_zeros() as usize)?;
        let is_due = reserved > 0 && self.occupied & 1 == 1 && self.debt >= 0;
        Some(if is_due { 0 } else { best })
    }

    /// `bytes` of a level that waited leave.
    fn settle(&mut self, reserved: u16, level: usize, bytes: u32) {
        let (bytes, reserved) = (i64::from(bytes), i64::from(reserved));
        let (lowest_waits, others_wait) = (self.occupied & 1 == 1, self.occupied > 1);
        if level > 0 && (lowest_waits || self.debt < 0) {
            self.debt += bytes * reserved;
        } else if level == 0 && others_wait {
            self.debt -= bytes * (1_000 - reserved);
        }
        if !lowest_waits {
            // Who does not wait saves nothing for later.
            self.debt = self.debt.min(0);
        }
    }
}

/// A switch that carries packets known by `P`, a handle.
pub struct Switch<P> {
    ports: Vec<Port>,
    waiting: Waiting<P>,
    buffer: BufferConfig,
    used: u64,
    counters: SwitchCounters,
    /// Thousandths of every link that are the lowest level's.
    reserved: u16,
}

impl<P: Copy> Switch<P> {
    /// A switch with one port for each link.
    pub fn new(links: impl IntoIterator<Item = LinkConfig>, buffer: BufferConfig) -> Self {
        let ports = links.into_iter().map(|link| Port {
            link: Link::new(link),
            queued: 0,
            since: 0,
            queue_byte_nanos: 0,
            occupied: 0,
            left_bytes: [0; LEVELS],
            level_bytes: [0; LEVELS],
            newest: [NOBODY; LEVELS],
            queue_max_bytes: 0,
            debt: 0,
        });
        Self {
            ports: ports.collect(),
            waiting: Waiting {
                places: Vec::new(),
                free: NOBODY,
            },
            buffer,
            used: 0,
            counters: SwitchCounters::default(),
            reserved: 0,
        }
    }

    /// Gives the lowest level `permille` thousandths of every link while packets wait there, 0 to
    /// 1000; what it does not use is the others'. At first it has nothing for itself.
    pub fn reserve(&mut self, permille: u16) {
        self.reserved = permille.min(1_000);
    }

    /// A packet is there in full at `now` and is to leave by `port` at level `priority`, 0 to 7.
    ///
    /// # Errors
    /// There is no room for it: the packet comes back.
    #[inline]
    pub fn input(
        &mut self,
        now: u64,
        port: usize,
        priority: u8,
        wire_bytes: u32,
        packet: P,
    ) -> Result<(), P> {
        let straight = self.is_idle(now, port);
        let level = usize::from(priority).min(LEVELS - 1);
        let it = &mut self.ports[port];
        let bytes = u64::from(wire_bytes);
        let free = self.buffer.bytes.saturating_sub(self.used);
        let limit = free * self.buffer.alpha_eighths / 8;
        if !straight && (bytes > free || it.level_bytes[level] + bytes > limit) {
            self.counters.dropped += 1;
            return Err(packet);
        }
        it.newest[level] = self.waiting.push(it.newest[level], packet, wire_bytes);
        it.level_bytes[level] += bytes;
        it.set_queued(now, it.queued + bytes);
        it.occupied |= 1 << level;
        self.used += bytes;
        if !straight {
            it.queue_max_bytes = it.queue_max_bytes.max(it.queued);
            self.counters.port_max_bytes = self.counters.port_max_bytes.max(it.queued);
            self.counters.buffer_max_bytes = self.counters.buffer_max_bytes.max(self.used);
        }
        Ok(())
    }

    /// As [`input`](Self::input), but a packet that finds its port idle leaves at once.
    ///
    /// # Errors
    /// There is no room for it: the packet comes back.
    #[inline]
    pub fn forward(
        &mut self,
        now: u64,
        port: usize,
        priority: u8,
        wire_bytes: u32,
        packet: P,
    ) -> Result<Option<Departure<P>>, P> {
        if !self.is_idle(now, port) {
            self.input(now, port, priority, wire_bytes, packet)?;
            return Ok(None);
        }
        let level = usize::from(priority).min(LEVELS - 1);
        Ok(Some(self.depart(now, port, level, wire_bytes, packet)))
    }

    /// A packet begins to leave by a port that is idle.
    fn depart(
        &mut self,
        now: u64,
        port: usize,
        level: usize,
        wire_bytes: u32,
        packet: P,
    ) -> Departure<P> {
        let it = &mut self.ports[port];
        it.left_bytes[level] += u64::from(wire_bytes);
        self.counters.forwarded += 1;
        Departure {
            packet,
            priority: level as u8,
            arrives_at: it.link.input(now, wire_bytes),
        }
    }

    /// The packet that begins to leave by `port` at `now`: the oldest of the best level, or of the
    /// lowest one where that is behind its share. `None` if there is none, or while another one leaves.
    pub fn poll(&mut self, now: u64, port: usize) -> Option<Departure<P>> {
        let it = &mut self.ports[port];
        if it.occupied == 0 || it.link.idle_at() > now {
            return None;
        }
        let level = it.next_level(self.reserved)?;
        let (oldest, newest) = self.waiting.pop(it.newest[level]);
        let Place {
            packet, wire_bytes, ..
        } = oldest;
        it.newest[level] = newest;
        it.level_bytes[level] -= u64::from(wire_bytes);
        if newest == NOBODY {
            it.occupied &= !(1 << level);
        }
        if self.reserved > 0 {
            it.settle(self.reserved, level, wire_bytes);
        }
        it.set_queued(now, it.queued - u64::from(wire_bytes));
        self.used -= u64::from(wire_bytes);
        Some(self.depart(now, port, level, wire_bytes, packet))
    }

    /// When [`poll`](Self::poll) is worth while for `port`: when its link is idle, if a packet
    /// waits.
    pub fn poll_timeout(&self, port: usize) -> Option<u64> {
        let it = &self.ports[port];
        (it.occupied != 0).then(|| it.link.idle_at())
    }

    /// Bytes that wait at a port.
    pub fn queued_bytes(&self, port: usize) -> u64 {
        self.ports[port].queued
    }

    /// Bytes that wait at all ports.
    pub fn used_bytes(&self) -> u64 {
        self.used
    }

    /// The best level that waits at a port.
    pub fn best_waiting(&self, port: usize) -> Option<u8> {
        let occupied = self.ports[port].occupied;
        (occupied != 0).then(|| (u8::BITS - 1 - occupied.leading_zeros()) as u8)
    }

    /// What was counted at a port since the start, or since [`restart`](Self::restart).
    pub fn port_counters(&self, now: u64, port: usize) -> PortCounters {
        let it = &self.ports[port];
        PortCounters {
            level_bytes: it.left_bytes,
            queue_max_bytes: it.queue_max_bytes,
            queue_byte_nanos: it.queue_byte_nanos + it.queued * (now - it.since),
        }
    }

    /// Whether a port's link is idle and nothing waits for it.
    pub fn is_idle(&self, now: u64, port: usize) -> bool {
        self.ports[port].is_idle(now)
    }

    /// Begins to count anew at `now`; a port that something came to after that, at that moment.
    pub fn restart(&mut self, now: u64) {
        self.counters = SwitchCounters::default();
        for it in &mut self.ports {
            it.set_queued(now.max(it.since), it.queued);
            (it.queue_max_bytes, it.queue_byte_nanos) = (0, 0);
            it.left_bytes = [0; LEVELS];
        }
    }

    /// What was counted.
    pub fn counters(&self) -> SwitchCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkConfig = LinkConfig {
        bits_per_second: 8_000_000_000, // a byte a nanosecond
        delay: 100,
    };

    fn switch(ports: usize, bytes: u64) -> Switch<u32> {
        let buffer = BufferConfig {
            bytes,
            alpha_eighths: 8,
        };
        Switch::new(core::iter::repeat_n(LINK, ports), buffer)
    }

    #[test]
    fn a_packet_that_finds_its_port_idle_leaves_at_once() {
        let mut switch = switch(1, 10_000);
        switch.input(50, 0, 3, 1_000, 7).unwrap();
        let departure = switch.poll(50, 0).unwrap();
        assert_eq!(
            departure,
            Departure {
                packet: 7,
                priority: 3,
                arrives_at: 50 + 1_000 + 100
            }
        );
        assert_eq!((switch.poll(50, 0), switch.poll_timeout(0)), (None, None));
    }

    #[test]
    fn a_port_that_was_given_a_packet_ahead_of_time_counts_anew_from_there() {
        let mut switch = switch(1, 10_000);
        switch.input(50, 0, 3, 1_000, 7).unwrap();
        switch.restart(40);
        assert_eq!(switch.port_counters(60, 0).queue_byte_nanos, 10 * 1_000);
    }

    #[test]
    fn better_levels_go_first_and_equals_in_the_order_of_arrival() {
        let mut switch = switch(1, 100_000);
        for (packet, level) in [(0, 1), (1, 2), (2, 7), (3, 2), (4, 0)] {
            switch.input(0, 0, level, 500, packet).unwrap();
        }
        let mut order = Vec::new();
        while let Some(at) = switch.poll_timeout(0) {
            order.extend(switch.poll(at, 0).map(|departure| departure.packet));
        }
        assert_eq!(order, [2, 1, 3, 0, 4]);
        assert_eq!(switch.used_bytes(), 0);
    }

    #[test]
    fn the_lowest_level_gets_the_share_that_is_reserved_for_it_and_what_is_left() {
        let mut switch = switch(1, 1_000_000);
        switch.reserve(100);
        let mut now = 0;
        let mut carry = |switch: &mut Switch<u32>, levels: [u32; 2], packets| {
            let mut of_lowest = 0;
            for _ in 0..packets {
                for (level, &always) in levels.iter().enumerate() {
                    let has = (switch.ports[0].level_bytes[level] / 500) as u32;
                    (has..always).for_each(|it| {
                        switch.input(now, 0, level as u8, 500, it).unwrap();
                    });
                }
                now = switch.poll_timeout(0).unwrap().max(now);
                let departure = switch.poll(now, 0).unwrap();
                of_lowest += u32::from(departure.priority == 0);
            }
            of_lowest
        };
        let both = carry(&mut switch, [4, 4], 10_000);
        assert!((999..=1_001).contains(&both), "{both} of 10,000");
        let alone = carry(&mut switch, [4, 0], 100);
        assert!(alone >= 96, "{alone}: four of the other are left at most");
        let again = carry(&mut switch, [4, 4], 1_000);
        assert!(
            again <= 101,
            "{again}: what it got alone it does not pay for, nor save"
        );
    }

    #[test]
    fn the_buffer_is_shared_and_no_queue_takes_it_all() {
        let mut switch = switch(4, 10_000);
        let taken = (0..20)
            .filter(|&packet| switch.input(0, 0, 0, 1_000, packet).is_ok())
            .count();
        // A queue holds as much as it leaves free: half of the buffer.
        assert_eq!(taken, 5);
        assert!(switch.input(0, 1, 0, 1_000, 99).is_ok());
        assert_eq!(switch.counters().dropped, 15);
        assert_eq!(switch.used_bytes(), 6_000);
    }
}
