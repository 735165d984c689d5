//! Refusals that need a hand on the socket. What a host sees is tested from outside, in `tests/`.

use core::time::Duration;
use std::io::IoSlice;
use std::os::fd::AsFd;

use super::{Options, Udp};
use crate::link::{Link, Refusal, Transmit};
use crate::sys;
use crate::wait::{Watch, wait};

fn loopback() -> Udp {
    Udp::bind("127.0.0.1:0".parse().unwrap(), &Options::default()).unwrap()
}

/// The datagrams that arrive at `link`, until there are `count` of them.
fn datagrams(link: &mut Udp, count: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for _ in 0..count {
        if all.len() >= count {
            break;
        }
        wait(
            &mut [Watch::readable(link.fd())],
            Some(Duration::from_secs(5)),
        )
        .unwrap();
        link.receive(&mut |received| all.extend(received.segments().map(<[u8]>::to_vec)))
            .unwrap();
    }
    all
}

/// Makes the kernel refuse segmentation on this socket, as it does on a device that cannot compute
/// checksums: without checksums there is no segmentation either.
fn refuse_segmentation(link: &Udp) {
    sys::set_option(link.socket.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
}

#[test]
fn segments_that_the_kernel_refuses_in_one_piece_arrive_one_by_one() {
    let (mut sender, mut receiver) = (loopback(), loopback());
    assert_eq!(
        sender.capabilities().max_segments,
        64,
        "this kernel segments"
    );
    refuse_segmentation(&sender);
    let bytes: Vec<u8> = (0..4500_u32).map(|i| (i / 1000) as u8).collect();
    let transmit = Transmit {
        to: receiver.local_addr(),
        from: None,
        traffic_class: 0xe0,
        segment_bytes: Some(1000),
        slices: &[IoSlice::new(&bytes[..1700]), IoSlice::new(&bytes[1700..])],
    };
    let sent = sender.send(&[transmit, transmit], &mut |_, refusal| panic!("{refusal}"));
    assert_eq!(sent, 2);

    let expected: Vec<_> = bytes.chunks(1000).chain(bytes.chunks(1000)).collect();
    assert_eq!(datagrams(&mut receiver, 10), expected);
    assert_eq!(
        sender.counters().segmentation_refused,
        1,
        "asked once, not again"
    );
    assert_eq!(sender.counters().datagrams_sent, 10);
    assert_eq!(sender.capabilities().max_segments, 1);
}

#[test]
fn a_datagram_that_is_refused_alone_too_does_not_turn_segmentation_off() {
    let (mut sender, receiver) = (loopback(), loopback());
    let transmit = Transmit {
        to: receiver.local_addr(),
        from: Some("192.0.2.1".parse().unwrap()),
        traffic_class: 0,
        segment_bytes: Some(100),
        slices: &[IoSlice::new(&[0; 300])],
    };
    let mut refusals = Vec::new();
    assert_eq!(
        sender.send(&[transmit], &mut |index, refusal| refusals
            .push((index, refusal))),
        1
    );
    assert_eq!(refusals, [(0, Refusal::SourceNotLocal)]);
    assert_eq!(sender.counters().segmentation_refused, 0);
    assert_eq!(sender.capabilities().max_segments, 64);
}
