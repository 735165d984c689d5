//! Injected faults over an in-memory wire: as many as asked for, the same for the same seed, and
//! nothing held for ever.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::IoSlice;

use common::{datagram, receive_now, send, v4};
use homa_net::faults::{Config, Faults, REORDER_DISTANCE_MAX};
use homa_net::memory::{self, Memory, pair};
use homa_net::wait::{Watch, wait};
use homa_net::{Counters, Link, Transmit};

const TOTAL: u32 = 100_000;

fn wire(word: &str) -> (Memory, Faults<Memory>) {
    let (a, b) = pair(&memory::Config::default()).unwrap();
    (a, Faults::new(b, word.parse().unwrap()))
}

/// Sends `TOTAL` numbered datagrams in batches of 40 segments; returns the numbers in the order in
/// which they came out, and the counters.
fn run(word: &str) -> (Vec<u32>, Counters) {
    let (mut a, mut b) = wire(word);
    let mut arrived = Vec::new();
    for first in (0..TOTAL).step_by(40) {
        let bytes: Vec<u8> = (first..first + 40).flat_map(u32::to_be_bytes).collect();
        let slices = [IoSlice::new(&bytes)];
        let batch = Transmit {
            segment_bytes: Some(4),
            ..datagram(b.local_addr(), &slices)
        };
        assert_eq!(send(&mut a, &[batch]), []);
        receive_now(&mut b, &mut arrived);
    }
    while receive_now(&mut b, &mut arrived) > 0 {}
    let numbers = arrived
        .iter()
        .map(|one| u32::from_be_bytes(one.bytes[..].try_into().unwrap()));
    (numbers.collect(), b.counters())
}

/// 10 % of `TOTAL`, give or take five standard deviations (95 each).
fn is_a_tenth(count: u64) -> bool {
    count.abs_diff(u64::from(TOTAL) / 10) < 500
}

#[test]
fn a_tenth_of_each_fault_is_a_tenth_and_every_datagram_is_accounted_for() {
    let (numbers, counters) = run("drop=100000,reorder=100000,duplicate=100000,seed=7");
    let mut times = vec![0_u32; TOTAL as usize];
    for number in &numbers {
        times[*number as usize] += 1;
    }
    let seen = |count| times.iter().filter(|times| **times == count).count() as u64;
    assert_eq!(
        seen(0) + seen(1) + seen(2),
        u64::from(TOTAL),
        "never three times"
    );
    assert!(is_a_tenth(seen(0)));
    // Nine tenths are left for the other two faults to hit.
    assert!(is_a_tenth(seen(2) * 10 / 9));
    assert!(is_a_tenth(counters.faults_reordered * 10 / 9));
    assert_eq!(counters.faults_dropped, seen(0));
    assert_eq!(counters.faults_duplicated, seen(2));
    assert_eq!(counters.datagrams_received, numbers.len() as u64);
}

#[test]
fn the_same_seed_gives_the_same_faults_and_another_seed_others() {
    let word = "drop=100000,reorder=100000,duplicate=100000,seed=7";
    let (first, second) = (run(word), run(word));
    assert!(first == second);
    let (other, _) = run("drop=100000,reorder=100000,duplicate=100000,seed=8");
    assert!(first.0 != other);
}

#[test]
fn another_rate_of_one_fault_leaves_the_others_where_they_were() {
    let missing = |numbers: &[u32]| {
        let mut present = vec![false; TOTAL as usize];
        numbers
            .iter()
            .for_each(|number| present[*number as usize] = true);
        present
    };
    let (alone, _) = run("drop=100000,seed=7");
    let (together, _) = run("drop=100000,reorder=50000,duplicate=300000,seed=7");
    assert!(missing(&alone) == missing(&together));
}

#[test]
fn a_late_datagram_is_overtaken_by_a_bounded_number_of_others() {
    let (numbers, counters) = run("reorder=200000,seed=3");
    assert_eq!(numbers.len(), TOTAL as usize, "reordering loses nothing");
    assert!(counters.faults_reordered > 0);
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert!(numbers != sorted);
    let late = |(place, number): (usize, &u32)| (place as u64).saturating_sub(u64::from(*number));
    let latest = numbers.iter().enumerate().map(late).max();
    assert!((1..=REORDER_DISTANCE_MAX).contains(&latest.unwrap()));
}

#[test]
fn a_datagram_held_back_goes_on_when_nothing_follows() {
    let (mut a, mut b) = wire("reorder=1000000");
    assert_eq!(
        send(
            &mut a,
            &[datagram(b.local_addr(), &[IoSlice::new(b"only")])]
        ),
        []
    );
    let mut arrived = Vec::new();
    assert_eq!(receive_now(&mut b, &mut arrived), 1);
    assert_eq!(arrived[0].bytes, b"only");
    assert_eq!(arrived[0].from, a.local_addr());
}

#[test]
fn a_link_that_loses_everything_is_silent() {
    let (numbers, counters) = run("drop=1000000");
    assert_eq!(numbers, []);
    assert_eq!(counters.faults_dropped, u64::from(TOTAL));
}

#[test]
fn without_faults_batches_pass_whole() {
    let (mut a, mut b) = wire("");
    let slices = [IoSlice::new(b"aabbcc")];
    let batch = Transmit {
        segment_bytes: Some(2),
        ..datagram(b.local_addr(), &slices)
    };
    assert_eq!(send(&mut a, &[batch]), []);
    let mut calls = 0;
    assert_eq!(b.receive(&mut |_| calls += 1).unwrap(), 3);
    assert_eq!(calls, 1);
}

#[test]
fn faults_wrap_a_boxed_link_as_well() {
    let mut a = v4();
    let inner: Box<dyn Link> = Box::new(v4());
    let mut b = Faults::new(inner, "duplicate=1000000".parse::<Config>().unwrap());
    assert_eq!(
        send(
            &mut a,
            &[datagram(b.local_addr(), &[IoSlice::new(b"twice")])]
        ),
        []
    );
    wait(&mut [Watch::readable(b.fd())], Some(common::PATIENCE)).unwrap();
    let mut arrived = Vec::new();
    assert_eq!(receive_now(&mut b, &mut arrived), 2);
    assert_eq!(arrived[0], arrived[1]);
}
