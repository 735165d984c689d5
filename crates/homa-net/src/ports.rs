//! Where a link has no ports of its own, it goes by those that the packet begins with, and gives them
//! out itself.

use core::hash::{BuildHasher, Hasher};
use core::net::SocketAddr;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU16, Ordering};
use std::hash::RandomState;
use std::sync::OnceLock;

/// Ports of those who take no requests.
pub(crate) const CLIENTS: RangeInclusive<u16> = 32_768..=u16::MAX;

/// The order in which a process gives them out: round and round from a place chosen by chance, so that
/// its successor does not begin where it did, and one that was given back is given out last.
pub(crate) struct Round {
    first: OnceLock<u16>,
    given: AtomicU16,
}

impl Round {
    pub(crate) const fn new() -> Self {
        Self {
            first: OnceLock::new(),
            given: AtomicU16::new(0),
        }
    }

    /// The first port in turn that `take` takes; `None`: it takes none.
    pub(crate) fn find<T>(&self, mut take: impl FnMut(u16) -> Option<T>) -> Option<T> {
        let by_chance = || RandomState::new().build_hasher().finish() as u16;
        let first = *self.first.get_or_init(by_chance);
        CLIENTS.into_iter().find_map(|_| {
            let turn = self.given.fetch_add(1, Ordering::Relaxed);
            take(CLIENTS.start() | first.wrapping_add(turn))
        })
    }
}

/// Source and destination port of a packet.
pub(crate) fn of(packet: &[u8]) -> Option<(u16, u16)> {
    let &[s0, s1, d0, d1] = packet.first_chunk()?;
    Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
}

/// The address with another port; a link-local address keeps its scope.
pub(crate) fn at(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_port_that_was_given_back_comes_last_and_where_all_are_taken_there_is_none() {
        let (round, mut taken) = (Round::new(), BTreeSet::new());
        let open =
            |taken: &mut BTreeSet<u16>| round.find(|port| taken.insert(port).then_some(port));
        let first = open(&mut taken).unwrap();
        taken.remove(&first);
        for _ in 1..CLIENTS.len() {
            assert_ne!(open(&mut taken), Some(first));
        }
        assert_eq!(open(&mut taken), Some(first));
        assert_eq!(open(&mut taken), None);
        assert!(taken.iter().all(|port| CLIENTS.contains(port)));
        taken.remove(&40_000);
        assert_eq!(open(&mut taken), Some(40_000));
    }

    #[test]
    fn each_life_begins_at_a_place_of_its_own() {
        let begun: BTreeSet<_> = (0..16).map(|_| Round::new().find(Some)).collect();
        assert!(begun.len() > 12, "{begun:?}");
    }
}
