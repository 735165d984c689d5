//! Which processors a measuring thread runs on, and before whom.

use rustix::process::setpriority_process;
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

/// Processors as the kernel reads them: a bit each, in groups of 32, the highest first.
pub(crate) fn mask(cpus: &[usize]) -> String {
    let last = cpus.iter().max().map_or(0, |number| number / 32);
    let groups = (0..=last).rev().map(|group| {
        let here = cpus.iter().filter(|number| *number / 32 == group);
        let bits = here.fold(0_u32, |bits, number| bits | 1 << (number % 32));
        format!("{bits:x}")
    });
    groups.collect::<Vec<_>>().join(",")
}

/// Has the calling thread have as much of its processor as a thread may that does not run before all
/// others; where that is not allowed, it has as much as any.
pub(crate) fn go_often() {
    const HIGHEST: i32 = -20;
    // To Linux a process that is not named is the calling thread.
    let _ = setpriority_process(None, HIGHEST);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_told_as_bits() {
        assert_eq!((mask(&[1]).as_str(), mask(&[0, 2]).as_str()), ("2", "5"));
        assert_eq!(mask(&[3, 33]), "2,8");
        assert_eq!(mask(&[]), "0");
    }
}
