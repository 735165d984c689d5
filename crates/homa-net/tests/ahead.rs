//! Datagrams received where they are expected to belong, over loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::IoSlice;

use common::{PATIENCE, datagram, receive, send, v4};
use homa_net::udp::Udp;
use homa_net::wait::{Watch, wait};
use homa_net::{Ahead, Link, Transmit};

const HEADER: usize = 4;

/// Datagrams of `stride` bytes: each begins with its number, and has that in every byte behind it.
fn numbered(count: usize, stride: usize, last: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..count {
        let length = if number + 1 == count { last } else { stride };
        bytes.extend((number as u32).to_be_bytes());
        bytes.extend(vec![number as u8; length - HEADER]);
    }
    bytes
}

/// A sender, and a receiver that has seen bulk.
fn pair() -> (Udp, Udp) {
    let (mut a, mut b) = (v4(), v4());
    assert!(!b.receives_ahead(), "it has not seen any yet");
    let long = [IoSlice::new(&[0; 1_400])];
    assert_eq!(send(&mut a, &[datagram(b.local_addr(), &long)]), []);
    receive(&mut b, 1);
    assert!(b.receives_ahead());
    (a, b)
}

fn send_all(a: &mut Udp, b: &Udp, bytes: &[u8], stride: usize) {
    let slices = [IoSlice::new(bytes)];
    let batch = Transmit {
        segment_bytes: Some(stride as u16),
        ..datagram(b.local_addr(), &slices)
    };
    assert_eq!(send(a, &[batch]), []);
    wait(&mut [Watch::readable(b.fd())], Some(PATIENCE)).unwrap();
}

/// Receives with room for `count` datagrams of `stride` bytes; returns the headers, the payload, how
/// many bytes lie there, the rest, and all of it put together again.
fn receive_ahead(b: &mut Udp, count: usize, stride: usize) -> [Vec<u8>; 4] {
    let mut headers = vec![0xee; count * HEADER];
    let mut payload = vec![0xee; count * (stride - HEADER)];
    let from_before = b.counters().datagrams_received;
    let (mut start, mut again) = ([0; HEADER + 2], [0; 1]);
    let first = b.peek(&mut start).unwrap().expect("it is there");
    let (from, segment_bytes, seen) = (first.from, first.segment_bytes, first.bytes.to_vec());
    b.peek(&mut again).unwrap().expect("it is there still");
    let mut ahead = Ahead {
        segment_bytes: stride,
        header_bytes: HEADER,
        headers: &mut headers,
        payload: &mut payload,
    };
    let laid = b.receive_ahead(&mut ahead).unwrap().expect("it is there");
    let mut flat = Vec::new();
    laid.gather(&mut ahead, 0, &mut flat);
    assert_eq!(
        (from, segment_bytes),
        (laid.rest.from, laid.rest.segment_bytes)
    );
    assert_eq!((&seen[..], again[0]), (&flat[..seen.len()], flat[0]));
    let mut behind_first = Vec::new();
    laid.gather(&mut ahead, 1, &mut behind_first);
    assert_eq!(behind_first, flat[stride.min(laid.bytes)..]);
    let rest = laid.rest.bytes.to_vec();
    assert_eq!(laid.bytes + rest.len(), flat.len());
    let datagrams = flat.len().div_ceil(laid.rest.segment_bytes) as u64;
    assert_eq!(b.counters().datagrams_received, from_before + datagrams);
    [headers, payload, rest, flat]
}

#[test]
fn what_was_expected_lies_where_it_belongs() {
    let (mut a, mut b) = pair();
    let sent = numbered(40, 1_416, 1_000);
    send_all(&mut a, &b, &sent, 1_416);
    let [headers, payload, rest, flat] = receive_ahead(&mut b, 44, 1_416);
    for number in 0..40_usize {
        assert_eq!(
            headers[number * HEADER..][..HEADER],
            [0, 0, 0, number as u8]
        );
    }
    let mut expected = Vec::new();
    (0..39).for_each(|number| expected.extend([number; 1_412]));
    expected.extend([39; 996]);
    assert!(payload[..expected.len()] == expected, "in one piece");
    assert!(payload[expected.len()..].iter().all(|&byte| byte == 0xee));
    assert!(rest.is_empty() && flat == sent);
}

#[test]
fn what_finds_no_place_stays_with_the_link() {
    let (mut a, mut b) = pair();
    let sent = numbered(40, 1_416, 1_416);
    send_all(&mut a, &b, &sent, 1_416);
    let [_, payload, rest, flat] = receive_ahead(&mut b, 30, 1_416);
    assert_eq!(payload.last(), Some(&29));
    assert!(rest == sent[30 * 1_416..] && flat == sent);
}

#[test]
fn datagrams_of_another_size_are_put_together_again() {
    let (mut a, mut b) = pair();
    for (count, stride, last) in [
        (30, 1_400, 1_400),
        (1, 1_472, 1_472),
        (3, 1_472, 200),
        (1, 7, 7),
    ] {
        let sent = numbered(count, stride, last);
        send_all(&mut a, &b, &sent, stride);
        let [.., flat] = receive_ahead(&mut b, 44, 1_416);
        assert!(flat == sent, "{count} of {stride}");
    }
    let mut ahead = Ahead {
        segment_bytes: 1_416,
        header_bytes: HEADER,
        headers: &mut [],
        payload: &mut [],
    };
    assert!(b.receive_ahead(&mut ahead).unwrap().is_none(), "no more");
}
