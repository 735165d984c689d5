//! How many requests may be on their way to a peer at the same time. Decides which wait at home.
//!
//! *Design*: unscheduled bytes go unasked, so nothing but this keeps a client with thousands of
//! calls from overflowing the server's socket buffer, after which both are busy with recovery. A
//! request counts from when it may be sent until the server shows that it has it. The limit starts
//! where a small buffer still holds it, doubles while answers come, is halved by loss and then
//! grows slowly. What waits goes shortest first, and every so often the oldest.

use crate::chunks::Full;
use crate::engine::Engine;
use crate::heap::{Heap, Nodes};
use crate::list::{Links, List};
use crate::time::{Instant, Stamp};

/// What a packet costs a receiver's buffer beyond its payload: the kernel charges its own
/// structures too.
const PACKET_COST: u32 = 600;

/// Limit at the start: some 340 small requests, or six of 40,000 bytes; what half of a socket
/// buffer of the usual 212,992 bytes (counted twice by the kernel) holds.
const LIMIT_AT_FIRST: u32 = 256 << 10;
/// Least and greatest limit. One request goes in any case.
const LIMITS: core::ops::RangeInclusive<u32> = (64 << 10)..=(64 << 20);

/// A request that costs at most so much is short: it may use all of the limit, others three quarters
/// of it, or short ones would wait at home until a server had looked at long ones.
const SHORT_COST: u32 = 4 << 10;

/// Of 20 requests that waited one is the oldest, so that none starves; so it is after 240 that went
/// before all that wait.
const FIFO_TURNS: u8 = 240;
const TURNS_OF_WAITING: u8 = 12;

/// Requests on their way to one peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    used: u32,
    limit: u32,
    /// Where the limit begins to grow slowly.
    threshold: u32,
    cut: Stamp,
    /// Requests that wait, by length and by age.
    by_length: Heap,
    by_age: List,
    /// Turns until that of the oldest.
    turns: u8,
}

impl Flight {
    /// None, to a peer of which nothing is known.
    pub(crate) const NEW: Self = Self {
        used: 0,
        limit: LIMIT_AT_FIRST,
        threshold: u32::MAX,
        cut: Stamp::of(Instant::ZERO),
        by_length: Heap::EMPTY,
        by_age: List::EMPTY,
        turns: FIFO_TURNS,
    };

    /// What is on its way, as the peer's buffer counts it.
    pub(crate) const fn used(&self) -> u32 {
        self.used
    }

    /// The request whose turn it is among those that wait.
    #[inline]
    fn next(&self) -> Option<u32> {
        match self.turns {
            0 => self.by_age.first(),
            _ => self.by_length.first(),
        }
    }

    /// A new request that costs `cost` goes, if there is room and none waits that goes before it; returns
    /// what it counts.
    #[inline(always)]
    pub(crate) fn take_off(&mut self, cost: u32) -> u32 {
        if !self.has_room(cost) || (self.next().is_some() && !self.overtakes(cost)) {
            return 0;
        }
        self.used += cost;
        cost
    }

    /// Whether a new request of `cost` goes before all that wait: where it is short, and they wait for
    /// room that is left to such as it; but not when it is the turn of the oldest.
    #[cold]
    fn overtakes(&mut self, cost: u32) -> bool {
        let may = cost <= SHORT_COST && self.turns > 0;
        self.turns -= u8::from(may);
        may
    }

    /// A request that counted `cost` is no longer on its way. `arrived`: it got there at the first
    /// attempt. Returns whether others wait for its room.
    #[inline]
    pub(crate) fn land(&mut self, cost: u32, arrived: bool) -> bool {
        if arrived {
            self.arrived(cost);
        }
        self.used = self.used.saturating_sub(cost);
        self.next().is_some()
    }

    #[inline]
    fn has_room(&self, cost: u32) -> bool {
        let limit = match cost <= SHORT_COST {
            true => self.limit,
            false => self.limit - self.limit / 4,
        };
        self.used == 0 || self.used.saturating_add(cost) <= limit
    }

    /// A request of `cost` arrived. The limit grows only where it was in the way.
    #[inline]
    fn arrived(&mut self, cost: u32) {
        if self.used < self.limit.div_ceil(2) {
            return;
        }
        let growth = match self.limit < self.threshold {
            true => cost,
            false => (u64::from(cost) * u64::from(cost) / u64::from(self.limit))
                .try_into()
                .unwrap_or(u32::MAX)
                .max(1),
        };
        self.limit = self.limit.saturating_add(growth).min(*LIMITS.end());
    }

    /// One was lost; what is lost within `interval` nanoseconds counts once.
    pub(crate) fn cut(&mut self, now: Instant, interval: u64) {
        if self.cut.nanos_until(now) >= interval {
            self.cut = Stamp::of(now);
            self.limit = (self.limit / 2).max(*LIMITS.start());
            self.threshold = self.limit;
        }
    }
}

/// The nodes of all peers' waiting requests.
pub(crate) struct WaitingRequests {
    lengths: Nodes,
    ages: Links,
}

impl WaitingRequests {
    pub(crate) const fn new() -> Self {
        Self {
            lengths: Nodes::new(),
            ages: Links::new(),
        }
    }

    pub(crate) fn ensure(&mut self, rpc: u32) -> Result<(), Full> {
        self.lengths.ensure(rpc)?;
        self.ages.ensure(rpc)
    }

    fn insert(&mut self, flight: &mut Flight, rpc: u32, key: (u32, u64)) {
        self.lengths.set(&mut flight.by_length, rpc, key);
        self.ages.push_back(&mut flight.by_age, rpc);
    }

    /// Takes a request out if it waits.
    fn remove(&mut self, flight: &mut Flight, rpc: u32) {
        self.lengths.remove(&mut flight.by_length, rpc);
        if self.ages.contains(rpc) {
            self.ages.remove(&mut flight.by_age, rpc);
        }
    }
}

/// What a request of which `unscheduled` bytes go unasked, in packets of `segment`, costs.
#[inline]
pub(crate) fn cost(unscheduled: u32, segment: u32) -> u32 {
    // Small requests are most, and a division is most of their cost.
    let packets = match unscheduled <= segment {
        true => 1,
        false => unscheduled.div_ceil(segment.max(1)),
    };
    unscheduled.saturating_add(packets.saturating_mul(PACKET_COST))
}

impl Engine {
    /// Has a new request wait for room.
    #[cold]
    pub(crate) fn hold(&mut self, now: Instant, index: u32) {
        self.counters.requests_waited += 1;
        let rpc = &mut self.rpcs[index];
        let key = (rpc.message.length, rpc.id.get());
        rpc.is_aside = true;
        let flight = &mut self.peers[rpc.peer].flight;
        self.waiting.insert(flight, index, key);
        // Its server may be gone before there is room.
        self.watch(now, index);
    }

    /// The server has the request, or nobody wants it any more: what waits may go. `arrived`: the
    /// request got there at the first attempt.
    pub(crate) fn land(&mut self, now: Instant, index: u32, arrived: bool) {
        let rpc = &mut self.rpcs[index];
        let peer = rpc.peer;
        let cost = core::mem::take(&mut rpc.in_flight);
        let flight = &mut self.peers[peer].flight;
        if cost == 0 {
            if rpc.is_aside {
                self.waiting.remove(flight, index);
            }
            return;
        }
        if flight.land(cost, arrived) {
            self.let_go(now, peer);
        }
    }

    /// Sends requests that wait, as far as there is room.
    #[cold]
    pub(crate) fn let_go(&mut self, now: Instant, peer: u32) {
        while let Some(next) = self.peers[peer].flight.next() {
            let request = self.rpcs.outbound(next);
            let cost = request.map_or(0, |request| request.flight_cost());
            let flight = &mut self.peers[peer].flight;
            if !flight.has_room(cost) {
                return;
            }
            self.waiting.remove(flight, next);
            flight.turns = match flight.turns {
                0 => FIFO_TURNS,
                turns => turns.saturating_sub(TURNS_OF_WAITING),
            };
            flight.used += cost;
            self.rpcs[next].in_flight = cost;
            self.rpcs[next].progress.wait_from(now);
            self.enqueue(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_doubles_at_first_is_halved_by_loss_and_then_grows_slowly() {
        let mut flight = Flight::NEW;
        let start = Instant::from_nanos(1_000_000_000);
        let grow = |flight: &mut Flight, requests| {
            flight.used = flight.limit;
            (0..requests).for_each(|_| flight.arrived(700));
            flight.limit
        };
        assert_eq!(grow(&mut flight, 374), 262_144 + 374 * 700);
        flight.cut(start, 5_000_000);
        flight.cut(start, 5_000_000);
        assert_eq!(flight.limit, (262_144 + 374 * 700) / 2);
        let slow = grow(&mut flight, 374) - (262_144 + 374 * 700) / 2;
        assert!(slow <= 2_000, "{slow} bytes in one round trip");
    }

    #[test]
    fn the_limit_grows_only_where_it_was_in_the_way_and_has_an_end() {
        let mut flight = Flight::NEW;
        flight.used = LIMIT_AT_FIRST / 2 - 1;
        flight.arrived(700);
        assert_eq!(flight.limit, LIMIT_AT_FIRST);
        flight.used = LIMIT_AT_FIRST / 2;
        flight.arrived(700);
        assert_eq!(flight.limit, LIMIT_AT_FIRST + 700);
        flight.used = u32::MAX;
        flight.arrived(u32::MAX);
        assert_eq!(flight.limit, *LIMITS.end());
        for seconds in 1..30 {
            flight.cut(Instant::from_nanos(seconds * 1_000_000_000), 1_000_000_000);
        }
        assert_eq!(flight.limit, *LIMITS.start());
    }

    #[test]
    fn a_request_costs_its_bytes_and_something_for_each_packet() {
        assert_eq!(cost(100, 1_400), 700);
        assert_eq!(cost(1_400, 1_400), 2_000);
        assert_eq!(cost(1_401, 1_400), 2_601);
    }

    #[test]
    fn a_short_request_has_room_where_long_ones_wait_for_it() {
        let mut flight = Flight::NEW;
        let long = cost(40_000, 1_400);
        while flight.take_off(long) > 0 {}
        assert!(flight.used > LIMIT_AT_FIRST / 2 && !flight.has_room(long));
        assert_eq!(flight.take_off(700), 700);
        assert_eq!(flight.take_off(SHORT_COST), SHORT_COST);
        while flight.take_off(700) > 0 {}
        assert!(flight.used <= LIMIT_AT_FIRST && flight.used + 700 > LIMIT_AT_FIRST);
    }

    #[test]
    fn short_requests_overtake_those_that_wait_until_it_is_the_turn_of_the_oldest() {
        let mut flight = Flight::NEW;
        let mut waiting = WaitingRequests::new();
        waiting.ensure(0).unwrap();
        waiting.insert(&mut flight, 0, (40_000, 1));
        let overtakers = core::iter::from_fn(|| {
            let cost = flight.take_off(700);
            flight.used = 0;
            (cost > 0).then_some(cost)
        });
        assert_eq!(overtakers.count(), usize::from(FIFO_TURNS));
        assert_eq!(
            flight.take_off(LIMIT_AT_FIRST / 2),
            0,
            "long ones wait behind it"
        );
    }

    #[test]
    fn one_request_goes_in_any_case() {
        let mut flight = Flight::NEW;
        assert!(flight.has_room(1 << 30));
        flight.used = 1;
        assert!(!flight.has_room(1 << 30));
    }
}
