//! What goes wrong, and what the application is told.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use core::time::Duration;
use std::net::UdpSocket;
use std::thread;

use common::{Echo, answer, eventually, held, sized};
use homa::blocking::{Client, Server};
use homa::{BindError, Blame, CallError, CallOptions, Config, Host, RecvError, ReplyError};

#[test]
fn a_dropped_responder_tells_the_client() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let pending = client.start(server.local_addr(), b"please").unwrap();
    drop(server.recv().unwrap());
    let error = pending.wait().unwrap_err();
    assert_eq!(error, CallError::DroppedByServer);
    assert_eq!(error.blame(), Blame::Server);
    assert!(error.may_have_run());
}

#[test]
fn a_port_without_a_listener_refuses_at_once() {
    let closed = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Client::new().unwrap();
    let error = client.call(closed, b"anyone").unwrap_err();
    assert_eq!(error, CallError::Refused);
    assert!(!error.may_have_run());
}

#[test]
fn an_address_that_leads_nowhere_is_unreachable() {
    let client = Client::new().unwrap();
    // Everybody on the link is nobody's address; the system refuses it without a packet.
    let error = client.call("255.255.255.255:4000", b"anyone").unwrap_err();
    assert_eq!(error, CallError::Unreachable);
    assert_eq!(error.blame(), Blame::Network);
}

#[test]
fn a_peer_that_never_answers_times_out() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let host = Host::builder().build().unwrap();
    let client = Client::on(&host).unwrap();
    let error = client
        .call(silent.local_addr().unwrap(), b"anyone")
        .unwrap_err();
    assert_eq!(error, CallError::TimedOut);
    assert_eq!(held(&host), (0, 0, 0));
    assert_eq!(host.send_bytes_held(), 0);
}

#[test]
fn a_message_that_is_empty_or_too_long_is_refused_before_it_is_sent() {
    let echo = Echo::plain();
    let client = Client::new().unwrap();
    assert_eq!(
        client.call(echo.address, b"").unwrap_err(),
        CallError::Empty
    );
    let error = client.call(echo.address, &vec![0; 1_000_001]).unwrap_err();
    let expected = CallError::MessageTooLong {
        length: 1_000_001,
        limit: 1_000_000,
    };
    assert_eq!(error, expected);
    assert_eq!(
        error.to_string(),
        "the request has 1000001 bytes and may have 1000000; split it, or raise \
         the limit at both ends"
    );
    assert_eq!(echo.stop(), 0);
}

#[test]
fn a_request_longer_than_the_server_takes_ends_with_an_error() {
    let echo = Echo::plain();
    let client = Client::on(&sized(2_000_000).build().unwrap()).unwrap();
    let patient = CallOptions {
        deadline: Some(Duration::from_secs(10)),
        ..CallOptions::default()
    };
    let outcome = client.call_with(echo.address, &vec![0; 1_500_000], patient);
    assert_ne!(
        outcome.unwrap_err(),
        CallError::DeadlineExceeded,
        "the server says no"
    );
    assert_eq!(echo.stop(), 0);
}

#[test]
fn a_response_longer_than_the_client_takes_ends_with_an_error() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let small = Config {
        max_message_bytes: 1_000,
        ..Config::user_space()
    };
    let client = Client::on(&Host::builder().config(small).build().unwrap()).unwrap();
    let pending = client.start(server.local_addr(), b"all of it").unwrap();
    server.recv().unwrap().responder.reply(&[0; 1_001]).unwrap();
    let error = pending.wait().unwrap_err();
    assert_eq!(error, CallError::ResponseTooLong);
    assert_eq!(error.blame(), Blame::Caller);
}

#[test]
fn a_reply_that_cannot_be_sent_says_why_and_the_client_is_told() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let pending = client.start(server.local_addr(), b"question").unwrap();
    let outcome = server.recv().unwrap().responder.reply(b"");
    assert_eq!(outcome.unwrap_err(), ReplyError::Empty);
    assert_eq!(pending.wait().unwrap_err(), CallError::DroppedByServer);

    let pending = client.start(server.local_addr(), b"question").unwrap();
    let outcome = server.recv().unwrap().responder.reply(&vec![0; 1_000_001]);
    assert!(matches!(outcome, Err(ReplyError::MessageTooLong { .. })));
    assert_eq!(pending.wait().unwrap_err(), CallError::DroppedByServer);
}

#[test]
fn a_reply_to_a_client_that_aborted_says_that_nobody_waits() {
    let host = Host::builder().build().unwrap();
    let server = Server::bind_on(&host, "127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let pending = client.start(server.local_addr(), b"question").unwrap();
    let request = server.recv().unwrap();
    pending.abort();
    assert!(eventually(|| host.usage().unwrap().server_rpcs == 0));
    assert_eq!(
        request.responder.reply(b"answer").unwrap_err(),
        ReplyError::Gone
    );
}

#[test]
fn closing_wakes_every_thread_that_waits() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let pending = client.start(server.local_addr(), b"unanswered").unwrap();
    let request = server.recv().unwrap();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| server.recv().unwrap_err());
        let caller = scope.spawn(move || pending.wait().unwrap_err());
        let taker = scope.spawn(|| client.next_completion(None).unwrap_err());
        client.close();
        assert_eq!(caller.join().unwrap(), CallError::Closed);
        assert_eq!(taker.join().unwrap(), RecvError::Closed);
        server.close();
        assert_eq!(receiver.join().unwrap(), RecvError::Closed);
    });
    assert_eq!(
        request.responder.reply(b"late").unwrap_err(),
        ReplyError::Closed
    );
    assert_eq!(
        client.call(server.local_addr(), b"late").unwrap_err(),
        CallError::Closed
    );
    client.close();
    server.close();
}

#[test]
fn clients_of_a_server_that_closes_are_told() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    let pending = client.start(server.local_addr(), b"unanswered").unwrap();
    let request = server.recv().unwrap();
    server.close();
    assert_eq!(pending.wait().unwrap_err(), CallError::DroppedByServer);
    drop(request);
}

#[test]
fn an_address_that_is_taken_foreign_or_no_address_says_so() {
    let taken = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let holder = Server::bind(taken).unwrap();
    assert_eq!(
        Server::bind(taken).unwrap_err(),
        BindError::AddressInUse(taken)
    );
    let foreign = "192.0.2.1:0".parse().unwrap();
    assert_eq!(
        Server::bind(foreign).unwrap_err(),
        BindError::AddressNotAvailable(foreign)
    );
    assert!(matches!(
        Server::bind("no port"),
        Err(BindError::Resolve(_))
    ));
    drop(holder);
    Server::bind(taken).unwrap();
}

#[test]
fn a_name_that_does_not_resolve_is_the_callers_error() {
    let client = Client::new().unwrap();
    for name in ["nowhere.invalid:4000", "127.0.0.1", "127.0.0.1:0"] {
        let error = client.call(name, b"anyone").unwrap_err();
        assert!(matches!(error, CallError::Resolve(_)), "{name}: {error}");
        assert_eq!(error.blame(), Blame::Caller);
    }
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused() {
    let config = Config {
        overcommitment: 9,
        ..Config::user_space()
    };
    assert!(matches!(
        Host::builder().config(config).build(),
        Err(BindError::Config(_))
    ));
    let narrow = Host::builder().send_budget_bytes(10).build();
    assert!(matches!(narrow, Err(BindError::Config(_))));
}

#[test]
fn other_calls_go_on_beside_one_that_fails() {
    let echo = Echo::plain();
    let closed = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Client::new().unwrap();
    let good = client.start(echo.address, b"good").unwrap();
    let bad = client.start(closed, b"bad").unwrap();
    assert_eq!(bad.wait().unwrap_err(), CallError::Refused);
    assert_eq!(*good.wait().unwrap(), *answer(b"good"));
}
