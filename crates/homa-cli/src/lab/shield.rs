//! Keeps the other programs of the machine off the switch's processor while the lab runs.
//!
//! *Design*: a switch that shares its processor is late, whatever its priority: the kernel has a thread
//! that runs before all others leave them something, and looks upon a processor that naps as one to
//! wake others on. A set of processors (cpuset) that is one's own does the same as this, but outlives
//! whoever made it. So all threads of the machine are told to run elsewhere, by a process of its own:
//! it gives back what it took when its parent is gone, however that ended. Keys of a terminal do not
//! reach it.

use std::collections::BTreeMap;
use std::fs;

use clap::Args;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use super::placement::Placement;
use crate::child::{self, ChildProcess};
use crate::cpu;
use crate::failure::Failure;

/// Which processors the kernel's own unbound work may have, as bits.
const WORK_SETTING: &str = "/sys/devices/virtual/workqueue/cpumask";

/// The parent of the kernel's threads, where this process may see them.
const KERNEL_PARENT: i32 = 2;

/// Threads may start while others are moved: so often all are looked at, at most.
const PASSES_MAX: usize = 8;

/// What became of the others.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Shielded {
    /// Threads that run elsewhere until the end.
    pub(super) moved_count: usize,
    /// Threads of programs that may still run on that processor: there is no right to move them, or
    /// they may run nowhere else.
    pub(super) left_count: usize,
    /// Whether all threads of the machine are to be seen from here, the kernel's included.
    pub(super) sees_all: bool,
}

impl Shielded {
    /// Whether nobody is left who might run there but the kernel itself.
    pub(super) const fn is_alone(self) -> bool {
        self.left_count == 0 && self.sees_all
    }
}

/// Others are kept away until this is dropped.
#[derive(Debug)]
pub(super) struct Shield {
    keeper: Option<ChildProcess<Shielded>>,
}

impl Shield {
    /// Nobody is kept away.
    pub(super) const fn none() -> Self {
        Self { keeper: None }
    }

    /// Keeps others off the switch's processor if it has one; they have the hosts' instead. With
    /// `is_shared` nothing is done.
    ///
    /// # Errors
    /// The process cannot be started.
    pub(super) fn raise(placement: &Placement, is_shared: bool) -> Result<Self, Failure> {
        if is_shared || !placement.is_apart() {
            return Ok(Self::none());
        }
        let job = serde_json::to_string(placement).map_err(Failure::work("JSON"))?;
        let keeper = ChildProcess::start_apart(&["internal-lab-shield", &job])?;
        Ok(Self {
            keeper: Some(keeper),
        })
    }

    /// What became of the others; `None` if nothing was done.
    pub(super) fn shielded(&self) -> Option<Shielded> {
        self.keeper.as_ref().map(|it| it.told)
    }

    /// Whether nobody is left on the switch's processor.
    pub(super) fn is_alone(&self) -> bool {
        self.shielded().is_some_and(Shielded::is_alone)
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.let_end();
        }
    }
}

/// The process that keeps others away.
#[derive(Args, Debug)]
pub(crate) struct LabShield {
    /// What to do, as JSON.
    job: String,
}

/// The process: moves the others, tells how many, and moves them back when the parent is gone.
///
/// # Errors
/// The parent does not listen.
pub(crate) fn run(arguments: &LabShield) -> Result<(), Failure> {
    let placement: Placement =
        serde_json::from_str(&arguments.job).map_err(Failure::work("bad job"))?;
    let mut moves = Moves::default();
    let shielded = moves.clear(&placement.switch);
    let work = Work::restrict(&placement.hosts);
    let ended = child::live_with_parent(&shielded);
    if let Some(work) = work {
        work.restore();
    }
    moves.undo();
    ended
}

/// What the kernel's unbound work had before.
struct Work {
    before: String,
}

impl Work {
    fn restrict(others: &[usize]) -> Option<Self> {
        let before = fs::read_to_string(WORK_SETTING).ok()?;
        fs::write(WORK_SETTING, cpu::mask(others)).ok()?;
        Some(Self { before })
    }

    fn restore(&self) {
        // Who could write it may write it again.
        let _ = fs::write(WORK_SETTING, self.before.trim());
    }
}

/// Where a thread might run before it was moved, and where it may since.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Moved {
    from: CpuSet,
    to: CpuSet,
}

/// The threads that were seen, by their numbers; nothing for those that stay where they are.
#[derive(Default)]
struct Moves {
    seen: BTreeMap<i32, Option<Moved>>,
}

impl Moves {
    /// Moves all threads off these processors.
    fn clear(&mut self, processors: &[usize]) -> Shielded {
        let mut left_count = 0;
        for _ in 0..PASSES_MAX {
            let new = threads().into_iter();
            let new: Vec<_> = new
                .filter(|it| !self.seen.contains_key(&it.number))
                .collect();
            if new.is_empty() {
                break;
            }
            for thread in new {
                let moved = move_off(thread.number, processors);
                left_count += usize::from(moved.is_err() && !thread.is_kernel());
                self.seen.insert(thread.number, moved.unwrap_or(None));
            }
        }
        Shielded {
            moved_count: self.seen.values().flatten().count(),
            left_count,
            sees_all: self.seen.contains_key(&KERNEL_PARENT) && is_first_namespace(),
        }
    }

    /// Moves back those that are still where they were moved, and those that they started since.
    fn undo(&self) {
        let parents: BTreeMap<i32, i32> = threads()
            .into_iter()
            .map(|it| (it.number, it.parent()))
            .collect();
        for number in parents.keys() {
            let Some(Moved { from, to }) = self.inherited(*number, &parents) else {
                continue;
            };
            let pid = Pid::from_raw(*number);
            if sched_getaffinity(pid).is_ok_and(|now| now == to) {
                // It has ended, or whoever may not be moved back could not be moved.
                let _ = sched_setaffinity(pid, &from);
            }
        }
    }

    /// What was done to a thread, or to the nearest of those that started it.
    fn inherited(&self, mut number: i32, parents: &BTreeMap<i32, i32>) -> Option<Moved> {
        for _ in 0..=parents.len() {
            if let Some(moved) = self.seen.get(&number) {
                return *moved;
            }
            number = *parents.get(&number)?;
        }
        None
    }
}

/// A thread that cannot be moved.
struct Left;

/// Moves a thread off these processors; `None` if it does not run there, or has ended.
fn move_off(number: i32, processors: &[usize]) -> Result<Option<Moved>, Left> {
    let pid = Pid::from_raw(number);
    let Ok(from) = sched_getaffinity(pid) else {
        return Ok(None);
    };
    let mut to = from;
    processors.iter().for_each(|number| to.unset(*number));
    if to == from {
        return Ok(None);
    }
    // The kernel refuses an empty set.
    match sched_setaffinity(pid, &to) {
        Ok(()) => Ok(Some(Moved { from, to })),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(_) => Err(Left),
    }
}

/// A thread of the machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Thread {
    number: i32,
    process: i32,
    parent_process: i32,
}

impl Thread {
    /// Who started it, as far as that is to be seen: the first thread of its process, or the process
    /// that started that.
    const fn parent(self) -> i32 {
        if self.number == self.process {
            self.parent_process
        } else {
            self.process
        }
    }

    const fn is_kernel(self) -> bool {
        self.process == KERNEL_PARENT || self.parent_process == KERNEL_PARENT
    }
}

/// All threads that are to be seen.
fn threads() -> Vec<Thread> {
    let mut all = Vec::new();
    for process in numbers("/proc") {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let parent_process = parent_in(&stat).unwrap_or(0);
        let of_process = numbers(&format!("/proc/{process}/task"));
        all.extend(of_process.into_iter().map(|number| Thread {
            number,
            process,
            parent_process,
        }));
    }
    all
}

/// The entries of a directory that are numbers; those of a process that has ended are none.
fn numbers(directory: &str) -> Vec<i32> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// The fourth field of a process's status; the second is a name in parentheses, of any characters.
fn parent_in(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// Whether process 2 is the parent of the kernel's threads, and not any process of a container.
fn is_first_namespace() -> bool {
    let name = fs::read_to_string(format!("/proc/{KERNEL_PARENT}/comm"));
    name.is_ok_and(|name| name.trim() == "kthreadd")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        numbers.iter().for_each(|number| set.set(*number));
        set
    }

    #[test]
    fn what_a_thread_started_goes_where_it_goes() {
        let moved = Moved {
            from: set(&[0, 1]),
            to: set(&[1]),
        };
        let moves = Moves {
            seen: BTreeMap::from([(1, None), (10, Some(moved)), (20, None)]),
        };
        // 30 is of 10, 40 of 30; 21 is of 20; 50 of one that ended.
        let parents = [
            (1, 0),
            (10, 1),
            (20, 1),
            (30, 10),
            (40, 30),
            (21, 20),
            (50, 49),
        ];
        let parents = BTreeMap::from(parents);
        let found = [10, 30, 40, 20, 21, 50].map(|it| moves.inherited(it, &parents));
        let (yes, no) = (Some(moved), None);
        assert_eq!(found, [yes, yes, yes, no, no, no]);
    }

    #[test]
    fn threads_are_found_with_those_who_started_them() {
        assert_eq!(parent_in("7 (a ) b) S 42 7 7 0"), Some(42));
        assert_eq!(parent_in("7 (a"), None);
        let me = Thread {
            number: std::process::id() as i32,
            process: std::process::id() as i32,
            parent_process: std::os::unix::process::parent_id() as i32,
        };
        let all = threads();
        assert!(all.contains(&me) && !me.is_kernel());
        let others = all.iter().filter(|it| it.process == me.process);
        let mut others = others.filter(|it| it.number != me.number);
        assert!(others.all(|it| it.parent() == me.number));
    }
}
