//! The bytes of the messages under way, in an array parallel to the engine's RPCs.
//!
//! It decides nothing: the engine says where bytes go, events say when buffers are free.

use std::sync::Arc;

use homa_proto::{Address, Payload, Place, RpcKey};

use crate::pool::Buffer;
use crate::stock::Stock;

/// Whom the end of an RPC concerns.
#[derive(Clone, Copy)]
pub(crate) enum Party {
    /// A call: the entry of whoever holds its handle.
    Call {
        /// Index of the client.
        client: u32,
        /// Index of the call's entry.
        call: u32,
    },
    /// A submitted call: its completion goes to the client's queue.
    Submitted {
        /// Index of the client.
        client: u32,
        /// What the application told it by.
        cookie: u64,
        /// The server.
        peer: Address,
    },
    /// A request to the server with this index.
    Server(u32),
}

/// The bytes of a message that this host sends.
pub(crate) enum Outbound {
    /// A copy.
    Pooled(Buffer),
    /// The application's own.
    Shared(Arc<[u8]>),
}

impl Outbound {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Pooled(buffer) => buffer.bytes(),
            Self::Shared(bytes) => bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }
}

/// What this host holds for one RPC.
struct Slot {
    key: RpcKey,
    party: Party,
    /// What this host sends: the request of a call, the response of a server.
    outbound: Option<Outbound>,
    /// What it receives.
    inbound: Option<Buffer>,
    /// Whether the application knows of the RPC, so that its end counts.
    live: bool,
}

/// What is left of an RPC that is over, or of a request that goes to the application.
pub(crate) struct Remains {
    pub(crate) party: Party,
    pub(crate) outbound: Option<Outbound>,
    pub(crate) inbound: Option<Buffer>,
    pub(crate) live: bool,
}

/// All slots, by `RpcKey::index`.
#[derive(Default)]
pub(crate) struct Messages {
    slots: Vec<Option<Slot>>,
}

impl Messages {
    /// A call that the engine took.
    pub(crate) fn start(&mut self, key: RpcKey, party: Party, request: Outbound) {
        *self.entry(key) = Some(Slot {
            key,
            party,
            outbound: Some(request),
            inbound: None,
            live: true,
        });
    }

    /// Copies the payload of a DATA packet to where it belongs; `server` is who takes requests on
    /// the socket it came in by. Returns `false` if there is no memory for the message.
    pub(crate) fn store(
        &mut self,
        place: &Place,
        packet: &[u8],
        stock: &mut Stock,
        server: Option<u32>,
    ) -> bool {
        let start = place.offset as usize;
        let length = place.length as usize;
        let Some(payload) = packet.get(place.header_bytes..place.header_bytes + length) else {
            debug_assert!(
                false,
                "the engine placed bytes that the packet does not have"
            );
            return false;
        };
        let Some(buffer) = self.inbound(place, stock, server) else {
            return false;
        };
        let Some(target) = buffer.bytes_mut().get_mut(start..start + length) else {
            debug_assert!(false, "the engine placed bytes outside of their message");
            return false;
        };
        target.copy_from_slice(payload);
        true
    }

    fn inbound(
        &mut self,
        place: &Place,
        stock: &mut Stock,
        server: Option<u32>,
    ) -> Option<&mut Buffer> {
        if place.new {
            let buffer = stock.take(place.message_length as usize)?;
            let entry = self.entry(place.rpc);
            if entry.as_ref().is_none_or(|slot| slot.key != place.rpc) {
                *entry = Some(Slot {
                    key: place.rpc,
                    party: Party::Server(server?),
                    outbound: None,
                    inbound: None,
                    live: false,
                });
            }
            if let Some(slot) = entry {
                slot.inbound = Some(buffer);
            }
        }
        self.get_mut(place.rpc)?.inbound.as_mut()
    }

    /// A request is whole: its bytes go to the application, the RPC lives on.
    pub(crate) fn take_request(&mut self, key: RpcKey) -> Option<(Party, Buffer)> {
        let slot = self.get_mut(key)?;
        let buffer = slot.inbound.take()?;
        slot.live = true;
        Some((slot.party, buffer))
    }

    /// The application's response.
    pub(crate) fn set_response(&mut self, key: RpcKey, response: Outbound) {
        if let Some(slot) = self.get_mut(key) {
            slot.outbound = Some(response);
        }
    }

    /// An RPC is over.
    pub(crate) fn finish(&mut self, key: RpcKey) -> Option<Remains> {
        self.get_mut(key)?;
        let slot = self.entry(key).take()?;
        Some(Remains {
            party: slot.party,
            outbound: slot.outbound,
            inbound: slot.inbound,
            live: slot.live,
        })
    }

    /// The bytes that follow a header; `None` if their RPC is over.
    pub(crate) fn bytes(&self, payload: &Payload) -> Option<&[u8]> {
        let slot = self.slots.get(payload.rpc.index())?.as_ref()?;
        if slot.key != payload.rpc {
            return None;
        }
        let start = payload.offset as usize;
        let bytes = slot.outbound.as_ref()?.bytes();
        bytes.get(start..start + payload.length as usize)
    }

    /// The calls of a client that are under way.
    pub(crate) fn calls_of(&self, of: u32) -> impl Iterator<Item = RpcKey> {
        self.slots
            .iter()
            .flatten()
            .filter_map(move |slot| match slot.party {
                Party::Call { client, .. } | Party::Submitted { client, .. } if client == of => {
                    Some(slot.key)
                }
                _ => None,
            })
    }

    fn get_mut(&mut self, key: RpcKey) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key.index())?.as_mut()?;
        (slot.key == key).then_some(slot)
    }

    fn entry(&mut self, key: RpcKey) -> &mut Option<Slot> {
        if self.slots.len() <= key.index() {
            self.slots.resize_with(key.index() + 1, || None);
        }
        &mut self.slots[key.index()]
    }
}
