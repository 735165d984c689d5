//! Races between threads, under a model checker: every test runs some thousand schedules of the real
//! library, whose threads are switched wherever they meet.
//!
//! Compiled with `--cfg homa_model` only; `cargo xtask test model` does so. No time passes there
//! (`sync`, `clock`), so whoever must be woken and is not waits for ever: the checker finds that
//! nobody can go on, or that they go on for too many steps without an end.

use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::Poll;
use core::time::Duration;
use std::sync::Arc;

use homa_net::wait::Watch;
use homa_net::{Link, Received, memory};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread::{JoinHandle, spawn, yield_now};
use shuttle::{MaxSteps, Runner};

use crate::blocking::{Client, Server};
use crate::group::{Group, Member};
use crate::pool::{Message, Pool};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::wait;
use crate::waiting::{Alarm, TaskBell};
use crate::{Builder, Config, Host, RecvError};

/// Schedules of each kind: each of eleven notifications that were left out for a try was missed.
const SCHEDULES: usize = 500;
/// Preemptions that make a rare schedule of the second kind.
const PREEMPTIONS: usize = 3;
/// No schedule needs a tenth of them.
const STEPS_MAX: usize = 100_000;
/// Steps that a thread lets others go ahead.
const DAWDLE: usize = 100;
/// The same schedules every time.
const SEED: u64 = 146;
/// An engine without optimisation has bursts and headers on the stack.
const STACK_BYTES: usize = 1 << 20;

fn check(scenario: fn()) {
    let mut config = shuttle::Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    let random = RandomScheduler::new_from_seed(SEED, SCHEDULES);
    Runner::new(random, config.clone()).run(scenario);
    let rare = PctScheduler::new_from_seed(SEED, PREEMPTIONS, SCHEDULES);
    Runner::new(rare, config).run(scenario);
}

/// A host whose client and server are joined by a wire.
struct Stage {
    host: Host,
    client: Client,
    server: Server,
    address: SocketAddr,
}

impl Stage {
    fn new(builder: Builder) -> Self {
        let host = builder.spin(Duration::ZERO).build().unwrap();
        let (near, far) = memory::pair(&memory::Config::default()).unwrap();
        Self {
            address: far.local_addr(),
            client: Client::on_link(&host, Box::new(near)).unwrap(),
            server: Server::on_link(&host, Box::new(far)).unwrap(),
            host,
        }
    }

    /// A thread that answers each request with its first byte, until the server is closed.
    fn serve(&self) -> JoinHandle<()> {
        let server = self.server.clone();
        spawn(move || {
            while let Ok(request) = server.recv() {
                // Its client may have given up.
                let _ = request.responder.reply(&request.message[..1]);
            }
        })
    }

    /// A thread that makes a call and gets its response.
    fn call(&self, name: u8, length: usize) -> JoinHandle<()> {
        let (client, address) = (self.client.clone(), self.address);
        spawn(move || {
            let response = client.call(address, &vec![name; length]).unwrap();
            assert_eq!(*response, [name]);
        })
    }

    /// All calls are over, and nothing of them is left.
    fn assert_no_call_is_left(&self) {
        assert_eq!(self.host.usage().unwrap().client_rpcs, 0);
        let mut state = self.host.lock().unwrap();
        assert_eq!(state.parties.calls.iter_mut().count(), 0);
    }

    fn end(self, threads: impl IntoIterator<Item = JoinHandle<()>>) {
        self.server.close();
        join(threads);
        self.assert_no_call_is_left();
    }
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn whoever_waits_gets_what_is_its_own_however_the_seat_goes_round() {
    check(|| {
        let stage = Stage::new(Host::builder());
        let servers = [stage.serve(), stage.serve()];
        join([b'a', b'b', b'c'].map(|name| stage.call(name, 1)));
        stage.end(servers);
    });
}

#[test]
fn who_leaves_the_seat_wakes_the_next_where_the_background_thread_sleeps() {
    check(|| {
        let stage = Stage::new(Host::builder());
        let names = [b'a', b'b'];
        let mut callers = names.map(|name| Some((name, stage.call(name, 1))));
        let mut requests = names.map(|_| Some(stage.server.recv().unwrap()));
        for request in &mut requests {
            // Long enough for the background thread to find that others drive.
            (0..DAWDLE).for_each(|_| yield_now());
            let request = request.take().unwrap();
            request.responder.reply(&request.message).unwrap();
            let is_its =
                |caller: &Option<(u8, _)>| caller.as_ref().unwrap().0 == request.message[0];
            let caller = callers.iter_mut().find(|it| it.is_some() && is_its(it));
            join(caller.unwrap().take().map(|(_, thread)| thread));
        }
        stage.end([]);
    });
}

#[test]
fn a_request_comes_although_the_last_thread_that_waited_has_left() {
    check(|| {
        let stage = Stage::new(Host::builder());
        let last = stage.call(b'l', 1);
        let request = stage.server.recv().unwrap();
        (0..DAWDLE).for_each(|_| yield_now());
        request.responder.reply(b"l").unwrap();
        join([last]);
        let before = stage.host.news();
        let call = stage.client.start(stage.address, b"c").unwrap();
        while stage.host.news() == before {
            yield_now();
        }
        drop(call);
        stage.end([]);
    });
}

#[test]
fn two_takers_get_the_completions_of_two_calls() {
    check(|| {
        let stage = Stage::new(Host::builder());
        let server = stage.serve();
        let takers = [0, 1].map(|_| {
            let client = stage.client.clone();
            spawn(move || {
                let completion = client.next_completion(None).unwrap().unwrap();
                assert_eq!(*completion.result.unwrap(), [completion.cookie as u8]);
            })
        });
        for name in [b'a', b'b'] {
            stage
                .client
                .submit(stage.address, &[name], name.into())
                .unwrap();
        }
        join(takers);
        stage.end([server]);
    });
}

#[test]
fn a_call_that_is_dropped_while_its_response_comes_leaves_nothing() {
    check(|| {
        let stage = Stage::new(Host::builder());
        let server = stage.serve();
        let dropped = stage.client.start(stage.address, b"dropped").unwrap();
        let kept = stage.call(b'k', 1);
        let dropper = spawn(move || drop(dropped));
        join([dropper, kept]);
        stage.end([server]);
    });
}

#[test]
fn closing_both_ends_ends_every_wait_at_whatever_moment_it_comes() {
    check(|| {
        let stage = Stage::new(Host::builder());
        let server = stage.serve();
        let callers = [b'a', b'b'].map(|name| {
            let (client, address) = (stage.client.clone(), stage.address);
            spawn(move || {
                // Which of the two it is depends on the moment.
                if let Ok(response) = client.call(address, &[name]) {
                    assert_eq!(*response, [name]);
                }
            })
        });
        let taker = stage.client.clone();
        let taker = spawn(move || {
            assert_eq!(taker.next_completion(None).unwrap_err(), RecvError::Closed);
        });
        let (near, far) = (stage.client.clone(), stage.server.clone());
        join([spawn(move || near.close()), spawn(move || far.close())]);
        join(callers);
        stage.end([server, taker]);
    });
}

#[test]
fn a_host_that_nobody_holds_any_more_ends_its_thread() {
    check(|| {
        let stage = Stage::new(Host::builder());
        let server = stage.serve();
        let Stage {
            host,
            client,
            server: far,
            ..
        } = stage;
        let dropper = spawn(move || drop((host, client)));
        far.close();
        drop(far);
        join([server, dropper]);
    });
}

#[test]
fn a_call_that_waits_for_room_to_send_goes_when_another_is_given_up() {
    check(|| {
        let config = Config {
            max_message_bytes: 1_000,
            ..Config::default()
        };
        let stage = Stage::new(Host::builder().config(config).send_budget_bytes(1_000));
        let given_up = stage.client.start(stage.address, &[b'g'; 600]).unwrap();
        // Most likely in the seat, which it does not leave.
        let seated = stage.client.clone();
        let seated = spawn(move || {
            assert_eq!(seated.next_completion(None).unwrap_err(), RecvError::Closed);
        });
        // Two do not fit, one and a response do.
        let waiting = stage.call(b'w', 600);
        (0..DAWDLE).for_each(|_| yield_now());
        drop(given_up);
        let server = stage.serve();
        join([waiting]);
        stage.client.close();
        stage.end([seated, server]);
    });
}

#[test]
fn a_message_that_waits_for_room_to_receive_comes_when_another_was_dropped() {
    check(|| {
        let config = Config {
            max_message_bytes: 1_000,
            receive_budget_bytes: 1_000,
            ..Config::default()
        };
        let stage = Stage::new(Host::builder().config(config));
        let calls = [b'a', b'b'].map(|name| stage.call(name, 900));
        let first = stage.server.recv().unwrap();
        let (message, responder) = (first.message, first.responder);
        // The second has no room until this one is gone.
        let dropper = spawn(move || {
            responder.reply(&message[..1]).unwrap();
            drop(message);
        });
        let second = stage.server.recv().unwrap();
        second.responder.reply(&second.message[..1]).unwrap();
        drop(second.message);
        join([dropper]);
        join(calls);
        stage.end([]);
    });
}

#[test]
fn a_response_that_is_held_for_company_leaves_although_none_comes() {
    check(|| {
        let stage = Stage::new(Host::builder());
        // After so many quick words an application with more to take is expected to go on.
        for _ in 0..12 {
            let quick = stage.client.start(stage.address, b"q").unwrap();
            stage.server.recv().unwrap().responder.reply(b"q").unwrap();
            assert_eq!(*quick.wait().unwrap(), *b"q");
        }
        let first = stage.client.start(stage.address, b"first").unwrap();
        let second = stage.client.start(stage.address, b"second").unwrap();
        let waiting = spawn(move || assert_eq!(*first.wait().unwrap(), *b"f"));
        let request = stage.server.recv().unwrap();
        request.responder.reply(b"f").unwrap();
        join([waiting]);
        drop(second);
        stage.end([]);
    });
}

#[test]
fn bytes_given_back_are_seen_by_a_driver_that_wants_them() {
    check(|| {
        let alarm = Arc::new(Alarm::new().unwrap());
        let pool = Arc::new(Pool::new(1 << 20, Arc::clone(&alarm)));
        let message = Message::new(pool.copy(b"hello").unwrap(), &pool);
        let dropper = spawn(move || drop(message));
        pool.set_wanted(true);
        if !pool.has_given_back() {
            wait(&mut [Watch::readable(alarm.waiter.fd())], None).unwrap();
        }
        join([dropper]);
        assert_eq!(pool.collect_given_back(), 5);
    });
}

#[test]
fn packets_handed_to_another_engine_are_found_or_its_driver_is_woken() {
    check(|| {
        let alarms: Vec<_> = (0..3).map(|_| Arc::new(Alarm::new().unwrap())).collect();
        let group = Arc::new(Group::new(alarms.iter().cloned()));
        let givers = [0, 1].map(|index| {
            let member = Member::new(&group, index);
            spawn(move || {
                let received = Received {
                    from: "192.0.2.1:7".parse().unwrap(),
                    to: None,
                    traffic_class: 0,
                    segment_bytes: 1,
                    bytes: b"x",
                };
                assert!(member.hand_over(2, &received, 9, b"x"));
                assert!(member.hand_over(2, &received, 9, b"x"));
            })
        });
        let taker = Member::new(&group, 2);
        let mut taken = taker.take_mail().len();
        while taken < 4 {
            wait(&mut [Watch::readable(alarms[2].waiter.fd())], None).unwrap();
            alarms[2].waiter.drain();
            taken += taker.take_mail().len();
        }
        join(givers);
        assert_eq!(taken, 4);
    });
}

#[test]
fn a_task_that_listens_hears_of_what_was_said_before_it_sleeps() {
    check(|| {
        let bell = Arc::new((TaskBell::default(), AtomicU32::new(0)));
        let ringers = [0, 1].map(|_| {
            let bell = Arc::clone(&bell);
            spawn(move || {
                bell.1.fetch_add(1, Ordering::SeqCst);
                bell.0.ring();
            })
        });
        shuttle::future::block_on(async {
            while bell.1.load(Ordering::SeqCst) < 2 {
                poll_fn(|context| match bell.0.listen(context.waker()) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                })
                .await;
            }
        });
        join(ringers);
    });
}
