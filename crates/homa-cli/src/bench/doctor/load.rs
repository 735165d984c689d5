//! What moves: who uses the processors while nothing is measured.

use core::time::Duration;
use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::Instant;

use super::Finding;
use super::Verdict::Spoils;
use crate::bench::clocks::{CpuTimes, cpu_times};
use crate::bench::conditions::FOREIGN_MAX;
use crate::bench::placement::Placement;

/// How long to watch.
const WATCH: Duration = Duration::from_secs(1);

/// Programs that are named.
const NAMED_MAX: usize = 4;

/// `USER_HZ`.
const TICKS_PER_SECOND: f64 = 100.0;

/// Watches for a second.
pub(super) fn all() -> [Finding; 2] {
    let (begun, before, programs_before) = (Instant::now(), times(), programs());
    thread::sleep(WATCH);
    let (after, programs_after) = (times(), programs());
    let elapsed = begun.elapsed().as_secs_f64();
    let all = elapsed * after.len().max(1) as f64;
    let used = |of: fn(&CpuTimes) -> Duration| {
        let pairs = after.iter().zip(&before);
        let used = pairs.map(|(after, before)| of(after).saturating_sub(of(before)));
        used.sum::<Duration>().as_secs_f64() / all
    };
    let stolen = used(|times| times.stolen);
    let busy = 1.0 - used(|times| times.idle) - stolen;
    let names = busiest(&programs_before, &programs_after, elapsed);
    [foreign(busy, &names), steal(stolen)]
}

fn foreign(busy: f64, names: &str) -> Finding {
    let what = format!("others use {:.0} % of the two processors", busy * 100.0);
    if busy <= FOREIGN_MAX {
        return Finding::fine("foreign load", what);
    }
    let advice = format!("end what runs: {names}; samples with more than 5 % are rejected");
    Finding::new("foreign load", Spoils, what, advice)
}

fn steal(stolen: f64) -> Finding {
    let what = format!(
        "the host takes {:.1} % of the two processors away",
        stolen * 100.0
    );
    if stolen <= FOREIGN_MAX {
        return Finding::fine("steal", what);
    }
    let advice = "measure when the host's other guests are quiet, or on a machine of your own";
    Finding::new("steal", Spoils, what, advice)
}

fn times() -> Vec<CpuTimes> {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    cpu_times(&stat, &Placement::pair().cpus())
}

/// The CPU time of every process so far, in ticks, with its name.
fn programs() -> HashMap<i32, (String, u64)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|number: i32| {
            let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
            Some((number, program(&stat)?))
        })
        .collect()
}

/// Name and CPU ticks in a line of /proc/PID/stat. The name may hold anything, even brackets.
fn program(stat: &str) -> Option<(String, u64)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split_whitespace();
    // Fields 14 and 15 of proc_pid_stat(5), counted from the third.
    let (user, system) = (fields.nth(11)?, fields.next()?);
    let ticks = user.parse::<u64>().ok()? + system.parse::<u64>().ok()?;
    Some((name.to_owned(), ticks))
}

/// The programs that used most, with their shares of a processor.
fn busiest(
    before: &HashMap<i32, (String, u64)>,
    after: &HashMap<i32, (String, u64)>,
    elapsed: f64,
) -> String {
    let mut used: Vec<(&str, u64)> = after
        .iter()
        .map(|(number, (name, ticks))| {
            let before = before.get(number).map_or(0, |(_, ticks)| *ticks);
            (name.as_str(), ticks.saturating_sub(before))
        })
        .filter(|(_, ticks)| *ticks > 0)
        .collect();
    used.sort_by_key(|(name, ticks)| (core::cmp::Reverse(*ticks), *name));
    let share = |ticks: u64| ticks as f64 / TICKS_PER_SECOND / elapsed * 100.0;
    let names = used.iter().take(NAMED_MAX);
    let names: Vec<String> = names
        .map(|(name, ticks)| format!("{name} {:.0} %", share(*ticks)))
        .collect();
    if names.is_empty() {
        "programs too short-lived to name".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::doctor::Verdict::Fine;

    #[test]
    fn programs_are_read_whatever_their_name() {
        let line = "7 (a) b (c) R 1 7 7 0 -1 0 1 2 3 4 50 25 0 0 20 0 1";
        assert_eq!(program(line), Some(("a) b (c".to_owned(), 75)));
        assert_eq!(program("7 (x) R 1"), None);
    }

    #[test]
    fn the_busiest_programs_come_first() {
        let at = |ticks: [u64; 2]| {
            let names = ["cc", "sh"].map(str::to_owned);
            let entries = names.into_iter().zip(ticks);
            (1..).zip(entries).collect::<HashMap<i32, (String, u64)>>()
        };
        assert_eq!(busiest(&at([5, 5]), &at([15, 55]), 1.0), "sh 50 %, cc 10 %");
        assert!(busiest(&at([5, 5]), &at([5, 5]), 1.0).contains("short-lived"));
    }

    #[test]
    fn a_busy_machine_is_no_place_to_measure() {
        assert_eq!(foreign(0.04, "").verdict, Fine);
        assert!(
            foreign(0.06, "cc 12 %")
                .to_string()
                .contains("end what runs: cc 12 %")
        );
        assert_eq!((steal(0.0).verdict, steal(0.2).verdict), (Fine, Spoils));
    }
}
