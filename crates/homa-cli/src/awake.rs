//! Keeps processors from falling asleep.
//!
//! A virtual processor that has nothing to do is taken away, and coming back takes as long as
//! several round trips, more or less by chance. A thread of the idle class lets every other thread
//! pass at once, and so keeps the processor without taking anything from what is measured.
//!
//! Not where there is one processor: one end of what is measured always has something to do there, and
//! a kernel without preemption leaves the processor to such a thread until its next tick.

use core::hint;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

use crate::cpu;

/// Processors that stay awake until this is dropped.
pub(crate) struct Awake {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Awake {
    /// Starts a thread on each processor. Where the idle class is not to be had, there is none; nor
    /// where there is one processor.
    pub(crate) fn keep(cpus: &[usize]) -> Self {
        let alone = thread::available_parallelism().is_ok_and(|count| count.get() == 1);
        let cpus = if alone { &[] } else { cpus };
        let done = Arc::new(AtomicBool::new(false));
        let threads = cpus.iter().map(|number| {
            let (done, number) = (Arc::clone(&done), *number);
            thread::spawn(move || {
                if cpu::pin(&[number]).is_ok() && become_idle() {
                    while !done.load(Ordering::Relaxed) {
                        hint::spin_loop();
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { done, threads }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("spinning does not panic");
        }
    }
}

fn become_idle() -> bool {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle).is_ok()
}
