//! Several engines of one host: what each says of itself, and what it does by what it is told of
//! the others.

use core::time::Duration;

use homa_proto::wire::{Body, Common, Packet, Resend, ResendRange};
use homa_proto::{Burst, Config, HostView, Urgency};

use crate::world::{Fate, Flight, World};

/// The host of the packet's receiver takes it in and does nothing about it yet.
fn receive(world: &mut World, flight: &Flight) {
    let from = world.hosts[flight.from].address;
    let now = world.now;
    world.hosts[flight.to].receive(now, from, flight);
}

/// Takes one burst from a host, and leaves the others.
fn poll(world: &mut World, host: usize) -> bool {
    let mut burst = Burst::new().expect("there is memory");
    let now = world.now;
    world.hosts[host].engine.poll_transmit(now, &mut burst)
}

fn urgency(world: &World, host: usize) -> Urgency {
    world.hosts[host].engine.urgency()
}

#[test]
fn an_engine_says_how_urgent_it_is_that_it_sends_next() {
    let mut world = World::pair();
    world.on_wire(|_, _| Fate::Drop);
    assert_eq!(urgency(&world, 0), Urgency::Nothing);
    for (length, expected) in [(100, Urgency::Short), (100_000, Urgency::Long(100_000))] {
        let call = world.a_call(0, 1, length);
        world.enqueue(0, call).unwrap();
        assert_eq!(urgency(&world, 0), expected);
        world.drain(0);
        assert_eq!(urgency(&world, 0), Urgency::Nothing);
    }
    // The first packet of the long request: the server tells its cutoffs and then grants.
    let first = world.trace[1].1.clone();
    receive(&mut world, &first);
    assert_eq!(urgency(&world, 1), Urgency::Control);
    assert!(poll(&mut world, 1));
    assert_eq!(urgency(&world, 1), Urgency::Grant(98_600));
    world.drain(1);
    assert_eq!(urgency(&world, 1), Urgency::Nothing);

    let asked = Packet {
        common: Common {
            source_port: 4_000,
            dest_port: 4_000,
            sender_id: first.packet().common.sender_id.flipped(),
        },
        body: Body::Resend(Resend {
            range: ResendRange::Bytes {
                offset: 0,
                length: 1_400,
            },
            priority: None,
        }),
    };
    let mut header = [0; 90];
    let length = asked.emit(&mut header);
    let resend = Flight {
        from: 1,
        to: 0,
        header: header[..length].to_vec(),
        length: length as u32,
        payload: None,
        priority: 7,
    };
    receive(&mut world, &resend);
    assert_eq!(urgency(&world, 0), Urgency::Short);
}

#[test]
fn an_engine_leaves_the_link_to_another_of_its_host_as_long_as_that_needs_it() {
    let config = Config {
        link_bits_per_second: Some(1_000_000_000),
        ..Config::default()
    };
    let mut world = World::new([config.clone(), Config::default(), config]);
    let first = world.a_call(0, 1, 30_000);
    world.try_call(0, first).unwrap();
    let view = HostView::join([&world.hosts[0].engine.report()]);
    world.hosts[2].engine.set_host_view(&view);
    let second = world.a_call(2, 1, 30_000);
    world.try_call(2, second).unwrap();
    let sent = |world: &World| world.count(|flight, _| flight.from == 2);
    assert_eq!(sent(&world), 0);
    world.run_ms(2);
    assert!(sent(&world) > 0);
}

#[test]
fn what_other_engines_of_the_host_have_outstanding_is_not_granted_again() {
    let grants = |others: usize| {
        let mut world = World::pair();
        world.call(0, 1, 100_000);
        world.run_for(Duration::from_micros(6));
        // Some 60,000 bytes are granted and did not arrive.
        let reports = vec![world.hosts[1].engine.report(); others];
        let mut world = World::pair();
        world.hosts[1]
            .engine
            .set_host_view(&HostView::join(&reports));
        world.call(0, 1, 100_000);
        world.run_for(Duration::from_micros(50));
        world.count(|_, body| matches!(body, Body::Grant(_)))
    };
    assert_eq!([0, 3, 7].map(grants), [1, 1, 0]);
}
