//! A process that waits uses no processor time. A binary of its own: it counts what its threads do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use std::thread;

use homa::RecvError;
use homa::blocking::{Client, Server};

#[test]
fn threads_that_wait_for_nothing_sleep() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let pending = client.start(server.local_addr(), b"question").unwrap();
    let request = server.recv().unwrap();
    request.responder.reply(b"answer").unwrap();
    assert_eq!(*pending.wait().unwrap(), *b"answer");

    let waiter = thread::spawn({
        let server = server.clone();
        move || server.recv().unwrap_err()
    });
    // The background threads look for a while whether they are needed.
    thread::park_timeout(Duration::from_secs(1));
    let before = wakes();
    thread::park_timeout(Duration::from_secs(1));
    let woken = wakes() - before;
    server.close();
    assert_eq!(waiter.join().unwrap(), RecvError::Closed);
    assert!(
        woken < 20,
        "the threads of an idle process woke {woken} times in a second"
    );
}

/// Times that the threads of this process were woken.
fn wakes() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of_task = |path: std::path::PathBuf| {
        let status = std::fs::read_to_string(path.join("status")).unwrap();
        let mut lines = status.lines();
        let line = lines.find(|line| line.starts_with("voluntary_ctxt_switches"));
        let count = line.and_then(|line| line.split_whitespace().nth(1));
        count.unwrap().parse::<u64>().unwrap()
    };
    tasks.map(|task| of_task(task.unwrap().path())).sum()
}
