//! Once warm, messages do not meet the allocator. A binary of its own: it counts allocations.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

mod common;

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicU64, Ordering};
use std::alloc::System;
use std::thread;

use homa::blocking::{Client, Server};
use homa::{Host, Message};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every method passes its arguments on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn check(message: &Message, length: usize) {
    assert_eq!(message.len(), length);
}

/// Allocations made by all threads while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    work();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn messages_need_no_allocation_in_steady_state() {
    let server_host = Host::builder().build().unwrap();
    let server = Server::bind_on(&server_host, "127.0.0.1:0").unwrap();
    let address = server.local_addr();
    let worker = thread::spawn({
        let server = server.clone();
        move || {
            while let Ok(request) = server.recv() {
                request.responder.reply(&request.message).unwrap();
            }
        }
    });
    let host = Host::builder().build().unwrap();
    let client = Client::on(&host).unwrap();
    let bytes = vec![7; 200_000];
    let lengths = [1, 100, 1_000, 5_000, 60_000, 200_000];
    let round = || {
        for length in lengths {
            check(&client.call(address, &bytes[..length]).unwrap(), length);
        }
        for cookie in 0..16 {
            client.submit(address, &bytes[..3_000], cookie).unwrap();
        }
        for _ in 0..16 {
            let done = client.next_completion(None).unwrap().unwrap();
            check(&done.result.unwrap(), 3_000);
        }
    };
    let rounds = |count| (0..count).for_each(|_| round());

    rounds(300);
    let idle = host.pool_idle_bytes() + server_host.pool_idle_bytes();
    let count = allocations(|| rounds(300));
    let messages = 300 * 2 * (6 + 16);
    // A table may still double now and then; nothing grows with the messages.
    assert!(
        count < messages / 100,
        "{count} allocations for {messages} messages"
    );
    let idle_after = host.pool_idle_bytes() + server_host.pool_idle_bytes();
    assert!(
        idle_after <= idle + 1_000_000,
        "the pools grew from {idle} to {idle_after} bytes"
    );
    server.close();
    worker.join().unwrap();
}
