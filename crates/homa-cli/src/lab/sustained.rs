//! The highest load that a protocol sustains: that it carries as fast as it is offered.

use core::time::Duration;

use homa_sim::Workload;
use serde::Serialize;

use super::args::Compare;
use super::cluster::Cluster;
use super::host::{Found, Load};
use super::protocol::Protocol;
use super::rates::Rates;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::traffic::tally::{Bins, PARTS_COUNT, Tally};

/// Steps of the search, as fractions of the link.
const STEP: f64 = 0.04;
const LOWEST: f64 = 0.40;
const HIGHEST: f64 = 0.97;

/// What is carried of a load that is sustained, at least: what is under way rises and falls by chance.
/// (Links that carry one message after the other, and nothing else, have 0.97 to 1.02 at load 0.8, 0.94 to 1.03 at
/// 0.9 and 0.82 to 0.93 at 1.1, in W3 to W5 with four seeds.)
const CARRIED_MIN: f64 = 0.95;

/// A backlog that grows shows within so long, after a time in which it may come to be.
const WARM_UP: Duration = Duration::from_secs(10);
const WINDOW: Duration = Duration::from_secs(32);

/// What a protocol sustains.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sustained {
    pub(super) protocol: String,
    /// The highest load that was sustained; 0 if none was.
    pub(super) load: f64,
    /// Loads that were tried, and what was carried of each.
    pub(super) tried: Vec<(f64, f64)>,
}

/// Looks for the highest load of each protocol that runs alone, from the load that was asked for
/// upwards or downwards. How often it has to look is not known before.
///
/// # Errors
/// A host does not do its work.
pub(super) fn search(
    arguments: &Compare,
    cluster: &Cluster,
    protocols: &[Protocol],
    workload: &Workload,
    load: &Load,
    progress: &Progress,
) -> Result<Vec<Sustained>, Failure> {
    let alone = protocols.iter().filter(|it| it.parts().len() == 1);
    let found = alone.map(|protocol| {
        let mut tried = Vec::new();
        let highest = climb(arguments.load, |load_now| {
            progress.say(protocol.label());
            progress.expect_more(WARM_UP + WINDOW);
            let share = carried(arguments, cluster, *protocol, workload, load, load_now)?;
            tried.push((load_now, share));
            Ok(share >= CARRIED_MIN)
        })?;
        Ok(Sustained {
            protocol: protocol.name(),
            load: highest.unwrap_or(0.0),
            tried,
        })
    });
    found.collect()
}

/// The highest load for which `holds`, in steps from `first`; none if the lowest is too high.
fn climb(
    first: f64,
    mut holds: impl FnMut(f64) -> Result<bool, Failure>,
) -> Result<Option<f64>, Failure> {
    let (mut load, mut best) = (first, None);
    let mut step = STEP;
    while (LOWEST..=HIGHEST).contains(&load) {
        if holds(load)? {
            best = Some(load);
            if step < 0.0 {
                break;
            }
        } else if best.is_some() {
            break;
        } else {
            step = -STEP;
        }
        load += step;
    }
    Ok(best)
}

/// What a protocol carries of that load. The turn counts even if the switch was late: that takes
/// from what is carried, and so never makes a load seem sustained that is not.
fn carried(
    arguments: &Compare,
    cluster: &Cluster,
    protocol: Protocol,
    workload: &Workload,
    load: &Load,
    load_now: f64,
) -> Result<f64, Failure> {
    let load = Load {
        bytes_per_second: Rates::of(arguments, workload, load_now).payload,
        warm_up: WARM_UP,
        window: WINDOW,
        // What is not carried by then is not asked about.
        cool_down: Duration::ZERO,
        drain: Duration::ZERO,
        ..load.clone()
    };
    let bins = Bins::with_first(workload, load.short_max);
    let mut tally = Tally::new(&bins, &load.base());
    let mut offered = [0; PARTS_COUNT];
    let turn = cluster.turn_in_time(protocol, &load, true, |_| {})?;
    for (_, found) in turn.into_iter().flat_map(|turn| turn.found) {
        if let Found::Loaded {
            recorded,
            offered_bytes,
            ..
        } = found
        {
            tally.merge(&recorded);
            for (sum, bytes) in offered.iter_mut().zip(*offered_bytes) {
                *sum += bytes;
            }
        }
    }
    Ok(carried_share(&offered, tally.carried_bytes()))
}

/// What is carried of what is offered in the long run: all but what makes the bytes under way grow, by the
/// straight line nearest to them. (What is carried over what is offered tells less: a long message more at the
/// end than at the beginning is a tenth of what some seconds bring.)
fn carried_share(offered: &[u64; PARTS_COUNT], carried: &[u64; PARTS_COUNT]) -> f64 {
    let mean = (PARTS_COUNT - 1) as f64 / 2.0;
    let (mut under_way, mut covariance, mut variance) = (0.0, 0.0, 0.0);
    for (part, (offered, carried)) in offered.iter().zip(carried).enumerate() {
        under_way += *offered as f64 - *carried as f64;
        let from_mean = part as f64 - mean;
        covariance += from_mean * under_way;
        variance += from_mean * from_mean;
    }
    let offered = offered.iter().sum::<u64>().max(1) as f64 / PARTS_COUNT as f64;
    1.0 - covariance / variance / offered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::host::{offered_bytes, seed_of};
    use crate::traffic::plan::{Arrival, Pattern, Planner};
    use crate::traffic::tally::part_of;

    fn highest(first: f64, limit: f64) -> Option<f64> {
        climb(first, |load| Ok(load <= limit)).unwrap()
    }

    #[test]
    fn the_search_goes_up_while_a_load_holds_and_down_until_one_does() {
        let close = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-9;
        assert!(close(highest(0.8, 0.89), 0.88));
        assert!(close(highest(0.8, 0.7), 0.68));
        assert!(close(highest(0.8, 1.0), 0.96));
        assert_eq!(highest(0.8, 0.3), None);
    }

    /// What eight links, each with arrivals of its own at that load, carry of them one after the other.
    fn links_carry(load: f64, seed: u64) -> f64 {
        const BYTES_PER_SECOND: f64 = 2e6;
        let workload = crate::workload::named("w4").unwrap();
        let pattern = Pattern::new(seed);
        let counted = WARM_UP..WARM_UP + WINDOW;
        let [mut offered, mut carried] = [[0; PARTS_COUNT]; 2];
        for link in 0..8 {
            let planner = Planner {
                workload: &workload,
                pattern: &pattern,
                seed: seed_of(seed, link, 0),
            };
            let plan = planner.slice(0, counted.end, load * BYTES_PER_SECOND);
            for (sum, bytes) in offered.iter_mut().zip(offered_bytes(&plan, &counted)) {
                *sum += bytes;
            }
            let mut free_at = Duration::ZERO;
            for Arrival { at, message } in plan {
                let takes = Duration::from_secs_f64(message.size as f64 / BYTES_PER_SECOND);
                free_at = free_at.max(at) + takes;
                if let Some(part) = part_of(&counted, free_at) {
                    carried[part] += message.size as u64;
                }
            }
        }
        carried_share(&offered, &carried)
    }

    #[test]
    fn links_sustain_what_they_have_room_for_and_no_more() {
        for seed in 1..=2 {
            let [less, more] = [0.8, 1.1].map(|load| links_carry(load, seed));
            assert!(less > 0.99 && more < 0.93, "{less} and {more}");
        }
    }
}
