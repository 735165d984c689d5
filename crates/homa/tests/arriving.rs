//! Messages that are read while they arrive.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::net::SocketAddr;
use core::time::Duration;
use std::io::Read;

use homa::blocking::{Client, Server};
use homa::{CallError, Config, Host, ReplyError};

const LOCAL: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 0);

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// A call of a client on a host of its own.
fn call(bytes: &[u8], server: &Server) -> (Host, Client, homa::blocking::Pending) {
    let host = Host::builder().build().unwrap();
    let client = Client::on(&host).unwrap();
    let call = client.start(server.local_addr(), bytes).unwrap();
    (host, client, call)
}

#[test]
fn the_first_bytes_of_a_request_are_read_before_the_last_ones_came() {
    // Nothing arrives at the client, so that the server's grants are lost and the request stops
    // after its unscheduled bytes until they are repeated.
    let lossy = homa::faults::Config {
        drop_millionths: homa::faults::MILLION,
        ..homa::faults::Config::default()
    };
    let config = Config {
        unscheduled_bytes: 2_000,
        ..Config::user_space()
    };
    let server_host = Host::builder().build().unwrap();
    let server = Server::bind_on(&server_host, LOCAL).unwrap();
    let host = Host::builder()
        .config(config)
        .faults(lossy)
        .build()
        .unwrap();
    let client = Client::on(&host).unwrap();
    let bytes = pattern(200_000);
    let call = client.start(server.local_addr(), &bytes).unwrap();
    // Its first bytes come before anybody asks for such requests.
    while server_host.usage().unwrap().budget_used_bytes == 0 {
        std::thread::yield_now();
    }
    let mut arriving = server.recv_arriving().unwrap();
    let mut head = [0; 1_000];
    arriving.read_exact(&mut head).unwrap();
    assert_eq!((&head[..], arriving.len()), (&bytes[..1_000], 200_000));
    // The rest never comes: the client is gone, and its server hears of it.
    drop((call, client, host));
    let mut rest = Vec::new();
    let error = arriving.read_to_end(&mut rest).unwrap_err();
    let inner = error
        .get_ref()
        .and_then(|it| it.downcast_ref::<ReplyError>());
    assert_eq!(inner, Some(&ReplyError::Gone));
    assert!(bytes[1_000..].starts_with(&rest));
    assert_eq!(arriving.finish().unwrap_err(), ReplyError::Gone);
}

#[test]
fn a_request_read_in_pieces_is_the_request_and_is_answered_like_any_other() {
    let server_host = Host::builder().build().unwrap();
    let server = Server::bind_on(&server_host, LOCAL).unwrap();
    let bytes = pattern(300_000);
    let (host, _client, mut pending) = call(&bytes, &server);
    let mut arriving = server.recv_arriving().unwrap();
    let (mut read, mut piece) = (Vec::new(), [0; 10_007]);
    while read.len() < 250_000 {
        let count = arriving.read(&mut piece).unwrap();
        assert!(count > 0);
        read.extend_from_slice(&piece[..count]);
    }
    assert_eq!(read[..], bytes[..read.len()]);
    let request = arriving.finish().unwrap();
    assert_eq!(*request.message, bytes[..]);
    request.responder.reply(&request.message).unwrap();
    drop(request.message);

    // The response, in pieces and then whole.
    let mut begun = vec![0; 123_456];
    pending.read_exact(&mut begun).unwrap();
    assert_eq!(begun[..], bytes[..123_456]);
    assert_eq!(*pending.wait().unwrap(), bytes[..]);
    let idle = |host: &Host| host.usage().unwrap().budget_used_bytes;
    assert_eq!((idle(&host), idle(&server_host)), (0, 0));
}

#[test]
fn an_arriving_request_that_is_dropped_fails_its_call_and_holds_nothing() {
    let host = Host::builder().build().unwrap();
    let server = Server::bind_on(&host, LOCAL).unwrap();
    for length in [10, 200_000] {
        let (_host, _client, pending) = call(&pattern(length), &server);
        drop(server.recv_arriving().unwrap());
        assert_eq!(pending.wait().unwrap_err(), CallError::DroppedByServer);
    }
    assert!(server.shutdown(Duration::from_secs(20)));
    assert_eq!(host.usage().unwrap().budget_used_bytes, 0);
    assert_eq!(server.recv_arriving().unwrap_err(), homa::RecvError::Closed);
}

#[test]
fn a_response_that_does_not_come_ends_its_reading_with_the_reason() {
    let server = Server::bind(LOCAL).unwrap();
    let (_host, _client, mut pending) = call(b"question", &server);
    drop(server.recv().unwrap());
    let error = pending.read(&mut [0; 10]).unwrap_err();
    let inner = error
        .get_ref()
        .and_then(|it| it.downcast_ref::<CallError>());
    assert_eq!(inner, Some(&CallError::DroppedByServer));
}

#[cfg(feature = "tokio")]
#[tokio::test(flavor = "current_thread")]
async fn tasks_read_both_messages_as_streams_of_bytes() {
    use tokio::io::AsyncReadExt;

    let bytes = pattern(300_000);
    let server = homa::Server::bind(LOCAL).await.unwrap();
    let client = homa::Client::new().unwrap();
    let mut call = client.start(server.local_addr(), &bytes).await.unwrap();
    let mut arriving = server.recv_arriving().await.unwrap();
    let mut read = vec![0; 100_000];
    arriving.read_exact(&mut read).await.unwrap();
    assert_eq!(read[..], bytes[..100_000]);
    arriving.read_to_end(&mut read).await.unwrap();
    assert_eq!(read[..], bytes[..]);
    let request = arriving.finish().await.unwrap();
    request.responder.reply(&request.message).await.unwrap();
    let mut response = Vec::new();
    call.read_to_end(&mut response).await.unwrap();
    assert_eq!(response[..], bytes[..]);
    assert_eq!(*call.await.unwrap(), bytes[..]);
}
