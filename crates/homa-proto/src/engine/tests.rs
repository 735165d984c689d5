use core::net::{Ipv6Addr, SocketAddr};

use super::*;
use crate::api::Call;
use crate::burst::Burst;

const PORT: u16 = 4_000;

/// A pair of engines with a socket each.
fn pair() -> [Engine; 2] {
    [1, 2].map(|seed| {
        let mut engine = Engine::new(Config::default(), Seed([seed, 7])).unwrap();
        engine.open_socket(PORT, true).unwrap();
        engine
    })
}

/// The way to one of many addresses.
fn path(number: u32) -> Path {
    let address = SocketAddr::from(((10 << 24 | number).to_be_bytes(), PORT));
    Path {
        socket: crate::SocketId(0),
        peer: address.into(),
        local: Ipv6Addr::UNSPECIFIED,
    }
}

/// Calls `rpcs` times, as many servers as there are `peers` in turn; the server sees as many clients.
fn call([client, server]: &mut [Engine; 2], rpcs: u32, peers: u32) {
    let now = Instant::from_nanos(1_000_000_000);
    for number in 0..rpcs {
        let call = Call {
            path: path(number % peers),
            dest_port: PORT,
            length: 100,
            segment_bytes: 1_400,
            deadline: None,
            idempotent: false,
        };
        client.call(now, call).unwrap();
    }
    let mut burst = Burst::new().unwrap();
    while client.poll_transmit(now, &mut burst) {
        let from = *burst.path();
        for packet in burst.packets() {
            let length = packet.length() as u32;
            let placement = server.handle_packet(now, from, packet.header, length);
            placement.unwrap().commit();
        }
    }
}

/// Entries that each table has memory for.
fn capacities(engine: &Engine) -> [u32; 4] {
    let [peers, owed] = engine.peers.capacities();
    [
        engine.rpcs.slab.capacity().min(engine.room),
        peers,
        owed,
        engine.tombstones.capacity(),
    ]
}

#[test]
fn what_was_made_room_for_comes_without_memory() {
    let mut engines = pair();
    call(&mut engines, 50, 7);
    for engine in &mut engines {
        assert_eq!(engine.reserve(1_000, 300), Ok(()));
    }
    let before = engines.each_ref().map(capacities);
    for capacities in before {
        assert!(
            capacities[0] >= 1_050 && capacities[1] >= 307,
            "{capacities:?}"
        );
    }
    call(&mut engines, 1_000, 307);
    assert_eq!(engines.each_ref().map(capacities), before);
    assert_eq!(engines[0].usage().client_rpcs, 1_050);
    assert_eq!(engines[1].usage().server_rpcs, 1_050);
    assert_eq!(engines[1].usage().peers, 307);
}

#[test]
fn no_table_gets_room_beyond_its_limit() {
    let config = Config {
        max_client_rpcs: 10,
        max_server_rpcs: 10,
        max_peers: 5,
        max_tombstone_blocks: 3,
        ..Config::default()
    };
    let mut engine = Engine::new(config, Seed([1, 7])).unwrap();
    assert_eq!(engine.reserve(u32::MAX, u32::MAX), Ok(()));
    let capacities = capacities(&engine);
    assert!(capacities[0] >= 20, "{capacities:?}");
    // Memory comes in chunks; that for acks has a limit of its own.
    assert!([0, 1, 3].iter().all(|&table| capacities[table] <= 32));
}

#[test]
fn segments_that_follow_each_other_are_one_word_and_what_is_there_is_left_out() {
    let [mut client, mut server] = pair();
    let now = Instant::from_nanos(1_000_000_000);
    let call = Call {
        path: path(1),
        dest_port: PORT,
        length: 14_000,
        segment_bytes: 1_400,
        deadline: None,
        idempotent: false,
    };
    client.call(now, call).unwrap();
    let mut burst = Burst::new().unwrap();
    assert!(client.poll_transmit(now, &mut burst));
    let headers: Vec<wire::DataHeader> = burst
        .packets()
        .map(|packet| *packet.header.first_chunk().unwrap())
        .collect();
    let one = |count: u32| wire::DATA_HEADER_BYTES as u32 + count * 1_400;
    let from = path(1);

    // The sixth is there, and with it a gap of five.
    let placement = server
        .handle_packet(now, from, &headers[5], one(1))
        .unwrap();
    let rpc = placement.place().rpc;
    placement.commit();
    assert_eq!(server.unreached(rpc), Some(8_400..14_000));
    for missing in [0..7_000, 8_400..14_000] {
        let placement = server.handle_segments(now, from, &headers[0], one(10), 1);
        let placement = placement.unwrap();
        let place = placement.place();
        assert_eq!(place.offset..place.offset + place.length, missing);
        let skipped = place.header_bytes - wire::DATA_HEADER_BYTES;
        assert_eq!(skipped as u32, missing.start);
        placement.commit();
    }
    assert_eq!(server.unreached(rpc), None);
    assert!(matches!(server.poll_event(), Some(Event::Request { .. })));
    let before = server.counters().packets_received;
    assert!(
        server
            .handle_segments(now, from, &headers[0], one(10), 10)
            .is_none()
    );
    assert_eq!(server.counters().packets_received, before + 10);
}
