//! Completion seen in memory. A program of its own: a thread of it gives up the right to system calls.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use homa::Host;
use homa::blocking::{Client, Server};
use rustix::thread::{SecureComputingMode, set_secure_computing_mode};

#[test]
fn a_thread_that_may_make_no_system_call_sees_that_a_response_came() {
    let host = Host::builder().build().unwrap();
    let client = Client::on(&host).unwrap();
    let server = Server::bind("127.0.0.1:0").unwrap();
    let call = client.start(server.local_addr(), b"question").unwrap();
    let before = host.news();
    let [looks, seen] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let polling = (Arc::clone(&looks), Arc::clone(&seen), host.clone());
    thread::spawn(move || {
        let (looks, seen, host) = polling;
        // From here on anything but read, write and exit kills the process. A kernel without seccomp
        // lets the thread look all the same.
        let _ = set_secure_computing_mode(SecureComputingMode::Strict);
        looks.store(true, Ordering::Release);
        while host.news() == before {
            core::hint::spin_loop();
        }
        seen.store(true, Ordering::Release);
        // The end of a thread takes system calls; this one ends with the process.
        loop {
            core::hint::spin_loop();
        }
    });
    while !looks.load(Ordering::Acquire) {
        thread::yield_now();
    }
    server.recv().unwrap().responder.reply(b"answer").unwrap();
    // A thread that made a system call is gone without a word.
    let begun = Instant::now();
    while !seen.load(Ordering::Acquire) && begun.elapsed() < Duration::from_secs(20) {
        thread::yield_now();
    }
    assert!(seen.load(Ordering::Acquire));
    assert!(call.is_done());
    assert_eq!(*call.wait().unwrap(), *b"answer");
}
