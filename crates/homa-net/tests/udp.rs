//! UDP links on loopback, as a host sees them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use core::net::SocketAddr;
use core::time::Duration;
use std::io::IoSlice;

use common::{PATIENCE, closed_port, datagram, receive, receive_now, reports, send, v4, v6};
use homa_net::udp::{BindError, Options, Steering, Udp};
use homa_net::wait::{Watch, wait};
use homa_net::{Link, MAX_SEGMENTS, OFFENDING_MAX_BYTES, Refusal, Transmit, Unreachable};

/// A datagram whose bytes tell where they belong.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 256) as u8).collect()
}

#[test]
fn a_datagram_crosses_loopback_in_both_families() {
    for (a, b) in [Some((v4(), v4())), v6().zip(v6())].into_iter().flatten() {
        let (mut a, mut b): (Udp, Udp) = (a, b);
        let slices = [
            IoSlice::new(b"head"),
            IoSlice::new(b""),
            IoSlice::new(b"er and body"),
        ];
        assert_eq!(send(&mut a, &[datagram(b.local_addr(), &slices)]), []);
        let [arrived] = &receive(&mut b, 1)[..] else {
            panic!("one datagram");
        };
        assert_eq!(arrived.bytes, b"header and body");
        assert_eq!(arrived.from, a.local_addr());
        assert_eq!(arrived.to, Some(b.local_addr().ip()));
        assert_eq!(arrived.traffic_class, 0);
        assert_eq!(a.counters().datagrams_sent, 1);
        assert_eq!(b.counters().datagrams_received, 1);
    }
}

#[test]
fn an_empty_datagram_is_a_datagram() {
    let (mut a, mut b) = (v4(), v4());
    assert_eq!(send(&mut a, &[datagram(b.local_addr(), &[])]), []);
    assert_eq!(receive(&mut b, 1)[0].bytes, b"");
}

#[test]
fn forty_segments_arrive_intact_and_coalesced() {
    for (a, b) in [Some((v4(), v4())), v6().zip(v6())].into_iter().flatten() {
        let (mut a, mut b): (Udp, Udp) = (a, b);
        assert!(b.capabilities().coalesces, "this kernel coalesces");
        // The first large datagram shows that there is bulk.
        assert_eq!(
            send(
                &mut a,
                &[datagram(b.local_addr(), &[IoSlice::new(&[0; 1400])])]
            ),
            []
        );
        receive(&mut b, 1);
        let bytes = pattern(39 * 1416 + 1000);
        let (head, tail) = bytes.split_at(2000);
        let slices = [IoSlice::new(head), IoSlice::new(tail)];
        let batch = Transmit {
            segment_bytes: Some(1416),
            ..datagram(b.local_addr(), &slices)
        };
        assert_eq!(batch.datagram_count(), 40);
        assert_eq!(send(&mut a, &[batch]), []);

        let mut strides = Vec::new();
        let mut whole = Vec::new();
        receive_one_batch(&mut b, |stride, bytes| {
            strides.push(stride);
            whole.extend_from_slice(bytes);
        });
        assert_eq!(strides, [1416], "one call for all of them");
        assert_eq!(whole, bytes);
        assert_eq!(a.counters().datagrams_sent, 41);
        assert_eq!(b.counters().datagrams_received, 41);
        assert_eq!(a.counters().segmentation_refused, 0);
    }
}

fn receive_one_batch(link: &mut Udp, mut sink: impl FnMut(usize, &[u8])) {
    wait(&mut [Watch::readable(link.fd())], Some(PATIENCE)).unwrap();
    link.receive(&mut |received| sink(received.segment_bytes, received.bytes))
        .unwrap();
}

#[test]
fn many_small_datagrams_are_a_sign_of_bulk_and_a_few_are_not() {
    let (mut a, mut b) = (v4(), v4());
    let bytes = pattern(20 * 100);
    let slices = [IoSlice::new(&bytes)];
    let batch = Transmit {
        segment_bytes: Some(100),
        ..datagram(b.local_addr(), &slices)
    };
    let mut buffers_of = |count: usize| {
        let (mut buffers, mut datagrams) = (0, 0);
        assert_eq!(send(&mut a, &[batch]), []);
        while datagrams < count {
            wait(&mut [Watch::readable(b.fd())], Some(PATIENCE)).unwrap();
            datagrams += b.receive(&mut |_| buffers += 1).unwrap();
        }
        buffers
    };
    assert_eq!(buffers_of(20), 20, "nothing was known of bulk");
    assert_eq!(buffers_of(20), 1, "the first twenty waited together");
}

#[test]
fn a_batch_too_long_for_one_piece_arrives_all_the_same() {
    let (mut a, mut b) = (v4(), v4());
    // 65 segments, and 64 whose bytes are too many: each goes out datagram by datagram.
    for (segment, count) in [(100, 65), (1416, 64)] {
        let bytes = pattern(segment * count);
        let slices = [IoSlice::new(&bytes)];
        let batch = Transmit {
            segment_bytes: Some(segment as u16),
            ..datagram(b.local_addr(), &slices)
        };
        assert_eq!(send(&mut a, &[batch]), []);
        let arrived = receive(&mut b, count);
        assert!(
            arrived
                .iter()
                .map(|one| &one.bytes[..])
                .eq(bytes.chunks(segment))
        );
    }
    assert_eq!(
        a.counters().segmentation_refused,
        0,
        "the kernel was not asked"
    );
    assert_eq!(a.capabilities().max_segments, MAX_SEGMENTS);
}

#[test]
fn without_segmentation_and_coalescing_the_same_datagrams_arrive() {
    let plain = Options {
        segmentation: false,
        coalescing: false,
        ..Options::default()
    };
    let address = "127.0.0.1:0".parse().unwrap();
    let mut a = Udp::bind(address, &plain).unwrap();
    let mut b = Udp::bind(address, &plain).unwrap();
    assert_eq!(a.capabilities().max_segments, 1);
    assert!(!b.capabilities().coalesces);
    let bytes = pattern(40_000);
    let slices = [IoSlice::new(&bytes)];
    let batch = Transmit {
        segment_bytes: Some(1000),
        ..datagram(b.local_addr(), &slices)
    };
    assert_eq!(send(&mut a, &[batch]), []);
    let arrived = receive(&mut b, 40);
    assert!(
        arrived
            .iter()
            .map(|one| &one.bytes[..])
            .eq(bytes.chunks(1000))
    );
}

#[test]
fn the_whole_traffic_class_arrives_on_single_and_on_segmented_sends() {
    for (a, b) in [Some((v4(), v4())), v6().zip(v6())].into_iter().flatten() {
        let (mut a, mut b): (Udp, Udp) = (a, b);
        let bytes = pattern(2500);
        let slices = [IoSlice::new(&bytes)];
        // The eight class selectors, one with an ECN bit; none may disturb its neighbours.
        let classes = [0xe0, 0xc0, 0, 0xa0, 0x80, 0x62, 0x40, 0x20];
        let batch: Vec<_> = classes
            .iter()
            .flat_map(|&traffic_class| {
                let single = Transmit {
                    traffic_class,
                    ..datagram(b.local_addr(), &slices)
                };
                let segmented = Transmit {
                    segment_bytes: Some(1000),
                    ..single
                };
                [single, segmented]
            })
            .collect();
        assert_eq!(send(&mut a, &batch), []);
        let arrived = receive(&mut b, classes.len() * 4);
        let seen: Vec<_> = arrived
            .chunks(4)
            .map(|four| four[0].traffic_class)
            .collect();
        assert_eq!(seen, classes);
        assert!(arrived.chunks(4).all(|four| {
            four.iter()
                .all(|one| one.traffic_class == four[0].traffic_class)
        }));
    }
}

#[test]
fn one_batch_goes_to_64_destinations() {
    let mut sender = v4();
    let mut receivers: Vec<_> = (0..64).map(|_| v4()).collect();
    let texts: Vec<_> = (0..64).map(|i| format!("to number {i}")).collect();
    let slices: Vec<_> = texts
        .iter()
        .map(|text| [IoSlice::new(text.as_bytes())])
        .collect();
    let batch: Vec<_> = receivers
        .iter()
        .zip(&slices)
        .map(|(receiver, slices)| datagram(receiver.local_addr(), slices))
        .collect();
    assert_eq!(send(&mut sender, &batch), []);
    for (receiver, text) in receivers.iter_mut().zip(&texts) {
        assert_eq!(receive(receiver, 1)[0].bytes, text.as_bytes());
        assert_eq!(receive_now(receiver, &mut Vec::new()), 0);
    }
}

#[test]
fn many_small_datagrams_come_in_the_order_they_were_sent() {
    let (mut a, mut b) = (v4(), v4());
    let numbers: Vec<_> = (0..1000_u32).map(u32::to_be_bytes).collect();
    let slices: Vec<_> = numbers
        .iter()
        .map(|number| [IoSlice::new(number)])
        .collect();
    let batch: Vec<_> = slices
        .iter()
        .map(|one| datagram(b.local_addr(), one))
        .collect();
    assert_eq!(send(&mut a, &batch), []);
    let arrived = receive(&mut b, 1000);
    assert!(
        arrived
            .iter()
            .map(|one| &one.bytes[..])
            .eq(numbers.iter().map(|n| &n[..]))
    );
}

#[test]
fn a_closed_port_is_reported_with_the_first_bytes_of_the_datagram() {
    let mut a = v4();
    let to = closed_port();
    let bytes = pattern(500);
    assert_eq!(send(&mut a, &[datagram(to, &[IoSlice::new(&bytes)])]), []);
    let expected = (to, Unreachable::Port, bytes[..OFFENDING_MAX_BYTES].to_vec());
    assert_eq!(reports(&mut a, 1), [expected]);
    assert_eq!(a.counters().undeliverable, 1);
    // The descriptor has nothing more to say: a host that waits sleeps.
    let mut watch = [Watch::readable(a.fd())];
    assert_eq!(wait(&mut watch, Some(Duration::ZERO)).unwrap(), 0);
}

#[test]
fn a_closed_port_is_reported_over_ipv6_too() {
    let Some((mut a, b)) = v6().zip(v6()) else {
        return;
    };
    let to = b.local_addr();
    drop(b);
    assert_eq!(
        send(&mut a, &[datagram(to, &[IoSlice::new(b"anyone?")])]),
        []
    );
    assert_eq!(
        reports(&mut a, 1),
        [(to, Unreachable::Port, b"anyone?".to_vec())]
    );
}

#[test]
fn errors_of_some_datagrams_neither_stop_nor_lose_the_others() {
    let (mut a, mut b) = (v4(), v4());
    let (here, closed) = (b.local_addr(), closed_port());
    let large = vec![0; 70_000];
    let numbers: Vec<_> = (0..200_u32).map(u32::to_be_bytes).collect();
    let slices: Vec<_> = numbers
        .iter()
        .map(|number| [IoSlice::new(number)])
        .collect();
    let too_large = [IoSlice::new(&large)];
    let mut expected = Vec::new();
    let mut batch = Vec::new();
    for (index, slices) in slices.iter().enumerate() {
        let good = datagram(here, slices);
        // Of five, one arrives, one is reported later, three are refused at once.
        let (transmit, refusal) = match index % 5 {
            0 => (good, None),
            1 => (Transmit { to: closed, ..good }, None),
            2 => {
                let from = Some("192.0.2.1".parse().unwrap());
                (Transmit { from, ..good }, Some(Refusal::SourceNotLocal))
            }
            3 => {
                let slices = &too_large;
                (Transmit { slices, ..good }, Some(Refusal::TooBig))
            }
            _ => {
                let to = "[::1]:9".parse().unwrap();
                (Transmit { to, ..good }, Some(Refusal::WrongFamily))
            }
        };
        batch.push(transmit);
        expected.extend(refusal.map(|refusal| (index, refusal)));
    }
    assert_eq!(send(&mut a, &batch), expected);
    let arrived = receive(&mut b, 40);
    let kept = numbers.iter().step_by(5);
    assert!(
        arrived
            .iter()
            .map(|one| &one.bytes[..])
            .eq(kept.map(|number| &number[..]))
    );
    let reported = reports(&mut a, 1);
    assert!(
        reported
            .iter()
            .all(|(to, cause, _)| (*to, *cause) == (closed, Unreachable::Port))
    );
    assert_eq!(a.counters().transmits_refused, 120);
}

#[test]
fn a_broadcast_address_is_forbidden() {
    let mut a = v4();
    let to = "255.255.255.255:9".parse().unwrap();
    let refusals = send(&mut a, &[datagram(to, &[IoSlice::new(b"all")])]);
    // A machine without any route says so before it looks at permissions.
    let unreachable = Refusal::Unreachable(Unreachable::Network);
    assert!(refusals == [(0, Refusal::Forbidden)] || refusals == [(0, unreachable)]);
}

#[test]
fn pending_errors_lose_no_arriving_datagram() {
    let (mut a, mut b) = (v4(), v4());
    let closed = closed_port();
    for round in 0..100_u32 {
        let number = round.to_be_bytes();
        let slices = [IoSlice::new(&number)];
        assert_eq!(send(&mut a, &[datagram(closed, &slices)]), []);
        assert_eq!(send(&mut b, &[datagram(a.local_addr(), &slices)]), []);
        assert_eq!(receive(&mut a, 1)[0].bytes, number);
    }
    assert!(a.counters().pending_errors > 0);
    assert_eq!(reports(&mut a, 1)[0].0, closed);
}

#[test]
fn the_usual_class_and_any_other_arrive_as_named() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let usual = Options {
            usual_class: 0xe0,
            ..common::telling()
        };
        let Ok(mut link) = Udp::bind(address.parse().unwrap(), &usual) else {
            continue;
        };
        let to = link.local_addr();
        let slices = [IoSlice::new(b"one")];
        for traffic_class in [0xe0, 0, 0x20] {
            let single = Transmit {
                traffic_class,
                ..datagram(to, &slices)
            };
            assert_eq!(send(&mut link, &[single]), []);
            assert_eq!(receive(&mut link, 1)[0].traffic_class, traffic_class);
        }
    }
}

#[test]
fn a_link_that_tells_nothing_but_the_sender_receives_the_same() {
    let silent = Options {
        tell_destination: false,
        ..Options::default()
    };
    let mut server = Udp::bind("0.0.0.0:0".parse().unwrap(), &silent).unwrap();
    let mut client = v4();
    let to = SocketAddr::new("127.0.0.1".parse().unwrap(), server.local_addr().port());
    for count in [1, 20] {
        let slices = [IoSlice::new(b"ping")];
        assert_eq!(send(&mut client, &vec![datagram(to, &slices); count]), []);
        let arrived = receive(&mut server, count);
        assert!(
            arrived
                .iter()
                .all(|one| one.to.is_none() && one.from == client.local_addr())
        );
    }
}

#[test]
fn the_kernel_gives_each_datagram_to_the_socket_that_its_steering_chooses() {
    let steering = Steering {
        sockets: 3,
        number_at: 20,
        owner_at: 27,
        port_at: 0,
    };
    let options = Options {
        reuse_port: true,
        steering: Some(steering),
        ..Options::default()
    };
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(first) = Udp::bind(any.parse().unwrap(), &options) else {
            continue;
        };
        let address = first.local_addr();
        let others = (1..3).map(|_| Udp::bind(address, &options).unwrap());
        let mut sockets: Vec<Udp> = core::iter::once(first).chain(others).collect();
        let mut sender = Udp::bind(any.parse().unwrap(), &Options::default()).unwrap();
        for case in 0..60_u8 {
            let mut bytes = [0; 40];
            bytes[1] = case;
            bytes[20] = case % 3;
            bytes[27] = case % 2;
            let slices = [IoSlice::new(&bytes)];
            assert_eq!(send(&mut sender, &[datagram(address, &slices)]), []);
            let chosen = steering.choose(sender.local_addr().ip(), &bytes).unwrap();
            let arrived = receive(&mut sockets[usize::from(chosen)], 1);
            assert_eq!(arrived[0].bytes, bytes, "case {case}");
        }
    }
}

#[test]
fn a_reply_leaves_from_the_address_that_was_addressed() {
    let mut server = Udp::bind("0.0.0.0:0".parse().unwrap(), &Options::default()).unwrap();
    let mut client = v4();
    let to = SocketAddr::new("127.0.0.2".parse().unwrap(), server.local_addr().port());
    assert_eq!(
        send(&mut client, &[datagram(to, &[IoSlice::new(b"ping")])]),
        []
    );
    let ping = receive(&mut server, 1).remove(0);
    assert_eq!(ping.to, Some(to.ip()));

    let slices = [IoSlice::new(b"pong")];
    let reply = Transmit {
        from: ping.to,
        ..datagram(ping.from, &slices)
    };
    assert_eq!(send(&mut server, &[reply]), []);
    assert_eq!(receive(&mut client, 1)[0].from, to);
}

#[test]
fn a_reply_leaves_from_the_ipv6_address_that_was_addressed() {
    let Some(mut client) = v6() else {
        return;
    };
    let mut server = Udp::bind("[::]:0".parse().unwrap(), &Options::default()).unwrap();
    let to = SocketAddr::new(client.local_addr().ip(), server.local_addr().port());
    assert_eq!(
        send(&mut client, &[datagram(to, &[IoSlice::new(b"ping")])]),
        []
    );
    let ping = receive(&mut server, 1).remove(0);
    let slices = [IoSlice::new(b"pong")];
    let reply = Transmit {
        from: ping.to,
        segment_bytes: Some(3),
        traffic_class: 0xe0,
        ..datagram(ping.from, &slices)
    };
    assert_eq!(send(&mut server, &[reply]), []);
    let pong = receive(&mut client, 2);
    assert!(
        pong.iter()
            .all(|one| one.from == to && one.traffic_class == 0xe0)
    );
}

#[test]
fn a_socket_for_all_ipv6_addresses_leaves_ipv4_to_another() {
    let Some(_) = v6() else {
        return;
    };
    let both = Udp::bind("[::]:0".parse().unwrap(), &Options::default()).unwrap();
    let port = both.local_addr().port();
    let v4_any = SocketAddr::new("0.0.0.0".parse().unwrap(), port);
    assert!(Udp::bind(v4_any, &Options::default()).is_ok());
}

#[test]
fn buffer_sizes_are_what_the_kernel_granted() {
    let small = Options {
        receive_buffer_bytes: 40_000,
        send_buffer_bytes: 50_000,
        ..Options::default()
    };
    let link = Udp::bind("127.0.0.1:0".parse().unwrap(), &small).unwrap();
    // Linux doubles what it is asked for.
    assert_eq!(link.capabilities().receive_buffer_bytes, 80_000);
    assert_eq!(link.capabilities().send_buffer_bytes, 100_000);
    let granted = v4().capabilities().receive_buffer_bytes;
    assert!((80_000..=8 << 20).contains(&granted), "{granted}");
}

#[test]
fn datagrams_that_find_the_receive_buffer_full_are_counted() {
    let small = Options {
        receive_buffer_bytes: 20_000,
        ..Options::default()
    };
    let mut b = Udp::bind("127.0.0.1:0".parse().unwrap(), &small).unwrap();
    let mut a = v4();
    let bytes = pattern(1000);
    let slices = [IoSlice::new(&bytes)];
    let batch = vec![datagram(b.local_addr(), &slices); 500];
    assert_eq!(send(&mut a, &batch), []);
    let mut arrived = Vec::new();
    while receive_now(&mut b, &mut arrived) > 0 {}
    assert!(!arrived.is_empty() && arrived.len() < 500);
    assert_eq!(b.counters().receive_overflows, 500 - arrived.len() as u64);
}

#[test]
fn the_mtu_of_a_route_is_known_before_anything_is_sent() {
    let plausible = 1280..=65_536;
    let link = v4();
    assert!(plausible.contains(&link.route_mtu("127.0.0.1".parse().unwrap()).unwrap()));
    assert!(link.route_mtu("::1".parse().unwrap()).is_err());
    if let Some(link) = v6() {
        assert!(plausible.contains(&link.route_mtu("::1".parse().unwrap()).unwrap()));
    }
}

#[test]
fn an_address_in_use_says_what_to_do() {
    let first = v4();
    let address = first.local_addr();
    let error = Udp::bind(address, &Options::default()).err().unwrap();
    assert!(matches!(error, BindError::AddressInUse(taken) if taken == address));
    let port = address.port();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on 127.0.0.1:{port}: another process uses UDP port {port}; choose \
             another port, or end that process (`ss -ulpn 'sport = :{port}'` names it)"
        )
    );
    let shared = Options {
        reuse_port: true,
        ..Options::default()
    };
    assert!(
        Udp::bind(address, &shared).is_err(),
        "both must agree to share"
    );
}

#[test]
fn an_address_of_another_machine_says_what_to_do() {
    let address = "192.0.2.1:4000".parse().unwrap();
    let error = Udp::bind(address, &Options::default()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "cannot listen on 192.0.2.1:4000: this machine does not have the address 192.0.2.1; `ip \
         address` lists those it has, and 0.0.0.0 stands for all of them"
    );
}

#[test]
fn two_links_that_agree_share_an_address() {
    let shared = Options {
        reuse_port: true,
        ..Options::default()
    };
    let first = Udp::bind("127.0.0.1:0".parse().unwrap(), &shared).unwrap();
    let second = Udp::bind(first.local_addr(), &shared).unwrap();
    assert_eq!(first.local_addr(), second.local_addr());
}
