//! Hosts over a wire in memory: the library needs nothing of UDP.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::thread;

use common::{answer, message};
use homa::blocking::{Client, Server};
use homa::faults::Faults;
use homa::memory::{self, pair};
use homa::{Host, LinkKind, faults};

fn host() -> Host {
    Host::builder().build().unwrap()
}

#[test]
fn messages_cross_a_wire_in_memory_that_drops_reorders_and_doubles() {
    let config = memory::Config::default();
    let (near, far) = pair(&config).unwrap();
    let faulty = |link, seed| {
        let rate = 100_000;
        let config = faults::Config {
            drop_millionths: rate,
            reorder_millionths: rate,
            duplicate_millionths: rate,
            seed,
        };
        Box::new(Faults::new(link, config))
    };
    let (client_host, server_host) = (host(), host());
    let client = Client::on_link(&client_host, faulty(near, 5)).unwrap();
    let server = Server::on_link(&server_host, faulty(far, 6)).unwrap();
    assert_eq!(server.local_addr(), config.addresses.1);

    let worker = thread::spawn({
        let server = server.clone();
        move || {
            let mut count = 0;
            while let Ok(request) = server.recv() {
                count += 1;
                let _ = request.responder.reply(&answer(&request.message));
            }
            count
        }
    });
    for (seed, length) in [1, 1_416, 1_417, 50_000, 300_000].into_iter().enumerate() {
        let request = message(seed as u64, length);
        let response = client.call(config.addresses.1, &request).unwrap();
        assert!(
            *response == *answer(&request),
            "{length} bytes came back changed"
        );
    }
    let counters = client_host.counters().unwrap();
    assert!(counters.links.faults_dropped > 0 && counters.links.faults_duplicated > 0);
    assert!(counters.engine.data_resent > 0);
    server.close();
    assert_eq!(worker.join().unwrap(), 5, "each request ran once");
}

#[test]
fn a_full_wire_keeps_what_it_does_not_take() {
    let config = memory::Config {
        capacity_bytes: 3_000,
        ..memory::Config::default()
    };
    let (near, far) = pair(&config).unwrap();
    let (client_host, server_host) = (host(), host());
    let client = Client::on_link(&client_host, Box::new(near)).unwrap();
    let request = message(1, 1_000);
    for cookie in 0..10 {
        client.submit(config.addresses.1, &request, cookie).unwrap();
    }
    assert!(client_host.counters().unwrap().links.send_full > 0);
    let server = Server::on_link(&server_host, Box::new(far)).unwrap();
    for _ in 0..10 {
        let received = server.recv().unwrap();
        assert_eq!(*received.message, *request);
        received.responder.reply(&answer(&request)).unwrap();
    }
    for _ in 0..10 {
        let done = client.next_completion(None).unwrap().unwrap();
        assert_eq!(*done.result.unwrap(), *answer(&request));
    }
}

#[test]
fn a_link_is_chosen_by_a_word() {
    let kind: LinkKind = "udp".parse().unwrap();
    let server = Server::bind_on(&Host::builder().link(kind).build().unwrap(), "127.0.0.1:0");
    assert!(server.unwrap().local_addr().port() > 0);
}
