//! Several engines of one host, each with a thread of its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::thread;

use common::{answer, eventually, message};
use homa::blocking::{Client, Server};
use homa::{BindError, Host, LinkKind};

/// A host of `count` engines that answers at one address; returns its servers, and threads that
/// count what each engine answered.
fn echo(hosts: &[Host]) -> (Vec<Server>, Vec<thread::JoinHandle<u64>>) {
    let first = Server::bind_on(&hosts[0], "127.0.0.1:0").unwrap();
    let address = first.local_addr();
    let others = hosts[1..]
        .iter()
        .map(|host| Server::bind_on(host, address).unwrap());
    let servers: Vec<_> = core::iter::once(first).chain(others).collect();
    let threads = servers.iter().cloned().map(|server| {
        thread::spawn(move || {
            let mut count = 0;
            while let Ok(request) = server.recv() {
                count += 1;
                let _ = request.responder.reply(&answer(&request.message));
            }
            count
        })
    });
    let threads = threads.collect();
    (servers, threads)
}

#[test]
fn engines_at_one_address_share_the_peers_and_keep_each_ones_packets_together() {
    let hosts = Host::builder().build_engines(3).unwrap();
    let (servers, threads) = echo(&hosts);
    let address = servers[0].local_addr();
    const CLIENTS: u64 = 24;
    for seed in 0..CLIENTS {
        let client = Client::new().unwrap();
        for length in [1, 5_000, 200_000] {
            let request = message(seed, length);
            let response = client.call(address, &request).unwrap();
            assert!(*response == *answer(&request));
        }
    }
    servers.iter().for_each(Server::close);
    let counts: Vec<u64> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u64>(), 3 * CLIENTS);
    assert!(
        counts.iter().filter(|&&count| count > 0).count() > 1,
        "one engine got all: {counts:?}"
    );
    for host in &hosts {
        assert_eq!(host.counters().unwrap().host.handed_over, 0);
    }
}

#[test]
fn packets_that_reach_the_wrong_engine_are_handed_over() {
    let hosts = Host::builder().build_engines(2).unwrap();
    // Bound in the wrong order: the kernel gives each engine the packets of the other.
    let wrong: Vec<_> = hosts.iter().rev().cloned().collect();
    let (servers, threads) = echo(&wrong);
    for seed in 0..8 {
        let client = Client::new().unwrap();
        for length in [100, 100_000] {
            let request = message(seed, length);
            let response = client.call(servers[0].local_addr(), &request).unwrap();
            assert!(*response == *answer(&request));
        }
    }
    servers.iter().for_each(Server::close);
    let count: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert_eq!(count, 16);
    let handed = || {
        let of = |host: &Host| host.counters().unwrap().host.handed_over;
        hosts.iter().map(of).sum::<u64>()
    };
    assert!(eventually(|| handed() >= 16));
}

#[test]
fn a_group_calls_from_every_engine() {
    let hosts = Host::builder().build_engines(2).unwrap();
    let (servers, threads) = echo(&hosts);
    for host in &hosts {
        let client = Client::on(host).unwrap();
        let response = client.call(servers[0].local_addr(), b"ourselves").unwrap();
        assert_eq!(*response, *answer(b"ourselves"));
        // The client that lends a server's socket is answered there, whoever gets the answer.
        let server = &servers[usize::from(host.config().unwrap().engine)];
        let lent = server.client().unwrap();
        let response = lent.call(servers[0].local_addr(), b"by a server").unwrap();
        assert_eq!(*response, *answer(b"by a server"));
    }
    servers.iter().for_each(Server::close);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_group_of_none_or_over_another_link_is_refused_in_words() {
    let error = Host::builder().build_engines(0).err().unwrap();
    assert!(matches!(error, BindError::Config(_)), "{error}");
    let builder = Host::builder().link(LinkKind::Ip);
    assert!(builder.build_engines(2).is_err());
}
