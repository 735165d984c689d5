//! Messages of every length, over both families, under loss, many at once: each arrives once and
//! whole.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use core::time::Duration;

use common::{Echo, answer, eventually, faulty, held, message, sized, with_faults};
use homa::blocking::{Client, Server};
use homa::{Builder, Config, Host};

const LENGTHS: [usize; 16] = [
    1, 2, 63, 100, 999, 1_000, 1_400, 1_416, 1_417, 10_000, 39_999, 65_451, 65_452, 100_000,
    500_000, 1_000_000,
];

fn echoes_every_length(echo: &Echo, client: &Client) {
    for (seed, length) in LENGTHS.into_iter().enumerate() {
        let request = message(seed as u64, length);
        let response = client.call(echo.address, &request).unwrap();
        assert!(
            *response == *answer(&request),
            "{length} bytes came back changed"
        );
    }
}

#[test]
fn messages_of_every_length_come_back_over_ipv4() {
    let echo = Echo::plain();
    echoes_every_length(&echo, &Client::new().unwrap());
}

#[test]
fn messages_of_every_length_come_back_over_ipv6() {
    let echo = Echo::new(Host::builder().build().unwrap(), "[::1]:0");
    echoes_every_length(&echo, &Client::new().unwrap());
}

#[test]
fn messages_of_every_length_come_back_when_one_packet_in_ten_is_lost_late_or_doubled() {
    let echo = Echo::new(faulty(1).build().unwrap(), "127.0.0.1:0");
    let host = faulty(2).build().unwrap();
    echoes_every_length(&echo, &Client::on(&host).unwrap());
    let faults = host.counters().unwrap().links;
    assert!(faults.faults_dropped + faults.faults_duplicated + faults.faults_reordered > 0);
    assert_eq!(echo.stop(), LENGTHS.len() as u64, "each request ran once");
}

#[test]
fn hosts_so_configured_exchange_16_mebibytes() {
    let length = 16 << 20;
    let echo = Echo::new(sized(length).build().unwrap(), "127.0.0.1:0");
    let client = Client::on(&sized(length).build().unwrap()).unwrap();
    let request = message(16, length as usize);
    let response = client.call(echo.address, &request).unwrap();
    assert!(*response == *answer(&request));
}

#[test]
fn sixteen_mebibytes_arrive_whole_when_one_packet_in_ten_is_lost_late_or_doubled() {
    let length = 16 << 20;
    let host = |seed| with_faults(sized(length), seed).build().unwrap();
    let echo = Echo::new(host(5), "127.0.0.1:0");
    let client = Client::on(&host(6)).unwrap();
    let request = message(17, length as usize);
    let response = client.call(echo.address, &request).unwrap();
    assert!(*response == *answer(&request));
    assert_eq!(echo.stop(), 1);
}

#[test]
fn one_client_calls_servers_of_both_families_at_once() {
    let v4 = Echo::plain();
    let v6 = Echo::new(Host::builder().build().unwrap(), "[::1]:0");
    let client = Client::new().unwrap();
    let (one, two) = (message(1, 5_000), message(2, 5_000));
    let first = client.start(v4.address, &one).unwrap();
    let second = client.start(v6.address, &two).unwrap();
    assert_eq!(*second.wait().unwrap(), *answer(&two));
    assert_eq!(*first.wait().unwrap(), *answer(&one));
}

/// A host that is not given up, however long the machine lets it wait: thousands of calls in one
/// process are a second's work where others work too, and several where each access to memory is
/// checked. A request that was lost is sent again only while the server would remember it.
fn patient() -> Builder {
    const PATIENCE: Duration = Duration::from_secs(20);
    Host::builder().config(Config {
        timeout: PATIENCE,
        packet_lifetime: PATIENCE,
        ..Config::user_space()
    })
}

/// Runs `count` calls, all under way at once, and checks each.
fn many_at_once(echo: &Echo, client: &Client, count: u64, length_of: impl Fn(u64) -> usize) {
    for seed in 0..count {
        let request = message(seed, length_of(seed));
        client.submit(echo.address, &request, seed).unwrap();
    }
    let mut seen = vec![false; count as usize];
    for _ in 0..count {
        let done = client.next_completion(None).unwrap().unwrap();
        let request = message(done.cookie, length_of(done.cookie));
        let response = done
            .result
            .unwrap_or_else(|error| panic!("{}: {error}", done.cookie));
        assert!(
            *response == *answer(&request),
            "call {} came back changed",
            done.cookie
        );
        assert!(!core::mem::replace(&mut seen[done.cookie as usize], true));
    }
}

#[test]
fn thousands_of_calls_at_once_are_answered_each_with_its_own_response() {
    let echo = Echo::new(patient().build().unwrap(), "127.0.0.1:0");
    let client = Client::on(&patient().build().unwrap()).unwrap();
    many_at_once(&echo, &client, 5_000, |seed| {
        1 + (seed as usize * 37) % 3_000
    });
    assert_eq!(echo.stop(), 5_000);
}

#[test]
fn thousands_of_calls_at_once_survive_loss_reordering_and_duplication() {
    let patient = |seed| with_faults(patient(), seed).build().unwrap();
    let echo = Echo::new(patient(3), "127.0.0.1:0");
    let host = patient(4);
    let client = Client::on(&host).unwrap();
    many_at_once(&echo, &client, 2_000, |seed| {
        1 + (seed as usize * 977) % 20_000
    });
    assert!(eventually(|| held(&host) == (0, 0, 0)));
    assert!(eventually(|| held(&echo.host) == (0, 0, 0)));
    assert_eq!(echo.stop(), 2_000, "each request ran once");
}

#[test]
fn messages_wait_for_receive_budget_and_go_on_when_the_application_drops_some() {
    let narrow = Config {
        max_message_bytes: 100_000,
        receive_budget_bytes: 300_000,
        ..Config::user_space()
    };
    let host = Host::builder().config(narrow).build().unwrap();
    let server = Server::bind_on(&host, "127.0.0.1:0").unwrap();
    let client = Client::new().unwrap();
    for cookie in 0..20 {
        let request = message(cookie, 50_000);
        client
            .submit(server.local_addr(), &request, cookie)
            .unwrap();
    }
    let held: Vec<_> = (0..6).map(|_| server.recv().unwrap()).collect();
    assert!(eventually(|| host.counters().unwrap().engine.stalls > 0));
    assert!(
        server
            .recv_timeout(Duration::from_millis(20))
            .unwrap()
            .is_none()
    );
    for request in held {
        request.responder.reply(b"done").unwrap();
    }
    for _ in 6..20 {
        server.recv().unwrap().responder.reply(b"done").unwrap();
    }
    for _ in 0..20 {
        assert!(
            client
                .next_completion(None)
                .unwrap()
                .unwrap()
                .result
                .is_ok()
        );
    }
}
