//! The in-memory pair, as a host sees it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use core::time::Duration;
use std::io::IoSlice;

use common::{PATIENCE, datagram, receive, receive_now, send};
use homa_net::memory::{Config, Memory, WhenFull, pair};
use homa_net::wait::{Watch, wait};
use homa_net::{Link, Refusal, Transmit, Unreachable};

fn small(when_full: WhenFull) -> (Memory, Memory) {
    let config = Config {
        capacity_bytes: 10_000,
        when_full,
        ..Config::default()
    };
    pair(&config).unwrap()
}

fn is_readable(link: &Memory) -> bool {
    wait(&mut [Watch::readable(link.fd())], Some(Duration::ZERO)).unwrap() == 1
}

#[test]
fn what_is_sent_on_one_end_arrives_whole_on_the_other() {
    let (mut a, mut b) = pair(&Config::default()).unwrap();
    let bytes: Vec<u8> = (0..40_000_u32).map(|i| i as u8).collect();
    let slices = [IoSlice::new(&bytes)];
    let batch = Transmit {
        from: Some(a.local_addr().ip()),
        traffic_class: 0xe0,
        segment_bytes: Some(1400),
        ..datagram(b.local_addr(), &slices)
    };
    assert_eq!(send(&mut a, &[batch, batch]), []);
    let arrived = receive(&mut b, 58);
    assert!(
        arrived
            .iter()
            .all(|one| one.from == a.local_addr() && one.traffic_class == 0xe0)
    );
    let joined: Vec<u8> = arrived.iter().flat_map(|one| one.bytes.clone()).collect();
    assert_eq!(joined, [&bytes[..], &bytes[..]].concat());
}

#[test]
fn a_wire_without_segmentation_delivers_datagram_by_datagram() {
    let config = Config {
        max_segments: 1,
        ..Config::default()
    };
    let (mut a, mut b) = pair(&config).unwrap();
    let slices = [IoSlice::new(b"aabbc")];
    let batch = Transmit {
        segment_bytes: Some(2),
        ..datagram(b.local_addr(), &slices)
    };
    assert_eq!(send(&mut a, &[batch]), []);
    let mut calls = Vec::new();
    b.receive(&mut |received| calls.push((received.segment_bytes, received.bytes.to_vec())))
        .unwrap();
    assert_eq!(
        calls,
        [(2, b"aa".to_vec()), (2, b"bb".to_vec()), (1, b"c".to_vec())]
    );
}

#[test]
fn a_full_queue_leaves_the_rest_with_the_sender_until_there_is_room() {
    let (mut a, mut b) = small(WhenFull::Refuse);
    let bytes = [7; 1000];
    let slices = [IoSlice::new(&bytes)];
    let batch = vec![datagram(b.local_addr(), &slices); 25];
    let mut sent = a.send(&batch, &mut |_, refusal| panic!("{refusal}"));
    assert_eq!(sent, 10);
    assert_eq!(
        a.send(&batch[sent..], &mut |_, refusal| panic!("{refusal}")),
        0
    );
    assert_eq!(a.counters().send_full, 2);
    let mut arrived = Vec::new();
    for _ in 0..3 {
        receive_now(&mut b, &mut arrived);
        sent += a.send(&batch[sent..], &mut |_, refusal| panic!("{refusal}"));
    }
    assert_eq!(arrived.len(), 25);
    assert_eq!(b.counters().receive_overflows, 0);
}

#[test]
fn a_full_queue_that_drops_counts_what_it_drops() {
    let (mut a, mut b) = small(WhenFull::Drop);
    let bytes = [7; 1000];
    let slices = [IoSlice::new(&bytes)];
    assert_eq!(
        send(&mut a, &vec![datagram(b.local_addr(), &slices); 25]),
        []
    );
    assert_eq!(receive(&mut b, 10).len(), 10);
    assert_eq!(receive_now(&mut b, &mut Vec::new()), 0);
    assert_eq!(b.counters().receive_overflows, 15);
}

#[test]
fn empty_datagrams_fill_a_queue_too() {
    let (mut a, b) = small(WhenFull::Refuse);
    let batch = vec![datagram(b.local_addr(), &[]); 100];
    assert_eq!(
        a.send(&batch, &mut |_, refusal| panic!("{refusal}")),
        10_000 / 256
    );
}

#[test]
fn the_descriptor_is_readable_while_something_waits_and_no_longer() {
    let (mut a, mut b) = pair(&Config::default()).unwrap();
    assert!(!is_readable(&b));
    let slices = [IoSlice::new(b"x")];
    assert_eq!(send(&mut a, &[datagram(b.local_addr(), &slices)]), []);
    assert_eq!(send(&mut a, &[datagram(b.local_addr(), &slices)]), []);
    assert!(is_readable(&b));
    assert_eq!(receive_now(&mut b, &mut Vec::new()), 2);
    assert!(!is_readable(&b));
}

#[test]
fn the_ends_work_in_two_threads() {
    let (mut a, mut b) = small(WhenFull::Refuse);
    let echo_until = 2000_u32;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..echo_until {
                let ping = receive(&mut b, 1).remove(0);
                assert_eq!(
                    send(&mut b, &[datagram(ping.from, &[IoSlice::new(&ping.bytes)])]),
                    []
                );
            }
            // Keeps the wire whole until the other end has read the last echo.
            wait(&mut [Watch::readable(b.fd())], Some(PATIENCE)).unwrap();
        });
        let to = Config::default().addresses.1;
        for number in 0..echo_until {
            let number = number.to_be_bytes();
            assert_eq!(send(&mut a, &[datagram(to, &[IoSlice::new(&number)])]), []);
            assert_eq!(receive(&mut a, 1)[0].bytes, number);
        }
        assert_eq!(send(&mut a, &[datagram(to, &[IoSlice::new(b"done")])]), []);
    });
}

#[test]
fn what_cannot_arrive_is_refused_and_the_rest_goes_on() {
    let (mut a, mut b) = pair(&Config::default()).unwrap();
    let large = [0; 1473];
    let (slices, too_large) = ([IoSlice::new(b"ok")], [IoSlice::new(&large)]);
    let good = datagram(b.local_addr(), &slices);
    let to = |text: &str| Transmit {
        to: text.parse().unwrap(),
        ..good
    };
    let batch = [
        good,
        to("192.0.2.9:4000"),
        to("192.0.2.2:4001"),
        to("[::1]:4000"),
        Transmit {
            from: Some("192.0.2.7".parse().unwrap()),
            ..good
        },
        Transmit {
            slices: &too_large,
            ..good
        },
        good,
    ];
    let refusals = [
        (1, Refusal::Unreachable(Unreachable::Host)),
        (2, Refusal::Unreachable(Unreachable::Port)),
        (3, Refusal::WrongFamily),
        (4, Refusal::SourceNotLocal),
        (5, Refusal::TooBig),
    ];
    assert_eq!(send(&mut a, &batch), refusals);
    assert_eq!(receive(&mut b, 2).len(), 2);
    assert_eq!(a.route_mtu("192.0.2.2".parse().unwrap()).unwrap(), 1500);
    assert!(a.route_mtu("192.0.2.9".parse().unwrap()).is_err());
    drop(b);
    assert_eq!(
        send(&mut a, &[good]),
        [(0, Refusal::Unreachable(Unreachable::Port))]
    );
}
