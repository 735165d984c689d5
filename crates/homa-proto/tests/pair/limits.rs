//! Limits: every table full once, what happens then, and that all of it is empty afterwards.

use core::net::SocketAddr;
use core::time::Duration;

use homa_proto::wire::{Body, Common, Data, Packet, RpcId};
use homa_proto::{Address, CallError, Config, ConfigError, Engine, Failure, Seed};

use crate::world::{Fate, World};

/// A pair of which host 1, the server, is configured otherwise.
pub(crate) fn with_server(server: Config) -> World {
    World::new([Config::default(), server])
}

pub(crate) fn stranger(number: u32) -> Address {
    SocketAddr::from(((0xc633_6400 | number).to_be_bytes(), 9_999)).into()
}

/// One packet of a request of any length.
pub(crate) fn data(id: u64, length: u32, offset: u32, payload: u32) -> Packet {
    Packet {
        common: Common {
            source_port: 9_999,
            dest_port: 4_000,
            sender_id: RpcId::new(id),
        },
        body: Body::Data(Data {
            message_length: length,
            incoming: length.min(40_000),
            ack: None,
            cutoff_version: 0,
            retransmit: false,
            incast: false,
            offset,
            payload_length: payload,
        }),
    }
}

#[test]
fn a_client_with_as_many_rpcs_as_it_may_have_is_told_and_may_call_again_when_one_ended() {
    let mut world = World::new([
        Config {
            max_client_rpcs: 10,
            ..Config::default()
        },
        Config::default(),
    ]);
    for _ in 0..10 {
        world.call(0, 1, 100);
    }
    let call = world.a_call(0, 1, 100);
    assert_eq!(world.enqueue(0, call), Err(CallError::Full));
    world.run_ms(1);
    let (rpc, _) = world.hosts[1].requests[3];
    world.reply(1, rpc, 100);
    world.run_ms(1);
    world.call(0, 1, 100);
    assert_eq!(world.enqueue(0, call), Err(CallError::Full));
    assert_eq!(world.hosts[0].engine.usage().client_rpcs, 10);
}

#[test]
fn a_server_with_as_many_rpcs_as_it_may_have_refuses_more_and_its_client_hears_why() {
    let mut world = with_server(Config {
        max_server_rpcs: 10,
        ..Config::default()
    });
    for _ in 0..15 {
        world.call(0, 1, 100);
    }
    world.run_ms(1);
    assert_eq!(world.hosts[1].requests.len(), 10);
    assert_eq!(world.hosts[0].failures(), [Failure::Overloaded; 5]);
    assert_eq!(world.counters(1).requests_refused, 5);
    for (rpc, _) in world.hosts[1].requests.clone() {
        world.reply(1, rpc, 100);
    }
    world.run_ms(10);
    world.hosts[1].echo = true;
    world.call(0, 1, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 11);
    world.assert_forgotten_later();
}

#[test]
fn one_peer_cannot_take_all_places_of_a_server() {
    let server = Config {
        max_server_rpcs_per_peer: 4,
        ..Config::default()
    };
    let mut world = World::new([Config::default(), Config::default(), server]);
    for client in [0, 1] {
        for _ in 0..6 {
            world.call(client, 2, 100);
        }
    }
    world.run_ms(1);
    for client in [0, 1] {
        assert_eq!(world.hosts[client].failures(), [Failure::Overloaded; 2]);
    }
    assert_eq!(world.hosts[2].requests.len(), 8);
}

#[test]
fn a_refused_request_never_runs_though_copies_of_it_come_when_there_is_room() {
    let mut world = with_server(Config {
        max_server_rpcs: 1,
        ..Config::default()
    });
    world.on_wire(|_, flight| match flight.payload {
        Some(_) if flight.from == 0 => Fate::Duplicate(Duration::from_millis(500)),
        _ => Fate::Deliver,
    });
    world.call(0, 1, 100);
    world.call(0, 1, 100);
    world.run_ms(5);
    assert_eq!(world.hosts[0].failures(), [Failure::Overloaded]);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100);
    world.run_ms(1_000);
    assert_eq!(world.hosts[1].requests_run(), 1);
    world.assert_forgotten_later();
}

#[test]
fn a_request_longer_than_the_servers_limit_fails_at_once_and_is_counted() {
    let mut world = with_server(Config {
        max_message_bytes: 10_000,
        ..Config::default()
    });
    world.call(0, 1, 10_001);
    world.run_ms(1);
    assert!(world.counters(1).dropped_too_long > 0);
    assert_eq!(world.hosts[1].engine.usage().peers, 0);
    assert_eq!(world.hosts[0].failures(), [Failure::Overloaded]);
    world.assert_forgotten_later();
}

#[test]
fn when_the_table_of_peers_is_full_the_one_idle_for_longest_goes() {
    let mut world = with_server(Config {
        max_peers: 3,
        ..Config::default()
    });
    world.hosts[1].echo = true;
    for number in 0..10 {
        world.inject(1, stranger(number), &data(2, 100, 0, 100), 100);
        assert!(world.hosts[1].engine.usage().peers <= 3);
        // Long enough for its tombstones to go.
        world.run_ms(2_000);
    }
    assert_eq!(world.counters(1).requests_delivered, 10);
    assert_eq!(world.counters(1).requests_refused, 0);
    world.assert_forgotten_later();
}

#[test]
fn with_no_peer_idle_new_ones_are_refused_and_calls_to_them_too() {
    let mut world = with_server(Config {
        max_peers: 3,
        ..Config::default()
    });
    for number in 0..5 {
        world.inject(1, stranger(number), &data(2, 100, 0, 100), 100);
    }
    assert_eq!(world.counters(1).requests_refused, 2);
    assert_eq!(world.hosts[1].engine.usage().server_rpcs, 3);
    let call = world.a_call(1, 0, 100);
    assert_eq!(world.enqueue(1, call), Err(CallError::Full));
    world.run_ms(10_000);
    world.hosts[0].echo = true;
    world.call(1, 0, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[1].responses(), 1);
    world.assert_forgotten_later();
}

#[test]
fn gaps_beyond_the_limits_are_dropped_counted_and_filled_later() {
    for (total, each) in [(1, 1), (10, 3), (3, 100)] {
        let mut world = with_server(Config {
            max_gaps: total,
            max_gaps_per_message: each,
            ..Config::default()
        });
        world.hosts[1].echo = true;
        world.hosts[1].answer = Some(1);
        // Every other packet of the first transmission is lost.
        world.on_wire(|_, flight| {
            let odd = flight
                .payload
                .is_some_and(|(_, offset, _)| offset / 1_400 % 2 == 1);
            let first = matches!(flight.body(), Body::Data(data) if !data.retransmit);
            Fate::drop_if(flight.from == 0 && odd && first)
        });
        for _ in 0..3 {
            world.call(0, 1, 39_000);
        }
        world.run_ms(2);
        assert!(world.counters(1).dropped_gap_limit > 0);
        assert!(world.hosts[1].engine.usage().ranges <= total);
        world.run_ms(2_000);
        assert_eq!(world.hosts[0].responses(), 3, "{total} gaps, {each} each");
        world.assert_forgotten_later();
    }
}

#[test]
fn answers_to_a_flood_of_questions_are_bounded_and_the_rest_counted() {
    let mut world = World::pair();
    let resend = Packet {
        body: Body::NeedAck,
        ..data(3, 100, 0, 100)
    };
    let mut header = [0; 90];
    let length = resend.emit(&mut header);
    // A batch of arrivals before the host sends anything.
    let path = homa_proto::Path {
        socket: world.hosts[1].socket,
        peer: stranger(1),
        local: core::net::Ipv6Addr::UNSPECIFIED,
    };
    let now = world.now;
    for _ in 0..1_000 {
        let engine = &mut world.hosts[1].engine;
        assert!(
            engine
                .handle_packet(now, path, &header[..length], 28)
                .is_none()
        );
    }
    world.drain(1);
    let sent = world.count(|_, body| matches!(body, Body::Ack(_)));
    assert_eq!(sent as u64 + world.counters(1).answers_dropped, 1_000);
    assert_eq!(world.counters(1).acks_sent, sent as u64);
    assert!((100..1_000).contains(&sent));
}

#[test]
fn incomplete_requests_of_strangers_are_forgotten_within_a_second() {
    let mut world = World::pair();
    for number in 0..1_000 {
        // A gap, no gap, a message that needs grants.
        let packet = match number % 3 {
            0 => data(2, 30_000, 10_000, 1_000),
            1 => data(2, 30_000, 0, 1_000),
            _ => data(2, 900_000, 0, 1_000),
        };
        world.inject(1, stranger(number), &packet, 1_000);
    }
    assert!(world.hosts[1].engine.usage().server_rpcs > 100);
    assert!(world.counters(1).stalls > 0, "64 MiB hold no 900 MB");
    world.run_ms(8_000);
    world.hosts[1].assert_empty();
    world.assert_forgotten_later();
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// What makes the default configuration one that contradicts itself.
const SPOILS: &[fn(&mut Config)] = &[
    |c| c.overcommitment = 0,
    |c| c.overcommitment = 9,
    |c| c.priorities = 0,
    |c| c.priorities = 9,
    |c| c.fifo_grant_permille = 501,
    |c| c.pacer_fifo_permille = 501,
    |c| c.max_message_bytes = 0,
    |c| c.receive_budget_bytes = 999_999,
    |c| c.unscheduled_bytes = 0,
    |c| c.unscheduled_max_bytes = Some(0),
    |c| c.burst_packets = 65,
    |c| c.burst_packets = 0,
    |c| c.burst_bytes = 1_499,
    |c| c.burst_bytes = 65_508,
    |c| c.link_bits_per_second = Some(999_999),
    |c| c.resend_interval = Duration::from_micros(999),
    |c| c.ack_interval = Duration::from_micros(999),
    |c| c.timeout = Duration::from_micros(9_999),
    |c| c.ping_interval_max = Duration::from_micros(4_999),
    |c| c.service_silence = Duration::from_micros(3_999_999),
    |c| c.service_deadline = Some(Duration::ZERO),
    |c| c.max_message_bytes = (1 << 30) + 1,
    |c| c.max_client_rpcs = 0,
    |c| c.max_client_rpcs = 1 << 24,
    |c| c.max_server_rpcs = 0,
    |c| c.max_server_rpcs = 1 << 24,
    |c| c.max_peers = 0,
    |c| c.max_peers = 1 << 30,
    |c| c.max_tombstone_blocks = 0,
    |c| c.max_tombstone_blocks = 1 << 30,
    // Nothing would ever be granted, or sent again.
    |c| c.fifo_grant_bytes = 1_499,
    |c| c.max_incoming_bytes = 1_499,
    |c| c.window_bytes = Some(1_499),
    |c| c.max_gaps = 0,
    |c| c.max_gaps = 1 << 30,
    |c| c.max_gaps_per_message = 0,
    // Sums of longer times would overflow.
    |c| c.pacer_backlog = DAY + Duration::from_nanos(1),
    |c| c.resend_interval = DAY + Duration::from_nanos(1),
    |c| c.timeout = Duration::MAX,
    |c| c.ack_interval = DAY + Duration::from_nanos(1),
    |c| c.ping_interval_max = DAY + Duration::from_nanos(1),
    |c| c.service_silence = DAY + Duration::from_nanos(1),
    |c| c.service_deadline = Some(DAY + Duration::from_nanos(1)),
    |c| c.packet_lifetime = DAY + Duration::from_nanos(1),
    |c| c.quiet_start = DAY + Duration::from_nanos(1),
    |c| c.peer_idle = DAY + Duration::from_nanos(1),
];

#[test]
fn configurations_that_contradict_themselves_are_refused_with_the_rule() {
    assert_eq!(Config::default().check(), Ok(()));
    assert_eq!(Config::user_space().check(), Ok(()));
    for (number, spoil) in SPOILS.iter().enumerate() {
        let mut config = Config::default();
        spoil(&mut config);
        let refused = Engine::new(config, Seed([1, 2])).err();
        let Some(ConfigError::Invalid(rule)) = refused else {
            panic!("number {number} is accepted");
        };
        assert!(!rule.is_empty());
        let said = ConfigError::Invalid(rule).to_string();
        assert!(said.ends_with(rule), "{said}");
    }
}

#[test]
fn configurations_at_the_ends_of_what_is_allowed_are_accepted() {
    let least = Config {
        overcommitment: 1,
        priorities: 1,
        fifo_grant_permille: 0,
        fifo_grant_bytes: 0,
        pacer_fifo_permille: 0,
        max_incoming_bytes: 1_500,
        window_bytes: Some(1_500),
        unscheduled_bytes: 1,
        burst_packets: 1,
        burst_bytes: 1_500,
        link_bits_per_second: Some(1_000_000),
        resend_interval: Duration::from_millis(1),
        ack_interval: Duration::from_millis(1),
        timeout: Duration::from_millis(2),
        ping_interval_max: Duration::from_millis(1),
        service_silence: Duration::from_millis(4),
        packet_lifetime: Duration::ZERO,
        max_message_bytes: 1,
        receive_budget_bytes: 1,
        max_client_rpcs: 1,
        max_server_rpcs: 1,
        max_peers: 1,
        max_gaps: 1,
        max_gaps_per_message: 1,
        max_tombstone_blocks: 1,
        ..Config::default()
    };
    assert_eq!(least.check(), Ok(()));
    let greatest = Config {
        overcommitment: 8,
        priorities: 8,
        fifo_grant_permille: 500,
        fifo_grant_bytes: 1_500,
        pacer_fifo_permille: 500,
        burst_packets: 64,
        burst_bytes: 65_507,
        pacer_backlog: DAY,
        timeout: DAY,
        ack_interval: DAY,
        service_silence: DAY,
        packet_lifetime: DAY,
        quiet_start: DAY,
        peer_idle: DAY,
        max_message_bytes: 1 << 30,
        receive_budget_bytes: 1 << 30,
        max_client_rpcs: (1 << 24) - 1,
        max_server_rpcs: 1,
        ..Config::default()
    };
    assert_eq!(greatest.check(), Ok(()));
}

#[test]
fn processes_are_given_ten_times_as_long_as_kernels_before_they_count_as_gone() {
    let kernel = Config::default();
    let process = Config::user_space();
    assert_eq!(process.timeout, 10 * kernel.timeout);
    assert_eq!(
        Config {
            timeout: kernel.timeout,
            unscheduled_max_bytes: None,
            ..process
        },
        kernel
    );
}

#[test]
fn the_ends_of_time_and_of_every_number_are_survived() {
    for start in [0, 1, u64::MAX / 2, u64::MAX - 20_000_000_000] {
        let mut world = World::echo_pair();
        world.now = homa_proto::Instant::from_nanos(start);
        let call = homa_proto::Call {
            deadline: Some(homa_proto::Instant::from_nanos(u64::MAX)),
            ..world.a_call(0, 1, 3_000)
        };
        world.enqueue(0, call).unwrap();
        world.drain(0);
        world.crash(1);
        world.run_until(homa_proto::Instant::from_nanos(
            start.saturating_add(10_000_000_000),
        ));
    }
}
