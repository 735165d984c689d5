//! The table of RPCs: where one lies, by its id or its key. Decides what the ids of ours are.

use super::{ByEvent, Rpc};
use crate::api::RpcKey;
use crate::chunks::Full;
use crate::list::Queue;
use crate::slab::Slab;
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

/// The table of RPCs. Those that are over keep their place until the application was told, but no
/// packet finds them: ours are found by their ids, those that we serve by their tombstones.
pub(crate) struct Rpcs {
    pub(crate) slab: Slab<Rpc>,
    /// Those of which the application is to be told.
    pub(crate) events: Queue<Rpc, ByEvent>,
    /// This engine's number.
    engine: u8,
    clients: u32,
    servers: u32,
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
    pub(crate) const fn new(limit: u32, engine: u8) -> Self {
        Self {
            slab: Slab::new(limit),
            events: Queue::new(),
            engine,
            clients: 0,
            servers: 0,
        }
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

    /// The live RPC of ours that `peer` means by `id`.
    pub(crate) fn find(&self, peer: u32, id: RpcId) -> Option<u32> {
        let index = index_of(id);
        let rpc = self.slab.get(index)?;
        (rpc.id == id && rpc.peer == peer && !rpc.is_over()).then_some(index)
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
