//! Private and shared completion, aborts, deadlines, several threads on one client or server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use core::time::Duration;
use std::thread;
use std::time::Instant;

use common::{Echo, answer, eventually, held, message};
use homa::blocking::{Client, Server};
use homa::{CallError, CallOptions, Host, RecvError};

fn within(deadline: Duration) -> CallOptions {
    CallOptions {
        deadline: Some(deadline),
        ..CallOptions::default()
    }
}

#[test]
fn a_started_call_is_seen_by_its_handle_only() {
    let echo = Echo::plain();
    let client = Client::new().unwrap();
    let private = client.start(echo.address, b"private").unwrap();
    client.submit(echo.address, b"shared", 9).unwrap();
    let done = client.next_completion(None).unwrap().unwrap();
    assert_eq!((done.cookie, done.peer), (9, echo.address));
    assert_eq!(*done.result.unwrap(), *answer(b"shared"));
    assert_eq!(*private.wait().unwrap(), *answer(b"private"));
    assert!(
        client
            .next_completion(Some(Duration::ZERO))
            .unwrap()
            .is_none()
    );
}

#[test]
fn calls_end_in_any_order() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let first = client.start(server.local_addr(), b"first").unwrap();
    let second = client.start(server.local_addr(), b"second").unwrap();
    let mut requests = [server.recv().unwrap(), server.recv().unwrap()];
    requests.sort_by_key(|request| request.message.len());
    let [one, two] = requests;
    two.responder.reply(b"2").unwrap();
    assert_eq!(*second.wait().unwrap(), *b"2");
    assert!(!first.is_done());
    one.responder.reply(b"1").unwrap();
    assert_eq!(*first.wait().unwrap(), *b"1");
}

#[test]
fn an_aborted_call_leaves_nothing_behind_and_its_reply_reaches_nobody() {
    let host = Host::builder().build().unwrap();
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::on(&host).unwrap();
    let pending = client.start(server.local_addr(), b"never mind").unwrap();
    let request = server.recv().unwrap();
    assert_eq!(pending.peer(), server.local_addr());
    pending.abort();
    assert_eq!(held(&host), (0, 0, 0));
    assert_eq!(host.send_bytes_held(), 0);
    // The abort may be lost; a reply to nobody is no error then, and costs nothing for long.
    let _ = request.responder.reply(b"too late");
    assert_eq!(
        *client.call(Echo::plain().address, b"next").unwrap(),
        *answer(b"next")
    );
}

#[test]
fn a_deadline_ends_a_call_that_the_server_is_slow_to_answer() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let start = Instant::now();
    let options = within(Duration::from_millis(30));
    let outcome = client.call_with(server.local_addr(), b"hurry", options);
    assert_eq!(outcome.unwrap_err(), CallError::DeadlineExceeded);
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_thread_that_sleeps_wakes_for_the_deadline_of_another_ones_call() {
    let host = Host::builder().spin(Duration::ZERO).build().unwrap();
    let own = Server::bind_on(&host, "127.0.0.1:0").unwrap();
    let other = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::on(&host).unwrap();
    let server = own.clone();
    // Nothing ever comes for it; between two calls it drives.
    let sleeper = thread::spawn(move || server.recv().map(drop));
    for _ in 0..10 {
        let start = Instant::now();
        let options = within(Duration::from_millis(2));
        let outcome = client.call_with(other.local_addr(), b"hurry", options);
        assert_eq!(outcome.unwrap_err(), CallError::DeadlineExceeded);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    own.close();
    assert_eq!(sleeper.join().unwrap(), Err(RecvError::Closed));
}

#[test]
fn a_server_that_is_slow_but_alive_is_waited_for() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let address = server.local_addr();
    let worker = thread::spawn(move || {
        let request = server.recv().unwrap();
        // Longer than silence may last: the background thread shows that the server lives.
        thread::park_timeout(Duration::from_millis(700));
        request.responder.reply(b"done").unwrap();
        server.shutdown(Duration::from_secs(5))
    });
    assert_eq!(*client.call(address, b"work").unwrap(), *b"done");
    assert!(worker.join().unwrap());
}

#[test]
fn a_client_goes_on_while_no_thread_waits() {
    let echo = Echo::plain();
    let host = Host::builder().build().unwrap();
    let client = Client::on(&host).unwrap();
    // Needs many grants, each of which somebody must receive.
    let request = message(1, 1_000_000);
    let pending = client.start(echo.address, &request).unwrap();
    assert!(eventually(|| pending.is_done()));
    assert_eq!(*pending.wait().unwrap(), *answer(&request));
}

#[test]
fn threads_share_a_client_and_a_server() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let server = server.clone();
            thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    request.responder.reply(&answer(&request.message)).unwrap();
                }
            })
        })
        .collect();
    let client = Client::new().unwrap();
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let client = &client;
            scope.spawn(move || {
                for call in 0..300 {
                    let request = message(thread << 32 | call, 1 + call as usize * 7);
                    let response = client.call(address, &request).unwrap();
                    assert_eq!(*response, *answer(&request));
                }
            });
        }
    });
    server.close();
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
}

#[test]
fn one_host_is_client_and_server_at_once() {
    let host = Host::builder().build().unwrap();
    let echo = Echo::new(host.clone(), "127.0.0.1:0");
    let other = Echo::new(host.clone(), "[::1]:0");
    let client = Client::on(&host).unwrap();
    for address in [echo.address, other.address] {
        assert_eq!(*client.call(address, b"round").unwrap(), *answer(b"round"));
    }
}

#[test]
fn a_server_calls_from_its_own_port() {
    let first = Server::bind("127.0.0.1:0").unwrap();
    let second = Server::bind("127.0.0.1:0").unwrap();
    let caller = first.client().unwrap();
    let pending = caller.start(second.local_addr(), b"who am I").unwrap();
    let request = second.recv().unwrap();
    assert_eq!(request.peer, first.local_addr());
    request.responder.reply(b"a server").unwrap();
    assert_eq!(*pending.wait().unwrap(), *b"a server");
    drop(caller);
    // The server's socket is not the client's to close.
    let client = Client::new().unwrap();
    let pending = client.start(first.local_addr(), b"still there").unwrap();
    first.recv().unwrap().responder.reply(b"yes").unwrap();
    assert_eq!(*pending.wait().unwrap(), *b"yes");
}

#[test]
fn names_are_resolved() {
    let echo = Echo::plain();
    let client = Client::new().unwrap();
    let name = format!("localhost:{}", echo.address.port());
    // The name may stand for ::1 first, where nobody listens on this port.
    assert_eq!(*client.call(&name, b"name").unwrap(), *answer(b"name"));
    let address = ("127.0.0.1", echo.address.port());
    assert_eq!(*client.call(address, b"pair").unwrap(), *answer(b"pair"));
}

#[test]
fn calls_wait_for_room_while_submissions_are_refused() {
    let small = homa::Config {
        max_message_bytes: 1_000,
        ..homa::Config::user_space()
    };
    let host = Host::builder()
        .config(small)
        .send_budget_bytes(1_000)
        .build()
        .unwrap();
    let server = Server::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    let client = Client::on(&host).unwrap();
    let first = client.start(address, &[1; 900]).unwrap();
    let full = CallError::SendBufferFull {
        held: 900,
        limit: 1_000,
    };
    assert_eq!(client.submit(address, &[2; 101], 0).unwrap_err(), full);
    let outcome = client.start_with(address, &[2; 101], within(Duration::from_millis(5)));
    assert_eq!(outcome.unwrap_err(), CallError::DeadlineExceeded);

    let second = thread::spawn({
        let client = client.clone();
        move || client.call(address, &[2; 101])
    });
    server.recv().unwrap().responder.reply(b"1").unwrap();
    assert_eq!(*first.wait().unwrap(), *b"1");
    server.recv().unwrap().responder.reply(b"2").unwrap();
    assert_eq!(*second.join().unwrap().unwrap(), *b"2");
    assert_eq!(host.send_bytes_held(), 0);
}

#[test]
fn completions_that_were_not_taken_outlive_the_calls_but_not_the_client() {
    let echo = Echo::plain();
    let client = Client::new().unwrap();
    client.submit(echo.address, b"later", 1).unwrap();
    assert!(client.shutdown(Duration::from_secs(5)));
    assert_eq!(client.next_completion(None).unwrap().unwrap().cookie, 1);
    assert_eq!(client.next_completion(None).unwrap_err(), RecvError::Closed);
}
