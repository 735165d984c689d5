//! Peers: what they told us, what we owe them, whether they proved their address. Decides who is
//! remembered; what is said to them is decided elsewhere.

mod share;

use core::net::Ipv6Addr;

use crate::address::Address;
use crate::chunks::Full;
use crate::config::Config;
use crate::flight::Flight;
use crate::hash::{HashIndex, Key, TableKey};
use crate::list::{Group, Neighbours, Queue, QueueLink, UNLINKED};
use crate::owed::{Debt, Owed};
use crate::patience::Patience;
use crate::slab::{NONE, Slab, Vacant};
use crate::time::{Instant, Stamp};
use crate::wire::{Acks, Cutoffs};

use share::Share;

/// Bits of a cutoff version that tell the life of the engine that made it; the rest is the
/// revision of its cutoffs. Versions without them come from engines that do not tell.
const LIFE_MASK: u16 = 0xfff0;

/// Wrong guesses of our version that a peer has before its proof waits for `GUESS_PAUSE`.
const GUESSES: u8 = 8;
const GUESS_PAUSE_NANOS: u64 = 1_000_000_000;

/// CUTOFFS are told at most once in this time.
const CUTOFFS_PAUSE_NANOS: u64 = 1_000_000;

/// Peers looked at in search of one to forget.
const LOOKS: usize = 256;

/// Bytes sent to an unproven address for each one received from it.
const AMPLIFICATION: u32 = 3;

/// The part of a cutoff version that stays the same for one life of an engine; 0: it does not
/// tell.
pub(crate) const fn life(version: u16) -> u16 {
    version & LIFE_MASK
}

/// Another end, as this engine knows it.
///
/// In the order in which it matters: every packet touches the first lines of the cache, every RPC those
/// behind them, and the last ones are seldom looked at. A table of many peers stays in no cache.
#[repr(C)]
pub(crate) struct Peer {
    pub(crate) address: Address,
    /// When its last packet came.
    pub(crate) heard: Instant,
    /// The version of the cutoffs that it published, which we echo.
    pub(crate) version: u16,
    /// The life part of the versions that it should echo.
    life: u16,
    proven: bool,
    /// Wrong versions that it sent lately; which came last, and when that came first, is further below.
    guesses: u8,
    /// Share of the window that it is granted.
    pub(crate) granting: Share,
    /// The block that remembers its latest request.
    pub(crate) latest_block: u32,
    /// Acks it is owed.
    pub(crate) debt: Debt,
    /// The number of the next RPC to it.
    next_id: u32,
    pub(crate) patience: Patience,

    /// All RPCs with this peer.
    pub(crate) rpcs: Group,
    /// How many there are, and how many of them we serve.
    pub(crate) rpc_count: u32,
    pub(crate) server_rpcs: u32,
    /// Blocks of tombstones that remember its requests, and spans of them.
    pub(crate) blocks: u32,
    /// Requests on their way to it.
    pub(crate) flight: Flight,
    /// Share of unscheduled bytes that we send it.
    pub(crate) sending: Share,
    has_cutoffs: bool,
    /// Those of level 1 and up, if it published any: the lowest level is for every message.
    cutoffs: [u32; 7],

    idle_since: Stamp,
    /// When it was idle as it was entered into the queue of idle peers.
    queued_since: Stamp,
    /// Its place in that queue.
    idle: u32,
    /// Bytes it may still be sent without proof.
    credit: u32,
    /// When its version changed, and that of its life before: late packets may still carry it.
    pub(crate) version_changed: Stamp,
    pub(crate) version_before: u16,
    guess: u16,
    guessed: Stamp,
    cutoffs_told: Stamp,
}

struct ByIdleness;

impl QueueLink<Peer> for ByIdleness {
    #[inline]
    fn of(peer: &mut Peer) -> &mut u32 {
        &mut peer.idle
    }
}

/// What a packet's cutoff version says about its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// Our version, or an older revision of it.
    Ours,
    /// The sender never got a version of ours.
    None,
    /// A version of another life: the packet, or what its sender knows, is from before our start.
    EarlierLife,
}

impl Vacant for Peer {
    type Alignment = u32;

    const VACANT: Self = Self {
        address: Address {
            ip: Ipv6Addr::UNSPECIFIED,
            scope: 0,
            port: 0,
        },
        blocks: 0,
        idle_since: Stamp::of(Instant::ZERO),
        queued_since: Stamp::of(Instant::ZERO),
        idle: UNLINKED,
        rpcs: Group::EMPTY,
        rpc_count: 0,
        server_rpcs: 0,
        next_id: 0,
        latest_block: NONE,
        version: 0,
        cutoffs: [0; 7],
        has_cutoffs: false,
        version_before: 0,
        version_changed: Stamp::of(Instant::ZERO),
        debt: Debt::NONE,
        heard: Instant::ZERO,
        patience: Patience::NEW,
        flight: Flight::NEW,
        sending: Share::FULL,
        granting: Share::FULL,
        life: 0,
        proven: false,
        credit: 0,
        guesses: 0,
        guess: 0,
        guessed: Stamp::of(Instant::ZERO),
        cutoffs_told: Stamp::of(Instant::ZERO),
    };
}

impl Peer {
    /// Reads the version a DATA packet echoes.
    #[inline]
    pub(crate) fn vet(&mut self, now: Instant, version: u16) -> Echo {
        if version == 0 {
            return Echo::None;
        }
        if self.guessed.nanos_until(now) >= GUESS_PAUSE_NANOS {
            self.guesses = 0;
        }
        if life(version) == self.life {
            // Among many wrong guesses a right one may be a guess too.
            self.proven |= self.guesses < GUESSES;
            return Echo::Ours;
        }
        // Said again it is no other guess: all packets in flight at our restart say the same.
        if version != self.guess {
            self.guesses = self.guesses.saturating_add(1);
            self.guess = version;
            self.guessed = Stamp::of(now);
        }
        Echo::EarlierLife
    }

    /// Whether an RPC or a block of tombstones needs this entry.
    #[inline]
    pub(crate) fn is_needed(&self) -> bool {
        self.rpc_count > 0 || self.blocks > 0
    }

    /// A message of it arrived without loss. Returns whether [`Peers::granted_all`] is to be told.
    #[inline]
    pub(crate) fn recover(&mut self) -> bool {
        self.granting.recover()
    }

    /// An RPC with it is over.
    #[inline(always)]
    pub(crate) fn leave(&mut self, all: &mut Neighbours, rpc: u32, is_ours: bool) {
        self.rpc_count -= 1;
        self.server_rpcs -= u32::from(!is_ours);
        self.rpcs.remove(all, rpc);
    }

    /// A keyed hash of the peer's host.
    #[inline]
    pub(crate) fn host_hash(&self) -> u16 {
        self.life >> LIFE_MASK.trailing_zeros()
    }

    /// Our version for this peer at a revision of our cutoffs.
    #[inline]
    pub(crate) fn our_version(&self, revision: u16) -> u16 {
        self.life | (revision & !LIFE_MASK)
    }

    #[inline]
    pub(crate) fn is_proven(&self) -> bool {
        self.proven
    }

    /// The peer is known to be where it says.
    pub(crate) fn prove(&mut self) {
        self.proven = true;
    }

    /// A packet came from the peer.
    #[inline]
    pub(crate) fn hear(&mut self, now: Instant, packet_bytes: u32) {
        self.heard = self.heard.max(now);
        self.patience.hear();
        if !self.proven {
            let more = packet_bytes.saturating_mul(AMPLIFICATION);
            self.credit = self.credit.saturating_add(more).min(1 << 20);
        }
    }

    /// DATA came from the peer, which echoes `version`. Returns whether that is all there is to say:
    /// the version is ours, at this revision of our cutoffs, and the address was proven before.
    #[inline]
    pub(crate) fn heed(
        &mut self,
        now: Instant,
        packet_bytes: u32,
        version: u16,
        revision: u16,
    ) -> bool {
        self.hear(now, packet_bytes);
        self.proven && version == self.our_version(revision)
    }

    /// Whether `packet_bytes` may be sent as an answer; if so, they are charged.
    #[inline]
    pub(crate) fn allow(&mut self, packet_bytes: u32) -> bool {
        if self.proven {
            return true;
        }
        match self.credit.checked_sub(packet_bytes) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }

    /// Its cutoffs of level 1 and up, if it published any.
    #[inline]
    pub(crate) fn cutoffs(&self) -> Option<&[u32; 7]> {
        self.has_cutoffs.then_some(&self.cutoffs)
    }

    /// It published cutoffs.
    pub(crate) fn set_cutoffs(&mut self, cutoffs: &Cutoffs) {
        let [_, above @ ..] = cutoffs.cutoffs;
        self.cutoffs = above;
        self.has_cutoffs = true;
        self.version = cutoffs.version;
    }

    /// Whether CUTOFFS may be sent: at most once a millisecond. If so, it counts as sent.
    pub(crate) fn may_tell_cutoffs(&mut self, now: Instant) -> bool {
        if self.cutoffs_told.nanos_until(now) < CUTOFFS_PAUSE_NANOS {
            return false;
        }
        self.cutoffs_told = Stamp::of(now);
        true
    }

    /// The number of the next RPC to this peer: even, dense, and never 0, since an ack of RPC 0
    /// would say nothing.
    #[inline]
    pub(crate) fn next_id(&mut self) -> u32 {
        let id = (self.next_id & !1).max(2);
        self.next_id = id.wrapping_add(2);
        id
    }
}

/// The table of peers.
pub(crate) struct Peers {
    slab: Slab<Peer>,
    owed: Owed,
    index: HashIndex,
    key: Key,
    table_key: TableKey,
    /// Peers that nothing needed once, in the order in which they became so: one that was needed
    /// again since then is found out when its turn comes.
    idle: Queue<Peer, ByIdleness>,
    /// Since when the first of them has been idle: a question after every packet, to a peer that
    /// nobody else looks at.
    first_idle: Stamp,
    /// The latest moment that it was told, by which stamps are read.
    latest: Instant,
    /// Peers that are granted less than a whole window: mostly none, and then nobody has to be asked.
    cut_short: u32,
    /// Peers ever made: no two of them begin their ids alike.
    made: u64,
    /// Whether addresses are believed without proof.
    trusts: bool,
}

impl core::ops::Index<u32> for Peers {
    type Output = Peer;
    #[inline]
    fn index(&self, index: u32) -> &Peer {
        &self.slab[index]
    }
}

impl core::ops::IndexMut<u32> for Peers {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Peer {
        &mut self.slab[index]
    }
}

/// An address as two words, in the order of this machine, since only a hash is made of them.
#[inline]
pub(crate) fn halves(ip: Ipv6Addr) -> [u64; 2] {
    let octets = ip.octets();
    let (words, _) = octets.as_chunks();
    [0, 1].map(|half| u64::from_ne_bytes(words[half]))
}

#[inline]
fn hash(key: TableKey, address: &Address) -> u64 {
    let [high, low] = halves(address.ip);
    let rest = u64::from(address.scope) << 16 | u64::from(address.port);
    key.hash([high, low, rest])
}

impl Peers {
    /// At most `limit` peers, to which `ack_limit` acks may be owed together.
    pub(crate) fn new(limit: u32, ack_limit: u32, key: Key, trusts: bool) -> Result<Self, Full> {
        Ok(Self {
            slab: Slab::new(limit),
            owed: Owed::new(ack_limit),
            index: HashIndex::new()?,
            key,
            table_key: TableKey::new(key),
            idle: Queue::new(),
            first_idle: Stamp::of(Instant::ZERO),
            latest: Instant::ZERO,
            cut_short: 0,
            made: 0,
            trusts,
        })
    }

    pub(crate) fn len(&self) -> u32 {
        self.slab.len()
    }

    /// One above the largest index ever used.
    pub(crate) fn end_index(&self) -> u32 {
        self.slab.end_index()
    }

    /// The peer at `index`, if there is one.
    pub(crate) fn get(&self, index: u32) -> Option<&Peer> {
        self.slab.get(index)
    }

    /// Makes room for `more` peers than there are, as far as the limit goes.
    pub(crate) fn reserve(&mut self, more: u32) -> Result<(), Full> {
        let count = self.slab.reserve(more)?;
        self.index.reserve(count)
    }

    /// Peers and acks that there is memory for.
    #[cfg(test)]
    pub(crate) fn capacities(&self) -> [u32; 2] {
        [self.slab.capacity(), self.owed.capacity()]
    }

    /// Makes room for `more` acks that peers are owed, as far as the limit goes.
    pub(crate) fn reserve_acks(&mut self, more: u32) -> Result<(), Full> {
        self.owed.reserve(more)
    }

    #[inline]
    fn hash(&self, address: &Address) -> u64 {
        hash(self.table_key, address)
    }

    #[inline(never)]
    pub(crate) fn find(&self, address: &Address) -> Option<u32> {
        let is_it = |index| self.slab[index].address == *address;
        self.index.find(self.hash(address), is_it)
    }

    /// The peer at `address`; makes it if it is not known.
    pub(crate) fn find_or_make(&mut self, now: Instant, address: &Address) -> Result<u32, Full> {
        match self.find(address) {
            Some(index) => Ok(index),
            None => self.make(now, address),
        }
    }

    /// Makes a peer that is not known, forgetting the one idle for longest if the table is full.
    #[cold]
    pub(crate) fn make(&mut self, now: Instant, address: &Address) -> Result<u32, Full> {
        if !self.slab.has_room() {
            self.forget_first();
        }
        let hash = self.hash(address);
        // By host, not port: one engine over there may use several ports, and we several of its.
        let ip = address.ip.to_bits();
        let life = (self.key.hash([(ip >> 64) as u64, ip as u64]) as u16) & LIFE_MASK;
        self.made += 1;
        self.latest = self.latest.max(now);
        let index = self.slab.insert(Peer {
            address: *address,
            idle_since: Stamp::of(now),
            next_id: self.key.hash([hash, 2, self.made]) as u32,
            heard: now,
            version_changed: Stamp::long_before(now),
            cutoffs_told: Stamp::long_before(now),
            // 0 would read as "does not tell".
            life: if life == 0 { LIFE_MASK } else { life },
            proven: self.trusts,
            ..Peer::VACANT
        })?;
        if self.index.ensure(index).is_err() {
            self.slab.remove(index);
            return Err(Full);
        }
        let (slab, key) = (&self.slab, self.table_key);
        let hash_of = |index| self::hash(key, &slab[index].address);
        self.index.insert(hash, index, hash_of);
        self.queue(index);
        Ok(index)
    }

    /// A peer, and the acks that all are owed.
    #[inline]
    pub(crate) fn with_owed(&mut self, index: u32) -> (&mut Peer, &mut Owed) {
        (&mut self.slab[index], &mut self.owed)
    }

    /// The part of a window that loss leaves a peer, if it leaves less than all to any.
    #[inline]
    pub(crate) fn share_of(&self, peer: impl FnOnce() -> u32, window: u32) -> u32 {
        match self.cut_short {
            0 => window,
            _ => self.slab[peer()].granting.of(window),
        }
    }

    /// Packets of a peer were lost: it is granted half as much, at most once in `interval`
    /// nanoseconds. Returns whether it is.
    pub(crate) fn grant_less(&mut self, now: Instant, index: u32, interval: u64) -> bool {
        let share = &mut self.slab[index].granting;
        let was_whole = share.is_whole();
        let is_halved = share.halve(now, interval);
        self.cut_short += u32::from(is_halved && was_whole);
        is_halved
    }

    /// The share of a peer that was granted less is whole again, or the peer is forgotten.
    #[cold]
    pub(crate) fn granted_all(&mut self) {
        self.cut_short -= 1;
    }

    /// The oldest acks that the peer is owed, for an ACK packet.
    pub(crate) fn take_acks(&mut self, index: u32) -> Acks {
        self.owed.pop_packet(&mut self.slab[index].debt)
    }

    /// One block or span of tombstones less remembers requests of the peer.
    pub(crate) fn release(&mut self, index: u32, now: Instant) {
        let peer = &mut self.slab[index];
        peer.blocks -= 1;
        if !peer.is_needed() {
            self.rest(now, index);
        }
    }

    /// Nothing needs a peer any more.
    pub(crate) fn rest(&mut self, now: Instant, index: u32) {
        let peer = &mut self.slab[index];
        self.latest = self.latest.max(now);
        peer.idle_since = Stamp::of(now);
        self.queue(index);
    }

    /// Queues an idle peer, unless it is still queued.
    fn queue(&mut self, index: u32) {
        let peer = &mut self.slab[index];
        if !Queue::<_, ByIdleness>::enter(peer) {
            return;
        }
        let since = peer.idle_since;
        peer.queued_since = since;
        self.idle.append(&mut self.slab, index);
        if self.idle.first() == Some(index) {
            self.first_idle = since;
        }
    }

    /// The peer that was queued first, whether idle or not.
    fn pop_idle(&mut self) -> Option<u32> {
        let index = self.idle.pop(&mut self.slab)?;
        if let Some(first) = self.idle.first() {
            self.first_idle = self.slab[first].queued_since;
        }
        Some(index)
    }

    /// Forgets the peer idle for longest.
    fn forget_first(&mut self) {
        for _ in 0..LOOKS {
            let Some(index) = self.pop_idle() else {
                return;
            };
            if self.forget_if_idle(index) {
                return;
            }
        }
    }

    /// Looks at a peer whose turn it is in the queue of idle ones. It is forgotten if it has been
    /// idle since it was queued; one that was not, queues again.
    fn forget_if_idle(&mut self, index: u32) -> bool {
        let peer = &mut self.slab[index];
        if peer.is_needed() {
            // It comes back when it is idle.
            return false;
        }
        if peer.queued_since != peer.idle_since {
            self.queue(index);
            return false;
        }
        if !self.slab[index].granting.is_whole() {
            self.granted_all();
        }
        self.owed.forget(&mut self.slab[index].debt);
        self.index
            .remove(self.hash(&self.slab[index].address), index);
        self.slab.remove(index);
        true
    }

    /// When the peer idle for longest may be forgotten.
    pub(crate) fn next_expiry(&self, config: &Config) -> Option<Instant> {
        self.idle.first()?;
        Some(self.first_idle.moment(self.latest) + config.peer_idle)
    }

    /// Looks at one peer whose turn has come; `None`: there was none, else whether it was forgotten.
    pub(crate) fn expire(&mut self, now: Instant, config: &Config) -> Option<bool> {
        self.latest = self.latest.max(now);
        if self.next_expiry(config)? > now {
            return None;
        }
        let index = self.pop_idle()?;
        Some(self.forget_if_idle(index))
    }

    /// An RPC with the peer begins at `rpc`.
    #[inline(always)]
    pub(crate) fn join(
        &mut self,
        all: &mut Neighbours,
        index: u32,
        rpc: u32,
        is_ours: bool,
    ) -> &mut Peer {
        let peer = &mut self.slab[index];
        peer.rpc_count += 1;
        peer.server_rpcs += u32::from(!is_ours);
        peer.rpcs.append(all, rpc);
        peer
    }
}

#[cfg(test)]
mod tests;
