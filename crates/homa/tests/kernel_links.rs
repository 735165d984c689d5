//! The links that reach Homa in kernels, on the loopback: IP protocol 146 and the UDP tunnel.
//!
//! The first takes CAP_NET_RAW. Without it, its tests look at what a program is told instead.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::process;

use common::{Echo, answer, message, with_faults};
use homa::blocking::{Client, Server};
use homa::{BindError, Builder, CallError, Config, Host, LinkKind};

fn host(link: LinkKind) -> Host {
    Host::builder().link(link).build().unwrap()
}

/// A host on IP that waits long before it asks, whatever else this machine does.
fn patient() -> Builder {
    Host::builder().link(LinkKind::Ip).config(Config {
        resend_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(20),
        ..homa::default_config(LinkKind::Ip)
    })
}

/// A server on a Homa port of servers that is free: 1 to 32767, begun with where no other run of the
/// tests does. Each test has a range of its own: a port that one of them has given back is nobody's,
/// and not the next server's of another.
fn server(host: &Host, range: u16) -> Server {
    server_at(host, Ipv4Addr::LOCALHOST, range)
}

fn server_at(host: &Host, address: Ipv4Addr, range: u16) -> Server {
    let first = 1_024 + 8_192 * range + (process::id() as u16 & 0xfff);
    (first..)
        .find_map(|port| match Server::bind_on(host, (address, port)) {
            Err(BindError::HomaPortInUse(_)) => None,
            other => Some(other.unwrap()),
        })
        .unwrap()
}

/// Whether this process may open raw sockets. If not, the error names the right and the way without.
fn has_right() -> bool {
    let Err(error) = Server::bind_on(&host(LinkKind::Ip), "127.0.0.1:0") else {
        return true;
    };
    assert!(matches!(error, BindError::NeedsNetRaw(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("CAP_NET_RAW") && text.contains("link udp"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
    false
}

/// Two servers of one host, a client of it, and one of another: each gets its own.
fn each_gets_its_own(servers: [&Server; 2], clients: [&Client; 2]) {
    for (round, length) in [1, 1_000, 100_000, 300_000].into_iter().enumerate() {
        let calls = clients.map(|client| {
            servers.map(|server| {
                let request = message(round as u64, length);
                client.start(server.local_addr(), &request).unwrap()
            })
        });
        for server in servers {
            for _ in clients {
                let request = server.recv().unwrap();
                let port = server.local_addr().port();
                let mut response = answer(&request.message);
                response.extend(port.to_be_bytes());
                request.responder.reply(&response).unwrap();
            }
        }
        for (call, server) in calls
            .into_iter()
            .flat_map(|calls| calls.into_iter().zip(servers))
        {
            let response = call.wait().unwrap();
            let (echo, port) = response.split_at(length);
            assert!(echo == answer(&message(round as u64, length)));
            assert_eq!(port, server.local_addr().port().to_be_bytes());
        }
    }
}

#[test]
fn several_sockets_of_one_process_have_homa_ports_of_their_own_on_ip() {
    if !has_right() {
        return;
    }
    let (near, far) = (host(LinkKind::Ip), host(LinkKind::Ip));
    let (first, second) = (server(&near, 0), server(&near, 0));
    assert!(first.local_addr().port() < 32_768);
    assert_ne!(first.local_addr(), second.local_addr());
    let clients = [&Client::on(&near).unwrap(), &Client::on(&far).unwrap()];
    each_gets_its_own([&first, &second], clients);
    let again = Server::bind_on(&far, first.local_addr()).map(drop);
    assert_eq!(again, Err(BindError::HomaPortInUse(first.local_addr())));
}

#[test]
fn several_sockets_of_one_process_share_the_tunnel() {
    // Addresses of the loopback that another run of the tests does not use.
    let [_, _, high, low] = process::id().to_be_bytes();
    let at = |last: u8, port| SocketAddr::from(([127, high, low, last], port));
    let (near, far) = (host(LinkKind::Tunnel), host(LinkKind::Tunnel));
    let bind = |host, address| Server::bind_on(host, address).unwrap();
    let (first, second) = (bind(&near, at(5, 99)), bind(&near, at(5, 100)));
    let other = bind(&far, at(6, 99));
    let clients = [&first.client().unwrap(), &other.client().unwrap()];
    each_gets_its_own([&first, &second], clients);
    let again = Server::bind_on(&near, at(5, 100)).map(drop);
    assert_eq!(again, Err(BindError::TunnelPortInUse(at(5, 100))));
}

#[test]
fn a_homa_port_of_nobody_refuses_the_calls_to_it_and_no_others() {
    if !has_right() {
        return;
    }
    let host = patient().build().unwrap();
    let server = server(&host, 1);
    // That of another server, which is gone.
    let nobody = self::server(&host, 1).local_addr();
    let client = Client::on(&host).unwrap();
    let live = client.start(server.local_addr(), b"slow").unwrap();
    let request = server.recv().unwrap();
    // By ICMP, and not by the timeout, which is another error.
    let error = client.call(nobody, b"anyone").unwrap_err();
    assert_eq!(error, CallError::Refused);
    request.responder.reply(b"done").unwrap();
    assert_eq!(*live.wait().unwrap(), *b"done");
}

#[test]
fn a_homa_port_is_answered_for_as_soon_as_its_server_is_gone() {
    if !has_right() {
        return;
    }
    let host = patient().build().unwrap();
    let client = Client::on(&host).unwrap();
    // Fewer than the answers that a guard gives at once.
    for _ in 0..8 {
        let server = server(&host, 2);
        let address = server.local_addr();
        // The guard hears of the port, and leaves it out from then on.
        let call = client.start(address, b"one").unwrap();
        server.recv().unwrap().responder.reply(b"two").unwrap();
        assert_eq!(*call.wait().unwrap(), *b"two");
        drop(server);
        let error = client.call(address, b"anyone").unwrap_err();
        assert_eq!(error, CallError::Refused);
    }
}

#[test]
fn whoever_hears_strays_leaves_that_to_another_when_it_goes() {
    if !has_right() {
        return;
    }
    let host = patient().build().unwrap();
    let client = Client::on(&host).unwrap();
    // An address that no other test has a link at.
    let [_, _, high, low] = process::id().to_be_bytes();
    let server = || server_at(&host, Ipv4Addr::new(127, high, low, 9), 3);
    let servers = [server(), server()];
    let nobody = server().local_addr();
    for server in servers {
        assert_eq!(client.call(nobody, b"x").unwrap_err(), CallError::Refused);
        drop(server);
    }
    // The client, at all addresses, is the last.
    assert_eq!(client.call(nobody, b"x").unwrap_err(), CallError::Refused);
}

#[test]
fn messages_cross_ip_that_drops_reorders_and_doubles() {
    if !has_right() {
        return;
    }
    let lasting = Config {
        timeout: Duration::from_secs(20),
        ..homa::default_config(LinkKind::Ip)
    };
    let host = |seed| {
        with_faults(patient().config(lasting.clone()), seed)
            .build()
            .unwrap()
    };
    let echo = Echo::new(host(1), "127.0.0.1:0");
    let client = Client::on(&host(2)).unwrap();
    for (seed, length) in [1, 1_424, 70_000, 1_000_000].into_iter().enumerate() {
        let request = message(seed as u64, length);
        let response = client.call(echo.address, &request).unwrap();
        assert!(
            *response == *answer(&request),
            "{length} bytes came back changed"
        );
    }
    assert_eq!(echo.stop(), 4);
}
