//! The swarm, in short: laws hold, planted bugs are caught, a seed means one run. The long runs are
//! `homa sim swarm`.

use homa_sim::swarm::{Options, Plant, check_shape, many, run, run_twice};
use homa_sim::{BadTopology, Shape};

/// Engines of each host when the first seeds below were found.
const ONE: Option<usize> = Some(1);

/// Seeds that showed defects of the engine, the engines of their hosts if that is not what the seed
/// draws, and what was wrong.
const FOUND: [(u64, Option<usize>, &str); 15] = [
    (
        33,
        ONE,
        "requests that never arrived whole kept their long segments for ever",
    ),
    (
        34,
        ONE,
        "a table without room for a single range let nothing be sent again",
    ),
    (
        249,
        ONE,
        "a small limit beside a fixed window allowed no grant",
    ),
    (
        289,
        ONE,
        "a peer that only acknowledged was taken for silent",
    ),
    (
        482,
        ONE,
        "a small limit beside a fixed window allowed no grant",
    ),
    (1779, ONE, "a server gave a client up without having asked"),
    (
        1911,
        None,
        "a question that found no host was taken for proof that its request had not run",
    ),
    (
        4246,
        None,
        "a doubt about a response without room asked for all of it",
    ),
    (
        5877,
        ONE,
        "a request that ran in an earlier life was said not to have run",
    ),
    (6047, None, ANNOUNCED),
    (
        8779,
        None,
        "without room to remember what is wanted again no proof was given",
    ),
    (9810, None, ANNOUNCED),
    (10788, None, ANNOUNCED),
    (11169, None, ANNOUNCED),
    (11559, None, ANNOUNCED),
];
const ANNOUNCED: &str = "an announced message kept its full length in the order of sending";

#[test]
fn the_laws_hold_in_the_runs_of_many_seeds() {
    let seeds: Vec<u64> = (1..=80).collect();
    let sum = many(&seeds, Options::default(), 2, || {});
    assert_eq!(sum.broken, []);
    assert_eq!(sum.runs, 80);
}

#[test]
fn what_the_swarm_found_stays_repaired() {
    for (seed, engines, what) in FOUND {
        let options = Options {
            engines,
            ..Options::default()
        };
        let outcome = run(seed, options).unwrap();
        assert_eq!(outcome.violation, None, "seed {seed}: {what}");
    }
}

#[test]
fn nothing_but_the_seed_decides() {
    let sums: Vec<u64> = (100..110)
        .map(|seed| {
            let outcome = run_twice(seed, Options::default()).unwrap();
            assert_eq!(outcome.violation, None);
            outcome.sum
        })
        .collect();
    assert!(sums.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_planted_bug_is_caught_and_its_packets_are_shown() {
    let options = Options {
        plant: Some(Plant::OvershootsGrants),
        trace: true,
        ..Options::default()
    };
    let outcome = (1..=20)
        .map(|seed| run(seed, options).unwrap())
        .find(|outcome| outcome.violation.is_some())
        .expect("the bug shows within twenty seeds");
    assert!(!outcome.trace.is_empty());
}

#[test]
fn every_planted_bug_has_a_name_of_its_own() {
    for (plant, name, about) in Plant::ALL {
        assert_eq!(Plant::named(name), Some(plant));
        assert_eq!((plant.name(), plant.about()), (name, about));
    }
    assert_eq!(Plant::named("moth"), None);
}

#[test]
fn a_capture_holds_the_packets_of_a_run() {
    let options = Options {
        capture: true,
        ..Options::default()
    };
    let outcome = run(3, options).unwrap();
    let bytes = outcome.capture.expect("it was asked for").into_bytes();
    assert!(bytes.len() as u64 > outcome.packets * 100);
}

#[test]
fn a_swarm_runs_on_any_small_network_and_on_no_other() {
    for shape in ["pair", "star:3", "leaf-spine:2x2x2", "fat-tree:4"] {
        let shape: Shape = shape.parse().unwrap();
        assert_eq!(check_shape(shape), Ok(()));
        let options = Options {
            shape: Some(shape),
            ..Options::default()
        };
        assert_eq!(run(7, options).unwrap().violation, None, "{shape}");
    }
    let refused: Result<(), BadTopology> = check_shape(Shape::Star { hosts: 1_000 });
    assert!(refused.is_err());
}
