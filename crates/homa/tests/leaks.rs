//! Requests that end in every way there is leave nothing. A program of its own: it counts memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicI64, Ordering};
use core::time::Duration;
use std::alloc::System;

use homa::blocking::{Client, Server};
use homa::{CallOptions, Config, Host, Submission};

const REQUESTS: u64 = 1_000_000;

/// Requests under way at a time.
const BATCH: u64 = 200;

struct Counting;

static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

fn count(bytes: usize, sign: i64) {
    LIVE_BYTES.fetch_add(sign * bytes as i64, Ordering::Relaxed);
}

// SAFETY: every method passes its arguments on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One batch: of each ten requests six are answered, two dropped, and two given up by their client.
fn batch(client: &Client, server: &Server) {
    let request = [1; 300];
    let given_up = BATCH / 5;
    let pending: Vec<_> = (0..given_up)
        .map(|_| client.start(server.local_addr(), &request).unwrap())
        .collect();
    let options = CallOptions {
        deadline: Some(Duration::from_secs(60)),
        idempotent: false,
    };
    let calls = (given_up..BATCH).map(|cookie| Submission {
        options,
        ..Submission::new(server.local_addr(), &request[..], cookie)
    });
    client.submit_all(calls).unwrap();
    let mut requests = Vec::new();
    while requests.len() < BATCH as usize {
        server.recv_all(&mut requests, None).unwrap();
    }
    drop(pending);
    let (dropped, answered): (Vec<_>, Vec<_>) = requests
        .into_iter()
        .partition(|request| request.id % 10 < 2);
    drop(dropped);
    server.reply_all(
        answered
            .into_iter()
            .map(|request| (request.responder, request.message)),
    );
    let mut done = Vec::new();
    while done.len() < (BATCH - given_up) as usize {
        client.completions(&mut done, None).unwrap();
    }
}

#[test]
fn a_million_requests_that_end_in_every_way_leave_no_memory_and_no_entry() {
    // What is remembered of requests for a while is as much at the end as in the middle.
    let config = Config {
        packet_lifetime: Duration::from_millis(50),
        ..Config::user_space()
    };
    let build = || Host::builder().config(config.clone()).build().unwrap();
    let [host, server_host] = [build(), build()];
    let client = Client::on(&host).unwrap();
    let server = Server::bind_on(&server_host, "127.0.0.1:0").unwrap();
    let warm_up = REQUESTS / BATCH / 2;
    (0..warm_up).for_each(|_| batch(&client, &server));
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    (warm_up..REQUESTS / BATCH).for_each(|_| batch(&client, &server));
    let grown = LIVE_BYTES.load(Ordering::Relaxed) - before;
    // Tables grow with what is remembered at the worst moment, which is more where the machine gets
    // faster (0.6 MB were seen); sixteen bytes for each request, the least that a leak takes, would
    // be four times this.
    assert!(grown < 1 << 21, "{grown} bytes more");

    assert!(client.shutdown(Duration::from_secs(20)));
    assert!(server.shutdown(Duration::from_secs(20)));
    for host in [host, server_host] {
        let usage = host.usage().unwrap();
        assert_eq!((usage.client_rpcs, usage.server_rpcs), (0, 0));
        assert_eq!((usage.budget_used_bytes, host.send_bytes_held()), (0, 0));
    }
}
