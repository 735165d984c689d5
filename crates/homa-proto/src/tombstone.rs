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
use crate::list::Queue;
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
    /// When it is looked at.
    turn: Instant,
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
    /// Blocks that had no live RPC once, in the order in which they are looked at: one that has had
    /// RPCs again since then is found out when its turn comes.
    old: Queue,
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
            old: Queue::new(),
        })
    }

    /// Blocks in use.
    pub(crate) fn len(&self) -> u32 {
        self.slab.len()
    }

    #[inline]
    fn find(&self, peers: &Peers, peer: u32, id: RpcId) -> Option<u32> {
        let is_it = |index| {
            let block = self.slab.get(index);
            block.is_some_and(|block| block.peer == peer && block.number == number(id))
        };
        let latest = peers[peer].latest_block;
        if is_it(latest) {
            return Some(latest);
        }
        self.index.find(self.hash(peer, id), is_it)
    }

    fn hash(&self, peer: u32, id: RpcId) -> u64 {
        self.key.hash([u64::from(peer), number(id)])
    }

    /// Whether the request was accepted before.
    #[inline]
    pub(crate) fn contains(&self, peers: &Peers, peer: u32, id: RpcId) -> bool {
        self.find(peers, peer, id)
            .is_some_and(|index| self.slab[index].seen & bit(id) != 0)
    }

    fn make(&mut self, peers: &mut Peers, peer: u32, id: RpcId) -> Result<u32, Full> {
        let index = self.slab.vacancy()?;
        self.index.ensure(index)?;
        self.old.ensure(index)?;
        self.slab.insert(Block {
            peer,
            number: number(id),
            seen: 0,
            live: 0,
            expires: Instant::ZERO,
            turn: Instant::ZERO,
        })?;
        self.index.insert(self.hash(peer, id), index);
        peers.acquire(peer);
        Ok(index)
    }

    /// Marks a request as accepted; returns its block, to be given to [`end`](Self::end).
    #[inline]
    pub(crate) fn accept(
        &mut self,
        peers: &mut Peers,
        peer: u32,
        id: RpcId,
    ) -> Result<u32, Verdict> {
        let index = match self.find(peers, peer, id) {
            Some(index) => index,
            None => self.make(peers, peer, id).map_err(|Full| Verdict::Full)?,
        };
        peers[peer].latest_block = index;
        let block = &mut self.slab[index];
        if block.seen & bit(id) != 0 {
            return Err(Verdict::Seen);
        }
        block.seen |= bit(id);
        block.live += 1;
        Ok(index)
    }

    /// The RPC is over. `ran`: whether the application ever saw its request; if not, the client
    /// may send it again.
    #[inline]
    pub(crate) fn end(&mut self, now: Instant, config: &Config, index: u32, id: RpcId, ran: bool) {
        let block = &mut self.slab[index];
        if !ran {
            block.seen &= !bit(id);
        }
        block.live -= 1;
        if block.live == 0 {
            block.expires = now + config.packet_lifetime;
            if self.old.push(index) {
                block.turn = block.expires;
            }
        }
    }

    /// When the next block may go.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.old.first().map(|index| self.slab[index].turn)
    }

    /// Looks at one block whose turn has come, and forgets it if it may go; whether there was one.
    pub(crate) fn expire(&mut self, now: Instant, peers: &mut Peers) -> bool {
        if self.next_expiry().is_none_or(|turn| turn > now) {
            return false;
        }
        let Some(index) = self.old.pop() else {
            return false;
        };
        let block = &mut self.slab[index];
        if block.live > 0 {
            // It comes back when they are over.
        } else if block.expires > now {
            block.turn = block.expires;
            self.old.push(index);
        } else {
            let peer = block.peer;
            self.index.remove(index);
            self.slab.remove(index);
            peers.release(peer, now);
        }
        true
    }
}
