//! Twice the load that a server's application can take: `homa bench overload` in virtual time.

use core::time::Duration;

use homa_proto::{CallError, Config, Failure};

use crate::world::World;

/// The application takes so long for a request.
const SERVICE: Duration = Duration::from_micros(50);

/// RPCs that client and server may have under way.
const LIMITS: [u32; 2] = [1_000, 200];

const BUDGET_BYTES: u64 = 1_000_000;

/// Lets the application serve for `services` while `calls` are made for each; returns how many
/// calls found no room at home.
fn run(world: &mut World, services: u32, calls: u32) -> u32 {
    let mut full = 0;
    for _ in 0..services {
        for _ in 0..calls {
            let call = world.a_call(0, 1, 1_000);
            match world.try_call(0, call) {
                Ok(_) => {}
                Err(CallError::Full) => full += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        world.run_for(SERVICE);
        if let Some(&(rpc, _)) = world.hosts[1].requests.first() {
            world.reply(1, rpc, 1_000);
        }
        for (host, limit) in LIMITS.into_iter().enumerate() {
            let usage = world.hosts[host].engine.usage();
            assert!(usage.client_rpcs + usage.server_rpcs <= limit);
            assert!(usage.budget_used_bytes <= BUDGET_BYTES);
        }
    }
    full
}

#[test]
fn twice_the_load_a_server_can_take_leaves_its_goodput_and_its_tables_alone() {
    let [client, server] = LIMITS;
    let limited = Config {
        receive_budget_bytes: BUDGET_BYTES,
        ..Config::default()
    };
    let mut world = World::new([
        Config {
            max_client_rpcs: client,
            ..limited.clone()
        },
        Config {
            max_server_rpcs: server,
            ..limited
        },
    ]);
    world.keep_trace = false;
    run(&mut world, 100, 1);
    let before = world.hosts[0].responses();
    run(&mut world, 10_000, 1);
    let peak = world.hosts[0].responses() - before;
    assert!(peak > 9_900, "the application is never idle: {peak}");

    let before = world.hosts[0].responses();
    let full = run(&mut world, 10_000, 2);
    let goodput = world.hosts[0].responses() - before;
    assert!(goodput * 10 >= peak * 9, "{goodput} of {peak}");
    let failures = world.hosts[0].failures();
    assert!(failures.iter().all(|it| *it == Failure::Overloaded));
    assert!(
        full > 0 || !failures.is_empty(),
        "latecomers hear that they are"
    );

    while !world.hosts[1].requests.is_empty() {
        run(&mut world, 1, 0);
    }
    world.run_for(Duration::from_secs(10));
    world.assert_empty();
    world.assert_forgotten_later();
}
