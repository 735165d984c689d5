//! What the engine wants of its host after it was told something: events for the application, packets
//! to send, and when to be called again, all in one call. It decides nothing.

use homa_proto::{Burst, Engine, Urgency};

use crate::abi::{CEvent, CPacket, CPath, instant};
use crate::contain::Core;

/// Events that one turn tells of, at most; `HOMA_TURN_EVENTS` in the shim.
pub const TURN_EVENTS: usize = 32;

/// `struct homa_core_turn`: what is to be done.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CTurn {
    /// When to call [`homa_core_timeout`](crate::homa_core_timeout); `u64::MAX`: never. 0 where another
    /// turn is due at once.
    pub deadline: u64,
    /// The way of the packets, if there are any.
    pub path: CPath,
    /// Packets in the burst.
    pub packets: u32,
    /// Events that are told of.
    pub events: u32,
    /// Level of the packets.
    pub priority: u32,
    /// 1: there may be more, for another turn.
    pub more: u32,
    /// Packets that the shim makes of the only one; 1: none is cut.
    pub segments: u32,
    /// Homa header and payload of each of these but the last.
    pub segment_bytes: u32,
    /// The first of the packets.
    pub packet: CPacket,
    /// The events, `events` of them.
    pub event: [CEvent; TURN_EVENTS],
}

const _: () = assert!(size_of::<CTurn>() == 104 + TURN_EVENTS * size_of::<CEvent>());

/// One turn: takes back the buffers of received messages of `given_back` bytes, and writes to `turn`
/// what is to be done, the packets to `burst`. Of a broken core that is nothing.
///
/// # Safety
/// As [`homa_core_open`](crate::homa_core_open); `burst` and `turn` are valid and nobody else's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_turn(
    core: *mut Core,
    now: u64,
    given_back: u64,
    burst: *mut Burst,
    turn: *mut CTurn,
) {
    // SAFETY: the caller's promise.
    let (core, burst, turn) = unsafe { (&mut *core, &mut *burst, &mut *turn) };
    let now = instant(now);
    (turn.events, turn.packets, turn.more) = (0, 0, 0);
    turn.deadline = u64::MAX;
    core.with(|engine| {
        if given_back > 0 {
            engine.give_back(now, given_back);
        }
        take_events(engine, turn);
        if engine.poll_transmit(now, burst)
            && let Some(first) = burst.packet(0)
        {
            turn.packet = CPacket::from(first);
            turn.path = CPath::of(burst.path());
            turn.priority = u32::from(burst.priority().get());
            turn.packets = burst.len() as u32;
            turn.segments = burst.segments() as u32;
            turn.segment_bytes = burst.segment_bytes() as u32;
        }
        finish(engine, turn);
    });
}

fn take_events(engine: &mut Engine, turn: &mut CTurn) {
    for place in &mut turn.event {
        let Some(event) = engine.poll_event() else {
            return;
        };
        *place = CEvent::from(event);
        turn.events += 1;
    }
}

/// Whether there is more, else when there will be.
fn finish(engine: &Engine, turn: &mut CTurn) {
    let is_full = turn.events as usize == TURN_EVENTS;
    let sends_on = turn.packets > 0 && engine.urgency() != Urgency::Nothing;
    if is_full || sends_on {
        turn.more = 1;
        turn.deadline = 0;
    } else if let Some((at, _)) = engine.poll_timeout() {
        turn.deadline = at.as_nanos();
    }
}
