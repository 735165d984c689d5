//! How many bytes of a message go unasked to a peer whose distance is known: what our link carries
//! in the time from a message's first packet to its first grant. Decides that number; what loss
//! takes of it is decided in `peer`.
//!
//! *Design*: The time is measured where it matters, by messages that are granted, one at a time for
//! each peer; others neither tell nor ask. A grant that comes late idles the link for a round trip,
//! while bytes too many only wait in front of the receiver, so the number follows a time that is
//! hardly ever exceeded. But a receiver that is busy with other messages grants late, too, and must
//! not be sent more for it: beyond the configured number only the shortest of recent times counts.
//! Where the link's rate is not known, or few grants were seen, nothing changes.

use alloc::boxed::Box;

use crate::address::Address;
use crate::chunks::{Full, boxed};
use crate::config::Config;
use crate::engine::Engine;
use crate::patience::Estimate;
use crate::time::Instant;

/// Peers of which it is remembered: those that lately were sent long messages. A host sends to few at
/// a time, and one that is forgotten is treated as any other until it is known again.
const PLACES: usize = 256;

/// Times that make an estimate, and after which the shortest of them is looked for anew.
const FEW: u8 = 8;
const MANY: u8 = 32;

/// A grant that takes as long is awaited in any case.
const PATIENCE_NANOS: u64 = 1_000_000;

/// The message that is on its way to its first grant.
#[derive(Clone, Copy)]
struct Probe {
    /// Its number among all that this engine sends; 0: there is none.
    birth: u64,
    since: Instant,
}

impl Probe {
    const NONE: Self = Self {
        birth: 0,
        since: Instant::ZERO,
    };
}

/// What is known of the way to one peer.
#[derive(Clone, Copy)]
struct Place {
    /// Whose place it is; `None`: nobody's.
    peer: Option<Address>,
    probe: Probe,
    time: Estimate,
    /// The shortest of this round of `MANY` times, and of the one before; in nanoseconds.
    shortest: [u32; 2],
    /// Times of this round.
    count: u8,
    is_known: bool,
}

impl Place {
    const EMPTY: Self = Self {
        peer: None,
        probe: Probe::NONE,
        time: Estimate::NONE,
        shortest: [u32::MAX; 2],
        count: 0,
        is_known: false,
    };

    fn learn(&mut self, nanoseconds: u64) {
        self.time.sample(nanoseconds);
        if self.count == MANY {
            (self.count, self.shortest) = (0, [u32::MAX, self.shortest[0]]);
        }
        self.count += 1;
        self.is_known |= self.count >= FEW;
        let least = u32::try_from(nanoseconds).unwrap_or(u32::MAX);
        self.shortest[0] = self.shortest[0].min(least);
    }

    fn shortest(&self) -> u64 {
        self.shortest[0].min(self.shortest[1]).into()
    }
}

/// The distances of peers.
pub(crate) struct Distances {
    places: Box<[Place; PLACES]>,
}

impl Distances {
    /// None yet; nobody's where no number follows from them.
    pub(crate) fn asked_for(config: &Config) -> Result<Option<Self>, Full> {
        let follows = config
            .unscheduled_max_bytes
            .and(config.link_bits_per_second);
        follows.map(|_| Self::new()).transpose()
    }

    fn new() -> Result<Self, Full> {
        Ok(Self {
            places: boxed(|| Place::EMPTY)?,
        })
    }

    /// The first packet of a message that needs grants leaves for the peer in place `index` of their
    /// table.
    pub(crate) fn begin(&mut self, now: Instant, index: u32, peer: &Address, birth: u64) {
        let place = &mut self.places[index as usize % PLACES];
        if place.peer != Some(*peer) {
            *place = Place {
                peer: Some(*peer),
                ..Place::EMPTY
            };
        }
        // One that is not granted for so long waits behind others there, or is over.
        let patience = (2 * place.time.bound()).max(PATIENCE_NANOS);
        let is_stale = now.nanos_since(place.probe.since) > patience;
        if place.probe.birth == 0 || is_stale {
            place.probe = Probe { birth, since: now };
        }
    }

    /// A grant came for a message, the first one or a later one. `clean`: nothing of it was lost.
    pub(crate) fn end(
        &mut self,
        now: Instant,
        index: u32,
        peer: &Address,
        birth: u64,
        clean: bool,
    ) {
        let place = &mut self.places[index as usize % PLACES];
        if place.peer == Some(*peer) && place.probe.birth == birth {
            if clean {
                place.learn(now.nanos_since(place.probe.since));
            }
            place.probe = Probe::NONE;
        }
    }

    /// From a message's first packet to its first grant, in nanoseconds: what is hardly ever exceeded,
    /// and the shortest of late; `None`: it is not known well.
    pub(crate) fn of(&self, index: u32, peer: &Address) -> Option<(u64, u64)> {
        let place = &self.places[index as usize % PLACES];
        let is_known = place.is_known && place.peer == Some(*peer);
        is_known.then(|| (place.time.bound(), place.shortest()))
    }
}

/// Bytes that go unasked to a peer at a distance, see [`Distances::of`].
pub(crate) fn unscheduled_bytes(config: &Config, distance: Option<(u64, u64)>) -> u32 {
    let usual = config.unscheduled_bytes;
    let (Some(most), Some(rate), Some((bound, shortest))) = (
        config.unscheduled_max_bytes,
        config.link_bits_per_second,
        distance,
    ) else {
        return usual;
    };
    let bytes = |nanoseconds: u64| {
        let bytes = u128::from(nanoseconds) * u128::from(rate) / 8_000_000_000;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    };
    bytes(shortest).max(bytes(bound).min(usual)).min(most)
}

impl Engine {
    /// Packets of a message left, from byte `start` on.
    pub(crate) fn look_for_grant(&mut self, now: Instant, index: u32, start: u32) {
        let Some(distances) = self.distances.as_mut().filter(|_| start == 0) else {
            return;
        };
        let peer = self.rpcs[index].peer;
        let waits = self
            .rpcs
            .outbound(index)
            .filter(|out| out.unscheduled < out.length);
        if let Some(message) = waits {
            distances.begin(now, peer, &self.peers[peer].address, message.birth);
        }
    }

    /// A grant came for a message.
    pub(crate) fn measure_distance(&mut self, now: Instant, index: u32) {
        let Some(distances) = &mut self.distances else {
            return;
        };
        let rpc = &self.rpcs[index];
        let (peer, clean) = (rpc.peer, !rpc.progress.was_retried());
        if let Some(message) = self.rpcs.outbound(index) {
            distances.end(now, peer, &self.peers[peer].address, message.birth, clean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;

    const GIGABIT: u64 = 1_000_000_000;

    fn peer(port: u16) -> Address {
        Address::from(SocketAddr::from(([192, 0, 2, 1], port)))
    }

    fn at(micros: u64) -> Instant {
        Instant::from_nanos(1_000_000_000 + 1_000 * micros)
    }

    #[test]
    fn a_distance_counts_when_enough_grants_have_told_it() {
        let mut distances = Distances::new().unwrap();
        for birth in 1..=8 {
            assert_eq!(distances.of(3, &peer(1)), None);
            distances.begin(at(100 * birth), 3, &peer(1), birth);
            // Another message meanwhile, and a grant for none that is looked at.
            distances.begin(at(100 * birth), 3, &peer(1), birth + 100);
            distances.end(at(100 * birth + 5), 3, &peer(1), birth + 100, true);
            distances.end(at(100 * birth + 20), 3, &peer(1), birth, true);
            distances.begin(at(100 * birth + 30), 3, &peer(1), birth + 200);
            distances.end(at(100 * birth + 31), 3, &peer(1), birth + 200, false);
            distances.end(at(100 * birth + 50), 3, &peer(1), birth, true);
        }
        let (bound, shortest) = distances.of(3, &peer(1)).unwrap();
        assert_eq!(shortest, 20_000);
        assert!((20_000..30_000).contains(&bound), "{bound}");
        assert_eq!(distances.of(3, &peer(2)), None);
        // Another peer in the same place.
        distances.begin(at(2_000), 3 + 256, &peer(2), 900);
        assert_eq!(distances.of(3, &peer(1)), None);
    }

    #[test]
    fn a_message_that_is_never_granted_is_not_waited_for() {
        let mut distances = Distances::new().unwrap();
        distances.begin(at(0), 0, &peer(1), 1);
        for birth in 2..=9 {
            distances.begin(at(2_000 * birth), 0, &peer(1), birth);
            distances.end(at(2_000 * birth + 10), 0, &peer(1), birth, true);
        }
        assert_eq!(distances.of(0, &peer(1)).unwrap().1, 10_000);
    }

    #[test]
    fn what_became_farther_is_believed_within_two_rounds() {
        let mut distances = Distances::new().unwrap();
        let mut measure = |births: core::ops::Range<u64>, micros: u64| {
            for birth in births {
                distances.begin(at(1_000 * birth), 0, &peer(1), birth);
                distances.end(at(1_000 * birth + micros), 0, &peer(1), birth, true);
            }
            distances.of(0, &peer(1)).unwrap().1
        };
        assert_eq!(measure(1..100, 10), 10_000);
        assert_eq!(measure(100..101, 30), 10_000, "one alone says little");
        assert_eq!(measure(101..170, 30), 30_000);
        assert_eq!(measure(170..171, 5), 5_000, "what is nearer, at once");
    }

    #[test]
    fn what_goes_unasked_is_what_the_link_carries_over_the_distance() {
        let config = |rate, most| Config {
            link_bits_per_second: rate,
            unscheduled_max_bytes: most,
            ..Config::default()
        };
        let ten = config(Some(10 * GIGABIT), Some(160_000));
        let table = [
            // Rarely more than this, and the shortest; bytes.
            (8_000, 6_000, 10_000),
            // Now and then late: as much as is usual, not more.
            (50_000, 6_000, 40_000),
            (80_000, 64_000, 80_000),
            (900_000, 800_000, 160_000),
        ];
        for (bound, shortest, bytes) in table {
            assert_eq!(unscheduled_bytes(&ten, Some((bound, shortest))), bytes);
        }
        let near = Some((8_000, 6_000));
        assert_eq!(unscheduled_bytes(&ten, None), 40_000);
        let unknown = config(None, Some(160_000));
        assert_eq!(unscheduled_bytes(&unknown, near), 40_000);
        let fixed = config(Some(10 * GIGABIT), None);
        assert_eq!(unscheduled_bytes(&fixed, near), 40_000);
    }
}
