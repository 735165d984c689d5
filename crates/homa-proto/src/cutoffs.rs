//! Cutoffs that peers publish, and what their version tells: which life of the peer we talk to.
//!
//! *Design*: to others a cutoff version is an opaque 16-bit echo. Ours holds a keyed tag of this
//! life and peer (12 bits, never 0) and the revision of the cutoffs (4 bits), so that a peer of
//! our kind sees a restart at once, while new cutoffs of the same life disturb nobody. Versions
//! below 16, as the reference sends them, tell nothing.

use crate::config::Config;
use crate::engine::Engine;
use crate::peer::life;
use crate::time::{Instant, Stamp, nanos};
use crate::wire::{Cutoffs, Priority};

/// Level of unscheduled packets to a peer that has not published its cutoffs.
const UNKNOWN_CUTOFFS_LEVEL: u8 = 6;

/// Level of the unscheduled packets of a message of `length` bytes: the highest whose cutoff, of
/// those of level 1 and up, is not below it.
#[inline]
pub(crate) fn unscheduled_priority(
    config: &Config,
    cutoffs: Option<&[u32; 7]>,
    length: u32,
) -> Priority {
    let top = config.priorities - 1;
    let level = match cutoffs {
        None => UNKNOWN_CUTOFFS_LEVEL.min(top),
        Some(cutoffs) => {
            let mut level = top;
            while let Some(below) = level.checked_sub(1)
                && cutoffs
                    .get(usize::from(below))
                    .is_some_and(|&it| it < length)
            {
                level = below;
            }
            level
        }
    };
    Priority::new(level).unwrap_or(Priority::LOWEST)
}

impl Engine {
    /// CUTOFFS for a live RPC, which proves that its sender sees our packets.
    pub(crate) fn handle_cutoffs(&mut self, now: Instant, index: u32, cutoffs: &Cutoffs) {
        let peer_index = self.rpcs[index].peer;
        let peer = &mut self.peers[peer_index];
        let (old, new) = (peer.version, cutoffs.version);
        let restarted = life(old) != 0 && life(new) != 0 && life(old) != life(new);
        if restarted {
            let age = peer.version_changed.nanos_until(now);
            let late = life(new) == life(peer.version_before)
                && age < 2 * nanos(self.config.packet_lifetime);
            if late {
                self.counters.cutoffs_ignored += 1;
                return;
            }
            peer.version_before = old;
            peer.version_changed = Stamp::of(now);
        }
        peer.set_cutoffs(cutoffs);
        self.counters.cutoffs_received += 1;
        if restarted {
            self.counters.peer_restarts += 1;
            self.end_earlier_life(now, peer_index);
        }
    }

    /// A peer restarted: what we asked its earlier life has an unknown outcome.
    fn end_earlier_life(&mut self, now: Instant, peer: u32) {
        let mut next = self.peers[peer].rpcs.first();
        while let Some(index) = next {
            next = self.peers[peer].rpcs.next(&self.rpcs.of_peers, index);
            let rpc = &self.rpcs[index];
            if rpc.is_client() && !rpc.is_over() && !rpc.is_unsent(&self.rpcs.details[index]) {
                self.outlived(now, index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_of_unscheduled_packets_follows_the_peers_cutoffs() {
        let config = Config::default();
        let [_, cutoffs @ ..] = crate::REFERENCE_CUTOFFS;
        let level = |length| unscheduled_priority(&config, Some(&cutoffs), length).get();
        assert_eq!(level(1), 7);
        assert_eq!(level(200), 7);
        assert_eq!(level(201), 6);
        assert_eq!(level(15_000), 5);
        assert_eq!(level(1_000_000), 4);
        assert_eq!(level(1_000_001), 0);
    }

    #[test]
    fn with_few_levels_and_unknown_cutoffs_the_level_is_one_that_exists() {
        for priorities in 1..=8 {
            let config = Config {
                priorities,
                ..Config::default()
            };
            assert!(unscheduled_priority(&config, None, 100).get() < priorities);
        }
    }
}
