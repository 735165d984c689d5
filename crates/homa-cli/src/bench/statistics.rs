//! Medians and ranges, which is all that a few rounds on a busy machine give.

/// The value in the middle; 0 if there is none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// The lowest and the highest value; zeros if there is none.
pub(super) fn range(values: &[f64]) -> [f64; 2] {
    let low = values.iter().copied().reduce(f64::min);
    let high = values.iter().copied().reduce(f64::max);
    [low.unwrap_or(0.0), high.unwrap_or(0.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn ranges_reach_from_the_lowest_to_the_highest() {
        assert_eq!(range(&[]), [0.0; 2]);
        assert_eq!(range(&[3.0, 1.0, 2.0]), [1.0, 3.0]);
    }
}
