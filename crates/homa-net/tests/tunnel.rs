//! The UDP tunnel: several Homa ports of one process on one UDP port, on the loopback.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::net::SocketAddr;
use core::time::Duration;
use std::io::IoSlice;
use std::process;

use homa_net::tunnel::Tunnel;
use homa_net::udp::{BindError, Options};
use homa_net::wait::{Watch, wait};
use homa_net::{Link, Transmit};

/// An address of the loopback that another run of the tests does not use.
fn loopback(last: u8, port: u16) -> SocketAddr {
    let [_, _, high, low] = process::id().to_be_bytes();
    ([127, high, low, last], port).into()
}

fn bind(address: SocketAddr) -> Result<Tunnel, BindError> {
    Tunnel::bind(address, &Options::default())
}

/// The beginning of a Homa packet.
fn packet(source: u16, dest: u16) -> [u8; 28] {
    let mut packet = [7; 28];
    packet[..2].copy_from_slice(&source.to_be_bytes());
    packet[2..4].copy_from_slice(&dest.to_be_bytes());
    packet
}

fn send(from: &mut Tunnel, to: SocketAddr) {
    let bytes = packet(from.local_addr().port(), to.port());
    let transmit = Transmit {
        to,
        from: None,
        traffic_class: 0,
        segment_bytes: None,
        slices: &[IoSlice::new(&bytes)],
    };
    assert_eq!(
        from.send(&[transmit], &mut |_, refusal| panic!("{refusal}")),
        1
    );
}

/// The Homa port of who sent the next packet.
fn receive(by: &mut Tunnel) -> u16 {
    wait(
        &mut [Watch::readable(by.fd())],
        Some(Duration::from_secs(20)),
    )
    .unwrap();
    let mut from = Vec::new();
    by.receive(&mut |received| from.push(received.from.port()))
        .unwrap();
    assert_eq!(from.len(), 1);
    from[0]
}

#[test]
fn each_port_of_a_process_gets_its_own_packets_whoever_comes_and_goes() {
    // Two addresses, so that the ends are apart.
    let there = loopback(2, 99);
    let mut ports: Vec<Tunnel> = [7, 8, 0, 9]
        .map(|port| bind(loopback(3, port)).unwrap())
        .into();
    assert!(ports[2].local_addr().port() >= 32_768);
    let mut other = bind(there).unwrap();
    for _ in 0..3 {
        for port in &mut ports {
            let address = port.local_addr();
            send(&mut other, address);
            assert_eq!(receive(port), 99);
            send(port, there);
            assert_eq!(receive(&mut other), address.port());
        }
        // The kernel then numbers the others anew.
        ports.remove(0);
    }
    ports.push(bind(loopback(3, 7)).unwrap());
    for port in &mut ports {
        send(&mut other, port.local_addr());
        assert_eq!(receive(port), 99);
    }
}

#[test]
fn a_port_and_an_address_are_given_once() {
    let _first = bind(loopback(4, 77)).unwrap();
    let again = bind(loopback(4, 77)).unwrap_err();
    assert!(matches!(again, BindError::TunnelPortInUse(_)), "{again}");
    // The address of all interfaces holds that of the first.
    let overlaps = bind(([0; 4], 78).into()).unwrap_err();
    assert!(matches!(overlaps, BindError::TunnelInUse(_)), "{overlaps}");
    assert!(overlaps.to_string().contains("54321"));
}
