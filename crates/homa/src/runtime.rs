//! The task that drives the engine on a tokio runtime, woken by readiness.
//!
//! It decides nothing about the protocol. It ends with the host, and with its runtime: then the
//! background thread takes over, for handles that live on.

use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use homa_proto::Instant;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

use crate::driver::ensure_background;
use crate::error::BindError;
use crate::host::Host;
use crate::seat::NEVER;
use crate::shared::Shared;

/// Turns in one go, so that other tasks of the runtime get theirs.
const TURNS_MAX: usize = 32;
/// How long to let other tasks run, again and again, instead of sleeping until the pacer is ready.
const NAP_MAX: Duration = Duration::from_millis(1);

/// Has the runtime that this thread runs in drive the host, unless another does.
///
/// # Errors
///
/// There is no runtime, or the system refuses a descriptor.
pub(crate) fn attach(host: &Host) -> Result<(), BindError> {
    let runtime = Handle::try_current().map_err(|_| BindError::NoRuntime)?;
    let shared = host.shared();
    if !shared.lock()?.seat.attach_task() {
        return Ok(());
    }
    let task = Task {
        shared: Arc::clone(shared),
    };
    let readiness = shared.readiness.try_clone();
    let sockets = readiness.and_then(watch);
    let sockets = sockets.map_err(|error| BindError::system("watch a socket", &error))?;
    runtime.spawn(task.drive(sockets));
    Ok(())
}

#[expect(
    deprecated,
    reason = "its successor is `unsafe` for descriptors that may be closed early; an `OwnedFd` is not"
)]
fn watch(readiness: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(readiness, Interest::READABLE)
}

/// The task; when it goes, somebody else must drive.
struct Task {
    shared: Arc<Shared>,
}

/// How long the task looks at the sockets again and again, letting other tasks run in between,
/// before it sleeps.
#[derive(Default)]
struct Look {
    /// When it began to wait for the next packet.
    begun: Instant,
    until: Instant,
}

/// What the task does next.
enum Step {
    /// Take more turns, after the others.
    Again,
    /// Wait until this moment, a packet or a ring.
    Sleep(Instant),
    /// The pacer lets the next packet go at this moment: too soon for the runtime's timer, which
    /// counts in milliseconds.
    Nap(Instant),
    /// The host is gone.
    End,
}

impl Task {
    async fn drive(self, sockets: AsyncFd<OwnedFd>) {
        let mut look = Look::default();
        loop {
            match self.take_turns(&mut look) {
                Step::Again => tokio::task::yield_now().await,
                Step::Sleep(until) => self.sleep(&sockets, until).await,
                Step::Nap(until) if self.shared.parts.clock.until(until) < NAP_MAX => {
                    tokio::task::yield_now().await;
                }
                Step::Nap(until) => self.sleep(&sockets, until).await,
                Step::End => return,
            }
        }
    }

    fn take_turns(&self, look: &mut Look) -> Step {
        for _ in 0..TURNS_MAX {
            let Ok(mut state) = self.shared.lock() else {
                return Step::End;
            };
            if state.closed {
                return Step::End;
            }
            state.seat.set_task_sleep(None);
            let now = self.shared.parts.clock.now();
            if state.turn(now, 1) {
                state.spin.end(look.begun, now);
                look.begun = now;
                look.until = state.spin.begin(now);
            } else if now < look.until {
                return Step::Again;
            } else {
                let until = state.sleep_until();
                state.seat.set_task_sleep(Some(until));
                return if state.waits_for_pacer() {
                    Step::Nap(until)
                } else {
                    Step::Sleep(until)
                };
            }
        }
        Step::Again
    }

    async fn sleep(&self, sockets: &AsyncFd<OwnedFd>, until: Instant) {
        let time = self.shared.parts.clock.until(until);
        let timer = (until != NEVER).then(|| tokio::time::sleep(time));
        let mut timer = pin!(timer);
        poll_fn(|context| {
            if self.shared.parts.alarm.task.listen(context.waker()) {
                return Poll::Ready(());
            }
            if let Poll::Ready(readiness) = sockets.poll_read_ready(context) {
                // Cleared before the turns that empty the sockets: what comes later shows again.
                if let Ok(mut guard) = readiness {
                    guard.clear_ready();
                }
                return Poll::Ready(());
            }
            match timer.as_mut().as_pin_mut() {
                Some(timer) => timer.poll(context),
                None => Poll::Pending,
            }
        })
        .await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Ok(mut state) = self.shared.lock() else {
            return;
        };
        state.seat.detach_task();
        let closed = state.closed;
        drop(state);
        if !closed
            && ensure_background(&self.shared).is_err()
            && let Ok(mut state) = self.shared.lock()
        {
            state.counters.background_failures += 1;
        }
    }
}
