//! Which processors a measuring thread runs on, and before whom.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// The processors that this process may use; none if the system does not tell.
pub(crate) fn allowed() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..CpuSet::MAX_CPU)
        .filter(|number| allowed.is_set(*number))
        .collect()
}

/// Keeps the calling thread, and threads it starts from now on, on these processors; none stand for
/// all.
///
/// # Errors
/// A processor is not there or not allowed.
pub(crate) fn pin(numbers: &[usize]) -> std::io::Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for number in numbers {
        set.set(*number);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// How long the calling thread has had a processor, in nanoseconds: what others take of it is not in it.
pub(crate) fn ran_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Has the calling thread, and threads it starts from now on, run before all others of their
/// processors and until they sleep, first come first served among themselves; `false` where that is
/// not allowed.
pub(crate) fn go_first() -> bool {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy).is_ok()
}
