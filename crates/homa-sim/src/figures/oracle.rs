//! Cutoffs of one who knows the workload: what a learner can at best find.

use super::best::Cut;
use crate::workload::Workload;

/// No message is longer.
const UNLIMITED: u32 = i32::MAX as u32;

/// Shorter messages take nearly as long as each other, and share a level.
const LEAST_BYTES: u32 = 63;

/// Cutoffs, lowest level first, that give every level for unscheduled packets equally many bytes
/// on the wire, and the unscheduled packets as many of `priorities` levels as their share of all
/// bytes; at least one level is left for scheduled ones if there are two.
pub(crate) fn oracle(
    workload: &Workload,
    one_way: bool,
    priorities: u8,
    unscheduled_bytes: u32,
    cut: &Cut,
) -> [u32; 8] {
    // The response of one byte to every request.
    let responses = one_way.then_some((1, 1.0));
    let messages = || {
        let requests = workload.rows().map(|(size, share)| (size as u32, share));
        responses.into_iter().chain(requests)
    };
    let rows: Vec<(u32, f64)> = messages()
        .map(|(size, share)| {
            let unasked = size.min(unscheduled_bytes);
            (
                size.max(LEAST_BYTES),
                share * cut.wire_bytes(unasked) as f64,
            )
        })
        .collect();
    let total: f64 = messages()
        .map(|(size, share)| share * cut.wire_bytes(size) as f64)
        .sum();
    let unasked: f64 = rows.iter().map(|(_, bytes)| bytes).sum();
    let most = f64::from(priorities - 1).max(1.0);
    let levels = (f64::from(priorities) * unasked / total).round();
    let levels = levels.clamp(1.0, most) as usize;
    let mut cutoffs = [UNLIMITED; 8];
    cutoffs[usize::from(priorities)..].fill(0);
    let (mut level, mut left, mut sum) = (usize::from(priorities) - 1, levels, 0.0);
    // What a length brings beyond its level's share is taken from what the others share.
    let mut goal = unasked / levels as f64;
    for (place, &(size, bytes)) in rows.iter().enumerate() {
        sum += bytes;
        let next_is_longer = rows.get(place + 1).is_some_and(|next| next.0 > size);
        if left > 1 && next_is_longer && sum >= goal {
            cutoffs[level] = size;
            (level, left) = (level - 1, left - 1);
            goal = sum + (unasked - sum) / left as f64;
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
        let cutoffs = oracle(
            &Workload::named(name).unwrap(),
            false,
            priorities,
            9_912,
            &CUT,
        );
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
