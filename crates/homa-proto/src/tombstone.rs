//! At most once: which requests of each client were accepted, so that a late copy of one that is
//! over never runs again; and while an RPC is under way, where it lies.
//!
//! *Design*: a place is taken when a request is accepted, in blocks of consecutive ids of one peer,
//! which a client that numbers its RPCs densely fills. So a full table refuses new requests early
//! instead of forgetting old ones, and neither the begin nor the end of an RPC needs memory or a hash:
//! the same look-up tells a new request from an old one and finds a live one. A block goes one packet
//! lifetime after the last of its RPCs ended.

use crate::chunks::Full;
use crate::hash::{HashIndex, Key, TableKey};
use crate::list::{Queue, QueueLink, UNLINKED};
use crate::peer::Peers;
use crate::slab::{NONE, Slab, Vacant};
use crate::time::Instant;
use crate::wire::RpcId;

/// Ids of a block: with more of them a client of many servers leaves more of each empty.
const IDS: usize = 32;

/// In the place of an id: no request with it was accepted.
const NEVER: u32 = NONE;
/// In the place of an id: its request was accepted, its RPC is over.
const OVER: u32 = NONE - 1;

struct Block {
    peer: u32,
    /// RPCs of this block that are under way.
    live: u32,
    number: u64,
    /// When the block may go, if no RPC of it is under way.
    expires: Instant,
    /// When it is looked at.
    turn: Instant,
    /// Its place in the queue of old blocks.
    old: u32,
    /// For each id, where its RPC lies, or one of the above.
    rpcs: [u32; IDS],
}

impl Vacant for Block {
    const VACANT: Self = Self {
        peer: NONE,
        live: 0,
        number: 0,
        expires: Instant::ZERO,
        turn: Instant::ZERO,
        old: UNLINKED,
        rpcs: [NEVER; IDS],
    };
}

struct ByAge;

impl QueueLink<Block> for ByAge {
    #[inline]
    fn of(block: &mut Block) -> &mut u32 {
        &mut block.old
    }
}

impl Block {
    #[inline]
    fn holds(&self, peer: u32, id: RpcId) -> bool {
        self.peer == peer && self.number == number(id)
    }

    /// One of its RPCs is over. Without live ones it is kept until `end`; whether it is to be appended to
    /// the queue of old blocks for that.
    #[inline]
    fn is_to_be_queued(&mut self, end: Instant) -> bool {
        if self.live > 0 {
            return false;
        }
        self.expires = end;
        let is_new = Queue::<_, ByAge>::enter(self);
        if is_new {
            self.turn = end;
        }
        is_new
    }

    /// Where the RPC with this id lies, which the block holds, if it is live.
    #[inline]
    fn live(&self, id: RpcId) -> Option<u32> {
        let rpc = self.rpcs[place(id)];
        (rpc < OVER).then_some(rpc)
    }

    /// What became of the request with this id, which the block holds.
    #[inline]
    fn known(&self, id: RpcId) -> Known {
        match self.rpcs[place(id)] {
            NEVER => Known::Never,
            OVER => Known::Over,
            rpc => Known::Live(rpc),
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It was never accepted.
    Never,
    /// Its RPC lies here.
    Live(u32),
    /// Its RPC is over.
    Over,
}

impl Known {
    pub(crate) fn live(self) -> Option<u32> {
        match self {
            Self::Live(index) => Some(index),
            Self::Never | Self::Over => None,
        }
    }
}

pub(crate) struct Tombstones {
    slab: Slab<Block>,
    /// By the peer's host, so that an ack finds its RPC whatever port it came from.
    index: HashIndex,
    key: TableKey,
    /// Blocks that had no live RPC once, in the order in which they are looked at: one that has had
    /// RPCs again since then is found out when its turn comes.
    old: Queue<Block, ByAge>,
    lifetime: u64,
}

/// The bits of an id that tell its block. Bits 32 to 55 do not count: in ids of ours they name a slot
/// of the client's table, which makes no two of them differ that are alike otherwise, and no client
/// has 2^31 ids in a packet lifetime.
const NUMBER: u64 = 0xff00_0000_ffff_ffff & !(2 * IDS as u64 - 1);

/// The block that an id belongs to.
#[inline]
const fn number(id: RpcId) -> u64 {
    id.get() & NUMBER
}

/// The place of an id in its block.
#[inline]
const fn place(id: RpcId) -> usize {
    (id.get() >> 1) as usize % IDS
}

impl Tombstones {
    /// Blocks that there is memory for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> u32 {
        self.slab.capacity()
    }

    /// Makes room for `more` blocks than there are, as far as the limit goes.
    pub(crate) fn reserve(&mut self, more: u32) -> Result<(), Full> {
        let count = self.slab.reserve(more)?;
        self.index.reserve(count)
    }

    /// At most `limit` blocks, each kept for `lifetime` nanoseconds.
    pub(crate) fn new(limit: u32, key: Key, lifetime: u64) -> Result<Self, Full> {
        Ok(Self {
            slab: Slab::new(limit),
            index: HashIndex::new()?,
            key: TableKey::new(key),
            old: Queue::new(),
            lifetime,
        })
    }

    /// Blocks in use.
    pub(crate) fn len(&self) -> u32 {
        self.slab.len()
    }

    /// What became of a request of a peer, and the block in which that is remembered, if
    /// there is one.
    #[inline(always)]
    pub(crate) fn find(&self, peers: &Peers, peer: u32, id: RpcId) -> (Option<u32>, Known) {
        let block = peers[peer].latest_block;
        match self.slab.get(block) {
            Some(latest) if latest.holds(peer, id) => (Some(block), latest.known(id)),
            _ => self.search(peers.host_of(peer), peer, id),
        }
    }

    /// The live RPC that a peer means by an id.
    #[inline(always)]
    pub(crate) fn find_live(&self, peers: &Peers, peer: u32, id: RpcId) -> Option<u32> {
        match self.slab.get(peers[peer].latest_block) {
            Some(latest) if latest.holds(peer, id) => latest.live(id),
            _ => self.search(peers.host_of(peer), peer, id).1.live(),
        }
    }

    #[inline(never)]
    fn search(&self, host: u64, peer: u32, id: RpcId) -> (Option<u32>, Known) {
        let is_it = |index| self.slab[index].holds(peer, id);
        match self.index.find(self.hash(host, id), is_it) {
            Some(index) => (Some(index), self.slab[index].known(id)),
            None => (None, Known::Never),
        }
    }

    #[inline]
    fn hash(&self, host: u64, id: RpcId) -> u64 {
        self.key.hash([host, number(id)])
    }

    /// The live RPC with this id of any port of a host, by the host's hash, for which `is_it` holds.
    pub(crate) fn find_at_host(
        &self,
        host: u64,
        id: RpcId,
        is_it: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let holds = |index: u32| {
            let block = &self.slab[index];
            block.number == number(id) && block.live(id).is_some_and(&is_it)
        };
        let block = self.index.find(self.hash(host, id), holds)?;
        Some(self.slab[block].rpcs[place(id)])
    }

    /// Makes the block in which a request is to be remembered. A peer may have as many as are free: one
    /// that spreads its ids over all numbers leaves half of them to others, two leave a third.
    #[cold]
    pub(crate) fn make(&mut self, peers: &mut Peers, peer: u32, id: RpcId) -> Result<u32, Full> {
        if peers[peer].blocks >= self.slab.room() {
            return Err(Full);
        }
        let index = self.slab.vacancy()?;
        self.index.ensure(index)?;
        self.slab.insert(Block {
            peer,
            number: number(id),
            ..Block::VACANT
        })?;
        let hash = self.hash(peers.host_of(peer), id);
        self.index.insert(hash, index);
        peers.acquire(peer);
        peers[peer].latest_block = index;
        Ok(index)
    }

    /// A request that was never accepted is now, as the RPC at `rpc`; to be followed by
    /// [`end`](Self::end).
    #[inline(always)]
    pub(crate) fn begin(&mut self, block: u32, id: RpcId, rpc: u32) {
        let block = &mut self.slab[block];
        debug_assert_eq!(block.rpcs[place(id)], NEVER, "a request is accepted once");
        block.rpcs[place(id)] = rpc;
        block.live += 1;
    }

    /// The RPC is over. `ran`: whether the application ever saw its request; if not, the client
    /// may send it again.
    #[inline(always)]
    pub(crate) fn end(&mut self, now: Instant, index: u32, id: RpcId, ran: bool) {
        let block = &mut self.slab[index];
        block.rpcs[place(id)] = if ran { OVER } else { NEVER };
        block.live -= 1;
        if block.is_to_be_queued(now.after(self.lifetime)) {
            self.old.append(&mut self.slab, index);
        }
    }

    /// A request that was never accepted counts as over: no copy of it may run.
    pub(crate) fn refuse(&mut self, now: Instant, index: u32, id: RpcId) {
        let block = &mut self.slab[index];
        block.rpcs[place(id)] = OVER;
        if block.is_to_be_queued(now.after(self.lifetime)) {
            self.old.append(&mut self.slab, index);
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
        let Some(index) = self.old.pop(&mut self.slab) else {
            return false;
        };
        let block = &mut self.slab[index];
        if block.live > 0 {
            // It comes back when they are over.
        } else if block.expires > now {
            block.turn = block.expires;
            self.old.push(&mut self.slab, index);
        } else {
            let peer = block.peer;
            self.index.remove(index);
            self.slab.remove(index);
            peers.release(peer, now);
        }
        true
    }
}
