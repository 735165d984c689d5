//! Which processor a measuring thread runs on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Two processors that this process may use, for a client and its server: the first ones. `None` if
/// there is only one, or the system does not tell.
pub(crate) fn pair() -> Option<[usize; 2]> {
    let allowed = sched_getaffinity(None).ok()?;
    let mut numbers = (0..CpuSet::MAX_CPU).filter(|number| allowed.is_set(*number));
    Some([numbers.next()?, numbers.next()?])
}

/// Keeps the calling thread, and threads it starts from now on, on one processor.
///
/// # Errors
/// The processor is not there or not allowed.
pub(crate) fn pin(number: usize) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    set.set(number);
    Ok(sched_setaffinity(None, &set)?)
}
