//! What the tests share: links on loopback, and receiving with a deadline.
#![allow(dead_code, reason = "each test file uses its own share")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io::IoSlice;

use homa_net::udp::{BindError, Options, Udp};
use homa_net::wait::{Watch, wait};
use homa_net::{Link, Refusal, Transmit, Undeliverable, Unreachable};

/// Longer than anything here takes on a busy machine; a test that gets there has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A datagram as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) from: SocketAddr,
    pub(crate) to: Option<IpAddr>,
    pub(crate) traffic_class: u8,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn v4() -> Udp {
    Udp::bind("127.0.0.1:0".parse().unwrap(), &telling()).unwrap()
}

/// Options with which a link tells all it can.
pub(crate) fn telling() -> Options {
    Options {
        tell_class: true,
        ..Options::default()
    }
}

/// `None` on a machine without IPv6; the caller then has nothing to test.
pub(crate) fn v6() -> Option<Udp> {
    match Udp::bind("[::1]:0".parse().unwrap(), &telling()) {
        Ok(link) => Some(link),
        Err(BindError::FamilyNotSupported(_) | BindError::AddressNotAvailable(_)) => {
            eprintln!("left out: this machine has no IPv6");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// One plain datagram.
pub(crate) fn datagram<'a>(to: SocketAddr, slices: &'a [IoSlice<'a>]) -> Transmit<'a> {
    Transmit {
        to,
        from: None,
        traffic_class: 0,
        segment_bytes: None,
        slices,
    }
}

/// Sends all of `batch`; returns what was refused.
pub(crate) fn send(link: &mut dyn Link, batch: &[Transmit<'_>]) -> Vec<(usize, Refusal)> {
    let mut refusals = Vec::new();
    let done = link.send(batch, &mut |index, refusal| refusals.push((index, refusal)));
    assert_eq!(done, batch.len(), "the link was full");
    refusals
}

/// Receives until `count` datagrams are there, and fails if they do not come.
pub(crate) fn receive(link: &mut dyn Link, count: usize) -> Vec<Arrived> {
    let mut arrived = Vec::new();
    for _ in 0..=count {
        while arrived.len() < count && receive_now(link, &mut arrived) > 0 {}
        if arrived.len() >= count {
            return arrived;
        }
        let ready = wait(&mut [Watch::readable(link.fd())], Some(PATIENCE)).unwrap();
        assert_eq!(ready, 1, "only {} of {count} datagrams came", arrived.len());
    }
    panic!("the link said {count} times that there was something, and there was not");
}

/// Receives once.
pub(crate) fn receive_now(link: &mut dyn Link, arrived: &mut Vec<Arrived>) -> usize {
    let before = arrived.len();
    let count = link
        .receive(&mut |received| {
            let one = |bytes: &[u8]| Arrived {
                from: received.from,
                to: received.to,
                traffic_class: received.traffic_class,
                bytes: bytes.to_vec(),
            };
            if received.bytes.is_empty() {
                arrived.push(one(&[]));
            }
            arrived.extend(received.segments().map(one));
        })
        .unwrap();
    assert_eq!(
        arrived.len() - before,
        count,
        "the count is that of the datagrams"
    );
    count
}

/// Waits for reports until `count` are there: destination, cause, quoted bytes.
pub(crate) fn reports(
    link: &mut dyn Link,
    count: usize,
) -> Vec<(SocketAddr, Unreachable, Vec<u8>)> {
    let mut all = Vec::new();
    for _ in 0..=count {
        assert_eq!(
            link.receive(&mut |_| panic!("nobody sends to this link"))
                .unwrap(),
            0
        );
        let mut keep = |report: Undeliverable<'_>| {
            all.push((report.to, report.cause, report.offending.to_vec()));
        };
        while link.poll_errors(&mut keep).unwrap() > 0 {}
        if all.len() >= count {
            return all;
        }
        let ready = wait(&mut [Watch::readable(link.fd())], Some(PATIENCE)).unwrap();
        assert_eq!(ready, 1, "only {} of {count} reports came", all.len());
    }
    panic!("the link said {count} times that there was a report, and there was not");
}

/// An address on which nobody listens: it was ours a moment ago.
pub(crate) fn closed_port() -> SocketAddr {
    let address = "127.77.0.1:0".parse().unwrap();
    Udp::bind(address, &Options::default())
        .unwrap()
        .local_addr()
}
