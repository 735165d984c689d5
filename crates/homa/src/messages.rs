//! The bytes of the messages under way, in an array parallel to the engine's RPCs.
//!
//! It decides nothing: the engine says where bytes go, events say when buffers are free.

use core::ops::Range;
use core::task::Waker;
use core::time::Duration;
use std::sync::Arc;

use homa_proto::{Address, Instant, Payload, Place, RpcKey};

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
    /// A part of the application's own, within its bounds.
    Shared(Arc<[u8]>, Range<usize>),
}

impl Outbound {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Pooled(buffer) => buffer.bytes(),
            Self::Shared(bytes, part) => bytes.get(part.clone()).unwrap_or_default(),
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
    /// When the call was made, or the first bytes of the request came.
    since: Instant,
    /// When the application got the request.
    handed_over: Instant,
    /// How its server hears of a request.
    telling: Telling,
    /// Who waits for more bytes of the message that comes in.
    watcher: Option<Waker>,
}

/// How a server hears of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// When it is whole.
    Whole,
    /// It has heard already, when the first bytes came.
    Announced,
    /// It has heard, and wants no more of it.
    Unwanted,
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
    /// Servers that hear of requests when their first bytes come.
    announced_to: Vec<u32>,
    /// Requests of which first bytes came, with their servers.
    begun: Vec<(u32, RpcKey)>,
    /// Who waited for bytes that came.
    stirred: Vec<Waker>,
}

impl Messages {
    /// A call that the engine took.
    pub(crate) fn start(&mut self, now: Instant, key: RpcKey, party: Party, request: Outbound) {
        *self.entry(key) = Some(Slot {
            key,
            party,
            outbound: Some(request),
            inbound: None,
            live: true,
            since: now,
            handed_over: now,
            telling: Telling::Whole,
            watcher: None,
        });
    }

    /// Where the payload of DATA belongs; it counts as stored. `server` is who takes requests on the
    /// socket it came in by. `None`: there is no memory for the message.
    #[inline(always)]
    pub(crate) fn room_for(
        &mut self,
        now: Instant,
        place: &Place,
        stock: &mut Stock,
        server: Option<u32>,
    ) -> Option<&mut [u8]> {
        if place.new {
            self.open(now, place, stock, server)?;
        }
        let slot = self.slots.get_mut(place.rpc.index())?.as_mut()?;
        if slot.key != place.rpc {
            return None;
        }
        if let Some(watcher) = slot.watcher.take() {
            self.stirred.push(watcher);
        }
        let start = place.offset as usize;
        let buffer = slot.inbound.as_mut()?.bytes_mut();
        let target = buffer.get_mut(start..start + place.length as usize);
        debug_assert!(
            target.is_some(),
            "the engine placed bytes outside of their message"
        );
        target
    }

    /// The bytes `range` of a message that comes in, of which none are there yet; `None`: it has no
    /// buffer, or none that long.
    pub(crate) fn room(&mut self, key: RpcKey, range: Range<u32>) -> Option<&mut [u8]> {
        let buffer = self.get_mut(key)?.inbound.as_mut()?;
        buffer
            .bytes_mut()
            .get_mut(range.start as usize..range.end as usize)
    }

    /// The first bytes of a message came: it gets its buffer, and a request its slot.
    #[inline(always)]
    fn open(
        &mut self,
        now: Instant,
        place: &Place,
        stock: &mut Stock,
        server: Option<u32>,
    ) -> Option<()> {
        let buffer = stock.take(place.message_length as usize)?;
        let entry = self.entry(place.rpc);
        let telling = match entry {
            Some(slot) if slot.key == place.rpc => {
                slot.inbound = Some(buffer);
                slot.telling
            }
            _ => self.begin(now, place.rpc, server?, buffer),
        };
        if telling == Telling::Announced {
            self.begun.extend(server.map(|server| (server, place.rpc)));
        }
        Some(())
    }

    /// A request of which the first bytes came.
    #[inline(always)]
    fn begin(&mut self, now: Instant, key: RpcKey, server: u32, buffer: Buffer) -> Telling {
        let telling = match self.announced_to.contains(&server) {
            true => Telling::Announced,
            false => Telling::Whole,
        };
        *self.entry(key) = Some(Slot {
            key,
            party: Party::Server(server),
            outbound: None,
            inbound: Some(buffer),
            live: false,
            since: now,
            handed_over: now,
            telling,
            watcher: None,
        });
        telling
    }

    /// A request is whole: its bytes go to the application, the RPC lives on.
    pub(crate) fn take_request(&mut self, now: Instant, key: RpcKey) -> Option<(Party, Buffer)> {
        let slot = self.get_mut(key)?;
        let buffer = slot.inbound.take()?;
        slot.live = true;
        slot.handed_over = now;
        Some((slot.party, buffer))
    }

    /// The application's response. Returns when it got the request.
    pub(crate) fn set_response(&mut self, key: RpcKey, response: Outbound) -> Option<Instant> {
        let slot = self.get_mut(key)?;
        slot.outbound = Some(response);
        Some(slot.handed_over)
    }

    /// An RPC is over.
    pub(crate) fn finish(&mut self, key: RpcKey) -> Option<Remains> {
        let entry = self.slots.get_mut(key.index())?;
        let slot = entry.as_mut().filter(|slot| slot.key == key)?;
        // What is left in the slot need not be moved out of it.
        let remains = Remains {
            party: slot.party,
            outbound: slot.outbound.take(),
            inbound: slot.inbound.take(),
            live: slot.live,
        };
        if let Some(watcher) = slot.watcher.take() {
            self.stirred.push(watcher);
        }
        *entry = None;
        Some(remains)
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

    /// From now on the server hears of requests when their first bytes come; of those that are coming
    /// in already, at once.
    pub(crate) fn announce_for(&mut self, server: u32) {
        if self.announced_to.contains(&server) {
            return;
        }
        self.announced_to.push(server);
        for slot in self.slots.iter_mut().flatten() {
            let theirs = matches!(slot.party, Party::Server(it) if it == server);
            if theirs && !slot.live && slot.inbound.is_some() {
                slot.telling = Telling::Announced;
                self.begun.push((server, slot.key));
            }
        }
    }

    /// The server is gone.
    pub(crate) fn announce_no_more(&mut self, server: u32) {
        self.announced_to.retain(|&it| it != server);
    }

    /// Whether anybody is to hear of bytes that came.
    pub(crate) fn has_news(&self) -> bool {
        !self.begun.is_empty() || !self.stirred.is_empty()
    }

    /// A request of which first bytes came, with its server and its length.
    pub(crate) fn next_begun(&mut self) -> Option<(u32, RpcKey, usize)> {
        while let Some((server, rpc)) = self.begun.pop() {
            // It may be over by now.
            let slot = self.get_mut(rpc);
            if let Some(buffer) = slot.and_then(|slot| slot.inbound.as_ref()) {
                return Some((server, rpc, buffer.len()));
            }
        }
        None
    }

    /// One who waited for bytes that came.
    pub(crate) fn next_stirred(&mut self) -> Option<Waker> {
        self.stirred.pop()
    }

    /// Has `waker` called when more bytes of the message come in.
    pub(crate) fn watch(&mut self, key: RpcKey, waker: Option<&Waker>) {
        if let (Some(slot), Some(waker)) = (self.get_mut(key), waker) {
            slot.watcher = Some(waker.clone());
        }
    }

    /// An announced request is whole; `None`: it was not announced, `Some(false)`: it is not wanted.
    pub(crate) fn complete(&mut self, now: Instant, key: RpcKey) -> Option<(u32, bool)> {
        let slot = self.get_mut(key)?;
        let Party::Server(server) = slot.party else {
            return None;
        };
        if slot.telling == Telling::Whole {
            return None;
        }
        slot.live = true;
        slot.handed_over = now;
        let (wanted, watcher) = (slot.telling == Telling::Announced, slot.watcher.take());
        self.stirred.extend(watcher);
        Some((server, wanted))
    }

    /// Nobody wants an announced request any more.
    pub(crate) fn forget(&mut self, key: RpcKey) {
        if let Some(slot) = self.get_mut(key) {
            slot.telling = Telling::Unwanted;
        }
    }

    /// The message of an announced request that is whole.
    pub(crate) fn take_announced(&mut self, key: RpcKey) -> Option<Buffer> {
        let slot = self.get_mut(key)?;
        slot.live.then(|| slot.inbound.take())?
    }

    /// The bytes of a message that comes in, those included that did not come yet.
    pub(crate) fn incoming(&self, key: RpcKey) -> Option<(&[u8], bool)> {
        let slot = self.slots.get(key.index())?.as_ref()?;
        let known = slot.key == key;
        let is_whole = slot.live && matches!(slot.party, Party::Server(_));
        let bytes = slot.inbound.as_ref().map_or(&[][..], Buffer::bytes);
        known.then_some((bytes, is_whole))
    }

    /// Time since an RPC began.
    pub(crate) fn age(&self, key: RpcKey, now: Instant) -> Option<Duration> {
        let slot = self.slots.get(key.index())?.as_ref()?;
        (slot.key == key).then(|| now - slot.since)
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
            self.grow(key.index() + 1);
        }
        &mut self.slots[key.index()]
    }

    #[cold]
    fn grow(&mut self, length: usize) {
        self.slots.resize_with(length, || None);
    }
}
