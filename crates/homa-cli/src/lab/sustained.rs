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
use crate::traffic::tally::{Bins, Tally};

/// Steps of the search, as fractions of the link.
const STEP: f64 = 0.04;
const LOWEST: f64 = 0.40;
const HIGHEST: f64 = 0.97;

/// What is carried in the time that counts, over what is offered in it, at a load that is sustained.
/// What is under way at the beginning and at the end differs by chance.
const CARRIED_MIN: f64 = 0.95;

/// A backlog that grows shows within so long, after a time in which it may come to be.
const WARM_UP: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(8);

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
/// upwards or downwards.
///
/// # Errors
/// A host does not do its work.
pub(super) fn search(
    arguments: &Compare,
    cluster: &Cluster,
    protocols: &[Protocol],
    workload: &Workload,
    load: &Load,
) -> Result<Vec<Sustained>, Failure> {
    let alone = protocols.iter().filter(|it| it.parts().len() == 1);
    let found = alone.map(|protocol| {
        let mut tried = Vec::new();
        let highest = climb(arguments.load, |load_now| {
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
    let mut offered = 0;
    let turn = cluster.turn_in_time(protocol, &load, true, |_| {})?;
    for (_, found) in turn.into_iter().flat_map(|turn| turn.found) {
        if let Found::Loaded {
            recorded,
            offered_bytes,
            ..
        } = found
        {
            tally.merge(&recorded);
            offered += offered_bytes;
        }
    }
    Ok(tally.carried_bytes() as f64 / offered.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
