//! The engine as C sees it, and the wall around it: a panic inside breaks this engine and nothing
//! else.
//!
//! *Design*: the kernel cannot unwind, so the shim's guard jumps back over the frames of the engine,
//! whose destructors do not run. That is sound because nobody looks at that engine again: it is
//! marked broken first, and its memory is leaked. The guard is the last line of defence, not a way to
//! handle errors; tests prove that nothing reachable panics.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::c_void;

use homa_proto::{Config, Engine, Seed};

/// What the shim calls `struct homa_core`.
pub struct Core {
    engine: Engine,
    /// A call is inside; after a panic it stays so.
    entered: bool,
}

unsafe extern "C" {
    /// Calls `run(argument)`; −5 if it panicked, else 0. Provided by the shim; preemption is off.
    fn homa_shim_guard(run: extern "C-unwind" fn(*mut c_void), argument: *mut c_void) -> i32;
}

/// Runs `work` and answers what it returned, or `None` if it panicked.
pub(crate) fn guarded<R>(work: impl FnOnce() -> R) -> Option<R> {
    struct Frame<F, R> {
        work: Option<F>,
        result: Option<R>,
    }
    extern "C-unwind" fn run<F: FnOnce() -> R, R>(argument: *mut c_void) {
        // SAFETY: `argument` is the frame below, which lives until the guard returns.
        let frame = unsafe { &mut *argument.cast::<Frame<F, R>>() };
        frame.result = frame.work.take().map(|work| work());
    }
    fn runner<F: FnOnce() -> R, R>(_: &Frame<F, R>) -> extern "C-unwind" fn(*mut c_void) {
        run::<F, R>
    }
    let mut frame = Frame {
        work: Some(work),
        result: None,
    };
    let run = runner(&frame);
    // SAFETY: `run` gets the frame that it expects, and the guard calls it once or not at all.
    let code = unsafe { homa_shim_guard(run, (&raw mut frame).cast()) };
    if code == 0 { frame.result } else { None }
}

impl Core {
    /// A core on the heap, or `None` without memory.
    pub(crate) fn create(config: Config, seed: Seed) -> Option<Box<[Self]>> {
        let mut place = Vec::new();
        place.try_reserve_exact(1).ok()?;
        place.push(Self {
            engine: Engine::new(config, seed).ok()?,
            entered: false,
        });
        Some(place.into_boxed_slice())
    }

    /// Runs `work` on the engine; `None` if it is broken, or broke just now.
    pub(crate) fn with<R>(&mut self, work: impl FnOnce(&mut Engine) -> R) -> Option<R> {
        if self.entered {
            return None;
        }
        self.entered = true;
        let engine = &mut self.engine;
        let result = guarded(|| work(engine))?;
        self.entered = false;
        Some(result)
    }

    /// Whether it panicked once.
    pub(crate) fn is_broken(&self) -> bool {
        self.entered
    }
}
