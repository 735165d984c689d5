//! Who used the processors during a measurement: our two processes, or somebody else.
//!
//! # Design
//! Every process has a clock of the CPU time that it used, exact to the nanosecond and readable by
//! others. What two processors did in a window and what our clocks do not show was done by others,
//! or by the hypervisor. Summing up the other processes instead would miss those that come and go,
//! such as compilers.

use core::time::Duration;
use std::fs;
use std::io;
use std::time::Instant;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::placement::Placement;

/// `USER_HZ`, in which /proc/stat counts: 100 on every architecture that Linux runs on today.
const TICK: Duration = Duration::from_millis(10);

/// Whose time is ours, and on which processors.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Clocks {
    pub(super) placement: Placement,
    /// The server process.
    pub(super) server: i32,
    /// The process that conducts the benchmark, whose idle-priority threads keep the processors
    /// awake.
    pub(super) conductor: i32,
    /// The kernel's threads that do what interrupts put off, on these processors.
    pub(super) softirq_threads: Vec<i32>,
    /// Whether the kernel charges interrupts to nobody (CONFIG_IRQ_TIME_ACCOUNTING) instead of to
    /// the process that they hit.
    pub(super) separate_interrupts: bool,
}

/// All clocks at one time.
pub(super) struct Reading {
    pub(super) at: Instant,
    client: Duration,
    server: Duration,
    conductor: Duration,
    softirq_threads: Duration,
    cpus: Vec<CpuTimes>,
}

/// A line of /proc/stat.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct CpuTimes {
    pub(super) idle: Duration,
    interrupts: Duration,
    pub(super) stolen: Duration,
}

/// What was used between two readings.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Usage {
    /// CPU seconds of the client, interrupts on its processor included.
    pub(super) client_s: f64,
    /// The same of the server.
    pub(super) server_s: f64,
    /// CPU time of others or of the hypervisor, as a fraction of the processors' time.
    pub(super) foreign: f64,
}

impl Clocks {
    /// Clocks for a benchmark conducted by this process.
    pub(super) fn of_conductor(placement: Placement) -> Self {
        Self {
            server: 0,
            conductor: std::process::id() as i32,
            softirq_threads: softirq_threads(&placement.cpus()),
            placement,
            separate_interrupts: interrupts_are_separate(),
        }
    }

    /// Reads all of them; called by the client.
    ///
    /// # Errors
    /// A process is gone.
    pub(super) fn read(&self) -> io::Result<Reading> {
        let softirq_threads = self.softirq_threads.iter().map(|pid| run_time(*pid)).sum();
        let cpus = cpu_times(&fs::read_to_string("/proc/stat")?, &self.placement.cpus());
        Ok(Reading {
            softirq_threads,
            cpus,
            conductor: cpu_time(self.conductor)?,
            server: cpu_time(self.server)?,
            client: cpu_time(std::process::id() as i32)?,
            at: Instant::now(),
        })
    }

    /// What was used from `start` to `end`.
    pub(super) fn usage(&self, start: &Reading, end: &Reading) -> Usage {
        let elapsed = (end.at - start.at).as_secs_f64();
        let used = |end: Duration, start: Duration| end.saturating_sub(start).as_secs_f64();
        let pairs = || end.cpus.iter().zip(&start.cpus);
        let interrupts = |side: &[usize]| -> f64 {
            let ours = self.placement.cpus();
            let here = pairs().zip(ours).filter(|(_, cpu)| side.contains(cpu));
            let times = here.map(|((end, start), _)| used(end.interrupts, start.interrupts));
            if self.separate_interrupts {
                times.sum()
            } else {
                0.0
            }
        };
        let [mut client_interrupts, mut server_interrupts] =
            [&self.placement.client, &self.placement.server].map(|side| interrupts(side));
        if self.placement.is_shared() {
            client_interrupts /= 2.0;
            server_interrupts /= 2.0;
        }
        let softirq_threads = used(end.softirq_threads, start.softirq_threads);
        let [client, server] = [(end.client, start.client), (end.server, start.server)]
            .map(|(end, start)| used(end, start) + softirq_threads / 2.0);
        let idle: f64 = pairs().map(|(end, start)| used(end.idle, start.idle)).sum();
        let stolen: f64 = pairs()
            .map(|(end, start)| used(end.stolen, start.stolen))
            .sum();
        let ours = client + server + used(end.conductor, start.conductor);
        let all = elapsed * end.cpus.len() as f64;
        let foreign = all - idle - ours - client_interrupts - server_interrupts;
        Usage {
            client_s: client + client_interrupts,
            server_s: server + server_interrupts,
            foreign: (foreign.max(stolen) / all).clamp(0.0, 1.0),
        }
    }
}

/// The CPU time that a process used so far.
fn cpu_time(process: i32) -> io::Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(process))?;
    Ok(clock_gettime(clock)?.into())
}

/// The same of a thread of the kernel, which has no such clock.
fn run_time(thread: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat")).unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// The lines of the given processors.
pub(super) fn cpu_times(stat: &str, cpus: &[usize]) -> Vec<CpuTimes> {
    let line = |cpu: &usize| {
        let name = format!("cpu{cpu}");
        stat.lines()
            .find(|line| line.split(' ').next() == Some(&*name))
    };
    let lines = cpus.iter().filter_map(line);
    lines
        .map(|line| {
            let ticks: Vec<u32> = line
                .split_whitespace()
                .skip(1)
                .map(|word| word.parse().unwrap_or(0))
                .collect();
            let sum = |columns: [usize; 2]| {
                let ticks = columns.map(|column| ticks.get(column).copied().unwrap_or(0));
                TICK * ticks[0].saturating_add(ticks[1])
            };
            // user nice system idle iowait irq softirq steal guest guest_nice; guest time is part
            // of user's.
            CpuTimes {
                idle: sum([3, 4]),
                interrupts: sum([5, 6]),
                stolen: sum([7, usize::MAX]),
            }
        })
        .collect()
}

/// The kernel's threads called ksoftirqd/N.
fn softirq_threads(cpus: &[usize]) -> Vec<i32> {
    let names: Vec<String> = cpus
        .iter()
        .map(|cpu| format!("ksoftirqd/{cpu}\n"))
        .collect();
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|number: &i32| {
            fs::read_to_string(format!("/proc/{number}/comm"))
                .is_ok_and(|name| names.contains(&name))
        })
        .collect()
}

/// Where the kernel's configuration cannot be read, the answer is no: then interrupts may count as
/// foreign, which is seen, while the other mistake would hide what is foreign.
fn interrupts_are_separate() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    fs::read_to_string(format!("/boot/config-{}", release.trim()))
        .is_ok_and(|config| config.contains("\nCONFIG_IRQ_TIME_ACCOUNTING=y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 40 5 6 7 8 0 0\n\
                        cpu1 1 2 3 50 5 6 7 9 0 0\ncpu10 0 0 0 1 0 0 0 0 0 0\n";

    fn reading(at: Instant, millis: [u64; 4], idle: u64) -> Reading {
        let [client, server, conductor, softirq_threads] = millis.map(Duration::from_millis);
        let times = CpuTimes {
            idle: Duration::from_millis(idle),
            interrupts: Duration::from_millis(idle),
            stolen: Duration::ZERO,
        };
        Reading {
            at,
            client,
            server,
            conductor,
            softirq_threads,
            cpus: vec![times; 2],
        }
    }

    fn clocks(separate_interrupts: bool) -> Clocks {
        Clocks {
            placement: Placement {
                client: vec![0],
                server: vec![1],
            },
            separate_interrupts,
            ..Clocks::default()
        }
    }

    #[test]
    fn the_lines_of_two_processors_are_found() {
        let found = cpu_times(STAT, &[0, 10]);
        let ticks = |count: u32| TICK * count;
        assert_eq!(
            found,
            [
                CpuTimes {
                    idle: ticks(45),
                    interrupts: ticks(13),
                    stolen: ticks(8)
                },
                CpuTimes {
                    idle: ticks(1),
                    ..CpuTimes::default()
                }
            ]
        );
    }

    #[test]
    fn what_nobody_of_ours_used_is_foreign() {
        let now = Instant::now();
        let start = reading(now, [0; 4], 0);
        let end = reading(now + Duration::from_secs(1), [600, 700, 100, 100], 100);
        let usage = clocks(false).usage(&start, &end);
        // Of 2 s, 200 ms were idle and 1.5 s ours.
        assert!((usage.foreign - 0.15).abs() < 1e-9, "{usage:?}");
        assert!((usage.client_s - 0.65).abs() < 1e-9, "{usage:?}");
        assert!((usage.server_s - 0.75).abs() < 1e-9, "{usage:?}");
    }

    #[test]
    fn interrupts_that_nobody_was_charged_for_belong_to_their_side() {
        let now = Instant::now();
        let start = reading(now, [0; 4], 0);
        let end = reading(now + Duration::from_secs(1), [600, 700, 100, 100], 100);
        let usage = clocks(true).usage(&start, &end);
        assert!((usage.foreign - 0.05).abs() < 1e-9, "{usage:?}");
        assert!((usage.client_s - 0.75).abs() < 1e-9, "{usage:?}");
    }

    #[test]
    fn our_own_clock_runs() {
        let clocks = Clocks {
            server: std::process::id() as i32,
            ..Clocks::of_conductor(Placement::pair())
        };
        let start = clocks.read().unwrap();
        let usage = clocks.usage(&start, &clocks.read().unwrap());
        assert!(usage.client_s > 0.0 && usage.client_s < 1.0, "{usage:?}");
    }
}
