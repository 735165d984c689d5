//! Silence: who is asked when, who is waited for, who is given up, and that nothing of them stays.

use core::time::Duration;

use homa_proto::wire::{Body, RpcUnknown, UnknownReason};
use homa_proto::{Config, Failure, ReplyError};

use crate::world::{Fate, World};

#[test]
fn the_first_resend_comes_after_five_milliseconds_of_silence_and_then_each_five() {
    let mut world = World::pair();
    let start = world.now;
    world.on_wire(|_, _| Fate::Drop);
    world.call(0, 1, 100);
    world.run_ms(99);
    assert_eq!(world.hosts[0].failures(), []);
    let asks: Vec<u64> = world
        .trace
        .iter()
        .filter(|(_, flight)| matches!(flight.body(), Body::Resend(_)))
        .map(|(at, _)| at.nanos_since(start) / 1_000)
        .collect();
    assert!((18..=19).contains(&asks.len()), "{asks:?}");
    for (i, &at) in asks.iter().enumerate() {
        let due = 5_000 * (i as u64 + 1);
        assert!((due..due + 500 * (i as u64 + 1)).contains(&at), "{asks:?}");
    }
    world.run_ms(10);
    assert_eq!(world.hosts[0].failures(), [Failure::TimedOut]);
    assert_eq!(world.counters(0).client_timeouts, 1);
    world.assert_forgotten_later();
}

#[test]
fn a_server_that_works_for_ten_seconds_does_not_time_out_and_is_asked_rarely() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(10_000);
    assert_eq!(world.hosts[0].failures(), []);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
    let asks = world.counters(0).resends_sent;
    // 5, 10, 20 … 640 ms, then each second.
    assert!((15..=18).contains(&asks), "{asks} asks");
    assert_eq!(world.counters(1).busy_sent, asks);
    assert_eq!(world.counters(0).busy_received, asks);
    world.assert_forgotten_later();
}

#[test]
fn after_slow_rpcs_the_pings_of_the_next_begin_anew() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(3_000);
    let before = world.counters(0).resends_sent;
    world.call(0, 1, 100);
    world.run_ms(6);
    assert!(world.counters(0).resends_sent > before);
}

#[test]
fn a_lost_response_to_a_slow_request_is_recovered_soon() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    // The client asks once a second by then; the server asks for its ack much earlier.
    world.run_ms(4_000);
    world.lose(1, |_, body| matches!(body, Body::Data(_)));
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100);
    world.run_ms(4);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.counters(1).need_acks_sent, 1);
}

#[test]
fn an_ack_that_never_comes_is_asked_for_ever_more_rarely_until_the_server_gives_up() {
    let mut world = World::echo_pair();
    world.on_wire(|_, flight| Fate::drop_if(matches!(flight.body(), Body::NeedAck)));
    world.call(0, 1, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
    world.run_ms(400);
    assert_eq!(world.hosts[1].endings(), [false]);
    assert_eq!(world.counters(1).acks_given_up, 1);
    let asked: Vec<u64> = world
        .trace
        .iter()
        .filter(|(_, flight)| matches!(flight.body(), Body::NeedAck))
        .map(|(at, _)| at.as_nanos() / 1_000_000)
        .collect();
    assert!((4..=7).contains(&asked.len()), "{asked:?}");
    let pauses: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.is_sorted(), "{asked:?}");
    world.assert_forgotten_later();
}

#[test]
fn an_rpc_that_gets_no_answer_ends_though_its_peer_is_heard() {
    let mut world = World::echo_pair();
    let victim = world.call(0, 1, 100);
    let id = world.trace[0].1.packet().common.sender_id;
    world.on_wire(move |_, flight| {
        let sender = flight.packet().common.sender_id;
        Fate::drop_if(sender == id || sender == id.flipped())
    });
    // The request is on its way already; nothing that follows arrives.
    let start = world.now;
    while world.now.nanos_since(start) < 1_100_000_000 {
        world.call(0, 1, 100);
        world.run_ms(1);
    }
    assert_eq!(world.hosts[0].failures(), [Failure::TimedOut]);
    let failed = world.hosts[0]
        .events
        .iter()
        .find_map(|(at, event)| match event {
            homa_proto::Event::Failed { rpc, .. } => Some((*at, *rpc)),
            _ => None,
        });
    let (at, rpc) = failed.unwrap();
    assert_eq!(rpc, victim);
    let waited = at.nanos_since(start) / 1_000_000;
    assert!((1_000..1_100).contains(&waited), "{waited} ms");
    let asked: Vec<u64> = world
        .trace
        .iter()
        .filter(|(_, flight)| flight.packet().common.sender_id == id)
        .filter(|(_, flight)| matches!(flight.body(), Body::Resend(_)))
        .map(|(at, _)| at.nanos_since(start) / 1_000_000)
        .collect();
    let pauses: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (often, rarely) = pauses.split_at(19);
    assert!(
        often.iter().all(|pause| (5..=6).contains(pause)),
        "{pauses:?}"
    );
    assert!(
        rarely.iter().all(|pause| (50..=51).contains(pause)),
        "{pauses:?}"
    );
    world.run_ms(2_000);
    world.assert_empty();
}

#[test]
fn a_client_whose_response_never_arrives_gives_up_though_the_server_asks_for_its_ack() {
    let mut world = World::echo_pair();
    world.on_wire(|_, flight| Fate::drop_if(flight.from == 1 && flight.payload.is_some()));
    world.call(0, 1, 100);
    world.run_ms(1_100);
    assert!(world.counters(0).need_acks_received > 10);
    assert_eq!(world.hosts[0].failures(), [Failure::TimedOut]);
    world.run_ms(2_000);
    world.assert_empty();
}

#[test]
fn one_late_answer_does_not_make_a_client_patient_for_minutes() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    let id = world.trace[0].1.packet().common.sender_id;
    world.on_wire(move |_, flight| Fate::drop_if(flight.packet().common.sender_id == id.flipped()));
    for _ in 0..45 {
        // Other RPCs show that the server is alive.
        world.call(0, 1, 100);
        world.run_ms(20);
        let &(rpc, _) = world.hosts[1].requests.last().unwrap();
        world.reply(1, rpc, 100);
    }
    assert_eq!(world.hosts[0].failures(), []);
    world.heal();
    world.run_ms(90);
    world.crash(1);
    world.run_ms(12_000);
    assert_eq!(world.hosts[0].failures(), [Failure::TimedOut]);
    world.assert_forgotten_later();
}

#[test]
fn a_client_that_vanishes_at_any_moment_leaves_its_server_empty() {
    for (request, response) in [(100, 100), (300_000, 100), (100, 300_000), (50_000, 50_000)] {
        for step in 0..40 {
            let mut world = World::pair();
            world.keep_trace = false;
            for _ in 0..3 {
                world.call(0, 1, request);
            }
            world.run_for(Duration::from_micros(step * 5));
            for (rpc, _) in world.hosts[1].requests.clone() {
                world.reply(1, rpc, response);
            }
            world.run_for(Duration::from_micros((step % 7) * 10));
            world.crash(0);
            world.run_ms(7_000);
            world.hosts[1].assert_empty();
            let ended = world.hosts[1].endings().len();
            assert!(ended <= 3);
            world.run_ms(200_000);
            world.hosts[1].assert_forgotten();
        }
    }
}

#[test]
fn a_server_that_vanishes_at_any_moment_leaves_its_client_empty() {
    for (request, response) in [(100, 100), (300_000, 100), (100, 300_000), (50_000, 50_000)] {
        for step in 0..40 {
            let mut world = World::pair();
            world.keep_trace = false;
            world.hosts[1].echo = step % 2 == 0;
            world.hosts[1].answer = Some(response);
            for _ in 0..3 {
                world.call(0, 1, request);
            }
            world.run_for(Duration::from_micros(step * 7));
            world.crash(1);
            world.run_ms(1_200);
            world.hosts[0].assert_empty();
            let host = &world.hosts[0];
            assert_eq!(host.responses() + host.failures().len(), 3);
            assert!(
                host.failures()
                    .iter()
                    .all(|&failure| failure == Failure::TimedOut)
            );
            world.run_ms(200_000);
            world.hosts[0].assert_forgotten();
        }
    }
}

#[test]
fn a_client_that_vanishes_while_the_server_works_is_noticed_after_the_service_silence() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(2_000);
    world.crash(0);
    world.run_ms(3_900);
    assert_eq!(world.hosts[1].endings(), []);
    world.run_ms(1_200);
    assert_eq!(world.hosts[1].endings(), [false]);
    assert_eq!(world.counters(1).server_timeouts, 1);
    world.hosts[1].assert_empty();
}

#[test]
fn an_idle_hour_costs_no_deadline() {
    let mut world = World::echo_pair();
    for i in 0..100 {
        world.call(0, 1, 1 + i * 1_000);
    }
    world.run_ms(200_000);
    let before: u64 = world.hosts.iter().map(|host| host.timeouts).sum();
    world.run_for(Duration::from_secs(3_600));
    let after: u64 = world.hosts.iter().map(|host| host.timeouts).sum();
    assert_eq!(after, before);
    for host in &world.hosts {
        host.assert_forgotten();
    }
}

#[test]
fn an_rpc_in_service_for_an_hour_costs_a_few_deadlines_and_one_ping_a_second() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_for(Duration::from_secs(3_600));
    assert_eq!(world.hosts[0].failures(), []);
    assert!(world.counters(0).resends_sent < 3_620);
    for host in &world.hosts {
        assert!(host.timeouts < 5 * 3_600, "{} deadlines", host.timeouts);
    }
}

#[test]
fn a_slow_rpc_survives_a_question_about_another_one_that_its_ack_answered() {
    let mut world = World::pair();
    world.hosts[0].echo = true;
    world.call(0, 1, 100);
    world.run_ms(2_500);
    // The peer is a client as well; after its response it is asked for an ack and gives it.
    world.call(1, 0, 100);
    world.run_ms(5_000);
    assert!(world.counters(0).need_acks_sent > 0);
    assert_eq!(world.hosts[0].failures(), []);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
    world.assert_forgotten_later();
}

#[test]
fn a_slow_rpc_survives_a_question_about_another_one_that_nobody_answered() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(2_500);
    // Another RPC ends at its deadline, just after it asked in vain.
    world.on_wire(|_, _| Fate::Drop);
    let call = homa_proto::Call {
        deadline: Some(world.now + Duration::from_millis(7)),
        ..world.a_call(0, 1, 100)
    };
    world.try_call(0, call).unwrap();
    world.run_ms(10);
    assert_eq!(world.hosts[0].failures(), [Failure::DeadlineExceeded]);
    world.heal();
    world.run_ms(5_000);
    assert_eq!(world.hosts[0].failures().len(), 1);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100);
    world.run_ms(1);
    assert_eq!(world.hosts[0].responses(), 1);
    world.assert_forgotten_later();
}

#[test]
fn of_thousands_of_slow_rpcs_few_ask_at_a_time_and_none_times_out() {
    let mut world = World::pair();
    world.keep_trace = false;
    for _ in 0..5_000 {
        let call = world.a_call(0, 1, 100);
        world.enqueue(0, call).unwrap();
    }
    world.drain(0);
    world.run_ms(6_000);
    assert_eq!(world.hosts[0].failures(), []);
    assert!(world.counters(0).asks_put_off > 0);
    let asks = world.counters(0).resends_sent;
    assert!(asks < 200 * 6_000 / 5, "{asks} asks");
    for (rpc, _) in world.hosts[1].requests.clone() {
        world.reply(1, rpc, 100);
    }
    world.run_ms(2_000);
    assert_eq!(world.hosts[0].responses(), 5_000);
    world.assert_forgotten_later();
}

#[test]
fn thousands_of_rpcs_of_a_vanished_server_end_together() {
    let mut world = World::pair();
    world.keep_trace = false;
    for _ in 0..5_000 {
        let call = world.a_call(0, 1, 100);
        world.enqueue(0, call).unwrap();
    }
    world.drain(0);
    world.run_ms(2_000);
    world.crash(1);
    world.run_ms(2_500);
    assert_eq!(world.hosts[0].failures(), [Failure::TimedOut; 5_000]);
    world.hosts[0].assert_empty();
}

#[test]
fn a_server_that_is_gone_is_given_up_in_time_after_any_number_of_questions() {
    let config = Config {
        // Less than what rare questions are apart.
        timeout: Duration::from_millis(60),
        ..Config::default()
    };
    let mut world = World::new([config.clone(), config]);
    world.hosts[1].echo = true;
    world.on_wire(|_, flight| match flight.body() {
        Body::Data(data) => Fate::drop_if(data.message_length == 100),
        Body::RpcUnknown(_) => Fate::Drop,
        _ => Fate::Deliver,
    });
    world.call(0, 1, 100);
    for _ in 0..25 {
        world.call(0, 1, 200);
        world.run_ms(5);
    }
    assert!(world.counters(0).resends_sent >= 20);
    assert_eq!(world.hosts[0].failures(), []);
    world.crash(1);
    world.run_ms(60 + 2 * 30);
    assert_eq!(world.hosts[0].failures(), [Failure::TimedOut]);
}

#[test]
fn rpcs_that_are_answered_in_time_cost_hardly_a_deadline() {
    let mut world = World::echo_pair();
    for length in [100, 5_000, 100, 30_000, 100, 100, 100, 100] {
        world.call(0, 1, length);
        world.run_for(Duration::from_micros(200));
    }
    assert_eq!(world.hosts[0].responses(), 8);
    // The wheel of deadlines sorts them in anew now and then.
    assert!(world.hosts.iter().all(|host| host.timeouts <= 1));
}

#[test]
fn a_busy_that_answers_no_question_is_no_measure_of_the_path() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(4);
    let mut busy = world.trace[0].1.packet();
    busy.common.sender_id = busy.common.sender_id.flipped();
    busy.body = Body::Busy;
    let server = world.hosts[1].address;
    world.inject(0, server, &busy, 0);
    assert_eq!(world.counters(0).busy_received, 1);
    world.on_wire(|_, _| Fate::Drop);
    world.call(0, 1, 100);
    world.run_ms(6);
    assert_eq!(world.counters(0).resends_sent, 1);
}

#[test]
fn a_client_that_knows_an_rpc_no_more_has_its_response_unless_it_aborted_or_bytes_are_unsent() {
    let aborted = Some(UnknownReason::Aborted);
    let cases = [
        (100, None, true),
        (100, aborted, false),
        (100_000, None, false),
    ];
    for (length, reason, delivered) in cases {
        let mut world = World::pair();
        world.call(0, 1, 100);
        world.run_ms(1);
        world.lose(usize::MAX, |_, body| matches!(body, Body::Grant(_)));
        let (rpc, _) = world.hosts[1].requests[0];
        world.reply(1, rpc, length);
        let mut unknown = world.trace[0].1.packet();
        unknown.body = Body::RpcUnknown(RpcUnknown { reason });
        let client = world.hosts[0].address;
        world.inject(1, client, &unknown, 0);
        assert_eq!(world.hosts[1].endings(), [delivered], "{length} {reason:?}");
        assert_eq!(world.counters(1).unknown_received, 1);
    }
}

#[test]
fn a_server_that_had_the_request_does_not_make_its_client_believe_that_it_was_refused() {
    let mut world = World::pair();
    world.call(0, 1, 100);
    world.run_ms(10);
    assert!(
        world.counters(0).busy_received > 0,
        "the server shows that it has it"
    );
    let mut unknown = world.trace[0].1.packet();
    unknown.common.sender_id = unknown.common.sender_id.flipped();
    unknown.body = Body::RpcUnknown(RpcUnknown {
        reason: Some(UnknownReason::Overloaded),
    });
    let server = world.hosts[1].address;
    world.inject(0, server, &unknown, 0);
    assert_eq!(world.hosts[0].failures(), []);
    let (rpc, _) = world.hosts[1].requests[0];
    world.reply(1, rpc, 100);
    world.run_ms(10);
    assert_eq!(world.hosts[0].responses(), 1);
}

#[test]
fn bytes_after_a_long_silence_make_questions_frequent_again() {
    let mut world = World::echo_pair();
    world.hosts[1].answer = Some(2_800);
    world.call(0, 1, 100);
    let request = world.trace[0].1.packet();
    let id = request.common.sender_id;
    world.on_wire(move |_, flight| Fate::drop_if(flight.packet().common.sender_id == id.flipped()));
    let asks = |world: &World| {
        world.count(|flight, body| {
            flight.packet().common.sender_id == id && matches!(body, Body::Resend(_))
        })
    };
    while asks(&world) < 22 {
        // Other RPCs show that the server is alive.
        world.call(0, 1, 100);
        world.run_ms(1);
    }
    let lost = world.trace.iter().map(|(_, flight)| flight);
    let first = lost
        .filter(|flight| flight.packet().common.sender_id == id.flipped())
        .find(|flight| flight.payload.is_some_and(|(_, offset, _)| offset == 0));
    let first = first.expect("it was sent").packet();
    let server = world.hosts[1].address;
    world.inject(0, server, &first, 1_400);
    world.run_ms(7);
    assert_eq!(asks(&world), 23);
    world.heal();
    world.run_ms(10);
    assert_eq!(world.hosts[0].failures(), []);
    world.assert_forgotten_later();
}

#[test]
fn a_request_that_the_application_does_not_answer_by_the_service_deadline_is_dropped() {
    let strict = Config {
        service_deadline: Some(Duration::from_millis(30)),
        ..Config::default()
    };
    let mut world = World::new([Config::default(), strict]);
    world.call(0, 1, 100);
    world.call(0, 1, 20_000);
    world.run_ms(20);
    // One is answered in time, and its response is not hurried.
    let [(answered, _), (late, _)] = world.hosts[1].requests[..] else {
        panic!("both requests came");
    };
    world.on_wire(|_, flight| Fate::drop_if(flight.from == 1));
    world.reply(1, answered, 100);
    world.run_ms(20);
    world.heal();
    world.run_ms(20);
    assert_eq!(world.hosts[0].responses(), 1);
    assert_eq!(world.hosts[0].failures(), [Failure::Dropped]);
    assert_eq!(world.counters(1).requests_overdue, 1);
    let reply = world.with(1, |engine, now| engine.reply(now, late, 100, 1_400));
    assert_eq!(reply, Err(ReplyError::Gone));
    world.run_ms(1_000);
    world.assert_empty();
    world.assert_forgotten_later();
}
