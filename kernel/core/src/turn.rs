//! What the engine wants of its host after it was told something: events for the application, packets
//! to send, and when to be called again, all in the same call. It decides nothing.

use homa_proto::{Burst, Engine, Instant, Urgency};

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

/// `struct homa_core_ask`: when a call is made, and where it answers what is to be done.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CAsk {
    /// Now, by the kernel's monotonic clock.
    pub now: u64,
    /// Bytes of received messages whose buffers are given back.
    pub given_back: u64,
    /// Gets the packets.
    pub burst: *mut Burst,
    /// Gets the rest.
    pub turn: *mut CTurn,
}

const _: () = assert!(size_of::<CAsk>() == 32);

impl CAsk {
    /// Does `work`, and then answers what is to be done; of a broken core that is nothing. `None`: it is
    /// broken.
    ///
    /// # Safety
    /// Burst and turn are valid and nobody else's.
    pub(crate) unsafe fn after<R>(
        self,
        core: &mut Core,
        work: impl FnOnce(&mut Engine, Instant) -> R,
    ) -> Option<R> {
        // SAFETY: the caller's promise.
        let (burst, turn) = unsafe { (&mut *self.burst, &mut *self.turn) };
        (turn.events, turn.packets, turn.more) = (0, 0, 0);
        turn.deadline = u64::MAX;
        let now = instant(self.now);
        core.with(|engine| {
            let result = work(engine, now);
            take_turn(engine, now, self.given_back, burst, turn);
            result
        })
    }
}

/// One turn of the core without anything else.
///
/// # Safety
/// As [`homa_core_open`](crate::homa_core_open); `ask` is valid, and its burst and turn are valid and
/// nobody else's. So for all that take it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn homa_core_turn(core: *mut Core, ask: *const CAsk) {
    // SAFETY: the caller's promise.
    unsafe { (*ask).after(&mut *core, |_, _| ()) };
}

/// Once in the module, whatever it follows.
#[inline(never)]
fn take_turn(
    engine: &mut Engine,
    now: Instant,
    given_back: u64,
    burst: &mut Burst,
    turn: &mut CTurn,
) {
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
