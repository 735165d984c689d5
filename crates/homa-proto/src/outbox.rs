//! Control packets that outlive, or never had, an RPC: RPC_UNKNOWN, ACK, CUTOFFS. A bounded
//! queue; every one of them may be lost, so the newest is dropped when it is full.

use alloc::vec::Vec;

use crate::address::Path;
use crate::chunks::Full;
use crate::wire::Packet;

/// Packets that wait, at most. The host drains them after each batch of arrivals.
const CAPACITY: usize = 256;

pub(crate) struct Outbox {
    packets: Vec<(Path, Packet)>,
    first: usize,
}

impl Outbox {
    pub(crate) fn new() -> Result<Self, Full> {
        let mut packets = Vec::new();
        packets.try_reserve_exact(CAPACITY).map_err(|_| Full)?;
        Ok(Self { packets, first: 0 })
    }

    /// Appends a packet; `false`: there was no room.
    pub(crate) fn push(&mut self, path: Path, packet: Packet) -> bool {
        if self.packets.len() == CAPACITY {
            if self.first == 0 {
                return false;
            }
            self.packets.drain(..self.first);
            self.first = 0;
        }
        self.packets.push((path, packet));
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(Path, Packet)> {
        let next = self.packets.get(self.first).copied()?;
        self.first += 1;
        if self.first == self.packets.len() {
            self.packets.clear();
            self.first = 0;
        }
        Some(next)
    }
}
