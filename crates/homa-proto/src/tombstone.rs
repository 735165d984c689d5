//! At most once: which requests of each client were accepted, so that a late copy of one that is
//! over never runs again; and while an RPC is under way, where it lies.
//!
//! *Design*: a place is taken when a request is accepted, in blocks of consecutive ids of one peer,
//! which a client that numbers its RPCs densely fills. So a full table refuses new requests early
//! instead of forgetting old ones, and neither the begin nor the end of an RPC needs memory or a hash:
//! the same look-up tells a new request from an old one and finds a live one. Of a block whose ids are
//! all over nothing is left but a bit in a span of 64 such blocks: a second of a fast client's requests
//! stays in the near caches. Blocks and spans go one packet lifetime after the last of their RPCs
//! ended.

mod aging;

use core::net::Ipv6Addr;

use crate::chunks::Full;
use crate::hash::{Key, TableKey};
use crate::peer::{Peer, Peers, halves};
use crate::slab::{NONE, Vacant};
use crate::time::Instant;
use crate::wire::RpcId;

use aging::{Age, Aged, Aging};

/// Ids of a block: with more of them a client of many servers leaves more of each empty.
const IDS: usize = 32;
/// Blocks of a span.
const BLOCKS: u64 = u64::BITS as u64;

/// In the place of an id: no request with it was accepted.
const NEVER: u32 = NONE;
/// In the place of an id: its request was accepted, its RPC is over.
const OVER: u32 = NONE - 1;

struct Block {
    peer: u32,
    /// RPCs of this block that are under way.
    live: u16,
    /// And those that are over.
    over: u16,
    number: u64,
    age: Age,
    /// For each id, where its RPC lies, or one of the above.
    rpcs: [u32; IDS],
}

impl Vacant for Block {
    type Alignment = u32;

    const VACANT: Self = Self {
        peer: NONE,
        live: 0,
        over: 0,
        number: 0,
        age: Age::NEW,
        rpcs: [NEVER; IDS],
    };
}

impl Aged for Block {
    #[inline]
    fn age(&self) -> &Age {
        &self.age
    }

    #[inline]
    fn age_mut(&mut self) -> &mut Age {
        &mut self.age
    }

    fn peer(&self) -> u32 {
        self.peer
    }

    fn is_live(&self) -> bool {
        self.live > 0
    }
}

impl Block {
    #[inline]
    fn holds(&self, peer: u32, number: u64) -> bool {
        self.peer == peer && self.number == number
    }

    /// Whether all of its ids are over.
    #[inline]
    fn is_full(&self) -> bool {
        usize::from(self.over) == IDS
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

/// Blocks in a row of which some are all over.
struct Span {
    peer: u32,
    number: u64,
    /// A bit for each block.
    over: u64,
    age: Age,
}

impl Vacant for Span {
    type Alignment = u32;

    const VACANT: Self = Self {
        peer: NONE,
        number: 0,
        over: 0,
        age: Age::NEW,
    };
}

impl Aged for Span {
    fn age(&self) -> &Age {
        &self.age
    }

    fn age_mut(&mut self) -> &mut Age {
        &mut self.age
    }

    fn peer(&self) -> u32 {
        self.peer
    }

    fn is_live(&self) -> bool {
        false
    }
}

impl Span {
    /// Whether the block of this number has its bit here.
    fn holds(&self, peer: u32, number: u64) -> bool {
        self.peer == peer && self.number == span_number(number)
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
    /// By the peer's host, so that an ack finds its RPC whatever port it came from.
    blocks: Aging<Block>,
    spans: Aging<Span>,
    key: TableKey,
    /// Most blocks and spans together.
    limit: u32,
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

/// The span that a block belongs to.
const fn span_number(block: u64) -> u64 {
    block & !(2 * IDS as u64 * BLOCKS - 1)
}

/// The bit of a block in its span.
const fn bit(block: u64) -> u64 {
    1 << (block / (2 * IDS as u64) % BLOCKS)
}

impl Tombstones {
    /// Blocks that there is memory for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> u32 {
        self.blocks.capacity()
    }

    /// Makes room for `more` requests than were accepted, as far as the limit goes: each may be the
    /// first of its block.
    pub(crate) fn reserve(&mut self, more: u32) -> Result<(), Full> {
        self.blocks.reserve(more)?;
        self.spans.reserve(1 + more / IDS as u32)
    }

    /// At most `limit` blocks, each kept for `lifetime` nanoseconds.
    pub(crate) fn new(limit: u32, key: Key, lifetime: u64) -> Result<Self, Full> {
        Ok(Self {
            blocks: Aging::new(limit)?,
            spans: Aging::new(limit)?,
            key: TableKey::new(key),
            limit,
            lifetime,
        })
    }

    /// Blocks and spans in use.
    pub(crate) const fn len(&self) -> u32 {
        self.blocks.len() + self.spans.len()
    }

    /// What became of a request of a peer, whose latest one is remembered in the block `latest`; and
    /// the block in which that is remembered, if there is one.
    #[inline(always)]
    pub(crate) fn find(
        &self,
        peers: &Peers,
        (peer, latest): (u32, u32),
        id: RpcId,
    ) -> (Option<u32>, Known) {
        match self.blocks.get(latest) {
            Some(block) if block.holds(peer, number(id)) => (Some(latest), block.known(id)),
            _ => self.search(peers[peer].address.ip, peer, id),
        }
    }

    /// The live RPC that a peer means by an id.
    #[inline(always)]
    pub(crate) fn find_live(
        &self,
        peers: &Peers,
        (peer, latest): (u32, u32),
        id: RpcId,
    ) -> Option<u32> {
        match self.blocks.get(latest) {
            Some(block) if block.holds(peer, number(id)) => block.live(id),
            _ => self.search(peers[peer].address.ip, peer, id).1.live(),
        }
    }

    #[inline(never)]
    fn search(&self, ip: Ipv6Addr, peer: u32, id: RpcId) -> (Option<u32>, Known) {
        let number = number(id);
        let holds = |block: &Block| block.holds(peer, number);
        if let Some(index) = self.blocks.find(self.hash(ip, number), holds) {
            return (Some(index), self.blocks[index].known(id));
        }
        let span = self.find_span(ip, peer, number);
        let is_over = span.is_some_and(|span| self.spans[span].over & bit(number) != 0);
        (None, if is_over { Known::Over } else { Known::Never })
    }

    fn find_span(&self, ip: Ipv6Addr, peer: u32, block: u64) -> Option<u32> {
        let hash = self.hash(ip, span_number(block));
        self.spans.find(hash, |span| span.holds(peer, block))
    }

    #[inline]
    fn hash(&self, ip: Ipv6Addr, number: u64) -> u64 {
        let [high, low] = halves(ip);
        self.key.hash([high, low, number])
    }

    /// The live RPC with this id of any port of a host for which `is_it` holds.
    pub(crate) fn find_at_host(
        &self,
        ip: Ipv6Addr,
        id: RpcId,
        is_it: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let holds =
            |block: &Block| block.number == number(id) && block.live(id).is_some_and(&is_it);
        let block = self.blocks.find(self.hash(ip, number(id)), holds)?;
        self.blocks[block].live(id)
    }

    /// Makes the block in which a request is to be remembered. A peer may have as many as are free: one
    /// that spreads its ids over all numbers leaves half of them to others, two leave a third.
    #[cold]
    pub(crate) fn make(&mut self, peers: &mut Peers, peer: u32, id: RpcId) -> Result<u32, Full> {
        let entry = &mut peers[peer];
        if entry.blocks >= self.limit - self.len() {
            return Err(Full);
        }
        let block = Block {
            peer,
            number: number(id),
            ..Block::VACANT
        };
        let index = self
            .blocks
            .insert(self.hash(entry.address.ip, block.number), block)?;
        entry.blocks += 1;
        entry.latest_block = index;
        // For when one is full, and nothing may need memory. Without it the block stays what it is.
        let _ = self.spans.reserve(1);
        Ok(index)
    }

    /// A request that was never accepted is now, as the RPC at `rpc`; to be followed by
    /// [`end`](Self::end).
    #[inline(always)]
    pub(crate) fn begin(&mut self, block: u32, id: RpcId, rpc: u32) {
        let block = &mut self.blocks[block];
        debug_assert_eq!(block.rpcs[place(id)], NEVER, "a request is accepted once");
        block.rpcs[place(id)] = rpc;
        block.live += 1;
    }

    /// The RPC is over. `ran`: whether the application ever saw its request; if not, the client
    /// may send it again.
    #[inline(always)]
    pub(crate) fn end(&mut self, now: Instant, peer: &mut Peer, index: u32, id: RpcId, ran: bool) {
        let block = &mut self.blocks[index];
        block.rpcs[place(id)] = if ran { OVER } else { NEVER };
        block.live -= 1;
        block.over += u16::from(ran);
        self.settle(now, peer, index);
    }

    /// A request that was never accepted counts as over: no copy of it may run.
    pub(crate) fn refuse(&mut self, now: Instant, peer: &mut Peer, index: u32, id: RpcId) {
        let block = &mut self.blocks[index];
        block.rpcs[place(id)] = OVER;
        block.over += 1;
        self.settle(now, peer, index);
    }

    /// What is left of a block when a request of it is over.
    #[inline(always)]
    fn settle(&mut self, now: Instant, peer: &mut Peer, index: u32) {
        let block = &self.blocks[index];
        if block.is_full() {
            self.shrink(now, peer, index);
        } else if block.live == 0 {
            self.blocks.keep_until(index, now.after(self.lifetime));
        }
    }

    /// The ids of a block are all over: one bit is left of it, if there is memory for that.
    #[inline(never)]
    fn shrink(&mut self, now: Instant, peer: &mut Peer, index: u32) {
        let end = now.after(self.lifetime);
        let Block {
            peer: owner,
            number,
            ..
        } = self.blocks[index];
        let ip = peer.address.ip;
        let span = match self.find_span(ip, owner, number) {
            Some(span) => {
                peer.blocks -= 1;
                Some(span)
            }
            None if self.spans.len() == self.spans.capacity() => None,
            None => {
                let span = Span {
                    peer: owner,
                    number: span_number(number),
                    ..Span::VACANT
                };
                self.spans.insert(self.hash(ip, span.number), span).ok()
            }
        };
        let Some(span) = span else {
            self.blocks.keep_until(index, end);
            return;
        };
        self.spans[span].over |= bit(number);
        self.spans.keep_until(span, end);
        self.blocks.remove(index);
    }

    /// When the next block or span may go.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let turns = [self.blocks.next_turn(), self.spans.next_turn()];
        turns.into_iter().flatten().min()
    }

    /// Looks at one whose turn has come, and forgets it if it may go; whether there was one.
    pub(crate) fn expire(&mut self, now: Instant, peers: &mut Peers) -> bool {
        let looked = self.blocks.expire(now).or_else(|| self.spans.expire(now));
        if let Some(Some(peer)) = looked {
            peers.release(peer, now);
        }
        looked.is_some()
    }
}

#[cfg(test)]
mod tests;
