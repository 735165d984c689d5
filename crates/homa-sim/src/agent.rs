//! The border between the world and what is run in it: what an agent hears of packets and events,
//! and what it decides about them.

use homa_proto::{Event, Place, RpcKey, Usage};

use crate::fault::Loss;
use crate::host::Context;
use crate::packet::Packet;

/// Why a packet did not reach its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// The fault model lost it.
    Fault(Loss),
    /// A switch had no room.
    Buffer,
    /// Its sender's queue was full.
    Queue,
    /// Its checksum did not fit.
    Damaged,
    /// The host it goes to is down, or there is none.
    NoHost,
    /// No socket of the host has its port.
    NoSocket,
}

/// A packet as an engine gives it out, with its place in its burst.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    /// The engine.
    pub engine: usize,
    /// The RPC whose bytes it carries.
    pub rpc: Option<RpcKey>,
    /// Its place in the burst, from 0.
    pub index: usize,
    /// Packets in the burst.
    pub count: usize,
    /// Bytes of the whole burst.
    pub burst_bytes: usize,
}

/// What runs on the hosts and looks at what happens. Everything but `store` and `event` may be
/// left out.
pub trait Agent {
    /// Whether it looks at the engines' tables, in [`arrived`](Self::arrived) and
    /// [`drained`](Self::drained): to have them ready at each packet takes its time.
    const WATCHES: bool = true;

    /// Payload has a place. `true`: it is stored; `false`: the host refuses.
    fn store(&mut self, cx: &mut Seen, place: &Place, packet: &Packet) -> bool;

    /// An engine tells its application something.
    fn event(&mut self, cx: &mut Context<'_>, event: Event);

    /// A moment came that was asked for.
    fn timer(&mut self, _cx: &mut Context<'_>, _token: u32) {}

    /// An engine gives a packet out. `false`: it never gets to the card.
    fn leaving(&mut self, _now: u64, _leaving: &Leaving, _packet: &mut Packet) -> bool {
        true
    }

    /// A packet is about to be handed to an engine. `false`: it is lost here.
    fn arriving(&mut self, _now: u64, _packet: &mut Packet) -> bool {
        true
    }

    /// A packet was handled, and stored or not.
    fn arrived(&mut self, _cx: &mut Seen, _packet: &Packet) {}

    /// A packet was lost.
    fn dropped(&mut self, _now: u64, _packet: &Packet, _why: Drop) {}

    /// A packet went into the network, and is `late` nanoseconds later than it could be.
    fn launched(&mut self, _now: u64, _packet: &Packet, _late: u64) {}

    /// A host sent all that it could and heard all events; told to agents that watch.
    fn drained(&mut self, _cx: &mut Seen) {}

    /// Which of its host's engines gets a packet; `engine` is the one that it belongs to.
    fn steer(&mut self, _packet: &Packet, engine: usize, _engines: usize) -> usize {
        engine
    }

    /// Whether the engines of a host are told of each other.
    fn tells_engines(&self) -> bool {
        true
    }

    /// When a host acts on the deadline `at`: hosts that are late say so here.
    fn deadline(&mut self, _host: u32, at: u64) -> u64 {
        at
    }

    /// Whether damaged packets are noticed and dropped.
    fn checks_sums(&self) -> bool {
        true
    }

    /// A host makes no progress although it is busy.
    fn stuck(&mut self, now: u64, host: u32);

    /// Whether the world shall stop.
    fn is_over(&self) -> bool {
        false
    }
}

/// What an agent may look at when a packet came or a host was drained.
pub struct Seen {
    /// Nanoseconds since the start.
    pub now: u64,
    /// The host.
    pub host: u32,
    /// Which of its engines.
    pub engine: usize,
    /// That engine's tables, for agents that watch. Not to be had while a placement is open.
    pub usage: Option<Usage>,
}
