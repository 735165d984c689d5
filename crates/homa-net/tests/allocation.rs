//! In steady state no link allocates memory: the allocations of the test thread are counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use std::alloc::System;
use std::io::IoSlice;

use common::{PATIENCE, datagram, v4};
use homa_net::faults::Faults;
use homa_net::memory::{self, pair};
use homa_net::wait::{Watch, wait};
use homa_net::{Link, Transmit};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; the count beside it
// allocates nothing (a constant-initialised `Cell` without a destructor).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `alloc`'s contract, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from `System.alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One round: a single datagram, a segmented batch, many in one call.
fn round(a: &mut dyn Link, b: &mut dyn Link, bytes: &[u8]) {
    let (small, large) = ([IoSlice::new(&bytes[..100])], [IoSlice::new(bytes)]);
    let single = Transmit {
        traffic_class: 0xe0,
        ..datagram(b.local_addr(), &small)
    };
    let segmented = Transmit {
        segment_bytes: Some(1400),
        ..datagram(b.local_addr(), &large)
    };
    for batch in [&[single][..], &[segmented], &[single; 20]] {
        assert_eq!(
            a.send(batch, &mut |_, refusal| panic!("{refusal}")),
            batch.len()
        );
        wait(&mut [Watch::readable(b.fd())], Some(PATIENCE)).unwrap();
        while b.receive(&mut |_| {}).unwrap() > 0 {}
        a.receive(&mut |_| {}).unwrap();
        a.poll_errors(&mut |_| {}).unwrap();
    }
}

fn assert_steady(a: &mut dyn Link, b: &mut dyn Link) {
    let bytes = vec![1; 40_000];
    (0..50).for_each(|_| round(a, b, &bytes));
    let before = ALLOCATIONS.get();
    (0..200).for_each(|_| round(a, b, &bytes));
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

#[test]
fn udp_allocates_nothing_in_steady_state() {
    assert_steady(&mut v4(), &mut v4());
}

#[test]
fn an_in_memory_wire_allocates_nothing_in_steady_state() {
    let (mut a, mut b) = pair(&memory::Config::default()).unwrap();
    assert_steady(&mut a, &mut b);
}

#[test]
fn faults_allocate_nothing_in_steady_state() {
    let config = "drop=100000,reorder=500000,duplicate=100000,seed=1"
        .parse()
        .unwrap();
    let (mut a, b) = pair(&memory::Config::default()).unwrap();
    assert_steady(&mut a, &mut Faults::new(b, config));
}
