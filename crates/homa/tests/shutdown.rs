//! Draining, closing and dropping: what is under way is finished or told, and nothing stays.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use core::time::Duration;
use std::thread;

use common::{Echo, answer, eventually, held, message};
use homa::blocking::{Client, Server};
use homa::{CallError, Host, RecvError};

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_client_that_shuts_down_finishes_its_calls_first() {
    let echo = Echo::plain();
    let client = Client::new().unwrap();
    let request = message(1, 1_000_000);
    let pending = client.start(echo.address, &request).unwrap();
    assert!(client.shutdown(PATIENCE));
    assert!(client.shutdown(PATIENCE), "twice is as good as once");
    assert_eq!(*pending.wait().unwrap(), *answer(&request));
    assert_eq!(
        client.call(echo.address, b"more").unwrap_err(),
        CallError::Closed
    );
}

#[test]
fn a_client_that_runs_out_of_time_ends_its_calls() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let pending = client.start(server.local_addr(), b"unanswered").unwrap();
    assert!(!client.shutdown(Duration::from_millis(20)));
    assert_eq!(pending.wait().unwrap_err(), CallError::Closed);
}

#[test]
fn a_server_that_shuts_down_delivers_its_responses_first() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let pending = client.start(server.local_addr(), b"question").unwrap();
    let late = client
        .start(server.local_addr(), b"not received in time")
        .unwrap();
    let request = server.recv().unwrap();
    let response = message(2, 1_000_000);
    request.responder.reply(&response).unwrap();
    assert!(server.shutdown(PATIENCE));
    assert_eq!(*pending.wait().unwrap(), *response);
    assert!(late.wait().is_err());
    assert_eq!(server.recv().unwrap_err(), RecvError::Closed);
    assert!(server.shutdown(PATIENCE), "twice is as good as once");
}

#[test]
fn a_server_that_shuts_down_waits_for_requests_in_service() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let pending = client.start(server.local_addr(), b"question").unwrap();
    let request = server.recv().unwrap();
    thread::scope(|scope| {
        let drained = scope.spawn(|| server.shutdown(PATIENCE));
        scope.spawn(|| assert_eq!(server.recv().unwrap_err(), RecvError::Closed));
        request.responder.reply(b"answer").unwrap();
        assert!(drained.join().unwrap());
    });
    assert_eq!(*pending.wait().unwrap(), *b"answer");
}

#[test]
fn a_client_that_goes_frees_the_tables_of_its_servers() {
    let host = Host::builder().build().unwrap();
    let server = Server::bind_on(&host, "127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let pending: Vec<_> = (0..50)
        .map(|_| client.start(server.local_addr(), &[7; 3_000]).unwrap())
        .collect();
    let requests: Vec<_> = (0..50).map(|_| server.recv().unwrap()).collect();
    assert_eq!(held(&host).1, 50);
    drop(client);
    assert!(eventually(|| held(&host).1 == 0));
    drop(requests);
    assert_eq!(held(&host), (0, 0, 0));
    for call in pending {
        assert_eq!(call.wait().unwrap_err(), CallError::Closed);
    }
}

#[test]
fn tables_are_empty_when_all_is_done() {
    let echo = Echo::plain();
    let host = Host::builder().build().unwrap();
    let client = Client::on(&host).unwrap();
    for length in [1, 10_000, 200_000] {
        client.call(echo.address, &message(3, length)).unwrap();
    }
    assert_eq!(held(&host), (0, 0, 0));
    assert_eq!(
        (host.send_bytes_held(), echo.host.send_bytes_held()),
        (0, 200_000)
    );
    assert!(
        eventually(|| held(&echo.host) == (0, 0, 0)),
        "the last response is acknowledged"
    );
    assert_eq!(echo.host.send_bytes_held(), 0);
}

#[test]
fn a_host_lives_as_long_as_its_last_handle() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let pending = client.start(server.local_addr(), b"question").unwrap();
    let request = server.recv().unwrap();
    let message = request.message;
    drop(server);
    assert_eq!(pending.wait().unwrap_err(), CallError::DroppedByServer);
    drop(request.responder);
    assert_eq!(*message, *b"question", "a message outlives its host");
}
