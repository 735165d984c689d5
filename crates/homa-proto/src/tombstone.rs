//! At most once: which requests of each client were accepted, so that a late copy of one that is
//! over never runs again.
//!
//! *Design*: a bit is set when a request is accepted, in blocks of 64 consecutive ids of one peer,
//! which a client that numbers its RPCs densely fills. So a full table refuses new requests early
//! instead of forgetting old ones, and the end of an RPC needs no memory. A block goes one packet
//! lifetime after the last of its RPCs ended.

use crate::chunks::Full;
use crate::config::Config;
use crate::hash::{HashIndex, Key, TableKey};
use crate::list::Fifo;
use crate::peer::Peers;
use crate::slab::Slab;
use crate::time::Instant;
use crate::wire::RpcId;

struct Block {
    peer: u32,
    number: u64,
    seen: u64,
    /// RPCs of this block that are under way.
    live: u32,
    /// When the block may go, if no RPC of it is under way.
    expires: Instant,
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was accepted before.
    Seen,
    /// No block is free for it.
    Full,
}

pub(crate) struct Tombstones {
    slab: Slab<Block>,
    index: HashIndex,
    key: TableKey,
    /// Blocks without live RPCs in order of expiry.
    old: Fifo,
}

/// The block that an id belongs to. Bits 32 to 55 do not count: in ids of ours they name a slot of
/// the client's table, which makes no two of them differ that are alike otherwise, and no client has
/// 2^31 ids in a packet lifetime.
const fn number(id: RpcId) -> u64 {
    let engine = id.get() >> 56;
    engine << 32 | (id.get() & 0xffff_ffff) >> 7
}

const fn bit(id: RpcId) -> u64 {
    1 << ((id.get() >> 1) & 63)
}

impl Tombstones {
    pub(crate) fn new(limit: u32, key: Key) -> Result<Self, Full> {
        Ok(Self {
            slab: Slab::new(limit),
            index: HashIndex::new()?,
            key: TableKey::new(key),
            old: Fifo::new(),
        })
    }

    /// Blocks in use.
    pub(crate) fn len(&self) -> u32 {
        self.slab.len()
    }

    fn find(&self, peer: u32, id: RpcId) -> Option<u32> {
        let hash = self.key.hash([u64::from(peer), number(id)]);
        self.index.find(hash, |index| {
            let block = &self.slab[index];
            block.peer == peer && block.number == number(id)
        })
    }

    /// Whether the request was accepted before.
    pub(crate) fn contains(&self, peer: u32, id: RpcId) -> bool {
        self.find(peer, id)
            .is_some_and(|index| self.slab[index].seen & bit(id) != 0)
    }

    fn find_or_make(&mut self, peers: &mut Peers, peer: u32, id: RpcId) -> Result<u32, Full> {
        if let Some(index) = self.find(peer, id) {
            return Ok(index);
        }
        let index = self.slab.insert(Block {
            peer,
            number: number(id),
            seen: 0,
            live: 0,
            expires: Instant::ZERO,
        })?;
        if self
            .index
            .ensure(index)
            .and_then(|()| self.old.ensure(index))
            .is_err()
        {
            self.slab.remove(index);
            return Err(Full);
        }
        let hash = self.key.hash([u64::from(peer), number(id)]);
        self.index.insert(hash, index);
        peers.acquire(peer);
        Ok(index)
    }

    /// Marks a request as accepted; returns its block, to be given to [`end`](Self::end).
    pub(crate) fn accept(
        &mut self,
        peers: &mut Peers,
        peer: u32,
        id: RpcId,
    ) -> Result<u32, Verdict> {
        let index = self
            .find_or_make(peers, peer, id)
            .map_err(|Full| Verdict::Full)?;
        let block = &mut self.slab[index];
        if block.seen & bit(id) != 0 {
            return Err(Verdict::Seen);
        }
        block.seen |= bit(id);
        block.live += 1;
        self.old.remove(index);
        Ok(index)
    }

    /// The RPC is over. `ran`: whether the application ever saw its request; if not, the client
    /// may send it again.
    pub(crate) fn end(&mut self, now: Instant, config: &Config, index: u32, id: RpcId, ran: bool) {
        let block = &mut self.slab[index];
        if !ran {
            block.seen &= !bit(id);
        }
        block.live -= 1;
        if block.live == 0 {
            block.expires = now + config.packet_lifetime;
            self.old.push(index);
        }
    }

    /// When the next block may go.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.old.first().map(|index| self.slab[index].expires)
    }

    /// Forgets one block whose time has come; whether there was one.
    pub(crate) fn expire(&mut self, now: Instant, peers: &mut Peers) -> bool {
        if self.next_expiry().is_none_or(|expiry| expiry > now) {
            return false;
        }
        let Some(index) = self.old.pop() else {
            return false;
        };
        if let Some(block) = self.slab.remove(index) {
            self.index.remove(index);
            peers.release(block.peer, now);
        }
        true
    }
}
