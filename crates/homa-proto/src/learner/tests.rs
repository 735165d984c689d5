#![allow(clippy::float_arithmetic, reason = "what is tested against is exact")]

use alloc::vec::Vec;

use super::sample::{BINS, bin_of};
use super::*;

const NAMES: [&str; 5] = ["w1", "w2", "w3", "w4", "w5"];

/// Messages whose lengths follow a published distribution.
struct Workload {
    name: &'static str,
    /// Size and cumulative fraction.
    rows: Vec<(u32, f64)>,
    random: u64,
}

impl Workload {
    fn new(name: &'static str) -> Self {
        let text = match name {
            "w1" => include_str!("../../../homa-sim/workloads/w1.csv"),
            "w2" => include_str!("../../../homa-sim/workloads/w2.csv"),
            "w3" => include_str!("../../../homa-sim/workloads/w3.csv"),
            "w4" => include_str!("../../../homa-sim/workloads/w4.csv"),
            _ => include_str!("../../../homa-sim/workloads/w5.csv"),
        };
        let row = |line: &str| {
            let (size, fraction) = line.split_once(',').unwrap();
            (size.parse().unwrap(), fraction.parse().unwrap())
        };
        Self {
            name,
            rows: text.lines().skip(1).map(row).collect(),
            random: 1,
        }
    }

    fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let fraction = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        let row = self.rows.partition_point(|&(_, below)| below < fraction);
        self.rows[row.min(self.rows.len() - 1)].0
    }

    /// Sizes with the unscheduled and all wire bytes that messages of them bring, on average.
    fn shares(&self, learner: &Learner, limit: u32) -> Vec<(u32, f64, f64)> {
        let mut below = 0.0;
        let share = |&(size, fraction): &(u32, f64)| {
            let part = fraction - below;
            below = fraction;
            let wire = |bytes| learner.wire_bytes(bytes) as f64 * part;
            // No order is wanted among those that take nearly as long as each other.
            (size.max(63), wire(size.min(limit)), wire(size))
        };
        self.rows.iter().map(share).collect()
    }
}

/// The cutoffs that split the bytes evenly, knowing the distribution.
fn oracle(shares: &[(u32, f64, f64)], priorities: u8) -> [u32; 8] {
    let unscheduled: f64 = shares.iter().map(|share| share.1).sum();
    let all: f64 = shares.iter().map(|share| share.2).sum();
    let exact = f64::from(priorities) * unscheduled / all;
    let levels = (exact + 0.5).clamp(1.0, f64::from((priorities - 1).max(1))) as usize;
    let mut cutoffs = [0; 8];
    let top = usize::from(priorities) - 1;
    for border in 1..levels {
        let goal = unscheduled * border as f64 / levels as f64;
        let mut below = 0.0;
        let reaches = |share: &&(u32, f64, f64)| {
            below += share.1;
            below >= goal
        };
        cutoffs[top + 1 - border] = shares.iter().find(reaches).unwrap().0;
    }
    cutoffs[top + 1 - levels] = UNLIMITED;
    cutoffs[0] = UNLIMITED;
    cutoffs
}

/// The part of the unscheduled bytes that each level carries, lowest first.
fn loads(shares: &[(u32, f64, f64)], cutoffs: &[u32; 8]) -> [f64; 8] {
    let all: f64 = shares.iter().map(|share| share.1).sum();
    let mut loads = [0.0; 8];
    for &(size, unscheduled, _) in shares {
        let level = cutoffs.iter().rposition(|&it| it >= size);
        loads[level.unwrap_or(0)] += unscheduled / all;
    }
    loads
}

fn unscheduled_levels(cutoffs: &[u32; 8]) -> usize {
    let used = cutoffs.iter().rev().skip_while(|&&it| it == 0);
    used.take_while(|&&it| it < UNLIMITED).count() + 1
}

/// A learner, the cutoffs in force, and a clock.
struct Host {
    learner: Learner,
    cutoffs: [u32; 8],
    limit: u32,
    now: Instant,
    changes: usize,
}

impl Host {
    fn new(priorities: u8, unscheduled_bytes: u32) -> Self {
        let config = Config {
            priorities,
            unscheduled_bytes,
            ..Config::default()
        };
        Self {
            learner: Learner::new(&config).unwrap(),
            cutoffs: Published::first(&config).cutoffs,
            limit: unscheduled_bytes,
            now: Instant::from_nanos(1_000_000_000),
            changes: 0,
        }
    }

    fn hear(&mut self, host: u16, length: u32) {
        self.now = self.now + core::time::Duration::from_micros(2);
        let arrival = Arrival {
            length,
            unscheduled: length.min(self.limit),
            host,
        };
        if self.learner.count(self.now, arrival)
            && let Some(cutoffs) = self.learner.end_round(self.now, &self.cutoffs)
        {
            self.cutoffs = cutoffs;
            self.changes += 1;
        }
    }

    fn hear_many(&mut self, workload: &mut Workload, messages: usize) {
        for number in 0..messages {
            let length = workload.draw();
            self.hear(number as u16, length);
        }
    }

    /// The oracle has at most one level more or less, and of the even share of a level none
    /// carries `factor` times as much, or what the oracle's heaviest does if that is more.
    fn assert_near_the_oracle(&self, workload: &Workload, factor: f64) {
        let shares = workload.shares(&self.learner, self.limit);
        let oracle = oracle(&shares, self.learner.priorities);
        let heaviest = |cutoffs| loads(&shares, cutoffs).into_iter().fold(0.0, f64::max);
        let levels = unscheduled_levels(&self.cutoffs);
        let case = (workload.name, self.learner.priorities, self.limit);
        let seen = (self.cutoffs, oracle);
        assert!(
            levels.abs_diff(unscheduled_levels(&oracle)) <= 1,
            "{case:?}: {seen:?}"
        );
        let limit = f64::max(factor / levels as f64, heaviest(&oracle) * 1.1);
        let (load, best) = (heaviest(&self.cutoffs), heaviest(&oracle));
        assert!(
            load <= limit,
            "{case:?}: {load:.3}, not {best:.3}: {seen:?}"
        );
    }

    /// Levels that unscheduled bytes have, best first, as lengths.
    fn borders(&self) -> Vec<u32> {
        let used = self.cutoffs.iter().rev().copied();
        used.skip_while(|&it| it == 0)
            .take_while(|&it| it != 0 && it != UNLIMITED)
            .collect()
    }
}

#[test]
fn every_length_from_64_on_lies_in_a_bin_that_ends_at_most_a_sixteenth_above_it() {
    for length in (1..100_000).chain([1 << 20, (1 << 30) - 1, 1 << 30]) {
        let last = last_length(bin_of(length));
        let near = last - length <= length / 16;
        assert!(if length < 64 { last == 63 } else { near }, "{length}");
        assert!(bin_of(last) == bin_of(length) && bin_of(last + 1) == bin_of(length) + 1);
    }
    assert_eq!(bin_of(1 << 30), BINS - 1);
}

#[test]
fn before_anything_is_known_all_that_goes_unasked_has_the_best_level() {
    for priorities in 1..=8 {
        let cutoffs = Host::new(priorities, 40_000).cutoffs;
        let (there, absent) = cutoffs.split_at(usize::from(priorities));
        assert_eq!(there.last(), Some(&UNLIMITED));
        assert!(absent.iter().all(|&it| it == 0), "{cutoffs:?}");
    }
}

#[test]
fn cutoffs_of_the_five_workloads_come_near_the_oracle() {
    for (priorities, limit) in [(1, 40_000), (2, 40_000), (4, 40_000), (8, 9_700)] {
        for name in NAMES {
            let mut workload = Workload::new(name);
            let mut host = Host::new(priorities, limit);
            host.hear_many(&mut workload, 10_000);
            host.assert_near_the_oracle(&workload, 1.35);
        }
    }
}

#[test]
fn cutoffs_that_fit_stay_for_a_hundred_thousand_messages() {
    for name in NAMES {
        let mut workload = Workload::new(name);
        let mut host = Host::new(8, 40_000);
        host.hear_many(&mut workload, 20_000);
        let changes = host.changes;
        host.hear_many(&mut workload, 100_000);
        assert!(host.changes <= changes + 3, "{name} wavers");
        host.assert_near_the_oracle(&workload, 1.35);
    }
}

#[test]
fn a_few_hundred_messages_tell_the_number_of_levels() {
    for name in NAMES {
        let mut workload = Workload::new(name);
        let mut host = Host::new(8, 9_700);
        host.hear_many(&mut workload, 300);
        host.assert_near_the_oracle(&workload, 2.5);
    }
}

#[test]
fn a_great_change_is_followed_within_five_thousand_messages_and_any_within_fifty_thousand() {
    let pairs = NAMES
        .into_iter()
        .flat_map(|from| NAMES.map(|to| (from, to)));
    for (from, to) in pairs.filter(|(from, to)| from != to) {
        let mut after = Workload::new(to);
        let mut host = Host::new(8, 40_000);
        host.hear_many(&mut Workload::new(from), 20_000);
        host.hear_many(&mut after, 5_000);
        if [from, to] != ["w1", "w2"] && [from, to] != ["w2", "w1"] {
            host.assert_near_the_oracle(&after, 2.0);
        }
        host.hear_many(&mut after, 45_000);
        host.assert_near_the_oracle(&after, 1.35);
    }
}

#[test]
fn one_length_takes_one_level_and_leaves_the_others_to_scheduled_packets() {
    let mut host = Host::new(8, 40_000);
    (0..20_000).for_each(|number| host.hear(number, 300));
    assert_eq!(host.cutoffs, [UNLIMITED, 0, 0, 0, 0, 0, 0, UNLIMITED]);
}

#[test]
fn of_two_lengths_with_all_bytes_each_takes_a_level() {
    let mut host = Host::new(8, 40_000);
    for number in 0..20_000 {
        host.hear(number, if number % 11 == 0 { 10_000 } else { 1_000 });
    }
    assert_eq!(host.borders().len(), 1);
    assert!((1_000..10_000).contains(&host.borders()[0]));
}

#[test]
fn a_message_length_that_a_cutoff_cannot_tell_from_the_longest_makes_no_border() {
    let mut host = Host::new(8, 10_000_000);
    for number in 0..5_000_u32 {
        host.hear(number as u16, 2_000_000 + number * 1_000);
    }
    assert_eq!(host.borders(), [0; 0]);
}

#[test]
fn bytes_that_nobody_sent_unasked_teach_nothing() {
    let mut host = Host::new(8, 0);
    let first = host.cutoffs;
    (0..5_000).for_each(|number| host.hear(number, 50_000));
    assert_eq!(host.cutoffs, first);
}

#[test]
fn one_host_cannot_set_the_cutoffs_of_many() {
    // In turn: the length, and how many of them for so many messages of all others together.
    for (length, count, others) in [(1, 40, 1), (1_000, 5, 1), (40_000, 1, 10), (100_000, 1, 40)] {
        let mut workload = Workload::new("w2");
        let mut host = Host::new(8, 40_000);
        for number in 0..20_000 {
            let drawn = workload.draw();
            host.hear(number, drawn);
            if number % others == 0 {
                (0..count).for_each(|_| host.hear(7, length));
            }
        }
        let learned = unscheduled_levels(&host.cutoffs);
        let shares = workload.shares(&host.learner, host.limit);
        let heaviest = loads(&shares, &host.cutoffs)
            .into_iter()
            .fold(0.0, f64::max);
        let seen = (length, host.cutoffs);
        // It brings five to ten times the bytes of all others and counts for a quarter: at most two
        // levels of seven.
        assert!(learned >= 5, "{seen:?}");
        assert!(heaviest <= 0.5, "{heaviest:.2}: {seen:?}");
    }
}

#[test]
fn a_border_lies_at_the_edge_that_is_nearer_to_the_even_share() {
    let border = |bytes: [u64; 3]| {
        let mut bins = [0; BINS];
        bins[10..13].copy_from_slice(&bytes);
        split(&bins, 1_000, 2, 8)[7]
    };
    assert_eq!(border([100, 500, 400]), last_length(11));
    assert_eq!(border([400, 500, 100]), last_length(10));
}

#[test]
fn the_ratio_of_granted_to_unasked_bytes_is_known_after_a_thousand_messages() {
    let mut learner = Learner::new(&Config::default()).unwrap();
    let mut now = Instant::ZERO;
    let mut ratio_after = |messages| {
        for _ in 0..messages {
            now = now.after(ROUND_LEAST_NANOS);
            let arrival = Arrival {
                length: 3_000,
                unscheduled: 2_000,
                host: 1,
            };
            if learner.count(now, arrival) {
                learner.end_round(now, &[UNLIMITED, 0, 0, 0, 0, 0, 0, 0]);
            }
        }
        learner.granted_ratio()
    };
    assert_eq!(ratio_after(500), ONE);
    // Of three packets two came unasked.
    assert_eq!(ratio_after(2_000), ONE / 2);
}
