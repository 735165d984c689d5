//! The loops that drive the engine without a runtime: a thread that waits for a message, and the
//! background thread.
//!
//! It decides how long to spin and how long to sleep. Who may drive is decided in `seat`.

use core::task::Waker;
use core::time::Duration;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use homa_net::wait::{Wakeup, Watch};
use homa_proto::Instant;

use crate::seat::{NEVER, Offer};
use crate::shared::{Broken, Guard, Shared};
use crate::state::State;
use crate::sync::{thread, wait};
use crate::timer::Timer;
use crate::waiting::{Ticket, with_thread_waker};

/// How soon the background thread looks again whether the seat is free: well below the 5 ms after
/// which a peer asks why nothing comes.
const TICK_MIN: Duration = Duration::from_millis(2);
/// How rarely it looks while threads come and go: each look takes a core from a spinning thread for
/// some 50 µs.
const TICK_MAX: Duration = Duration::from_millis(16);
/// How soon it looks again after it found something that a thread said and did not send.
const TICK_HELD: Duration = Duration::from_millis(4);
/// How often a spinning thread looks at the sockets in one turn: what else a turn does takes as long as
/// a look, and what comes meanwhile waits.
const LOOKS: u32 = 4;
/// Looks without a change of the seat after which the background thread stops looking.
const IDLE_LOOKS: u32 = 8;

impl Shared {
    /// Blocks until `ready` has a value, driving the engine if nobody else does; `None` at the
    /// deadline.
    ///
    /// `ready` gets a waker when the thread is about to sleep, and must see to it that the waker
    /// is called when there may be a value.
    ///
    /// # Errors
    ///
    /// The host is broken.
    pub(crate) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        ready: impl FnMut(&mut State, Option<&Waker>) -> Option<T>,
    ) -> Result<Option<T>, Broken> {
        self.wait_from(self.lock()?, deadline, ready)
    }

    /// [`wait`](Self::wait), with the lock in hand.
    pub(crate) fn wait_from<'a, T>(
        &'a self,
        first: Guard<'a>,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut State, Option<&Waker>) -> Option<T>,
    ) -> Result<Option<T>, Broken> {
        let mut place = Place::default();
        let mut first = Some(first);
        loop {
            let mut state = match first.take() {
                Some(state) => state,
                None => self.lock()?,
            };
            let value = ready(&mut state, None);
            let now = self.parts.clock.now();
            if value.is_some() || deadline.is_some_and(|deadline| deadline <= now) {
                self.leave(state, place);
                return Ok(value);
            }
            if !place.seated {
                place.seated = state.seat.take();
                place.look(&mut state, now);
            }
            if !place.seated {
                let value = with_thread_waker(|waker| {
                    let value = ready(&mut state, Some(waker));
                    if value.is_none() {
                        state.seat.queue(&mut place.ticket, waker);
                    }
                    value
                });
                if value.is_some() {
                    self.leave(state, place);
                    return Ok(value);
                }
                // Who has the seat may sleep past what this thread has begun.
                state.alert(None);
                drop(state);
                self.park(deadline);
            } else if state.turn(now, if now < place.spin_until { LOOKS } else { 1 }) {
                state.spin.end(place.begun, now);
                // A value is looked for while the lock is in hand, once.
                if let Some(value) = ready(&mut state, None) {
                    self.leave(state, place);
                    return Ok(Some(value));
                }
                place.look(&mut state, now);
            } else if now < place.spin_until {
                drop(state);
                self.let_others_in();
            } else if let Some(value) = with_thread_waker(|waker| ready(&mut state, Some(waker))) {
                self.leave(state, place);
                return Ok(Some(value));
            } else {
                self.sleep_in_seat(state, deadline)?;
            }
        }
    }

    fn leave(&self, mut state: Guard<'_>, mut place: Place) {
        match state.seat.leave(&mut place.ticket, place.seated) {
            Some(next) => state.woken.push(Some(next)),
            None if place.seated => state.alert(None),
            None => {}
        }
    }

    fn park(&self, deadline: Option<Instant>) {
        match deadline {
            None => thread::park(),
            Some(deadline) => thread::park_timeout(self.parts.clock.until(deadline)),
        }
    }

    /// Sleeps until a packet comes, the engine or the waiting thread wants to go on, or somebody
    /// rings.
    fn sleep_in_seat(&self, mut state: Guard<'_>, deadline: Option<Instant>) -> Result<(), Broken> {
        let until = state.sleep_until().min(deadline.unwrap_or(NEVER));
        state.seat.set_waiter_sleep(Some(until));
        drop(state);
        let parts = &self.parts;
        self.sleep(&parts.alarm.waiter, &parts.waiter_timer, until);
        self.lock()?.seat.set_waiter_sleep(None);
        Ok(())
    }

    fn sleep(&self, wakeup: &Wakeup, timer: &Timer, until: Instant) {
        // Without its timer a sleep has a timeout; one that is over at once needs neither.
        let timed = until != Instant::ZERO && timer.set(until).is_ok();
        let timeout = (!timed && until != NEVER).then(|| self.parts.clock.until(until));
        let mut watches = [
            Watch::readable(self.readiness.as_fd()),
            Watch::readable(wakeup.fd()),
            Watch::readable(timer.as_fd()),
        ];
        // Without memory for the wait the loop looks again at once, which is what remains.
        let _ = wait(&mut watches, timeout);
        if watches[1].ready.readable {
            wakeup.drain();
        }
    }
}

/// What a waiting thread has.
#[derive(Default)]
struct Place {
    seated: bool,
    ticket: Ticket,
    /// When it began to wait for the next packet.
    begun: Instant,
    spin_until: Instant,
}

impl Place {
    /// Begins to wait for a packet.
    fn look(&mut self, state: &mut State, now: Instant) {
        self.begun = now;
        self.spin_until = state.spin.begin(now);
    }
}

/// Starts the background thread of a host, unless it runs.
pub(crate) fn ensure_background(shared: &Arc<Shared>) -> io::Result<()> {
    let Ok(mut state) = shared.lock() else {
        return Ok(());
    };
    if state.background || state.seat.has_task() {
        return Ok(());
    }
    let own = Arc::clone(shared);
    thread::Builder::new()
        .name("homa".to_owned())
        .spawn(move || {
            // A panic has been reported by its thread; this one only ends.
            let _ = drive_in_background(&own);
        })?;
    state.background = true;
    Ok(())
}

fn drive_in_background(shared: &Shared) -> Result<(), Broken> {
    let mut seen = 0;
    let mut tick = TICK_MIN;
    let mut idle_looks = 0;
    loop {
        let mut state = shared.lock()?;
        if state.closed {
            return Ok(());
        }
        let offer = state.seat.offer_to_background(&mut seen);
        if offer == Offer::Yours {
            tick = TICK_MIN;
            if state.turn(shared.parts.clock.now(), 1) {
                drop(state);
                shared.let_others_in();
                continue;
            }
            let until = state.sleep_until();
            state.seat.set_background_sleep(until);
            drop(state);
            let parts = &shared.parts;
            shared.sleep(&parts.alarm.background, &parts.background_timer, until);
            continue;
        }
        if state.is_waiting() {
            let now = shared.parts.clock.now();
            state.settle_and_alert(now);
            tick = TICK_HELD;
        }
        idle_looks = if offer == Offer::InUse {
            0
        } else {
            idle_looks + 1
        };
        if offer == Offer::NotNeeded || idle_looks > IDLE_LOOKS {
            (tick, idle_looks) = (TICK_MIN, 0);
            state.seat.park(thread::current());
            drop(state);
            thread::park();
        } else {
            drop(state);
            thread::park_timeout(tick);
            tick = TICK_MAX.min(2 * tick);
        }
    }
}
