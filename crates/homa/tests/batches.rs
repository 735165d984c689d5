//! Messages of one moment share a system call, and none of them waits for ever.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use std::time::Instant;

use homa::blocking;
use homa::{CallOptions, Host};

const CALLS: u64 = 40;

#[cfg(feature = "tokio")]
#[tokio::test(flavor = "current_thread")]
async fn what_many_tasks_say_at_once_leaves_together() {
    let host = Host::builder().build().unwrap();
    let client = homa::Client::on(&host).unwrap();
    let server_host = Host::builder().build().unwrap();
    let server = homa::Server::bind_on(&server_host, "127.0.0.1:0")
        .await
        .unwrap();
    let address = server.local_addr();
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(address, b"one of many").await.unwrap() })
        })
        .collect();
    for _ in 0..CALLS {
        let request = server.recv().await.unwrap();
        tokio::spawn(async move { request.responder.reply(b"yes").await.unwrap() });
    }
    for call in calls {
        assert_eq!(*call.await.unwrap(), *b"yes");
    }
    for host in [host, server_host] {
        // Where the test was not scheduled for a while, some were asked for again, each alone.
        let counters = host.counters().unwrap().engine;
        let bursts = counters.data_bursts.saturating_sub(counters.data_resent);
        assert!(bursts < CALLS / 2, "{bursts} bursts for {CALLS} messages");
    }
}

#[test]
fn answers_of_a_thread_that_stops_with_requests_left_arrive() {
    let server = blocking::Server::bind("127.0.0.1:0").unwrap();
    let client = blocking::Client::new().unwrap();
    let options = CallOptions {
        deadline: Some(Duration::from_secs(20)),
        idempotent: false,
    };
    for cookie in 0..CALLS {
        let submitted = client.submit_with(server.local_addr(), b"question", cookie, options);
        submitted.unwrap();
    }
    // Each answer is given with more requests in the queue, and nobody comes back for them.
    for _ in 1..CALLS {
        let request = server.recv().unwrap();
        request.responder.reply(b"answer").unwrap();
    }
    let begun = Instant::now();
    for _ in 1..CALLS {
        let done = client.next_completion(None).unwrap().unwrap();
        assert_eq!(*done.result.unwrap(), *b"answer");
    }
    // Not only because the client asked again, which it does once in several milliseconds, or the
    // server gave up.
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(server.recv().unwrap().message.len(), 8);
}
