//! Slowdowns, counted by the rank of their messages: histograms of which any range of ranks can be
//! asked for percentiles and means.

use core::ops::Range;

/// Ranges of messages by length, each with as many messages.
pub(crate) const HUNDREDTHS: usize = 100;

/// Buckets of a doubling: a percentile is known to 0.4 %.
const STEPS: u64 = 256;

/// Doublings counted; what is above counts as the greatest.
const DOUBLINGS: u64 = 20;

const BUCKETS: usize = (STEPS * DOUBLINGS) as usize;

/// Bits of a number's fraction that are left out of its bucket.
const LEFT_OUT: u32 = 52 - STEPS.trailing_zeros();

/// The greatest slowdown counted: that of messages that never ended.
pub(crate) const ENDLESS: f64 = (1_u64 << DOUBLINGS) as f64;

/// Slowdowns of many messages.
#[derive(Clone, Debug)]
pub(crate) struct Slowdowns {
    counts: Vec<u32>,
    samples: [u64; HUNDREDTHS],
    sums: [f64; HUNDREDTHS],
}

fn bucket(slowdown: f64) -> usize {
    let steps = (slowdown.max(1.0).to_bits() >> LEFT_OUT) - (1.0_f64.to_bits() >> LEFT_OUT);
    (steps as usize).min(BUCKETS - 1)
}

/// The middle of a bucket.
fn middle(bucket: usize) -> f64 {
    let edge = |bucket: usize| f64::from_bits(1.0_f64.to_bits() + ((bucket as u64) << LEFT_OUT));
    if bucket + 1 == BUCKETS {
        ENDLESS
    } else {
        (edge(bucket) + edge(bucket + 1)) / 2.0
    }
}

impl Slowdowns {
    /// Without a message.
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; HUNDREDTHS * BUCKETS],
            samples: [0; HUNDREDTHS],
            sums: [0.0; HUNDREDTHS],
        }
    }

    /// Counts a message; the best slowdown is 1.
    pub(crate) fn record(&mut self, hundredth: u8, slowdown: f64) {
        self.count(usize::from(hundredth), bucket(slowdown), slowdown);
    }

    /// Counts a message that did not end, and lasted `slowdown` times its best until now: in a mean
    /// it is at least as slow as any of its length that ended.
    pub(crate) fn record_endless(&mut self, hundredth: u8, slowdown: f64) {
        let hundredth = usize::from(hundredth);
        let row = &self.counts[hundredth * BUCKETS..][..BUCKETS - 1];
        let slowest = row.iter().rposition(|&count| count > 0).map_or(1.0, middle);
        self.count(hundredth, BUCKETS - 1, slowdown.max(slowest));
    }

    fn count(&mut self, hundredth: usize, bucket: usize, slowdown: f64) {
        self.counts[hundredth * BUCKETS + bucket] += 1;
        self.samples[hundredth] += 1;
        self.sums[hundredth] += slowdown;
    }

    /// Adds another run's messages.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        for hundredth in 0..HUNDREDTHS {
            self.samples[hundredth] += other.samples[hundredth];
            self.sums[hundredth] += other.sums[hundredth];
        }
    }

    /// Messages in a range of hundredths.
    pub(crate) fn samples(&self, range: Range<usize>) -> u64 {
        self.samples[range].iter().sum()
    }

    /// Their mean slowdown; `None` without any.
    pub(crate) fn mean(&self, range: Range<usize>) -> Option<f64> {
        let samples = self.samples(range.clone());
        (samples > 0).then(|| self.sums[range].iter().sum::<f64>() / samples as f64)
    }

    /// The slowdown that `fraction` of the messages of a range do not pass; `None` without any.
    pub(crate) fn percentile(&self, range: Range<usize>, fraction: f64) -> Option<f64> {
        let samples = self.samples(range.clone());
        let wanted = ((samples as f64 * fraction).ceil() as u64).max(1);
        let mut passed = 0;
        for bucket in 0..BUCKETS {
            let counts = range.clone().map(|row| self.counts[row * BUCKETS + bucket]);
            passed += counts.map(u64::from).sum::<u64>();
            if passed >= wanted {
                return Some(middle(bucket));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_means_are_those_of_the_numbers_that_were_counted() {
        let mut slowdowns = Slowdowns::new();
        for i in 0..10_000 {
            slowdowns.record(7, 1.0 + f64::from(i) / 1_000.0);
            slowdowns.record(93, 50.0);
        }
        let near = |found: Option<f64>, wanted: f64| (found.unwrap() / wanted - 1.0).abs() < 0.004;
        assert!(near(slowdowns.percentile(0..50, 0.5), 6.0));
        assert!(near(slowdowns.percentile(0..50, 0.99), 10.9));
        assert!(near(slowdowns.percentile(0..100, 0.9), 50.0));
        assert!(near(slowdowns.mean(0..50), 6.0));
        assert_eq!(slowdowns.samples(0..100), 20_000);
        assert_eq!(slowdowns.percentile(20..30, 0.5), None);
        assert_eq!(slowdowns.mean(20..30), None);
    }

    #[test]
    fn what_never_ended_is_slower_than_all_that_did() {
        let mut slowdowns = Slowdowns::new();
        (0..98).for_each(|_| slowdowns.record(1, 1.0));
        (0..2).for_each(|_| slowdowns.record_endless(1, 3.0));
        assert_eq!(slowdowns.percentile(0..50, 0.99), Some(ENDLESS));
        let mut sum = Slowdowns::new();
        sum.add(&slowdowns);
        assert!(sum.percentile(0..50, 0.98).unwrap() < 1.01);
        assert_eq!(sum.mean(0..50), Some(1.04));
    }
}
