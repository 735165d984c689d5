//! The table of RPCs: where one lies, by its id or its key. Decides what the ids of ours are.

use alloc::boxed::Box;

use super::{ByEvent, Details, Rpc};
use crate::api::RpcKey;
use crate::chunks::{Chunks, Full, boxed};
use crate::list::{Neighbours, Queue};
use crate::slab::{NONE, Slab};
use crate::wire::RpcId;

/// Most RPCs in the table: an id of ours has 24 bits that say which.
pub(crate) const RPCS_MAX: u32 = 1 << 24;

/// The id of an RPC of ours: the engine's number in the top byte, so that a packet finds its engine;
/// then where the RPC lies in the table, so that a packet finds it there without a search; and in
/// the lower half what distinguishes it from the peer's others, dense, so that the peer can remember
/// it with one bit.
const fn client_id(engine: u8, index: u32, number: u32) -> RpcId {
    RpcId::new((engine as u64) << 56 | (index as u64) << 32 | number as u64)
}

/// Where an RPC with this id of ours lies, if there is one.
const fn index_of(id: RpcId) -> u32 {
    (id.get() >> 32) as u32 & (RPCS_MAX - 1)
}

/// Long requests of which the packets arrive in turns, more or less: as many as hosts grant at a time,
/// and as many again that go unasked, so that few are in each other's way.
const LATELY: usize = 32;

/// Where such a request is remembered.
const fn place_of(id: RpcId) -> usize {
    (id.get() >> 1) as usize % LATELY
}

/// The table of RPCs. Those that are over keep their place until the application was told, but no
/// packet finds them: ours are found by their ids, those that we serve by their tombstones.
pub(crate) struct Rpcs {
    pub(crate) slab: Slab<Rpc>,
    pub(crate) details: Chunks<Details, 32>,
    /// Those of which the application is to be told.
    pub(crate) events: Queue<Rpc, ByEvent>,
    /// Each among those with the same peer.
    pub(crate) of_peers: Neighbours,
    /// This engine's number.
    engine: u8,
    clients: u32,
    servers: u32,
    /// Where requests lie of which a packet came lately, by a part of their ids. The others of a long
    /// request, which mostly take turns with those of few others, find it here, and neither their peer
    /// nor the tombstone are searched for.
    lately: Box<[u32; LATELY]>,
}

impl core::ops::Index<u32> for Rpcs {
    type Output = Rpc;
    #[inline]
    fn index(&self, index: u32) -> &Rpc {
        &self.slab[index]
    }
}

impl core::ops::IndexMut<u32> for Rpcs {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Rpc {
        &mut self.slab[index]
    }
}

impl Rpcs {
    pub(crate) fn new(limit: u32, engine: u8) -> Result<Self, Full> {
        Ok(Self {
            slab: Slab::new(limit),
            details: Chunks::new(),
            events: Queue::new(),
            of_peers: Neighbours::new(),
            engine,
            clients: 0,
            servers: 0,
            lately: boxed(|| NONE)?,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slab.len() == 0
    }

    /// RPCs with us as client.
    pub(crate) fn clients(&self) -> u32 {
        self.clients
    }

    /// RPCs with us as server.
    pub(crate) fn servers(&self) -> u32 {
        self.servers
    }

    /// The live RPC of ours with this id.
    pub(crate) fn find(&self, id: RpcId) -> Option<u32> {
        self.live_at(index_of(id), id)
    }

    fn live_at(&self, index: u32, id: RpcId) -> Option<u32> {
        let rpc = self.slab.get(index)?;
        (rpc.id == id && !rpc.is_over()).then_some(index)
    }

    /// The live RPC with this id that we serve, if a packet of it came lately. Another client may have
    /// the same id.
    #[inline]
    pub(crate) fn find_again(&self, id: RpcId) -> Option<u32> {
        self.live_at(self.lately[place_of(id)], id)
    }

    /// Another packet of an RPC that we serve may come soon.
    #[inline]
    pub(crate) fn expect_again(&mut self, id: RpcId, index: u32) {
        self.lately[place_of(id)] = index;
    }

    /// The live RPC of ours with this id, whoever says so, and its key.
    #[inline]
    pub(crate) fn find_ours(&mut self, id: RpcId) -> Option<(RpcKey, &mut Rpc)> {
        let index = index_of(id);
        let (generation, rpc) = self.slab.used(index)?;
        let is_it = rpc.id == id && !rpc.is_over();
        is_it.then_some((RpcKey { index, generation }, rpc))
    }

    /// Has the application told of an RPC that was just entered into the queue of events.
    #[inline]
    pub(crate) fn tell(&mut self, index: u32) {
        self.events.append(&mut self.slab, index);
    }

    /// Makes room for `more` RPCs than there are, as far as the limit goes; so many lie below the index
    /// that is returned.
    pub(crate) fn reserve(&mut self, more: u32) -> Result<u32, Full> {
        self.slab.reserve(more)
    }

    /// Makes room for what lies beside entry `index`.
    pub(crate) fn ensure(&mut self, index: u32) -> Result<(), Full> {
        while index as usize >= self.details.len() {
            self.details.grow(Details::none)?;
        }
        self.of_peers.ensure(index)
    }

    /// Where the next RPC will lie.
    #[inline]
    pub(crate) fn vacancy(&mut self) -> Result<u32, Full> {
        self.slab.vacancy()
    }

    /// Takes the place at [`vacancy`](Self::vacancy) for an RPC; whoever does fills it.
    #[inline(always)]
    pub(crate) fn occupy(&mut self, index: u32, is_client: bool) -> (RpcKey, &mut Rpc) {
        if is_client {
            self.clients += 1;
        } else {
            self.servers += 1;
        }
        let (generation, place) = self.slab.occupy(index);
        (RpcKey { index, generation }, place)
    }

    /// The id of an RPC of ours at `index`, of which `number` is its peer's next one.
    #[inline]
    pub(crate) const fn id_at(&self, index: u32, number: u32) -> RpcId {
        client_id(self.engine, index, number)
    }

    /// Frees the place of an RPC that is over and was told.
    #[inline]
    pub(crate) fn free(&mut self, index: u32, is_client: bool) {
        if is_client {
            self.clients -= 1;
        } else {
            self.servers -= 1;
        }
        self.slab.remove(index);
    }

    /// The RPC that a key names, unless it is gone.
    #[inline]
    pub(crate) fn named(&mut self, key: RpcKey) -> Option<&mut Rpc> {
        self.slab.named(key.index, key.generation)
    }

    /// The index that a key names, unless its RPC is gone.
    #[inline]
    pub(crate) fn resolve(&self, key: RpcKey) -> Option<u32> {
        self.slab
            .is_named(key.index, key.generation)
            .then_some(key.index)
    }

    /// An RPC that may be there, and the key that names it.
    pub(crate) fn keyed_at(&self, index: u32) -> Option<(RpcKey, &Rpc)> {
        let (generation, rpc) = self.slab.entry_at(index)?;
        Some((RpcKey { index, generation }, rpc))
    }

    /// An RPC and the key that names it.
    #[inline]
    pub(crate) fn keyed(&mut self, index: u32) -> (RpcKey, &mut Rpc) {
        let (generation, rpc) = self.slab.entry(index);
        (RpcKey { index, generation }, rpc)
    }

    /// What lies at `index`, be it under way or not, and its key.
    #[inline]
    pub(crate) fn place(&mut self, index: u32) -> (RpcKey, &mut Rpc) {
        let (generation, rpc) = self.slab.place(index);
        (RpcKey { index, generation }, rpc)
    }

    /// One above the largest index ever used.
    pub(crate) fn end_index(&self) -> u32 {
        self.slab.end_index()
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&Rpc> {
        self.slab.get(index)
    }
}
