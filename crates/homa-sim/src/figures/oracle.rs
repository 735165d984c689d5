//! Cutoffs of one who knows the workload: what a learner can at best find.

use super::best::Cut;
use crate::workload::Workload;

/// No message is longer.
const UNLIMITED: u32 = i32::MAX as u32;

/// Cutoffs, lowest level first, that give every level for unscheduled packets equally many bytes
/// on the wire, and the unscheduled packets as many of `priorities` levels as their share of all
/// bytes; at least one level is left for scheduled ones if there are two.
pub(crate) fn oracle(
    workload: &Workload,
    priorities: u8,
    unscheduled_bytes: u32,
    cut: &Cut,
) -> [u32; 8] {
    let rows: Vec<(u32, f64)> = workload
        .rows()
        .map(|(size, share)| {
            let unasked = (size as u32).min(unscheduled_bytes);
            (size as u32, share * cut.wire_bytes(unasked) as f64)
        })
        .collect();
    let total: f64 = workload
        .rows()
        .map(|(size, share)| share * cut.wire_bytes(size as u32) as f64)
        .sum();
    let unasked: f64 = rows.iter().map(|(_, bytes)| bytes).sum();
    let most = f64::from(priorities - 1).max(1.0);
    let levels = (f64::from(priorities) * unasked / total).round();
    let levels = levels.clamp(1.0, most) as usize;
    let mut cutoffs = [UNLIMITED; 8];
    cutoffs[usize::from(priorities)..].fill(0);
    let (mut level, mut sum) = (usize::from(priorities) - 1, 0.0);
    let lowest = level + 1 - levels;
    for (size, bytes) in rows {
        sum += bytes;
        let filled = (usize::from(priorities) - level) as f64 * unasked / levels as f64;
        if level > lowest && sum >= filled {
            cutoffs[level] = size;
            level -= 1;
        }
    }
    cutoffs
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Cut = Cut {
        segment_bytes: 1_416,
        overhead_bytes: 122,
    };

    fn levels(name: &str, priorities: u8) -> ([u32; 8], usize) {
        let cutoffs = oracle(&Workload::named(name).unwrap(), priorities, 9_912, &CUT);
        let lowest = (0..8).rev().find(|&level| cutoffs[level] == UNLIMITED);
        (cutoffs, usize::from(priorities) - lowest.unwrap())
    }

    #[test]
    fn short_messages_get_most_levels_and_long_ones_the_fewest() {
        let found = ["w1", "w2", "w3", "w4", "w5"].map(|name| levels(name, 8).1);
        assert_eq!(found, [7, 6, 3, 1, 1]);
        assert_eq!(levels("w1", 2).1, 1);
        assert_eq!(levels("w4", 1).0, [UNLIMITED, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn levels_hold_equally_many_bytes() {
        let (cutoffs, count) = levels("w1", 8);
        let workload = Workload::named("w1").unwrap();
        let mut bytes = [0.0; 8];
        for (size, share) in workload.rows() {
            let level = (1..8).rev().find(|&level| cutoffs[level] >= size as u32);
            bytes[level.unwrap_or(0)] += share * CUT.wire_bytes((size as u32).min(9_912)) as f64;
        }
        let total: f64 = bytes.iter().sum();
        // No two levels differ by more than the commonest sizes weigh.
        for level in &bytes[8 - count..] {
            let share = level / total * count as f64;
            assert!((0.4..1.9).contains(&share), "{share}");
        }
    }
}
